"""Tell the outside how far the session is, in its state file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from pytest_mlflow_experiments.directory import SessionState

from .redaction import Redactor

_INTERVAL = 0.2
_LOGGER = logging.getLogger(__name__)


@final
class Reporter:
    """Keeps a session's state, and writes it when it changed, but not too often."""

    def __init__(
        self,
        path: Path,
        state: SessionState,
        redact: Redactor,
        on_state: Callable[[SessionState], None] | None = None,
    ) -> None:
        self.state = state
        self._path = path
        self.redact = redact
        self._on_state = on_state
        self._written: SessionState | None = None
        self._written_at = 0.0

    def change(self, **changes: object) -> None:
        """Change fields of the state."""
        self.state = self.state.update(**changes)

    def note(self, *notes: str) -> None:
        """Add notes to the state; one that is there already is not repeated."""
        self.change(notes=tuple(dict.fromkeys((*self.state.notes, *map(self.redact, notes)))))

    def wait(self, reason: str) -> None:
        """Say that MLflow can't be written to for the time being."""
        self.change(phase="waiting", error=self.redact(reason))
        self.flush(now=True)

    def fail(self, reason: str) -> None:
        """End with an error."""
        self.change(phase="failed", error=self.redact(reason))
        self.flush(now=True)

    def flush(self, *, now: bool = False) -> None:
        """Write the state if it changed, and if ``now`` or the last time is long ago."""
        clock = time.monotonic()
        if self.state == self._written or not (now or clock - self._written_at >= _INTERVAL):
            return
        try:
            self.state.write(self._path)
        except OSError:
            # A full disk, or a directory that somebody has removed: MLflow gets the cases anyway.
            _LOGGER.warning("The session's state can't be written.", exc_info=True)
            return
        self._written, self._written_at = self.state, clock
        if self._on_state is not None:
            self._on_state(self.state)
