from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from layers import real
from mlflow_server import free_port
from tracker_kit import Journal, make_record, start_tracker

from pytest_mlflow_experiments.records.directory import SessionState
from pytest_mlflow_experiments.records.processes import is_running
from pytest_mlflow_experiments.tracker.errors import SessionBusyError
from pytest_mlflow_experiments.tracker.main import exclusive, project

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork")


@pytest.fixture
def uri(tmp_path: Path, migrated_database: Path) -> str:
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    return f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"


def close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


def statuses(uri: str, experiment: str = "an experiment") -> dict[str, list[str]]:
    """Return the statuses of the runs by kind; nothing where there is no experiment."""
    query = (
        "select kind.value, runs.status from runs join experiments x using (experiment_id) "
        "join tags kind on kind.run_uuid = runs.run_uuid and kind.key = 'pytest.kind' "
        "where x.name = ?"
    )
    result: dict[str, list[str]] = {}
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        for kind, status in connection.execute(query, [experiment]):
            result.setdefault(kind, []).append(status)
    return result


def gone(pid: int | None) -> bool:
    deadline = time.monotonic() + 30
    while pid is not None and is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_follows_a_session(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path)
    tracker = start_tracker(journal, uri)
    state = journal.wait("ready")
    assert state.run_id is None
    assert statuses(uri) == {}
    journal.cases([make_record(1), make_record(2)])
    deadline = time.monotonic() + 30
    while journal.state().sent < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert statuses(uri) == {"case": ["FINISHED"] * 2, "session": ["RUNNING"]}
    journal.cases([make_record(3, outcome="failed")]).finish(exit_status=1)
    state = journal.wait("done", "failed")
    close(tracker)
    assert (state.phase, state.sent, state.writer, state.error) == ("done", 3, "bulk", None)
    assert statuses(uri)["session"] == ["FAILED"]
    assert gone(state.pid)


@pytest.mark.real
@posix
def test_is_no_child_and_no_member_of_the_terminal(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path)
    tracker = start_tracker(journal, uri)
    assert tracker.wait(30) == 0
    state = journal.wait("starting", "ready")
    assert state.pid is not None
    assert state.pid != tracker.pid
    with pytest.raises(ChildProcessError):
        os.waitpid(state.pid, os.WNOHANG)
    assert os.getpgid(state.pid) != os.getpgid(0)
    journal.finish()
    journal.wait("done")
    close(tracker)


@pytest.mark.real
def test_session_without_case_leaves_nothing(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path)
    tracker = start_tracker(journal, uri)
    journal.wait("ready")
    journal.finish()
    state = journal.wait("done", "failed")
    close(tracker)
    assert (state.phase, state.run_id, state.sent) == ("done", None, 0)
    assert statuses(uri) == {}


def test_finished_session_without_case_needs_no_mlflow(tmp_path: Path) -> None:
    journal = Journal(tmp_path).finish(exit_status=5)
    assert project(journal.directory, tracking_uri="nonsense://").phase == "done"


@pytest.mark.real
def test_end_of_input_is_not_the_end_of_the_session(tmp_path: Path, uri: str) -> None:
    """A test may have closed all descriptors that it did not know."""
    journal = Journal(tmp_path)
    tracker = start_tracker(journal, uri)
    journal.cases([make_record(1)])
    journal.wait("ready")
    close(tracker)
    time.sleep(0.5)
    journal.cases([make_record(2)]).finish()
    state = journal.wait("done", "failed")
    assert (state.phase, state.sent) == ("done", 2)
    assert statuses(uri) == {"case": ["FINISHED", "FINISHED"], "session": ["FINISHED"]}


