"""A session's results through a line on which one request in five fails, compared to the bit.

``PYTEST_MLFLOW_SOAK_CASES=20000`` makes a real soak of it (``tox -e soak``); ``-s`` shows figures.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import psutil
import pytest
from flaky_proxy import FAILURES, flaky
from mlflow_server import serve
from postgres import Cluster
from project import Project, Result, clean_environment, plugins_for

from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState

pytestmark = pytest.mark.real

CASES = int(os.environ.get("PYTEST_MLFLOW_SOAK_CASES", "200"))
SEED = int(os.environ.get("PYTEST_MLFLOW_SOAK_SEED", "20261123"))
STEPS = 5
# Each twentieth case has an artifact of one of these sizes, so that a real soak sends some 70 MB.
EACH = 20
SIZES = (0, 1, 1_000, 65_536, 300_000)

# A case, a metric of it, and all values of that by step, time and bits.
Values = dict[tuple[str, str], list[tuple[int, int, str]]]

TESTS = """
    import random

    import pytest

    @pytest.mark.parametrize("number", range({cases}))
    def test_soak(number, mlflow_case, tmp_path):
        if number % {each} == 0:
            path = tmp_path / f"{{number}}.bin"
            path.write_bytes(random.Random(-number).randbytes({sizes}[number // {each} % 5]))
            mlflow_case.log_artifact(path, "nested/deep")
        values = random.Random(number)
        accuracy = values.random()
        assert accuracy >= 0
        mlflow_case.log_metric("loss", values.gauss(0, 1e-9))
        for step in range({steps}):
            mlflow_case.log_metric("curve", values.uniform(-1e18, 1e18), step=step)
"""


class Watch(threading.Thread):
    """Follows a session's tracker: when the tests were over, and how much memory it took."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.memory = 0
        self.tests_over: float | None = None
        self._path = path
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.2):
            for directory in SessionDirectory.find_all(self._path):
                if self.tests_over is None and directory.report.exists():
                    self.tests_over = time.monotonic()
                state = SessionState.read(directory.state)
                if state is not None and state.pid is not None:
                    self._look_at(state.pid)

    def _look_at(self, pid: int) -> None:
        with suppress(psutil.Error):  # it has ended
            self.memory = max(self.memory, psutil.Process(pid).memory_info().rss)

    def stop(self) -> None:
        self._over.set()
        self.join()


def in_journal(project: Project) -> Values:
    """Return what the tests measured."""
    values: Values = {}
    for record in project.session().cases:
        for metric in record.metrics:
            found = values.setdefault((record.id, metric.key), [])
            found.append((metric.step, metric.timestamp, metric.value.hex()))
        for key, value in {"duration_seconds": record.duration, **record.usage}.items():
            values[record.id, key] = [(0, record.end_time, value.hex())]
    return values


def in_mlflow(database_uri: str, table: str) -> Values:
    """Return what MLflow's table of metrics has of all cases."""
    values: Values = {}
    for row in select(
        database_uri,
        f"SELECT tags.value, m.key, step, timestamp, m.value FROM {table} m "
        "JOIN tags ON tags.run_uuid = m.run_uuid AND tags.key = 'pytest.record_id' "
        "JOIN tags kind ON kind.run_uuid = m.run_uuid AND kind.key = 'pytest.kind' "
        "WHERE kind.value = 'case' ORDER BY step",
    ):
        record_id, key, step, timestamp, value = row
        values.setdefault((record_id, key), []).append((step, timestamp, value.hex()))
    return values


def expected_artifacts() -> Counter[tuple[str, str]]:
    """Return the name and the digest of each artifact."""
    numbers = range(0, CASES, EACH)
    contents = {
        number: random.Random(-number).randbytes(SIZES[number // EACH % 5]) for number in numbers
    }
    return Counter((f"{number}.bin", sha256(contents[number]).hexdigest()) for number in numbers)


def select(database_uri: str, statement: str) -> list[tuple[str, str, int, int, float]]:
    from sqlalchemy import create_engine, text

    engine = create_engine(database_uri)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]
    finally:
        engine.dispose()


def run(project: Project, *command: str, env: dict[str, str]) -> Result:
    done = subprocess.run(
        command,
        cwd=project.path,
        env={**clean_environment(), **plugins_for(command), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=240 + CASES,
        check=False,
    )
    return Result(done.stdout, done.stderr, done.returncode)


def test_nothing_is_lost_doubled_or_changed(
    postgres: Cluster, project: Project, tmp_path: Path
) -> None:
    project.write(TESTS.format(cases=CASES, steps=STEPS, each=EACH, sizes=SIZES))
    database_uri = postgres.database()
    with (
        serve(tmp_path, database_uri, workers=2) as server,
        flaky(server.uri, seed=SEED) as proxy,
    ):
        env = {"MLFLOW_TRACKING_URI": proxy.uri}
        watch, started = Watch(project.path), time.monotonic()
        watch.start()
        result = run(project, sys.executable, "-m", "pytest", "--mlflow", "-n", "2", "-q", env=env)
        ended = time.monotonic()
        watch.stop()
        assert result.status == 0, result.stdout + result.stderr
        assert f"{CASES} passed" in result.stdout
        sync = str(Path(sys.executable).parent / "pytest-mlflow")
        syncs, left = 0, "Not everything is in MLflow" in result.stdout
        while left:
            print(result.stdout[-1_000:])
            result = run(project, sync, "sync", env=env)
            syncs, left = syncs + 1, result.status != 0
            assert syncs <= 20, result.stdout
        counts = proxy.counts()

    failed = sum(counts[failure] for failure in FAILURES)
    testing = (watch.tests_over or ended) - started
    print(f"\n{CASES} cases: {counts.total()} requests, {failed} failed: {dict(counts)}")
    print(f"{testing:.0f} s of tests, {ended - started - testing:.0f} s more of sending", end=", ")
    print(f"{syncs} times sync, at most {watch.memory / 2**20:.0f} MB in the tracker")

    assert failed > CASES / 5
    assert min(counts[failure] for failure in FAILURES) > 0
    measured = in_journal(project)
    # What the test measures, its time, its CPU seconds and its peak memory.
    assert len(measured) == 6 * CASES
    assert in_mlflow(database_uri, "metrics") == measured
    last = {key: values[-1:] for key, values in measured.items()}
    assert in_mlflow(database_uri, "latest_metrics") == last
    runs = select(database_uri, "SELECT status, lifecycle_stage FROM runs")
    assert Counter(runs) == {("FINISHED", "active"): CASES + 2}
    kinds = select(database_uri, "SELECT value FROM tags WHERE key = 'pytest.kind'")
    assert Counter(kinds) == {("case",): CASES, ("sweep",): 1, ("session",): 1}
    numbers = select(database_uri, "SELECT DISTINCT value FROM params WHERE key = 'number'")
    assert len(numbers) == CASES
    files = [*(tmp_path / "artifacts").glob("*/*/artifacts/nested/deep/*")]
    there = Counter((path.name, sha256(path.read_bytes()).hexdigest()) for path in files)
    assert there == expected_artifacts()
    (results,) = tmp_path.glob("artifacts/*/*/artifacts/results.jsonl")
    assert results.read_bytes() == project.session().directory.journal.read_bytes()
