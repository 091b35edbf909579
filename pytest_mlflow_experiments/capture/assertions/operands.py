"""Which operands are numbers, and their value as a plain Python number.

Numbers are int, float, Decimal, Fraction and their like, numpy's scalars, and arrays and tensors
without dimensions, of whatever library: those are told by their type's ``ndim`` and ``item``, for
no library is imported here. Booleans, text, anything with dimensions and anything that would have
to be computed first are none. Attributes are looked up on the type first, so that neither a mock
nor a ``__getattr__`` notices.
"""

from __future__ import annotations

import sys
from math import isfinite
from typing import Any, Final, NamedTuple

from .unseen import unseen

_APPROX_TYPES: Final = frozenset({"ApproxScalar", "ApproxDecimal"})
_NO_NUMBERS: Final = frozenset({bool, bytes, dict, frozenset, list, set, str, tuple, type(None)})


class ApproxNumber(NamedTuple):
    """What a :func:`pytest.approx` of one number expects; ``tolerance`` is absolute."""

    source: object
    expected: float
    tolerance: float


@unseen
def as_number(operand: object) -> float | int | None:
    """Return the number that ``operand`` is, as a plain int if it is an integer, or None.

    Raises:
        Exception: whatever the conversion of a foreign type raises.
    """
    kind = type(operand)
    # The slots of float and int themselves: a subclass may do anything in its own methods.
    if issubclass(kind, float):
        return float.__float__(operand)  # type: ignore[arg-type]
    if kind in _NO_NUMBERS:
        return None
    if issubclass(kind, int):
        return int.__int__(operand)  # type: ignore[arg-type]
    if hasattr(kind, "ndim"):
        return _scalar(operand)
    return float(operand) if _is_real(kind) else None  # type: ignore[arg-type]


@unseen
def as_approx(operand: object) -> ApproxNumber | None:
    """Return what ``operand`` expects if it is a :func:`pytest.approx` of one number, or None."""
    kind = type(operand)
    if kind.__name__ not in _APPROX_TYPES or not kind.__module__.startswith("_pytest."):
        return None
    approx: Any = operand
    expected = as_number(approx.expected)
    if expected is None:
        return None
    # Only itself is approximately infinite, and only NaN is NaN, if that is allowed.
    tolerance = float(approx.tolerance) if isfinite(expected) else 0.0
    return ApproxNumber(operand, expected, tolerance)


@unseen
def _scalar(operand: Any) -> float | int | None:
    """Return the value of a scalar or of an array without dimensions."""
    kind = type(operand)
    ndim = operand.ndim
    # Masked arrays hold a number even where they stand for none.
    if type(ndim) is not int or ndim != 0 or hasattr(kind, "mask"):
        return None
    data_kind = getattr(getattr(operand, "dtype", None), "kind", "")
    if data_kind in ("m", "M"):
        return None  # time spans and dates, some of which turn into integers
    # xarray knows lazy and other arrays under one type; the graph of the others is None.
    if hasattr(kind, "__dask_graph__") and operand.__dask_graph__() is not None:
        return None
    if hasattr(kind, "item"):
        item = operand.item()
    elif hasattr(kind, "numpy"):
        item = operand.numpy().item()
    else:
        return None
    if type(item) is kind and data_kind == "f":
        return float(item)  # numpy.longdouble, which no Python type can hold
    return None if hasattr(type(item), "ndim") else as_number(item)


@unseen
def _is_real(kind: type) -> bool:
    # Whoever has such a number has imported these modules.
    decimal, numbers = sys.modules.get("decimal"), sys.modules.get("numbers")
    return (decimal is not None and issubclass(kind, decimal.Decimal)) or (
        numbers is not None and issubclass(kind, numbers.Real)
    )
