"""One run for each parametrized test, between the session's run and those of its cases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from mlflow_server import Server
from tracker_database import Database
from tracker_kit import START, Journal, make_record

from pytest_mlflow_experiments.records import CaseRecord, Shard, SweepEnd
from pytest_mlflow_experiments.tracker.main import project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]
TEST = "tests/test_a.py::test_it"
BEST = SweepEnd(
    test=TEST,
    metrics={"accuracy": 0.95, "a:b": 1.0},
    params={"depth": "2"},
    tags={"pytest.sweep.mode": "max", "pytest.kind": "mine"},
    summary="The best is **depth 2**.",
)


def case(number: int, test: str = "test_it", **changes: Any) -> CaseRecord:
    """Return a case of a sweep."""
    name = f"{test}[{number}]"
    nodeid = f"tests/test_a.py::{name}"
    return make_record(
        number, nodeid=nodeid, case=nodeid, name=name, arguments=("depth",), **changes
    )


def parents(runs: list[Run]) -> set[str]:
    return {run.data.tags["mlflow.parentRunId"] for run in runs}


@pytest.fixture(params=["bulk", "client"])
def store(
    request: pytest.FixtureRequest, database: Database, without_bulk: Callable[[], None]
) -> Database:
    if request.param == "client":
        without_bulk()
    return database


def test_cases_with_data_or_with_a_marker_that_says_so_stand_below_the_session(
    database: Database,
) -> None:
    journal = Journal(database.path)
    text = {"depth": "What is the capital of France?"}
    said = [case(3, "test_c", swept=False), case(4, "test_d", params=text, swept=True)]
    journal.cases([case(1), case(2, "test_b", params=text), *said])
    database.send(journal.finish())
    (session,) = database.runs(kind="session")
    sweeps = {run.info.run_name: run.info.run_id for run in database.runs(kind="sweep")}
    assert sweeps.keys() == {"test_it", "test_d"}
    above = {run.info.run_name: run.data.tags["mlflow.parentRunId"] for run in database.runs()}
    assert above == {
        "test_it[1]": sweeps["test_it"],
        "test_b[2]": session.info.run_id,
        "test_c[3]": session.info.run_id,
        "test_d[4]": sweeps["test_d"],
    }


def test_cases_stand_below_the_run_of_their_sweep(store: Database) -> None:
    journal = Journal(store.path)
    journal.cases([case(1), case(2), make_record(3), case(4, "TestIt::test_more")])
    state = store.send(journal.finish(sweeps=(BEST,)))
    assert (state.phase, state.sent, state.sweeps) == ("done", 4, 2)
    (session,) = store.runs(kind="session")
    sweeps = {run.info.run_name: run for run in store.runs(kind="sweep")}
    assert sweeps.keys() == {"test_it", "TestIt::test_more"}
    assert parents(list(sweeps.values())) == {session.info.run_id}
    above = {run.info.run_name: run.data.tags["mlflow.parentRunId"] for run in store.runs()}
    assert above == {
        "test_it[1]": sweeps["test_it"].info.run_id,
        "test_it[2]": sweeps["test_it"].info.run_id,
        "test_it[3]": session.info.run_id,
        "TestIt::test_more[4]": sweeps["TestIt::test_more"].info.run_id,
    }
    run = sweeps["test_it"]
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (START + 1, START + 252)
    assert run.data.params == {"depth": "2"}
    assert run.data.metrics == {
        "accuracy": 0.95, "a_b": 1.0, "cases": 2.0, "passed": 2.0, "failed": 0.0
    }  # fmt: skip
    tags = run.data.tags
    assert (tags["pytest.nodeid"], tags["pytest.file"]) == (TEST, "tests/test_a.py")
    assert (tags["pytest.session_id"], tags["pytest.kind"]) == ("session-1", "sweep")
    assert tags["pytest.sweep.mode"] == "max"
    note = tags["mlflow.note.content"]
    assert note.startswith("The best is **depth 2**.\n\n**2 cases**: 2 passed")
    assert "metric 'a:b' is stored as 'a\\_b'" in note
    assert sweeps["TestIt::test_more"].data.params == {}


def test_both_writers_leave_the_same(database: Database, without_bulk: Callable[[], None]) -> None:
    for name in ("bulk", "client"):
        journal = Journal(database.path, session_id=name, experiment_name=name)
        journal.cases([case(1), case(2, outcome="failed"), case(3, "test_more")])
        assert database.send(journal.finish(1, sweeps=(BEST,))).writer == name
        without_bulk()
    with closing(sqlite3.connect(database.path / "mlflow.db")) as connection:
        connection.row_factory = sqlite3.Row
        for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
            sides: dict[str, list[str]] = {"bulk": [], "client": []}
            for found in connection.execute(
                f"select x.name as side, u.name as run_name, t.* from {table} t "
                "join runs u using (run_uuid) join experiments x using (experiment_id) "
                "join tags k on k.run_uuid = u.run_uuid and k.value = 'sweep'"
            ):
                row = dict(found)
                if row.get("key") in ("mlflow.parentRunId", "pytest.session_id"):
                    row["value"] = None
                if row.get("key") == "pytest.record_id":
                    row["value"] = None
                for own in ("run_uuid", "experiment_id", "artifact_uri"):
                    row.pop(own, None)
                sides[row.pop("side")].append(repr(sorted(row.items(), key=repr)))
            assert sides["bulk"]
            assert sorted(sides["bulk"]) == sorted(sides["client"])


def test_a_failed_case_fails_its_sweep(store: Database) -> None:
    journal = Journal(store.path).cases([case(1), case(2, outcome="error"), case(3, "other")])
    store.send(journal.finish(1))
    statuses = {run.info.run_name: run.info.status for run in store.runs(kind="sweep")}
    assert statuses == {"test_it": "FAILED", "other": "FINISHED"}


def test_sweep_that_broke_off_is_completed_later(store: Database) -> None:
    journal = Journal(store.path).cases([case(1)])
    store.send(journal)
    (run,) = store.runs(kind="sweep")
    assert run.info.status == "KILLED"
    assert run.data.metrics == {"cases": 1.0, "passed": 1.0, "failed": 0.0}
    assert "The session broke off" in run.data.tags["mlflow.note.content"]
    store.client.set_tag(run.info.run_id, "mine", "stays")
    journal.cases([case(2), case(3)]).finish(sweeps=(BEST,))
    assert store.send(journal).error is None
    (again,) = store.runs(kind="sweep")
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert again.data.metrics["cases"] == 3
    assert again.data.params == {"depth": "2"}
    assert again.data.tags["mine"] == "stays"
    assert "broke off" not in again.data.tags["mlflow.note.content"]
    assert parents(store.runs()) == {run.info.run_id}


def test_sending_twice_changes_nothing(store: Database) -> None:
    journal = Journal(store.path).cases([case(1), case(2), make_record(3)])
    store.send(journal.finish(sweeps=(BEST,)))
    before = [run.to_dictionary() for run in store.runs(kind="sweep") + store.runs()]
    state = store.send(journal)
    assert (state.phase, state.sent, state.sweeps) == ("done", 3, 0)
    assert [run.to_dictionary() for run in store.runs(kind="sweep") + store.runs()] == before


def test_sweep_whose_run_was_deleted_stays_deleted(store: Database) -> None:
    journal = Journal(store.path).cases([case(1)])
    store.send(journal)
    (run,) = store.runs(kind="sweep")
    store.client.delete_run(run.info.run_id)
    assert store.send(journal.cases([case(2)]).finish()).error is None
    assert store.runs(kind="sweep") == []
    (session,) = store.runs(kind="session")
    assert parents(store.runs()) == {session.info.run_id}


def test_cases_that_were_sent_without_sweeps_get_below_them(store: Database) -> None:
    journal = Journal(store.path).cases([case(1)]).finish()
    store.send(journal)
    (run,), (session,) = store.runs(), store.runs(kind="session")
    store.client.set_tag(run.info.run_id, "mlflow.parentRunId", session.info.run_id)
    store.send(journal)
    (sweep,) = store.runs(kind="sweep")
    assert parents(store.runs()) == {sweep.info.run_id}


def test_run_of_the_test_itself_gets_below_its_sweep(store: Database) -> None:
    journal = Journal(store.path).cases([make_record(1)])
    state = store.send(journal)
    own = case(2)
    tags = {
        "mlflow.parentRunId": str(state.run_id),
        "pytest.kind": "case",
        "pytest.session_id": "session-1",
        "pytest.record_id": own.id,
    }
    run = store.client.create_run(str(state.experiment_id), tags=tags)
    below = {"mlflow.parentRunId": run.info.run_id}
    nested = store.client.create_run(str(state.experiment_id), tags=below)
    journal.cases([case(2, run_id=run.info.run_id)]).finish()
    assert store.send(journal).error is None
    (sweep,) = store.runs(kind="sweep")
    found = store.client.get_run(run.info.run_id).data.tags
    assert found["mlflow.parentRunId"] == sweep.info.run_id
    found = store.client.get_run(nested.info.run_id).data.tags
    assert found["mlflow.parentRunId"] == run.info.run_id


def test_end_that_changed_wins_as_far_as_mlflow_lets_it(store: Database) -> None:
    """As where a session is put together again, with a shard more."""
    for best in ("2", "3"):
        told = SweepEnd(test=TEST, params={"depth": best}, metrics={"accuracy": float(best)})
        root = store.path / best
        root.mkdir()
        journal = Journal(root, session_id="one").cases([case(1), case(2), case(3)])
        assert store.send(journal.finish(sweeps=(told,))).error is None
    (run,) = store.runs(kind="sweep")
    assert run.data.metrics["accuracy"] == 3
    note = run.data.tags["mlflow.note.content"]
    if run.data.params == {"depth": "2"}:
        assert "An earlier end of the session left: depth" in note
    else:
        assert run.data.params == {"depth": "3"}


@pytest.mark.usefixtures("unproven")
def test_bulk_writing_of_sweeps_that_would_differ_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.writers.bulk import BulkWriter

    real = BulkWriter._run_row
    monkeypatch.setattr(
        BulkWriter, "_run_row", lambda self, run: {**real(self, run), "source_name": "wrong"}
    )
    journal = Journal(database.path).cases([case(1), case(2), case(3, "other")])
    state = database.send(journal.finish())
    assert (state.phase, state.writer, state.sent, state.sweeps) == ("done", "client", 3, 2)
    assert len(state.notes) == 1
    assert len(database.runs(kind="sweep")) == 2


@pytest.mark.usefixtures("unproven")
def test_bulk_ending_of_sweeps_that_would_differ_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.writers import bulk as bulk_writer

    monkeypatch.setattr(bulk_writer, "end_runs", lambda *_: None)
    state = database.send(Journal(database.path).cases([case(1), case(3, "other")]).finish())
    assert state.notes == (
        "Runs are written one by one: status of a run came back as 'RUNNING' instead of "
        "'FINISHED'.",
    )
    assert {run.info.status for run in database.runs(kind="sweep")} == {"FINISHED"}


def test_many_sweeps_need_few_statements(database: Database) -> None:
    from sqlalchemy import Engine, event

    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    journal = Journal(database.path)
    journal.cases(case(number, f"test_{number}") for number in range(400))
    event.listen(Engine, "before_cursor_execute", count)
    try:
        state = database.send(journal.finish())
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert (state.sent, state.sweeps, state.writer) == (400, 400, "bulk")
    assert len(statements) < 400


def shard(root: Path, number: int, cases: list[CaseRecord]) -> Journal:
    journal = Journal(root, session_id=f"s{number}", shard=Shard(session_id="whole"))
    return journal.cases(cases)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_mlflow_experiments.tracker import store

    monkeypatch.setattr(store, "_SETTLING", 0.0)


@pytest.mark.usefixtures("unhurried")
def test_shards_share_the_runs_of_sweeps(store: Database) -> None:
    first = shard(store.path, 1, [case(1), case(2, outcome="failed")]).finish(1)
    second = shard(store.path, 2, [case(3), case(4)])
    assert store.send(first).error is None
    (sweep,) = store.runs(kind="sweep")
    assert sweep.info.status == "FAILED"
    assert sweep.data.metrics == {}
    assert "pytest-mlflow merge" in sweep.data.tags["mlflow.note.content"]
    store.send(second.finish())
    (sweep,) = store.runs(kind="sweep")
    assert sweep.info.status == "FAILED"
    assert sweep.info.end_time == START + 254
    whole = Journal(store.path, session_id="whole", shards=("s1", "s2"))
    whole.cases([case(1), case(3), case(4)]).finish(sweeps=(BEST,))
    assert store.send(whole).error is None
    (merged,) = store.runs(kind="sweep")
    assert (merged.info.run_id, merged.info.status) == (sweep.info.run_id, "FINISHED")
    assert merged.data.metrics["cases"] == 3
    assert merged.data.params == {"depth": "2"}
    assert parents(store.runs()) == {sweep.info.run_id}
    assert len(store.runs()) == 3
    before = merged.to_dictionary()
    assert store.send(first).error is None
    assert [run.to_dictionary() for run in store.runs(kind="sweep")] == [before]
    # What the whole has replaced does not come back.
    assert len(store.runs()) == 3


@pytest.mark.usefixtures("unhurried")
def test_sweeps_that_two_shards_opened_at_once_are_united(
    database: Database, without_bulk: Callable[[], None]
) -> None:
    from pytest_mlflow_experiments.tracker.writers.client import ClientWriter

    without_bulk()
    journals = [shard(database.path, number, [case(number), case(number + 5)]) for number in (1, 2)]
    with (
        patch.object(ClientWriter, "_find", lambda *_: None),
        patch("pytest_mlflow_experiments.tracker.runs.existing.sweep_runs", lambda *_: {}),
    ):
        for journal in journals:
            database.send(journal)
    assert len(database.runs(kind="sweep")) == 2
    for journal in journals:
        assert database.send(journal.finish()).error is None
    (sweep,) = database.runs(kind="sweep")
    assert parents(database.runs()) == {sweep.info.run_id}
    assert len(database.runs()) == 4


def on(client: MlflowClient, experiment_id: str | None, kind: str) -> list[Run]:
    return list(client.search_runs([str(experiment_id)], f"tags.`pytest.kind` = '{kind}'"))


@pytest.mark.real
def test_server_gets_each_sweep_once_though_answers_get_lost(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from pytest_mlflow_experiments.tracker.rest import RestClient

    real = RestClient.create_run
    lost: set[str | None] = set()

    def create_run(self: RestClient, *args: object, **kwargs: object) -> object:
        run = real(self, *args, **kwargs)  # type: ignore[arg-type]
        if run.info.run_name not in lost and run.info.run_name != "a session":
            lost.add(run.info.run_name)
            raise ConnectionResetError("the answer got lost")
        return run

    monkeypatch.setattr(RestClient, "create_run", create_run)
    journal = Journal(tmp_path, experiment_name="sweeps")
    journal.cases(case(n, f"test_{n % 3}") for n in range(9))
    state = project(journal.finish().directory, tracking_uri=mlflow_server.uri)
    assert (state.error, state.sent, state.sweeps) == (None, 9, 3)
    client = MlflowClient(mlflow_server.uri)
    sweeps = on(client, state.experiment_id, "sweep")
    assert {run.info.run_name for run in sweeps} == {"test_0", "test_1", "test_2"} <= lost
    assert {run.info.status for run in sweeps} == {"FINISHED"}
    cases = on(client, state.experiment_id, "case")
    assert len(cases) == 9
    assert parents(cases) == {run.info.run_id for run in sweeps}
