"""Sessions beside each other, odd places, and directories that somebody meddles with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow_server import free_port
from project import Project, Result, clean_environment, plugins_for, quiet_mlflow
from tracker_kit import Journal, make_record

from pytest_mlflow_experiments.records import CaseRecord, SessionEnd, SessionHeader, journal
from pytest_mlflow_experiments.records.directory import (
    DIRECTORY_NAME,
    SessionDirectory,
    SessionState,
)
from pytest_mlflow_experiments.records.journal import JournalWriter, is_being_written

TIMEOUT = 120.0
OFFLINE = ("--mlflow", "--mlflow-offline")
_PATIENT = "--mlflow-timeout=120"

SUITE = """
    def test_it(mlflow_case):
        mlflow_case.log_text("hello", "hello.txt")
        accuracy = 0.75
        assert accuracy > 0.5
"""

# As slow as the one who asks for it says.
SLOW = """
    import pathlib
    import time

    def test_it(mlflow_case):
        accuracy = 0.75
        assert accuracy > 0.5

    def test_waits(pytestconfig):
        root = pytestconfig.rootpath
        root.joinpath("waiting").touch()
        while not root.joinpath("go").exists():
            time.sleep(0.02)
"""

OPEN_STORE = """
import sys
from pytest_mlflow_experiments.tracker.connect import open_store
from pytest_mlflow_experiments.tracker.state import Redactor
open_store(sys.argv[1], Redactor.of(sys.argv[1]))
"""


def start(project: Project, *command: str, **env: str) -> subprocess.Popen[str]:
    """Start a command in a project."""
    return subprocess.Popen(
        command,
        cwd=project.path,
        env={**clean_environment(), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def start_pytest(project: Project, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start pytest in a project."""
    command = (sys.executable, "-m", "pytest", *arguments)
    return start(project, *command, **plugins_for(arguments), **env)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.real
def test_sessions_at_once_on_a_new_database(project: Project) -> None:
    (project.path / "mlflow.db").unlink()
    project.write(SUITE)
    project.write(
        """
        import mlflow

        def test_theirs():
            with mlflow.start_run(run_name="theirs"):
                mlflow.log_metric("loss", 0.25)
        """,
        "test_theirs.py",
    )
    # One of them opens the database itself, too, and calls it by another name.
    sessions = [
        start_pytest(project, "--mlflow", _PATIENT, "test_it.py"),
        start_pytest(project, "--mlflow", _PATIENT, "test_it.py"),
        start_pytest(
            project,
            *("--mlflow", _PATIENT, f"--mlflow-tracking-uri={project.uri}"),
            *("test_theirs.py", "test_it.py"),
            MLFLOW_TRACKING_URI="sqlite:///mlflow.db",
        ),
    ]
    printed = [session.communicate(timeout=TIMEOUT)[0] for session in sessions]
    assert [session.returncode for session in sessions] == [0, 0, 0], "\n".join(printed)
    assert not [text for text in printed if "Not everything" in text]
    assert len([text for text in printed if "http://127.0.0.1:5000" in text]) == 3
    assert [len(session.cases) for session in project.sessions()] == [1, 1, 1]
    assert all(session.directory.is_sent for session in project.sessions())
    kinds = [run.data.tags.get("pytest.kind", run.info.run_name) for run in project.runs()]
    assert sorted(kinds) == ["case"] * 3 + ["session"] * 3 + ["theirs"]
    assert not list(project.path.glob(".mlflow.db*"))
    # All three are complete, and so all three are history.
    result = project.pytest(*OFFLINE, "test_it.py")
    assert re.search("Compared with the last (2|3) .*sessions", result.stdout)


@pytest.mark.real
@pytest.mark.skipif(os.name != "posix", reason="processes are killed as on POSIX")
def test_a_tracker_that_is_killed_leaves_no_half_made_database(project: Project) -> None:
    database = project.path / "mlflow.db"
    database.unlink()
    command = (sys.executable, "-c", OPEN_STORE, project.uri)
    process = start(project, *command)
    wait_for(lambda: list(project.path.glob(".mlflow-*/mlflow.db")))
    process.kill()
    process.communicate()
    assert not database.exists()
    project.run(*command)
    assert database.exists()
    assert project.runs() == []


