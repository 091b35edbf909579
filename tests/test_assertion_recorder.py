from __future__ import annotations

import math
import sys
import time
import weakref
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import pytest

from pytest_mlflow_experiments.capture.assertions import recorder
from pytest_mlflow_experiments.capture.assertions.recorder import (
    MAX_OBSERVATIONS,
    Observation,
    Observations,
    record,
    record_approx,
)
from pytest_mlflow_experiments.capture.assertions.sites import Site

PLACE = ("test_it.py", 3, 8)
SITE = Site("acc", ">", 3, PLACE, False, False, False)
APPROX_SITE = SITE._replace(operator="==")


@pytest.fixture
def sink() -> Iterator[Observations]:
    outer = recorder.current
    recorder.current = sink = Observations()
    yield sink
    recorder.current = outer


def only(sink: Observations) -> Observation:
    [observation] = sink
    return observation


def test_observation(sink: Observations) -> None:
    before = time.perf_counter()
    record(SITE._replace(alternative=True), 0.75, 0.5, True)
    clock = only(sink).clock
    assert before <= clock <= time.perf_counter()
    assert only(sink) == Observation(
        name="acc",
        operator=">",
        value=0.75,
        limit=0.5,
        tolerance=None,
        passed=True,
        line=3,
        site=PLACE,
        clock=clock,
        alternative=True,
    )


def test_without_a_case_nothing_is_kept() -> None:
    outer, recorder.current = recorder.current, None
    try:
        record(SITE, 0.75, 0.5, True)
        record_approx(APPROX_SITE, 0.5, pytest.approx(0.5), True)
    finally:
        recorder.current = outer


@pytest.mark.parametrize(
    ("value", "limit", "result"),
    [
        (0.75, 0.5, True),
        (0.75, 0.5, False),
        (np.float64(0.75), 0.5, np.True_),
        (np.float64(0.75), 0.5, np.False_),
        (1, 0.5, True),
    ],
)
@pytest.mark.parametrize("negated", [False, True])
def test_a_negated_comparison_passes_if_it_is_false(
    sink: Observations, value: object, limit: object, result: object, negated: bool
) -> None:
    record(SITE._replace(negated=negated), value, limit, result)
    assert only(sink).passed is (bool(result) is not negated)


@pytest.mark.parametrize(("value", "limit"), [(3, 2), (np.int64(3), 2), (np.int64(3), np.array(2))])
def test_two_integers(sink: Observations, value: object, limit: object) -> None:
    record(SITE, value, limit, True)
    assert not sink
    record(SITE._replace(count_integers=True), value, limit, True)
    assert (only(sink).value, only(sink).limit) == (3.0, 2.0)
    assert type(only(sink).value) is float


@pytest.mark.parametrize(
    ("value", "limit"),
    [(True, 0.5), ("a", "b"), (0.5, None), (np.array([1.0, 2.0]), 0.5), (0.5, object()), (1j, 0.5)],
)
def test_what_is_no_number_is_ignored(sink: Observations, value: object, limit: object) -> None:
    record(SITE, value, limit, True)
    record_approx(APPROX_SITE, value, limit, True)
    assert not sink


def test_infinity_and_nan_are_kept(sink: Observations) -> None:
    record(SITE, math.nan, math.inf, False)
    assert math.isnan(only(sink).value)
    assert only(sink).limit == math.inf


def test_two_floats_are_no_approx(sink: Observations) -> None:
    record_approx(APPROX_SITE, 0.5, 0.5, True)
    assert not sink


@pytest.mark.parametrize("swapped", [False, True])
def test_approx(sink: Observations, swapped: bool) -> None:
    approx = pytest.approx(0.5, abs=0.1)
    value, limit = (approx, 0.55) if swapped else (0.55, approx)
    record_approx(APPROX_SITE, value, limit, True)
    observation = only(sink)
    assert observation.tolerance == 0.1
    assert (observation.value, observation.limit) == ((0.5, 0.55) if swapped else (0.55, 0.5))


def test_an_approx_with_an_impossible_tolerance_is_ignored(sink: Observations) -> None:
    record_approx(APPROX_SITE, 0.5, pytest.approx(0.5, abs=-1), True)
    assert not sink


class Operand:
    @property
    def ndim(self) -> NoReturn:
        raise RuntimeError("never")


class Huge(int):
    pass


class NoTruth(np.ndarray):
    def __bool__(self) -> NoReturn:
        raise ValueError("ambiguous")


@pytest.mark.parametrize("value", [Operand(), Huge(10**400), 10**400])
def test_exceptions_are_swallowed(sink: Observations, value: object) -> None:
    record(SITE, value, 0.5, True)
    record_approx(APPROX_SITE, value, pytest.approx(0.5), True)
    record(SITE, 1, 0.5, np.array([True, False]))
    assert not sink


def test_operands_are_not_kept(sink: Observations) -> None:
    operand = np.array(0.75)
    reference = weakref.ref(operand)
    count = sys.getrefcount(operand)
    record(SITE, operand, 0.5, True)
    assert sys.getrefcount(operand) == count
    del operand
    assert reference() is None
    assert only(sink).value == 0.75


def test_a_full_sink_keeps_failing_comparisons(sink: Observations) -> None:
    for _ in range(MAX_OBSERVATIONS + 5):
        record(SITE, 0.75, 0.5, True)
    record(SITE, np.float64(0.75), 0.5, True)
    assert (len(sink), sink.dropped) == (MAX_OBSERVATIONS, 6)
    record(SITE, 0.25, 0.5, False)
    record(SITE, np.float64(0.25), 0.5, False)
    assert (len(sink), sink.dropped) == (MAX_OBSERVATIONS + 2, 6)
    assert [o.passed for o in sink][-3:] == [True, False, False]


def test_failing_comparisons_do_not_fill_the_memory(sink: Observations) -> None:
    for _ in range(2 * MAX_OBSERVATIONS + 5):
        record(SITE, 0.25, 0.5, False)
    assert (len(sink), sink.dropped) == (2 * MAX_OBSERVATIONS, 5)


def test_frozen_time(sink: Observations, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what freezegun does: replace the functions wherever a module holds them."""
    real = time.perf_counter
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if value is real:
                monkeypatch.setattr(module, name, lambda: 0.0)
    before = real()
    record(SITE, 0.75, 0.5, True)
    record(SITE, 1, 0.5, True)
    record_approx(APPROX_SITE, 0.5, pytest.approx(0.5), True)
    after = real()
    monkeypatch.undo()
    assert [before <= o.clock <= after for o in sink] == [True] * 3
