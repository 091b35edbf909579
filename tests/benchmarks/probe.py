"""A plugin of pytest that measures the process that it runs in; every peer runs with it.

It loads nothing but the standard library, and writes what it found to a file, as JSON, when the
interpreter ends.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

OUTPUT = "PYTEST_MLFLOW_BENCH_PROBE"


class Probe:
    """Notes CPU and clock before the first test, after the last and at the end."""

    def __init__(self) -> None:
        self.started = self.ended = (0.0, 0.0)
        self.calls: list[float] = []

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Iterator[None]:
        """Time the tests: all of them, with their fixtures."""
        self.started = _now()
        yield
        self.ended = _now()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep how long the calls of the tests took."""
        if report.when == "call":
            self.calls.append(report.duration)

    def write(self, path: Path) -> None:
        """Write the figures, in seconds."""
        figures = {
            "tests_cpu": self.ended[0] - self.started[0],
            "tests_wall": self.ended[1] - self.started[1],
            # The clock is one for all processes: the one that waits for this one reads it too.
            "last_test": self.ended[1],
            "calls": sum(self.calls),
        }
        path.write_text(json.dumps(figures), encoding="ascii")


def pytest_configure(config: pytest.Config) -> None:
    """Measure, but for the workers of pytest-xdist."""
    path = os.environ.get(OUTPUT)
    if path is None or hasattr(config, "workerinput"):
        return
    probe = Probe()
    config.pluginmanager.register(probe, "benchmark-probe")
    atexit.register(probe.write, Path(path))


def _now() -> tuple[float, float]:
    return time.process_time(), time.monotonic()
