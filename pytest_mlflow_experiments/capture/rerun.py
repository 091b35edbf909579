"""Run a case again, at once and in place, where its metrics look worse than they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast, final

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
        for number in range(1, self._times + 1):
            if item.session.shouldfail or item.session.shouldstop:
                return
            log = open_log()
            _renew(item)
            # Fixtures of wider scopes live until the last of the fresh runs.
            following = nextitem if number == self._times else cast(pytest.Item, item.parent)
            for report in runtestprotocol(item, log=False, nextitem=following):
                note(log, report)
            yield log.as_attempt()


def _renew(item: pytest.Item) -> None:
    """Make an item forget its fixtures' values, and the instance of its class."""
    for name in ("_obj", "_instance"):
        if isinstance(item, pytest.Function) and getattr(item, name, None) is not None:
            setattr(item, name, None)
    if hasattr(item, "_initrequest"):
        item._initrequest()
