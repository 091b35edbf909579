"""What the tests share: pytest's own tester, and projects that are run by a real pytest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from mlflow_server import Server, serve
from pair import Pair
from project import Project, quiet_mlflow
from shared import made_once

pytest_plugins = ["pytester", "postgres", "tracker_database"]

# Sessions can be copied between projects that mean the same experiment of the same store.
INI = """
    [pytest]
    mlflow_tracking_uri = sqlite:////nowhere/mlflow.db
    mlflow_experiment = project
"""


@pytest.fixture(scope="session")
def shared_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return a directory that all processes of the test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(scope="session")
def migrated_database(shared_path: Path) -> Path:
    """Return a SQLite file with MLflow's tables: making one takes seconds, so it is copied."""

    def make(path: Path) -> None:
        with quiet_mlflow():
            from mlflow import MlflowClient

            client = MlflowClient(f"sqlite:///{path.as_posix()}")
            client.search_experiments()
            client._tracking_client.store.engine.dispose()

    return made_once(shared_path / "mlflow.db", make)


@pytest.fixture(scope="session")
def mlflow_server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[Server]:
    """Return a server for all tests that name experiments of their own: it starts slowly."""
    path = tmp_path_factory.mktemp("server")
    shutil.copyfile(migrated_database, path / "mlflow.db")
    with serve(path, f"sqlite:///{(path / 'mlflow.db').as_posix()}") as server:
        yield server


@pytest.fixture
def restored_environment() -> Iterator[None]:
    """Undo what the tracker sets for its own process, where that is the test's."""
    with patch.dict(os.environ):
        yield


@pytest.fixture
def make_project(tmp_path: Path, migrated_database: Path) -> Callable[[str], Project]:
    """Return a function that makes a project with a database of its own, ready to use."""

    def make(name: str) -> Project:
        path = tmp_path / name
        path.mkdir()
        shutil.copyfile(migrated_database, path / "mlflow.db")
        path.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        return Project(path)

    return make


@pytest.fixture
def project(make_project: Callable[[str], Project]) -> Project:
    """Return a project named "project"."""
    return make_project("project")


@pytest.fixture(scope="module")
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose sessions were recorded once for a module.

    The module's ``RECORDED`` are the sources of ``test_it.py``, one for each session.
    """
    project = Project(tmp_path_factory.mktemp("recorded"))
    project.write(INI, "pytest.ini")
    for source in request.module.RECORDED:
        project.write(source)
        project.pytest("--mlflow", "--mlflow-offline")
    return project


@pytest.fixture
def history(tmp_path: Path, recorded: Project) -> Project:
    """Return a project that has the recorded sessions behind it."""
    path = tmp_path / "project"
    path.mkdir()
    project = Project(path)
    project.write(INI, "pytest.ini")
    project.write(recorded.path.joinpath("test_it.py").read_text(encoding="utf-8"))
    project.take_sessions(recorded)
    return project


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Return a project to run without and with us."""
    return Pair(tmp_path)


@pytest.fixture
def beside_a_tracker(pair: Pair, migrated_database: Path) -> Callable[..., str]:
    """Return a function that compares as ``pair.check`` does, while a tracker is at work."""
    shutil.copyfile(migrated_database, pair.tracked.path / "mlflow.db")

    def check(*options: str, status: int | None = 0) -> str:
        printed = pair.check(*options, status=status, flags=("--mlflow",))
        assert set(pair.tracked.case_runs()) == set(pair.metrics())
        return printed

    return check
