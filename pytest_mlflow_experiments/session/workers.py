"""Follow the cases in each process that runs tests; exchange records with pytest-xdist workers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from ..capture.case import Deliver
from ..capture.mlflow_run import CONNECTION, Connection
from ..capture.plugin import WORKER_ERROR, CapturePlugin, watch_assertions
from ..capture.resumed import ResumedCases, read_cases
from ..capture.running import RunningNote
from ..capture.suspects import Rerunner
from ..records import CaseRecord, journal
from ..records.directory import SessionDirectory
from .comparison_settings import ComparisonSettings
from .crashes import CARGO, CrashedCases
from .settings import Settings
from .verdicts import compare_options

_DIRECTORY: Final = "mlflow_directory"
_TRACKING_URI: Final = "mlflow_tracking_uri"


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
        options = compare_options(config, comparing)
        rerunner = Rerunner(comparing.rerun, directory, options, settings.timeout)
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    resumed = None
    if settings.resume is not None:
        cases = read_cases(directory.resumed)
        resumed = ResumedCases(cases, artifacts=directory.all_artifacts, deliver=deliver)
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
    config.stash[CONNECTION] = Connection(
        directory=directory,
        tracking_uri=None if settings.offline else _tracking_uri(worker, settings),
        shard_of=settings.shard_of,
        system_metrics=settings.system_metrics,
    )
    return watch_assertions(config, settings.assertions)


def send_directory(node: Any, directory: SessionDirectory, settings: Settings) -> None:
    """Tell a worker where the session is.

    What a conftest says to MLflow in the controller is the worker's environment.
    """
    node.workerinput[_DIRECTORY] = str(directory.path)
    node.workerinput[_TRACKING_URI] = settings.tracking_uri


def _tracking_uri(worker: Mapping[str, Any] | None, settings: Settings) -> str:
    """Return where the session's runs go; ``worker`` is None in the controller."""
    return settings.tracking_uri if worker is None else str(worker[_TRACKING_URI])


def received_directory(config: pytest.Config) -> SessionDirectory | None:
    """Return the session's directory in a worker, and None in a controller."""
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    return None if worker_input is None else SessionDirectory(Path(worker_input[_DIRECTORY]))


def send_record(report: pytest.TestReport | None, record: CaseRecord) -> None:
    """Send a record to the controller with the report, as text."""
    if report is not None:
        setattr(report, CARGO, journal.encode(record))


def received_record(report: pytest.TestReport) -> CaseRecord | None:
    """Take the record that a worker sent with the report."""
    line = report.__dict__.pop(CARGO, None)
    if line is None:
        return None
    record = journal.decode(line)
    assert isinstance(record, CaseRecord)
    return record


def received_error(node: Any) -> str | None:
    """Return a worker's usage error: a worker can't show it to the user."""
    message: str | None = getattr(node, "workeroutput", {}).get(WORKER_ERROR)
    return message
