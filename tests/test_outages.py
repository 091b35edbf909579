"""Whatever goes wrong on the way to MLflow costs no test, and no result."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from faulty_server import Fault, FaultyServer, running
from flaky_proxy import FAILURES, SHARE, flaky
from mlflow_server import Server, free_port, serve
from project import Project, Result, clean_environment, plugins_for, quiet_mlflow, search_runs
from shared import small_disk
from tracker_kit import Journal, contents, rich_records

from pytest_mlflow_experiments.capture.measuring import Original
from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.records.processes import wait_until
from pytest_mlflow_experiments.session import tracker_process as launch
from pytest_mlflow_experiments.tracker.main import project as send

SUITE = """
    def test_good():
        accuracy = 0.75
        assert accuracy > 0.5

    def test_bad(mlflow_case):
        mlflow_case.log_metric("loss", 0.5)
        assert 0.25 > 0.5, "too low"

    def test_plain():
        print("no metric")
"""
TIMEOUT = 120.0
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork and terminals")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what pytest prints of the suite without us."""
    path = tmp_path_factory.mktemp("plain") / "project"
    path.mkdir()
    project = Project(path)
    project.write("[pytest]\n", "pytest.ini")
    project.write(SUITE)
    return printed(project, project.pytest(status=1))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("server")
    shutil.copyfile(migrated_database, path / "mlflow.db")
    with serve(path, f"sqlite:///{(path / 'mlflow.db').as_posix()}") as server:
        yield server


@contextmanager
def out_of_order(fault: Fault | None) -> Iterator[str]:
    """Give the URI of a server with a fault; without one nobody listens."""
    if fault is None:
        yield f"http://127.0.0.1:{free_port()}"
    else:
        with running(FaultyServer(fault)) as server:
            yield server.uri


def outage(result: Result) -> tuple[str, str]:
    """Return the line that tells of an outage, and the command that the line after it gives."""
    lines = result.section()
    (number,) = (n for n, line in enumerate(lines) if line.startswith("Not everything is in"))
    told, _, command = lines[number + 1].partition(": ")
    assert told == "Kept on this machine; send it to MLflow with"
    return lines[number], command


def sync(project: Project, command: str, uri: str | None = None) -> None:
    """Run the command that was told, twice: the second time changes nothing."""
    name, *arguments = shlex.split(command)
    assert name == "pytest-mlflow"
    for _ in range(2):
        project.cli(*arguments, env={"MLFLOW_TRACKING_URI": uri} if uri else {})


def check_kept_once(project: Project, experiment: str = "project") -> None:
    """Check that MLflow has each case of the suite, once, with its values."""
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(project.uri)
        found = client.get_experiment_by_name(experiment)
        runs = client.search_runs([found.experiment_id]) if found else []
    by_name = {run.info.run_name: run for run in runs}
    assert len(runs) == len(by_name) == 3
    kinds = Counter(run.data.tags["pytest.kind"] for run in runs)
    assert kinds == {"session": 1, "case": 2}
    assert by_name["test_good"].data.metrics["accuracy"] == 0.75
    assert by_name["test_bad"].data.metrics["loss"] == 0.5
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}


