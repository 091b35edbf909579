from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from layers import real
from project import quiet_mlflow
from tracker_database import Database
from tracker_kit import START, Journal, make_metric, make_record, rich_records

from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.directory import SessionState

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]


def test_both_writers_leave_the_same(database: Database, without_bulk: Callable[[], None]) -> None:
    bulk = Journal(database.path, session_id="bulk", experiment_name="bulk")
    state = database.send(bulk.cases(rich_records(bulk.directory)).finish())
    assert (state.phase, state.writer, state.sent, state.notes) == ("done", "bulk", 12, ())
    without_bulk()
    client = Journal(database.path, session_id="client", experiment_name="client")
    state = database.send(client.cases(rich_records(client.directory)).finish())
    assert (state.phase, state.writer, state.sent) == ("done", "client", 12)
    assert state.notes == ("Runs are written one by one: a test says so.",)

    left, right = database.contents("bulk"), database.contents("client")
    assert len(left) == 12
    for record_id, content in left.items():
        assert content == right[record_id]


def test_both_writers_leave_the_same_rows(
    database: Database, without_bulk: Callable[[], None]
) -> None:
    import sqlite3

    for name in ("bulk", "client"):
        journal = Journal(database.path, session_id=name, experiment_name=name)
        database.send(journal.cases(rich_records(journal.directory)).finish())
        without_bulk()
    with sqlite3.connect(database.path / "mlflow.db") as connection:
        tables = {}
        for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
            cursor = connection.execute(
                f"select t.*, x.name, r.value from {table} t join runs u using (run_uuid) "
                "join experiments x using (experiment_id) join tags r on r.run_uuid = u.run_uuid "
                "and r.key = 'pytest.record_id'"
            )
            names = [column[0] for column in cursor.description[:-2]]
            sides: dict[str, list[str]] = {"bulk": [], "client": []}
            for *values, side, record_id in cursor:
                row = dict(zip(names, values, strict=True))
                if row.get("key") in ("mlflow.parentRunId", "pytest.session_id"):
                    row["value"] = None
                for own in ("run_uuid", "experiment_id", "artifact_uri"):
                    row.pop(own, None)
                sides[side].append(repr((record_id, sorted(row.items()))))
            tables[table] = {side: sorted(rows) for side, rows in sides.items()}
    connection.close()
    for sides in tables.values():
        assert sides["bulk"]
        assert sides["bulk"] == sides["client"]


@pytest.mark.parametrize("bulk", [True, False])
def test_everything_arrives(
    database: Database, without_bulk: Callable[[], None], *, bulk: bool
) -> None:
    if not bulk:
        without_bulk()
    journal = Journal(database.path)
    database.send(journal.cases(rich_records(journal.directory)).finish())
    runs = database.contents()
    full = runs[f"{11:032x}"]
    assert len(full["params"]) == 300
    assert sum(map(len, full["histories"].values())) == 5_001
    assert len([key for key in full["tags"] if key.startswith("t")]) == 150
    assert [name for name, _ in runs[f"{8:032x}"]["artifacts"]] == ["model.txt", "plots/a.txt"]
    assert [name for name, _ in runs[f"{2:032x}"]["artifacts"]] == ["failure.txt"]
    strange = runs[f"{6:032x}"]["metrics"]
    assert strange["nan"] == "nan"
    assert strange["nan_last"] == "nan"
    assert strange["up"] == "1.7976931348623157e+308"
    assert strange["tiny"] == "5e-324"
    assert strange["exact"] == repr(0.1 + 0.2)
    assert "up is infinite" in runs[f"{6:032x}"]["tags"]["mlflow.note.content"]
    assert runs[f"{5:032x}"]["metrics"]["order"] == "1.0"
    assert runs[f"{5:032x}"]["metrics"]["tie"] == "0.3"
    assert runs[f"{10:032x}"]["params"]["long"].endswith("… [100000 characters]")


def test_session_run(database: Database) -> None:
    journal = Journal(database.path, tags={"git.commit": "abc", "pytest.kind": "mine", "x|y": "z"})
    journal.cases([make_record(1), make_record(2, outcome="failed"), make_record(3)])
    state = database.send(journal.finish(exit_status=1))
    (run,) = database.runs(kind="session")
    assert run.info.run_id == state.run_id
    assert run.info.experiment_id == state.experiment_id
    assert run.info.run_name == "a session ✗ 1 failed"
    assert run.info.status == "FAILED"
    assert (run.info.start_time, run.info.end_time) == (START, START + 60_000)
    assert run.data.tags["git.commit"] == "abc"
    assert run.data.tags["pytest.kind"] == "session"
    assert run.data.tags["pytest.session_id"] == "session-1"
    assert run.data.tags["mlflow.source.name"] == "pytest"
    assert run.data.tags["x_y"] == "z"
    assert "tests/test\\_a.py::test\\_it\\[2\\]" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics == {
        "cases": 3.0,
        "tests": 20.0,
        "passed": 2.0,
        "failed": 1.0,
        "error": 0.0,
        "skipped": 0.0,
        "xfailed": 0.0,
        "xpassed": 0.0,
        "interrupted": 0.0,
        "duration_seconds": 60.0,
        "test_it/accuracy": pytest.approx(0.902),
    }
    (artifact,) = database.client.list_artifacts(run.info.run_id)
    assert artifact.path == "results.jsonl"
    assert artifact.file_size == journal.directory.journal.stat().st_size
    for child in database.runs():
        assert child.data.tags["mlflow.parentRunId"] == run.info.run_id


