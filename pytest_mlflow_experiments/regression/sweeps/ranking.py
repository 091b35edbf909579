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
"""How often at most a configuration that is as good as the best may be told from it, in a sweep."""


def p_value(best: Configuration, other: Configuration) -> float | None:
    """Return the chance that two equally good configurations differ by as much as these two.

    It is two-sided. Where both ran with the same seeds, two of them or more, it is that of the
    paired t-test (Student 1908; ``scipy.stats.ttest_rel``), for the scatter that a seed brings to
    both of them cancels out. Otherwise, and where the differences are all the same, it is that of
    Welch's (Welch 1947; ``scipy.stats.ttest_ind(..., equal_var=False)``), from two values of each
    on. Values that are not finite are left out. None with fewer values, and where neither
    configuration scatters: repeating a frozen value tells nothing, unless both have the same one.
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
    """Return the p-value from which on a configuration may well be as good as the best.

    The best is the best of many, so that some of the others look worse by chance alone. So their
    p-values are taken together, by the method of Holm (1979): the chance that any configuration as
    good as the best is told from it is ``ALPHA`` at most. Infinite where all are told from it.
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
    """Return how each configuration stands to the best one.

    Those that are near are within noise of it; the empty text says that nobody can tell, for there
    is no p-value.
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
    """What is kept of one case: ``texts`` are its params, ``values`` those of ``metrics``.

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
    """Return the configurations, compared with the best one.

    First come those whose cases all passed, then those with a case that failed or with fewer values
    than most (seeds that were skipped or lost), both with the best mean first; last those without a
    mean that is a number (no value, NaN, infinity). Where two are equal, the order is that of their
    params. Without a mode the configurations stay as they are.
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
    """Return the configuration of some cases, not compared with any other yet."""
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
    """Return what sorts params as people do: numbers by their size, and before other texts."""
    sizes = ((as_number(text.rpartition("=")[2]), text) for text in texts)
    return [(inf if size is None else size, text) for size, text in sizes]
