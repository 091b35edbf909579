from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow_server import Server
from tracker_kit import Journal, contents, make_record, rich_records

from pytest_mlflow_experiments.tracker.main import project

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]


def test_server_gets_the_same_as_a_database(
    mlflow_server: Server, tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    found = []
    for name, uri in (
        ("http", mlflow_server.uri),
        ("sql", f"sqlite:///{tmp_path.as_posix()}/mlflow.db"),
    ):
        journal = Journal(tmp_path, session_id=name, experiment_name="same")
        journal.cases(rich_records(journal.directory)).finish()
        states = [project(journal.directory, tracking_uri=uri) for _ in range(2)]
        assert [(state.phase, state.sent, state.notes) for state in states] == [
            ("done", 12, ()),
            ("done", 12, ()),
        ]
        assert states[0].writer == {"http": "client", "sql": "bulk"}[name]
        client = MlflowClient(uri)
        runs = client.search_runs([str(states[0].experiment_id)], "tags.`pytest.kind` = 'case'")
        assert len(runs) == 12
        found.append(contents(client, runs))
    assert found[0] == found[1]


def test_lost_answer_makes_no_second_run(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    real = MlflowClient.create_run
    lost: set[str | None] = set()

    def create_run(self: MlflowClient, *args: object, **kwargs: object) -> object:
        run = real(self, *args, **kwargs)  # type: ignore[arg-type]
        if run.info.run_name not in lost and run.info.run_name != "a session":
            lost.add(run.info.run_name)
            raise ConnectionResetError("the answer got lost")
        return run

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    journal = Journal(tmp_path, experiment_name="lost").cases(map(make_record, range(5)))
    state = project(journal.finish().directory, tracking_uri=mlflow_server.uri)
    assert (state.phase, state.error, state.sent) == ("done", None, 5)
    client = MlflowClient(mlflow_server.uri)
    assert len(client.search_runs([str(state.experiment_id)], "tags.`pytest.kind` = 'case'")) == 5


def test_server_that_goes_away_ends_in_a_clear_error(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from pytest_mlflow_experiments.tracker import retries

    def create_run(*args: object, **kwargs: object) -> object:
        raise ConnectionResetError("http://somebody:geheim@127.0.0.1 went away")

    journal = Journal(tmp_path, experiment_name="gone").cases([make_record(1)])
    project(journal.directory, tracking_uri=mlflow_server.uri)
    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    monkeypatch.setattr(retries, "_PAUSES", (0.0, 0.0))
    journal.cases([make_record(2)]).finish()
    uri = mlflow_server.uri.replace("//", "//somebody:geheim@")
    state = project(journal.directory, tracking_uri=uri)
    # The first case was there before.
    assert (state.phase, state.sent) == ("failed", 1)
    told = uri.replace("somebody:geheim", "***")
    assert state.error == f"Writing to {told} failed: http://***@127.0.0.1 went away"
    assert "geheim" not in journal.directory.state.read_text(encoding="utf-8")
    monkeypatch.undo()
    assert project(journal.directory, tracking_uri=mlflow_server.uri).sent == 2
