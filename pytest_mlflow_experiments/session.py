"""The plugin in the controller: collect the records, keep the journal, finish the session."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import pytest

from . import journal
from .capture.clock import Clock
from .capture.connection import CONNECTION, Connection
from .capture.environment import environment_tags, session_name
from .capture.plugin import WORKER_ERROR, CapturePlugin, watch_assertions
from .credentials import without_credentials
from .directory import SessionDirectory, SessionState
from .journal import JournalWriter
from .launch import Tracker
from .records import CaseRecord, SessionEnd, SessionHeader
from .report.ending import Ending, describe_end
from .report.progress import Progress
from .report.terminal import one_line, section
from .settings import Settings
from .summary import Summary

if TYPE_CHECKING:
    from _pytest.outcomes import Exit
    from _pytest.terminal import TerminalReporter

# The attribute under which a record travels on a report from a pytest-xdist worker.
_CARGO: Final = "mlflow_case"
_WORKER_DIRECTORY: Final = "mlflow_directory"


def register(config: pytest.Config) -> None:
    """Register what ``--mlflow`` needs in this process.

    Raises:
        pytest.UsageError: an option or ini value is not legal.
    """
    settings = Settings.from_config(config)
    if config.option.collectonly:
        return
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is None:
        config.pluginmanager.register(SessionPlugin(config, settings), "mlflow-session")
    else:
        directory = SessionDirectory(Path(worker_input[_WORKER_DIRECTORY]))
        watch_cases(config, settings, directory, _attach)


def watch_cases(
    config: pytest.Config,
    settings: Settings,
    directory: SessionDirectory,
    deliver: Callable[[pytest.TestReport | None, CaseRecord], None],
) -> str | None:
    """Follow the test cases of this process; return why their assertions yield no metrics."""
    plugin = CapturePlugin(track=settings.track, artifacts=directory.all_artifacts, deliver=deliver)
    config.pluginmanager.register(plugin, "mlflow-capture")
    config.stash[CONNECTION] = Connection(
        directory=directory, tracking_uri=None if settings.offline else settings.tracking_uri
    )
    return watch_assertions(config)


def _attach(report: pytest.TestReport | None, record: CaseRecord) -> None:
    """Send a record to the controller with the report: as text, which every transport takes."""
    if report is not None:
        setattr(report, _CARGO, journal.encode(record))


@final
class SessionPlugin:
    """One session, from the first collected test to the last line of the output."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._clock = Clock()
        self._pid = os.getpid()
        self._summary = Summary()
        self._tests: set[str] = set()
        self._notes: list[str] = []
        self._interruption: str | None = None
        self._directory: SessionDirectory | None = None
        self._writer: JournalWriter | None = None
        self._tracker: Tracker | None = None
        self._ending: Ending | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Open the session, and start the tracker, which gets ready while pytest collects."""
        settings = self._settings
        tags = {**environment_tags(settings.rootdir), **settings.tags}
        started = time.strftime("%Y%m%d-%H%M%S", time.localtime(self._clock.now() / 1_000))
        session_id = f"{started}-{secrets.token_hex(4)}"
        directory = self._make_directory(session_id)
        header = SessionHeader(
            session_id=session_id,
            name=settings.run_name or session_name(tags) or f"pytest {started}",
            start_time=self._clock.now(),
            tracking_uri=without_credentials(settings.tracking_uri),
            experiment_name=settings.experiment_name,
            experiment_id=settings.experiment_id,
            tags=tags,
        )
        self._writer = JournalWriter(directory.journal)
        self._writer.append(journal.encode(header))
        if not settings.offline:
            self._tracker = Tracker(
                directory, tracking_uri=settings.tracking_uri, cwd=settings.rootdir
            )
        problem = watch_cases(self._config, settings, directory, self._add)
        if problem is not None:
            self._notes.append(f"No metrics from assertions: {problem}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a pytest-xdist worker where the session is."""
        assert self._directory is not None
        node.workerinput[_WORKER_DIRECTORY] = str(self._directory.path)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Raise here what a worker found wrong with the markers: it can't tell the user itself."""
        if message := getattr(node, "workeroutput", {}).get(WORKER_ERROR):
            raise pytest.UsageError(message)

    def pytest_collection_finish(self) -> None:
        """Let go of the process that started the tracker, before a test can meet it."""
        if self._tracker is not None:
            self._tracker.detached()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the record off a report that came from a worker, and count the test."""
        self._tests.add(report.nodeid)
        if (line := report.__dict__.pop(_CARGO, None)) is not None:
            record = journal.decode(line)
            assert isinstance(record, CaseRecord)
            self._add(report, record)

    def pytest_keyboard_interrupt(
        self, excinfo: pytest.ExceptionInfo[KeyboardInterrupt | Exit]
    ) -> None:
        """Note why the session is cut short."""
        self._interruption = getattr(excinfo.value, "msg", None) or "interrupted"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Close the journal: from now on the tracker knows that it has everything."""
        if self._writer is None:
            return
        reason = self._interruption or session.shouldfail or session.shouldstop
        end = SessionEnd(
            end_time=self._clock.now(),
            exit_status=int(exitstatus),
            tests=len(self._tests),
            interrupted=str(reason) if reason else None,
        )
        self._append(end)
        self._writer.close()
        self._writer = None

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Wait for the tracker and show the section."""
        if self._directory is None or not self._is_ours():
            return
        ending = self._finish(Progress(terminalreporter))
        verbosity = terminalreporter.verbosity
        if verbosity < 0:
            line = one_line(self._summary, ending)
            terminalreporter.write_line(line.text, **line.markup)
            return
        terminalreporter.write_sep("=", "mlflow")
        for line in section(self._summary, ending, detailed=True):
            terminalreporter.write_line(line.text, **line.markup)

    def pytest_unconfigure(self) -> None:
        """Wait for the tracker where there was no summary to do it."""
        if self._directory is not None and self._ending is None and self._is_ours():
            self._finish(lambda state: None)

    # A default, for tests replace the functions of modules.
    def _is_ours(self, _getpid: Callable[[], int] = os.getpid) -> bool:
        """Tell whether this is the process that the session was opened in."""
        return _getpid() == self._pid

    def _make_directory(self, session_id: str) -> SessionDirectory:
        try:
            self._directory = SessionDirectory.create(self._settings.rootdir, session_id)
        except OSError as error:
            self._directory = SessionDirectory.create(
                Path(tempfile.mkdtemp(prefix="pytest-mlflow-")), session_id
            )
            self._notes.append(
                f"The rootdir can't be written to ({error.strerror}); the session is kept in "
                f"{self._directory.path}"
            )
        return self._directory

    def _add(self, report: pytest.TestReport | None, record: CaseRecord) -> None:
        self._summary.add(record)
        self._append(record)

    def _append(self, entry: journal.Entry) -> None:
        """Append to the journal; a full disk costs the record, never the test."""
        if self._writer is None or not self._is_ours():
            # A child that a test forked, and that came back into pytest, is not the session.
            return
        try:
            self._writer.append(journal.encode(entry))
        except Exception as error:  # noqa: BLE001 - whatever it is, the tests go on
            note = f"The journal can't be written: {error}; cases are missing from it"
            if note not in self._notes:
                self._notes.append(note)

    def _finish(self, on_progress: Callable[[SessionState], None]) -> Ending:
        """Wait for the tracker, once; return how the session ended."""
        assert self._directory is not None
        if self._ending is None:
            state = self._last_state(on_progress)
            self._ending = describe_end(
                state,
                tests=len(self._tests),
                tracking_uri=without_credentials(self._settings.tracking_uri),
                experiment=self._settings.experiment_name or self._settings.experiment_id,
                directory=self._directory.shown_path(),
                notes=self._notes,
            )
            if not self._summary.cases and not self._ending.problem:
                self._directory.remove()
            SessionDirectory.prune(self._settings.rootdir)
        return self._ending

    def _last_state(self, on_progress: Callable[[SessionState], None]) -> SessionState | None:
        """Return the tracker's last state, or None where there is no tracker."""
        if self._tracker is None:
            return None
        self._tracker.stop_feeding()
        if not self._summary.cases:
            # Nothing to send, and so nothing to wait for; the tracker finds out by itself.
            return self._tracker.state()
        try:
            return self._tracker.wait(self._settings.timeout, on_progress)
        except KeyboardInterrupt:
            self._tracker.kill()
            return self._tracker.state().update(phase="failed", error="interrupted while sending")
