"""The tracker on a database for which a trial has shown that MLflow need not be loaded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from project import quiet_mlflow
from tracker_database import Database
from tracker_kit import (
    START,
    Journal,
    contents,
    make_metric,
    make_record,
    rich_records,
    start_tracker,
)

from pytest_mlflow_experiments.records import DatasetInput
from pytest_mlflow_experiments.records.processes import wait_until
from pytest_mlflow_experiments.tracker.retries import cause_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pytest_mlflow_experiments.tracker.sql import SqlClient

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]


@pytest.fixture
def alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Return a database with the experiments that are needed, where nobody may ask MLflow."""
    from pytest_mlflow_experiments.tracker.sql import SqlClient

    def refuse(self: SqlClient) -> None:
        raise AssertionError("MLflow is loaded")

    with quiet_mlflow():
        for name in ("tables", "client", "an experiment"):
            database.client.create_experiment(name)
    monkeypatch.setattr(SqlClient, "mlflow", property(refuse))
    return database


def sent_both_ways(
    database: Database, without_bulk: Callable[[], None], **header: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    for name in ("tables", "client"):
        journal = Journal(database.path, session_id=name, experiment_name=name, **header)
        state = database.send(journal.cases(rich_records(journal.directory)).finish())
        assert (state.phase, state.sent) == ("done", 12)
        without_bulk()
    left, right = (
        contents(database.client, database.runs(name, kind="session"), by="mlflow.runName")
        for name in ("tables", "client")
    )
    return left, right


def test_sessions_are_equal_without_mlflow(
    alone: Database, without_bulk: Callable[[], None]
) -> None:
    left, right = sent_both_ways(alone, without_bulk)
    assert left == right
    assert alone.contents("tables") == alone.contents("client")


def test_the_rows_of_sessions_are_equal(alone: Database, without_bulk: Callable[[], None]) -> None:
    sent_both_ways(alone, without_bulk)
    own = {"run_uuid", "experiment_id", "artifact_uri"}
    with closing(sqlite3.connect(alone.path / "mlflow.db")) as connection:
        connection.row_factory = sqlite3.Row
        for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
            query = (
                f"select t.* from {table} t join runs u using (run_uuid) join experiments x "
                "using (experiment_id) join tags k on k.run_uuid = u.run_uuid and "
                "k.key = 'pytest.kind' and k.value = 'session' where x.name = ?"
            )
            sides = []
            for name in ("tables", "client"):
                rows = [dict(row) for row in connection.execute(query, [name])]
                assert rows or table == "params"
                for row in rows:
                    if row.get("key") == "pytest.session_id":
                        row["value"] = None
                kept = ({key: row[key] for key in row if key not in own} for row in rows)
                sides.append(sorted(map(repr, map(sorted, map(dict.items, kept)))))
            assert sides[0] == sides[1]


@pytest.mark.real
def test_a_tracker_loads_mlflow_once(tmp_path: Path, migrated_database: Path) -> None:
    tmp_path.joinpath("mlflow.db").write_bytes(migrated_database.read_bytes())
    uri = f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"
    loaded = []
    for number in range(3):
        journal = Journal(tmp_path, session_id=f"s{number}").cases([make_record(number)]).finish()
        tracker = start_tracker(journal, uri, {"PYTHONPROFILEIMPORTTIME": "1"})
        assert tracker.stdin is not None
        tracker.stdin.close()
        journal.wait("done")
        tracker.wait()
        proofs = journal.directory.path.parent / "proofs"
        assert wait_until(proofs.exists, timeout=60, poll=0.05)
        log = journal.directory.log.read_text(encoding="utf-8")
        loaded.append(any(line.split()[-1:] == ["mlflow"] for line in log.splitlines()))
        assert journal.state().writer == "bulk"
    assert loaded == [True, False, False]
    assert proofs.stat().st_mode & 0o077 == 0


def test_what_differs_without_mlflow_is_not_used(
    unproven: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.sql import SqlClient

    monkeypatch.setattr(SqlClient, "set_terminated", lambda *_: None)
    state = database.send(Journal(database.path).cases([make_record(1)]).finish())
    assert (state.phase, state.writer, state.notes) == ("done", "bulk", ())
    assert not unproven.exists()
    monkeypatch.undo()
    monkeypatch.chdir(database.path)
    database.send(Journal(database.path, session_id="s2").cases([make_record(2)]).finish())
    assert len(unproven.read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = 'another'",
        "DROP TABLE alembic_version",
        "DELETE FROM experiments",
        "UPDATE experiments SET workspace = 'another' WHERE experiment_id = 1",
    ],
)
def test_what_is_not_as_proven_is_not_used(database: Database, statement: str) -> None:
    from sqlalchemy import create_engine

    from pytest_mlflow_experiments.tracker.sql import proof_of, read_proofs

    known = read_proofs(database.path / ".pytest_mlflow" / "proofs")
    engine = create_engine(database.uri)
    assert proof_of(engine) in known
    with quiet_mlflow():
        database.client.create_experiment("mine")
    with closing(sqlite3.connect(database.path / "mlflow.db")) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(experiments)")}
        if "workspace" in statement and "workspace" not in columns:
            pytest.skip("this release of MLflow has no workspaces")
        connection.execute(statement)
        connection.commit()
    assert proof_of(engine) not in known
    engine.dispose()


@pytest.mark.parametrize("name", ["MLFLOW_ENABLE_WORKSPACES", "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"])
def test_what_mlflow_alone_understands_is_left_to_it(
    database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import create_engine

    from pytest_mlflow_experiments.tracker.sql import proof_of

    engine = create_engine(database.uri)
    monkeypatch.setenv(name, "1")
    assert proof_of(engine) is None
    engine.dispose()


@pytest.fixture
def clients(database: Database) -> Iterator[tuple[MlflowClient, SqlClient]]:
    """Return MLflow's client and ours, of the same database."""
    from sqlalchemy import create_engine

    from pytest_mlflow_experiments.tracker.sql import SqlClient

    engine = create_engine(database.uri)
    yield database.client, SqlClient(engine.begin, lambda: database.client, engine)
    engine.dispose()


FILTERS = [
    "",
    "tags.`pytest.kind` = 'session'",
    "tags.`pytest.kind` = 'session' and tags.`pytest.session_id` LIKE 'Ab_%'",
    "tags.`pytest.session_id` LIKE 'ab%'",
    'tags.`a b` = "it\'s and more"',
    "tags.`a b` = 'nothing'",
    "attributes.status = 'RUNNING' and attributes.start_time >= 2000",
    "attributes.status = 'FINISHED'",
    "attributes.start_time < 3000 and tags.`pytest.kind` = 'case'",
    "attributes.start_time <= 3000",
    "metrics.loss < 1",
    "params.depth = '1'",
]


def test_both_find_the_same(clients: tuple[MlflowClient, SqlClient]) -> None:
    theirs, _ = clients
    number = theirs.create_experiment("found", tags={"a": "b"})
    for index in range(7):
        kind = "session" if index % 2 else "case"
        tags = {
            "pytest.kind": kind,
            "pytest.session_id": f"Ab_{index}" if index % 3 else f"aB{index}",
        }
        if index == 3:
            tags["a b"] = "it's and more"
        run = theirs.create_run(number, 1_000 * (index // 2), tags, f"run {index}")
        theirs.log_metric(run.info.run_id, "loss", index / 3, step=index)
        theirs.log_metric(run.info.run_id, "nothing", nan)
        theirs.log_param(run.info.run_id, "depth", f"{index}")
        if index == 4:
            theirs.set_terminated(run.info.run_id, "FINISHED", 9_000)
        if index == 5:
            theirs.delete_run(run.info.run_id)
    for filter_string in FILTERS:
        for view in (1, 3):
            pages = [found(client, number, filter_string, view) for client in clients]
            assert pages[0] == pages[1], filter_string
    for client in clients:
        assert client.get_experiment(number).tags == {"a": "b"}
        experiment = client.get_experiment_by_name("found")
        assert experiment is not None
        assert experiment.experiment_id == number
        assert client.get_experiment_by_name("lost") is None


def found(client: Any, number: str, filter_string: str, view: int) -> list[Any]:
    pages, token = [], None
    while True:
        page = client.search_runs([number], filter_string, view, 2, page_token=token)
        for run in page:
            info = run.info
            names = ("run_id", "run_name", "experiment_id", "user_id", "status", "start_time")
            more = ("end_time", "lifecycle_stage", "artifact_uri")
            data = sorted(map(repr, run.data.metrics.items())), run.data.params, run.data.tags
            pages.append(([getattr(info, name) for name in (*names, *more)], data))
        if not (token := page.token):
            return pages


VALUES = [
    make_metric("loss", 0.5, 1, START),
    make_metric("loss", 0.7, 1, START),
    make_metric("loss", 0.9, 0, START + 9),
    make_metric("up", inf),
]
DATA = DatasetInput(name="iris", digest="1", source_type="code", source="{}", context="training")


def test_both_log_the_same(clients: tuple[MlflowClient, SqlClient]) -> None:
    from pytest_mlflow_experiments.tracker.retries import log
    from pytest_mlflow_experiments.tracker.writers.client import InputLog

    left: list[dict[str, Any]] = []
    for client in clients:
        number = clients[0].create_experiment(f"logged {len(left)}")
        made: Any = client.create_run(number, 5, {"mlflow.user": "me", "x": "1"}, "a run")
        run_id = made.info.run_id
        for more in (
            make_metric("nan", nan),
            make_metric("loss", 0.1, 2),
            make_metric("loss", 5.0, 1),
        ):
            log(client, run_id, [*VALUES, more], {"depth": "2", "empty": ""}, {"x": "2", "y": ""})  # type: ignore[arg-type]
        client.set_tag(run_id, "mlflow.runName", "another name")
        client.update_run(run_id, name="renamed")
        client.set_tag(run_id, "y", "new")
        for inputs in ([DATA], [DATA, DATA]):
            InputLog(client).log(run_id, inputs)  # type: ignore[arg-type]
        client.set_terminated(run_id, "KILLED", 99)
        run = clients[0].get_run(run_id)
        assert run.inputs is not None
        history = clients[0].get_metric_history(run_id, "loss")
        left.append({
            "info": [run.info.run_name, run.info.status, run.info.start_time, run.info.end_time],
            "user": run.info.user_id,
            "uri": run.info.artifact_uri.replace(f"/{number}/{run_id}/", ""),
            "data": [sorted(map(repr, run.data.metrics.items())), run.data.params, run.data.tags],
            "loss": sorted((one.step, one.timestamp, one.value) for one in history),
            "inputs": [
                (one.dataset.to_dictionary(), [tag.to_proto() for tag in one.tags])
                for one in run.inputs.dataset_inputs
            ],
        })  # fmt: skip
    assert left[0] == left[1]
    assert left[0]["info"] == ["renamed", "KILLED", 5, 99]


def test_both_refuse_the_same(clients: tuple[MlflowClient, SqlClient]) -> None:
    theirs, _ = clients
    number = theirs.create_experiment("refused")
    run_id = theirs.create_run(number).info.run_id
    theirs.delete_run(run_id)
    deleted = theirs.create_experiment("deleted")
    theirs.delete_experiment(deleted)
    calls: list[Callable[[Any], Any]] = [
        lambda client: client.get_run("f" * 32),
        lambda client: client.set_tag("f" * 32, "a", "b"),
        lambda client: client.set_tag(run_id, "a", "b"),
        lambda client: client.set_terminated(run_id, "FINISHED", 1),
        lambda client: client.get_experiment("4711"),
        lambda client: client.get_experiment("x"),
        lambda client: client.create_run(deleted, 1, {}, "a run"),
    ]
    for call in calls:
        said = []
        for client in clients:
            with pytest.raises(Exception) as caught:  # noqa: PT011
                call(client)
            error = caught.value
            said.append((str(error), getattr(error, "error_code", None), cause_of(error)))
        assert said[0] == said[1]


LOCATIONS = [
    "/a/b", "/a/b/", "relative/c", "./mlruns/1", "file:///a/b", "file:///a/b/", "file:/a/b",
    "file:relative", "/with space/ü", "file:///a%20b/%2525", "/a%20b", "/a?b=c", "/a#b", "/a;b/c",
    "file:///a;b", "file:///a?b=c", "file://localhost/a", "s3://bucket/a", "s3://bucket/a?x=y",
    "mlflow-artifacts:/1", "hdfs://host:8020/x", "gs://b", "dbfs:/x", "/", "file:///",
]  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS)
def test_places_of_artifacts_are_mlflows(location: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.uri import append_to_uri_path

    from pytest_mlflow_experiments.tracker.local_files import local_path
    from pytest_mlflow_experiments.tracker.sql import artifact_uri

    append: Callable[..., str] = append_to_uri_path
    uri = append(location, "a" * 32, "artifacts")
    assert artifact_uri(location, "a" * 32) == uri
    if location.partition(":")[0] in ("s3", "mlflow-artifacts", "hdfs", "gs", "dbfs"):
        assert local_path(uri) is None
    else:
        assert local_path(uri) == get_artifact_repository(uri).artifact_dir  # type: ignore[attr-defined]


def test_artifacts_are_listed_and_fetched_as_by_mlflow(
    clients: tuple[MlflowClient, SqlClient], tmp_path: Path
) -> None:
    from pytest_mlflow_experiments.tracker.sql import SqlClient

    theirs, ours = clients
    run_id = theirs.create_run(theirs.create_experiment("kept")).info.run_id
    assert ours.list_artifacts(run_id) == []
    theirs.log_text(run_id, "one", "a b.txt")
    theirs.log_text(run_id, "", "plots/inner/empty.txt")
    for path in (None, "plots", "plots/inner", "a b.txt", "nothing"):
        listed = [
            [
                (info.path, info.is_dir, info.file_size)
                for info in client.list_artifacts(run_id, path)
            ]
            for client in clients
        ]
        assert listed[0] == listed[1]
    got = Path(ours.download_artifacts(run_id, "a b.txt", str(tmp_path)))
    assert got == tmp_path / "a b.txt"
    assert got.read_text(encoding="utf-8") == "one"
    clients_there: dict[str, MlflowClient] = {}
    alone = SqlClient(ours.begin, lambda: clients_there["load"])
    for path in ("../../../mlflow.db", "nothing", "plots"):
        with pytest.raises(KeyError, match="load"):
            alone.download_artifacts(run_id, path, str(tmp_path))
