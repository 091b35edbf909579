"""A line of progress while the end of the session waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

from ..directory import SessionState

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


@final
class Progress:
    """A line that tells what the session still waits for, once it has waited for a second.

    Args:
        reporter: pytest's own, which writes the line.
        timeout: seconds after which the wait ends where nothing arrives.
        waiting_for: what is waited for, where it is not the sending.
    """

    def __init__(
        self, reporter: TerminalReporter, timeout: float, waiting_for: str | None = None
    ) -> None:
        self._reporter = reporter
        self._limit = f"waits at most {timeout:g} s without progress"
        self._waiting_for = waiting_for
        self._started = time.monotonic()
        self._shown: str | None = None

    def __call__(self, state: SessionState) -> None:
        """Show the state where it is new; where lines can't be overwritten, one line is enough."""
        if time.monotonic() - self._started < 1.0:
            return
        if not self._reporter.isatty and (self._shown or self._reporter.verbosity < 0):
            # Whoever asked for one line gets one line.
            return
        text = f"mlflow: {self._waiting_for or _doing(state)}; {self._limit}"
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


def _doing(state: SessionState) -> str:
    if state.phase == "starting":
        return "opening the tracking store"
    if state.phase == "waiting":
        return "trying again to reach MLflow"
    return f"sending, {state.sent} case{'' if state.sent == 1 else 's'} so far"
