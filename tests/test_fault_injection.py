"""Random processes are killed at random moments, many times over; whatever finished is in MLflow.

``PYTEST_MLFLOW_FAULT_ROUNDS`` sets how many times; the seed is another one each time then, unless
``PYTEST_MLFLOW_FAULT_SEED`` sets it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
from crashing import group_members, query, send_here, trackers, until
from project import TIMEOUT, Project, clean_environment, plugins_for, read_session

from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc"),
    pytest.mark.filterwarnings("ignore"),
]

FEW = 6
ROUNDS = int(os.environ.get("PYTEST_MLFLOW_FAULT_ROUNDS") or FEW)
SEED = int(
    os.environ.get("PYTEST_MLFLOW_FAULT_SEED") or (4 if ROUNDS == FEW else time.time_ns() % 10**6)
)
CASES = 300
# Each thirtieth case has an artifact of one of these sizes, with the same content in all rounds.
EACH = 30
SIZES = (0, 1, 1_000, 70_000, 2_000_000)

SUITE = f"""
    import random, time
    import pytest

    @pytest.mark.parametrize("n", range({CASES}))
    def test_it(n, mlflow_case, record_property, tmp_path):
        if n % {EACH} == 0:
            path = tmp_path / "content.bin"
            path.write_bytes(random.Random(n).randbytes({SIZES}[n // {EACH} % 5]))
            mlflow_case.log_artifact(path, "nested/deep")
        value = random.random()
        mlflow_case.log_metric("value", value)
        record_property("value", value.hex())
        time.sleep(0.002)
"""
# A test has finished when pytest hears of its teardown: after that its record must be safe.
CONFTEST = """
    import os
    import pytest

    def pytest_configure(config):
        if hasattr(config, "workerinput"):
            open(os.path.join(os.environ["ROUND"], f"worker-{os.getpid()}"), "w").close()
        else:
            path = os.path.join(os.environ["ROUND"], "finished")
            config.finished = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            config.pluginmanager.register(Finished(config.finished))

    class Finished:
        def __init__(self, file):
            self.file = file

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logreport(self, report):
            value = dict(report.user_properties).get("value")
            if report.when == "teardown" and value is not None:
                os.write(self.file, f"{value}\\n".encode())
"""


Victim: TypeAlias = Literal["pytest", "tracker", "worker", "terminal"]
Moment: TypeAlias = Literal["start", "finished", "sent"]
VICTIMS: list[tuple[Victim, bool]] = [
    ("pytest", False),
    ("tracker", False),
    ("terminal", False),
    ("pytest", True),
    ("tracker", True),
    ("worker", True),
]
SIGNALS: dict[Victim, list[signal.Signals]] = {
    "pytest": [signal.SIGKILL, signal.SIGTERM, signal.SIGINT],
    "tracker": [signal.SIGKILL, signal.SIGTERM],
    "worker": [signal.SIGKILL],
    "terminal": [signal.SIGINT, signal.SIGHUP],
}
MOMENTS: list[Moment] = ["start", "finished", "finished", "sent", "sent"]


@dataclass(frozen=True)
class Fault:
    """Who is killed, how, and when."""

    number: int
    workers: bool
    victim: Victim
    signal: signal.Signals
    moment: Moment
    amount: float

    @classmethod
    def draw(cls, rng: random.Random, number: int, victim: Victim, *, workers: bool) -> Fault:
        """Return a random fault of a victim."""
        moment: Moment = rng.choice(MOMENTS)
        return cls(
            number=number,
            workers=workers,
            victim=victim,
            signal=rng.choice(SIGNALS[victim]),
            moment=moment,
            amount=rng.uniform(0, 2) if moment == "start" else rng.randrange(CASES),
        )


def faults(rng: random.Random) -> Iterator[Fault]:
    """Yield faults for ever; each victim has its turn."""
    for first in count(0, len(VICTIMS)):
        for number, (victim, workers) in enumerate(rng.sample(VICTIMS, len(VICTIMS)), first):
            yield Fault.draw(rng, number, victim, workers=workers)


class Round:
    """One session and the fault that hits it."""

    def __init__(self, project: Project, fault: Fault) -> None:
        self.fault = fault
        self._project = project
        self._before = set(SessionDirectory.find_all(project.path))
        self._path = project.path / f"round-{fault.number}"
        self._path.mkdir()
        workers = ["-n", "2"] if fault.workers else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--mlflow", *workers],
            cwd=project.path,
            env={**clean_environment(), **plugins_for(workers), "ROUND": str(self._path)},
            stdin=subprocess.DEVNULL,
            stdout=(self._path / "output").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self) -> None:
        """Let it happen, and wait for pytest's end."""
        try:
            self._wait_for_the_moment()
            self._strike()
            self._process.wait(TIMEOUT)
            until(lambda: not group_members(self._process.pid), "workers have stayed")
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def finished(self) -> list[float]:
        """Return the values of the cases that have finished."""
        try:
            lines = self._path.joinpath("finished").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        return [float.fromhex(line) for line in lines]

    def _wait_for_the_moment(self) -> None:
        fault, started = self.fault, time.monotonic()
        is_there: dict[str, Callable[[], bool]] = {
            "start": lambda: time.monotonic() - started >= fault.amount,
            "finished": lambda: len(self.finished()) > fault.amount,
            "sent": lambda: (state := self._state()) is not None and state.sent > fault.amount,
        }
        until(
            lambda: is_there[fault.moment]() or self._process.poll() is not None, "no such moment"
        )

    def _strike(self) -> None:
        try:
            if self.fault.victim == "terminal":
                os.killpg(self._process.pid, self.fault.signal)
            elif (pid := self._victim()) is not None:
                os.kill(pid, self.fault.signal)
        except ProcessLookupError:
            pass

    def _victim(self) -> int | None:
        if self.fault.victim == "pytest":
            return self._process.pid
        if self.fault.victim == "tracker":
            state = self._state()
            return state.pid if state is not None else None
        pids = sorted(int(path.name[7:]) for path in self._path.glob("worker-*"))
        return pids[int(self.fault.amount) % len(pids)] if pids else None

    def _state(self) -> SessionState | None:
        new = set(SessionDirectory.find_all(self._project.path)) - self._before
        return SessionState.read(new.pop().state) if new else None


def killed_sync(project: Project, rng: random.Random) -> None:
    """Run the command, and kill it when it has sent something, or before."""
    command = [str(Path(sys.executable).parent / "pytest-mlflow"), "sync"]
    process = subprocess.Popen(
        command,
        cwd=project.path,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before, share = runs(project), rng.random()
    wanted = before + share * len(values_of_journals(project))
    until(lambda: process.poll() is not None or runs(project) >= wanted, "sync hangs")
    process.kill()
    process.wait()


def runs(project: Project) -> int:
    ((number,),) = query(project.path / "mlflow.db", "select count(*) from runs")
    return int(number)


def values_of_journals(project: Project) -> list[float]:
    """Return the values of all cases that the sessions have kept, except crashed ones."""
    found: list[float] = []
    for directory in SessionDirectory.find_all(project.path):
        for case in read_session(directory).cases:
            found += [metric.value for metric in case.metrics]
    return found


def values_in_mlflow(project: Project) -> list[float]:
    rows = query(
        project.path / "mlflow.db",
        "select metrics.value from metrics join tags kind using (run_uuid) "
        "where metrics.key = 'value' and kind.key = 'pytest.kind' and kind.value = 'case'",
    )
    return [float(value) for (value,) in rows]


def test_nothing_is_lost_whatever_is_killed(project: Project) -> None:
    rng = random.Random(SEED)
    project.write(SUITE)
    project.write(CONFTEST, "conftest.py")
    rounds: list[Round] = []
    print(f"seed {SEED}")
    for fault in islice(faults(rng), ROUNDS):
        # Shown where something goes wrong.
        print(fault)
        rounds.append(Round(project, fault))
        rounds[-1].run()
    # Trackers may still be at work beside each other, but each of them ends.
    until(lambda: not trackers(project.path), "a tracker has stayed")
    unsent = [found for found in SessionDirectory.find_all(project.path) if not found.is_sent]
    print(f"{len(unsent)} of {ROUNDS} sessions are left to sync")
    if unsent and rng.random() < 0.9:
        killed_sync(project, rng)
    directories = SessionDirectory.find_all(project.path)
    rng.shuffle(directories)
    for state in send_here(*directories, *directories[: len(directories) // 2]):
        assert state.phase == "done", state
    check(project, rounds)


def check_artifacts(project: Project) -> None:
    """Check that each artifact of a case that was kept is whole."""
    artifacts = 0
    for directory in SessionDirectory.find_all(project.path):
        for case in read_session(directory).cases:
            for name in case.artifacts:
                number = int(case.params["n"])
                expected = random.Random(number).randbytes(SIZES[number // EACH % 5])
                (path,) = project.path.glob(f"mlruns/*/{case.id}/artifacts/{name}")
                digests = [sha256(content).hexdigest() for content in (path.read_bytes(), expected)]
                assert digests[0] == digests[1], f"{path}, seed {SEED}"
                artifacts += 1
    assert artifacts > 0


def check(project: Project, rounds: list[Round]) -> None:
    """Check that what finished is in MLflow once, to the bit, and that nothing is open."""
    check_artifacts(project)
    there = Counter(values_in_mlflow(project))
    kept = Counter(values_of_journals(project))
    assert there == kept
    assert set(there.values()) <= {1}
    for round_ in rounds:
        missing = [value for value in round_.finished() if value not in there]
        assert not missing, f"{len(missing)} cases are missing of {round_.fault}, seed {SEED}"
    database = project.path / "mlflow.db"
    assert query(database, "select name, status from runs where status = 'RUNNING'") == []
    records = query(database, "select value from tags where key = 'pytest.record_id'")
    assert len(set(records)) == len(records)
    sessions = query(database, "select value from tags where key = 'pytest.kind'")
    with_cases = [
        found for found in SessionDirectory.find_all(project.path) if read_session(found).cases
    ]
    assert sessions.count(("session",)) == len(with_cases)
    ended = query(database, "select value from tags where key = 'pytest.complete'")
    assert len(ended) == len(with_cases)
