"""Compute which params matter: marginal means of the objective, and explained variance."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, inf, isfinite, log
from statistics import quantiles
from typing import final

from ..statistics import ROUNDING, Scaled, average, deviation, finite_mean, scaled, squares
from .model import Configuration, Effect, Level, Mode

_DIGITS = re.compile(r"(\d+)")
_DECADE = 10.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The distinct values of a param.

    ``numbers`` are the values as numbers, or None if not all of them are numbers. ``log`` tells
    that they are positive, span a decade or more, and are spread more evenly by their logarithms.
    """

    values: tuple[str, ...]
    numbers: tuple[float, ...] | None
    log: bool


def make_axis(texts: Iterable[str], order: Iterable[str] = ()) -> Axis:
    """Return the sorted values of a param: numbers by size, texts in ``order``, others last."""
    found = dict.fromkeys(texts)
    numbers = {text: number(text) for text in found}
    known = {text: size for text, size in numbers.items() if size is not None}
    if len(known) == len(found):
        values = sorted(found, key=lambda text: (known[text], text))
        sizes = tuple(known[text] for text in values)
        return Axis(values=tuple(values), numbers=sizes, log=_is_geometric(sizes))
    places = {text: place for place, text in enumerate(order)}
    values = sorted(found, key=lambda text: (places.get(text, len(places)), _natural(text)))
    return Axis(values=tuple(values), numbers=None, log=False)


def number(text: str) -> float | None:
    """Parse a finite number; return None for other texts."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if isfinite(found) and text.isascii() and "_" not in text else None


def _is_geometric(sizes: tuple[float, ...]) -> bool:
    # The quotient of the largest floats and the smallest would be infinite.
    if not sizes or sizes[0] <= 0 or log(sizes[-1]) - log(sizes[0]) < log(_DECADE) - 1e-9:
        return False
    return _largest_gap([log(size) for size in sizes]) <= _largest_gap(sizes)


def _largest_gap(sizes: Sequence[float]) -> float:
    """Return the largest distance between neighbours as a share of the range."""
    whole = sizes[-1] - sizes[0]
    return max(b / whole - a / whole for a, b in pairwise(sizes))


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts ``x9`` before ``x10``."""
    parts = _DIGITS.split(text)
    return tuple((len(part) if part.isdigit() else 0, part) for part in parts)


# From so many values on, one is far off that is more than so many times the range of the middle
# half away from it.
_ENOUGH, _FAR = 8, 4


def usual_range(configurations: Iterable[Configuration], mode: Mode | None) -> tuple[float, float]:
    """Return the bounds beyond which a mean is far off, on the side that is worse if it is known.

    Such is that of a run that diverged.
    """
    means = [one.mean for one in configurations if one.mean is not None and isfinite(one.mean)]
    if len(means) >= _ENOUGH:
        first, _, third = quantiles(means, method="inclusive")
        if 0 < (fence := _FAR * (third - first)) < inf:
            low, high = first - fence, third + fence
            return -inf if mode == "min" else low, inf if mode == "max" else high
    return -inf, inf


_RANGES = 8
_MOST = 12


def effects(
    configurations: Sequence[Configuration], params: Sequence[str], mode: Mode | None
) -> tuple[Effect, ...]:
    """Return the effect of each param that takes several values, the one that explains most first.

    A marginal mean is that of the configurations' means, whatever the other params are: each
    configuration counts once, however often it was repeated. The share is eta squared, the sum of
    squares between the values of a param divided by the total one (Fisher 1925; Cohen 1973). In an
    incomplete grid a param may be credited with the effect of another.

    Configurations far off are left out: a single run that diverged would outweigh all others.
    Numbers of more than 12 values are joined to at most 8 ranges. A param that differs in each
    configuration would explain everything, so it has no share, unless nothing else varies.
    """
    low, high = usual_range(configurations, mode)
    usable = [
        (one.params, one.mean)
        for one in configurations
        if one.mean is not None and isfinite(one.mean) and low <= one.mean <= high
    ]
    if not usable:
        return ()
    units = scaled([value for _, value in usable])
    total = squares(units.values)
    if total <= len(usable) * ROUNDING**2:
        total = 0.0
    varying = sum(len({texts.get(param) for texts, _ in usable}) > 1 for param in params)
    found = []
    for param in params:
        groups: dict[str, list[float]] = {}
        for (texts, _), value in zip(usable, units.values, strict=True):
            if param in texts:
                groups.setdefault(texts[param], []).append(value)
        if len(groups) < 2:
            continue
        axis = make_axis(groups, order=groups)
        is_long = len(groups) > _MOST
        groups = (
            _ranges(groups, axis)
            if is_long and axis.numbers is not None
            else {text: groups[text] for text in axis.values}
        )
        is_unique = len(groups) == len(usable) and varying > 1
        found.append(_effect(param, groups, units, 0.0 if is_unique else total))
    # sorted is stable: what explains as much stays in the order of the params.
    return tuple(sorted(found, key=lambda effect: -(effect.share or 0.0)))


def _ranges(groups: dict[str, list[float]], axis: Axis) -> dict[str, list[float]]:
    """Return the groups of a numeric param joined to ranges, equally wide on the param's scale.

    In a random search each configuration has a different number, which would explain everything.
    """
    assert axis.numbers is not None
    edges = _edges(axis.numbers, log=axis.log)
    members: dict[int, list[tuple[float, list[float]]]] = {}
    for text, size in zip(axis.values, axis.numbers, strict=True):
        members.setdefault(bisect_right(edges, size), []).append((size, groups[text]))
    return {
        _range(found[0][0], found[-1][0]): [value for _, values in found for value in values]
        for _, found in sorted(members.items())
    }


def _edges(numbers: Sequence[float], *, log: bool) -> list[float]:
    low, high = numbers[0], numbers[-1]
    shares = [place / _RANGES for place in range(1, _RANGES)]
    if log:
        # Two powers, for the quotient of the largest floats and the smallest is infinite.
        return [low ** (1 - share) * high**share for share in shares]
    return [low * (1 - share) + high * share for share in shares]


def _range(low: float, high: float) -> str:
    ends = dict.fromkeys((f"{low:.3g}", f"{high:.3g}"))
    return " – ".join(ends)  # noqa: RUF001


def _effect(param: str, groups: dict[str, list[float]], units: Scaled, total: float) -> Effect:
    every = [value for values in groups.values() for value in values]
    middle = finite_mean(every)
    means = {text: finite_mean(values) for text, values in groups.items()}
    between = fsum(len(values) * (means[text] - middle) ** 2 for text, values in groups.items())
    levels = []
    for text, group in groups.items():
        values = [units.plain(value) for value in group]
        levels.append(Level(value=text, mean=average(values), std=deviation(values), n=len(values)))
    return Effect(
        param=param,
        levels=tuple(levels),
        spread=units.plain(max(means.values()) - min(means.values())),
        # Rounding may bring it a little above 1.
        share=min(1.0, between / total) if total > 0 else None,
    )
