"""Start the tracker, wait for it and stop it; find unsent sessions."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final
from urllib.parse import unquote

import pytest

from ..capture.measuring import Original
from ..records.directory import SessionDirectory, SessionState, private
from ..records.processes import is_running
from ..records.tags import KIND, PARENT
from ..report.terminal import Progress
from .settings import Settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

# The directory that holds the package comes last, so that the tracker finds the package also where
# only the test process was told of it, and nothing of the rootdir stands before MLflow.
_CODE = (
    "import sys; sys.path[:] = [p for p in sys.path if p] + [{path!r}]; "
    "from pytest_mlflow_experiments.tracker.main import main; sys.exit(main())"
)

# What concerns the test process alone: MLflow behaves differently when it believes to run in a
# test, warnings as errors would break its import, and coverage must not measure the tracker.
_DROPPED = (
    *("PYTEST_", "COV_CORE_", "COVERAGE_PROCESS_", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_"),
    *("PYTHONDEVMODE", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONPROFILEIMPORTTIME"),
)

_POLL = 0.01
_GLANCES = 5
_PROBED_EACH = 1.0
_FINAL = ("done", "failed")

MAX_WAIT_FACTOR = 10
"""The maximum wait at the end, as a multiple of the timeout without progress."""


def tracker_environment(environ: Mapping[str, str], tracking_uri: str) -> dict[str, str]:
    """Return the tracker's environment; only here credentials are passed on."""
    kept = {key: value for key, value in environ.items() if not key.startswith(_DROPPED)}
    # Paths that aren't ASCII must be text that a database takes, whatever the locale is.
    return {**kept, "PYTHONUTF8": "1", "MLFLOW_TRACKING_URI": tracking_uri}


