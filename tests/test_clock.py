from __future__ import annotations

import time

import pytest

from pytest_mlflow_experiments.capture.measuring import Clock


def test_clock_tells_the_time_in_milliseconds() -> None:
    before = time.time() * 1_000
    now = Clock().now()
    assert before - 50 <= now <= time.time() * 1_000 + 50


def test_clock_counts_seconds_of_the_performance_counter() -> None:
    clock = Clock()
    counter = time.perf_counter()
    assert clock.at(counter + 2.5) - clock.at(counter) == pytest.approx(2_500, abs=1)


def test_reading_is_the_inverse_of_at() -> None:
    clock = Clock()
    timestamp = clock.now() - 12_345
    assert clock.at(clock.reading(timestamp)) == timestamp


def test_tests_that_turn_the_time_do_not_turn_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = clock.now()
    for name in ("time", "perf_counter", "monotonic", "time_ns"):
        monkeypatch.setattr(time, name, lambda: 0)
    assert 0 <= clock.now() - before < 60_000
