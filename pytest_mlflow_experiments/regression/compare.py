"""Compare a session with its baseline: the cases that ran, and those that are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from types import MappingProxyType
from typing import TypeVar, cast

from ..records import FAILED_OUTCOMES, CaseRecord, Outcome, SessionHeader, function_of
from .comparer import CompareOptions, Comparer
from .comparison import Baseline, Comparison, Curve, MetricComparison, SessionInfo, UnjudgedCase
from .sweeps.model import Sweep
from .tolerance import Tolerance, mentions
from .values import MAX_CURVES, CaseValues, Lines, Sessions, SessionValues, identity, lines_of

_DID_NOT_RUN = (
    "the case did not run; a test that was renamed keeps its history by "
    "@pytest.mark.mlflow(case=...)"
)
_NO_METRIC = "the test passed without yielding any metric"
_OTHER_SELECTION = (
    "No session of the baseline was asked for the same tests: whether a case is gone can't be told"
)
_CUT_SHORT = (
    "The time for fresh runs was used up before all that looked worse was clear; "
    "--mlflow-rerun-time gives more"
)

_POINTS = 20
"""The number of points that a note lists."""

_Value = TypeVar("_Value")


def compare_sessions(
    current: SessionValues,
    baseline: Sessions | None,
    options: CompareOptions,
    *,
    not_run: Mapping[str, str] = MappingProxyType({}),
    passed: Collection[str] = (),
    problem: str | None = None,
    gated: bool = False,
    notes: Sequence[str] = (),
    sweeps: Sequence[Sweep] = (),
) -> Comparison:
    """Compare a session with the sessions of its baseline, which must not include it.

    Args:
        current: what the session measured. If it ended early, or only some of its tests ran, cases
            without a record are not missing.
        baseline: the sessions to compare with; None without any.
        options: how to compare; only the accepted steps that the session ran with count.
        not_run: the outcomes of tests, classes and modules that were deselected or did not pass, by
            node id: the metrics of those that failed are missing.
        passed: node ids of the tests that passed.
        problem: why verdicts are impossible; then nothing is judged.
        gated: whether the session has a gate.
        notes: further notes for the reports.
        sweeps: those of the session. Where points of one went with its grid, it is judged by its
            objective: the best value, and the mean of the points that are still there.
    """
    header, end = current.header, current.end
    accepted = [step for step in options.accepted if step.id in header.accepted]
    provenance = baseline.provenance if baseline is not None else None
    pinned = provenance is not None and provenance.pinned
    options = replace(options, accepted=accepted, pinned=pinned)
    past = [
        session
        for session in (baseline.sessions if baseline is not None else ())
        if session.header.session_id != header.session_id
    ]
    partial = (end and (end.interrupted or end.partial)) or header.partial
    metrics: list[MetricComparison] = []
    comparer = Comparer(past, options)
    names = [identity(record, options.seed_params)[0] for record in current.failed]
    failed = dict(zip(names, current.failed, strict=True))
    unjudged = [
        _unjudged(record, record.outcome, record.failure, known=comparer.knows(name))
        for name, record in zip(names, current.failed, strict=True)
    ]
    all_notes = [*notes]
    if problem is None:
        passed = frozenset(passed)
        for case in current.cases.values():
            comparer.add(case)
        for name, record in failed.items():
            if record.outcome in FAILED_OUTCOMES:
                comparer.add_failed(current.cases[name], record)
        # Expected are the cases of the newest session that was asked for the same tests.
        selection = tuple(end.selection) if end is not None else ()
        alike = next((one for one in reversed(past) if _selection(one) == selection), None)
        recent = (alike, *past[-1:])
        swept = {one.test: one for one in sweeps if one.objective is not None}
        gone: dict[str, list[str]] = {}
        for session, case in _without_record(current, (*recent, *reversed(past))):
            node, outcome = outcome_of(case.nodeid, not_run)
            if outcome in FAILED_OUTCOMES:
                # It failed before it left anything, maybe with all of its module.
                unjudged.append(_unjudged(case, cast(Outcome, outcome), known=True))
                what = "the test" if node == case.nodeid else node
                reason = f"{what} failed: {outcome}"
                comparer.add_missing(case, (session, case), (), reason, costs=False)
            elif not any(session is one for one in recent):
                continue
            elif outcome is None and case.nodeid in passed:
                comparer.add_missing(case, (session, case), (), _NO_METRIC)
            elif outcome is None and session is alike and partial is None:
                if (test := function_of(case.nodeid)) in swept:
                    gone.setdefault(test, []).append(case.name)
                else:
                    comparer.add_missing(case, (session, case), (), _DID_NOT_RUN)
            elif outcome not in (None, "deselected"):
                unjudged.append(_unjudged(case, cast(Outcome, outcome)))
        for test, points in gone.items():
            assert alike is not None
            comparer.add_sweep(swept[test], current, past[: past.index(alike) + 1])
            all_notes.append(_other_grid(swept[test], points))
        metrics += comparer.judged()
        if past and alike is None and partial is None:
            all_notes.append(_OTHER_SELECTION)
        if any(case.cut_short for case in current.cases.values()):
            all_notes.append(_CUT_SHORT)
        all_notes += _unused_tolerances(options, metrics)
        all_notes += _frozen(metrics)
        all_notes += comparer.contradictions()
    lines = curves(current, past, options.seed_params)
    return Comparison(
        session=session_info(header),
        baseline=_baseline(baseline, past),
        metrics=tuple(metrics),
        unjudged=tuple(unjudged),
        cases=current.count,
        duration=max(0.0, (end.end_time - header.start_time) / 1_000) if end else 0.0,
        problem=problem,
        partial=partial,
        gated=gated,
        notes=(*all_notes, *curve_notes(lines)),
        curves=lines,
        interrupted=end.interrupted if end is not None else None,
    )


def _other_grid(sweep: Sweep, points: Sequence[str]) -> str:
    """Return the note on the points that went with the grid of a sweep."""
    shown = ", ".join(points[:_POINTS])
    more = f" and {len(points) - _POINTS:,} more" if len(points) > _POINTS else ""
    number = "1 point" if len(points) == 1 else f"{len(points):,} points"
    return (
        f"The grid of {sweep.name} is another: it is judged by its {sweep.objective}, the best and "
        f"the mean of the points that are still there; {number} went: {shown}{more}"
    )


def _selection(session: SessionValues) -> tuple[str, ...] | None:
    return tuple(session.end.selection) if session.end is not None else None


def _without_record(
    current: SessionValues, past: Sequence[SessionValues | None]
) -> Iterator[tuple[SessionValues, CaseValues]]:
    """Yield the past cases without a record now, each with the first past session that has it."""
    seen = set(current.cases)
    for session in filter(None, past):
        for case in session.cases.values():
            if case.passed and case.case not in seen:
                seen.add(case.case)
                yield session, case


def outcome_of(nodeid: str, not_run: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the outcome of a test, or of its class or module, and the node id of which of them."""
    while nodeid and nodeid not in not_run:
        nodeid = nodeid.rpartition("::")[0]
    return nodeid, not_run.get(nodeid)


