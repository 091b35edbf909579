"""Sessions that are run in the background, to be killed, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from project import Project, clean_environment, plugins_for

from pytest_mlflow_experiments.records import SessionHeader
from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.records.reader import peek_header

PATIENCE = 90.0


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@dataclass(frozen=True)
class Background:
    """A pytest that runs in a process group of its own, as in a terminal."""

    project: Project
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.project.path.joinpath("output").read_text(encoding="utf-8")

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until the condition holds, at most until pytest ends."""

        def holds() -> bool:
            assert self.process.poll() is None, f"{what}\n{self.output}"
            return bool(condition())

        until(holds, what or self.output)

    def reached(self, *names: str) -> None:
        """Wait until these files are in the project."""
        self.until(lambda: all((self.project.path / name).exists() for name in names), f"{names}")

    def directory(self) -> SessionDirectory:
        """Return the newest session."""
        self.until(lambda: SessionDirectory.find_all(self.project.path))
        return SessionDirectory.find_all(self.project.path)[-1]

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to pytest, or to all of its group as a terminal does."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for pytest, its tracker and its workers; return the exit status."""
        status = self.process.wait(PATIENCE)
        until(lambda: not trackers(self.project.path), "the tracker has stayed")
        until(lambda: not group_members(self.process.pid), "something of the session has stayed")
        return status


@contextmanager
def background(project: Project, *arguments: str) -> Iterator[Background]:
    """Run pytest in the background; what is left of it at the end is killed."""
    with project.path.joinpath("output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=project.path,
            env={**clean_environment(), **plugins_for(arguments)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_with_signals,
        )
    try:
        yield Background(project, process)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def group_members(group: int) -> list[int]:
    """Return the processes of a group that still run."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, their_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(their_group) == group and state not in "ZX":
                members.append(int(path.parent.name))
    return members


def trackers(path: Path) -> list[int]:
    """Return the processes that were started with something below the path as an argument."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{path}/".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def header_of(directory: SessionDirectory) -> SessionHeader:
    """Return the header of a session."""
    header = peek_header(directory.journal)
    assert header is not None
    return header


def send_here(*directories: SessionDirectory, uri: str | None = None) -> list[SessionState]:
    """Do in this process what ``pytest-mlflow sync`` does."""
    with patch.dict(os.environ):
        from pytest_mlflow_experiments.tracker.main import sync

        return [sync(one, tracking_uri=uri or header_of(one).tracking_uri) for one in directories]


def query(database: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return rows of a database file."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return connection.execute(sql, values).fetchall()


def statuses(database: Path) -> dict[str, str]:
    """Return the statuses of all runs but the sweeps' by name; the session's is "session"."""
    rows = query(
        database,
        "select coalesce(kind.value, ''), runs.name, runs.status from runs "
        "left join tags kind on kind.run_uuid = runs.run_uuid and kind.key = 'pytest.kind' "
        "where coalesce(kind.value, '') != 'sweep'",
    )
    found = {name if kind != "session" else kind: status for kind, name, status in rows}
    assert len(found) == len(rows)
    return found


def sweep_statuses(database: Path) -> list[str]:
    """Return the statuses of the runs of sweeps."""
    rows = query(
        database,
        "select status from runs join tags using (run_uuid) "
        "where key = 'pytest.kind' and value = 'sweep'",
    )
    return [str(status) for (status,) in rows]


def session_tags(database: Path) -> dict[str, str]:
    """Return the tags of the one session's run."""
    rows = query(
        database,
        "select key, value from tags where run_uuid in "
        "(select run_uuid from tags where key = 'pytest.kind' and value = 'session')",
    )
    return {str(key): str(value) for key, value in rows}


def copy_session(source: SessionDirectory, name: str) -> SessionDirectory:
    """Copy a session within its project."""
    return SessionDirectory(Path(shutil.copytree(source.path, source.path.parent / name)))


def _with_signals() -> None:
    """Let signals end the process, also where the tests are run with nohup or in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
