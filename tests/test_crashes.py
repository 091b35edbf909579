"""Whatever is killed, and whenever: nothing is lost, nothing stays open, nobody stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from crashing import (
    Background,
    background,
    query,
    send_here,
    session_tags,
    statuses,
    sweep_statuses,
)
from layers import real
from project import Project
from tracker_kit import make_record

from pytest_mlflow_experiments.capture.running import RunningNote
from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.records.journal import encode
from pytest_mlflow_experiments.records.processes import is_running, started_at

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc"),
    # MLflow's own, where sessions are sent from this process.
    pytest.mark.filterwarnings("ignore"),
]

OFFLINE = ("--mlflow", "--mlflow-offline")
XDIST = ("-n", "2", "--dist=load")

CRASHES = """
    import ctypes, os, time
    import pytest

    @pytest.mark.parametrize("n", range(4))
    def test_well(n, mlflow_case):
        mlflow_case.log_metric("value", n / 3)

    def test_crash():
        value = 0.7
        assert value > 0.1
        {crash}
"""


def outcomes(output: str) -> str:
    """Return the last line of pytest's output without the time."""
    (line,) = re.findall(r"^=* ?((?:no|\d+) .*) in [\d.]+s", output, re.MULTILINE)
    return str(line)


def run_both(project: Project, *arguments: str) -> list[CaseRecord]:
    """Run pytest without and with us: both must tell the same; return the records."""
    plain = project.pytest(*arguments, status=None)
    ours = project.pytest(*arguments, *OFFLINE, status=plain.status)
    assert outcomes(ours.stdout) == outcomes(plain.stdout)
    return project.sessions()[-1].cases


@pytest.mark.parametrize(
    ("crash", "options"),
    [
        ("os.kill(os.getpid(), 9)", ()),
        ("ctypes.string_at(0)", ("--max-worker-restart=0",)),
    ],
    ids=["killed", "segmentation fault"],
)
def test_case_that_crashes_its_worker(
    project: Project, crash: str, options: tuple[str, ...]
) -> None:
    project.write(CRASHES.format(crash=crash))
    records = {record.name: record for record in run_both(project, *XDIST, *options)}
    assert set(records) == {"test_crash", *(f"test_well[{n}]" for n in range(4))}
    crashed = records.pop("test_crash")
    assert crashed.outcome == "failed"
    assert crashed.nodeid == crashed.case == "test_it.py::test_crash"
    assert re.fullmatch(
        "worker 'gw[0-9]' crashed while running 'test_it.py::test_crash'", crashed.failure or ""
    )
    starts = [record.start_time for record in records.values()]
    assert min(starts) <= crashed.start_time <= crashed.end_time
    assert crashed.durations["call"] >= 0
    assert all(record.outcome == "passed" for record in records.values())
    end = project.session().end
    assert end is not None
    assert not end.complete
    assert not list(project.session().directory.path.glob("running-*"))
    (state,) = send_here(project.session().directory)
    assert (state.phase, state.sent) == ("done", 5)
    found = statuses(project.path / "mlflow.db")
    assert found.pop("test_crash") == found.pop("session") == "FAILED"
    assert set(found.values()) == {"FINISHED"}
    assert session_tags(project.path / "mlflow.db")["pytest.complete"] == "false"


def test_what_is_known_of_a_crashed_case(project: Project) -> None:
    project.write(
        """
        import os
        import pytest

        @pytest.fixture
        def crash():
            os.kill(os.getpid(), 9)

        @pytest.mark.mlflow(case="stable", tags={"team": "vision"})
        @pytest.mark.parametrize("rate", [0.1])
        def test_marked(rate, mlflow_case):
            mlflow_case.log_text("so far", "log.txt")
            os.kill(os.getpid(), 9)

        def test_in_setup(crash):
            pass

        @pytest.mark.mlflow(track=False)
        def test_untracked(crash):
            pass

        """
    )
    project.pytest(*XDIST, *OFFLINE, status=1)
    records = {record.name: record for record in project.session().cases}
    assert set(records) == {"stable[0.1]", "test_in_setup"}
    record = records["stable[0.1]"]
    assert (record.case, record.nodeid) == ("stable[0.1]", "test_it.py::test_marked[0.1]")
    assert (dict(record.params), record.tags["team"]) == ({"rate": "0.1"}, "vision")
    assert record.artifacts == ("log.txt",)
    project.pytest("-n", "2", *OFFLINE, "--mlflow-track=marked", status=1)
    (record,) = project.sessions()[-1].cases
    assert record.name == "stable[0.1]"


