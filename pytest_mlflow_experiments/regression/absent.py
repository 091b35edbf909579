"""Cases that the baseline has and a session hasn't: gone, left out, or without their metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import cast, final

from ..records import Outcome
from .comparer import Comparer
from .comparison import MetricComparison, UnjudgedCase
from .values import CaseValues, SessionValues

_GONE = (
    "the case did not run; a test that was renamed keeps its history by "
    "@pytest.mark.mlflow(case=...)"
)
_SILENT = "the test passed without yielding any metric"


@final
class Absent:
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

    def missing(self) -> Iterator[MetricComparison]:
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