def test_a_running_session_is_left_alone(project: Project) -> None:
    project.write(SLOW)
    slow = start_pytest(project, *OFFLINE)
    wait_for((project.path / "waiting").exists)
    (running,) = SessionDirectory.find_all(project.path)
    # All of these are newer.
    for number in range(51):
        done = Journal(project.path, session_id=f"x-{number:02}").cases([make_record()]).finish()
        SessionState(phase="done").write(done.directory.state)
    project.write("def test_it(mlflow_case): pass", "test_other.py")
    project.pytest(*OFFLINE, "test_other.py")
    assert len(SessionDirectory.find_all(project.path)) < 53
    assert running.path.exists()
    result = project.sync(str(running.path), status=1)
    assert "not sent: It still runs." in result.stdout
    assert not running.state.exists()
    (project.path / "go").touch()
    printed, _ = slow.communicate(timeout=TIMEOUT)
    assert slow.returncode == 0, printed
    project.sync(str(running.path))
    assert set(project.case_runs()) == {"test_it"}
    assert project.session_run().info.status == "FINISHED"


@pytest.mark.skipif(sys.platform == "win32", reason="there, journals have no lock")
def test_the_lock_of_a_journal_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert not is_being_written(path)
    writer = JournalWriter(path)
    assert is_being_written(path)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[writer._fd]
    )
    writer.close()
    assert not is_being_written(path)
    child.communicate()


PLACES = ["a b", 'it\'s 100% #1 "ü 中文" & $(touch x)', "/".join(["long" * 20] * 4)]
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.real
@pytest.mark.parametrize("name", PLACES, ids=["space", "odd", "long"])
def test_a_rootdir_with_an_odd_name(name: str, tmp_path: Path, migrated_database: Path) -> None:
    path = tmp_path / "around" / name
    path.mkdir(parents=True)
    shutil.copyfile(migrated_database, path / "mlflow.db")
    project = Project(path)
    project.write("[pytest]\n", "pytest.ini")
    project.write(SUITE)
    result = project.pytest("--mlflow", env=ASCII)
    assert "Not everything" not in result.stdout
    run = project.case_runs()["test_it"]
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(project.uri)
        assert [info.path for info in client.list_artifacts(run.info.run_id)] == ["hello.txt"]
        assert client.get_experiment(run.info.experiment_id).name == path.name
    # And nothing anywhere else.
    assert len(list(path.glob("mlruns/*/*/artifacts/hello.txt"))) == 1
    assert {one.name for one in path.iterdir()} <= {
        *("__pycache__", ".pytest_cache", ".pytest_mlflow", "pytest.ini", "test_it.py"),
        *("mlflow.db", "mlflow.db-journal", "mlruns"),
    }
    assert {one.name for one in (tmp_path / "around").iterdir()} == {name.partition("/")[0]}


@pytest.mark.real
@pytest.mark.skipif(os.name != "posix", reason="a shell is needed")
def test_the_command_that_sends_a_session_later(tmp_path: Path, migrated_database: Path) -> None:
    path = tmp_path / PLACES[1]
    path.mkdir()
    shutil.copyfile(migrated_database, path / "mlflow.db")
    project = Project(path)
    project.write(SUITE)
    elsewhere = Project(tmp_path)
    elsewhere.pytest(*OFFLINE, "--rootdir", str(path), str(path), env=ASCII)
    shown = elsewhere.pytest(*OFFLINE, "--rootdir", str(path), str(path))
    (command,) = re.findall(r"send it to MLflow with: pytest-mlflow (sync .*)", shown.stdout)
    program = Path(sys.executable).parent / "pytest-mlflow"
    elsewhere.run("sh", "-c", f"'{program}' {command}")
    # What was run where the locale knows ASCII alone can be sent as well.
    project.sync()
    assert [run.info.run_name for run in project.runs()].count("test_it") == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.real
def test_artifacts_stay_in_a_rootdir_with_an_encoded_name(
    tmp_path: Path, migrated_database: Path
) -> None:
    path = tmp_path / "around" / "feature%2Fnew"
    path.mkdir(parents=True)
    database = tmp_path / "mlflow.db"
    shutil.copyfile(migrated_database, database)
    project = Project(path)
    project.uri = f"sqlite:///{database.as_posix()}"
    project.write(SUITE)
    refused = project.pytest("--mlflow", "--rootdir=.", status=4)
    assert "'%2F' means something else in its URI; give another place" in refused.stderr
    project.pytest("--mlflow", "--rootdir=.", "--mlflow-tracking-uri", project.uri)
    assert len(list(path.glob("mlruns/*/*/artifacts/hello.txt"))) == 1
    assert [one.name for one in (tmp_path / "around").iterdir()] == ["feature%2Fnew"]