@pytest.mark.real
def test_crashed_case_is_missing(project: Project) -> None:
    project.write(CRASHES.format(crash=""))
    project.pytest(*XDIST, *OFFLINE)
    project.write(CRASHES.format(crash="os._exit(1)"))
    project.pytest(*XDIST, *OFFLINE, "--mlflow-gate", status=1)
    session = project.sessions()[-1]
    report = json.loads(session.directory.report.read_text(encoding="utf-8"))
    assert [(case["name"], case["outcome"]) for case in report["unjudged"]] == [
        ("test_crash", "failed")
    ]
    assert {metric["name"] for metric in report["metrics"] if metric["status"] == "missing"} == {
        "test_crash"
    }
    # It is no history for the next one either.
    project.write(CRASHES.format(crash=""))
    result = project.pytest(*XDIST, *OFFLINE)
    assert "the last passing session" in result.stdout or "the latest" in result.stdout
    baseline = project.sessions()[-1].directory.local_baseline.read_text(encoding="utf-8")
    assert project.sessions()[0].header.session_id in baseline
    assert session.header.session_id not in baseline


@pytest.mark.real
@pytest.mark.parametrize("crashes", [1, 9], ids=["once", "always"])
def test_crashes_that_are_run_again(project: Project, crashes: int) -> None:
    project.write(
        f"""
        import os
        import pytest
        from pathlib import Path

        @pytest.mark.flaky(reruns=2)
        def test_flaky(mlflow_case):
            with open("attempts", "a") as file:
                file.write("x")
            mlflow_case.log_metric("value", 0.5)
            if len(Path("attempts").read_text()) <= {crashes}:
                os.kill(os.getpid(), 9)
        """
    )
    status = 0 if crashes == 1 else 1
    # It looks for pytest-xdist by the name of its entry point.
    result = project.pytest(*XDIST, *OFFLINE, status=status, autoload=True)
    assert ("1 rerun" if crashes == 1 else "1 failed, 2 rerun") in outcomes(result.stdout)
    (record,) = project.session().cases
    assert record.outcome == ("passed" if crashes == 1 else "failed")
    assert [attempt.outcome for attempt in record.attempts] == ["failed"] * min(crashes, 2)
    assert "crashed while running" in (record.attempts[0].failure or "")


LIVE = """
    import os, pytest, time
    from pathlib import Path

    def test_before(mlflow_case):
        mlflow_case.log_metric("value", 0.1)

    def test_live(mlflow_run):
        import mlflow
        mlflow.log_metric("loss", 0.3)
        mlflow.start_run(nested=True, run_name="nested")
        Path("live").touch()
        {then}
"""


@pytest.mark.real
def test_run_of_a_test_that_crashed_its_worker(project: Project) -> None:
    project.write(LIVE.format(then="os.kill(os.getpid(), 9)"))
    project.pytest("-n", "1", "--mlflow", status=1)
    assert statuses(project.path / "mlflow.db") == {
        "session": "FAILED",
        "test_before": "FINISHED",
        "test_live": "FAILED",
        "nested": "KILLED",
    }
    assert project.case_runs()["test_live"].data.metrics["loss"] == 0.3


@pytest.mark.real
def test_run_of_a_test_whose_pytest_was_killed(project: Project) -> None:
    project.write(LIVE.format(then="time.sleep(60)"))
    with background(project, "--mlflow") as session:
        session.reached("live")
        session.send(signal.SIGKILL)
        assert session.ends() == -signal.SIGKILL
    assert statuses(project.path / "mlflow.db") == {
        "session": "KILLED",
        "test_before": "FINISHED",
        "test_live": "KILLED",
        "nested": "KILLED",
    }


# Each place waits until somebody kills the session.
PLACES = {
    "collection": "def pytest_collection_finish(session): wait()",
    "test": "def pytest_runtest_call(item):\n    if item.name == 'test_well[3]': wait()",
    "between tests": (
        "def pytest_runtest_logfinish(nodeid, location):\n"
        "    if nodeid.endswith('test_well[2]'): wait()"
    ),
    "end": "def pytest_sessionfinish(): wait()",
}
CONFTEST = """
import os, time
from pathlib import Path

def wait():
    Path("here").touch()
    time.sleep(4 if "PYTEST_XDIST_WORKER" in os.environ else 60)

{place}
"""


def waiting_project(project: Project, place: str) -> None:
    project.write(CRASHES.format(crash=""))
    project.path.joinpath("conftest.py").write_text(CONFTEST.format(place=PLACES[place]))


