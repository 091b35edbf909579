"""Rank the configurations of a sweep; t-tests tell which differ from the best."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Literal, TypeAlias, final

from ..statistics import average, deviation, mean, paired_p, scaled, welch_p
from .effects import number as as_number
from .model import Configuration, Mode, Sweep, usual_n

ALPHA = 0.05
"""The largest probability, in a sweep, that a configuration as good as the best is called worse."""


def p_value(best: Configuration, other: Configuration) -> float | None:
    """Return the probability that two equally good configurations differ as much as these.

    It is two-sided. Where both ran with the same seeds, two of them or more, it is that of the
    paired t-test (Student 1908; ``scipy.stats.ttest_rel``), as scatter due to a seed, common to
    both, cancels out. Otherwise, and where the differences are all the same, it is that of Welch's
    (Welch 1947; ``scipy.stats.ttest_ind(..., equal_var=False)``), from two values of each on.
    Values that are not finite are left out. None with fewer values, and if neither configuration
    scatters, unless both have the same value.
    """
    mine, theirs = _finite(best), _finite(other)
    if min(len(mine), len(theirs)) < 2:
        return None
    units = scaled([value for _, value in (*mine, *theirs)])
    a, b = units.values[: len(mine)], units.values[len(mine) :]
    second = {seed: value for (seed, _), value in zip(theirs, b, strict=True)}
    differences = [
        value - second[seed]
        for (seed, _), value in zip(mine, a, strict=True)
        if seed and seed in second
    ]
    paired = paired_p(differences)
    return welch_p(a, b) if paired is None else paired


Mark: TypeAlias = Literal["best", "near", "worse", ""]


def marks(sweep: Sweep) -> list[Mark]:
    """Mark each configuration as best, near or worse.

    Near ones are within noise of the best; the mark is empty without a p-value.
    """
    best = sweep.best

    def mark(configuration: Configuration) -> Mark:
        if configuration is best or configuration.p_value is None:
            return "best" if configuration is best else ""
        return "near" if configuration.p_value > ALPHA else "worse"

    return [mark(configuration) for configuration in sweep.configurations]


def _finite(configuration: Configuration) -> list[tuple[str, float]]:
    pairs = zip(configuration.seeds, configuration.values, strict=True)
    return [(seed, value) for seed, value in pairs if isfinite(value)]


@final
@dataclass(slots=True)  # a frozen one takes a call for each field, of each case
class Case:
    """A case of a sweep: ``texts`` are its params, ``values`` those of ``metrics``.

    ``passed`` tells that it did not fail: it passed, or was skipped.
    """

    nodeid: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    seeds: tuple[str, ...]
    passed: bool
    metrics: tuple[str, ...]
    values: array[float]


Group: TypeAlias = list[Case]
"""The cases of one configuration."""


def ranked(configurations: Iterable[Configuration], mode: Mode | None) -> tuple[Configuration, ...]:
    """Rank the configurations, and compare them with the best one.

    First come those whose cases all passed, then those with a case that failed or with fewer values
    than most (seeds that were skipped or lost), both with the best mean first; last those without a
    mean that is a number (no value, NaN, infinity). Ties are sorted by their params. Without a mode
    the configurations stay as they are.
    """
    found = list(configurations)
    if mode is None:
        return tuple(found)
    sign, usual = -1.0 if mode == "max" else 1.0, usual_n(found)

    def key(configuration: Configuration) -> tuple[int, float, list[tuple[float, str]]]:
        value = configuration.mean
        failed = configuration.failed > 0 or configuration.n < usual
        order = _order(configuration.params.values())
        if value is None or not isfinite(value):
            return 2 + failed, 0.0, order
        return int(failed), sign * value, order

    found.sort(key=key)
    best = found[0] if found and key(found[0])[0] == 0 else None
    if best is None or best.mean is None:
        return tuple(found)
    return _adjusted([_compared(one, best, best.mean, sign) for one in found])


def _adjusted(found: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """Return the configurations with p-values that allow for the number of comparisons.

    The best is the best of many, so that some of the others look worse by chance alone. By the
    method of Holm (1979) the probability that any configuration as good as the best is called
    worse, for its p-value is at most ``ALPHA``, is ``ALPHA`` too. What has no worse mean has 1.
    """
    known = [(one.p_value, place) for place, one in enumerate(found) if one.p_value is not None]
    p_values = {place: 1.0 for _, place in known}
    told = sorted(one for one in known if found[one[1]].distance != 0)
    least = 0.0
    for step, (p, place) in enumerate(told):
        p_values[place] = least = max(least, min(1.0, p * (len(told) - step)))
    return tuple(replace(one, p_value=p_values.get(place)) for place, one in enumerate(found))


def pareto_front(
    configurations: Sequence[Configuration], second: str, modes: tuple[Mode, Mode]
) -> set[int]:
    """Return the places of those of which no other is better in one objective and as good in both.

    ``second`` is the metric beside the sweep's objective, ``modes`` are those of both. Only
    configurations take part whose cases all passed, with finite values.
    """
    signs = [-1.0 if mode == "max" else 1.0 for mode in modes]
    points: dict[tuple[float, float], list[int]] = {}
    for place, one in enumerate(configurations):
        values = one.mean, one.metrics.get(second)
        if not one.failed and all(value is not None and isfinite(value) for value in values):
            first, other = (
                sign * value for sign, value in zip(signs, values, strict=True) if value is not None
            )
            points.setdefault((first, other), []).append(place)
    front: set[int] = set()
    least = inf
    for point in sorted(points):
        if point[1] < least:
            least = point[1]
            front.update(points[point])
    return front


def _compared(
    configuration: Configuration, best: Configuration, top: float, sign: float
) -> Configuration:
    """Return the configuration with its distance to the best."""
    if configuration is best:
        return replace(configuration, distance=0.0, relative=0.0 if top else None)
    if configuration.mean is None or not isfinite(configuration.mean):
        return configuration
    # One that failed may have the better mean.
    distance = max(0.0, sign * (configuration.mean - top))
    relative = distance / abs(top) if top else None
    return replace(
        configuration,
        distance=distance if isfinite(distance) else None,
        relative=relative if relative is None or isfinite(relative) else None,
        p_value=p_value(best, configuration),
    )


def folded(group: Group, objective: str | None) -> Configuration:
    """Build the configuration of a group of cases, not compared with others yet."""
    group = sorted(group, key=lambda case: _order(case.seeds))
    metrics: dict[str, list[float]] = {}
    seeds = []
    for case in group:
        for name, value in zip(case.metrics, case.values, strict=True):
            metrics.setdefault(name, []).append(value)
        if objective in case.metrics:
            seeds.append(", ".join(case.seeds))
    values = tuple(metrics.pop(objective, ())) if objective is not None else ()
    return Configuration(
        params=dict(zip(group[0].names, group[0].texts, strict=True)),
        values=values,
        seeds=tuple(seeds),
        mean=mean(values),
        std=deviation(values),
        distance=None,
        relative=None,
        p_value=None,
        metrics={name: average(found) for name, found in metrics.items()},
        cases=len(group),
        failed=sum(not case.passed for case in group),
        nodeids=tuple(case.nodeid for case in group),
    )


def _order(texts: Iterable[str]) -> list[tuple[float, str]]:
    """Return a sort key for params: numbers by size, before other texts."""
    sizes = ((as_number(text.rpartition("=")[2]), text) for text in texts)
    return [(inf if size is None else size, text) for size, text in sizes]
