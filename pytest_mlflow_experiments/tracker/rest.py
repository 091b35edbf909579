"""Read and write runs over MLflow's REST API without loading MLflow, which takes seconds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from math import isfinite, isnan
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, final

from ..records import DatasetInput, Metric
from ..records.tags import DATA_CONTEXT, USER
from .errors import StoreError
from .local_files import LocalFiles
from .server import Server
from .server_files import ServerFiles
from .stand_in import Page, StandIn, now

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository


def rest_client(tracking_uri: str, load: Callable[[], MlflowClient]) -> RestClient | None:
    """Return a client of the server at a URI; None where only MLflow knows how to ask it."""
    server = Server.of(tracking_uri)
    return None if server is None else RestClient(server, load)


_VIEWS: Final = {1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL"}
_RUN_ID: Final = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_IN_PARTS: Final = re.compile(r"MLFLOW_(ENABLE_PROXY_)?MULTIPART_\w+")


@final
class RestClient(StandIn):
    """Stands in for MLflow's client of a tracking server.

    The server may be of any release: its API has a version, and is documented.
    """

    takes_any_size: ClassVar[bool] = False

    def __init__(self, server: Server, load: Callable[[], MlflowClient]) -> None:
        self._server, self.load = server, load
        stores = entry_points(group="mlflow.artifact_repository", name="mlflow-artifacts")
        self._keeps_files = not stores and not any(map(_IN_PARTS.fullmatch, os.environ))

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def files_at(self, uri: str) -> LocalFiles | ServerFiles | None:
        """Return the artifacts at a URI; None if they are for MLflow to fetch."""

        def load() -> ArtifactRepository:
            self.mlflow  # noqa: B018 - to be loaded as it usually is
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            return get_artifact_repository(uri)

        if self._keeps_files and (found := ServerFiles.at(self._server, uri, load)):
            return found
        return super().files_at(uri)

    def search_experiments(self, view_type: int = 1, max_results: int = 1_000) -> list[Experiment]:
        """Return experiments, of which there may be more."""
        data = {"view_type": _VIEWS[view_type], "max_results": max_results}
        found = self._server.ask("POST", "experiments/search", data)
        return [_experiment(one) for one in found.get("experiments", ())]

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """Return an experiment, or None if there is none."""
        try:
            data = {"experiment_name": name}
            found = self._server.ask("GET", "experiments/get-by-name", data, "experiment")
        except StoreError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return _experiment(found)

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment."""
        data = {"experiment_id": experiment_id}
        return _experiment(self._server.ask("GET", "experiments/get", data, "experiment"))

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Create an experiment and return its id."""
        data = {"name": name, "tags": _pairs(tags or {})}
        if artifact_location is not None:
            data["artifact_location"] = artifact_location
        return str(self._server.ask("POST", "experiments/create", data, "experiment_id"))

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an experiment."""
        data = {"experiment_id": experiment_id, "key": key, "value": value}
        self._server.ask("POST", "experiments/set-experiment-tag", data)

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """Create a RUNNING run."""
        tags = tags or {}
        data = {
            "experiment_id": experiment_id,
            "user_id": tags.get(USER, "unknown"),
            "start_time": start_time or now(),
            "tags": _pairs(tags),
        }
        if run_name is not None:
            data["run_name"] = run_name
        return _run(self._server.ask("POST", "runs/create", data, "run"))

    def get_run(self, run_id: str) -> Run:
        """Return a run; MLflow says what is wrong with what is no id."""
        if not _RUN_ID.fullmatch(run_id):
            return self.mlflow.get_run(run_id)
        return _run(self._server.ask("GET", "runs/get", _of_run(run_id), "run"))

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: int = 1,
        max_results: int = 1_000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return a page of runs that match a filter."""
        data = {
            "experiment_ids": list(experiment_ids),
            "filter": filter_string,
            "run_view_type": _VIEWS[run_view_type],
            "max_results": max_results,
            "order_by": list(order_by or ()),
        }
        if page_token is not None:
            data["page_token"] = page_token
        found = self._server.ask("POST", "runs/search", data)
        page = Page(map(_run, found.get("runs", ())))
        page.token = found.get("next_page_token") or None
        return page

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self._server.ask("POST", "runs/set-tag", {**_of_run(run_id), "key": key, "value": value})

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Rename a run, or set its status; the rest stays as it is."""
        info = self.get_run(run_id).info
        data = {**_of_run(run_id), "status": status or info.status}
        if info.end_time is not None:
            data["end_time"] = info.end_time
        if name is not None:
            data["run_name"] = name
        self._server.ask("POST", "runs/update", data)

    def set_terminated(
        self,
        run_id: str,
        status: str | None = None,
        end_time: int | None = None,
        name: str | None = None,
    ) -> None:
        """Set the status and the end of a run, and rename it if it gets a name."""
        data: dict[str, Any] = {"status": status or "FINISHED", "end_time": end_time or now()}
        if name is not None:
            data["run_name"] = name
        self._server.ask("POST", "runs/update", {**_of_run(run_id), **data})

    def delete_run(self, run_id: str) -> None:
        """Delete a run, so that it may be restored."""
        self._server.ask("POST", "runs/delete", {"run_id": run_id})

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add metrics and params to a run and set tags, as many as the server takes at once."""
        data = {
            "run_id": run_id,
            "metrics": list(map(_metric, metrics)),
            "params": _pairs(params or {}),
            "tags": _pairs(tags or {}),
        }
        self._server.ask("POST", "runs/log-batch", data)

    def log_inputs(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Add datasets to a run that it has not got."""
        self._server.ask(
            "POST", "runs/log-inputs", {"run_id": run_id, "datasets": list(map(_dataset, inputs))}
        )