@pytest.mark.parametrize(
    ("place", "number", "options"),
    [
        ("test", signal.SIGKILL, ()),
        real("collection", signal.SIGKILL, ()),
        real("test", signal.SIGTERM, ()),
        real("test", signal.SIGKILL, ("-n", "2")),
        real("between tests", signal.SIGHUP, ()),
        real("end", signal.SIGKILL, ()),
    ],
)
def test_pytest_is_killed(
    project: Project, place: str, number: signal.Signals, options: tuple[str, ...]
) -> None:
    waiting_project(project, place)
    with background(project, "--mlflow", *options) as session:
        session.reached("here")
        # A terminal that is closed tells all processes that belong to it.
        session.send(number, group=number == signal.SIGHUP)
        assert session.ends() == -number
    recorded = {case.name for case in project.session().cases}
    found = statuses(project.path / "mlflow.db")
    state = SessionState.read(project.session().directory.state)
    assert state is not None
    assert state.phase == "done"
    if place == "collection":
        assert found == {}
        return
    assert found.pop("session") == "KILLED"
    assert session_tags(project.path / "mlflow.db")["pytest.complete"] == "false"
    assert set(found) == recorded
    if not options:
        assert len(recorded) == {"test": 3, "between tests": 3, "end": 5}[place]
    assert set(found.values()) <= {"FINISHED"}


def test_killed_session_is_sent_and_no_baseline(project: Project) -> None:
    waiting_project(project, "end")
    with background(project, *OFFLINE) as session:
        session.reached("here")
        session.send(signal.SIGKILL)
        session.ends()
    project.sync()
    found = statuses(project.path / "mlflow.db")
    assert found.pop("session") == "KILLED"
    assert list(found.values()) == ["FINISHED"] * 5
    project.path.joinpath("conftest.py").unlink()
    result = project.pytest(*OFFLINE)
    assert "irst run" in result.stdout


def interrupted(project: Project, *arguments: str, times: int) -> tuple[int, str]:
    """Return the exit status of a pytest that got Ctrl-C in a test, and what it printed."""
    project.path.joinpath("here").unlink(missing_ok=True)
    with background(project, *arguments) as session:
        session.reached("here")
        for _ in range(times):
            if session.process.poll() is None:
                session.send(signal.SIGINT, group=True)
        status = session.ends()
        return status, session.output


@pytest.mark.parametrize("options", [(), real(("-n", "2"))], ids=["alone", "xdist"])
def test_ctrl_c_in_a_test(project: Project, options: tuple[str, ...]) -> None:
    waiting_project(project, "test")
    plain, _ = interrupted(project, *options, times=1)
    status, output = interrupted(project, "--mlflow", *options, times=1)
    assert status == plain == 2
    assert "KeyboardInterrupt" in output
    session = project.session()
    cases = {case.name: case.outcome for case in session.cases}
    # The test that was interrupted is kept, for it uses a fixture; with workers too.
    assert cases["test_well[3]"] == "interrupted"
    found = statuses(project.path / "mlflow.db")
    assert found.pop("session") == "KILLED"
    # The other worker may have been in a test as well.
    assert {name for name, status in found.items() if status == "KILLED"} == {
        name for name, outcome in cases.items() if outcome == "interrupted"
    }
    assert set(found) == set(cases)
    assert "RUNNING" not in found.values()


@pytest.mark.real
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_ctrl_c_twice(project: Project, options: tuple[str, ...]) -> None:
    waiting_project(project, "test")
    status, output = interrupted(project, "--mlflow", *options, times=2)
    assert status in (2, 130, -signal.SIGINT), output
    send_here(*SessionDirectory.find_all(project.path))
    found = statuses(project.path / "mlflow.db")
    assert found.pop("session") == "KILLED"
    assert set(found) == {case.name for case in project.session().cases}
    assert "RUNNING" not in found.values()
    assert sweep_statuses(project.path / "mlflow.db") == ["KILLED"]


@pytest.mark.real
def test_ctrl_c_while_waiting_for_the_tracker(project: Project) -> None:
    project.write(CRASHES.format(crash=""))
    with background(project, "--mlflow", "--mlflow-baseline=none") as session:
        directory = session.directory()
        pid = tracker_of(session)
        os.kill(pid, signal.SIGSTOP)
        session.until(lambda: '"finish"' in directory.journal.read_text())
        # The wait begins right after that.
        time.sleep(1)
        session.send(signal.SIGINT, group=True)
        status = session.process.wait(60)
        os.kill(pid, signal.SIGCONT)
        session.ends()
        assert status == 0, session.output
        assert "interrupted while sending" in session.output
    assert send_here(directory)[0].sent == 5
    assert set(statuses(project.path / "mlflow.db").values()) == {"FINISHED"}


