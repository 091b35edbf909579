"""Try to send a session again and again, as long as that is worth while."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pytest_mlflow_experiments.journal import ends

from .errors import TrackerError
from .reporter import Reporter

_INTERVAL = 3.0
_POLL = 0.1


def persist(
    send: Callable[[Callable[[], bool]], None],
    journal: Path,
    follow: Callable[[], bool],
    reporter: Reporter,
) -> None:
    """Call ``send`` until it has sent the session.

    While the session goes on, a trouble that may pass is waited for. Once the session has ended
    ``send`` is called for the last time, or again if it came further than ever before.

    Args:
        send: sends the session from its beginning; it is given a function that tells whether the
            session goes on.
        journal: the session's journal.
        follow: tells whether the journal may still grow.
        reporter: hears of the trouble.

    Raises:
        TrackerError: the session can't be sent.
    """

    def goes_on() -> bool:
        return follow() and not ends(journal)

    furthest = 0
    while True:
        may_wait = goes_on()
        try:
            return send(goes_on)
        except TrackerError as error:
            reached = reporter.state.sent
            reporter.change(sent=max(reached, furthest))
            if not error.passing or not (may_wait or reached > furthest):
                raise
            furthest = max(reached, furthest)
            reporter.wait(str(error))
        _pause(goes_on)
        # What MLflow has got already counts again: it is passed over, one by one.
        reporter.change(sent=0)


def _pause(goes_on: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _INTERVAL
    while time.monotonic() < deadline and goes_on():
        time.sleep(_POLL)