@final
class Tracker:
    """The controller's handle of the tracker of one session.

    The tracker is detached at once (by a fork where possible), so that tests never find it among
    their children. From then on the controller reads its state file. The end of its standard input
    makes the tracker check whether the controller still runs.
    """

    def __init__(
        self, directory: SessionDirectory, *, tracking_uri: str, cwd: Path, timeout: float = 0.0
    ) -> None:
        self._directory = directory
        self._state = SessionState(phase="starting")
        self._process: subprocess.Popen[bytes] | None = None
        self._progress = -1
        self._given_up: str | None = None
        self._idle = self._waited = 0.0
        try:
            self._process = self._start(tracking_uri, cwd, timeout)
        except OSError as error:
            # As where no more processes are allowed; the tests run all the same.
            self._fail(f"the process that uploads to MLflow can't be started: {error}")

    def _start(self, tracking_uri: str, cwd: Path, timeout: float) -> subprocess.Popen[bytes]:
        fd = private(self._directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(fd, "ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _CODE.format(path=str(Path(__file__).parents[2])),
                    str(self._directory.path),
                    str(os.getpid()),
                    str(timeout),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=tracker_environment(os.environ, tracking_uri),
            )

    def reap_launcher(self) -> None:
        """Reap the tracker's launcher, so that tests don't find it among their children.

        If the start failed, write that to the state: tests may be waiting.
        """
        if os.name != "posix" or self._process is None:
            return
        if self._process.wait() != 0 and not self._directory.state.exists():
            self._fail(self._last_words())

    def state(self) -> SessionState:
        """Return the newest state that the tracker has written."""
        self._state = SessionState.read(self._directory.state) or self._state
        return self._state

    def stop_feeding(self) -> None:
        """Close the tracker's input, which tells it that the journal is complete."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def look(self) -> SessionState:
        """Return the newest state without waiting; a tracker that died without one has failed."""
        state = self.state()
        if self._given_up is not None and state.phase != "done":
            return state.update(phase="failed", error=self._given_up)
        if state.phase in _FINAL or self.is_alive():
            return state
        # It may have written its last word between the two looks.
        state = self.state()
        if state.phase in _FINAL:
            return state
        error = state.error or self._trouble() or self._last_words()
        return state.update(phase="failed", error=error)

    def wait(
        self,
        timeout: float,
        on_progress: Callable[[SessionState], None] | None,
        enough: Callable[[SessionState], bool] = lambda state: False,
    ) -> SessionState:
        """Wait until the tracker has finished or ``enough(state)`` is true; return the last state.

        The waiting times of several calls are added.

        Args:
            timeout: how many seconds to wait without progress; in total it may take ten times as
                long.
            on_progress: called with the state, repeatedly while waiting.
            enough: returns whether to stop waiting at a state.
        """
        last = probed = Original.perf_counter()
        while (state := self.look()).phase not in _FINAL and not enough(state):
            now = Original.perf_counter()
            passed, last = now - last, now
            self._waited += passed
            self._idle = 0.0 if state.progress > self._progress else self._idle + passed
            self._progress = max(self._progress, state.progress)
            if self._idle > timeout or self._waited > MAX_WAIT_FACTOR * timeout:
                self.kill()
                self._given_up = state.error or (
                    f"no answer from MLflow for {timeout:g} seconds"
                    if self._idle > timeout
                    else "MLflow has not received everything after "
                    f"{MAX_WAIT_FACTOR * timeout:g} seconds"
                )
                return self.look()
            if self._idle > _PROBED_EACH <= now - probed:
                probed = now
                if (trouble := self._trouble()) is not None:
                    # The tracker can't say what it has done, but goes on without us.
                    self._given_up = trouble
                    return self.look()
            if on_progress is not None:
                on_progress(state)
            self._pause()
        return state

    def _pause(self) -> None:
        """Sleep until the next look, or until the tracker has written its state."""
        before = self._written()
        for _ in range(_GLANCES):
            Original.sleep(_POLL / _GLANCES)
            if self._written() != before:
                return

    def _written(self) -> tuple[int, int] | None:
        """Return what tells one state of the tracker from the next, without reading it."""
        try:
            status = self._directory.state.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def is_alive(self) -> bool:
        """Return whether the tracker still runs."""
        if self._process is None:
            return False
        if os.name != "posix":
            return self._process.poll() is None
        if self._process.poll() not in (None, 0):
            return False
        return self._state.pid is None or is_running(self._state.pid)

    def kill(self) -> None:
        """Kill the tracker; what it has not sent stays in the journal."""
        pid = self._state.pid
        if pid is not None and os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        elif self._process is not None:
            self._process.terminate()

    def _fail(self, error: str) -> None:
        self._state = SessionState(phase="failed", error=error)
        with contextlib.suppress(OSError):
            self._state.write(self._directory.state)

    def _trouble(self) -> str | None:
        """Return why the tracker can't write its state, or None."""
        trouble = self._directory.trouble()
        return trouble and f"{self._directory.path} can't be written: {trouble}"

    def _last_words(self) -> str:
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = self._directory.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        return f"the process that uploads to MLflow died ({last}); see {self._directory.log}"


@final
class SessionTracker:
    """Decides when to wait for the tracker of a running session, and what to show meanwhile."""

    def __init__(
        self, config: pytest.Config, settings: Settings, directory: SessionDirectory
    ) -> None:
        self._config = config
        self._settings = settings
        self._is_ci = bool(os.environ.get("CI"))
        self._tracker = Tracker(
            directory,
            tracking_uri=settings.tracking_uri,
            cwd=settings.rootdir,
            timeout=settings.timeout,
        )
        self.reap_launcher = self._tracker.reap_launcher

    def baseline_state(self, *, is_gate: bool, is_interrupted: bool) -> SessionState:
        """Wait until the tracker has answered the request for a baseline; return its state."""
        if is_interrupted:
            # Whoever wants to stop doesn't want to wait.
            return self._tracker.state()
        on_progress = None
        terminal = self._terminal
        if terminal is not None and (terminal.isatty or is_gate):
            # A log of a session without a gate stays as it is without us, up to our section.
            on_progress = Progress(
                terminal,
                self._settings.timeout,
                self._settings.tracking_uri,
                "looking for the baseline",
            )
        try:
            return self._tracker.wait(
                self._settings.timeout,
                on_progress,
                lambda state: state.baseline is not None or state.is_unavailable,
            )
        except KeyboardInterrupt:
            return self._tracker.state().update(phase="failed", error="interrupted while waiting")

    def last_state(
        self, on_progress: Progress | None, *, is_empty: bool, endless: str | None
    ) -> SessionState:
        """Return the tracker's state at the end, after waiting for it if the settings say so.

        ``endless`` is why the journal's end can't be written, if so: the tracker goes on until
        this process is gone.
        """
        self._tracker.stop_feeding()
        if is_empty:
            # Nothing to send, and so nothing to wait for; the tracker finds out by itself.
            return self._tracker.state()
        if endless is not None:
            return self._tracker.state().update(phase="failed", error=endless)
        if not self._waits:
            return self._tracker.look()
        try:
            return self._tracker.wait(self._settings.timeout, on_progress)
        except KeyboardInterrupt:
            self._tracker.kill()
            return self._tracker.state().update(phase="failed", error="interrupted while sending")

    @property
    def _waits(self) -> bool:
        """Whether to wait until everything is sent, as in CI, where a container may vanish."""
        if self._settings.wait != "auto":
            return self._settings.wait == "yes"
        terminal = self._terminal
        return self._is_ci or terminal is None or not terminal.isatty

    @property
    def _terminal(self) -> TerminalReporter | None:
        return self._config.pluginmanager.get_plugin("terminalreporter")


def backlog(root: Path, *, besides: str) -> str | None:
    """Return a line about the unsent sessions below ``root``, or None if there are none.

    ``besides`` is the id of a session to ignore.
    """
    number = sum(
        directory.session_id != besides
        and not directory.is_blank
        and not _is_sent_or_sending(SessionState.read(directory.state))
        for directory in SessionDirectory.find_all(root)
    )
    if not number:
        return None
    text = "1 earlier session is" if number == 1 else f"{number:,} earlier sessions are"
    return f"{text} not in MLflow yet; send what is left with: pytest-mlflow sync"


_IN_DEFAULT: Final = """
    SELECT
      (SELECT count(*) FROM runs JOIN experiments USING (experiment_id)
       WHERE experiments.name = 'Default' AND start_time >= :since AND NOT EXISTS
         (SELECT 1 FROM tags WHERE run_uuid = runs.run_uuid AND key IN (:kind, :parent))),
      (SELECT count(*) FROM trace_info JOIN experiments USING (experiment_id)
       WHERE experiments.name = 'Default' AND timestamp_ms >= :since)
"""


def unclaimed(uri: str, since: int) -> str | None:
    """Return a line about what went to ``Default`` in the session's database meanwhile, or None.

    ``since`` is the start of the session, in milliseconds since the epoch. Only the file of SQLite
    is looked at: of a server nobody knows who else writes to it.
    """
    if not uri.startswith("sqlite:///"):
        return None
    import sqlite3

    file = Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])).absolute()
    values = {"since": since, "kind": KIND, "parent": PARENT}
    connect = partial(sqlite3.connect, f"{file.as_uri()}?mode=ro", uri=True, timeout=1)
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect()) as database:
        runs, traces = database.execute(_IN_DEFAULT, values).fetchone()
        counts = ((runs, "run"), (traces, "trace"))
        if told := [f"{number} {noun}{'s' * (number > 1)}" for number, noun in counts if number]:
            return (
                f"{' and '.join(told)} went to the experiment 'Default' of the same database while "
                "the tests ran; a test that asks for the fixture mlflow_run logs to its case's run"
            )
    return None


def _is_sent_or_sending(state: SessionState | None) -> bool:
    """Return whether the session is sent, or a tracker is sending it."""
    if state is None or state.phase == "failed":
        return False
    return state.phase == "done" or (state.pid is not None and is_running(state.pid))