def tracker_of(session: Background) -> int:
    """Return the tracker's number once it is known."""
    path = session.directory().state

    def pid() -> int | None:
        state = SessionState.read(path)
        return state.pid if state is not None else None

    session.until(pid)
    found = pid()
    assert found is not None
    return found


@pytest.mark.real
@pytest.mark.parametrize("moment", ["starting", "sending"])
def test_tracker_is_killed(project: Project, moment: str) -> None:
    project.write(
        """
        import time
        from pathlib import Path
        import pytest

        @pytest.mark.parametrize("n", range(40))
        def test_it(n, mlflow_case):
            mlflow_case.log_metric("value", n / 7)
            if n == 20:
                while not Path("killed").exists():
                    time.sleep(0.01)
        """
    )
    with background(project, "--mlflow") as session:
        pid, directory = tracker_of(session), session.directory()
        if moment == "sending":
            session.until(lambda: (SessionState.read(directory.state) or state_zero()).sent >= 15)
        os.kill(pid, signal.SIGKILL)
        project.path.joinpath("killed").touch()
        assert session.ends() == 0, session.output
        assert "the process that uploads to MLflow died" in session.output
        assert f"pytest-mlflow sync {directory.path.relative_to(project.path)}" in session.output
    assert send_here(directory, directory)[0].phase == "done"
    rows = query(
        project.path / "mlflow.db",
        "select name, value, count(*) from runs join metrics using (run_uuid) "
        "where key = 'value' group by name, value",
    )
    expected = [(f"test_it[{n}]", n / 7, 1) for n in range(40)]
    assert sorted(rows) == sorted(expected)
    assert set(statuses(project.path / "mlflow.db").values()) == {"FINISHED"}


def state_zero() -> SessionState:
    return SessionState(phase="starting")


@pytest.mark.real
def test_tracker_whose_controller_died_before_it_looked(project: Project) -> None:
    """Then its parent is somebody who lives on."""
    project.write(CRASHES.format(crash=""))
    project.write(
        """
        import os

        def pytest_sessionstart(session):
            os._exit(9)
        """,
        "conftest.py",
    )
    with background(project, "--mlflow") as session:
        session.process.wait(60)
        directory = SessionDirectory.find_all(project.path)[0]
        session.ends()
    state = SessionState.read(directory.state)
    assert state is not None
    assert state.phase == "done"


@pytest.mark.real
def test_out_of_memory(project: Project) -> None:
    project.write(
        """
        import resource
        import pytest

        @pytest.fixture
        def little_memory():
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2**30, before[1]))
            yield
            resource.setrlimit(resource.RLIMIT_AS, before)

        def test_greedy(little_memory):
            value = 0.5
            assert value > 0.1
            bytearray(2**32)

        def test_after():
            value = 0.25
            assert value > 0.1
        """
    )
    records = run_both(project)
    assert [(record.name, record.outcome) for record in records] == [
        ("test_greedy", "failed"),
        ("test_after", "passed"),
    ]
    assert "MemoryError" in (records[0].failure or "")
    assert [record.metrics[0].value for record in records] == [0.5, 0.25]


def test_number_that_was_given_away_again() -> None:
    started = started_at(os.getpid())
    assert started is not None
    assert is_running(os.getpid(), started)
    assert not is_running(os.getpid(), f"{started}0")


def test_note_of_the_running_case(tmp_path: Path) -> None:
    """The note is written over the one before, which may be longer."""
    note = RunningNote.of(SessionDirectory(tmp_path), "gw0")
    assert note.read() is None
    longer, shorter = make_record(1, name="x" * 500), make_record(2)
    for record in (longer, shorter, None, longer):
        note.write("a nodeid", record)
        running = note.read()
        assert running is not None
        assert running.record == record
        assert running.is_of("a nodeid")
        assert not running.is_of("another")
    path = tmp_path / "running-gw0"
    whole = path.read_bytes()
    note.write("another", shorter)
    written = 2 * len("0" * 64 + "\n") + len(encode(shorter)) + 1
    for size in range(written):
        # Killed in the middle: the beginning of the new one, and the rest of the old one.
        mixed = path.read_bytes()[:size] + whole[size:]
        (tmp_path / "running-gw1").write_bytes(mixed)
        found = RunningNote.of(SessionDirectory(tmp_path), "gw1").read()
        assert found is None or found.record in (longer, shorter)
        assert found is None or found.is_of("a nodeid" if found.record == longer else "another")
    note.remove()
    note.remove()
    assert note.read() is None
