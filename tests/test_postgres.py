"""PostgreSQL itself as the tracking store, and behind MLflow's server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow_server import serve
from postgres import PASSWORD, Cluster
from project import Project, clean_environment, plugins_for, search_runs
from tracker_kit import Journal, contents, make_metric, make_record, rich_records

from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.tracker.main import project as send

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]

LARGEST = 2**63 - 1


def extreme_records() -> list[CaseRecord]:
    """Return records that PostgreSQL would refuse as they stand, or might store as others."""
    steps = (LARGEST, -LARGEST - 1, LARGEST + 1, -(2**70))
    return [
        make_record(20, name="nul\0name", params={"a\0b": "c\0d"}, tags={"e\0f": "g\0h"}),
        make_record(21, failure="nul\0 in a failure", outcome="failed"),
        make_record(22, metrics=tuple(make_metric("step", 0.1, step) for step in steps)),
        make_record(23, metrics=(make_metric("late", 0.1, 0, LARGEST), make_metric("n\0l", 1.0))),
        make_record(24, metrics=tuple(make_metric("last digit", 0.1 + n * 2**-56) for n in (0, 1))),
        make_record(25, params={"😀": "😀" * 7_000}, tags={"long": "ü" * 9_000}),
    ]


def read_back(uri: str, state: SessionState) -> dict[str, dict[str, Any]]:
    """Return what MLflow has of a session's cases; no case may stand there twice."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs(
        [str(state.experiment_id)], "tags.`pytest.kind` = 'case'", max_results=10_000
    )
    found = contents(client, runs)
    assert len(found) == len(runs)
    return found


def send_by_and_by(journal: Journal, records: list[CaseRecord], uri: str) -> list[SessionState]:
    """Send a session without its end, with it and the baseline's values, and once more."""
    states = [send(journal.cases(records).directory, tracking_uri=uri)]
    values = {"accuracy": 0.5, "loss": nan, "recall[cat]": 5e-324}
    journal.finish(baselines={record.case: values for record in records})
    return [*states, *(send(journal.directory, tracking_uri=uri) for _ in range(2))]


