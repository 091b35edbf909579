"""Run a case again, at once and in place, where its metrics look worse than they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, final

import pytest
from _pytest.runner import runtestprotocol

from ..records import Attempt, CaseRecord

if TYPE_CHECKING:
    from .case import CaseLog


@final
class Rerunner:
    """Decides whether a case is run again, and does it.

    Args:
        times: how many fresh runs a suspicious case gets.
        is_suspect: tells whether a record looks worse than its history.
    """

    def __init__(self, times: int, is_suspect: Callable[[CaseRecord], bool]) -> None:
        self._times = times
        self._is_suspect = is_suspect

    def fresh_runs(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        record: CaseRecord,
        open_log: Callable[[], CaseLog],
        note: Callable[[CaseLog, pytest.TestReport], None],
    ) -> tuple[Attempt, ...]:
        """Return the fresh runs of a case that needs any.

        Args:
            item: the test, which has just been torn down.
            nextitem: the test after it; fixtures that both use stay as they are.
            record: what the test has left.
            open_log: makes the log of a new run current.
            note: brings the report of a phase into a log.
        """
        if not self._is_suspect(record):
            return ()
        return tuple(self._runs(item, nextitem, open_log, note))

    def _runs(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        open_log: Callable[[], CaseLog],
        note: Callable[[CaseLog, pytest.TestReport], None],
    ) -> Iterator[Attempt]:
        for _ in range(self._times):
            if item.session.shouldfail or item.session.shouldstop:
                return
            log = open_log()
            # Else the fixtures' values of the run before would be used again.
            if hasattr(item, "_initrequest"):
                item._initrequest()
            for report in runtestprotocol(item, log=False, nextitem=nextitem):
                note(log, report)
            yield log.as_attempt()
