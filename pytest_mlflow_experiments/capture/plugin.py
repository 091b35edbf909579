"""The plugin of each process that runs tests: follow each case and deliver its record."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock, Thread, get_ident
from typing import Final, Literal, TypeAlias, final

import pytest

from ..records import FAILED_OUTCOMES, CaseRecord, Outcome, function_of, journal
from ..records.secret_names import SecretNames
from ..records.secrets import SHOWN_NODEID, environment_secrets, mask_of
from ..records.tags import MARKERS
from .assertions import install, unrecorded_modules
from .case import CaseLog, Deliver, record_ids
from .marker import CaseOptions
from .measuring import Clock, Original
from .mlflow_case import CASE_LOG
from .params import (
    IdAddresses,
    case_arguments,
    case_name,
    case_params,
    has_other_id,
    param_text,
    plain_nodeid,
    secret_arguments,
    shown_text,
)
from .resumed import ResumedCases
from .running import RunningNote
from .secrets import CaseSecrets, SecretRules, leaves
from .suspects import Rerunner
from .threads import Slot, all_threads

Track: TypeAlias = Literal["auto", "marked", "all"]
"""Which tests become runs: see ``--mlflow-track``."""

Assertions: TypeAlias = Literal["no", "yes", "all"]
"""Which comparisons in assertions become metrics."""

FIXTURES: Final = frozenset({"mlflow_case", "mlflow_run", "mlflow_seed"})

WORKER_ERROR: Final = "mlflow_usage_error"
"""The key under which a pytest-xdist worker sends a usage error to the controller."""

WORKER_UNRECORDED: Final = "mlflow_unrecorded"
UNRECORDED = pytest.StashKey[str]()
"""Which modules yield no metrics from their assertions, and why; a worker sends it, too."""
_FORKED: Final = "mlflow_forked_case"
"""The attribute under which a record leaves the process that was forked for its test alone.

