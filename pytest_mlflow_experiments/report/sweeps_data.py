"""The numbers that the page's script draws a sweep's plots from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from ..sweeps.axis import Axis
from ..sweeps.model import Configuration, Sweep
from . import numbers
from .sweeps_text import known_share, short
from .text import one_line

_PARAMS = 60


def plot_data(sweep: Sweep, axes: Mapping[str, Axis], *, most: int) -> str:
    """Return the sweep as JSON that may stand inside a script element.

    ``axes`` are the params to draw, the most important one first. Of more than ``most``
    configurations that many are taken, evenly from the best to the worst.
    """
    shown = _sample(sweep.configurations, most)
    names = list(axes)[:_PARAMS]
    shares = {effect.param: known_share(effect) for effect in sweep.effects}
    places = {name: {text: place for place, text in enumerate(axes[name].values)} for name in names}
    data = {
        "objective": one_line(sweep.objective or "", 80),
        "mode": sweep.mode,
        "best": sweep.best is not None,
        "total": len(sweep.configurations),
        "params": [
            {
                "name": one_line(name, 80) or "''",
                "share": _json_number(shares.get(name)),
                "values": [short(text) for text in axes[name].values],
                "numbers": axes[name].numbers,
                "log": axes[name].log,
            }
            for name in names
        ],
        "ranks": [rank for rank, _ in shown],
        "means": [_json_number(found.mean) for _, found in shown],
        "stds": [_json_number(found.std) for _, found in shown],
        "ns": [found.n for _, found in shown],
        "cases": [found.cases for _, found in shown],
        "failed": [found.failed for _, found in shown],
        "choices": [
            [places[name][found.params.get(name, "")] for name in names] for _, found in shown
        ],
    }
    return as_script(data)


def as_script(data: Any) -> str:
    """Return JSON in which no text can end or begin an element of HTML."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _sample(configurations: Sequence[Configuration], most: int) -> list[tuple[int, Configuration]]:
    ranked = list(enumerate(configurations))
    if len(ranked) <= most:
        return ranked
    last, steps = len(ranked) - 1, max(1, most - 1)
    return [ranked[place * last // steps] for place in range(most)]


def _json_number(number: float | None) -> float | str | None:
    """Return a number of at most 7 digits; what JSON has no number for as its text."""
    if number is None:
        return None
    return float(f"{number:.7g}") if isfinite(number) else numbers.value(number)