def test_reports_are_uploaded(database: Database) -> None:
    journal = Journal(database.path).cases([make_record()])
    journal.directory.path.joinpath("report.md").write_text("fine", encoding="utf-8")
    run_id = str(database.send(journal.finish()).run_id)
    artifacts = database.client.list_artifacts(run_id)
    assert [artifact.path for artifact in artifacts] == ["report.md", "results.jsonl"]


def test_new_experiment_opens_on_its_runs(database: Database) -> None:
    database.send(Journal(database.path).cases([make_record()]).finish())
    experiment = database.client.get_experiment_by_name("an experiment")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_existing_experiment_stays_as_it_is(database: Database) -> None:
    made = database.client.create_experiment("mine")
    journal = Journal(database.path, experiment_id=made, experiment_name=None)
    state = database.send(journal.cases([make_record()]).finish())
    assert (state.experiment_id, state.experiment_name) == (made, "mine")
    assert "mlflow.experimentKind" not in database.client.get_experiment(made).tags


@pytest.mark.parametrize("bulk", [True, False])
def test_sending_twice_changes_nothing(
    database: Database, without_bulk: Callable[[], None], *, bulk: bool
) -> None:
    if not bulk:
        without_bulk()
    journal = Journal(database.path)
    journal.cases(rich_records(journal.directory)).finish()
    first = database.send(journal)
    before = database.contents()
    session = [run.to_dictionary() for run in database.runs(kind="session")]
    second = database.send(journal)
    assert (second.phase, second.sent, second.run_id) == ("done", 12, first.run_id)
    assert database.contents() == before
    assert [run.to_dictionary() for run in database.runs(kind="session")] == session
    assert len(database.runs()) == 12


@pytest.mark.parametrize("bulk", [True, False])
def test_rest_is_sent_later(
    database: Database, without_bulk: Callable[[], None], *, bulk: bool
) -> None:
    if not bulk:
        without_bulk()
    journal = Journal(database.path).cases([make_record(1), make_record(2)])
    assert database.send(journal).phase == "done"
    (run,) = database.runs(kind="session")
    assert run.info.status == "KILLED"
    journal.cases([make_record(3)]).finish()
    assert database.send(journal).sent == 3
    (run,) = database.runs(kind="session")
    assert run.info.status == "FINISHED"
    assert len(database.runs()) == 3


