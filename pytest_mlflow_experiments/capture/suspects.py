"""Find cases whose metrics look worse right after they have run, and run them again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, cast, final

import pytest
from _pytest.outcomes import OutcomeException
from _pytest.runner import runtestprotocol

from ..records import PASSED_OUTCOMES, Attempt, CaseRecord, journal
from ..records.directory import SessionDirectory, SessionState
from ..records.journal import JournalError
from ..records.processes import is_running
from ..records.slim import SlimCase
from ..regression.comparer import CompareOptions, Comparer
from ..regression.values import CaseValues, collect_values, identity
from .measuring import Original

if TYPE_CHECKING:
    from .case import CaseLog

_POLL = 0.02


@final
class SuspectFinder:
    """Tells in the process that ran a case whether its metrics look worse than the baseline.

    The baseline is read once, when the first case is judged. Where there is none, or none that can
    be read, no case is suspect; the end of the session tells of it.

    Args:
        directory: the session's directory, which gets the baseline.
        options: how to compare.
        timeout: how long, in seconds, to wait for the baseline.
    """

    def __init__(
        self,
        directory: SessionDirectory,
        options: CompareOptions,
        timeout: float,
    ) -> None:
        self._directory = directory
        self._options = options
        self._timeout = timeout
        self._comparer: Comparer | None = None

    def __call__(self, record: CaseRecord) -> bool:
        """Tell whether a case is suspect, and so worth fresh runs.

        A case that is repeated over seeds has fresh values already.
        """
        seeds = self._options.seed_params
        if record.outcome not in PASSED_OUTCOMES or not seeds.isdisjoint(record.arguments):
            return False
        if self._comparer is None:
            self._comparer = Comparer(
                collect_values(self._baseline(), seeds).sessions, self._options
            )
        case, name = identity(record, seeds)
        values = CaseValues(case=case, name=name, nodeid=record.nodeid)
        values.add(record, seeds)
        try:
            with warnings.catch_warnings():
                # Libraries are loaded here; what they warn of is not the test's.
                warnings.simplefilter("ignore")
                return self._comparer.is_suspect(values)
        except (Exception, OutcomeException):  # noqa: BLE001 - hooks raise what they like
            # Somebody's rule; the end of the session tells of it.
            return False

    def _baseline(self) -> Iterable[journal.Entry | SlimCase]:
        """Return the baseline's entries, after waiting for the tracker to fetch it."""
        deadline = Original.perf_counter() + self._timeout
        while self._baseline_is_pending() and Original.perf_counter() < deadline:
            Original.sleep(_POLL)
        try:
            return list(journal.read_slim(self._directory.baseline))
        except (OSError, JournalError):
            return ()

    def _baseline_is_pending(self) -> bool:
        """Tell whether the tracker still looks for a baseline."""
        if not self._directory.baseline_request.exists() or self._directory.baseline.exists():
            return False
        state = SessionState.read(self._directory.state)
        if state is None:
            return True
        if state.baseline is not None or state.phase in ("done", "failed", "waiting"):
            return False
        return state.pid is None or is_running(state.pid)


@final
class Rerunner:
    """Runs suspect cases again.

    Args:
        times: how many fresh runs a suspect case gets.
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
    """Reset an item's fixture values and the instance of its class."""
    for name in ("_obj", "_instance"):
        if isinstance(item, pytest.Function) and getattr(item, name, None) is not None:
            setattr(item, name, None)
    if hasattr(item, "_initrequest"):
        item._initrequest()
