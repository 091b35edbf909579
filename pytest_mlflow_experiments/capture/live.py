"""The fixture ``mlflow_run``: a run of MLflow's own, active in the process of the test."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, final

import pytest

from ..directory import SessionState
from ..settings import CaseOptions
from .case import CaseLog, LoggedMetric
from .connection import CONNECTION
from .fixture import CASE_LOG

if TYPE_CHECKING:
    from mlflow import ActiveRun, MlflowClient

_STORE_TIMEOUT: Final = 120.0
_ENVIRONMENT: Final = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
)
_THROWAWAY: Final = pytest.StashKey["_Place"]()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a run goes: a tracking store, an experiment, and the run above it."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str | None = None
    session_id: str | None = None

    @property
    def is_kept(self) -> bool:
        return self.parent_run_id is not None


@contextmanager
def active_run(request: pytest.FixtureRequest) -> Iterator[ActiveRun]:
    """Open a run for the test, make it MLflow's active one, and end it after the test.

    Under ``--mlflow`` it is the case's own run below the session's run. Otherwise, and where the
    tracking store can't be reached, it stands in a throwaway store; in the second case what it got
    is taken over into the record before the store goes.
    """
    item = request.node
    log = item.stash.get(CASE_LOG, None)
    with _unheard_warnings():
        import mlflow

    with _own_mlflow_state():
        with _unheard_warnings():
            place = _place(item.config, log)
            mlflow.set_tracking_uri(place.tracking_uri)
            if not place.is_kept:
                mlflow.set_registry_uri(place.tracking_uri)
            mlflow.set_experiment(experiment_id=place.experiment_id)
            run_id = _create_run(place, item, log)
            if log is not None and place.is_kept:
                log.run_id = run_id
            run = mlflow.start_run(
                run_id=run_id,
                nested=True,
                log_system_metrics=CaseOptions.from_item(item).log_system_metrics,
            )
        try:
            yield run
        finally:
            with _unheard_warnings():
                _end_run(run_id, log)
                if log is not None and place.is_kept:
                    _read_metrics(mlflow.MlflowClient(), run_id, log)
                elif log is not None:
                    _take_over(mlflow.MlflowClient(), run_id, log)


def _place(config: pytest.Config, log: CaseLog | None) -> _Place:
    connection = config.stash.get(CONNECTION, None)
    if connection is None or (log is not None and not log.is_kept):
        return _throwaway(config)
    state: SessionState = connection.session_run(_STORE_TIMEOUT)
    if state.run_id is None or state.experiment_id is None or connection.tracking_uri is None:
        if log is not None:
            log.notes.append(f"mlflow_run used a store on this machine: {state.error}")
        return _throwaway(config)
    return _Place(
        tracking_uri=connection.tracking_uri,
        experiment_id=state.experiment_id,
        parent_run_id=state.run_id,
        session_id=connection.directory.session_id,
    )


def _throwaway(config: pytest.Config) -> _Place:
    """Return a store in a temporary directory, one for the whole process: making one is slow."""
    from mlflow import MlflowClient

    if _THROWAWAY not in config.stash:
        directory = tempfile.TemporaryDirectory(prefix="pytest-mlflow-", ignore_cleanup_errors=True)
        root = Path(directory.name)
        uri = f"sqlite:///{(root / 'mlflow.db').as_posix()}"
        default = Path("mlruns").absolute()
        is_theirs = default.exists()
        experiment_id = MlflowClient(uri, uri).create_experiment(
            "pytest", artifact_location=(root / "artifacts").as_uri()
        )
        if not is_theirs:
            # Older releases of MLflow make the directory where artifacts would be by default.
            with suppress(OSError):
                default.rmdir()
        config.stash[_THROWAWAY] = _Place(tracking_uri=uri, experiment_id=experiment_id)
        config.add_cleanup(lambda: _close_store(uri))
        config.add_cleanup(directory.cleanup)
    return config.stash[_THROWAWAY]


def _close_store(uri: str) -> None:
    """Let go of the database file, which keeps its directory alive on Windows."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = getattr(SqlAlchemyStore, "_engine_map", {}).pop(uri, None)
    if engine is not None:
        engine.dispose()


