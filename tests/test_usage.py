"""What the call of a test costs: CPU seconds and peak memory, of each run of its own."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
from project import Project
from sessions import make_case

from pytest_mlflow_experiments.baseline.files import slim
from pytest_mlflow_experiments.capture.measuring import (
    Reading,
    read_resident,
    read_usage,
    usage_between,
)
from pytest_mlflow_experiments.records import Attempt, CaseRecord, journal
from pytest_mlflow_experiments.records.journal import JournalError
from pytest_mlflow_experiments.regression.direction import infer_direction, is_cost
from pytest_mlflow_experiments.regression.values import values_of

MB = 1_000_000
USAGE = {"cpu_seconds": 0.25, "peak_memory_mb": 99.5}


@pytest.mark.parametrize(
    ("before", "after", "resident", "expected"),
    [
        # The call went beyond all there was before, and gave it back.
        (100 * MB, 300 * MB, 90 * MB, 300.0),
        # It stayed below what some test before it had needed.
        (300 * MB, 300 * MB, 90 * MB, 90.0),
    ],
)
def test_peak_is_that_of_the_call(before: int, after: int, resident: int, expected: float) -> None:
    usage = usage_between(Reading(1.0, before), Reading(1.5, after), lambda: resident)
    assert usage == {"cpu_seconds": 0.5, "peak_memory_mb": expected}


def test_memory_is_left_out_where_it_can_not_be_read() -> None:
    usage = usage_between(Reading(1.0, 300 * MB), Reading(1.5, 300 * MB), lambda: None)
    assert usage == {"cpu_seconds": 0.5}


def test_memory_that_nobody_tells_is_left_out() -> None:
    assert usage_between(Reading(1.0), Reading(1.5)) == {"cpu_seconds": 0.5}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_that_of_this_process() -> None:
    import psutil

    before, resident = read_usage(), read_resident()
    assert resident == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert before.peak is not None
    assert resident is not None
    assert before.peak >= 0.9 * resident
    block = bytearray(before.peak)
    block[::4096] = b"x" * len(block[::4096])
    del block
    usage = usage_between(before, read_usage())
    assert usage["peak_memory_mb"] * 1e6 >= before.peak + 0.5 * resident


def test_names_are_those_of_costs() -> None:
    for name in USAGE:
        assert is_cost(name)
        assert infer_direction(name, ()) == "min"


SUITE = """
    import os
    import resource
    import subprocess
    import sys
    import time

    import pytest

    @pytest.fixture
    def expensive():
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass

    def test_idle(mlflow_case, expensive):
        pass

    def test_busy(mlflow_case):
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass

    def test_child(mlflow_case):
        code = "import time\\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_patched(mlflow_case, monkeypatch):
        for module, name in [(resource, "getrusage"), (os, "open"), (os, "read")]:
            monkeypatch.setattr(module, name, None)

    def test_fails(mlflow_case):
        assert False

    @pytest.mark.skip
    def test_skipped(mlflow_case):
        pass

    def test_broken(mlflow_case, missing):
        pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "workers"])
def test_every_call_has_its_usage(project: Project, options: tuple[str, ...]) -> None:
    project.write(SUITE)
    project.pytest("--mlflow", "--mlflow-offline", "--mlflow-track=all", *options, status=1)
    session = project.session()
    used = {record.name: record.usage for record in session.cases}
    assert used.pop("test_skipped") == used.pop("test_broken") == {}
    assert {frozenset(usage) for usage in used.values()} == {frozenset(USAGE)}
    assert used["test_idle"]["cpu_seconds"] < 0.3
    assert used["test_busy"]["cpu_seconds"] >= 0.29
    assert used["test_child"]["cpu_seconds"] >= 0.29
    assert all(usage["peak_memory_mb"] > 5 for usage in used.values())


def test_an_attempt_has_its_own_usage(project: Project) -> None:
    project.write(
        """
        import time

        STARTED = []

        def busy(seconds):
            until = time.process_time() + seconds
            while time.process_time() < until:
                pass

        def test_it(mlflow_case):
            STARTED.append(1)
            if len(STARTED) == 1:
                busy(0.5)
                assert False
        """
    )
    project.pytest("--mlflow", "--mlflow-offline", "--reruns=1")
    (record,) = project.session().cases
    assert record.attempts[0].usage["cpu_seconds"] >= 0.49
    assert record.usage["cpu_seconds"] < 0.4


def test_subtests_are_parts_of_their_test(project: Project) -> None:
    pytest.importorskip("_pytest.subtests")
    project.write(
        """
        import time

        def test_it(mlflow_case, subtests):
            with subtests.test("one"):
                pass
            until = time.process_time() + 0.3
            while time.process_time() < until:
                pass
        """
    )
    project.pytest("--mlflow", "--mlflow-offline")
    (record,) = project.session().cases
    assert record.usage["cpu_seconds"] >= 0.29


def used_record() -> CaseRecord:
    attempt = Attempt(outcome="passed", duration=0.5, usage={"cpu_seconds": 0.75})
    return replace(make_case(), usage=USAGE, repeats=(attempt,))


def test_usage_is_compared_as_a_cost_of_each_run() -> None:
    record = used_record()
    values = values_of(record)
    assert {name: values[name] for name in USAGE} == USAGE
    assert values_of(record.repeats[0]) == {"duration_seconds": 0.5, "cpu_seconds": 0.75}
    own = replace(record, run_metrics={"cpu_seconds": 7.0})
    assert values_of(own)["cpu_seconds"] == 7.0


def test_usage_is_in_the_journal_and_in_a_baseline() -> None:
    record = used_record()
    assert journal.decode(journal.encode(record)) == record
    assert slim(record).usage == USAGE
    assert slim(record).repeats[0].usage == {"cpu_seconds": 0.75}


def test_usage_that_is_no_number_is_an_error() -> None:
    line = json.loads(journal.encode(used_record()))
    for wrong in (
        {**line, "usage": {"cpu_seconds": None}},
        {**line, "usage": [1.0]},
        {**line, "repeats": [{**line["repeats"][0], "usage": {"cpu_seconds": "x"}}]},
    ):
        with pytest.raises(JournalError):
            journal.decode(json.dumps(wrong))
