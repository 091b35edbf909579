"""A small project in a directory of its own, run by a real pytest and read back through MLflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mlflow_experiments.records import CaseRecord, SessionEnd, SessionHeader, journal
from pytest_mlflow_experiments.records.directory import DIRECTORY_NAME, SessionDirectory

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

TIMEOUT = 180


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Let MLflow warn as it likes: its warnings are not this project's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit status."""

    stdout: str
    stderr: str
    status: int

    def section(self) -> list[str]:
        """Return the lines of our section in pytest's output."""
        _, _, rest = self.stdout.partition("= mlflow =")
        lines = rest.splitlines()[1:]
        end = next((n for n, line in enumerate(lines) if line.startswith("===")), len(lines))
        return lines[:end]

    def without_section(self) -> str:
        """Return pytest's output as it is without us: no section, no timings."""
        text = re.sub(r"(?ms)^=+ mlflow =+\n.*?(?=^(?:=|!!!))|^mlflow: .*?\n", "", self.stdout)
        text = re.sub(r"cache from [\d:]+ ago", "cache from 0:00:00 ago", text)
        text = re.sub(r"in \d+\.\d+s( \([\d:]+\))?", "in 0.00s", text)
        # The time is as long as the line around it is short.
        return re.sub(r"(?m)^=+ (.* in 0\.00s) =+$", r"== \1 ==", text)


@dataclass(frozen=True)
class Session:
    """One session as its journal has it."""

    directory: SessionDirectory
    header: SessionHeader
    cases: list[CaseRecord]
    end: SessionEnd | None

    def case(self, name: str) -> CaseRecord:
        """Return the one case of that name."""
        (record,) = (record for record in self.cases if record.name == name)
        return record


class Project:
    """A directory with tests, a database and, after a run, sessions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"sqlite:///{(path / 'mlflow.db').as_posix()}"

    def write(self, source: str, name: str = "test_it.py") -> Path:
        """Write a file, its source dedented."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    def pytest(
        self, *arguments: str, env: Mapping[str, str] | None = None, status: int | None = 0
    ) -> Result:
        """Run pytest; its exit status must be ``status`` unless that is None."""
        return self.run(sys.executable, "-m", "pytest", *arguments, env=env, status=status)

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, status: int | None = 0
    ) -> Result:
        """Run a command in the project; its exit status must be ``status`` unless that is None."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**clean_environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            check=False,
        )
        result = Result(done.stdout, done.stderr, done.returncode)
        if status is not None:
            assert result.status == status, f"{result.stdout}\n{result.stderr}"
        return result

    def cli(
        self, *arguments: str, env: Mapping[str, str] | None = None, status: int | None = 0
    ) -> Result:
        """Run ``pytest-mlflow``."""
        command = Path(sys.executable).parent / "pytest-mlflow"
        return self.run(str(command), *arguments, env=env, status=status)

    def sync(self, *arguments: str, status: int = 0) -> Result:
        """Run ``pytest-mlflow sync``."""
        return self.cli("sync", *arguments, status=status)

    def take_sessions(self, other: Project) -> None:
        """Copy the sessions of another project; their experiment and store must be the same."""
        shutil.copytree(other.path / DIRECTORY_NAME, self.path / DIRECTORY_NAME)

    def sessions(self) -> list[Session]:
        """Return what the journals below the project hold, oldest first."""
        return [read_session(directory) for directory in SessionDirectory.find_all(self.path)]

    def session(self) -> Session:
        """Return the one session."""
        (session,) = self.sessions()
        return session

    def runs(self) -> list[Run]:
        """Return all runs in the database, oldest first."""
        return search_runs(self.uri)

    def session_run(self) -> Run:
        """Return the one session run."""
        (run,) = (run for run in self.runs() if run.data.tags.get("pytest.kind") == "session")
        return run

    def case_runs(self) -> dict[str, Run]:
        """Return the runs of cases by their names, which must differ."""
        runs = [run for run in self.runs() if run.data.tags.get("pytest.kind") == "case"]
        by_name = {run.info.run_name: run for run in runs}
        assert len(by_name) == len(runs)
        return by_name

    def sweep_runs(self) -> dict[str, Run]:
        """Return the runs of sweeps by the node ids of their tests."""
        runs = [run for run in self.runs() if run.data.tags.get("pytest.kind") == "sweep"]
        by_test = {run.data.tags["pytest.nodeid"]: run for run in runs}
        assert len(by_test) == len(runs)
        return by_test

    def history(self, run: Run, key: str) -> list[Metric]:
        """Return the values of a metric by step."""
        with quiet_mlflow():
            from mlflow import MlflowClient

            history = MlflowClient(self.uri).get_metric_history(run.info.run_id, key)
        return sorted(history, key=lambda metric: metric.step)


def read_session(directory: SessionDirectory) -> Session:
    """Return the session in a directory."""
    entries = list(journal.read(directory.journal))
    header, end = entries[0], entries[-1]
    assert isinstance(header, SessionHeader)
    return Session(
        directory=directory,
        header=header,
        cases=[entry for entry in entries if isinstance(entry, CaseRecord)],
        end=end if isinstance(end, SessionEnd) else None,
    )


def search_runs(uri: str) -> list[Run]:
    """Return all runs of a tracking store, oldest first."""
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = list(client.search_runs(ids, max_results=10_000))
    return sorted(runs, key=lambda run: run.info.start_time)


def clean_environment() -> dict[str, str]:
    """Return the environment without what is set for this test run, MLflow, CI or tox."""
    prefixes = ("MLFLOW_", "PYTEST_", "COV_", "COVERAGE_", "GITHUB_", "CI", "TOX_")
    return {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
