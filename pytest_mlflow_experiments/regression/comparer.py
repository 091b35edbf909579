"""Judge every metric of a case: the rule, with the history and the options that apply to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import isnan
from typing import TypeAlias, final

from ..records.accepted import AcceptedStep, newest
from .comparison import Margin, MetricComparison
from .direction import infer_direction, is_cost
from .findings import Direction, RuleOptions
from .rule import Verdict, judge
from .statistics import average
from .tolerance import Tolerance, direction_of, find, mentions
from .values import CaseValues, SessionValues

_ENOUGH = 5

SEED_PARAMS = frozenset({"seed", "random_state", "repeat"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSeries:
    """The current values and the history of one metric of one case, which a rule judges.

    ``current`` holds one value, or one for each fresh run; ``history`` one for each comparable
    session of the baseline, the oldest first.
    """

    case: str
    metric: str
    current: tuple[float, ...]
    history: tuple[float, ...]
    direction: Direction | None
    options: RuleOptions


Rule: TypeAlias = Callable[[MetricSeries], Verdict]


def default_rule(series: MetricSeries) -> Verdict:
    """Judge a metric by the rule that comes with the plugin."""
    return judge(series.current, series.history, direction=series.direction, options=series.options)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How to compare.

    Tolerances and directions go from patterns of metric names to values. ``tolerances``, those of
    the command line, win over a marker's, and these over ``ini_tolerances``; a marker's direction
    wins over ``directions``, those of the ini file.
    """

    seed_params: AbstractSet[str] = SEED_PARAMS
    window: int = 20
    ini_tolerances: Sequence[tuple[str, Tolerance]] = ()
    tolerances: Sequence[tuple[str, Tolerance]] = ()
    directions: Sequence[tuple[str, Direction | None]] = ()
    accepted: Sequence[AcceptedStep] = ()
    rule: Rule = default_rule


def known_direction(
    metric: str,
    operators: Iterable[str],
    marked: Mapping[str, str],
    directions: Sequence[tuple[str, Direction | None]],
) -> tuple[Direction | None, bool]:
    """Return the direction of a metric, and whether a user set it.

    ``operators`` are those of the assertions that guard it; ``marked`` are the directions of the
    test's marker, ``directions`` those of the ini file, by pattern.
    """
    of_marker = [(name, direction_of(text)) for name, text in marked.items()]
    for rules in (of_marker, directions):
        if mentions(metric, rules):
            return find(metric, rules), True
    return infer_direction(metric, operators), False


_Past: TypeAlias = list[tuple[SessionValues, CaseValues]]
"""The past sessions with a case's values, the oldest first."""


