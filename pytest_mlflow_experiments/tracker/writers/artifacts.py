"""Upload the artifacts of a run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, final

from mlflow import MlflowClient
from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from ...records.tags import NODEID
from ..errors import reason_of
from ..retries import briefly, passes
from ..runs.case import RunData
from . import Problem


class ArtifactsError(Exception):
    """An artifact is a symbolic link out of the session's directory."""


@final
@dataclass(frozen=True, slots=True)
class ClientRepository:
    """The artifacts of one run, through MLflow's client."""

    client: MlflowClient
    run_id: str

    def log_artifact(self, local_file: str) -> None:
        """Upload one file."""
        self.client.log_artifact(self.run_id, local_file)

    def log_artifacts(self, local_dir: str) -> None:
        """Upload the content of a directory."""
        self.client.log_artifacts(self.run_id, local_dir)

    def list_artifacts(self) -> list[FileInfo]:
        """Return the top-level artifacts."""
        return self.client.list_artifacts(self.run_id)


Repository: TypeAlias = ClientRepository | ArtifactRepository


def upload_artifacts(repository: Repository, run: RunData) -> None:
    """Upload all artifacts of a run."""
    if run.artifacts is not None:
        _check_links(run.artifacts)
        repository.log_artifacts(str(run.artifacts))
    if run.texts:
        with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as directory:
            for name, text in run.texts.items():
                path = Path(directory, name)
                path.write_text(text, encoding="utf-8")
                repository.log_artifact(str(path))


def _check_links(directory: Path) -> None:
    """Refuse links out of the directory: the journal may come from an untrusted source.

    Raises:
        ArtifactsError: a link leads out of the directory.
    """
    root = directory.parent.resolve() / directory.name
    for path in (directory, *directory.rglob("*")):
        if not path.resolve().is_relative_to(root):
            raise ArtifactsError(f"{path.name} is a link out of the session's directory")


def artifacts_missing(repository: Repository, run: RunData) -> bool:
    """Return whether MLflow lacks a top-level artifact of the run."""
    # By the names, for the files may be on the machine alone that has sent them.
    wanted = {*run.texts, *run.artifact_names}
    return not wanted <= {Path(info.path).name for info in repository.list_artifacts()}


def upload_if_missing(repository: Repository, run: RunData, *, resumed: bool) -> Problem | None:
    """Upload a run's artifacts; for a run that already existed, only if some are missing.

    A failure is returned and not raised: an unavailable artifact store must not prevent the upload
    of metrics.
    """
    if not run.has_artifacts:
        return None
    try:
        if not resumed or briefly(artifacts_missing, repository, run):
            briefly(upload_artifacts, repository, run)
    except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
        return Problem(run.tags[NODEID], "artifacts", reason_of(error), passing=passes(error))
    return None