def _create_run(place: _Place, item: pytest.Item, log: CaseLog | None) -> str:
    """Create the run; not through ``mlflow.start_run``, which would take MLFLOW_RUN_ID for it."""
    from mlflow import MlflowClient
    from mlflow.tracking.context import registry

    tags = {}
    if place.parent_run_id is not None and place.session_id is not None and log is not None:
        tags = {
            "mlflow.parentRunId": place.parent_run_id,
            "pytest.kind": "case",
            "pytest.session_id": place.session_id,
            "pytest.record_id": log.id,
        }
    run = MlflowClient().create_run(
        place.experiment_id, run_name=item.name, tags=registry.resolve_tags(tags)
    )
    return str(run.info.run_id)


def _end_run(run_id: str, log: CaseLog | None) -> None:
    """End the run, and before it the runs that the test opened below it and left open."""
    import mlflow
    from mlflow.tracking import fluent

    failed = log is not None and log.outcome in ("failed", "error")
    stack: Callable[[], list[ActiveRun]] = fluent._active_run_stack.get
    while any(run.info.run_id == run_id for run in stack()):
        is_ours = stack()[-1].info.run_id == run_id
        mlflow.end_run("FAILED" if failed and is_ours else "FINISHED")


def _read_metrics(client: MlflowClient, run_id: str, log: CaseLog) -> None:
    """Note the metrics of the test's own run: comparisons look at records, not at MLflow."""
    try:
        log.run_metrics.update(client.get_run(run_id).data.metrics)
    except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
        log.notes.append(f"the metrics of the test's own run can't be compared: {error}")


def _take_over(client: MlflowClient, run_id: str, log: CaseLog) -> None:
    """Bring what a run in the throwaway store got into the record of its case."""
    run = client.get_run(run_id)
    for key, value in run.data.params.items():
        log.params.setdefault(key, value)
    log.tags.update(
        (key, value) for key, value in run.data.tags.items() if not key.startswith("mlflow.")
    )
    for key in run.data.metrics:
        for metric in client.get_metric_history(run_id, key):
            reading = log.clock.reading(metric.timestamp)
            log.logged.append(LoggedMetric(reading, key, metric.value, metric.step))
    if log.artifact_directory is not None and client.list_artifacts(run_id):
        log.artifact_directory.mkdir(parents=True, exist_ok=True)
        client.download_artifacts(run_id, "", str(log.artifact_directory))
    outputs = getattr(run, "outputs", None)
    if outputs is not None and outputs.model_outputs:
        log.notes.append(
            f"{len(outputs.model_outputs)} logged models are not kept: they need a tracking store"
        )


@contextmanager
def _unheard_warnings() -> Iterator[None]:
    """Keep the warnings of MLflow's own parts from tests that turn warnings into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _autologging() -> dict[str, dict[str, Any]]:
    """Return MLflow's settings of autologging by library; a library without any is off."""
    from mlflow.utils import autologging_utils

    return getattr(autologging_utils, "AUTOLOGGING_INTEGRATIONS", {})


@contextmanager
def _own_mlflow_state() -> Iterator[None]:
    """Give back MLflow's global state, and its environment, as the test's neighbours left them."""
    from mlflow.tracking import _model_registry, _tracking_service, fluent

    attributes: list[tuple[ModuleType, str]] = [
        (_tracking_service.utils, "_tracking_uri"),
        (_model_registry.utils, "_registry_uri"),
        (fluent, "_active_experiment_id"),
    ]
    values = [getattr(module, name, None) for module, name in attributes]
    autologging = {name: dict(config) for name, config in _autologging().items()}
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    # A run id from outside is meant for the first run that the tests open, not for this one.
    os.environ.pop("MLFLOW_RUN_ID", None)
    try:
        yield
    finally:
        for (module, name), value in zip(attributes, values, strict=True):
            setattr(module, name, value)
        # What a test switches on with mlflow.autolog() would log its neighbours' models elsewhere.
        for name, config in _autologging().items():
            config.clear()
            config.update(autologging.get(name, {}))
        for name, text in environment.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
