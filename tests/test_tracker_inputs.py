"""The datasets of cases in MLflow, what a case cost, and what it has from an earlier session."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow_server import Server
from tracker_database import Database
from tracker_kit import Journal, make_metric, make_record

from pytest_mlflow_experiments.records import CaseRecord, DatasetInput
from pytest_mlflow_experiments.tracker.main import project

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]

IRIS = DatasetInput(
    name="iris",
    digest="abc123",
    source_type="local",
    source='{"uri": "iris.csv"}',
    schema='{"mlflow_colspec": [{"type": "double", "name": "x", "required": true}]}',
    profile='{"num_rows": 150}',
    context="training",
)
WINE = DatasetInput(name="wine", digest="def456", source_type="code", source="{}")


def cases() -> list[CaseRecord]:
    return [
        make_record(1),
        make_record(2, inputs=(IRIS,)),
        make_record(3, inputs=(IRIS, WINE, IRIS)),
        make_record(4, inputs=(WINE,)),
    ]


def shown(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Return the inputs of the cases, by their names."""
    return {
        run.info.run_name: [
            (*(tag.value for tag in data.tags), *dict(data.dataset).values())
            for data in (run.inputs.dataset_inputs if run.inputs else ())
        ]
        for run in database.runs()
    }


@pytest.mark.parametrize("bulk", [True, False])
def test_datasets_are_inputs_of_the_runs(
    database: Database, without_bulk: Callable[[], None], *, bulk: bool
) -> None:
    if not bulk:
        without_bulk()
    journal = Journal(database.path).cases(cases()).finish()
    for _ in range(2):
        state = database.send(journal)
        assert (state.phase, state.writer) == ("done", "bulk" if bulk else "client")
        iris = ("training", "iris", "abc123", "local", IRIS.source, IRIS.schema, IRIS.profile)
        found = shown(database)
        assert found["test_it[1]"] == []
        assert [set(data) for data in found["test_it[2]"]] == [set(iris)]
        assert len(found["test_it[3]"]) == 2
        assert [set(data) for data in found["test_it[4]"]] == [
            {"wine", "def456", "code", "{}", None}
        ]


def test_both_writers_leave_the_same_rows(
    database: Database, without_bulk: Callable[[], None]
) -> None:
    for name in ("bulk", "client"):
        # Twice, for the second session finds the datasets of the first one.
        for number in (1, 2):
            root = database.path / f"{name}{number}"
            root.mkdir()
            journal = Journal(root, session_id=f"{name}{number}", experiment_name=name)
            records = [
                make_record(
                    20 * len(name) + 10 * number + n,
                    name=f"{number}-{n}",
                    # MLflow 3.0 takes a dataset of another experiment for the same.
                    inputs=tuple(replace(data, digest=name[0]) for data in record.inputs),
                )
                for n, record in enumerate(cases())
            ]
            assert database.send(journal.cases(records).finish()).writer == name
        without_bulk()
    with closing(sqlite3.connect(database.path / "mlflow.db")) as connection:
        datasets = list(
            connection.execute(
                "select x.name, d.name, dataset_source_type, dataset_source, "
                "dataset_schema, dataset_profile from datasets d "
                "join experiments x using (experiment_id) order by 1, 2"
            )
        )
        inputs = list(
            connection.execute(
                "select x.name, r.name, d.name, i.source_type, i.destination_type, i.step, "
                "t.name, t.value from inputs i join datasets d on d.dataset_uuid = i.source_id "
                "join runs r on r.run_uuid = i.destination_id "
                "join experiments x on x.experiment_id = r.experiment_id "
                "left join input_tags t using (input_uuid) order by 1, 2, 3"
            )
        )
    for rows in (datasets, inputs):
        sides = [[row[1:] for row in rows if row[0] == name] for name in ("bulk", "client")]
        assert sides[0] == sides[1]
    assert len(datasets) == 4
    assert len(inputs) == 16


@pytest.mark.usefixtures("unproven")
def test_bulk_writing_of_datasets_that_would_differ_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.writers import bulk as bulk_writer

    monkeypatch.setattr(bulk_writer, "insert_inputs", lambda *_: None)
    state = database.send(Journal(database.path).cases(cases()).finish())
    assert (state.phase, state.writer, state.sent) == ("done", "client", 4)
    (note,) = state.notes
    assert note.startswith("Runs are written one by one: datasets of a run came back as []")
    assert [len(inputs) for inputs in shown(database).values()] == [0, 1, 2, 1]


def test_dataset_that_does_not_fit(database: Database) -> None:
    long = DatasetInput(
        name="n" * 600,
        digest="d" * 50,
        source_type="s" * 50,
        source='{"uri": "' + "u" * 70_000 + '"}',
        schema="[" + "1," * 600_000 + "1]",
        context="c" * 600,
    )
    database.send(Journal(database.path).cases([make_record(1, inputs=(long,))]).finish())
    (run,) = database.runs()
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert (len(data.dataset.name), len(data.dataset.digest)) == (500, 36)
    assert (data.dataset.source, data.dataset.schema) == ("{}", None)
    assert len(data.tags[0].value) == 500
    note = run.data.tags["mlflow.note.content"]
    assert "is left out, for its 70011 characters" in note


def test_costs_are_metrics_and_the_tests_own_win(database: Database) -> None:
    usage = {"cpu_seconds": 0.125, "peak_memory_mb": 80.0}
    own = make_metric("cpu_seconds", 3.0)
    journal = Journal(database.path)
    journal.cases([make_record(1, usage=usage), make_record(2, usage=usage, metrics=(own,))])
    database.send(journal.finish())
    first, second = database.runs()
    assert first.data.metrics == {"accuracy": 0.901, "duration_seconds": 0.25, **usage}
    assert second.data.metrics["cpu_seconds"] == 3
    assert "that of the case is 0.125" in second.data.tags["mlflow.note.content"]


def test_case_that_was_taken_over_has_all_that_its_run_had(database: Database) -> None:
    record = make_record(
        1,
        resumed_from="session-0",
        resumed_run="f" * 32,
        run_metrics={"loss": 0.5, "auc": 0.7},
        run_history=tuple(make_metric("loss", 1.5 - step, step) for step in range(2)),
    )
    journal = Journal(database.path).cases([record]).finish()
    for _ in range(2):
        database.send(journal)
        (run,) = database.runs()
        metrics = {"accuracy": 0.901, "auc": 0.7, "loss": 0.5, "duration_seconds": 0.25}
        assert run.data.metrics == metrics
        history = database.client.get_metric_history(run.info.run_id, "loss")
        assert [(metric.step, metric.value) for metric in history] == [(0, 1.5), (1, 0.5)]
        tags = run.data.tags
        assert (tags["pytest.resumed_from"], tags["pytest.resumed_run"]) == ("session-0", "f" * 32)
        first = f"Taken over from session session-0, run {'f' * 32}\n\n**passed**"
        assert tags["mlflow.note.content"].startswith(first)


@pytest.mark.real
def test_server_gets_a_dataset_that_many_cases_share(mlflow_server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    records = [make_record(number, inputs=(IRIS,)) for number in range(24)]
    journal = Journal(tmp_path, experiment_name="inputs").cases(records).finish()
    state = project(journal.directory, tracking_uri=mlflow_server.uri)
    assert (state.error, state.sent) == (None, 24)
    query = "dataset.name = 'iris' and dataset.context = 'training'"
    assert len(MlflowClient(mlflow_server.uri).search_runs([str(state.experiment_id)], query)) == 24