@pytest.mark.real
def test_same_contents_as_in_sqlite_and_behind_a_server(
    postgres: Cluster, tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    found = {}
    with serve(tmp_path, postgres.database()) as server:
        for name, uri, writer in (
            ("sqlite", f"sqlite:///{tmp_path.as_posix()}/mlflow.db", "bulk"),
            ("postgres", postgres.database(), "bulk"),
            # Without MLflow, of which the session before has shown that it is not needed.
            ("proven", postgres.database(), "bulk"),
            ("server", server.uri, "client"),
        ):
            journal = Journal(tmp_path, session_id=name)
            records = rich_records(journal.directory) + extreme_records()
            states = send_by_and_by(journal, records, uri)
            assert [(state.phase, state.error, state.sent, state.notes) for state in states] == [
                ("done", None, 18, ())
            ] * 3
            assert states[0].writer == writer
            found[name] = read_back(uri, states[0])
            histories = [found[name][record.id]["histories"] for record in records]
            assert {len(one["recall.cat.baseline"]) for one in histories} == {1}
    assert found["postgres"] == found["sqlite"]
    assert found["postgres"] == found["proven"] == found["server"]
    proofs = tmp_path.joinpath(".pytest_mlflow", "proofs").read_text(encoding="utf-8")
    assert {line.split()[0] for line in proofs.splitlines()} == {"sqlite", "postgresql"}


def test_missing_driver_is_named(postgres: Cluster, tmp_path: Path) -> None:
    journal = Journal(tmp_path).cases([make_record(1)]).finish()
    uri = postgres.uri("postgres").replace("postgresql:", "postgresql+pg8000:")
    assert send(journal.directory, tracking_uri=uri).error == (
        f"Cannot use the tracking URI postgresql+pg8000://***@127.0.0.1:{postgres.port}/postgres: "
        "its driver pg8000 is not installed; install it, or name the one that is, as in "
        "postgresql+psycopg2://"
    )


CASES = """
    import pytest

    @pytest.mark.parametrize("number", range({count}))
    def test_{name}(number, mlflow_case):
        accuracy = 1 / (number + 3)
        assert accuracy > 0
"""


@pytest.mark.real
def test_two_sessions_at_once_in_an_empty_database(postgres: Cluster, project: Project) -> None:
    uri = postgres.database(migrated=False)
    project.write(CASES.format(name="one", count=40), "test_one.py")
    project.write(CASES.format(name="two", count=40), "test_two.py")
    command = [sys.executable, "-m", "pytest", "--mlflow", "--mlflow-timeout=120"]
    processes = [
        subprocess.Popen(
            [*command, file],
            cwd=project.path,
            env={**clean_environment(), **plugins_for(), "MLFLOW_TRACKING_URI": uri},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for file in ("test_one.py", "test_two.py")
    ]
    printed = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert "Not everything" not in "".join(printed), printed
    runs = search_runs(uri)
    names = [run.info.run_name for run in runs if run.data.tags["pytest.kind"] == "case"]
    expected = [f"test_{name}[{number}]" for name in ("one", "two") for number in range(40)]
    assert sorted(names) == sorted(expected)
    assert sum(run.data.tags["pytest.kind"] == "session" for run in runs) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}

    # Nothing that was printed, written or sent tells the password.
    told = [*printed, *(str(run.to_dictionary()) for run in runs)]
    files = [path for path in project.path.rglob("*") if path.is_file()]
    told += [path.read_text(encoding="utf-8", errors="replace") for path in files]
    assert len(files) > 10
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert not any(secret in text for text in told)


def finish(directory: SessionDirectory, uri: str, state: SessionState) -> SessionState:
    """Send what is left, as often as it takes."""
    for _ in range(5):
        if state.phase == "done":
            break
        assert state.error
        state = send(directory, tracking_uri=uri)
    assert (state.phase, state.error) == ("done", None)
    return state


@contextmanager
def in_background(action: threading.Thread) -> Iterator[None]:
    action.start()
    try:
        yield
    finally:
        action.join()


@pytest.mark.real
def test_connections_cut_in_the_middle(
    postgres: Cluster, postgres_uri: str, tmp_path: Path
) -> None:
    records = [make_record(number) for number in range(1_500)]
    journal = Journal(tmp_path).cases(records).finish()
    over = threading.Event()
    cuts: list[str] = []

    def cut() -> None:
        # Only what is in the middle of writing: an idle connection is not missed.
        while len(cuts) < 6 and not over.is_set():
            cuts.extend(
                postgres.cut(postgres_uri, "state <> 'idle' AND query ~ '^(INSERT|COMMIT)'")
            )

    with in_background(threading.Thread(target=cut)):
        try:
            state = send(journal.directory, tracking_uri=postgres_uri)
        finally:
            over.set()
    state = finish(journal.directory, postgres_uri, state)
    assert len(cuts) >= 3
    runs = search_runs(postgres_uri)
    assert len(runs) == 1_501
    found = {run.data.tags.get("pytest.record_id"): run.data.metrics for run in runs}
    for record in records:
        metrics = {"accuracy": record.metrics[0].value, "duration_seconds": record.duration}
        assert found[record.id] == metrics


@pytest.mark.real
def test_database_that_is_stopped_and_started_again(
    postgres: Cluster, postgres_uri: str, project: Project
) -> None:
    project.write(
        CASES.format(name="before", count=30)
        + """
    def test_meanwhile():
        import pathlib, time

        pathlib.Path("reached").touch()
        while not pathlib.Path("go on").exists():
            time.sleep(0.01)
    """
        + CASES.format(name="later", count=30)
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--mlflow"],
        cwd=project.path,
        env={**clean_environment(), **plugins_for(), "MLFLOW_TRACKING_URI": postgres_uri},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    deadline = time.monotonic() + 60
    while _sent(project) < 30:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    postgres.stop()
    try:
        project.path.joinpath("go on").touch()
        # Long enough for the tracker to meet the closed door at least once.
        time.sleep(1)
    finally:
        postgres.start()
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert "61 passed" in printed
    session = project.session()
    state = SessionState.read(session.directory.state)
    assert state is not None
    assert (state.phase == "done") is ("Not everything" not in printed), printed
    state = finish(session.directory, postgres_uri, state)
    found = read_back(postgres_uri, state)
    assert set(found) == {record.id for record in session.cases}
    assert len(found) == 60


def _sent(project: Project) -> int:
    for directory in SessionDirectory.find_all(project.path):
        if (state := SessionState.read(directory.state)) is not None:
            return state.sent
    return 0
