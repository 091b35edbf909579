"""Journals of made-up sessions, and what MLflow has of them, for the tests of the tracker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from project import clean_environment

from pytest_mlflow_experiments.records import (
    Attempt,
    CaseRecord,
    Check,
    Metric,
    SessionEnd,
    SessionHeader,
)
from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.records.journal import JournalWriter, encode

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

START = 1_700_000_000_000
TIMEOUT = 60.0


def make_record(number: int = 0, **changes: Any) -> CaseRecord:
    """Return a plain record; ``changes`` replace its fields."""
    name = f"test_it[{number}]"
    record = CaseRecord(
        id=f"{number:032x}",
        nodeid=f"tests/test_a.py::{name}",
        case=f"tests/test_a.py::{name}",
        name=name,
        outcome="passed",
        start_time=START + number,
        end_time=START + number + 250,
        durations={"setup": 0.01, "call": 0.25, "teardown": 0.01},
        params={"rate": "0.1", "depth": str(number)},
        metrics=(make_metric("accuracy", 0.9 + number / 1_000),),
    )
    return replace(record, **changes)


def make_metric(key: str, value: float, step: int = 0, timestamp: int = START) -> Metric:
    """Return a metric."""
    return Metric(key=key, value=value, step=step, timestamp=timestamp)


def make_check(**changes: Any) -> Check:
    """Return a check that held: ``accuracy`` 0.93 against 0.9."""
    check = Check(
        metric="accuracy",
        step=0,
        operator=">=",
        value=0.93,
        limit=0.9,
        tolerance=None,
        passed=True,
        line=7,
    )
    return replace(check, **changes)


def rich_records(directory: SessionDirectory) -> list[CaseRecord]:
    """Return records that touch every rule of MLflow's, with their artifacts on disk."""
    artifacts = directory.artifacts(f"{8:032x}")
    artifacts.joinpath("plots").mkdir(parents=True)
    artifacts.joinpath("model.txt").write_text("a model", encoding="utf-8")
    artifacts.joinpath("plots", "a.txt").write_text("a plot", encoding="utf-8")
    steps = [make_metric("loss", 1 / (step + 1), step, START + step) for step in range(20)]
    same_step = [make_metric("tie", value, 1, START) for value in (0.1, 0.3, 0.2)]
    late_low_step = [make_metric("order", 1.0, 5, START), make_metric("order", 2.0, 4, START + 9)]
    strange = [
        make_metric("nan", nan),
        make_metric("nan", nan),
        make_metric("nan_last", 1.0, 0),
        make_metric("nan_last", nan, 1),
        make_metric("nan_or_zero", nan),
        make_metric("nan_or_zero", 0.0),
        make_metric("nan_or_minus", nan),
        make_metric("nan_or_minus", -1.0),
        make_metric("up", inf),
        make_metric("down", -inf),
        make_metric("tiny", 5e-324),
        make_metric("huge", 1.7976931348623157e308),
        make_metric("exact", 0.1 + 0.2),
        make_metric("negative step", -1.5, -3),
        make_metric("twice", 1.0),
        make_metric("twice", 1.0),
    ]
    return [
        make_record(1),
        make_record(2, outcome="failed", failure="Traceback ...\nE   assert 1 == 2"),
        make_record(3, outcome="error", params={}, metrics=()),
        make_record(4, outcome="skipped", durations={"setup": 0.5}),
        make_record(5, outcome="xfailed", metrics=tuple(steps + same_step + late_low_step)),
        make_record(6, outcome="xpassed", metrics=tuple(strange)),
        make_record(
            7, outcome="interrupted", tags={"team": "größe", "empty": "", "a b/c-d.e": "ü"}
        ),
        make_record(8, artifacts=("model.txt", "plots/a.txt"), checks=(make_check(),)),
        make_record(
            9,
            params={
                "": "no name",
                "..": "up",
                "a//b": "path",
                "x:y": "colon",
                "x_y": "own",
                "e": "",
            },
            tags={"pytest.outcome": "mine", "a|b": "pipe", "long": "x" * 20_000, "nul": "a\0b"},
        ),
        make_record(10, params={"long": "y" * 100_000, "surrogate": "\ud800"}, name="n" * 400),
        make_record(
            11,
            params={f"p{number}": "z" * 3_000 for number in range(300)},
            metrics=tuple(make_metric(f"m{n % 50}", float(n), n // 50) for n in range(5_000)),
            tags={f"t{number}": "ü" * 3_000 for number in range(150)},
        ),
        make_record(12, attempts=(Attempt(outcome="failed", duration=0.1, failure="E   boom"),)),
    ]


class Journal:
    """A session's directory and its journal, written as the controller writes it."""

    def __init__(self, root: Path, *, session_id: str = "session-1", **header: Any) -> None:
        self.directory = SessionDirectory.create(root, session_id)
        self.header = SessionHeader(
            **{
                "session_id": session_id,
                "name": "a session",
                "start_time": START,
                "tracking_uri": "unused",
                "experiment_name": "an experiment",
                "experiment_id": None,
                "tags": {"git.commit": "abc"},
                **header,
            }
        )
        self._writer = JournalWriter(self.directory.journal)
        self._writer.append(encode(self.header))

    def cases(self, records: Iterable[CaseRecord]) -> Journal:
        """Append cases."""
        for record in records:
            self._writer.append(encode(record))
        return self

    def finish(self, exit_status: int = 0, **changes: Any) -> Journal:
        """Append the end; ``changes`` replace its fields."""
        end = SessionEnd(end_time=START + 60_000, exit_status=exit_status, tests=20, **changes)
        self._writer.append(encode(end))
        return self

    def state(self) -> SessionState:
        """Return the session's state."""
        state = SessionState.read(self.directory.state)
        assert state is not None
        return state

    def wait(self, *phases: str) -> SessionState:
        """Wait until the session's state is in one of the phases."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            state = SessionState.read(self.directory.state)
            if state is not None and state.phase in phases:
                return state
            time.sleep(0.02)
        raise AssertionError(self.directory.log.read_text(encoding="utf-8"))


def start_tracker(
    journal: Journal, tracking_uri: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the tracker as the controller does; it ends with the process's standard input."""
    code = "from pytest_mlflow_experiments.tracker.main import main; main()"
    with journal.directory.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(journal.directory.path)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=journal.directory.path.parents[1],
            env={
                **clean_environment(),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "MLFLOW_TRACKING_URI": tracking_uri,
                **(env or {}),
            },
        )


def shown(value: float) -> str:
    """Return a float so that NaN equals NaN, and every bit counts."""
    return "nan" if isnan(value) else repr(value)


def contents(
    client: MlflowClient, runs: Iterable[Run], by: str = "pytest.record_id"
) -> dict[str, dict[str, Any]]:
    """Return all that MLflow tells of runs, by a tag; ids and places are left out."""
    own = {"mlflow.parentRunId", "pytest.session_id"}
    result: dict[str, dict[str, Any]] = {}
    for run in runs:
        run_id = run.info.run_id
        result[run.data.tags[by]] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "stage": run.info.lifecycle_stage,
            "user": run.info.user_id,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "tags": {key: value for key, value in run.data.tags.items() if key not in own},
            "metrics": {key: shown(value) for key, value in run.data.metrics.items()},
            "histories": {
                key: sorted(
                    (metric.step, metric.timestamp, shown(metric.value))
                    for metric in client.get_metric_history(run_id, key)
                )
                for key in run.data.metrics
            },
            "artifacts": _artifacts(client, run_id, ""),
        }
    return result


def _artifacts(client: MlflowClient, run_id: str, path: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for info in client.list_artifacts(run_id, path or None):
        if info.is_dir:
            found += _artifacts(client, run_id, info.path)
        else:
            found.append((info.path, info.file_size or 0))
    return sorted(found)
