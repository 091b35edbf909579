"""The tracker's process: send one session's journal to MLflow, now or later."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, final

from ..records import SessionEnd, SessionHeader
from ..records.directory import SessionDirectory, SessionState, private
from ..records.journal import JournalTail, has_end, is_being_written
from ..records.processes import is_running, started_at, wait_until
from .connect import open_store
from .errors import SessionBusyError, TrackerError, reason_of
from .state import RedactedStream, Redactor, Reporter, send_repeatedly, told_retries

_INTERVAL = 5.0
_INTERVAL_AT_END = 0.2


@final
class Controller:
    """The controller, the process at the other end of standard input.

    The end of the input says that it may have ended, and that its pid should be checked. Tests can
    close the pipe, and their forked children can keep it open, so only the process counts.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started = started_at(pid)
        self._alive = True
        self._closed = threading.Event()
        self._is_noticed = False
        self._looked_at = time.monotonic()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def alive(self) -> bool:
        """Return whether the journal may still grow."""
        clock = time.monotonic()
        interval = _INTERVAL_AT_END if self._closed.is_set() else _INTERVAL
        if self._alive and clock - self._looked_at >= interval:
            self._looked_at = clock
            self._alive = is_running(self._pid, self._started)
        return self._alive

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the input, which comes behind the journal's end.

        The end cuts one pause short, whether it comes within it or has come before.
        """
        if self._is_noticed:
            time.sleep(seconds)
        else:
            self._is_noticed = self._closed.wait(seconds)

    def _read(self) -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        self._closed.set()


_PATIENCE = 1.0


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock at ``path``; the system releases it however the process ends.

    Raises:
        SessionBusyError: another process holds it.
    """
    fd = private(path, os.O_RDWR | os.O_CREAT)
    try:
        # A process that was killed keeps its locks for the moment that its threads take to end.
        if not wait_until(lambda: _try_lock(fd), timeout=_PATIENCE, poll=0.02):
            raise SessionBusyError(f"Another process is sending {path.parent.name} already.")
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        _lock(fd)
    except OSError:
        return False
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


PROOFS: Final = "proofs"
"""The file beside the sessions of proofs that databases can be used without MLflow."""
_NICENESS = 5
_LOGGER = logging.getLogger(__name__)


def project(
    directory: SessionDirectory,
    *,
    tracking_uri: str,
    follow: Callable[[], bool] = lambda: False,
    on_state: Callable[[SessionState], None] | None = None,
) -> SessionState:
    """Send a session's journal to MLflow, and return the final state.

    ``follow`` is called repeatedly and tells whether the journal may still grow; by default it may
    not. ``on_state`` is called with each state written to the session's directory. A session that
    is partly in MLflow is completed; doing it twice changes nothing. Errors are in the state, which
    is ``failed`` then.

    Raises:
        SessionBusyError: another process is sending this session.
    """
    state = _first_state(directory)
    reporter = Reporter(directory.state, state, Redactor.of(tracking_uri), on_state)
    _project(directory, tracking_uri, follow, reporter)
    return reporter.state


def _first_state(directory: SessionDirectory) -> SessionState:
    """Return the initial state; it keeps a baseline that was fetched before."""
    state = SessionState(phase="starting", pid=os.getpid())
    if (last := SessionState.read(directory.state)) is not None:
        state = state.update(baseline=last.baseline, baseline_error=last.baseline_error)
    return state