def test_writers_may_change_between_two_times(
    database: Database, without_bulk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context():
        without_bulk()
        journal = Journal(database.path).cases([make_record(1)])
        database.send(journal)
    monkeypatch.undo()
    monkeypatch.chdir(database.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    assert database.send(journal.cases([make_record(2)]).finish()).writer == "bulk"
    assert len(database.runs()) == 2


def test_unfinished_run_is_completed(database: Database, without_bulk: Callable[[], None]) -> None:
    without_bulk()
    journal = Journal(database.path).cases([make_record(1)]).finish()
    state = database.send(journal)
    (run,) = database.runs()
    database.client.update_run(run.info.run_id, status="RUNNING")
    database.client.delete_tag(run.info.run_id, "pytest.outcome")
    assert database.send(journal).run_id == state.run_id
    (run,) = database.runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags["pytest.outcome"] == "passed"


def test_deleted_session_stays_deleted(database: Database) -> None:
    journal = Journal(database.path).cases([make_record(1)]).finish()
    database.client.delete_run(str(database.send(journal).run_id))
    state = database.send(journal)
    assert state.phase == "done"
    assert state.notes == ("The session's run was deleted in MLflow; nothing was sent.",)
    assert database.runs(kind="session") == []


def own_run(database: Database, experiment: str = "an experiment") -> tuple[str, Run]:
    with quiet_mlflow():
        experiment_id = database.client.create_experiment(experiment)
        run = database.client.create_run(experiment_id, run_name="opened by the test")
        database.client.log_param(run.info.run_id, "rate", "its own")
        database.client.log_metric(run.info.run_id, "loss", 0.5)
        database.client.set_tag(run.info.run_id, "team", "its own")
    return run.info.run_id, run


@pytest.mark.parametrize("bulk", [True, False])
def test_run_of_the_test_itself_is_completed(
    database: Database, without_bulk: Callable[[], None], *, bulk: bool
) -> None:
    if not bulk:
        without_bulk()
    run_id, _ = own_run(database)
    own = make_record(2, run_id=run_id, tags={"team": "a", "more": "b"}, outcome="failed")
    journal = Journal(database.path).cases([make_record(1), own]).finish()
    for _ in range(2):
        assert database.send(journal).sent == 2
        run = database.client.get_run(run_id)
        assert run.info.status == "FAILED"
        assert run.info.end_time == own.end_time
        assert run.info.run_name == "opened by the test"
        assert run.data.params == {"rate": "its own", "depth": "2"}
        assert run.data.metrics == {"loss": 0.5, "accuracy": 0.902, "duration_seconds": 0.25}
        assert run.data.tags["team"] == "its own"
        assert run.data.tags["more"] == "b"
        assert run.data.tags["pytest.outcome"] == "failed"
        assert (
            "The test's own values stay for: rate (its own, not 0.1)"
            in (run.data.tags["mlflow.note.content"])
        )
        assert len(database.runs()) == 2


def test_run_that_is_elsewhere_is_made(database: Database) -> None:
    journal = Journal(database.path).cases([make_record(1, run_id="f" * 32)]).finish()
    for _ in range(2):
        assert database.send(journal).sent == 1
        (run,) = database.runs()
        assert run.info.status == "FINISHED"


def test_open_runs_of_a_session_that_broke_off_are_killed(database: Database) -> None:
    journal = Journal(database.path).cases([make_record(1)])
    state = database.send(journal)
    left = database.client.create_run(
        str(state.experiment_id), tags={"mlflow.parentRunId": str(state.run_id)}
    )
    database.send(journal)
    run = database.client.get_run(left.info.run_id)
    assert run.info.status == "KILLED"


def test_one_bad_case_does_not_keep_the_others_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import DataError

    from pytest_mlflow_experiments.tracker.writers import bulk as bulk_writer

    real = bulk_writer.metric_rows

    def refuse(run: Any) -> Any:
        if run.name == "bad":
            raise DataError("insert", {}, Exception("value out of range"))
        return real(run)

    monkeypatch.setattr(bulk_writer, "metric_rows", refuse)
    journal = Journal(database.path)
    journal.cases([make_record(1), make_record(2), make_record(3, name="bad"), make_record(4)])
    state = database.send(journal.finish())
    assert (state.phase, state.sent) == ("failed", 3)
    assert state.error == (
        "MLflow did not take 1 of 4 cases; the first is "
        "tests/test_a.py::test_it[3]: value out of range"
    )
    assert len(database.runs()) == 3
    (run,) = database.runs(kind="session")
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("bulk", [True, real(False)])
def test_failing_artifact_store_does_not_keep_numbers_out(
    database: Database, without_bulk: Callable[[], None], *, bulk: bool
) -> None:
    if not bulk:
        without_bulk()
    root = database.path / "artifact-root"
    experiment_id = database.client.create_experiment("e", artifact_location=str(root))
    journal = Journal(database.path, experiment_id=experiment_id, experiment_name=None)
    record = make_record(2, outcome="failed", failure="boom")
    journal.cases([make_record(1), record])
    blocked = root / (record.id if bulk else "")
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file where a directory should be", encoding="utf-8")
    state = database.send(journal.finish())
    assert state.phase == "failed"
    assert state.sent == 2
    assert state.error is not None
    assert state.error.startswith("MLflow has every case, but not all artifacts could be uploaded")
    assert "test_it[2]" in state.error
    assert database.runs("e", kind="session")[0].info.status == "FINISHED"
    blocked.unlink()
    assert database.send(journal).phase == "done"
    (failed,) = [run for run in database.runs("e") if run.info.status == "FAILED"]
    (artifact,) = database.client.list_artifacts(failed.info.run_id)
    assert artifact.path == "failure.txt"


def differs(
    monkeypatch: pytest.MonkeyPatch, database: Database, record: CaseRecord | None = None
) -> SessionState:
    journal = Journal(database.path)
    journal.cases([record or make_record(1), make_record(2), make_record(3)])
    return database.send(journal.finish())


def test_bulk_writer_that_would_differ_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.writers.bulk import BulkWriter

    real = BulkWriter._run_row
    monkeypatch.setattr(
        BulkWriter, "_run_row", lambda self, run: {**real(self, run), "source_name": "wrong"}
    )
    state = differs(monkeypatch, database)
    assert (state.phase, state.writer, state.sent) == ("done", "client", 3)
    assert state.notes == (
        "Runs are written one by one: column 'source_name' is 'wrong', MLflow writes ''.",
    )
    assert len(database.runs()) == 3
    assert all(run.info.run_id != run.data.tags["pytest.record_id"] for run in database.runs())


def test_bulk_writer_that_loses_something_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.writers import bulk as bulk_writer

    monkeypatch.setattr(bulk_writer, "latest", lambda rows: list(rows)[:1])
    state = differs(monkeypatch, database)
    assert (state.phase, state.writer, state.sent) == ("done", "client", 3)
    (note,) = state.notes
    assert note.startswith("Runs are written one by one: metrics of a run came back as")


def test_bulk_writer_that_breaks_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.writers.bulk import BulkWriter

    def breaks(self: object, run: object) -> None:
        raise AttributeError("no such table")

    monkeypatch.setattr(BulkWriter, "_run_row", breaks)
    state = differs(monkeypatch, database)
    assert (state.phase, state.writer, state.sent) == ("done", "client", 3)
    assert state.notes == ("Runs are written one by one: no such table.",)


def test_run_that_was_there_before_is_never_removed(database: Database) -> None:
    """Such as a session whose experiment was renamed since."""
    first = Journal(database.path, session_id="first").cases([make_record(1)]).finish()
    database.send(first)
    again = Journal(database.path, session_id="again", experiment_name="another")
    again.cases([make_record(1, outcome="failed"), make_record(2)]).finish()
    state = database.send(again)
    assert (state.phase, state.writer, state.sent, state.notes) == ("done", "bulk", 2, ())
    (run,) = database.runs()
    assert run.info.status == "FINISHED"
    assert [run.info.run_name for run in database.runs("another")] == ["test_it[2]"]


@pytest.mark.parametrize("written", [False, True], ids=["by nobody", "by MLflow alone"])
def test_new_columns(database: Database, *, written: bool) -> None:
    import sqlite3

    with sqlite3.connect(database.path / "mlflow.db") as connection:
        connection.execute("ALTER TABLE runs ADD COLUMN brand_new VARCHAR(10)")
        if written:
            # MLflow's client makes a run and ends it later; a case is written with its end.
            connection.execute(
                "CREATE TRIGGER ends AFTER UPDATE OF status ON runs BEGIN "
                "UPDATE runs SET brand_new = 'ended' WHERE run_uuid = new.run_uuid; END"
            )
    connection.close()
    state = database.send(Journal(database.path).cases([make_record(1), make_record(2)]).finish())
    assert (state.phase, state.sent) == ("done", 2)
    if written:
        why = "column 'brand_new' is None, MLflow writes 'ended'"
        assert state.notes == (f"Runs are written one by one: {why}.",)
    assert state.writer == ("client" if written else "bulk")


def test_nothing_of_the_proof_stays(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from pytest_mlflow_experiments.tracker.state import Redactor
    from pytest_mlflow_experiments.tracker.store import Store
    from pytest_mlflow_experiments.tracker.writers import proof

    def dump() -> list[str]:
        with sqlite3.connect(database.path / "mlflow.db") as connection:
            lines = list(connection.iterdump())
        connection.close()
        return lines

    store = Store.open(database.uri, Redactor())
    experiment = store.client.get_experiment(store.client.create_experiment("an experiment"))
    before = dump()
    # What others see of the runs while they are there: so much stays where the process is killed.
    meanwhile: list[list[str]] = []
    real = proof._entity

    def look(*arguments: Any) -> dict[str, Any]:
        meanwhile.append(dump())
        return real(*arguments)

    monkeypatch.setattr(proof, "_entity", look)
    assert proof.why_not_in_bulk(store, experiment) is None
    assert meanwhile == [before] * 4
    assert dump() == before


def test_latest_value_follows_mlflows_rule() -> None:
    from pytest_mlflow_experiments.tracker.runs.case import RunData
    from pytest_mlflow_experiments.tracker.writers.bulk import latest, metric_rows

    metrics = (
        make_metric("a", 3.0, 1, START),
        make_metric("a", 1.0, 2, START - 5),
        make_metric("a", 9.0, 1, START + 5),
        make_metric("b", float("nan"), 0),
        make_metric("b", -1.0, 0),
    )
    run = RunData(
        id="r", name="n", status="FINISHED", start_time=1, end_time=2,
        params={}, metrics=metrics, tags={},
    )  # fmt: skip
    rows = latest(metric_rows(run))
    assert [(row["key"], row["value"], row["is_nan"]) for row in rows] == [
        ("a", 1.0, False),
        ("b", 0.0, True),
    ]
