"""Compare a session with its baseline: the cases that ran, and those that are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import cast, final

from ..records import FAILED_OUTCOMES, Outcome, SessionHeader
from .comparer import CompareOptions, Comparer
from .comparison import Baseline, Comparison, MetricComparison, SessionInfo, UnjudgedCase
from .curves import curve_notes, curves
from .tolerance import mentions
from .values import CaseValues, Sessions, SessionValues

_GONE = (
    "the case did not run; a test that was renamed keeps its history by "
    "@pytest.mark.mlflow(case=...)"
)
_SILENT = "the test passed without yielding any metric"


@final
class MissingCases:
    """The cases of the baseline that left no record in a session.

    Expected are those of the newest session that was asked for the same tests. Of tests that did
    run, also those of the newest session of all.
    """

    def __init__(
        self,
        comparer: Comparer,
        current: SessionValues,
        not_run: Mapping[str, str],
        passed: Collection[str],
        partial: str | None,
    ) -> None:
        self._comparer = comparer
        self._current = current
        self._not_run = not_run
        self._passed = passed
        self._partial = partial
        selection = current.end.selection if current.end else ()
        self._alike = comparer.newest_session(selection)
        self._newest = comparer.newest_session(None)

    def metrics(self) -> Iterator[MetricComparison]:
        """Yield the metrics that should be there."""
        for number, case, expected in self._cases():
            if self._outcome(case.nodeid) is not None:
                continue
            if case.nodeid in self._passed:
                yield from self._comparer.missing(case, (number, case), (), _SILENT)
            elif expected and self._partial is None:
                yield from self._comparer.missing(case, (number, case), (), _GONE)

    def unjudged(self) -> Iterator[UnjudgedCase]:
        """Yield the cases that were skipped or failed before they left anything."""
        for _, case, _ in self._cases():
            outcome = self._outcome(case.nodeid)
            if outcome not in (None, "deselected"):
                yield UnjudgedCase(
                    case=case.case,
                    name=case.name,
                    nodeid=case.nodeid,
                    outcome=cast(Outcome, outcome),
                )

    def notes(self) -> Iterator[str]:
        """Yield what can't be told."""
        if self._newest is not None and self._alike is None and self._partial is None:
            yield (
                "No session of the baseline was asked for the same tests: whether a case is gone "
                "can't be told"
            )

    def _cases(self) -> Iterator[tuple[int, CaseValues, bool]]:
        """Yield the cases without a record, and whether they are expected to run."""
        seen = set(self._current.cases)
        for number in (self._alike, self._newest):
            if number is None:
                continue
            for case in self._comparer.session(number).cases.values():
                if case.passed and case.case not in seen:
                    seen.add(case.case)
                    yield number, case, number == self._alike

    def _outcome(self, nodeid: str) -> str | None:
        """Return what became of a test, or of the class or module that it stands in."""
        while nodeid:
            if nodeid in self._not_run:
                return self._not_run[nodeid]
            nodeid = nodeid.rpartition("::")[0]
        return None


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
        missing = MissingCases(comparer, current, {**not_run}, frozenset(passed), partial)
        metrics += missing.metrics()
        unjudged += missing.unjudged()
        notes = [*notes, *missing.notes(), *_unused(options, metrics)]
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
    """Yield a note for each tolerance that matches no metric: it may well be misspelt."""
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
