"""The tracker's process: it leaves the test process alone, and outlives it where it must."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pytest_mlflow_experiments.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.journal import JournalTail
from pytest_mlflow_experiments.records import SessionEnd, SessionHeader

from .attempts import persist
from .connection import open_store
from .controller import Controller
from .errors import SessionBusyError, TrackerError, reason_of
from .lock import exclusive
from .redaction import RedactedStream, Redactor
from .reporter import Reporter

_NICENESS = 5
_LOGGER = logging.getLogger(__name__)


def project(
    directory: SessionDirectory,
    *,
    tracking_uri: str,
    follow: Callable[[], bool] = lambda: False,
    on_state: Callable[[SessionState], None] | None = None,
) -> SessionState:
    """Bring a session's journal into MLflow, and return the state that it ends in.

    ``follow`` is asked again and again whether the journal may still grow; by default it may not.
    ``on_state`` hears each state that is written to the session's directory. A session that
    MLflow has already, or has in part, is completed; doing it twice changes nothing. Whatever
    goes wrong stands in the state, which is ``failed`` then.

    Raises:
        SessionBusyError: another process is sending this session.
    """
    state = _first_state(directory)
    reporter = Reporter(directory.state, state, Redactor.of(tracking_uri), on_state)
    _project(directory, tracking_uri, follow, reporter)
    return reporter.state


def _first_state(directory: SessionDirectory) -> SessionState:
    """Return the state to begin with; what was said of the baseline before stays true."""
    state = SessionState(phase="starting", pid=os.getpid())
    if (last := SessionState.read(directory.state)) is not None:
        state = state.update(baseline=last.baseline, baseline_error=last.baseline_error)
    return state


def _project(
    directory: SessionDirectory,
    tracking_uri: str,
    follow: Callable[[], bool],
    reporter: Reporter,
) -> None:
    with exclusive(directory.path / "tracker.lock"):
        reporter.flush(now=True)

        def send(goes_on: Callable[[], bool]) -> None:
            try:
                _send(directory, tracking_uri, goes_on, reporter)
            except TrackerError:
                raise
            except Exception as error:
                # Whatever MLflow and the libraries below it raise: the journal keeps the session.
                _LOGGER.debug("The session could not be sent.", exc_info=True)
                text = f"Writing to {tracking_uri} failed: {reason_of(error)}"
                raise TrackerError(text, passing=_passes(error)) from error

        try:
            persist(send, directory.journal, follow, reporter)
        except TrackerError as error:
            reporter.fail(str(error))
        else:
            reporter.change(phase="done", error=None)
            reporter.flush(now=True)


def _passes(error: Exception) -> bool:
    try:
        from .retries import cause_of
    except Exception:  # noqa: BLE001 - MLflow itself can't be loaded
        return False
    return cause_of(error) == "passing"


def _send(
    directory: SessionDirectory,
    tracking_uri: str,
    follow: Callable[[], bool],
    reporter: Reporter,
) -> None:
    following = follow()
    if _is_empty(directory.journal) and not (following and directory.baseline_request.exists()):
        return
    store = open_store(tracking_uri, reporter.redact)
    from .session import SessionProjector

    tail = JournalTail(directory.journal)
    SessionProjector(directory, store, reporter, follow, tail).run()


def _is_empty(journal: Path) -> bool:
    """Tell whether a session is over that had no case: it is not worth loading MLflow for.

    A shard is never empty: whoever puts the whole together has to know that it ran.
    """
    try:
        entries = JournalTail(journal).read_new(2)
    except FileNotFoundError:
        return False
    match entries:
        case [SessionHeader(shard=None), SessionEnd()]:
            return True
    return False


def main() -> NoReturn:
    """Send the session whose directory is the first argument, as a process of its own.

    The second one is the number of the process that writes the journal; by default the parent's.
    """
    # It may have been killed already, and then somebody else is the parent.
    controller = int(sys.argv[2]) if len(sys.argv) > 2 else os.getppid()
    if os.name == "posix":
        _detach()
    directory = SessionDirectory(Path(sys.argv[1]))
    tracking_uri = os.environ["MLFLOW_TRACKING_URI"]
    redact = Redactor.of(tracking_uri)
    sys.stdout, sys.stderr = RedactedStream(sys.stdout, redact), RedactedStream(sys.stderr, redact)
    logging.basicConfig()
    _LOGGER.setLevel(logging.DEBUG)
    reporter = Reporter(directory.state, _first_state(directory), redact, on_state=None)
    _end_on_sigterm(reporter)
    try:
        _project(directory, tracking_uri, Controller(controller).alive, reporter)
    except SessionBusyError as error:
        sys.exit(str(error))
    sys.exit(0 if reporter.state.phase == "done" else 1)


def _detach() -> None:
    """Go on in a grandchild of the test process, which then has no child to wait for."""
    if os.fork():
        os._exit(0)
    os.setsid()
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)


def _end_on_sigterm(reporter: Reporter) -> None:
    def end(number: int, _frame: FrameType | None) -> NoReturn:
        reporter.fail(
            reporter.state.error or "The tracker was terminated before everything was sent."
        )
        # Requests under way are not waited for: they are found when the session is sent again.
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)