def until(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def state_of(project: Project) -> SessionState:
    """Return the state of the newest session, also before there is one."""
    directories = SessionDirectory.find_all(project.path)
    state = SessionState.read(directories[-1].state) if directories else None
    return state or SessionState(phase="starting")


def has_sent(project: Project, sessions: int, cases: int) -> bool:
    """Return whether the session after so many others has sent so many cases."""
    is_there = len(SessionDirectory.find_all(project.path)) > sessions
    return is_there and state_of(project).sent >= cases


def printed(project: Project, result: Result) -> str:
    """Return what pytest printed, up to our section and without what differs anyway."""
    text = result.without_section().replace(str(project.path), "<project>")
    return re.sub(r"\b0x[0-9a-f]+", "0x0", text)


FAULTS: list[tuple[Fault | None, str]] = [
    (None, "Connection refused"),
    ("silent", "no answer from MLflow for 3 seconds"),
    (500, "it answers with status 500"),
    (429, "it gets too many requests at once (429)"),
    (401, "it answers with status 401: out of order"),
    ("html", "the answer is a web page: is there a login in front of the server?"),
    ("broken json", "its answer is not JSON"),
    ("no http", "its answer is not HTTP"),
    ("reset", "it closed the connection without an answer"),
]


@pytest.mark.real
def test_servers_out_of_order(project: Project, plain: str) -> None:
    """Whatever a server does, its session is told in one line, kept, and sent later just once."""
    project.write(SUITE)

    def run(fault: Fault | None) -> Result:
        # All are waited for as long as that; what those say that answer is known before.
        timeout = 3 if fault == "silent" else 30
        with out_of_order(fault) as uri:
            return project.pytest(
                "--mlflow",
                *(f"--mlflow-tracking-uri={uri}", f"--mlflow-experiment={fault}"),
                f"--mlflow-timeout={timeout}",
                status=1,
            )

    commands = []
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run, [fault for fault, _ in FAULTS]))
    for (_, words), result in zip(FAULTS, results, strict=True):
        assert printed(project, result) == plain
        line, command = outage(result)
        assert words in line
        assert len(line) < 240
        commands.append(command)
    # As they were told, but in one go: it is the start that takes its time.
    arguments = [argument for command in commands for argument in shlex.split(command)[2:]]
    sync(project, shlex.join(["pytest-mlflow", "sync", *arguments]), project.uri)
    for fault, _ in FAULTS:
        check_kept_once(project, str(fault))


def test_the_wait_is_told_once_with_its_limit(project: Project) -> None:
    project.write(SUITE)
    with out_of_order("silent") as uri:
        result = project.pytest(
            *("--mlflow", f"--mlflow-tracking-uri={uri}", "--mlflow-baseline=none"),
            *("--mlflow-timeout=4", "-v"),
            status=1,
        )
    told = [line for line in result.stdout.splitlines() if line.startswith("mlflow: ")]
    limit = "(waits at most 4 s without progress)"
    assert told == [f"mlflow: connecting to MLflow's server … {limit}"]


@pytest.mark.parametrize(
    "fault",
    [
        None,
        pytest.param("silent", marks=pytest.mark.real),
        pytest.param(500, marks=pytest.mark.real),
    ],
)
def test_the_gate_fails_where_there_is_no_answer(project: Project, fault: Fault | None) -> None:
    project.write("def test_it():\n    accuracy = 0.75\n    assert accuracy > 0.5\n")
    with out_of_order(fault) as uri:
        result = project.pytest(
            *("--mlflow", f"--mlflow-tracking-uri={uri}", "--mlflow-gate", "--mlflow-timeout=5"),
            status=1,
        )
    assert "1 passed" in result.stdout
    assert any("the baseline can't be read" in line for line in result.section())


IN_PARTS = """
    import pathlib
    import time

    def reached(name):
        pathlib.Path(name).touch()
        while not pathlib.Path(f"after_{name}").exists():
            time.sleep(0.02)

    def test_good():
        accuracy = 0.75
        assert accuracy > 0.5

    def test_gap():
        reached("outage")

    def test_meanwhile(mlflow_run):
        import mlflow
        mlflow.log_metric("auc", 0.625)

    def test_other_gap():
        reached("recovery")

    def test_bad(mlflow_case):
        mlflow_case.log_metric("loss", 0.5)
        assert 0.25 > 0.5
"""