def _unjudged(
    case: CaseRecord | CaseValues,
    outcome: Outcome,
    failure: str | None = None,
    *,
    known: bool = False,
) -> UnjudgedCase:
    return UnjudgedCase(
        case=case.case,
        name=case.name,
        nodeid=case.nodeid,
        outcome=outcome,
        failure=failure if outcome in FAILED_OUTCOMES else None,
        known=known,
    )


def _unused_tolerances(
    options: CompareOptions, metrics: Collection[MetricComparison]
) -> Iterator[str]:
    """Yield a note for each tolerance that matches no metric: it may well be misspelt."""
    for pattern, tolerance in options.tolerances:
        if not any(mentions(metric.metric, [(pattern, tolerance)]) for metric in metrics):
            yield f"The tolerance for {pattern!r} is for no metric of this session"


def _frozen(metrics: Iterable[MetricComparison]) -> Iterator[str]:
    """Yield a note if fresh runs repeated exactly what a history that never varies has not got."""
    number = sum(
        row.status == "regressed"
        and row.gates
        and row.fresh > 0
        and {*row.values} == {row.current}  # which NaN never is
        and len(row.history) > 1
        and len({*row.history}) == 1
        for row in metrics
    )
    if number:
        yield (
            f"The history of {'1 metric' if number == 1 else f'{number:,} metrics'} never varies: "
            "with the fixture mlflow_seed fresh runs can tell a harmless change of random numbers "
            "from a worse model"
        )


