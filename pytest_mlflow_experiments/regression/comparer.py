"""Judge every metric of a case: the rule, with the history and the options that apply to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import isfinite, isnan
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias, cast, final

from ..records import FAILED_OUTCOMES, CaseRecord, Check, function_of
from ..records.accepted import ACCEPTED_FILE, AcceptedStep, MetricLevel, newest
from ..records.case import SUMMARIES, is_key, name_at, placeless
from ..records.param_kinds import SEED_PARAMS as SEED_PARAMS
from .comparison import Acceptance, Margin, MetricComparison, MissedLimit
from .examples import Examples, judge_accepted_rate
from .findings import UNKNOWN_DIRECTION, Direction, RuleOptions
from .guards import (
    Guard,
    Meaning,
    is_guarded_cost,
    is_residual,
    meaning_of,
    negligible,
    own_limit,
)
from .levels import RECENT
from .rule import Verdict, difference
from .session_rule import MetricSeries, groups_of_examples, judge_alone, judge_grouped
from .statistics import average, finite_mean
from .sweeps.model import Sweep
from .tolerance import Tolerance, direction_of, find, mentions
from .values import CaseValues, SessionValues, changed, is_position, values_of

Rule: TypeAlias = Callable[[MetricSeries], "Verdict | None"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How to compare.

    Tolerances, smallest effects and directions go from patterns of metric names to values.
    ``tolerances``, those of the command line, win over a marker's, and these over
    ``ini_tolerances``; a marker's direction wins over ``directions``, and its smallest effect over
    ``min_effects``, those of the ini file. ``rule`` is the project's own, asked first, and
    ``gate_drift`` tells that drifting metrics gate, ``pinned`` that somebody named the session that
    the baseline ends at, ``strict_guards`` that other guards gate that nobody has accepted.
    """

    seed_params: AbstractSet[str] = SEED_PARAMS
    window: int = 20
    ini_tolerances: Sequence[tuple[str, Tolerance]] = ()
    tolerances: Sequence[tuple[str, Tolerance]] = ()
    directions: Sequence[tuple[str, Direction | None]] = ()
    min_effects: Sequence[tuple[str, Tolerance]] = ()
    accepted: Sequence[AcceptedStep] = ()
    rule: Rule | None = None
    gate_drift: bool = False
    pinned: bool = False
    strict_guards: bool = False


def known_direction(
    metric: str,
    guards: Collection[Guard],
    marked: Mapping[str, str],
    directions: Sequence[tuple[str, Direction | None]],
) -> tuple[Meaning, bool]:
    """Return the direction of a metric, and whether a user set it.

    ``guards`` are the assertions that guard it; ``marked`` are the directions of the test's marker,
    ``directions`` those of the ini file, by pattern.
    """
    if marked or directions:
        of_marker = [(name, direction_of(text)) for name, text in marked.items()]
        for rules in filter(None, (of_marker, directions)):
            if mentions(metric, rules):
                said = find(metric, rules)
                return Meaning(said), True
    return _known_meaning(placeless(metric), frozenset(guards)), False


# A session repeats a few metrics, and asks for them in the same ways, in every case.
_known_meaning = lru_cache(maxsize=4_096)(meaning_of)
_is_known_cost = lru_cache(maxsize=4_096)(is_guarded_cost)


@lru_cache(maxsize=1_024)
def _rule_options(
    window: int, cost: bool, tolerance: Tolerance | None, effect: Tolerance | None
) -> RuleOptions:
    rule = RuleOptions(window=window, cost=cost, tolerance=tolerance)
    if effect is None:
        return rule
    if effect.relative:
        return replace(rule, min_effect=effect.amount)
    return replace(rule, min_change=effect.amount)


class _Terms(NamedTuple):
    """What a metric is judged by; ``explicit`` tells that a user set its direction."""

    meaning: Meaning
    explicit: bool
    tolerance: Tolerance | None
    effect: Tolerance | None
    rule: RuleOptions


_Values: TypeAlias = "tuple[float, ...] | tuple[tuple[float, ...], ...]"

_Past: TypeAlias = list[tuple[SessionValues, CaseValues]]
"""The past sessions with a case's values, the oldest first."""

_Told: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]
"""The names of sessions, and their places among all past ones."""


