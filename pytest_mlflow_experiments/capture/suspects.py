"""Find cases whose metrics look worse right after they have run, and run them again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast, final

import pytest
from _pytest.outcomes import OutcomeException
from _pytest.runner import runtestprotocol

from ..records import PASSED_OUTCOMES, Attempt, CaseRecord, journal
from ..records.directory import SessionDirectory, SessionState
from ..records.journal import JournalError
from ..records.processes import is_running, wait_until
from ..records.slim import SlimCase
from ..regression.comparer import CompareOptions, Comparer
from ..regression.values import CaseValues, collect_values, identity
from .measuring import Original

if TYPE_CHECKING:
    from .case import CaseLog

_POLL = 0.02


@final
class Rerunner:
    """Runs cases again, in the same process, if their metrics look worse than the baseline.

    The baseline is read once, when the first case is judged, after waiting for it for at most
    ``timeout`` seconds. Without a readable one, no case is suspect; the end of the session reports
    why.
    """

    def __init__(
        self, times: int, directory: SessionDirectory, options: CompareOptions, timeout: float
    ) -> None:
        self._times = times
        self._directory = directory
        self._options = options
        self._timeout = timeout
        self._comparer: Comparer | None = None

    def _is_suspect(self, record: CaseRecord) -> bool:
        """Return whether a case is suspect, so that it needs fresh runs.

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
        clock, sleep = Original.perf_counter, Original.sleep
        wait_until(self._is_decided, timeout=self._timeout, poll=_POLL, clock=clock, sleep=sleep)
        try:
            return list(journal.read_slim(self._directory.baseline))
        except (OSError, JournalError):
            return ()

    def _is_decided(self) -> bool:
        """Return whether the tracker has finished looking for a baseline."""
        if not self._directory.baseline_request.exists() or self._directory.baseline.exists():
            return True
        state = SessionState.read(self._directory.state)
        if state is None:
            return False
        if state.baseline is not None or state.phase == "done" or state.is_unavailable:
            return True
        return state.pid is not None and not is_running(state.pid)

    def fresh_runs(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        record: CaseRecord,
        open_log: Callable[[], CaseLog],
        note: Callable[[CaseLog, pytest.TestReport], None],
    ) -> tuple[Attempt, ...]:
        """Return the fresh runs of a test that has just been torn down, if it needs any.

        Fixtures that ``nextitem`` uses too stay as they are. ``open_log`` opens a log for a new
        run; ``note`` adds the report of a phase to it.
        """
        if not self._is_suspect(record):
            return ()
        runs: list[Attempt] = []
        for number in range(1, self._times + 1):
            if item.session.shouldfail or item.session.shouldstop:
                break
            log = open_log()
            _renew(item)
            # Fixtures of wider scopes live until the last of the fresh runs.
            following = nextitem if number == self._times else cast(pytest.Item, item.parent)
            for report in runtestprotocol(item, log=False, nextitem=following):
                note(log, report)
            runs.append(log.as_attempt())
        return tuple(runs)


def _renew(item: pytest.Item) -> None:
    """Reset an item's fixture values and its class instance."""
    for name in ("_obj", "_instance"):
        if isinstance(item, pytest.Function) and getattr(item, name, None) is not None:
            setattr(item, name, None)
    if hasattr(item, "_initrequest"):
        item._initrequest()
