"""The plugin in the controller: collect the records, keep the journal, finish the session."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

import pytest

from ..baseline.local import local_pin, remember_store
from ..capture.measuring import Clock, Original
from ..capture.params import plain_nodeid, shown_text
from ..capture.plugin import UNRECORDED, WORKER_ERROR, WORKER_UNRECORDED
from ..records import CaseRecord, SessionEnd, journal
from ..records.directory import SessionDirectory, shown_path
from ..records.journal import JournalWriter
from ..records.secrets import SHOWN_NODEID, without_credentials
from ..regression.comparison import Comparison
from ..report.numbers import count
from ..report.summary import SessionSummary
from ..report.terminal import Progress, SessionOutcome, describe_outcome, quiet_lines, section
from .builtin_hooks import REPORT_FORMATS, DefaultBaselines
from .comparison_settings import ComparisonSettings
from .gate import fail_session, mark_failed
from .header import git_note, make_directory, make_header, written_files
from .resumption import Resumption, find_session
from .selection import Selection, runs_no_test
from .settings import Settings
from .tracker_process import SessionTracker, backlog, unclaimed
from .verdicts import SessionVerdicts
from .workers import received_directory, received_record, send_directory, send_record, watch_cases

if TYPE_CHECKING:
    from _pytest.outcomes import Exit
    from _pytest.terminal import TerminalReporter

_WHY_LEFT_OUT: Final = {"auto": "without metrics", "marked": "without the marker"}


def register(config: pytest.Config) -> None:
    """Register what ``--mlflow`` needs in this process.

    Raises:
        pytest.UsageError: an option or ini value is not legal.
    """
    settings = Settings.from_config(config)
    comparing = ComparisonSettings.from_config(config)
    if runs_no_test(config):
        return
    names = settings.secret_names
    selection = Selection(config, lambda item: shown_text(item, plain_nodeid(item), names))
    config.pluginmanager.register(selection, "mlflow-selection")
    directory = received_directory(config)
    if directory is None:
        plugin = SessionPlugin(config, settings, comparing, selection)
        config.pluginmanager.register(plugin, "mlflow-session")
    else:
        watch_cases(config, settings, comparing, directory, send_record)


@final
@dataclass(eq=False)
class SessionPlugin:
    """One session, from the first collected test to the last line of the output."""

    _config: pytest.Config
    _settings: Settings
    _comparing: ComparisonSettings
    _selection: Selection

    def __post_init__(self) -> None:
        self._clock = Clock()
        self._begun = 0
        self._pid = Original.getpid()
        self._summary = SessionSummary()
        self._tests: set[str] = set()
        self._tentative: list[CaseRecord] = []
        self._notes: list[str] = []
        self._interruption: str | None = None
        self._cause: str | None = None
        self._lost: set[str] = set()
        self._unwritten: str | None = None
        self._lacks_end = False
        self._only_shows = False
        self._directory: SessionDirectory | None = None
        self._writer: JournalWriter | None = None
        self._tracker: SessionTracker | None = None
        self._outcome: SessionOutcome | None = None
        self._verdicts: SessionVerdicts | None = None
        self._comparison: Comparison | None = None
        self._resumption: Resumption | None = None
        if (wanted := self._settings.resume) is not None:
            base = self._config.invocation_params.dir
            self._resumption = Resumption(find_session(self._settings.rootdir, wanted, base))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Open the session and start the tracker, which loads MLflow while pytest collects."""
        settings = self._settings
        self._begun = self._clock.now()
        header = make_header(settings, self._comparing, self._begun)
        try:
            directory, note = make_directory(settings.rootdir, header.session_id)
        except OSError as error:
            raise pytest.UsageError(
                f"--mlflow: the session's directory can't be made: {error}"
            ) from error
        self._directory = directory
        self._notes += filter(None, (note, git_note(header, settings.rootdir)))
        if self._resumption is not None:
            outputs = written_files(settings, self._comparing)
            header = self._resumption.begin(header, directory, settings.rootdir, outputs)
        remember_store(settings.rootdir, settings.tracking_uri)
        self._writer = JournalWriter(directory.journal)
        self._unwritten = journal.encode(header)
        self._append()
        if self._comparing.baseline != "none":
            self._verdicts = SessionVerdicts(self._config, self._comparing, directory, header)
            seeds = self._comparing.options.seed_params
            baselines = DefaultBaselines(settings, header, directory, seeds)
            for plugin in (baselines, *REPORT_FORMATS):
                self._config.pluginmanager.register(plugin)
            self._verdicts.ask(self._selection.chosen, online=not settings.offline)
        if not settings.offline:
            self._tracker = SessionTracker(self._config, settings, directory)
        problem = watch_cases(self._config, settings, self._comparing, directory, self._add)
        if problem is not None:
            self._notes.append(f"No metrics from assertions: {problem}")

    def pytest_report_header(self) -> str | None:
        """Say in the header which session is resumed."""
        return f"mlflow: {self._resumption.headline}" if self._resumption is not None else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a pytest-xdist worker where the session is."""
        assert self._directory is not None
        send_directory(node, self._directory, self._settings)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Raise a worker's usage error here: a worker can't show it to the user."""
        output = getattr(node, "workeroutput", {})
        if text := output.get(WORKER_UNRECORDED):
            self._config.stash[UNRECORDED] = text
        if message := output.get(WORKER_ERROR):
            raise pytest.UsageError(message)

    def pytest_collection_finish(self) -> None:
        """Reap the tracker's launcher, so that tests don't find it among their children."""
        if self._tracker is not None:
            self._tracker.reap_launcher()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the test, and take the record that a worker sent with the report."""
        self._tests.add(getattr(report, SHOWN_NODEID, report.nodeid))
        if (line := received_record(report)) is not None:
            self._add(report, journal.decode_case(line), line)

    def pytest_keyboard_interrupt(
        self, excinfo: pytest.ExceptionInfo[KeyboardInterrupt | Exit]
    ) -> None:
        """Note why the session is interrupted."""
        # Pytest-xdist stops by this as well, for whatever reason.
        reason = getattr(excinfo.value, "msg", None) or str(excinfo.value)
        self._interruption = self._by_option(reason) or "interrupted"

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        """Compare with the baseline before other plugins show failures; then end the journal.

        The journal's end tells the tracker that it has everything.
        """
        if self._writer is None:
            return (yield)
        if self._interruption is None and isinstance(sys.exc_info()[1], KeyboardInterrupt):
            # A second Ctrl-C came before pytest could call its hook for the first one.
            self._interruption = "interrupted"
        # As some modes of other plugins do, which only collect the tests.
        self._only_shows = exitstatus == pytest.ExitCode.OK and not self._selection.has_begun
        # Shards are a part each, and their tests are told apart by whatever plugin.
        shortened = None if self._settings.shard_of is not None else self._selection.shortened
        stopped = self._by_option(str(session.shouldfail or session.shouldstop or ""))
        reason = self._interruption or stopped
        end = SessionEnd(
            end_time=self._clock.now(),
            exit_status=int(exitstatus),
            tests=len(self._tests),
            interrupted=str(reason) if reason else None,
            partial=self._selection.partial or shortened or self._other_data,
            selection=self._selection.chosen,
        )
        rejected = False
        try:
            rejected = self._compare(session, end)
            return (yield)
        except BaseException:
            end = replace(end, interrupted=end.interrupted or "interrupted at its end")
            raise
        finally:
            if rejected:
                # Some conftest may have its own idea of the exit status.
                mark_failed(session)
            end = replace(end, exit_status=int(session.exitstatus), rejected=rejected)
            if self._settings.shard_of is not None:
                # Whoever puts shards together has nothing but their journals.
                unrecorded = self._selection.besides(self._summary.outcome_of.keys())
                end = replace(end, unrecorded=unrecorded)
            if self._comparison is not None:
                # Whatever is wrong with the comparison, the journal needs its end.
                with suppress(Exception):
                    from ..report.run_texts import with_comparison

                    seeds = self._comparing.options.seed_params
                    end = with_comparison(end, self._comparison, seeds)
            if (lost := self._loss) is not None:
                # Such a session is not the whole, and no baseline.
                end = replace(end, interrupted=end.interrupted or lost)
            self._lacks_end = not self._append(end)
            self._writer.close()
            self._writer = None

    def _by_option(self, reason: str) -> str:
        """Return the option that made pytest stop early, else its own reason."""
        if not re.fullmatch(r"stopping after \d+ failures?", reason):
            return reason
        most = self._config.getoption("maxfail", 1)
        return "-x" if most == 1 else f"--maxfail={most}"

    def _compare(self, session: pytest.Session, end: SessionEnd) -> bool:
        """Compare with the baseline; return whether the session's gate fails."""
        if self._verdicts is None or self._only_shows or not self._is_own_process():
            return False
        if not (self._summary.cases or self._tentative or self._comparing.gate):
            return False
        state = None
        if self._verdicts.awaits_tracker and self._loss is None:
            assert self._tracker is not None
            state = self._tracker.baseline_state(
                is_gate=self._comparing.gate, is_interrupted=self._interruption is not None
            )
        self._verdicts.read_baseline(state)
        for record in self._tentative:
            if self._verdicts.knows(record):
                self._keep(replace(record, tentative=False))
        if not self._summary.cases and not self._comparing.gate:
            return False
        problem = self._loss or (self._other_data if self._comparing.gate else None)
        if self._writer is not None:
            with suppress(OSError):  # what can't be read is told below
                self._writer.stay_in_place()
        self._comparison = self._verdicts.finish(end, self._selection, problem)
        return self._comparing.gate and fail_session(
            session, self._comparison, self._selection.nodeids, self._selection.not_run
        )

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Wait for the tracker and show the section."""
        if self._directory is None or not self._is_own_process():
            return
        uri, timeout = self._settings.tracking_uri, self._settings.timeout
        ending = self._finish(Progress(terminalreporter, timeout, uri))
        if self._only_shows:
            return
        reports = self._verdicts.reports if self._verdicts is not None else None
        if terminalreporter.verbosity < 0:
            lines = quiet_lines(self._summary, ending, self._comparison)
        else:
            terminalreporter.write_sep("=", "mlflow")
            shown = reports.shown() if reports is not None else []
            verbose = terminalreporter.verbosity > 0
            lines = section(self._summary, ending, self._comparison, shown, verbose=verbose)
        for line in lines:
            terminalreporter.write_line(line.text, **line.markup)
        for text in reports.annotations if reports is not None else ():
            terminalreporter.write_line(text)

    def pytest_unconfigure(self) -> None:
        """Wait for the tracker if there was no terminal summary; tell what is lost all the same."""
        if self._directory is not None and self._outcome is None and self._is_own_process():
            for text in self._finish().losses:
                print(f"mlflow: {text}", file=sys.stderr)  # noqa: T201

    def _is_own_process(self) -> bool:
        """Return whether this is the process that opened the session, not a fork."""
        return Original.getpid() == self._pid

    @property
    def _other_data(self) -> str | None:
        return self._resumption.problem if self._resumption is not None else None

    def _add(
        self, report: pytest.TestReport | None, record: CaseRecord, line: str | None = None
    ) -> None:
        """Keep a record, whose line of the journal is known if a worker wrote it."""
        nodeid = record.nodeid
        if report is None and not any(
            t == nodeid or t.startswith(f"{nodeid}@") for t in self._tests
        ):
            self._tests.add(nodeid)  # what was interrupted has no report
        if record.tentative:
            self._tentative.append(record)
        else:
            self._keep(record, line)

    def _keep(self, record: CaseRecord, line: str | None = None) -> None:
        if not self._append(record, line):
            if self._cause is not None:
                self._lost.add(record.nodeid)
            return
        self._summary.add(record)
        if self._resumption is not None:
            self._resumption.add(record)

    def _append(self, entry: journal.Entry | None = None, line: str | None = None) -> bool:
        """Append to the journal, whose header comes first; return whether the entry is in it.

        A full disk loses the entry but fails no test.
        """
        if self._writer is None or not self._is_own_process():
            # A child that a test forked, and that came back into pytest, is not the session.
            return False
        try:
            if self._unwritten is not None:
                self._writer.append(self._unwritten)
                self._unwritten = None
            if entry is not None:
                self._writer.append(journal.encode(entry) if line is None else line)
        except Exception as error:  # noqa: BLE001 - whatever it is, the tests go on
            self._cause = str(error)
            return False
        return True

    @property
    def _loss(self) -> str | None:
        """What the journal lacks, and why; None if it has everything."""
        if not self._lost and not self._lacks_end:
            return None
        missing = count(len(self._lost), "case is", "cases are") if self._lost else "its end is"
        return f"the session's file can't be written: {self._cause}; {missing} missing from it"

    def _finish(self, on_progress: Progress | None = None) -> SessionOutcome:
        """Wait for the tracker, once; return the session's outcome."""
        assert self._directory is not None
        if self._outcome is None:
            state = left = own = None
            if self._tracker is not None:
                if "mlflow" in sys.modules or self._config.pluginmanager.hasplugin("dsession"):
                    own = unclaimed(self._settings.tracking_uri, self._begun)
                state = self._tracker.last_state(
                    on_progress,
                    is_empty=not self._is_worth_keeping,
                    endless=self._loss if self._lacks_end else None,
                )
                left = backlog(self._settings.rootdir, besides=self._directory.session_id)
            self._outcome = describe_outcome(
                state,
                tests=len(self._tests),
                tracking_uri=without_credentials(self._settings.tracking_uri),
                experiment=self._settings.experiment_name or self._settings.experiment_id,
                directory=shown_path(self._directory.path),
                losses=self._losses(),
                left_out=self._left_out(),
                why_left_out=_WHY_LEFT_OUT.get(self._settings.track, "not recorded"),
                notes=[
                    *self._notes,
                    *filter(None, [self._config.stash.get(UNRECORDED, None)]),
                    *(self._resumption.notes() if self._resumption else ()),
                    *filter(None, (own, left)),
                ],
            )
            if not self._is_worth_keeping and not self._comparison and not self._outcome.problem:
                self._directory.remove()
            pin = local_pin(self._settings.rootdir)
            SessionDirectory.prune(self._settings.rootdir, keep_ids=[pin] if pin else [])
        return self._outcome

    def _left_out(self) -> Iterator[str]:
        """Yield the tests that ran and are not recorded; those that are lost are told elsewhere."""
        known = self._summary.outcome_of.keys() | self._lost
        for nodeid, outcome in self._selection.besides(known).items():
            # Modules that can't be collected are among them.
            if outcome != "skipped" and "::" in nodeid:
                yield nodeid

    def _losses(self) -> Iterator[str]:
        """Yield what could not be written, which is told however little is to be shown."""
        if (lost := self._loss) is not None:
            kept = f"{self._summary.cases:,} of {count(len(self._tests), 'test')} recorded"
            yield f"{lost[0].upper()}{lost[1:]} ({kept})"
        if self._verdicts is not None:
            yield from self._verdicts.reports.notes

    @property
    def _is_worth_keeping(self) -> bool:
        """Whether the session has a case; a shard is kept without one, as the merge needs it."""
        is_shard = self._settings.shard_of is not None and not self._only_shows
        return bool(self._summary.cases) or is_shard