@final
@dataclass(slots=True, kw_only=True)
class _Row:
    """One metric of one case on its way to a verdict.

    ``params`` are those of the case as reports show them.
    ``sessions`` are the places of the history's sessions among all past ones, empty where it has
    all of them; ``seeds`` are those of values that are compared in pairs.
    ``known`` is the level that ``step`` accepts, ``rate`` that of all examples, ``limits`` are
    those of the newest past session. ``held`` is the level that sessions of the history had fallen
    from, ``fresh`` are the values of fresh runs, ``missing`` is the reason why there is no value
    now, ``different`` why the history is not comparable, and ``contradiction`` why nobody knows the
    direction.
    """

    case: CaseValues
    params: Mapping[str, str]
    series: MetricSeries
    advisory: bool
    sessions: tuple[int, ...] = ()
    seeds: Sequence[str] = ()
    step: AcceptedStep | None = None
    known: MetricLevel | None = None
    rate: MetricLevel | None = None
    limits: str = ""
    held: MetricLevel | None = None
    fresh: tuple[float, ...] = ()
    missing: str | None = None
    different: str | None = None
    contradiction: str | None = None
    verdict: Verdict | None = field(default=None)


@final
class Comparer:
    """Compares cases with the past sessions: first all are added, then :meth:`judged` together."""

    def __init__(self, past: Sequence[SessionValues], options: CompareOptions) -> None:
        self._options = options
        self._history: dict[str, _Past] = {}
        self._held: dict[str, list[tuple[SessionValues, MetricLevel]]] = {}
        self._rows: list[_Row] = []
        self._shown: tuple[CaseValues | None, Mapping[str, str]] = (None, {})
        self._accepted = {
            (step.id, level.case, level.metric): level
            for step in options.accepted
            for level in step.levels
        }
        self._names = {session.header.session_id: name_of(session) for session in past}
        self._places = {id(session): place for place, session in enumerate(past)}
        # All metrics of a case, and most cases, have the same.
        self._known_sessions: dict[tuple[int, ...], _Told] = {}
        self._last_told: tuple[_Past, _Told] = ([], ((), ()))
        self._known_terms: dict[tuple[str, frozenset[Guard]], _Terms] = {}
        for session in past:
            for case, values in session.cases.items():
                if not values.passed:
                    continue
                past_of_case = self._history.setdefault(case, [])
                if not values.origins or len(past_of_case) == len(
                    _without_origins(values, past_of_case)
                ):
                    past_of_case.append((session, values))
            for level in session.end.levels if session.end is not None else ():
                self._held.setdefault(level.case, []).append((session, level))

    def add(self, case: CaseValues) -> None:
        """Add the metrics of a case that ran."""
        if not case.passed:
            return
        past = _without_origins(case, self._history.get(case.case, []))
        for row in self._measured(case, past):
            if not row.series.history:
                left_out = [old for _, old in past if row.series.metric in old.metrics]
                row.different = next(
                    filter(None, (_difference(case, old) for old in left_out)), None
                )
            self._rows.append(row)
        if past:
            reason = "the test passed without this metric, which its baseline has"
            found = self._left_out(case, past).union(case.metrics)
            self.add_missing(case, past[-1], found, reason)

    def knows(self, case: str) -> bool:
        """Return whether a past session has the case."""
        return case in self._history

    def missed(self, case: str, record: CaseRecord) -> Iterator[MissedLimit]:
        """Yield the limits that a failed case missed, each with the level of the baseline."""
        past = self._history.get(case, [])
        found: dict[str, Check] = {}
        for check in record.checks:
            if not (check.passed or check.alternative) and record.outcome in FAILED_OUTCOMES:
                found.setdefault(name_at(check.metric, check.place), check)
        for metric, check in [*found.items()][:_MISSED]:
            row = None
            if past and metric in past[-1][1].metrics:
                row = self._row(past[-1][1], metric, past[-1][1], past)
            level = row and self._judge_alone(replace(row.series, current=())).baseline
            yield MissedLimit(
                metric=metric,
                value=check.value,
                operator=check.operator,
                limit=check.limit,
                tolerance=check.tolerance,
                baseline=level,
            )

    def add_failed(self, case: CaseValues, record: CaseRecord) -> None:
        """Add the metrics that a failed case was expected to have and did not reach."""
        past = self._history.get(case.case)
        if past and not case.passed:
            reached = {placeless(name) for name in values_of(record)}
            found = [name for name in past[-1][1].metrics if placeless(name) in reached]
            what = "an error" if record.outcome == "error" else "a failure"
            reason = f"the test ended with {what} before it was measured"
            if told := _last_words(record.failure):
                reason = f"{reason}: {told}"
            self.add_missing(case, past[-1], found, reason, costs=False)

    def add_missing(
        self,
        case: CaseValues,
        last: tuple[SessionValues, CaseValues],
        found: Collection[str],
        reason: str,
        *,
        costs: bool = True,
    ) -> None:
        """Add the metrics that the last session of a case had and that are missing now."""
        for metric in _expected(last[1], found):
            row = self._row(case, metric, last[1], [last])
            if row is not None and row.series.history and (costs or not row.series.options.cost):
                row.series = replace(row.series, current=())
                row.missing = reason
                self._rows.append(row)

    def add_sweep(self, sweep: Sweep, now: SessionValues, past: Sequence[SessionValues]) -> None:
        """Add the objective of a sweep whose grid has changed since the last of the past sessions.

        It has two values: that of the best point, and the mean of those that are there still.
        """
        current, *before = (_points(sweep, session) for session in (now, *past))
        shared = current.keys() & before[-1].keys()
        cases = [_as_case(sweep, points, shared) for points in (current, *before)]
        history = [pair for pair in zip(past, cases[1:], strict=True) if pair[1].metrics]
        self._rows += self._measured(cases[0], history)
        if history:
            self.add_missing(
                cases[0], history[-1], cases[0].metrics, "no point of the sweep passed"
            )

    def suspects(self, case: CaseValues) -> list[MetricSeries]:
        """Return the metrics of a case that could gate and look bad enough for fresh runs."""
        past = self._history.get(case.case, [])
        rows = [row for row in self._measured(case, past) if not row.advisory]
        # An example of an evaluation is not judged by itself.
        found = [row.series for row in rows]
        if "[" in case.case:
            found = [series for series in found if not Examples.are([series])]
        return [
            series
            for series in found
            if (series.history or series.accepted) and self._judge_alone(series).suspect
        ]

    def need_more(self, suspects: Sequence[MetricSeries], case: CaseValues) -> bool:
        """Return whether another fresh run may decide on one of the suspect metrics."""
        for series in suspects:
            values = tuple(case.again.get(series.metric, ()))
            fresh = replace(series, current=values, reseeded=case.reseeded)
            if not values or self._judge_alone(fresh, fresh=True).suspect:
                return True
        return False

    def judged(self) -> Iterator[MetricComparison]:
        """Yield the comparison of each metric that was added."""
        if self._options.rule is not None:
            for row in self._rows:
                row.verdict = self._options.rule(row.series)
        open_rows = [row for row in self._rows if row.verdict is None]
        series = [row.series for row in open_rows]
        groups = groups_of_examples(series)
        for row, verdict in zip(open_rows, judge_grouped(series, groups), strict=True):
            row.verdict = verdict
        self._judge_fresh()
        for places in groups:
            yield _rate([open_rows[place] for place in places])
        examples = {id(open_rows[place]) for places in groups for place in places}
        for rows in _accepted_rates(row for row in open_rows if id(row) not in examples):
            yield _accepted_rate(rows)
            examples.update(map(id, rows))
        for row in self._rows:
            if id(row) not in examples:
                yield self._compared(row)

    def contradictions(self) -> Iterator[str]:
        """Yield a note if name and assertion of a metric disagree, unless its change tells."""
        told = {
            row.series.metric: row.contradiction
            for row in self._rows
            if row.contradiction is not None
            and (row.verdict is None or row.verdict.status != "inconclusive")
        }
        for metric, contradiction in [*told.items()][:1]:
            others = f" (like {len(told) - 1:,} more)" if len(told) > 1 else ""
            yield f"{metric}{others} is not judged: {contradiction}"

    def _judge_alone(self, series: MetricSeries, *, fresh: bool = False) -> Verdict:
        own = self._options.rule(series) if self._options.rule is not None else None
        return own or judge_alone(series, fresh=fresh)

    def _judge_fresh(self) -> None:
        """Judge suspect metrics by their fresh runs, each by its own."""
        for row in self._rows:
            if row.fresh and row.verdict is not None and row.verdict.suspect and not row.advisory:
                fresh = replace(row.series, current=row.fresh, reseeded=row.case.reseeded)
                row.verdict = replace(self._judge_alone(fresh, fresh=True), suspect=False)
            else:
                row.fresh = ()

    def _measured(self, case: CaseValues, past: _Past) -> Iterator[_Row]:
        comparable = _comparable(case, past)
        left_out = self._left_out(case, past)
        columns = _columns(comparable)
        for metric in case.metrics:
            if metric in left_out:
                continue
            row = self._row(case, metric, case, comparable, columns)
            if row is not None:
                if case.again:
                    row.fresh = tuple(case.again.get(metric, ()))
                yield row

    def _left_out(self, case: CaseValues, past: _Past) -> set[str]:
        """Return the names under which values at several places are not compared.

        These are the summaries if the places are those of the history, else the single values and
        the better end.
        """
        left_out: set[str] = set()
        past = _comparable(case, past) if case.places else []
        for name, places in case.places.items():
            before = [old.places[name] for _, old in past if name in old.places]
            lowest, highest, mean = (name_at(name, one) for one in SUMMARIES)
            if places and _are_alike(places, before):
                left_out |= {name, lowest, highest, mean}
                continue
            meaning, _ = known_direction(
                name, case.guards_of(name), case.directions, self._options.directions
            )
            better = {"max": {highest}, "min": {lowest}}.get(meaning.direction or "", set())
            left_out |= {name, *better}.union(places, *before)
        return left_out

    def _level(self, step: AcceptedStep, case: str, metric: str) -> MetricLevel | None:
        return self._accepted.get((step.id, case, metric))

    def _row(
        self,
        case: CaseValues,
        metric: str,
        values: CaseValues,
        past: _Past,
        columns: Mapping[str, tuple[float, ...]] = MappingProxyType({}),
    ) -> _Row | None:
        """Return the series that the rule judges, with its history since the last accepted step.

        None is a metric that is not judged: assertions check its range, or it is nothing beside
        their limit, and nobody wants more. ``columns`` are those of ``past``.
        """
        options = self._options
        accepted = options.accepted
        step = newest(accepted, case.case, metric) if accepted else None
        if step is None and case.recorded:
            step = newest(accepted, case.recorded, metric)
        column = columns.get(metric)
        if column is None:
            having = [entry for entry in past if metric in entry[1].metrics]
            past = past if len(having) == len(past) else having
        name = placeless(metric)
        limits = past[-1][1].limits.get(name, "") if past else ""
        if step is not None:
            column = None
            past = [entry for entry in past if step.id in entry[0].header.accepted]
        guards = frozenset(values.guards_of(metric))
        meaning, explicit, tolerance, effect, rule = self._terms(case, metric, guards)
        direction, cost = meaning.direction, rule.cost
        if meaning.is_range and tolerance is None:
            return None
        held = None
        if levels := self._held.get(case.case):
            # A session that was not compared with any baseline knows of no level.
            held = next(
                (
                    level
                    for session, level in reversed(levels)
                    if level.metric == metric and any(session is one for one, _ in past)
                ),
                None,
            )
        every = past
        seeds, past = _common_seeds(values, metric, past)
        column = column if past is every else None
        current, history = _by_session(values, metric, seeds, past, column, cost=cost)
        names, places = self._told(past)
        check = values.check_of(metric)
        if check is not None and tolerance is None and effect is None:
            least = negligible(check, _means(history))
            if least is not None and is_residual(check, _flat(current), least):
                return None
            rule = rule if least is None else replace(rule, min_change=least)
        # As long as the history shows the level itself, that tells more than the record of it.
        shown = held is None or (held.since in names and names.index(held.since) >= RECENT)
        level = None if held is None or shown else held.level
        known = rate = None
        if step is not None:
            known = self._level(step, case.case, metric) or self._level(step, case.recorded, metric)
            rate = self._level(step, case.case.partition("[")[0], metric)
        series = MetricSeries(
            case=case.case,
            metric=metric,
            current=current,
            history=history,
            direction=direction,
            options=rule,
            accepted=None if known is None or level else known.level,
            level=level,
            level_until=None if level is None or held is None else held.since,
            names=names,
            pinned=options.pinned,
        )
        # Whoever sets a tolerance wants a verdict, unless no direction is meant.
        advisory = tolerance is None or explicit
        if direction is not None:
            advisory = cost and tolerance is None and not explicit
        if self._shown[0] is not case:
            self._shown = case, case.shown_context()
        return _Row(
            case=case,
            params=self._shown[1],
            series=series,
            advisory=advisory,
            sessions=places,
            seeds=seeds if len(seeds) > 1 else (),
            step=step,
            known=known,
            rate=rate,
            limits=limits,
            held=held,
            contradiction=meaning.contradiction,
        )

    def _terms(self, case: CaseValues, metric: str, guards: frozenset[Guard]) -> _Terms:
        """Return what a metric is judged by."""
        # Without a marker, all cases of a session have the same terms for a metric.
        is_marked = bool(case.directions or case.tolerances or case.min_effects)
        key = metric, guards
        if not is_marked and (known := self._known_terms.get(key)) is not None:
            return known
        options = self._options
        meaning, explicit = known_direction(metric, guards, case.directions, options.directions)
        cost = _is_known_cost(placeless(metric), guards)
        tolerance = _first_of(metric, options.tolerances, case.tolerances, options.ini_tolerances)
        effect = _first_of(metric, (), case.min_effects, options.min_effects)
        rule = _rule_options(options.window, cost, tolerance, effect)
        terms = _Terms(meaning, explicit, tolerance, effect, rule)
        if not is_marked:
            self._known_terms[key] = terms
        return terms

    def _told(self, past: _Past) -> _Told:
        """Return the names of sessions, and their places if they are not all of the past."""
        if past is self._last_told[0]:
            return self._last_told[1]
        key = tuple([id(session) for session, _ in past])
        if (told := self._known_sessions.get(key)) is None:
            names = tuple([self._names[session.header.session_id] for session, _ in past])
            places = tuple([self._places.get(one, -1) for one in key])
            is_part = len(places) < len(self._places) and -1 not in places
            told = self._known_sessions[key] = names, places if is_part else ()
        self._last_told = past, told
        return told

    def _compared(self, row: _Row) -> MetricComparison:
        """Return the comparison of a metric that was judged."""
        verdict, advisory, cost = row.verdict, row.advisory, row.series.options.cost
        assert verdict is not None
        if row.contradiction is not None:
            reason = verdict.reason.removesuffix(f", but {UNKNOWN_DIRECTION}")
            verdict = replace(verdict, reason=f"{reason}; {row.contradiction}")
        if row.missing is not None:
            # Nothing was held against the limit.
            verdict = replace(verdict, status="missing", reason=row.missing, limit=None)
            gates = not (cost and advisory)
            return _comparison(row, verdict, gates=gates, advisory=not gates)
        unconfirmed = row.case.fresh > 0 and not row.fresh and verdict.suspect and not advisory
        level = None if row.known is None else row.known.level.value
        if level is not None and row.step and not isfinite(level) and not row.series.history:
            # Nothing is worse than NaN; for whatever is better there is no history yet.
            same = isnan(level) and verdict.current is not None and isnan(verdict.current)
            if same or verdict.current == level:
                told = f"the same as what was accepted; accepted: {row.step.reason}"
                verdict = replace(verdict, status="accepted", suspect=False, reason=told)
        elif row.different is not None:
            verdict = replace(verdict, status="not comparable", suspect=False, reason=row.different)
        elif row.case.cut_short and verdict.suspect and not row.fresh and not advisory:
            verdict = replace(
                verdict, reason=f"{verdict.reason} (not run again: the time for that was used up)"
            )
        elif unconfirmed:
            verdict = replace(
                verdict,
                status="inconclusive",
                reason="it looked worse, and none of the fresh runs had it again",
            )
        elif row.step is not None and len(row.series.history) < _TOLD:
            if row.known and not row.series.history and _is_accepted(verdict, row):
                verdict = replace(verdict, status="accepted")
            reason = f"{verdict.reason}; accepted: {row.step.reason}"
            if verdict.status == "new" and row.known is None:
                reason += (
                    f"; {ACCEPTED_FILE} has no value of it, so any value passes now: "
                    "`pytest-mlflow accept` writes it"
                )
            verdict = replace(verdict, reason=reason)
        unconfirmed = unconfirmed and verdict.status == "inconclusive"
        undirected = row.series.direction is None and not advisory
        no_number = (
            verdict.current is not None and isnan(verdict.current) and verdict.status != "accepted"
        )
        gates = (
            (unconfirmed and not row.case.cut_short)
            or (verdict.status == "regressed" and (not advisory or no_number))
            or (verdict.status == "inconclusive" and (no_number or undirected))
            or (verdict.status == "drifting" and self._options.gate_drift and not advisory)
        ) and not (cost and advisory)
        return _comparison(row, verdict, gates=gates, advisory=advisory and not gates)


