"""The tracker's process: it leaves the test process alone, and outlives it where it must."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pytest_mlflow_experiments.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.journal import JournalTail
from pytest_mlflow_experiments.records import SessionEnd

from .controller import Controller
from .errors import SessionBusyError, TrackerError, reason_of
from .lock import exclusive
from .probe import unreachable
from .redaction import RedactedStream, Redactor
from .reporter import Reporter

# MLflow's defaults wait for minutes on a server that does not answer. The calls here are the
# plugin's own, so they are neither the user's telemetry nor worth a line of output each.
_MLFLOW_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
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
    state = SessionState(phase="starting", pid=os.getpid())
    reporter = Reporter(directory.state, state, Redactor.of(tracking_uri), on_state)
    _project(directory, tracking_uri, follow, reporter)
    return reporter.state


def _project(
    directory: SessionDirectory,
    tracking_uri: str,
    follow: Callable[[], bool],
    reporter: Reporter,
) -> None:
    with exclusive(directory.path / "tracker.lock"):
        reporter.flush(now=True)
        try:
            _send(directory, tracking_uri, follow, reporter)
        except TrackerError as error:
            reporter.fail(str(error))
        except Exception as error:
            # Whatever MLflow and the libraries below it raise: the journal keeps the session.
            _LOGGER.debug("The session could not be sent.", exc_info=True)
            reporter.fail(f"Writing to {tracking_uri} failed: {reason_of(error)}")
        else:
            reporter.change(phase="done")
            reporter.flush(now=True)


def _send(
    directory: SessionDirectory,
    tracking_uri: str,
    follow: Callable[[], bool],
    reporter: Reporter,
) -> None:
    for name, value in _MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Listing artifacts, MLflow 3.0 asks the environment's store and not the client's.
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    if _is_empty(directory.journal):
        return
    if reason := unreachable(tracking_uri):
        raise TrackerError(f"Cannot use the tracking URI {tracking_uri}: {reason}.")
    from .session import SessionProjector
    from .store import Store

    with _termination_deferred():
        store = Store.open(tracking_uri, reporter.redact)
    tail = JournalTail(directory.journal)
    SessionProjector(directory, store, reporter, follow, tail).run()


def _is_empty(journal: Path) -> bool:
    """Tell whether a session is over that had no case: it is not worth loading MLflow for."""
    try:
        entries = JournalTail(journal).read_new(2)
    except FileNotFoundError:
        return False
    return len(entries) > 1 and isinstance(entries[1], SessionEnd)


def main() -> NoReturn:
    """Send the session whose directory is the first argument, as a process of its own."""
    controller = os.getppid()
    if os.name == "posix":
        _detach()
    directory = SessionDirectory(Path(sys.argv[1]))
    tracking_uri = os.environ["MLFLOW_TRACKING_URI"]
    redact = Redactor.of(tracking_uri)
    sys.stdout, sys.stderr = RedactedStream(sys.stdout, redact), RedactedStream(sys.stderr, redact)
    logging.basicConfig()
    _LOGGER.setLevel(logging.DEBUG)
    reporter = Reporter(
        directory.state, SessionState(phase="starting", pid=os.getpid()), redact, on_state=None
    )
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


@contextlib.contextmanager
def _termination_deferred() -> Iterator[None]:
    """Let SIGTERM wait: a database that is left in the middle of its migration can't be used."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_on_sigterm(reporter: Reporter) -> None:
    def end(number: int, _frame: FrameType | None) -> NoReturn:
        reporter.fail("The tracker was terminated before everything was sent.")
        # Requests under way are not waited for: they are found when the session is sent again.
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)