def session_info(header: SessionHeader) -> SessionInfo:
    """Return a session as reports name it."""
    return SessionInfo(**{one.name: getattr(header, one.name) for one in fields(SessionInfo)})


def _baseline(sessions: Sessions | None, past: Sequence[SessionValues]) -> Baseline | None:
    if sessions is None or not past or sessions.provenance is None:
        return None
    infos = tuple(session_info(session.header) for session in past)
    return Baseline(provenance=sessions.provenance, sessions=infos)


def gate_problem(damaged: Sequence[str], required_by: str | None) -> str | None:
    """Return why a gate fails without a baseline, or None if it passes.

    ``damaged`` are notes of sessions that might be the baseline and can't be read, ``required_by``
    is the option that asks for a baseline, if it was given.
    """
    if damaged:
        # Nobody can tell whether it really is the first session.
        return f"no session that can be read is a baseline; {damaged[0]}"
    if required_by is not None:
        return f"there is no baseline yet, and {required_by} asks for one"
    return None


def reported_options(
    comparison: Comparison | None, test: str, tolerances: Sequence[tuple[str, Tolerance]]
) -> CompareOptions:
    """Return the directions and tolerances of a comparison, as far as it records them.

    Only the metrics of one ``test`` count; ``tolerances`` win over the comparison's.
    """
    metrics = comparison.metrics if comparison is not None else ()
    mine = [metric for metric in metrics if function_of(metric.nodeid) == test]
    others = [metric for metric in mine if not mentions(metric.metric, tolerances)]
    directions = _agreed(
        (metric.metric, metric.direction)
        for metric in mine
        # To name the direction of a cost would make it gate.
        if metric.direction is not None and not metric.advisory
    )
    unknown = _agreed(
        (metric.metric, metric.direction)
        for metric in others
        if metric.direction is None and metric.advisory
    )
    texts = _agreed((metric.metric, metric.tolerance) for metric in others)
    told = [(name, Tolerance.parse(text)) for name, text in texts if text is not None]
    return CompareOptions(directions=[*unknown, *directions], tolerances=[*tolerances, *told])


def _agreed(pairs: Iterable[tuple[str, _Value]]) -> list[tuple[str, _Value]]:
    """Return the values by metric name, without metrics that have several different ones."""
    said: dict[str, set[_Value]] = {}
    for name, text in pairs:
        said.setdefault(name, set()).add(text)
    return [(name, values.pop()) for name, values in said.items() if len(values) == 1]


def curves(
    current: SessionValues, past: Sequence[SessionValues], seed_params: AbstractSet[str]
) -> tuple[Curve, ...]:
    """Return a session's curves with those of the past, in the order in which its cases ran.

    Failed cases are included; of the ``past``, the oldest first, only passed ones.
    """
    now = Lines()
    for key, lines in current.lines.items():
        now.extend(key, lines)
    for record in current.failed:
        case, _ = identity(record, seed_params)
        for metric, line in lines_of(record).items():
            now.extend((case, metric), (line,))
    order = {case: number for number, case in enumerate(current.cases)}
    found = []
    for case, metric in sorted(now, key=lambda key: order[key[0]]):
        values = current.cases[case]
        before = next((old for old in reversed(past) if (case, metric) in old.lines), None)
        found.append(
            Curve(
                case=case,
                name=values.name,
                nodeid=values.nodeid,
                metric=metric,
                current=tuple(now[case, metric]),
                baseline=() if before is None else tuple(before.lines[case, metric]),
                baseline_session=None if before is None else before.header.session_id,
            )
        )
    return tuple(found)


def curve_notes(found: Sequence[Curve]) -> list[str]:
    """Return a note if a session has more curves than are kept."""
    note = f"Of the metrics with several steps, the curves of {MAX_CURVES:,} at most are kept"
    return [note] if len(found) >= MAX_CURVES else []
