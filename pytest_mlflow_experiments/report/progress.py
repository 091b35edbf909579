"""A line of progress while the end of the session waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

from ..directory import SessionState

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


@final
class Progress:
    """A line that tells what the session still waits for, once it has waited for a second."""

    def __init__(self, reporter: TerminalReporter, waiting_for: str | None = None) -> None:
        self._reporter = reporter
        self._waiting_for = waiting_for
        self._started = time.monotonic()
        self._shown: str | None = None

    def __call__(self, state: SessionState) -> None:
        """Show the state where it is new."""
        if time.monotonic() - self._started < 1.0:
            return
        if self._reporter.verbosity < 0 and not self._reporter.isatty:
            # Whoever asked for one line gets one line.
            return
        text = f"mlflow: {self._text(state)}"
        if text == self._shown:
            return
        if self._shown is None and self._waiting_for is not None:
            # The line of dots has not ended yet.
            self._reporter.ensure_newline()
        self._shown = text
        if self._reporter.isatty:
            self._reporter.rewrite(f"{text} …", erase=True)
        else:
            self._reporter.write_line(f"{text} …")

    def _text(self, state: SessionState) -> str:
        if self._waiting_for is not None:
            return self._waiting_for
        if not self._reporter.isatty:
            return "sending what is left"
        if state.phase == "starting":
            return "opening the tracking store"
        return f"{state.sent} cases sent"
