"""Follow the cases in each process that runs tests, including crashed pytest-xdist workers."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import pytest

from ..baseline.kept_values import ValuesReader
from ..baseline.local_baseline import read_baseline
from ..capture.case import Deliver
from ..capture.measuring import Clock
from ..capture.mlflow_run import CONNECTION, Connection
from ..capture.plugin import CapturePlugin, Track, watch_assertions
from ..capture.resumed import ResumedCases, read_cases
from ..capture.running import RunningNote
from ..capture.suspects import FreshTime, Rerunner
from ..records import Attempt, CaseRecord, journal
from ..records.directory import SessionDirectory, files_below
from ..records.secrets import SHOWN_NODEID, environment_secrets, without_environment
from .comparison_settings import ComparisonSettings
from .selection import plain_nodeid
from .settings import Settings

_DIRECTORY: Final = "mlflow_directory"
_TRACKING_URI: Final = "mlflow_tracking_uri"
_RECORD: Final = "mlflow_case"
"""The attribute under which a record travels on a report, as a line of the journal."""


def watch_cases(
    config: pytest.Config,
    settings: Settings,
    comparing: ComparisonSettings,
    directory: SessionDirectory,
    deliver: Deliver,
) -> str | None:
    """Follow the test cases of this process; return why their assertions yield no metrics."""
    rerunner = None
    if comparing.rerun and comparing.baseline != "none":
        options, timeout = comparing.options, settings.timeout
        time = FreshTime(comparing.rerun_time)
        read = partial(read_baseline, directory, ValuesReader(options.seed_params))
        rerunner = Rerunner(comparing.rerun, time, directory, read, options, timeout)
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    resumed = None
    if settings.resume is not None:
        cases = read_cases(directory.resumed)
        resumed = ResumedCases(cases, directory.all_artifacts, deliver)
        config.pluginmanager.register(resumed, "mlflow-resumed")
    plugin = CapturePlugin(
        track=settings.track,
        artifacts=directory.all_artifacts,
        deliver=deliver,
        rerunner=rerunner,
        secret_names=settings.secret_names,
        note=RunningNote.of(directory, worker["workerid"]) if worker is not None else None,
        resumed=resumed,
    )
    config.pluginmanager.register(plugin, "mlflow-capture")
    if config.pluginmanager.hasplugin("dsession"):
        crashed = CrashedCases(directory, settings.track, deliver)
        config.pluginmanager.register(crashed, "mlflow-crashed")
    uri = settings.tracking_uri if worker is None else str(worker[_TRACKING_URI])
    config.stash[CONNECTION] = Connection(
        directory=directory,
        tracking_uri=None if settings.offline else uri,
        shard_of=settings.shard_of,
        system_metrics=settings.system_metrics,
    )
    return watch_assertions(config, settings.assertions)


def send_directory(node: Any, directory: SessionDirectory, settings: Settings) -> None:
    """Tell a worker where the session is.

    The worker inherits the changes of MLflow's settings by the controller's conftests.
    """
    node.workerinput[_DIRECTORY] = str(directory.path)
    node.workerinput[_TRACKING_URI] = settings.tracking_uri


def received_directory(config: pytest.Config) -> SessionDirectory | None:
    """Return the session's directory in a worker, None in a controller."""
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    return None if worker_input is None else SessionDirectory(Path(worker_input[_DIRECTORY]))


def send_record(report: pytest.TestReport | None, record: CaseRecord) -> None:
    """Send a record to the controller with the report, as text."""
    if report is not None:
        setattr(report, _RECORD, journal.encode(record))


def received_record(report: pytest.TestReport) -> str | None:
    """Return the record that a worker sent with the report, removing it from the report."""
    line: str | None = report.__dict__.pop(_RECORD, None)
    return line


@final
class CrashedCases:
    """Follows the reports of workers, and makes the records of crashed ones.

    A case that crashed its worker may have had metrics that are lost. So it is kept, unless its
    marker or ``--mlflow-track=marked`` exclude it. Workers note in ``directory`` what they are
    running; ``deliver`` is called with each record made here.
    """

    def __init__(self, directory: SessionDirectory, track: Track, deliver: Deliver) -> None:
        self._directory = directory
        self._track = track
        self._deliver = deliver
        self._clock = Clock()
        self._last: dict[str, str] = {}
        self._told: set[str] = set()
        self._attempts: dict[str, list[Attempt]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the record of a report, or make the record of a crashed case."""
        node: Any = getattr(report, "node", None)
        worker = str(node.gateway.id) if node is not None else ""
        line: str | None = getattr(report, _RECORD, None)
        if line is not None:
            self._last[worker] = line
            if report.nodeid in self._attempts:
                setattr(report, _RECORD, self._with_attempts(report.nodeid, line))
        elif report.when not in ("setup", "call", "teardown"):
            self._crashed(report, worker)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Record the cases that were interrupted in workers, which have ended by now."""
        for note in RunningNote.find_all(self._directory):
            running = note.read()
            note.remove()
            record = running.record if running is not None else None
            if record is not None and record.outcome == "interrupted" and self._is_news(record):
                self._deliver(None, record)

    def _crashed(self, report: pytest.TestReport, worker: str) -> None:
        running = RunningNote.of(self._directory, worker).read()
        record: CaseRecord | None
        if running is not None and running.is_of(report.nodeid):
            record = running.record
        else:
            # The worker died before it could note the case.
            record = None if self._track == "marked" else self._bare(report)
        if record is None or not self._is_news(record):
            return
        # The node id of the record may lack a secret that pytest's has.
        failure = str(report.longrepr).replace(repr(report.nodeid), repr(record.nodeid))
        failure = failure.replace(report.nodeid, record.nodeid)
        if record.nodeid != plain_nodeid(report.nodeid):
            setattr(report, SHOWN_NODEID, record.nodeid)
        now = max(record.start_time, self._clock.now())
        seconds = (now - record.start_time) / 1_000
        if report.outcome == "rerun":  # type: ignore[comparison-overlap] # by pytest-rerunfailures
            attempt = Attempt(outcome="failed", duration=seconds, failure=failure)
            earlier = self._attempts.setdefault(report.nodeid, [])
            earlier += [*record.attempts, attempt]
            return
        self._told.add(record.id)
        self._deliver(
            report,
            replace(
                record,
                outcome="failed",
                failure=failure,
                end_time=now,
                durations={"call": seconds},
                # Those that the case had logged before the crash.
                artifacts=files_below(self._directory.artifacts(record.id)),
                attempts=(*self._attempts.pop(report.nodeid, ()), *record.attempts),
            ),
        )

    def _bare(self, report: pytest.TestReport) -> CaseRecord:
        """Return the record of a case with only its node id known."""
        nodeid = without_environment(plain_nodeid(report.nodeid), environment_secrets())
        now = self._clock.now()
        head, bracket, params = nodeid.partition("[")
        return CaseRecord(
            id=os.urandom(16).hex(),
            nodeid=nodeid,
            case=nodeid,
            name=f"{head.rpartition('::')[2]}{bracket}{params}",
            outcome="failed",
            start_time=now,
            end_time=now,
            durations={},
        )

    def _is_news(self, record: CaseRecord) -> bool:
        """Return whether the case has no record yet: a worker can crash right after sending one."""
        return record.id not in self._told and not any(
            record.id in line for line in self._last.values()
        )

    def _with_attempts(self, nodeid: str, line: str) -> str:
        """Return the line of a record with the attempts that crashed before."""
        record = journal.decode_case(line)
        attempts = (*self._attempts.pop(nodeid), *record.attempts)
        return journal.encode(replace(record, attempts=attempts))