def test_the_end_of_input_is_noticed_at_once() -> None:
    """The journal's end was written before; later pauses are as long as they should be."""
    code = (
        "import os, time; from pytest_mlflow_experiments.tracker.main import Controller\n"
        "controller = Controller(os.getpid())\n"
        "print('pausing', flush=True); controller.pause(36_000); print('woken', flush=True)\n"
        "before = time.monotonic(); controller.pause(0.1); print(time.monotonic() - before >= 0.1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"pausing\n"
        assert process.communicate()[0] == b"woken\nTrue\n"


def test_the_end_of_input_is_noticed_where_it_has_come_before() -> None:
    code = (
        "import os, time; from pytest_mlflow_experiments.tracker.main import Controller\n"
        "controller = Controller(os.getpid())\n"
        "assert controller._closed.wait(60); controller.pause(36_000)\n"
        "before = time.monotonic(); controller.pause(0.1); print(time.monotonic() - before >= 0.1)"
    )
    found = subprocess.check_output([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
    assert found.strip() == b"True"


def test_journal_that_breaks_off_in_a_line(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path).cases([make_record(1)])
    with journal.directory.journal.open("ab") as file:
        file.write(b'{"kind":"case","id":"half a li')
    state = project(journal.directory, tracking_uri=uri)
    assert (state.phase, state.sent, state.notes) == ("done", 1, ())
    assert statuses(uri) == {"case": ["FINISHED"], "session": ["KILLED"]}


def test_interrupted_session_is_killed(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path).cases([make_record(1)]).finish(2, interrupted="Ctrl-C")
    assert project(journal.directory, tracking_uri=uri).phase == "done"
    assert statuses(uri)["session"] == ["KILLED"]


@pytest.mark.real
def test_run_is_made_on_request(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path)
    tracker = start_tracker(journal, uri)
    journal.wait("ready")
    journal.directory.run_request.touch()
    deadline = time.monotonic() + 30
    while (state := journal.state()).run_id is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert state.experiment_id is not None
    assert statuses(uri) == {"session": ["RUNNING"]}
    journal.finish()
    assert journal.wait("done", "failed").phase == "done"
    close(tracker)
    assert statuses(uri) == {"session": ["FINISHED"]}


@pytest.mark.real
def test_tracker_may_start_before_the_journal(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path)
    hidden = journal.directory.journal.rename(tmp_path / "later")
    tracker = start_tracker(journal, uri)
    journal.wait("starting")
    hidden.rename(journal.directory.journal)
    journal.cases([make_record(1)]).finish()
    assert journal.wait("done", "failed").sent == 1
    close(tracker)


@pytest.mark.real
@posix
def test_sigterm_ends_it_at_once(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path)
    tracker = start_tracker(journal, uri)
    journal.wait("ready")
    journal.cases([make_record(1)])
    while journal.state().sent < 1:
        time.sleep(0.02)
    pid = journal.state().pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert gone(pid)
    state = journal.state()
    assert (state.phase, state.sent) == ("failed", 1)
    assert state.error == "The upload was terminated before everything was sent."
    close(tracker)
    assert project(journal.finish().directory, tracking_uri=uri).phase == "done"
    assert statuses(uri) == {"case": ["FINISHED"], "session": ["FINISHED"]}


@posix
def test_killed_controller_is_noticed(tmp_path: Path, uri: str) -> None:
    """Also where a child that a test forked still holds the pipe."""
    journal = Journal(tmp_path).cases([make_record(1)])
    code = (
        "import os, sys, time; sys.path[:0] = sys.argv[1:3]; from pathlib import Path\n"
        "from tracker_kit import start_tracker\n"
        "from pytest_mlflow_experiments.records.directory import SessionDirectory\n"
        "class J: directory = SessionDirectory(Path(sys.argv[3]))\n"
        "start_tracker(J(), sys.argv[4])\n"
        "if os.fork() == 0: time.sleep(40); os._exit(0)\n"
        "time.sleep(60)\n"
    )
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), str(journal.directory.path)]
    controller = subprocess.Popen([sys.executable, "-c", code, *paths, uri])
    journal.wait("ready")
    controller.kill()
    controller.wait()
    assert journal.wait("done", "failed").phase == "done"
    assert statuses(uri) == {"case": ["FINISHED"], "session": ["KILLED"]}


def failure(tmp_path: Path, tracking_uri: str, **header: Any) -> str:
    """Return the error of a session that can't be sent, which must come without credentials."""
    journal = Journal(tmp_path, **header).cases([make_record(1)]).finish()
    state = project(journal.directory, tracking_uri=tracking_uri)
    assert state.phase == "failed"
    assert state.error is not None
    assert "geheim" not in journal.directory.state.read_text(encoding="utf-8")
    return state.error


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_closed_port(tmp_path: Path, scheme: str) -> None:
    port = free_port()
    journal = Journal(tmp_path).cases([make_record(1)]).finish()
    started = time.monotonic()
    tracker = start_tracker(journal, f"{scheme}://somebody:geheim@127.0.0.1:{port}/db")
    state = journal.wait("done", "failed")
    close(tracker)
    assert time.monotonic() - started < 30
    assert "geheim" not in journal.directory.log.read_text(encoding="utf-8")
    assert state.error == (
        f"Cannot use the tracking URI {scheme}://***@127.0.0.1:{port}/db: "
        f"no connection to 127.0.0.1:{port} (Connection refused)."
    )


@pytest.mark.parametrize(
    ("tracking_uri", "words"),
    [
        ("http://host:12x4", "it is malformed (Port could not be cast"),
        ("http://", "it names no host"),
        ("nosuchscheme://somebody:geheim@host/x", "nosuchscheme://***@host/x"),
        ("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere"),
        ("sqlite:///{tmp_path}", "unable to open database file"),
        real("sqlite:///{tmp_path}/text.db", "file is not a database"),
    ],
)
def test_unusable_uri(tmp_path: Path, tracking_uri: str, words: str) -> None:
    tmp_path.joinpath("text.db").write_text("no database at all" * 100, encoding="utf-8")
    error = failure(tmp_path, tracking_uri.format(tmp_path=tmp_path.as_posix()))
    assert error.startswith("Cannot use the tracking URI ")
    assert words in error


@pytest.mark.parametrize("tracking_uri", ["mlruns", "file:./mlruns"])
def test_file_store(tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal(tmp_path).cases([make_record(1)]).finish()
    state = project(journal.directory, tracking_uri=tracking_uri)
    if state.phase == "done":  # MLflow took file stores without a word until 3.7
        assert state.writer == "client"
        return
    assert state.error is not None
    assert state.error.startswith(f"Cannot use the tracking URI {tracking_uri}: ")
    assert "MLFLOW_ALLOW_FILE_STORE=true" in state.error


def test_file_store_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    journal = Journal(tmp_path).cases([make_record(1)]).finish()
    # Not the name of another test: MLflow keeps stores by their relative names.
    state = project(journal.directory, tracking_uri="runs")
    assert (state.phase, state.writer, state.sent) == ("done", "client", 1)


def test_deleted_experiment(tmp_path: Path, uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment_id = client.create_experiment("gone")
    client.delete_experiment(experiment_id)
    error = failure(tmp_path, uri, experiment_name="gone")
    assert error == (
        "The experiment 'gone' is deleted. Restore it with `mlflow experiments restore "
        f"--experiment-id {experiment_id}`, or choose another one with --mlflow-experiment."
    )


@pytest.mark.parametrize("experiment_id", ["12345", "not a number"])
def test_experiment_that_does_not_exist(tmp_path: Path, uri: str, experiment_id: str) -> None:
    error = failure(tmp_path, uri, experiment_id=experiment_id, experiment_name=None)
    assert error.startswith(f"Cannot use the experiment with the id {experiment_id} at {uri}: ")


def test_damaged_lines_are_noted(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path).cases([make_record(1)])
    with journal.directory.journal.open("ab") as file:
        file.write(b"no JSON\n")
    journal.cases([make_record(2)]).finish()
    state = project(journal.directory, tracking_uri=uri)
    assert (state.phase, state.sent) == ("done", 2)
    (note,) = state.notes
    assert note.startswith("The session's file is damaged at byte ")


def test_journal_without_header(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path)
    journal.directory.journal.write_text('{"kind":"session","schema":99}\n', encoding="utf-8")
    state = project(journal.cases([make_record(1)]).directory, tracking_uri=uri)
    assert state.phase == "failed"
    assert state.error is not None
    assert "has no header" in state.error
    assert "schema version 99 is not known" in state.error


def test_one_process_at_a_time(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path).cases([make_record(1)]).finish()
    with (
        exclusive(journal.directory.path / "tracker.lock"),
        pytest.raises(SessionBusyError, match="session-1"),
    ):
        project(journal.directory, tracking_uri=uri)
    assert SessionState.read(journal.directory.state) is None


def test_states_are_told(tmp_path: Path, uri: str) -> None:
    states: list[SessionState] = []
    journal = Journal(tmp_path).cases([make_record(1)]).finish()
    final = project(journal.directory, tracking_uri=uri, on_state=states.append)
    assert states[0].phase == "starting"
    assert states[-1] == final == journal.state()
    assert final.pid == os.getpid()
