"""Copy the metrics of the run that ``mlflow_run`` opened into the log of the case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..records import Metric
from ..records.directory import make_directories, restrict
from ..records.slim import thinned
from .case import CaseLog
from .measuring import Original
from .merged_metrics import LoggedMetric

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_HISTORIES: Final = 20
"""The number of metrics with all steps in the record: each takes a request to MLflow."""

MAX_VALUES: Final = 1_000

_PATIENCE: Final = 10.0
"""The seconds that a slow server may take for them, as the next test waits."""

_SYSTEM: Final = "system/"


def read_metrics(client: MlflowClient, run_id: str, log: CaseLog) -> None:
    """Add the metrics of the test's own run to the log: comparisons read records, not MLflow.

    The machine's load, from MLflow's system monitor, is left out.
    """
    try:
        data: Any = client.get_run(run_id).data
        names = [name for name in data.metrics if not name.startswith(_SYSTEM)]
        log.run_metrics.update({name: data.metrics[name] for name in names})
    except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
        log.notes.append(f"the metrics of the test's own run can't be compared: {error}")
        return
    # MLflow tells the last value of a metric with its step: where that is 0, there was no other.
    steps = {metric.key: metric.step for metric in getattr(data, "_metric_objs", ())}
    curves = sorted(name for name in names if steps.get(name, 1) > 0)
    read = 0
    deadline = Original.perf_counter() + _PATIENCE
    try:
        for name in curves[:MAX_HISTORIES]:
            if Original.perf_counter() > deadline:
                break
            log.run_history += _history(client, run_id, name)
            read += 1
    except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
        log.notes.append(f"the steps of the test's own metrics are not kept: {error}")
    else:
        if rest := len(curves) - read:
            log.notes.append(f"the steps of {rest} more metrics are in the run of MLflow alone")


def _history(client: MlflowClient, run_id: str, name: str) -> list[Metric]:
    """Return the values of a metric by step, or nothing if it has one step."""
    history = sorted(client.get_metric_history(run_id, name), key=lambda value: value.timestamp)
    last = {value.step: value for value in history}
    if len(last) < 2:
        return []
    return [
        Metric(key=name, value=value.value, step=step, timestamp=value.timestamp)
        for step in thinned(sorted(last), MAX_VALUES)
        for value in (last[step],)
    ]


def take_over(client: MlflowClient, run_id: str, log: CaseLog) -> None:
    """Copy everything logged to a run in the throwaway store to the log of its case."""
    run = client.get_run(run_id)
    for key, value in run.data.params.items():
        log.params.setdefault(key, log.secrets.text(key, value, str))
    log.tags.update(
        (key, log.secrets.text(key, value, str))
        for key, value in run.data.tags.items()
        if not key.startswith("mlflow.")
    )
    for key in run.data.metrics:
        for metric in client.get_metric_history(run_id, key):
            reading = log.clock.reading(metric.timestamp)
            log.logged.append(LoggedMetric(reading, key, metric.value, metric.step))
    if log.artifact_directory is not None and client.list_artifacts(run_id):
        make_directories(log.artifact_directory)
        client.download_artifacts(run_id, "", str(log.artifact_directory))
        restrict(log.artifact_directory)
    outputs = getattr(run, "outputs", None)
    if outputs is not None and outputs.model_outputs:
        log.notes.append(
            f"{len(outputs.model_outputs)} logged models are not kept: they need a tracking store"
        )