@final
class Comparer:
    """Compares cases, one after the other, with the past sessions."""

    def __init__(self, past: Sequence[SessionValues], options: CompareOptions) -> None:
        self._options = options
        self._history: dict[str, _Past] = {}
        for session in past:
            for case, values in session.cases.items():
                if values.passed:
                    past_of_case = self._history.setdefault(case, [])
                    if len(_without_origins(values, past_of_case)) == len(past_of_case):
                        past_of_case.append((session, values))

    def case(self, case: CaseValues) -> Iterator[MetricComparison]:
        """Yield the comparison of each metric of a case that ran."""
        if not case.passed:
            return
        past = _without_origins(case, self._history.get(case.case, []))
        comparable = _comparable(case, past)
        for metric, values in case.metrics.items():
            history = self._values(case, metric, comparable)
            left_out = [old for _, old in past if metric in old.metrics] if not history else []
            different = next(filter(None, (_difference(case, old) for old in left_out)), None)
            yield self._judged(case, metric, values, history, different)
        if past:
            reason = "the test passed without this metric, which its baseline has"
            yield from self.missing(case, past[-1], case.metrics, reason)

    def missing(
        self,
        case: CaseValues,
        last: tuple[SessionValues, CaseValues],
        found: Collection[str],
        reason: str,
    ) -> Iterator[MetricComparison]:
        """Yield the metrics that the last session of a case had and that are missing now."""
        for metric in last[1].metrics.keys() - set(found) - last[1].optional:
            if history := self._values(last[1], metric, [last]):
                yield self._missing(case, metric, history, reason)

    def is_suspect(self, case: CaseValues) -> bool:
        """Return whether a metric that could gate looks bad enough for fresh runs."""
        comparable = _comparable(case, self._history.get(case.case, []))
        for metric, values in case.metrics.items():
            if history := self._values(case, metric, comparable):
                series, advisory = self._series(case, metric, values, history)
                if not advisory and self._options.rule(series).suspect:
                    return True
        return False

    def _values(self, case: CaseValues, metric: str, past: _Past) -> tuple[float, ...]:
        """Return the history of a metric since the last accepted step, one value a session."""
        step = newest(self._options.accepted, case.case, metric)
        cost, seeds = is_cost(metric), frozenset(case.seeds.get(metric, ()))
        return tuple(
            average(values, cost=cost)
            for session, old in past
            if (step is None or step.id in session.header.accepted)
            and (values := old.values_of(metric, seeds))
        )

    def _series(
        self, case: CaseValues, metric: str, values: Sequence[float], history: tuple[float, ...]
    ) -> tuple[MetricSeries, bool]:
        """Return the series that the rule judges, and whether its verdict is advisory."""
        options = self._options
        marked = [(name, Tolerance.parse(text)) for name, text in case.tolerances.items()]
        levels = (options.tolerances, marked, options.ini_tolerances)
        tolerance = next((find(metric, rules) for rules in levels if mentions(metric, rules)), None)
        operators = case.operators.get(metric, ())
        direction, explicit = known_direction(
            metric, operators, case.directions, options.directions
        )
        cost = is_cost(metric)
        current = tuple(values) if case.fresh else (average(values, cost=cost),)
        series = MetricSeries(
            case=case.case,
            metric=metric,
            current=current,
            history=history,
            direction=direction,
            options=RuleOptions(window=options.window, cost=cost, tolerance=tolerance),
        )
        if direction is None:
            # Whoever sets a tolerance wants a verdict, unless no direction is meant.
            return series, tolerance is None or explicit
        return series, cost and tolerance is None and not explicit

    def _judged(
        self,
        case: CaseValues,
        metric: str,
        values: Sequence[float],
        history: tuple[float, ...],
        different: str | None,
    ) -> MetricComparison:
        series, advisory = self._series(case, metric, values, history)
        verdict = self._options.rule(series)
        unconfirmed = metric in case.unconfirmed and verdict.suspect and not advisory
        if different is not None:
            verdict = replace(verdict, status="not comparable", suspect=False, reason=different)
        elif unconfirmed:
            verdict = replace(
                verdict,
                status="inconclusive",
                reason="it looked worse, and none of the fresh runs yielded it again",
            )
        elif len(history) < _ENOUGH and (step := newest(self._options.accepted, case.case, metric)):
            verdict = replace(verdict, reason=f"{verdict.reason}; accepted: {step.reason}")
        undirected = series.direction is None and not advisory
        no_number = verdict.current is not None and isnan(verdict.current)
        gates = (
            unconfirmed
            or (verdict.status == "regressed" and (not advisory or no_number))
            or (verdict.status == "inconclusive" and (no_number or undirected))
        ) and not (series.options.cost and advisory)
        return _row(case, series, verdict, gates=gates, advisory=advisory and not gates)

    def _missing(
        self, case: CaseValues, metric: str, history: tuple[float, ...], reason: str
    ) -> MetricComparison:
        series, advisory = self._series(case, metric, history, history)
        series = replace(series, current=())
        verdict = replace(self._options.rule(series), status="missing", reason=reason)
        gates = not (series.options.cost and advisory)
        return _row(case, series, verdict, gates=gates, advisory=not gates)


_FIGURES = (
    "status",
    "current",
    "baseline",
    "change",
    "relative",
    "limit",
    "p_value",
    "n",
    "reason",
)
"""The fields that a row copies from the verdict."""


def _row(
    case: CaseValues, series: MetricSeries, verdict: Verdict, *, gates: bool, advisory: bool
) -> MetricComparison:
    tolerance = series.options.tolerance
    return MetricComparison(
        case=case.case,
        name=case.name,
        nodeid=case.nodeid,
        metric=series.metric,
        gates=gates,
        advisory=advisory,
        cost=series.options.cost,
        direction=series.direction,
        values=tuple(case.metrics.get(series.metric, ())) if series.current else (),
        history=series.history,
        tolerance=None if tolerance is None else str(tolerance),
        margin=_margin(case, series.metric, verdict.baseline),
        fresh=case.fresh if series.current else 0,
        **{name: getattr(verdict, name) for name in _FIGURES},
    )


def _margin(case: CaseValues, metric: str, baseline: float | None) -> Margin | None:
    check = case.checks.get(metric)
    if check is None:
        return None
    return Margin(
        operator=check.operator,
        limit=check.limit,
        tolerance=check.tolerance,
        margin=check.margin,
        baseline_margin=None if baseline is None else replace(check, value=baseline).margin,
    )


def _without_origins(case: CaseValues, past: _Past) -> _Past:
    """Return the past sessions without those that a resumed case was measured in."""
    if not case.origins:
        return past
    return [
        (session, old)
        for session, old in past
        if case.origins.isdisjoint((session.header.session_id, *old.origins))
    ]


def _comparable(case: CaseValues, past: _Past) -> _Past:
    return [entry for entry in past if _difference(case, entry[1]) is None]


def _difference(case: CaseValues, old: CaseValues) -> str | None:
    """Return how the data or params of a case differ from an earlier session's, or None."""
    mine, theirs = case.context, old.context
    for name in mine.keys() & theirs.keys():
        if mine[name] != theirs[name]:
            return f"{name} was {theirs[name]} and is {mine[name]} now"
    return None