It is the name of the plugin that sets it, too.
"""

_OPTIONS = pytest.StashKey[CaseOptions]()
_DEFAULT_OPTIONS: Final = CaseOptions()
_UNREPORTED_MARKERS: Final = frozenset({"mlflow", "parametrize", "usefixtures", "filterwarnings"})


@final
@dataclass(slots=True, eq=False)
class _Running:
    """The test that a thread runs.

    ``threads`` are those that there were before its call, ``nodeid`` is the one for its record.
    """

    item: pytest.Item | None = None
    nextitem: pytest.Item | None = None
    options: CaseOptions = _DEFAULT_OPTIONS
    attempts: list[CaseLog] = field(default_factory=list)
    thread: int = field(default_factory=get_ident)
    threads: list[Thread] | None = None
    nodeid: str = ""


def watch_assertions(config: pytest.Config, setting: Assertions) -> str | None:
    """Take metrics from assertions if ``setting`` says so; return why it is impossible, or None."""
    if setting == "no":
        return None
    return install(config, rootdir=config.rootpath, every_comparison=setting == "all")


@final
@dataclass(eq=False, kw_only=True)
class CapturePlugin:
    """Follow each test case from before its setup to after its teardown.

    The record of each case that is kept goes to ``deliver``. ``artifacts`` gets a directory for
    each case with artifacts. ``note`` stores the running case, for the controller to read after a
    crash.
    """

    track: Track
    artifacts: Path
    deliver: Deliver
    secret_names: InitVar[SecretNames]
    rerunner: Rerunner | None
    note: RunningNote | None
    resumed: ResumedCases | None

    def __post_init__(self, secret_names: SecretNames) -> None:
        self._rules = SecretRules(names=secret_names)
        self._siblings: dict[str, dict[str, None]] = {}
        self._clock = Clock()
        self._pid = Original.getpid()
        self._ids = record_ids()
        self._running: dict[int, _Running] = {}
        self._slot = Slot()
        self._delivery = Lock()
        self._addresses = IdAddresses()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note the memory addresses in a test's id, also where it is deselected later."""
        self._addresses.find(item)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Check the markers of all tests before the first one runs."""
        output = getattr(session.config, "workeroutput", None)
        if (text := unrecorded_modules(session.config, session.items)) is not None:
            session.config.stash[UNRECORDED] = text
            if output is not None:
                output[WORKER_UNRECORDED] = text
        # Only now: a conftest may have read secrets into the environment.
        environment = mask_of(environment_secrets(self._rules.names))
        self._rules = replace(self._rules, environment=environment)
        try:
            named: dict[str, str] = {}
            for item in session.items:
                for value in secret_arguments(item, self._rules.names, environment).values():
                    # Decorators stand in the text of a failure with the params of all cases.
                    values = self._siblings.setdefault(function_of(item.nodeid), {})
                    values.update(dict.fromkeys(leaves(value)))
                options = CaseOptions.from_item(item)
                if not options.marked:
                    continue
                item.stash[_OPTIONS] = options
                name = self._case_name(item, options)
                if name is None:
                    continue
                nodeid = plain_nodeid(item)
                known = named.setdefault(name, nodeid)
                if known != nodeid:
                    raise pytest.UsageError(
                        f"{nodeid}: @pytest.mark.mlflow(case=...) gives it the name {name!r}, "
                        f"which is that of {known} already; each case needs one of its own"
                    )
        except pytest.UsageError as error:
            if output is not None:
                output[WORKER_ERROR] = str(error)
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Open the case of ``item`` and make it current for assertions during the protocol."""
        now = _Running(item, nextitem, item.stash.get(_OPTIONS, _DEFAULT_OPTIONS))
        now.nodeid = self._nodeid(item) if has_other_id(item) else plain_nodeid(item)
        outer = self._running.get(now.thread), self._slot.of(now.thread)
        self._running[now.thread] = now
        # Where another plugin runs a case that need not, its setup opens it.
        if not self._is_resumed(item):
            self._open(item)
        try:
            return (yield)
        except BaseException:
            self._interrupt(item)
            raise
        finally:
            if now.threads is not None:
                self._slot.add_strays(now.threads)
            del self._running[now.thread]
            if outer[0] is not None:
                self._running[now.thread] = outer[0]
            self._slot.set(now.thread, outer[1])
            _forget(item)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Open another attempt if the case was set up before."""
        if self._is_forked and not item.config.pluginmanager.hasplugin(_FORKED):
            item.config.pluginmanager.register(_ForkedReports(self._note_forked), _FORKED)
        now = self._now
        if item is not now.item:
            return
        earlier = item.stash.get(CASE_LOG, None)
        if earlier is None:
            # Another plugin runs the test again although its teardown was reported: a new case.
            now.attempts = []
            self._open(item)
        elif earlier.durations:
            now.attempts.append(earlier)
            self._open(item)
            item.stash[CASE_LOG].keep_artifacts_of(earlier, len(now.attempts))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Read the process's usage, and note the run that the setup has opened.

        After a crash, the controller has to end that run.
        """
        log = item.stash.get(CASE_LOG, None)
        if log is None:
            return
        now = self._now
        if item is now.item:
            if log.run_id is not None:
                self._note_running(item, log)
            now.threads = all_threads()
        log.begin_call()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Read the usage of the call before pytest formats the traceback of its failure."""
        if call.when == "call" and (log := item.stash.get(CASE_LOG, None)) is not None:
            log.end_call()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add pytest's report to the case; the teardown's report, or a crash, ends the case."""
        now = self._now
        item = now.item
        if item is None or report.nodeid != item.nodeid:
            return
        log = item.stash.get(CASE_LOG, None)
        if log is None:
            return
        if self._is_forked:
            if hasattr(report, "context"):
                _note_report(log, report)
            return
        if not item.nodeid.startswith(now.nodeid):
            setattr(report, SHOWN_NODEID, now.nodeid)
        _note_report(log, report)
        crashed = report.when not in ("setup", "call", "teardown")
        if (report.when == "teardown" or crashed) and not log.rerun:
            _forget(item)
            forked = report.__dict__.pop(_FORKED, None)
            if forked is not None:
                self._deliver(report, journal.decode_case(forked))
            elif (record := self._finished(item, log, may_have_metrics=crashed)) is not None:
                try:
                    if self.rerunner is not None:
                        record = self._with_fresh_runs(item, record, self.rerunner)
                finally:
                    # Also where a fresh run is interrupted.
                    self._deliver(report, record)

    def _note_forked(self, item: pytest.Item, report: pytest.TestReport) -> None:
        log = item.stash.get(CASE_LOG, None)
        if log is not None and item is self._now.item:
            _note_report(log, report)
            if report.when == "teardown" and (record := self._finished(item, log)) is not None:
                setattr(report, _FORKED, journal.encode(record))

    @property
    def _now(self) -> _Running:
        """What the calling thread runs, or if it runs nothing, what the only other one does."""
        if (now := self._running.get(get_ident())) is None:
            running = list(self._running.values())
            now = running[0] if len(running) == 1 else _Running()
        return now

    def _deliver(self, report: pytest.TestReport | None, record: CaseRecord) -> None:
        with self._delivery:
            self.deliver(report, record)

    @property
    def _is_forked(self) -> bool:
        return Original.getpid() != self._pid

    def _finished(
        self, item: pytest.Item, log: CaseLog, *, may_have_metrics: bool = False
    ) -> CaseRecord | None:
        """Return the record of a finished case; a tentative one if it failed without a metric."""
        if self._is_kept(item, log) or (
            may_have_metrics and self._may_be_kept(item, has_metrics=True)
        ):
            return self._freeze(item, log)
        if log.outcome in FAILED_OUTCOMES and self._may_be_kept(item, has_metrics=True):
            return replace(self._freeze(item, log), tentative=True)
        return None

    def _is_resumed(self, item: pytest.Item) -> bool:
        return (
            self.resumed is not None
            and self._may_be_kept(item, has_metrics=True)
            and self.resumed.takes(item, self._nodeid(item), CaseSecrets(self._rules))
        )

    def _with_fresh_runs(
        self, item: pytest.Item, record: CaseRecord, rerunner: Rerunner
    ) -> CaseRecord:
        """Return the record with the fresh runs of the case, if it is suspect."""
        self._now.item = None
        try:
            return rerunner.with_fresh_runs(
                item, self._now.nextitem, record, partial(self._open, item), _note_report
            )
        finally:
            self._now.item = item
            _forget(item)

    def _open(self, item: pytest.Item, fresh_run: int = 0) -> CaseLog:
        """Open the log of an attempt, or of the fresh run of that number."""
        now = self._now
        artifacts = None if fresh_run else self.artifacts
        log = CaseLog(self._clock, artifact_root=artifacts, id=next(self._ids), rules=self._rules)
        log.options, log.fresh_run = now.options, fresh_run
        log.random_examples = hasattr(getattr(item, "obj", None), "hypothesis")
        log.params = case_params(item, log.secrets)
        if self._siblings:
            log.secrets.values.update(self._siblings.get(function_of(item.nodeid), {}))
        for key, value in now.options.params.items():
            log.params[str(key)] = log.secrets.text(str(key), value, param_text)
        item.stash[CASE_LOG] = log
        self._slot.set(now.thread, log.observations)
        if not fresh_run:
            self._note_running(item, log)
        return log

    def _note_running(self, item: pytest.Item, log: CaseLog) -> None:
        if self.note is not None:
            # What crashes may have had a metric.
            is_kept = self._may_be_kept(item, has_metrics=True)
            self.note.write(item.nodeid, self._freeze(item, log) if is_kept else None)

    def _interrupt(self, item: pytest.Item) -> None:
        """Deliver the record of an interrupted case."""
        log = item.stash.get(CASE_LOG, None)
        if log is not None and self._is_kept(item, log):
            log.outcome = "interrupted"
            log.count_interrupted_phase()
            record = self._freeze(item, log)
            if self.note is not None:
                # There is no report that it could travel with.
                self.note.write(item.nodeid, record)
            self._deliver(None, record)

    def _is_kept(self, item: pytest.Item, log: CaseLog) -> bool:
        has_metrics = log.has_metrics or any(one.has_metrics for one in self._now.attempts)
        return self._may_be_kept(item, has_metrics=has_metrics)

    def _may_be_kept(self, item: pytest.Item, *, has_metrics: bool) -> bool:
        options = self._now.options
        if not options.track:
            return False
        if self.track == "all" or options.marked or (has_metrics and self.track == "auto"):
            return True
        return not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))

    def _freeze(self, item: pytest.Item, log: CaseLog) -> CaseRecord:
        now = self._now
        options, nodeid, name = now.options, now.nodeid, item.name
        told = sorted(_marker_names(item) - _UNREPORTED_MARKERS)
        tags = {MARKERS: ",".join(told)} if told else {}
        for key, value in options.tags.items():
            tags[str(key)] = log.secrets.text(str(key), value, str)
        case = None if options.case is None else self._case_name(item, options)
        if has_other_id(item):
            name = shown_text(item, name, self._rules.names)
        return log.freeze(
            nodeid=nodeid,
            case=case or nodeid,
            name=case or name,
            tags=tags,
            attempts=now.attempts,
            arguments=case_arguments(item, self._rules.names),
            renamed=(item.name, name) if name != item.name else None,
        )

    def _case_name(self, item: pytest.Item, options: CaseOptions) -> str | None:
        name = case_name(item, options.case, self._rules.names)
        return None if name is None else self._rules.environment(name)

    def _nodeid(self, item: pytest.Item) -> str:
        """Return the node id for the record, without secrets."""
        return shown_text(item, plain_nodeid(item), self._rules.names)


