"""What stands in for MLflow's client, which takes seconds to load."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from .local_files import LocalFiles, local_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from sqlalchemy import Engine

    from .server_files import ServerFiles


class StandIn:
    """Stands in for MLflow's client: it answers the calls that sessions usually make.

    All others go to MLflow's client, which ``load`` returns and which is loaded for them: to pin a
    session, ask for a model, and whatever ends with an error for the user. ``takes_any_size`` tells
    that the method ``log`` takes all that a case has at once.
    """

    takes_any_size: ClassVar[bool]
    load: Callable[[], MlflowClient]
    engine: Engine | None = None
    get_run: Callable[[str], Run]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.mlflow, name)

    @cached_property
    def mlflow(self) -> MlflowClient:
        """MLflow's client."""
        return self.load()

    def close(self) -> None:
        """Close the connections to the store, but not those of MLflow's client."""

    def files_at(self, uri: str) -> LocalFiles | ServerFiles | None:
        """Return the artifacts at a URI; None if they are for MLflow to fetch."""
        path = local_path(uri)
        return None if path is None else LocalFiles(path)

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[Any]:
        """Return what is directly below a directory of a run's artifacts."""
        files = self.files_at(str(self.get_run(run_id).info.artifact_uri))
        # MLflow lists the files of a model below its name.
        if files is None or path:
            return self.mlflow.list_artifacts(run_id, path)
        return files.list_artifacts()

    def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
        """Copy a file of a run's artifacts; MLflow says what is wrong with one that is none."""
        files = self.files_at(str(self.get_run(run_id).info.artifact_uri))
        fetched = None if files is None else files.fetch(path, dst_path)
        if fetched is not None:
            return fetched
        return str(self.mlflow.download_artifacts(run_id, path, dst_path))


class Page(list[Any]):
    """A page of runs, and the token of the next one."""

    token: str | None = None


def now() -> int:
    """Return the time in milliseconds."""
    return int(time.time() * 1_000)
