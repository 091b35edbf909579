"""Prepare the sweeps of the page, and the data that its script plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import final

from ...regression.sweeps.effects import Axis, make_axis, usual_range
from ...regression.sweeps.model import Configuration, Sweep
from .. import numbers, sweep_text
from ..sweep_text import choice, short
from ..text import one_line
from .ranking import Marginal, RankingTable, marginals, ranking

_PARAMS = 60


def plot_data(sweep: Sweep, axes: Mapping[str, Axis], *, most: int) -> str:
    """Return the sweep as JSON that is safe inside a script element.

    ``axes`` are the params to draw, the most important one first. At most ``most`` configurations
    are taken, evenly from the best to the worst.
    """
    shown = _sample(sweep.configurations, most)
    names = list(axes)[:_PARAMS]
    shares = {effect.param: effect.share for effect in sweep_text.proven(sweep)}
    # A search may have tried more values than there are points.
    used = {name: {found.params.get(name, "") for _, found in shown} for name in names}
    values = {
        name: [(place, text) for place, text in enumerate(axes[name].values) if text in used[name]]
        for name in names
    }
    places = {name: {text: place for place, (_, text) in enumerate(values[name])} for name in names}
    data: dict[str, object] = {
        "objective": one_line(sweep.objective or "", 80),
        "mode": sweep.mode,
        "best": sweep.best is not None,
        "usual": [numbers.finite(bound) for bound in usual_range(sweep.configurations, sweep.mode)],
        "total": len(sweep.configurations),
        "params": [
            {
                "name": one_line(name, 80) or "''",
                "share": _json_number(shares.get(name)),
                "values": [short(text) for _, text in values[name]],
                "numbers": found and [found[place] for place, _ in values[name]],
                "log": axes[name].log,
            }
            for name in names
            for found in [axes[name].numbers]
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
    if sweep.second is not None:
        data["second"] = {
            "name": one_line(sweep.second, 80),
            "mode": sweep.second_mode,
            "values": [_json_number(found.metrics.get(sweep.second)) for _, found in shown],
        }
        data["front"] = [rank for rank, found in shown if found.on_front]
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _sample(configurations: Sequence[Configuration], most: int) -> list[tuple[int, Configuration]]:
    ranked = list(enumerate(configurations))
    if len(ranked) <= most:
        return ranked
    last, steps = len(ranked) - 1, max(1, most - 1)
    places = {place * last // steps for place in range(most)}
    return [one for one in ranked if one[0] in places or one[1].on_front]


def _json_number(number: float | None) -> float | str | None:
    """Round a number to 7 digits; NaN and the infinities become strings."""
    if number is None:
        return None
    return float(f"{number:.7g}") if isfinite(number) else numbers.value(number)


# A table has all there is to say of fewer points.
_LEAST = 5
_SWEEPS = 40
_ROWS, _LEAST_ROWS = 1_000, 10
_PLOTTED, _LEAST_PLOTTED = 2_000, 100
# Bytes.
_PLOTS = 600_000
_CONSTANTS = 40
_NAMED = 8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """One sweep of the page; ``data`` is None if there is nothing to plot.

    ``best`` are the params of the best configuration without the last ``best_more``, ``repeated``
    tells that there are several values of some, ``compared`` that there are p-values; ``constants``
    are the params with a single value. ``facts`` are sentences beside what its line says.
    """

    number: int
    sweep: Sweep
    best: Sequence[tuple[str, str]]
    best_more: int
    repeated: bool
    compared: bool
    facts: Sequence[str]
    constants: str
    ranking: RankingTable
    marginals: Sequence[Marginal]
    data: str | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepsView:
    """The sweeps of the page; the rest is only counted."""

    shown: Sequence[SweepView]
    left_out: int


def view_sweeps(sweeps: Sequence[Sweep]) -> SweepsView:
    """Choose the sweeps to show, those with several configurations first."""
    found = sorted(sweeps, key=lambda sweep: not _has_choice(sweep))
    shown = found[:_SWEEPS]
    sizes = [len(sweep.configurations) for sweep in shown]
    rows, points = _shares(sizes, _ROWS, _LEAST_ROWS), _shares(sizes, _PLOTTED, _LEAST_PLOTTED)
    return SweepsView(
        shown=[
            _view(number, sweep, rows=rows[number - 1], points=points[number - 1])
            for number, sweep in enumerate(shown, 1)
        ],
        left_out=len(found) - len(shown),
    )


def _has_choice(sweep: Sweep) -> bool:
    return len(sweep.configurations) > 1 and sweep.objective is not None


def _shares(sizes: Sequence[int], total: int, least: int) -> list[int]:
    """Divide ``total`` among sweeps of some sizes; large ones get what small ones don't need."""
    shares = [0] * len(sizes)
    for done, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[place] = min(sizes[place], max(least, total // (len(sizes) - done)))
        total -= shares[place]
    return shares


def _view(number: int, sweep: Sweep, *, rows: int, points: int) -> SweepView:
    axes = _axes(sweep)
    varying = {param: axis for param, axis in axes.items() if len(axis.values) > 1}
    constants = {param: axis.values[0] for param, axis in axes.items() if len(axis.values) == 1}
    named = list(varying or axes)
    best = sweep.best.params if sweep.best is not None else None
    measured = [found for found in sweep.configurations if numbers.finite(found.mean) is not None]
    has_more = bool(varying) and len(measured) >= _LEAST
    return SweepView(
        number=number,
        sweep=sweep,
        best=[] if best is None else [(name, best.get(name, "")) for name in named[:_NAMED]],
        best_more=max(0, len(named) - _NAMED),
        repeated=any(found.n > 1 for found in sweep.configurations),
        compared=any(found.p_value is not None for found in sweep.configurations),
        facts=[
            text
            for text in sweep_text.facts(sweep)
            if text[1:] != f"{sweep_text.standing(sweep)[1:]}."
        ],
        constants=_constants(constants) if varying else "",
        ranking=ranking(sweep, varying or axes, most=rows),
        marginals=marginals(sweep, varying) if has_more else [],
        data=_plots(sweep, varying, points) if has_more else None,
    )


def _plots(sweep: Sweep, axes: Mapping[str, Axis], points: int) -> str:
    """Return the data of the plots, of fewer points where those are very long."""
    data = plot_data(sweep, axes, most=points)
    while len(data) > _PLOTS and points > _LEAST_PLOTTED:
        points = max(_LEAST_PLOTTED, points // 2)
        data = plot_data(sweep, axes, most=points)
    return data


def _axes(sweep: Sweep) -> dict[str, Axis]:
    """Return the params, those that matter most first, then in the test's order."""
    orders = {effect.param: [level.value for level in effect.levels] for effect in sweep.effects}
    mattering = [param for param in orders if param in sweep.params]
    return {
        param: make_axis(
            (found.params.get(param, "") for found in sweep.configurations),
            orders.get(param, ()),
        )
        for param in dict.fromkeys((*mattering, *sweep.params))
    }


def _constants(params: dict[str, str]) -> str:
    """Return the params with a single value; of very many, the first ones."""
    text = choice(dict(list(params.items())[:_CONSTANTS]))
    rest = len(params) - _CONSTANTS
    return f"{text} and {numbers.count(rest, 'more param')}" if rest > 0 else text