def _is_accepted(verdict: Verdict, row: _Row) -> bool:
    """Whether a value is as good as the accepted one, and not as good as the one before it."""
    before = row.known.before if row.known is not None else None
    if verdict.status != "improved" or before is None or verdict.current is None:
        return verdict.status == "unchanged"  # as a tolerance has it
    is_less = verdict.current < before
    return is_less if row.series.direction == "max" else verdict.current > before


_MISSED = 10
"""The number of missed limits told of a case."""

_TOLD = 5
"""In the first sessions after an accepted step, its reason is told."""


def name_of(session: SessionValues) -> str:
    """Return the name of a session in sentences: its commit, else its own."""
    return (session.header.commit or "")[:7] or session.header.name


def _comparison(row: _Row, verdict: Verdict, *, gates: bool, advisory: bool) -> MetricComparison:
    series, case, names, held = row.series, row.case, row.series.names, row.held
    tolerance = series.options.tolerance
    values = row.fresh or (case.metrics.get(series.metric, ()) if series.current else ())
    since, below = verdict.level_since, verdict.below_since
    below_since = None if below is None or below >= len(names) else names[below]
    p_value, exceptions, n = verdict.p_value, verdict.exceptions, verdict.n
    if verdict.decisive is not None:
        p_value = verdict.decisive
    elif verdict.status == "regressed":
        exceptions = ()  # it regressed with them too
    if held and below is not None:
        # It is the same level still, though the history has lost some or all of it.
        below_since = below_since if series.level is None else held.since
        n = max(n, held.level.n)
    step, known = row.step, row.known
    accepted = None
    if step is not None and len(series.history) < _TOLD:
        accepted = Acceptance(id=step.id, reason=step.reason)
        if known is not None:
            accepted = replace(accepted, value=known.level.value, before=known.before)
    margin = _margin(case, series.metric, (verdict.current, verdict.baseline), row.limits)
    checks = case.limits.get(placeless(series.metric), "")
    found = MetricComparison(
        case=case.case,
        name=case.name,
        nodeid=case.nodeid,
        metric=series.metric,
        status=verdict.status,
        gates=gates,
        advisory=advisory,
        cost=series.options.cost,
        direction=series.direction,
        values=tuple(values),
        history=_means(series.history),
        current=verdict.current,
        baseline=verdict.baseline,
        change=verdict.change,
        relative=verdict.relative,
        limit=verdict.limit,
        p_value=p_value,
        n=n,
        tolerance=None if tolerance is None else str(tolerance),
        margin=margin,
        fresh=len(row.fresh),
        reason=verdict.reason,
        level_since=None if since is None or since >= len(names) else names[since],
        below_since=below_since,
        exceptions=tuple([names[place] for place in exceptions if place < len(names)]),
        scatter=verdict.scatter,
        accepted=accepted,
        sessions=row.sessions,
        seeds=_by_seed(row) if series.current and not row.fresh else _NO_SEEDS,
        params=row.params,
        checks=checks if ", " in checks else "",
    )
    if verdict.status != "accepted" or known is None or known.before is None:
        return found
    # What the metric was before is what people compare it with; what it must be, tells the limit.
    change, relative = difference(verdict.current, known.before)
    return replace(
        found,
        baseline=known.before,
        change=change,
        relative=relative,
        margin=_margin(case, series.metric, (verdict.current, known.before), row.limits),
    )


