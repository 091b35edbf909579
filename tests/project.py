"""A small project in a directory of its own, run by a real pytest and read back through MLflow."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from pytest_mlflow_experiments.cli import main
from pytest_mlflow_experiments.records import CaseRecord, SessionEnd, SessionHeader, journal
from pytest_mlflow_experiments.records.directory import DIRECTORY_NAME, SessionDirectory

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

TIMEOUT = 300

PLUGIN = "pytest_mlflow_experiments.plugin"
SCRIPT = str(Path(sys.executable).parent / "pytest-mlflow")

# Modules of other plugins, and how options begin that ask for them.
OTHER_PLUGINS = {
    "pytest_rerunfailures": ("--reruns",),
    "xdist.plugin": ("-n", "--dist", "--maxprocesses", "--tx"),
}


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Let MLflow warn as it likes: its warnings are not this project's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Stream(io.TextIOWrapper):
    """What a command prints to; there are bytes below, as in a pipe."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        """All that was printed."""
        return self._bytes.getvalue().decode("utf-8")


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit status."""

    stdout: str
    stderr: str
    status: int

    def checked(self, status: int | None) -> Result:
        """Return the result, whose status must be the one given unless that is None."""
        assert status in (None, self.status), f"{self.status}\n{self.stdout}\n{self.stderr}"
        return self

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
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        status: int | None = 0,
        autoload: bool = False,
    ) -> Result:
        """Run pytest; its exit status must be ``status`` unless that is None.

        Args:
            arguments: pytest's; ``-n`` and ``--reruns`` load the plugins that they belong to, and
                ``-p`` any other.
            env: variables to add to the environment.
            status: the exit status.
            autoload: load every plugin that is installed: as pytest does, but half as fast.
        """
        chosen = {} if autoload else plugins_for(arguments)
        command = (sys.executable, "-m", "pytest", *arguments)
        return self.run(*command, env={**chosen, **(env or {})}, status=status)

    def track(
        self, *arguments: str, env: Mapping[str, str] | None = None, status: int | None = 0
    ) -> Result:
        """Run pytest offline and send the session from here: no new process has to load MLflow.

        MLflow has the same then as after ``pytest --mlflow``.
        """
        result = self.pytest("--mlflow", "--mlflow-offline", *arguments, env=env, status=status)
        self.cli("sync", env=env)
        return result

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
        return Result(done.stdout, done.stderr, done.returncode).checked(status)

    def cli(
        self, *arguments: str, env: Mapping[str, str] | None = None, status: int | None = 0
    ) -> Result:
        """Run ``pytest-mlflow`` in this process, which has loaded MLflow already."""
        stdout, stderr = _Stream(), _Stream()
        with (
            self.inside(env),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
            patch.object(sys, "argv", ["pytest-mlflow", *arguments]),
        ):
            try:
                code = main(arguments)
            except SystemExit as end:  # argparse's
                code = int(end.code or 0)
        return Result(stdout.text, stderr.text, code).checked(status)

    def script(
        self, *arguments: str, env: Mapping[str, str] | None = None, status: int | None = 0
    ) -> Result:
        """Run the installed ``pytest-mlflow``, as users do."""
        return self.run(SCRIPT, *arguments, env=env, status=status)

    @contextmanager
    def inside(self, env: Mapping[str, str] | None = None) -> Iterator[None]:
        """Have the directory and the environment that a new process of the project would have."""
        before = Path.cwd()
        os.chdir(self.path)
        environment = {**clean_environment(), **(env or {})}
        try:
            with patch.dict(os.environ, environment, clear=True), quiet_mlflow():
                yield
        finally:
            os.chdir(before)
            close_databases()

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


def close_databases() -> None:
    """Close MLflow's connections: it keeps them by URI, and a test may replace the file."""
    for kind in ("tracking", "model_registry"):
        module = sys.modules.get(f"mlflow.store.{kind}.sqlalchemy_store")
        # The second name is MLflow 3.0's.
        for name in ("_engine_map", "_db_uri_sql_alchemy_engine_map"):
            for engine in getattr(getattr(module, "SqlAlchemyStore", None), name, {}).values():
                engine.dispose()


def plugins_for(arguments: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables by which pytest loads us, and of the others what its arguments need."""
    others = [
        module
        for module, options in OTHER_PLUGINS.items()
        if any(argument.startswith(options) for argument in arguments)
    ]
    return {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": ",".join([PLUGIN, *others]),
    }


def clean_environment() -> dict[str, str]:
    """Return the environment without what is set for this test run, MLflow, CI or tox."""
    prefixes = ("MLFLOW_", "PYTEST_", "COV_", "COVERAGE_", "GITHUB_", "CI", "TOX_")
    return {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}


def mlflow_has(name: str, module: str) -> bool:
    """Whether the installed release of MLflow defines a name in a module, which is not loaded."""
    spec = find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).parent.joinpath(module).read_text(encoding="utf-8")
    return f"{name} =" in text


RUN_TYPE = "test" if mlflow_has("MLFLOW_RUN_TYPE_TEST", "utils/mlflow_tags.py") else None
"""The type that runs of tests have in MLflow; older releases have none."""