def _project(
    directory: SessionDirectory,
    tracking_uri: str,
    follow: Callable[[], bool],
    reporter: Reporter,
    timeout: float = 0.0,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    with exclusive(directory.path / "tracker.lock"):
        reporter.flush(now=True)

        afterwards: Callable[[], None] | None = None

        def send(goes_on: Callable[[], bool]) -> None:
            nonlocal afterwards
            try:
                afterwards = _send(directory, tracking_uri, goes_on, reporter, pause)
            except TrackerError:
                raise
            except Exception as error:
                # Whatever MLflow and the libraries below it raise: the journal keeps the session.
                _LOGGER.debug("The session could not be sent.", exc_info=True)
                raise TrackerError(_failed(tracking_uri, error), passing=_passes(error)) from error

        try:
            send_repeatedly(send, directory.journal, follow, reporter, timeout)
        except TrackerError as error:
            reporter.trouble("failed", str(error))
        else:
            reporter.change(phase="done", error=None)
            reporter.flush(now=True)
            try:
                if afterwards is not None:
                    afterwards()
            except Exception:
                # The session is sent, and nobody waits for this.
                _LOGGER.debug("MLflow stays needed for this database.", exc_info=True)


def _failed(tracking_uri: str, error: Exception) -> str:
    return f"Writing to {tracking_uri} failed: {reason_of(error)}"


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
    pause: Callable[[float], None],
) -> Callable[[], None] | None:
    """Send a session; return what can be done once nobody waits for it any more."""
    following = follow()
    if _is_empty(directory.journal) and not (following and directory.baseline_request.exists()):
        return None

    def tell(error: Exception) -> None:
        reporter.delay(_failed(tracking_uri, error))

    with ExitStack() as stack, told_retries(tell):

        def check_answers() -> None:
            from .answers import checked_answers

            stack.enter_context(checked_answers())

        proofs = directory.path.parent / PROOFS
        store = open_store(tracking_uri, reporter.redact, proofs=proofs, on_load=check_answers)
        stack.callback(store.close)
        from .session import SessionProjector

        tail = JournalTail(directory.journal)
        projector = SessionProjector(directory, store, reporter, follow, tail, pause)
        projector.run()
    return projector.prove


def _is_empty(journal: Path) -> bool:
    """Return whether a session has ended without any case: then MLflow need not be loaded.

    A shard is never empty: the merge has to know that it ran.
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
    """Run the tracker for the session whose directory is the first argument.

    The second argument is the pid of the controller, by default the parent's; the third is for how
    many seconds to go on after the session's end while nothing arrives in MLflow.
    """
    # It may have been killed already, and then somebody else is the parent.
    controller = int(sys.argv[2]) if len(sys.argv) > 2 else os.getppid()
    if os.name == "posix":
        _detach()
    timeout = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    directory = SessionDirectory(Path(sys.argv[1]))
    tracking_uri = os.environ["MLFLOW_TRACKING_URI"]
    redact = Redactor.of(tracking_uri)
    sys.stdout, sys.stderr = RedactedStream(sys.stdout, redact), RedactedStream(sys.stderr, redact)
    logging.basicConfig()
    _LOGGER.setLevel(logging.DEBUG)
    reporter = Reporter(directory.state, _first_state(directory), redact, on_state=None)
    _end_on_sigterm(reporter)
    try:
        process = Controller(controller)
        _project(directory, tracking_uri, process.alive, reporter, timeout, process.pause)
    except SessionBusyError as error:
        sys.exit(str(error))
    if reporter.state.phase == "done" and not _is_empty(directory.journal):
        # Nobody waits for this, and the next session need not read the journal.
        with contextlib.suppress(Exception):
            from ..baseline.kept_values import keep_values

            keep_values(directory.journal)
    sys.exit(0 if reporter.state.phase == "done" else 1)


def _detach() -> None:
    """Continue in a grandchild, so that the test process has no child to wait for."""
    if os.fork():
        os._exit(0)
    os.setsid()
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)


def _end_on_sigterm(reporter: Reporter) -> None:
    def end(number: int, _frame: FrameType | None) -> NoReturn:
        if reporter.state.phase != "done":
            reason = "The upload was terminated before everything was sent."
            reporter.trouble("failed", reporter.shown.error or reason)
        # Requests under way are not waited for: they are found when the session is sent again.
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def sync(directory: SessionDirectory, *, tracking_uri: str) -> SessionState:
    """Send a session to MLflow, whatever the store in its header is.

    A session that is partly in MLflow is completed; doing it twice changes nothing. One that still
    runs, or that a tracker is still sending, is not touched, and reported as failed.
    """
    directory = SessionDirectory(directory.path.absolute())
    if is_being_written(directory.journal) and not has_end(directory.journal):
        return SessionState(phase="failed", error="It still runs.")
    before = Path.cwd()
    # The session's own tracker ran here, and MLflow takes relative places of artifacts from here.
    os.chdir(directory.path.parents[1])
    try:
        return project(directory, tracking_uri=tracking_uri)
    except SessionBusyError as error:
        return SessionState(phase="failed", error=str(error))
    finally:
        os.chdir(before)