@contextmanager
def in_parts(project: Project, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the tests that wait for what happens between them."""
    project.write(IN_PARTS)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--mlflow", *options],
        cwd=project.path,
        env={**clean_environment(), **plugins_for()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.real
def test_a_server_that_dies_and_comes_back(
    project: Project, tmp_path: Path, migrated_database: Path
) -> None:
    """What was measured before, during and after the outage arrives before the session's end."""
    shutil.copyfile(migrated_database, tmp_path / "server.db")
    database, port = f"sqlite:///{(tmp_path / 'server.db').as_posix()}", free_port()
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        uri = server.enter_context(serve(tmp_path, database, port=port)).uri
        process = stack.enter_context(in_parts(project, f"--mlflow-tracking-uri={uri}"))
        until(lambda: state_of(project).sent == 1, "the first case")
        server.close()
        project.path.joinpath("after_outage").touch()
        until(lambda: state_of(project).phase == "waiting", "the outage")
        assert "Connection refused" in str(state_of(project).error)
        assert (project.path / "recovery").exists()
        stack.enter_context(serve(tmp_path, database, port=port))
        until(lambda: state_of(project).sent == 2, "the second case")
        state = state_of(project)
        assert (state.phase, state.error) == ("ready", None)
        project.path.joinpath("after_recovery").touch()
        output, _ = process.communicate(timeout=TIMEOUT)
        result = Result(output, "", process.returncode)
        assert "1 failed, 4 passed" in result.stdout
        assert not any(line.startswith("Not everything") for line in result.section())
        runs = search_runs(uri)
    kinds = Counter(run.data.tags["pytest.kind"] for run in runs)
    assert kinds == {"session": 1, "case": 3}
    by_name = {run.info.run_name: run for run in runs}
    assert by_name["test_meanwhile"].data.metrics["auc"] == 0.625
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}


