"""Compare a session with its baseline: all cases that ran, and those that should have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from ..records import FAILED_OUTCOMES, SessionHeader
from .absent import Absent
from .comparer import CompareOptions, Comparer
from .comparison import Baseline, Comparison, MetricComparison, SessionInfo, UnjudgedCase
from .curves import curve_notes, curves
from .tolerance import mentions
from .values import Sessions, SessionValues


def compare(
    current: SessionValues,
    baseline: Sessions | None,
    options: CompareOptions,
    *,
    not_run: Mapping[str, str] = MappingProxyType({}),
    passed: Collection[str] = (),
    partial: str | None = None,
    problem: str | None = None,
    gated: bool = False,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare a session with the sessions of its baseline.

    Args:
        current: what the session measured.
        baseline: the sessions to compare with; None where there are none.
        options: how to compare.
        not_run: node ids of tests, classes and modules that were left out ("deselected") or did
            not pass, and their outcome: what the baseline has of them is not missing.
        passed: node ids of the tests that passed.
        partial: why only some tests ran; then no case is missing for it did not run.
        problem: why no verdict can be reached; then nothing is judged.
        gated: whether the session has a gate.
        notes: what else people should know.
    """
    past = baseline.sessions if baseline else []
    comparer = Comparer(past, options)
    metrics: list[MetricComparison] = []
    unjudged = [
        UnjudgedCase(
            case=record.case,
            name=record.name,
            nodeid=record.nodeid,
            outcome=record.outcome,
            failure=record.failure if record.outcome in FAILED_OUTCOMES else None,
        )
        for record in current.failed
    ]
    if problem is None:
        metrics += [row for case in current.cases.values() for row in comparer.case(case)]
        absent = Absent(comparer, current, {**not_run}, frozenset(passed), partial)
        metrics += absent.missing()
        unjudged += absent.unjudged()
        notes = [*notes, *absent.notes(), *_unused(options, metrics)]
    lines = curves(current, past, options.seed_params)
    start, end = current.header.start_time, current.end
    return Comparison(
        session=session_info(current.header),
        baseline=_baseline(baseline),
        metrics=tuple(metrics),
        unjudged=tuple(unjudged),
        cases=current.count,
        duration=max(0.0, (end.end_time - start) / 1_000) if end else 0.0,
        problem=problem,
        partial=partial,
        gated=gated,
        notes=(*notes, *curve_notes(lines)),
        curves=lines,
    )


def _unused(options: CompareOptions, metrics: Collection[MetricComparison]) -> Iterator[str]:
    """Yield what was said of metrics that there are none of: as likely as not a mistake."""
    for pattern, tolerance in options.tolerances:
        if not any(mentions(metric.metric, [(pattern, tolerance)]) for metric in metrics):
            yield f"The tolerance for {pattern!r} is for no metric of this session"


def session_info(header: SessionHeader) -> SessionInfo:
    """Return a session as reports name it."""
    return SessionInfo(
        session_id=header.session_id,
        name=header.name,
        start_time=header.start_time,
        branch=header.branch,
        commit=header.commit,
    )


def _baseline(sessions: Sessions | None) -> Baseline | None:
    if sessions is None or not sessions.sessions or sessions.provenance is None:
        return None
    return Baseline(
        provenance=sessions.provenance,
        sessions=tuple(session_info(session.header) for session in sessions.sessions),
    )
