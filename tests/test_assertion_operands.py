from __future__ import annotations

import datetime
import enum
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import NoReturn
from unittest.mock import MagicMock, create_autospec

import numpy as np
import pandas as pd
import pytest

from pytest_mlflow_experiments.capture.assertions.recorder import as_approx, as_number


class Level(enum.IntEnum):
    HIGH = 3


class LoudFloat(float):
    def __float__(self) -> NoReturn:
        raise AssertionError("called")


class Tensor:
    """What torch, jax and others have in common."""

    def __init__(self, value: object, ndim: int = 0) -> None:
        self._value = value
        self._ndim = ndim

    @property
    def ndim(self) -> int:
        return self._ndim

    def item(self) -> object:
        return self._value


class EagerTensor:
    """TensorFlow's has no item(), but numpy()."""

    ndim = 0

    def numpy(self) -> object:
        return np.float32(0.1)


class LazyTensor(Tensor):
    graph: object = object()

    def __dask_graph__(self) -> object:
        return self.graph

    def item(self) -> NoReturn:
        raise AssertionError("computed")


class ComputedTensor(Tensor):
    def __dask_graph__(self) -> None:
        return None


NUMBERS: list[tuple[object, float]] = [
    (0.1, 0.1),
    (-0.0, -0.0),
    (5e-324, 5e-324),
    (math.inf, math.inf),
    (3, 3),
    (2**53 + 1, 2**53 + 1),
    (Level.HIGH, 3),
    (LoudFloat(0.1), 0.1),
    (Decimal("0.1"), 0.1),
    (Decimal("NaN"), math.nan),
    (Fraction(1, 3), 1 / 3),
    (np.float64(0.1), 0.1),
    (np.float32(0.1), 0.10000000149011612),
    (np.float16(0.1), 0.0999755859375),
    (np.longdouble("0.1"), 0.1),
    (np.int8(3), 3),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.array(0.1), 0.1),
    (np.array(0.1, dtype=np.float32), 0.10000000149011612),
    (np.array(3), 3),
    (np.array(Decimal("0.1"), dtype=object), 0.1),
    (np.mean([0.1, 0.2]), float(np.mean([0.1, 0.2]))),
    (pd.Series([0.1, 0.2]).mean(), pd.Series([0.1, 0.2]).mean()),
    (pd.Series([1, 2]).sum(), 3),
    (pd.Series([0.1, None], dtype="Float64").mean(), 0.1),
    (pd.DataFrame({"a": [0.5, 0.1]}).iloc[1]["a"], 0.1),
    (Tensor(0.1), 0.1),
    (Tensor(3), 3),
    (EagerTensor(), 0.10000000149011612),
    (ComputedTensor(0.1), 0.1),
]


@pytest.mark.parametrize(
    ("operand", "value"), NUMBERS, ids=[f"{type(n).__name__}-{v!r}" for n, v in NUMBERS]
)
def test_number(operand: object, value: float) -> None:
    number = as_number(operand)
    assert number is not None
    assert type(number) in (int, float)
    assert float(number).hex() == float(value).hex()


@pytest.mark.parametrize("operand", [3, Level.HIGH, np.int8(3), np.array(3), Tensor(3)])
def test_integers_are_told_from_floats(operand: object) -> None:
    assert type(as_number(operand)) is int


NO_NUMBERS: list[object] = [
    None,
    True,
    False,
    "0.5",
    b"0.5",
    [0.5],
    (0.5,),
    {0.5},
    {"a": 0.5},
    1j,
    object(),
    float,
    np.True_,
    np.array(True),
    np.array([0.5]),
    np.array([[0.5]]),
    np.array([0.5, 0.6]),
    np.complex128(1j),
    np.str_("0.5"),
    np.datetime64("2020-01-01"),
    np.datetime64("2020-01-01", "ns"),
    np.timedelta64(5, "ns"),
    np.ma.masked,
    np.ma.array(0.5, mask=True),
    pd.Series([0.5]),
    pd.Index([0.5]),
    pd.NA,
    pd.NaT,
    pd.Timedelta(1, "s"),
    datetime.timedelta(seconds=1),
    datetime.date(2020, 1, 1),
    Tensor(True),
    Tensor("0.5"),
    Tensor(0.5, ndim=1),
    LazyTensor(0.5),
    MagicMock(),
    MagicMock(spec=float),
    create_autospec(np.ndarray),
]


@pytest.mark.parametrize("operand", NO_NUMBERS, ids=lambda operand: type(operand).__name__)
def test_no_number(operand: object) -> None:
    assert as_number(operand) is None


def test_a_mock_does_not_notice() -> None:
    mock = MagicMock(spec=float)
    as_number(mock)
    assert mock.mock_calls == []


APPROX: list[tuple[Callable[[], object], float, float]] = [
    (lambda: pytest.approx(0.5), 0.5, 5e-7),
    (lambda: pytest.approx(0.0), 0.0, 1e-12),
    (lambda: pytest.approx(0.5, abs=0.1), 0.5, 0.1),
    (lambda: pytest.approx(0.5, rel=0.1), 0.5, 0.05),
    (lambda: pytest.approx(0.5, rel=0.1, abs=0.2), 0.5, 0.2),
    (lambda: pytest.approx(-2, rel=0.1), -2.0, 0.2),
    (lambda: pytest.approx(np.float64(0.5), abs=0.1), 0.5, 0.1),
    (lambda: pytest.approx(Decimal("0.5"), abs=Decimal("0.1")), 0.5, 0.1),
    (lambda: pytest.approx(Fraction(1, 2), abs=0.1), 0.5, 0.1),
    (lambda: pytest.approx(math.inf), math.inf, 0.0),
    (lambda: pytest.approx(math.nan, nan_ok=True), math.nan, 0.0),
]


@pytest.mark.parametrize(("make", "expected", "tolerance"), APPROX)
def test_approx(make: Callable[[], object], expected: float, tolerance: float) -> None:
    approx = as_approx(make())
    assert approx is not None
    assert float(approx.expected).hex() == expected.hex()
    assert approx.tolerance == tolerance


@pytest.mark.parametrize(
    "operand",
    [
        0.5,
        "ApproxScalar",
        pytest.approx([0.5]),
        pytest.approx({"a": 0.5}),
        pytest.approx(np.array([0.5])),
        pytest.approx(True),
        pytest.approx(None),
        pytest.approx(1j),
    ],
    ids=repr,
)
def test_no_approx_of_one_number(operand: object) -> None:
    assert as_approx(operand) is None