_NO_SEEDS: Final[Mapping[str, tuple[float, ...]]] = {}
"""One for all metrics: most cases are not repeated."""


def _by_seed(row: _Row) -> Mapping[str, tuple[float, ...]]:
    """Return the value of each repeat, and the newest past one where values are paired."""
    if row.case.passed < 2:
        return _NO_SEEDS
    now, history = row.case.by_seed(row.series.metric), row.series.history
    if len(now) < 2:
        return _NO_SEEDS
    last = history[-1] if history and isinstance(history[-1], tuple) else ()
    before = dict(zip(row.seeds, last, strict=False))
    return {
        seed: (value, before[seed]) if seed in before else (value,) for seed, value in now.items()
    }


def _accepted_rates(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Yield the examples of each evaluation whose rate was accepted and that have no history."""
    groups: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        if row.rate is not None and not row.series.history and row.series.direction is not None:
            groups.setdefault((row.rate.case, row.series.metric), []).append(row)
    for group in groups.values():
        if "[" in group[0].series.case and all(row.series.current[0] in (0, 1) for row in group):
            yield group


def _accepted_rate(rows: Sequence[_Row]) -> MetricComparison:
    """Return the comparison of examples with the rate that was accepted."""
    first = rows[0]
    series, rate = first.series, first.rate
    assert rate is not None
    assert series.direction is not None
    values = [float(row.series.current[0]) for row in rows]  # type: ignore[arg-type] # no tuples
    verdict = judge_accepted_rate(values, rate.level, series.direction, series.options)
    gates = verdict.status == "regressed" and not first.advisory
    row = _comparison(replace(first, known=rate), verdict, gates=gates, advisory=first.advisory)
    stem = first.case.name.partition("[")[0]
    return replace(row, case=rate.case, name=stem, values=(finite_mean(values),), margin=None)


def _rate(rows: Sequence[_Row]) -> MetricComparison:
    """Return the comparison of the examples of an evaluation, which are judged by their rate."""
    examples = Examples([row.series for row in rows])
    worse = [row for row in rows if row.series.case in examples.worse]
    first = (worse or rows)[0]
    verdict = first.verdict
    assert verdict is not None
    row = _comparison(
        first,
        verdict,
        gates=verdict.status == "regressed" and not first.advisory,
        advisory=first.advisory,
    )
    return replace(
        row,
        case=first.case.case.partition("[")[0],
        name=first.case.name.partition("[")[0],
        values=(examples.rate,),
        history=examples.rates,
        sessions=first.sessions if len(first.sessions) == len(examples.rates) else (),
        margin=None,
        fresh=0,
        params={},
    )


def _first_of(
    metric: str,
    typed: Sequence[tuple[str, Tolerance]],
    marked: Mapping[str, str],
    of_ini: Sequence[tuple[str, Tolerance]],
) -> Tolerance | None:
    """Return what the command line, else a marker, else the ini file says of a metric."""
    if not (typed or marked or of_ini):
        return None
    of_marker = [(name, Tolerance.parse(text)) for name, text in marked.items()]
    levels = (typed, of_marker, of_ini)
    return next((find(metric, rules) for rules in levels if mentions(metric, rules)), None)


def _common_seeds(case: CaseValues, metric: str, past: _Past) -> tuple[list[str], _Past]:
    """Return the seeds that a case is repeated over now and before, and the sessions with them.

    The newest session decides: seeds that it lacks are new, sessions that lack its seeds are left
    out. There are none if the case is not repeated over seeds.
    """
    if not past or not any(case.seeds.get(metric, ())):
        return [], past
    now = case.by_seed(metric)
    if len(now) != len(case.metrics[metric]):
        return [], past
    seeds = sorted(now.keys() & past[-1][1].by_seed(metric).keys())
    wanted = {*seeds}
    with_them = [entry for entry in past if wanted.issubset(entry[1].seeds.get(metric, ()))]
    return (seeds, with_them) if seeds else ([], past)


def _by_session(
    case: CaseValues,
    metric: str,
    seeds: Sequence[str],
    past: _Past,
    column: tuple[float, ...] | None,
    *,
    cost: bool,
) -> tuple[_Values, _Values]:
    """Return the values now and one entry for each past session, a tuple if there are seeds.

    ``column`` is the one of these sessions, where it is known.
    """
    if len(seeds) < 2:
        now = [case.by_seed(metric)[seed] for seed in seeds] or case.metrics[metric]
        if column is not None:
            return (average(now, cost=cost),), column
        history = [value for _, old in past for value in old.metrics[metric]]
        if len(history) > len(past):
            chosen = frozenset(seeds or case.by_seed(metric))
            history = [
                values[0]
                if len(values := old.metrics[metric]) == 1
                else average(old.values_of(metric, chosen), cost=cost)
                for _, old in past
            ]
        return (average(now, cost=cost),), tuple(history)
    rows = [one.by_seed(metric) for one in (*[old for _, old in past], case)]
    *before, current = (tuple([row[seed] for seed in seeds]) for row in rows)
    return (current,), tuple(before)


def _columns(past: _Past) -> Mapping[str, tuple[float, ...]]:
    """Return the values of each metric by session, if all sessions have one of the same metrics.

    Most cases are such, and to ask each session for each metric takes several times as long.
    """
    if not past:
        return {}
    newest = past[-1][1]
    names, rows = [*newest.metrics], []
    for _, old in past:
        # Sessions that were kept share the names.
        if old.seeds is not newest.seeds and [*old.metrics] != names:
            return {}
        if not (row := old.row()):
            return {}
        rows.append(row)
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _means(values: _Values) -> tuple[float, ...]:
    """Return one value for each session."""
    if not values or not isinstance(values[0], tuple):
        return cast("tuple[float, ...]", values)
    return tuple([average(one) if isinstance(one, tuple) else one for one in values])


def _flat(values: _Values) -> Iterator[float]:
    for value in values:
        yield from value if isinstance(value, tuple) else (value,)


def _margin(
    case: CaseValues, metric: str, values: tuple[float | None, float | None], limits: str
) -> Margin | None:
    """Return the margins to the closest check: of the value now, and of the one before.

    Both are those of the values that are compared, which of repeats are means: the worst of some
    repeats is always closer to its limit than the mean of others.
    """
    check = case.check_of(metric)
    if check is None:
        return None
    current, baseline = values
    before = own_limit(check, limits)
    return Margin(
        operator=check.operator,
        limit=check.limit,
        tolerance=check.tolerance,
        margin=check.margin if current is None else check.margin_of(current),
        baseline_margin=None if baseline is None else before.margin_of(baseline),
        line=check.line,
    )


def _are_alike(places: AbstractSet[str], before: Sequence[AbstractSet[str]]) -> bool:
    """Whether values at these places can be compared one by one with those of the past."""
    if not before:
        return True
    if any(is_key(place.rpartition("[")[2].removesuffix("]")) for place in places):
        return 2 * len(places & before[-1]) >= len(before[-1])
    return all(places == one for one in before)


def _expected(last: CaseValues, found: Collection[str]) -> list[str]:
    """Return the metrics that a case had, without those found and those that it may not have."""
    superfluous: set[str] = set()
    for name, places in last.places.items():
        lowest, highest, mean = (name_at(name, one) for one in SUMMARIES)
        superfluous |= {lowest, highest} | ({mean} if places else set())
        if name in found:
            # It has one value now.
            superfluous = (superfluous | places) - {mean}
    left_out = superfluous.union(found)
    return [
        name
        for name in last.metrics
        if name not in left_out and placeless(name) not in last.optional
    ]


def _last_words(failure: str | None) -> str:
    """Return the line of a failure's text that says what happened, shortened."""
    lines = [line for line in (failure or "").splitlines() if line.strip()]
    told = next((line[1:] for line in lines if line.startswith("E  ")), lines[-1] if lines else "")
    return told.strip()[:200]


def _points(sweep: Sweep, session: SessionValues) -> dict[str, tuple[CaseValues, float]]:
    """Return the points of a sweep that passed in a session, each with its objective."""
    objective = sweep.objective or ""
    found = {}
    for name, case in session.cases.items():
        if function_of(case.nodeid) == sweep.test:
            key = objective if objective in case.metrics else name_at(objective, "mean")
            values = case.metrics.get(key)
            if values and isfinite(value := average(values)):
                found[name] = case, value
    return found


def _as_case(
    sweep: Sweep, points: Mapping[str, tuple[CaseValues, float]], shared: AbstractSet[str]
) -> CaseValues:
    """Return the best value of a sweep and the mean over the shared points as those of a case."""
    objective = sweep.objective or ""
    found = CaseValues(case=sweep.test, name=sweep.name, nodeid=sweep.test, passed=1)
    if sweep.mode is not None:
        found.directions[objective] = sweep.mode
        if values := [value for _, value in points.values()]:
            best = max(values) if sweep.mode == "max" else min(values)
            found.metrics[name_at(objective, "best")] = [best]
    if shared and shared <= points.keys():
        values = [points[name][1] for name in sorted(shared)]
        found.metrics[name_at(objective, "mean")] = [average(values)]
    found.seeds = {name: [""] for name in found.metrics}
    for case, _ in points.values():
        found.tolerances.update(case.tolerances)
        found.min_effects.update(case.min_effects)
        data = {name: text for name, text in case.context.items() if name.startswith("dataset ")}
        found.context.update(data)
        found.data_names.update(case.data_names)
    return found


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
    found, alike = [], case.context
    for entry in past:
        context = entry[1].context
        if context is not alike:  # sessions that were kept share what is the same in all of them
            if context == case.context:
                alike = context
            elif _difference(case, entry[1]) is not None:
                continue
        found.append(entry)
    return found


def _difference(case: CaseValues, old: CaseValues) -> str | None:
    """Return how the data or params of a case differ from an earlier session's, or None."""
    mine, theirs = case.context, old.context
    for name in mine.keys() & theirs.keys():
        if mine[name] != theirs[name] and not (case.recorded and is_position(name, theirs[name])):
            return changed(name, theirs[name], mine[name], case.data_names.get(name))
    return None
