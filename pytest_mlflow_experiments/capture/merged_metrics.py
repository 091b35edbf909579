"""Merge what a case logged and what its assertions saw: the metrics and checks of its record."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from operator import attrgetter
from types import MappingProxyType
from typing import Final, TypeAlias, final

from ..records import Check, Metric
from ..records.case import ANY_PLACE, MAX_PLACES
from .assertions.recorder import RAW_CLOCK, Observation, Observations, tolerance_of
from .measuring import Clock

_CLOCK = attrgetter("clock")
_SEPARATORS: Final = re.compile(r"[\W_]+")
_EXACT: Final = 1e-6
"""The relative tolerance, :func:`pytest.approx`'s own, within which two numbers are the same."""


@final
@dataclass(frozen=True, slots=True)
class LoggedMetric:
    """A value as a test logged it; ``step`` is None if the test gave none."""

    clock: float
    key: str
    value: float
    step: int | None


_Event: TypeAlias = LoggedMetric | Observation


@final
class _Series:
    """The values of one metric so far, and the assertions that saw the last of them."""

    __slots__ = (
        *("_sites", "_timestamps", "_value"),
        *("index", "is_curve", "next_step", "seen", "step", "usual_step"),
    )

    def __init__(self, steps: Sequence[Metric] = (), last: float | None = None) -> None:
        """Begin with what the test logged to its own run in MLflow: some steps and a last value."""
        self.step = max((metric.step for metric in steps), default=0)
        self.next_step = self.step + 1 if steps or last is not None else 0
        self.is_curve = len(steps) > 1
        # Below the last of several steps, it would not be what MLflow shows.
        self.usual_step = self.next_step if self.is_curve else 0
        self.index: int | None = None
        self.seen: dict[int, str] = {}
        """The indexes of the values that an assertion saw, with the keys of their places."""
        self._value = 0.0 if last is None else last
        self._sites: set[object] = set()
        self._timestamps = {metric.step: metric.timestamp for metric in steps}
        if last is not None:
            self._timestamps.setdefault(self.step, 0)

    def holds(self, site: object, value: float) -> bool:
        """Whether an assertion checks the last value once more, instead of adding a step.

        A second assertion on the same value does; the same assertion again (a loop) is a new step.
        """
        if not self._timestamps or site in self._sites:
            return False
        if not _is_same(self._value, value):
            return False
        self._sites.add(site)
        return True

    def put(
        self, metrics: list[Metric], key: str, value: float, step: int, at: int, site: object = None
    ) -> None:
        """Add a value to ``metrics``; its timestamp increases within a step, as MLflow expects."""
        last = self._timestamps.get(step)
        self._timestamps[step] = timestamp = at if last is None or last < at else last + 1
        self._value, self._sites = value, {site}
        self.step, self.next_step = step, max(self.next_step, step + 1)
        self.index = len(metrics)
        metrics.append(Metric(key=key, value=value, step=step, timestamp=timestamp))


def merge(
    logged: Sequence[LoggedMetric],
    observations: Iterable[Observation],
    clock: Clock,
    run_metrics: Mapping[str, float] = MappingProxyType({}),
    run_history: Sequence[Metric] = (),
    *,
    random_examples: bool = False,
) -> tuple[tuple[Metric, ...], tuple[Check, ...]]:
    """Merge logged and asserted values in the order of time.

    A logged value without a step has step 0, as in MLflow, or comes after the last step of the
    test's own run. An asserted value becomes the next step of its metric, unless it is the value
    that was logged or asserted last. A number that has two names is one metric.

    Args:
        logged: what the test logged.
        observations: what its assertions saw.
        clock: the clock of the case.
        run_metrics: the last values of the metrics of the test's own run in MLflow.
        run_history: all values of those of them that have several steps.
        random_examples: whether the values are those of random examples, which have no places.
    """
    if (
        isinstance(observations, Observations)
        and not (logged or run_metrics)
        and (simple := _each_once(observations, clock)) is not None
    ):
        return simple
    observed = [*observations]
    metrics: list[Metric] = []
    checks: list[Check] = []
    # The index of the value that each check saw, None for one of the test's own run.
    checked: list[int | None] = []
    series: defaultdict[str, _Series] = defaultdict(_Series)
    for name, last in run_metrics.items():
        series[name] = _Series([one for one in run_history if one.key == name], last)
    own = {*run_metrics, *[metric.key for metric in logged]}
    names = _names(logged, observed, run_metrics)
    events: list[_Event] = [*logged, *observed]
    for event in sorted(events, key=_CLOCK):
        if isinstance(event, LoggedMetric):
            state = series[event.key]
            state.is_curve |= event.step is not None
            step = state.usual_step if event.step is None else event.step
            state.put(metrics, event.key, event.value, step, clock.at(event.clock))
            continue
        key = names.get(event.name, event.name)
        # The limit is the number itself where a second name of it was compared with the first.
        is_twin = key == event.same_as != event.name and event.operator == "=="
        value = event.limit if is_twin else event.value
        state = series[key]
        if not state.holds(event.site, value):
            at = clock.at(event.clock)
            state.put(metrics, key, value, state.next_step, at, event.site)
        if state.index is not None:
            state.seen.setdefault(state.index, event.key)
        checked.append(state.index)
        checks.append(_check(event, key, state.step, logged=key in own, twin=is_twin))
    _set_places(metrics, series.values(), random_examples)
    for number, value_index in enumerate(checked):
        if value_index is not None and (place := metrics[value_index].place):
            checks[number] = replace(checks[number], place=place)
    return tuple(metrics), tuple(checks)