@pytest.mark.real
def test_a_server_that_is_restarted_at_any_moment(
    project: Project, tmp_path: Path, migrated_database: Path
) -> None:
    """Whatever it was doing: where it is back in time, the session's end waits for the rest."""
    shutil.copyfile(migrated_database, tmp_path / "server.db")
    database, port = f"sqlite:///{(tmp_path / 'server.db').as_posix()}", free_port()
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("depth", range(30))
        def test_it(depth, mlflow_case):
            mlflow_case.log_metric("loss", depth / 4)
            mlflow_case.log_text("a text", "text.txt")
        """
    )
    for turn in range(14):
        with ExitStack() as stack:
            server = stack.enter_context(ExitStack())
            uri = server.enter_context(serve(tmp_path, database, port=port)).uri
            options = (f"--mlflow-tracking-uri={uri}", f"--mlflow-experiment=turn {turn}")
            command = [sys.executable, "-m", "pytest", "--mlflow", "--mlflow-timeout=90", *options]
            process = subprocess.Popen(
                command,
                cwd=project.path,
                env={**clean_environment(), **plugins_for()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
            stack.callback(process.kill)
            # In the first it is not there at all when the tracker looks for it.
            until(lambda n=turn: has_sent(project, n, 2 * n), "the case")  # type: ignore[misc]
            server.close()
            time.sleep(2)
            stack.enter_context(serve(tmp_path, database, port=port))
            output, _ = process.communicate(timeout=TIMEOUT)
            assert not any("Not everything" in line for line in output.splitlines()), output
            runs = [
                run
                for run in search_runs(uri)
                if run.info.experiment_id == state_of(project).experiment_id
            ]
        kinds = Counter(run.data.tags["pytest.kind"] for run in runs)
        assert kinds == {"session": 1, "sweep": 1, "case": 30}
        assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.real
def test_a_server_that_comes_back_too_late(real: Server, project: Project) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(flaky(real.uri, seed=0, share=0))
        uri, experiment = proxy.uri, "after the end"
        options = (f"--mlflow-tracking-uri={uri}", f"--mlflow-experiment={experiment}")
        process = stack.enter_context(in_parts(project, *options, "--mlflow-timeout=10"))
        until(lambda: state_of(project).sent == 1, "the first case")
        proxy.always("reset before")
        project.path.joinpath("after_outage").touch()
        project.path.joinpath("after_recovery").touch()
        output, _ = process.communicate(timeout=TIMEOUT)
        line, command = outage(Result(output, "", process.returncode))
        assert "it closed the connection without an answer" in line
        proxy.always()
        sync(project, command)
        runs = [
            run
            for run in search_runs(uri)
            if run.info.experiment_id == state_of(project).experiment_id
        ]
    kinds = Counter(run.data.tags["pytest.kind"] for run in runs)
    assert kinds == {"session": 1, "case": 3}
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}


@pytest.mark.real
def test_a_server_that_fails_one_request_in_five(real: Server, tmp_path: Path) -> None:
    """Also where the answer gets lost of a request that took effect, MLflow has all just once."""
    from mlflow import MlflowClient

    client = MlflowClient(real.uri)
    found = []
    for name, share in (("well", 0.0), ("unwell", SHARE)):
        journal = Journal(tmp_path, session_id=name, experiment_name=name)
        journal.cases(rich_records(journal.directory)).finish()
        with patch.dict(os.environ), flaky(real.uri, seed=4, share=share) as proxy:
            state = send(journal.directory, tracking_uri=proxy.uri)
            counts = proxy.counts()
        assert (state.phase, state.error, state.sent) == ("done", None, 12)
        assert (sum(counts[failure] for failure in FAILURES) > 10) == (share > 0)
        runs = client.search_runs([str(state.experiment_id)])
        assert Counter(run.data.tags["pytest.kind"] for run in runs) == {"case": 12, "session": 1}
        (session,) = (run for run in runs if run.data.tags["pytest.kind"] == "session")
        assert session.info.status == "FINISHED"
        # Listing artifacts, MLflow 3.0 asks the environment's store and not the client's.
        with patch.dict(os.environ, MLFLOW_TRACKING_URI=real.uri):
            found.append(contents(client, [run for run in runs if run is not session]))
    assert found[0] == found[1]


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the lock of a SQLite file, as another program may."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


@pytest.mark.real
def test_a_database_that_is_locked_for_a_while(project: Project) -> None:
    with ExitStack() as stack:
        lock = stack.enter_context(locked(project.path / "mlflow.db"))
        # SQLite itself waits for so long, in seconds.
        uri = f"{project.uri}?timeout=0.3"
        process = stack.enter_context(in_parts(project, f"--mlflow-tracking-uri={uri}"))
        until(lambda: state_of(project).phase == "waiting", "the lock")
        assert "database is locked" in str(state_of(project).error)
        lock.execute("ROLLBACK")
        until(lambda: state_of(project).sent == 1, "the first case")
        project.path.joinpath("after_outage").touch()
        project.path.joinpath("after_recovery").touch()
        output, _ = process.communicate(timeout=TIMEOUT)
    assert "1 failed, 4 passed" in output
    assert "Not everything is in MLflow" not in output
    assert set(project.case_runs()) == {"test_good", "test_meanwhile", "test_bad"}


@pytest.mark.real
def test_a_database_that_stays_locked(project: Project, plain: str) -> None:
    project.write(SUITE)
    with locked(project.path / "mlflow.db"):
        uri = f"{project.uri}?timeout=0.3"
        result = project.pytest("--mlflow", f"--mlflow-tracking-uri={uri}", status=1)
    assert printed(project, result) == plain
    line, command = outage(result)
    assert line.endswith("database is locked")
    sync(project, command)
    check_kept_once(project)


@pytest.mark.real
@posix
def test_a_database_that_is_read_only(project: Project, plain: str) -> None:
    project.write(SUITE)
    database = project.path / "mlflow.db"
    database.chmod(0o444)
    command = [sys.executable, "-m", "pytest", "--mlflow"]
    if os.geteuid() == 0:
        # The superuser may write to everything, unless he gives up that right.
        if shutil.which("setpriv") is None:
            pytest.skip("the superuser may write to read-only files")
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    result = project.run(*command, env=plugins_for(), status=1)
    assert printed(project, result) == plain
    line, command_told = outage(result)
    assert line.endswith("attempt to write a readonly database")
    database.chmod(0o644)
    sync(project, command_told)
    check_kept_once(project)


@pytest.mark.real
@posix
def test_a_disk_too_full_for_the_database(project: Project) -> None:
    project.write(
        """
        def test_large(mlflow_case):
            for step in range(3_000):
                mlflow_case.log_metric("loss", 1.0 / (step + 1), step)
        """
    )
    database = project.path / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM")  # there is no room left in it
    project.write(limit_files(database.stat().st_size), "conftest.py")
    result = project.pytest("--mlflow")
    assert "1 passed" in result.stdout
    line, command = outage(result)
    assert "disk" in line
    sync(project, command)
    (run,) = project.case_runs().values()
    assert len(project.history(run, "loss")) == 3_000


def limit_files(size: int) -> str:
    """Return code after which no file of the process, and of its children, can be larger."""
    return f"""
        import resource
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, limits[1]))
    """


@pytest.mark.real
@posix
@pytest.mark.parametrize("by", ["server", "itself"])
def test_a_disk_too_full_for_artifacts(
    project: Project, tmp_path: Path, migrated_database: Path, by: str
) -> None:
    project.write(
        """
        def test_it(mlflow_case):
            mlflow_case.log_metric("loss", 0.5)
            mlflow_case.log_text("x" * 500_000, "large.txt")
        """
    )
    with ExitStack() as stack:
        uri = project.uri
        if by == "server":
            stack.enter_context(small_disk(tmp_path / "artifacts"))
            shutil.copyfile(migrated_database, tmp_path / "server.db")
            uri = f"sqlite:///{(tmp_path / 'server.db').as_posix()}"
            uri = stack.enter_context(serve(tmp_path, uri)).uri
        else:
            stack.enter_context(small_disk(project.path / "mlruns"))
        result = project.pytest(
            *(
                "--mlflow",
                f"--mlflow-tracking-uri={uri}",
                "--mlflow-timeout=45",
                "--mlflow-baseline=none",
            )
        )
        line, _ = outage(result)
    if by == "server":
        assert "status 500 to an upload" in line
        assert "is the disk of its artifacts full?" in line
    else:
        assert (
            "the disk that MLflow writes to is full (No space left on device): make room there"
            in line
        )


@pytest.mark.real
@posix
def test_a_disk_too_full_for_anything(project: Project) -> None:
    """The tests notice nothing; what was written before is kept."""
    project.write(
        """
        import pathlib
        import resource

        def test_before():
            accuracy = 0.75
            assert accuracy > 0.5

        def test_full():
            journal, = pathlib.Path().glob(".pytest_mlflow/*/journal.jsonl")
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            size = journal.stat().st_size + 100
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

        def test_after():
            accuracy = 0.25
            assert accuracy > 0.5
        """
    )
    result = project.pytest("--mlflow", "-p", "no:cacheprovider", status=1)
    assert "1 failed, 2 passed" in result.stdout
    notes = [line for line in result.section() if "The session's file can't be written" in line]
    assert len(notes) == 1
    assert "File too large" in notes[0]
    session = project.session()
    assert [record.name for record in session.cases] == ["test_before"]
    # Without an end of the journal, the tracker goes on until it knows that pytest is gone.
    assert wait_until(lambda: session.directory.is_sent, timeout=60, poll=0.1)
    assert set(project.case_runs()) == {"test_before"}


@pytest.mark.real
@posix
def test_a_disk_that_is_full_from_the_start(project: Project) -> None:
    project.write("def test_it():\n    accuracy = 0.75\n    assert accuracy > 0.5\n")
    project.write(limit_files(50), "conftest.py")
    result = project.pytest("--mlflow", "--mlflow-timeout=5", "-p", "no:cacheprovider")
    assert "1 passed" in result.stdout
    assert any("The session's file can't be written" in line for line in result.section())


@pytest.mark.real
@posix
def test_a_terminal_gets_its_prompt_back(project: Project) -> None:
    """At a desk nobody waits for MLflow, which gets all in the background; in CI it is waited."""
    project.write("def test_it():\n    accuracy = 0.75\n    assert accuracy > 0.5\n")
    for options, env, waits in (
        ((), {}, False),
        (("--mlflow-wait=yes",), {}, True),
        ((), {"CI": "true"}, True),
    ):
        with locked(project.path / "mlflow.db") as lock:
            ended = run_at_terminal(
                project, *options, env=env, meanwhile=lambda: lock.execute("ROLLBACK")
            )
            assert "1 passed" in ended.stdout
            told = "Still uploading to MLflow in the background" in ended.stdout
            assert told != waits
            assert (state_of(project).phase == "done") == waits
            if not waits:
                lock.execute("ROLLBACK")
        until(lambda: state_of(project).phase == "done", "the tracker")
    assert len(project.runs()) == 6


def run_at_terminal(
    project: Project, *options: str, env: dict[str, str], meanwhile: Callable[[], object]
) -> Result:
    """Run pytest at a terminal of its own.

    ``meanwhile`` is called where pytest waits for MLflow: when it has said so.
    """
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--mlflow", "--mlflow-baseline=none", *options],
        cwd=project.path,
        env={**clean_environment(), **plugins_for(options), "TERM": "dumb", **env},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
    )
    os.close(theirs)
    output = b""
    with suppress(OSError):  # a terminal's own end of file
        while data := os.read(ours, 4096):
            if b"mlflow: opening" in output + data and b"mlflow: opening" not in output:
                meanwhile()
            output += data
    os.close(ours)
    return Result(output.decode(), "", process.wait(TIMEOUT))


@pytest.mark.real
def test_what_earlier_sessions_left_is_told(project: Project) -> None:
    project.write("def test_it():\n    accuracy = 0.75\n    assert accuracy > 0.5\n")
    for _ in range(2):
        told = project.pytest("--mlflow", "--mlflow-offline").stdout
        assert "not in MLflow yet" not in told
    line = "2 earlier sessions are not in MLflow yet; send what is left with: pytest-mlflow sync"
    assert project.pytest("--mlflow").section().count(line) == 1
    project.sync()
    assert "not in MLflow yet" not in project.pytest("--mlflow").stdout


@posix
def test_a_new_state_ends_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_CODE", "{path!r}")
    directory = SessionDirectory.create(tmp_path, "session")
    tracker = launch.Tracker(directory, tracking_uri="unused", cwd=tmp_path)
    tracker.reap_launcher()
    pid = os.getpid()
    SessionState(phase="starting", pid=pid).write(directory.state)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            SessionState(phase="ready", pid=pid).write(directory.state)
        elif len(pauses) == 9:
            SessionState(phase="done", pid=pid).write(directory.state)

    monkeypatch.setattr(Original, "sleep", sleep)
    looks: list[str] = []
    assert tracker.wait(60.0, lambda state: looks.append(state.phase)).phase == "done"
    # One pause of five parts is without anything new.
    assert looks == ["starting", "ready", "ready"]
    assert len(pauses) == 9
    tracker.stop_feeding()


@pytest.mark.real
@posix
def test_the_whole_wait_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a little arrives again and again."""
    # A tracker that is never done, at the place of the real one.
    monkeypatch.setattr(
        launch,
        "_CODE",
        "import os, sys, time; sys.path.insert(0, {path!r})\n"
        "if os.fork(): os._exit(0)\n"
        "from pathlib import Path\n"
        "from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState\n"
        "path = SessionDirectory(Path(sys.argv[1])).state\n"
        "for sent in range(10_000):\n"
        "    SessionState(phase='ready', pid=os.getpid(), sent=sent).write(path)\n"
        "    time.sleep(0.02)\n",
    )
    directory = SessionDirectory.create(tmp_path, "session")
    tracker = launch.Tracker(directory, tracking_uri="unused", cwd=tmp_path)
    monkeypatch.setattr(launch, "MAX_WAIT_FACTOR", 2)
    tracker.reap_launcher()
    seen: set[int] = set()
    state = tracker.wait(2.0, lambda state: seen.add(state.sent))
    assert (state.phase, state.error) == (
        "failed",
        "MLflow has not received everything after 4 seconds",
    )
    assert len(seen) > 10
    tracker.stop_feeding()
