"""A database of one test, to which the tracker writes within the test's process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tracker_kit import Journal, contents

from pytest_mlflow_experiments.records.directory import SessionState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class Database:
    """A database of one test, and the client that reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"sqlite:///{(path / 'mlflow.db').as_posix()}"

    @property
    def client(self) -> MlflowClient:
        """A client of the database."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def send(self, journal: Journal) -> SessionState:
        """Send a session, in this process."""
        from pytest_mlflow_experiments.tracker.main import project

        return project(journal.directory, tracking_uri=self.uri)

    def runs(self, experiment: str = "an experiment", kind: str = "case") -> list[Run]:
        """Return the runs of one kind in an experiment, oldest first."""
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        return list(
            self.client.search_runs(
                [found.experiment_id],
                f"tags.`pytest.kind` = '{kind}'",
                max_results=10_000,
                order_by=["attributes.start_time"],
            )
        )

    def contents(self, experiment: str = "an experiment") -> dict[str, dict[str, Any]]:
        """Return all that MLflow tells of the runs of cases, by record id."""
        return contents(self.client, self.runs(experiment))


@pytest.fixture(scope="session")
def proof(migrated_database: Path) -> str:
    """Return the proof that such a database can be used without MLflow."""
    from sqlalchemy import create_engine

    from pytest_mlflow_experiments.tracker.sql import proof_of

    engine = create_engine(f"sqlite:///{migrated_database.as_posix()}")
    line = proof_of(engine)
    engine.dispose()
    assert line is not None
    return line


@pytest.fixture
def database(
    tmp_path: Path, migrated_database: Path, proof: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """Return a database that has its tables, and for which there is a proof."""
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    proofs = tmp_path / ".pytest_mlflow" / "proofs"
    proofs.parent.mkdir()
    proofs.write_text(f"{proof}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    database = Database(tmp_path)
    # Restored after the test; the tracker sets it for its own process.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    yield database
    database.client._tracking_client.store.engine.dispose()


@pytest.fixture
def unproven(database: Database) -> Path:
    """Remove the proof for the database; return the file that it was in."""
    proofs = database.path / ".pytest_mlflow" / "proofs"
    proofs.unlink()
    return proofs


@pytest.fixture
def without_bulk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the tracker use MLflow's client."""

    def switch_off() -> None:
        tmp_path.joinpath(".pytest_mlflow", "proofs").unlink(missing_ok=True)
        from pytest_mlflow_experiments.tracker.writers import proof

        monkeypatch.setattr(proof, "why_not_in_bulk", lambda *_: "a test says so")

    return switch_off
