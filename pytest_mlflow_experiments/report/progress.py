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

    def __init__(self, reporter: TerminalReporter) -> None:
        self._reporter = reporter
        self._started = time.monotonic()
        self._shown: str | None = None

    def __call__(self, state: SessionState) -> None:
        """Show the state where it is new."""
        if time.monotonic() - self._started < 1.0:
            return
        if self._reporter.verbosity < 0 and not self._reporter.isatty:
            # Whoever asked for one line gets one line.
            return
        text = (
            "mlflow: opening the tracking store"
            if state.phase == "starting"
            else f"mlflow: {state.sent} cases sent"
        )
        if not self._reporter.isatty:
            text = "mlflow: sending what is left"
        if text == self._shown:
            return
        self._shown = text
        if self._reporter.isatty:
            self._reporter.rewrite(f"{text} …", erase=True)
        else:
            self._reporter.write_line(f"{text} …")
