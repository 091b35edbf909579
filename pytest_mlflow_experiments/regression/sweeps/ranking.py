"""Rank the configurations of a sweep; t-tests tell which differ from the best."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
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
    Values that are not finite are left out. None with fewer values, and where neither configuration
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


def noise_limit(sweep: Sweep) -> float:
    """Return the p-value above which a configuration may be as good as the best.

    The best is the best of many, so that some of the others look worse by chance alone. So their
    p-values are taken together, by the method of Holm (1979): the probability that any
    configuration as good as the best is called worse is ``ALPHA`` at most. Infinite if all are
    worse.
    """
    found = sorted(
        other.p_value
        for other in sweep.configurations
        if other.p_value is not None and other.distance != 0
    )
    # Holm steps down from the smallest p, until one of them is not small enough.
    steps = enumerate(found)
    return next((p for step, p in steps if p > ALPHA / (len(found) - step)), inf)


Mark: TypeAlias = Literal["best", "near", "worse", ""]


def marks(sweep: Sweep) -> list[Mark]:
    """Mark each configuration as best, near or worse.

    Near ones are within noise of the best; the mark is empty without a p-value.
    """
    limit, best = noise_limit(sweep), sweep.best

    def mark(configuration: Configuration) -> Mark:
        if configuration is best or configuration.p_value is None:
            return "best" if configuration is best else ""
        is_near = configuration.p_value >= limit or configuration.distance == 0
        return "near" if is_near else "worse"

    return [mark(configuration) for configuration in sweep.configurations]


def _finite(configuration: Configuration) -> list[tuple[str, float]]:
    pairs = zip(configuration.seeds, configuration.values, strict=True)
    return [(seed, value) for seed, value in pairs if isfinite(value)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
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
    return tuple(_compared(configuration, best, best.mean, sign) for configuration in found)


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