@final
@dataclass(eq=False)
class _ForkedReports:
    """Lets the record travel on the report of the teardown, as nothing else comes back.

    It is for a process that was forked for its test alone (pytest-forked).
    """

    note: Callable[[pytest.Item, pytest.TestReport], None]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note the report."""
        report = yield
        self.note(item, report)
        return report


def _marker_names(item: pytest.Item) -> set[str]:
    # Each case asks, and pytest's own iteration takes three times as long.
    names: set[str] = set()
    node: pytest.Item | pytest.Collector | None = item
    while node is not None:
        for marker in node.own_markers:
            names.add(marker.name)
        node = node.parent
    return names


def _forget(item: pytest.Item) -> None:
    if CASE_LOG in item.stash:
        del item.stash[CASE_LOG]


def _note_report(log: CaseLog, report: pytest.TestReport) -> None:
    """Add the report of one phase, or of a subtest, to the log."""
    is_plain_pass = report.outcome == "passed" and not hasattr(report, "wasxfail")
    outcome = None if is_plain_pass else _outcome(report)
    # A subtest's report comes within the call of its test, which has a report of its own.
    is_subtest = hasattr(report, "context")
    if not is_subtest:
        phase = report.when or "call"
        log.durations[phase] = log.durations.get(phase, 0.0) + report.duration
    if outcome is None or (is_subtest and not report.failed):
        return
    # The outcome of a case is that of its worst report: a teardown can fail after a failed call.
    if log.outcome not in ("failed", "error"):
        log.outcome = outcome
    if outcome in ("failed", "error"):
        log.failures.append(log.secrets.of_failure(report.longreprtext))
    if report.outcome == "rerun":  # type: ignore[comparison-overlap] # by pytest-rerunfailures
        log.rerun = True


def _outcome(report: pytest.TestReport) -> Outcome | None:
    """Return the outcome of the case after this report, or None for a plain pass."""
    if report.passed:
        return "xpassed" if hasattr(report, "wasxfail") and report.when == "call" else None
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    # Neither a setup nor a teardown is the crash of a process.
    return "error" if report.when in ("setup", "teardown") else "failed"