@pytest.mark.real
@pytest.mark.skipif(os.name != "posix", reason="a shell is needed")
def test_the_command_that_is_shown_serves_the_database(
    tmp_path: Path, migrated_database: Path
) -> None:
    path = tmp_path / PLACES[1]
    path.mkdir()
    shutil.copyfile(migrated_database, path / "mlflow.db")
    project = Project(path)
    project.write(SUITE)
    shown = project.pytest("--mlflow", "--rootdir=.").section()
    (command,) = re.findall(r"^.*mlflow ui .*$", "\n".join(shown), re.MULTILINE)
    port = str(free_port())
    bin_directory = Path(sys.executable).parent
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            ["sh", "-c", f"exec {command} --workers 1 --port {port}"],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env={
                **clean_environment(),
                "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}",
            },
        )
    try:
        wait_for(lambda: _experiments(port))
        assert project.session_run().info.experiment_id in _experiments(port)
    finally:
        server.terminate()
        server.wait(TIMEOUT)
    assert not (tmp_path / "x").exists()


def _experiments(port: str) -> set[str]:
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=9"
    try:
        with urlopen(url, timeout=5) as answer:
            return {one["experiment_id"] for one in json.load(answer)["experiments"]}
    except OSError:
        return set()


def test_a_question_mark_in_the_rootdir_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "really?"
    path.mkdir()
    project = Project(path)
    project.write(SUITE)
    result = project.pytest("--mlflow", "--rootdir=.", status=4)
    assert "'?' means something else in its URI; give another place with" in result.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["really?"]


@pytest.mark.parametrize("obstacle", ["file", "dangling link", "read-only"])
def test_a_directory_that_cannot_be_used(project: Project, obstacle: str) -> None:
    place = project.path / DIRECTORY_NAME
    if obstacle == "file":
        place.touch()
    elif obstacle == "dangling link":
        place.symlink_to(project.path.parent / "nowhere" / "at all")
    else:
        if os.geteuid() == 0:
            pytest.skip("nothing is read-only for root")
        place.mkdir(mode=0o500)
    project.write(SUITE)
    result = project.pytest(*OFFLINE)
    assert "1 passed" in result.stdout
    (line,) = (line for line in result.section() if "can't be used in the rootdir" in line)
    kept = Path(line.rpartition(" kept in ")[2])
    try:
        project.sync(str(kept))
        assert set(project.case_runs()) == {"test_it"}
    finally:
        shutil.rmtree(kept.parents[1])


def test_a_session_whose_directory_is_removed_is_written_once_more(project: Project) -> None:
    project.write(
        """
        import shutil

        def test_first():
            accuracy = 0.25
            assert accuracy < 0.5

        def test_cleans_up(pytestconfig, mlflow_case):
            shutil.rmtree(pytestconfig.rootpath / ".pytest_mlflow")
            mlflow_case.log_text("hello", "hello.txt")
            accuracy = 0.75
            assert accuracy > 0.5
        """
    )
    result = project.pytest(*OFFLINE)
    assert "2 passed" in result.stdout
    assert "2 tests recorded" in result.stdout
    assert "can't be" not in result.stdout
    session = project.session()
    assert [case.name for case in session.cases] == ["test_first", "test_cleans_up"]
    assert session.end is not None
    project.sync()
    assert set(project.case_runs()) == {"test_first", "test_cleans_up"}


def test_pruning_takes_only_what_was_sent(tmp_path: Path) -> None:
    states = {
        "0-done": '{"phase": "done", "notes": []}',
        "1-waiting": '{"phase": "waiting", "notes": []}',
        "2-starting": '{"phase": "starting", "notes": []}',
        "3-ready": '{"phase": "ready", "notes": []}',
        "4-failed": '{"phase": "failed", "notes": []}',
        "5-unreadable": "\0",
        "6-offline": None,
        "7-pinned": '{"phase": "done", "notes": []}',
        "8-newest": '{"phase": "done", "notes": []}',
    }
    for session_id, state in states.items():
        directory = SessionDirectory.create(tmp_path, session_id)
        directory.journal.write_text("nonsense\n", encoding="utf-8")
        if state is not None:
            directory.state.write_text(state, encoding="utf-8")
    SessionDirectory.prune(tmp_path, keep=1, keep_ids=["7-pinned"])
    left = {directory.session_id for directory in SessionDirectory.find_all(tmp_path)}
    assert left == states.keys() - {"0-done"}


@pytest.mark.real
def test_git_sees_the_database_only(project: Project) -> None:
    project.write(".pytest_cache/\n__pycache__/\nmlflow.db\nmlruns/\n", ".gitignore")
    project.write(SUITE)

    def git(*arguments: str) -> Result:
        return project.run(
            *("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"),
            *arguments,
        )

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    project.pytest("--mlflow")
    assert git("status", "--porcelain").stdout == ""