def _each_once(
    observations: Observations, clock: Clock
) -> tuple[tuple[Metric, ...], tuple[Check, ...]] | None:
    """Merge asserted values as :func:`merge` does, if each is of a metric of its own, else None.

    Most cases are so, and the only ones that are many. They take a third of the time this way.
    """
    metrics: dict[str, Metric] = {}
    checks: list[Check] = []
    raws = observations.raw
    for raw in sorted(raws, key=RAW_CLOCK) if len(raws) > 1 else raws:
        site, value, limit, how, passed, moment, *_ = raw
        name, operator, line, _, _, alternative, _, expression, same_as = site
        if same_as or name in metrics:
            return None
        metrics[name] = Metric(key=name, value=value, step=0, timestamp=clock.at(moment))
        check = Check(
            metric=name,
            step=0,
            operator=operator,
            value=value,
            limit=limit,
            tolerance=tolerance_of(value, limit, *how) if isinstance(how, tuple) else how,
            passed=passed,
            line=line,
            alternative=alternative,
            expression=expression,
        )
        checks.append(check)
    return tuple(metrics.values()), tuple(checks)


def _check(seen: Observation, metric: str, step: int, *, logged: bool, twin: bool) -> Check:
    return Check(
        metric=metric,
        step=step,
        operator=seen.operator,
        value=seen.value,
        limit=seen.limit,
        tolerance=seen.tolerance,
        passed=seen.passed,
        line=seen.line,
        alternative=seen.alternative,
        expression=seen.expression,
        logged=logged,
        twin=twin,
    )


def _set_places(metrics: list[Metric], series: Iterable[_Series], random_examples: bool) -> None:
    for state in series:
        if len(state.seen) > 1 and not state.is_curve:
            keys = [*state.seen.values()]
            places = [ANY_PLACE] * len(keys) if random_examples else _places(keys)
            for index, place in zip(state.seen, places, strict=True):
                metrics[index] = replace(metrics[index], place=place)


def _places(keys: Sequence[str]) -> list[str]:
    """Return the place of each value: its key, or its position among those with the same one."""
    if len(keys) > MAX_PLACES:
        return [ANY_PLACE] * len(keys)
    totals, counts = Counter(keys), Counter[str]()
    places = []
    for key in keys:
        counts[key] += 1
        position = f"{counts[key]} of {totals[key]}"
        places.append((f"{key}, {position}" if key else position) if totals[key] > 1 else key)
    return [place or "1 of 1" for place in places]


def _names(
    logged: Sequence[LoggedMetric],
    observed: Sequence[Observation],
    run_metrics: Mapping[str, float],
) -> dict[str, str]:
    """Map the names in assertions to the metrics that they stand for, if these have other names.

    It is so for the text ``result.metrics["exact/mean"]`` of what was logged as ``exact/mean``, for
    a variable that was logged under a name, and for ``a == approx(b)``.
    """
    last = {**run_metrics, **{metric.key: metric.value for metric in logged}}
    asserted = {one.name for one in observed}
    tails = {_words(key): key for key in last} if last else {}
    found: dict[str, str] = {}
    for one in observed:
        if one.name in last or one.name in found:
            continue
        key = one.same_as
        if key in last and one.operator != "==":
            if _is_same(last[key], one.value):
                found[one.name] = key
        elif key and one.operator == "==" and key != one.name and key in (asserted | last.keys()):
            if one.passed and (one.tolerance or 0.0) <= _EXACT * abs(one.limit):
                found[one.name] = key
        elif tails:
            words = _words(one.name.removesuffix(".last"))
            tail = max(
                (tail for tail in tails if f".{words}".endswith(f".{tail}")), key=len, default=""
            )
            if tail and _is_same(last[tails[tail]], one.value):
                found[one.name] = tails[tail]
    return {name: found.get(key, key) for name, key in found.items()}


def best_values(
    metrics: Iterable[Metric], patterns: Sequence[str], directions: Mapping[str, object]
) -> dict[str, float]:
    """Return the best value of each metric that matches a pattern, NaN if it ever was that.

    Where neither ``directions`` nor its name say what is better, a metric is left out.
    """
    # Only here: few tests want it.
    from ..regression.direction import direction_by_name
    from ..regression.tolerance import find, mentions

    found: dict[str, list[float]] = {}
    for metric in metrics:
        if mentions(metric.key, [(pattern, None) for pattern in patterns]):
            found.setdefault(metric.key, []).append(metric.value)
    best: dict[str, float] = {}
    for key, values in found.items():
        direction = find(key, directions.items()) or direction_by_name(key)
        if direction is not None:
            choice = max if direction == "max" else min
            best[key] = next((value for value in values if isnan(value)), choice(values))
    return best


def _words(name: str) -> str:
    return _SEPARATORS.sub(".", name).strip(".")


def _is_same(value: float, other: float) -> bool:
    return value == other or (isnan(value) and isnan(other))