def _of_run(run_id: str) -> dict[str, Any]:
    # Older servers know a run by the other name.
    return {"run_uuid": run_id, "run_id": run_id}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _metric(metric: Metric) -> dict[str, Any]:
    value: float | str = metric.value
    if not isfinite(metric.value):
        # As the JSON of protocol buffers has them.
        value = "NaN" if isnan(metric.value) else "Infinity" if metric.value > 0 else "-Infinity"
    where = {"timestamp": metric.timestamp, "step": metric.step}
    return {"key": metric.key, "value": value, **where}


def _dataset(data: DatasetInput) -> dict[str, Any]:
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    known = {name: value for name in names if (value := getattr(data, name)) is not None}
    tags = _pairs({DATA_CONTEXT: data.context} if data.context else {})
    return {"tags": tags, "dataset": known}


def _experiment(data: Mapping[str, Any]) -> Experiment:
    names = ("experiment_id", "name", "artifact_location", "lifecycle_stage")
    found = SimpleNamespace(
        **{name: data.get(name, "") for name in names}, tags=_values(data.get("tags", ()))
    )
    return cast("Experiment", found)


def _run(data: Mapping[str, Any]) -> Run:
    info, held, outputs = data["info"], data.get("data", {}), data.get("outputs", {})
    names = ("run_name", "experiment_id", "user_id", "status", "lifecycle_stage", "artifact_uri")
    end_time = int(info.get("end_time", 0))
    found = SimpleNamespace(
        info=SimpleNamespace(
            **{name: info.get(name, "") for name in names},
            run_id=info.get("run_id") or info.get("run_uuid", ""),
            start_time=int(info.get("start_time", 0)),
            end_time=end_time or None,
        ),
        data=SimpleNamespace(
            tags=_values(held.get("tags", ())),
            params=_values(held.get("params", ())),
            metrics={
                one.get("key", ""): float(one.get("value", 0)) for one in held.get("metrics", ())
            },
        ),
        inputs=None,
        outputs=SimpleNamespace(
            model_outputs=[
                SimpleNamespace(model_id=one.get("model_id", ""), step=int(one.get("step", 0)))
                for one in outputs.get("model_outputs", ())
            ]
        ),
    )
    return cast("Run", found)


def _values(pairs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {one.get("key", ""): one.get("value", "") for one in pairs}