def test_a_journal_from_windows(tmp_path: Path, migrated_database: Path) -> None:
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    record = make_record(1, artifacts=("..\\..\\x.txt", "C:\\x.txt"), nodeid="tests\\a.py::b")
    uri = "sqlite:///C:\\Users\\me\\mlflow.db"
    written = Journal(tmp_path, tracking_uri=uri).cases([record]).finish()
    artifacts = written.directory.artifacts(record.id)
    artifacts.mkdir(parents=True)
    artifacts.joinpath("x.txt").write_text("its own", encoding="utf-8")
    path = written.directory.journal
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [type(entry).__name__ for entry in journal.read(path)] == [
        *("SessionHeader", "CaseRecord", "SessionEnd"),
    ]
    project = Project(tmp_path)
    result = project.sync(status=1)
    assert f"{uri} is a path on Windows; give the address with --tracking-uri" in result.stdout
    project.sync("--tracking-uri", project.uri)
    assert len(project.case_runs()) == 1
    assert project.session_run().info.status == "FINISHED"
    assert {one.name for one in tmp_path.iterdir()} <= {"mlflow.db", "mlruns", DIRECTORY_NAME}


@pytest.fixture
def newer(tmp_path: Path) -> SessionDirectory:
    """Return a session that a newer release has written."""
    directory = Journal(tmp_path).cases([make_record()]).finish().directory
    text = directory.journal.read_text(encoding="utf-8")
    directory.journal.write_text(text.replace('"schema":1', '"schema":2'), encoding="utf-8")
    return directory


def test_what_a_newer_release_wrote_is_left_alone(newer: SessionDirectory) -> None:
    project = Project(newer.path.parents[1])
    before = newer.journal.read_bytes()
    unknown = "schema version 2 is not known; this version of pytest-mlflow-experiments reads"
    assert unknown in project.sync(status=1).stdout
    compared = project.cli("compare", str(newer.journal), str(newer.journal), status=None)
    assert compared.status != 0
    assert unknown in compared.stdout + compared.stderr
    project.write(SUITE)
    project.write("[pytest]\n", "pytest.ini")
    gated = project.pytest(
        *OFFLINE, "--mlflow-gate", f"--mlflow-baseline=file:{newer.journal}", status=1
    )
    assert unknown in gated.stdout
    SessionDirectory.prune(project.path, keep=0)
    assert newer.journal.read_bytes() == before
    assert not newer.state.exists()


def test_history_that_cannot_be_read_is_told_of(newer: SessionDirectory) -> None:
    project = Project(newer.path.parents[1])
    project.write(SUITE)
    project.write("[pytest]\n", "pytest.ini")
    note = "Session session-1 is ignored, for it can't be read: not a line of"
    gated = project.pytest(*OFFLINE, "--mlflow-gate", status=1)
    assert "there is no baseline that can be read" in gated.stdout
    first = project.pytest(*OFFLINE)
    assert note in first.stdout
    second = project.pytest(*OFFLINE, "--mlflow-gate")
    assert "Compared with" in second.stdout
    assert note in second.stdout


def test_a_line_of_a_kind_that_is_not_known(tmp_path: Path, migrated_database: Path) -> None:
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    project = Project(tmp_path)
    written = Journal(tmp_path, tracking_uri=project.uri).cases([make_record()])
    with written.directory.journal.open("a", encoding="utf-8") as file:
        file.write('{"kind":"future"}\n')
    written.finish()
    # The rest is sent, and the line with it, in the session's journal.
    project.sync()
    (note,) = (text for text in written.state().notes if "damaged" in text)
    assert "kind 'future' is not known to this version" in note
    (kept,) = tmp_path.glob("mlruns/*/*/artifacts/results.jsonl")
    assert '{"kind":"future"}' in kept.read_text(encoding="utf-8")
    with pytest.raises(journal.JournalError, match="kind 'future' is not known"):
        list(journal.read(written.directory.journal))


DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("name", ["journal-1", "smallest-1", "baseline-1"])
def test_a_file_of_schema_1_stays_readable(name: str) -> None:
    lines = (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        data = json.loads(line)
        kind = data.pop("kind")
        again = json.loads(journal.encode(journal.decode(line)))
        assert again.pop("kind") == kind
        # Nothing that the file says is lost or changed; newer fields may come on top.
        assert {key: again[key] for key in data} == data
        newer = json.dumps({**json.loads(line), "from_a_later_release": {"x": [1]}})
        assert journal.encode(journal.decode(newer)) == journal.encode(journal.decode(line))


def test_the_files_of_schema_1_are_what_they_were() -> None:
    header, case, end = journal.read(DATA / "journal-1.jsonl")
    assert isinstance(header, SessionHeader)
    assert isinstance(case, CaseRecord)
    assert isinstance(end, SessionEnd)
    assert header.commit == "0123456789abcdef0123456789abcdef01234567"
    assert case.metrics[0].value == 0.30000000000000004
    assert [str(metric.value) for metric in case.metrics[1:4]] == ["nan", "inf", "-inf"]
    assert case.repeats[0].checks[0].margin == 0.25
    assert end.complete
