"""Which param matters: the marginal means of the objective, and what they explain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import fsum, isfinite

from .axis import Axis, make_axis
from .model import Configuration, Effect, Level
from .moments import ROUNDING, Scaled, center, deviation, mean, scaled, squares

_RANGES = 8
_MOST = 12


def effects(configurations: Iterable[Configuration], params: Sequence[str]) -> tuple[Effect, ...]:
    """Return the effect of each param that takes several values, the one that explains most first.

    A marginal mean is that of the configurations' means, whatever the other params are: each
    configuration counts once, however often it was repeated. The share is eta squared, the sum of
    squares between the values of a param divided by the whole one (Fisher 1925; Cohen 1973). In a
    grid that lacks some configurations a param may take credit for what is another's.

    Numbers of more than 12 values are joined to at most 8 ranges. What is another one in each
    configuration would explain everything, so that it has no share, unless nothing else varies.
    """
    usable = [
        (configuration.params, configuration.mean)
        for configuration in configurations
        if configuration.mean is not None and isfinite(configuration.mean)
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

    A random search has another number in each configuration: the numbers as such explain
    everything and tell nothing.
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
    middle = center(every)
    means = {text: center(values) for text, values in groups.items()}
    between = fsum(len(values) * (means[text] - middle) ** 2 for text, values in groups.items())
    levels = []
    for text, group in groups.items():
        values = [units.plain(value) for value in group]
        level = mean(values)
        assert level is not None  # no group is empty
        levels.append(Level(value=text, mean=level, std=deviation(values), n=len(values)))
    return Effect(
        param=param,
        levels=tuple(levels),
        spread=units.plain(max(means.values()) - min(means.values())),
        # Rounding may bring it a little above 1.
        share=min(1.0, between / total) if total > 0 else None,
    )
