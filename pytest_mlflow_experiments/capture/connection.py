"""How a test that wants MLflow itself finds the run of its session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import pytest

from ..directory import SessionDirectory, SessionState
from ..processes import is_running
from .clock import Clock

_POLL: Final = 0.02


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The session as the processes that run tests know it.

    ``tracking_uri`` is None for an offline session; ``shard_of`` is the id of the session that this
    one is a shard of. ``system_metrics`` tells whether MLflow's monitor records the machine's load.
    """

    directory: SessionDirectory
    tracking_uri: str | None
    shard_of: str | None = None
    system_metrics: bool = False

    def session_run(
        self,
        timeout: float,
        # A default, for the test that waits here may have replaced it.
        _sleep: Callable[[float], None] = time.sleep,
    ) -> SessionState:
        """Ask the tracker for the session's run, and wait until it is there.

        Args:
            timeout: seconds to wait while the tracking store is being opened.

        Returns:
            A state with ``run_id`` and ``experiment_id``, or one that is unsure and tells why:
            also where MLflow answers again in a while, for a test can't wait for that.
        """
        if self.tracking_uri is None:
            return SessionState(phase="failed", error="the session is offline")
        try:
            self.directory.run_request.touch(mode=0o600)
        except OSError as error:
            return SessionState(phase="failed", error=f"the tracker can't be asked: {error}")
        now = Clock().perf_counter
        deadline = now() + timeout
        while now() < deadline:
            state = SessionState.read(self.directory.state)
            if state is not None and (state.run_id is not None or state.is_unsure):
                return state
            if state is not None and state.pid is not None and not is_running(state.pid):
                return SessionState(phase="failed", error="the tracker died")
            _sleep(_POLL)
        return SessionState(
            phase="failed", error=f"the tracking store was not ready within {timeout:g} seconds"
        )


CONNECTION: Final = pytest.StashKey[Connection]()
