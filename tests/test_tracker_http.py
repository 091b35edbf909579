from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faulty_server import PAGE, Answer, FaultyServer, only, repeating, running
from mlflow_server import Server
from tracker_kit import Journal, contents, make_record, rich_records

from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.directory import SessionState
from pytest_mlflow_experiments.tracker import retries
from pytest_mlflow_experiments.tracker.main import project

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]


@pytest.mark.real
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


@pytest.mark.real
def test_lost_answer_makes_no_second_run(
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
    journal = Journal(tmp_path, experiment_name="lost").cases(map(make_record, range(5)))
    state = project(journal.finish().directory, tracking_uri=mlflow_server.uri)
    assert (state.phase, state.error, state.sent) == ("done", None, 5)
    client = MlflowClient(mlflow_server.uri)
    assert len(client.search_runs([str(state.experiment_id)], "tags.`pytest.kind` = 'case'")) == 5


@pytest.mark.real
def test_server_that_goes_away_ends_in_a_clear_error(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.rest import RestClient

    def create_run(*args: object, **kwargs: object) -> object:
        raise ConnectionResetError("http://somebody:geheim@127.0.0.1 went away")

    journal = Journal(tmp_path, experiment_name="gone").cases([make_record(1)])
    project(journal.directory, tracking_uri=mlflow_server.uri)
    monkeypatch.setattr(RestClient, "create_run", create_run)
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


def runs_of(server: Server, state: SessionState) -> list[Run]:
    """Return all runs of an experiment, the deleted ones too."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    return list(
        MlflowClient(server.uri).search_runs(
            [str(state.experiment_id)], run_view_type=ViewType.ALL, max_results=1_000
        )
    )


LOGIN = "the answer is a web page: is there a login in front of the server?"
ERROR = Answer(200, b'{"error_code": "INTERNAL_ERROR", "message": "boom"}')
FULL = Answer(
    500, b'{"error_code": "INTERNAL_ERROR", "message": "[Errno 28] No space left on device"}'
)
FAULTS = {
    "login at uploads": (only("mlflow-artifacts", PAGE, "PUT"), LOGIN),
    "login at batches": (only("log-batch", PAGE), LOGIN),
    "redirect": (
        only("runs/update", Answer(302, b"", {"Location": "/login"})),
        "/login (status 302): is there a login",
    ),
    "error at batches": (only("log-batch", ERROR), "in spite of status 200 (INTERNAL_ERROR: boom)"),
    "error at uploads": (only("mlflow-artifacts", ERROR, "PUT"), "INTERNAL_ERROR: boom"),
    "nothing": (lambda *_: Answer(), "its answer has no 'experiment'"),
    "limit": (lambda *_: Answer(429), "it gets too many requests at once (429)"),
    "full artifacts": (only("mlflow-artifacts", Answer(507), "PUT"), "the server's disk is full"),
    "full database": (
        only("log-batch", FULL),
        "the disk that MLflow writes to is full (No space left on",
    ),
    "size": (only("mlflow-artifacts", Answer(413), "PUT"), "raise the limit of the server"),
}


def passing(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
    return ask()


@pytest.mark.real
def test_no_answer_is_taken_for_what_it_is_not(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that met one of these is not done, says why, and is completed later."""
    from mlflow import MlflowClient

    monkeypatch.setattr(retries, "_PAUSES", (0.0,))
    client = MlflowClient(mlflow_server.uri)
    failed = make_record(2, outcome="failed", failure="E   assert 1 == 2")
    with running(FaultyServer(passing, mlflow_server.uri)) as gateway:
        for name, (rule, words) in FAULTS.items():
            journal = Journal(tmp_path, session_id=name.replace(" ", "-"), experiment_name=name)
            journal.cases([make_record(1), failed]).finish()
            gateway.fault = rule
            state = project(journal.directory, tracking_uri=gateway.uri)
            assert state.phase == "failed"
            assert words in str(state.error)
            gateway.fault = passing
            state = project(journal.directory, tracking_uri=gateway.uri)
            assert (state.phase, state.error) == ("done", None)
            found = runs_of(mlflow_server, state)
            assert {run.info.status for run in found} == {"FINISHED", "FAILED"}
            runs = {run.info.run_name: run for run in found}
            assert len(found) == len(runs) == 3
            cases = [runs["test_it[1]"], runs["test_it[2]"]]
            assert all(run.data.params and run.data.metrics for run in cases)
            paths = [
                [info.path for info in client.list_artifacts(run.info.run_id)]
                for run in (cases[1], runs["a session ✗ 1 failed"])
            ]
            assert paths == [["failure.txt"], ["results.jsonl"]]


def swept(number: int) -> CaseRecord:
    name = f"test_b[{number}]"
    nodeid = f"tests/test_a.py::{name}"
    return make_record(number, nodeid=nodeid, case=nodeid, name=name, arguments=("depth",))


def check_each_run_is_there_once(server: Server, state: SessionState) -> int:
    """Check the runs of four cases, three of them of a sweep; return how many there are in all."""
    runs = runs_of(server, state)
    left = [run for run in runs if run.info.lifecycle_stage == "active"]
    by_kind = {run.data.tags["pytest.kind"]: run.info.run_id for run in left}
    assert Counter(run.data.tags["pytest.kind"] for run in left) == {
        "session": 1,
        "sweep": 1,
        "case": 4,
    }
    assert {run.info.status for run in left} == {"FINISHED"}
    above = Counter(run.data.tags.get("mlflow.parentRunId") for run in left)
    assert above == {None: 1, by_kind["session"]: 2, by_kind["sweep"]: 3}
    assert all(run.data.metrics for run in left)
    gone = [run for run in runs if run.info.lifecycle_stage != "active"]
    assert {run.info.status for run in gone} <= {"KILLED"}
    assert {run.data.tags["pytest.kind"] for run in gone} <= {"superseded"}
    assert not any(run.data.params for run in gone)
    return len(runs)


@pytest.mark.parametrize("limit", [1_000, 7, 13], ids=["whole", "early", "late"])
def test_a_gateway_that_repeats_requests_leaves_nothing_double(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Neither at once nor where the tracker was cut off after some requests."""
    monkeypatch.setattr(retries, "_PAUSES", (0.0,))
    journal = Journal(tmp_path, session_id=f"repeated-{limit}", experiment_name=f"repeated-{limit}")
    journal.cases([make_record(1), *map(swept, (2, 3, 4))]).finish()
    asked: list[str] = []

    def rule(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        asked.append(path)
        return repeating(method, path, ask) if len(asked) <= limit else Answer(403)

    with running(FaultyServer(rule, mlflow_server.uri)) as gateway:
        state = project(journal.directory, tracking_uri=gateway.uri)
        assert state.phase == ("done" if limit == 1_000 else "failed")
        gateway.fault = repeating
        counts = []
        for _ in range(2):
            state = project(journal.directory, tracking_uri=gateway.uri)
            assert (state.phase, state.error) == ("done", None)
            counts.append(check_each_run_is_there_once(mlflow_server, state))
    assert counts[0] == counts[1]


def test_looking_for_repeated_runs_costs_one_request(mlflow_server: Server, tmp_path: Path) -> None:
    journal = Journal(tmp_path, experiment_name="cheap")
    journal.cases([make_record(1), swept(2), swept(3)]).finish()
    asked: list[str] = []

    def rule(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        asked.append(path)
        return ask()

    with running(FaultyServer(rule, mlflow_server.uri)) as gateway:
        assert project(journal.directory, tracking_uri=gateway.uri).phase == "done"
    # The other looks for a run of the session before it is made.
    assert sum("runs/search" in path for path in asked) == 2


@pytest.mark.real
def test_a_case_takes_three_requests(mlflow_server: Server, tmp_path: Path) -> None:
    """Also where it was compared with a baseline, once the session has ended."""
    journal = Journal(tmp_path, experiment_name="three requests").cases(map(make_record, range(5)))
    baselines = {f"tests/test_a.py::test_it[{n}]": {"accuracy": 0.5} for n in range(5)}
    journal.finish(baselines=baselines)
    asked: Counter[str] = Counter()

    def rule(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        asked[path.rpartition("mlflow/")[2]] += 1
        return ask()

    with running(FaultyServer(rule, mlflow_server.uri)) as gateway:
        state = project(journal.directory, tracking_uri=gateway.uri)
    cases = [one for one in runs_of(mlflow_server, state) if "pytest.nodeid" in one.data.tags]
    assert [one.data.metrics["accuracy.baseline"] for one in cases] == [0.5] * 5
    # The session's own run is given its name with its end.
    assert (asked["runs/create"], asked["runs/log-batch"], asked["runs/update"]) == (6, 6, 6)
