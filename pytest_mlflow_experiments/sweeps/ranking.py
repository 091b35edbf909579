"""The configurations of a sweep, the best first."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TypeAlias, final

from .axis import number as as_number
from .model import Configuration, Mode, usual_n
from .moments import deviation, mean
from .noise import p_value


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
        metrics={name: _mean(found) for name, found in metrics.items()},
        cases=len(group),
        failed=sum(not case.passed for case in group),
        nodeids=tuple(case.nodeid for case in group),
    )


def _mean(values: Sequence[float]) -> float:
    found = mean(values)
    assert found is not None  # a metric is listed with its first value
    return found


def _order(texts: Iterable[str]) -> list[tuple[float, str]]:
    """Return what sorts params as people do: numbers by their size, and before other texts."""
    return [_place(text.rpartition("=")[2], text) for text in texts]


def _place(number: str, text: str) -> tuple[float, str]:
    size = as_number(number)
    return (float("inf"), text) if size is None else (size, text)
