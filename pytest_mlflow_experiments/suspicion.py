"""Tell, right after a case has run, whether its metrics look worse than they were."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import final

from _pytest.outcomes import OutcomeException

from . import journal
from .directory import SessionDirectory, SessionState
from .journal import JournalError
from .processes import is_running
from .records import PASSED_OUTCOMES, CaseRecord, SlimCase
from .regression.comparer import CompareOptions, Comparer
from .regression.values import CaseValues, identity, read_sessions

_POLL = 0.02


@final
class Suspicion:
    """Judges single cases in the process that ran them.

    The baseline is read once, when the first case is judged. Where there is none, or none that can
    be read, nothing is suspicious; the end of the session tells of it.

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
        # Defaults, for tests replace these functions.
        _now: Callable[[], float] = time.perf_counter,
        _sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._directory = directory
        self._options = options
        self._timeout = timeout
        self._now = _now
        self._sleep = _sleep
        self._comparer: Comparer | None = None

    def __call__(self, record: CaseRecord) -> bool:
        """Tell whether fresh runs of the case are worth their time.

        A case that is repeated over seeds has fresh values already.
        """
        seeds = self._options.seed_params
        if record.outcome not in PASSED_OUTCOMES or not seeds.isdisjoint(record.arguments):
            return False
        if self._comparer is None:
            self._comparer = Comparer(
                read_sessions(self._baseline(), seeds).sessions, self._options
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
        """Return the baseline's entries, after waiting for whoever is to find it."""
        deadline = self._now() + self._timeout
        while self._is_sought() and self._now() < deadline:
            self._sleep(_POLL)
        try:
            return list(journal.read_slim(self._directory.baseline))
        except (OSError, JournalError):
            return ()

    def _is_sought(self) -> bool:
        """Tell whether the tracker still looks for a baseline."""
        if not self._directory.baseline_request.exists() or self._directory.baseline.exists():
            return False
        state = SessionState.read(self._directory.state)
        if state is None:
            return True
        if state.baseline is not None or state.phase in ("done", "failed", "waiting"):
            return False
        return state.pid is None or is_running(state.pid)
