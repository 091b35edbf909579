"""Record the operands of comparisons as plain floats; rewritten assertions call this."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial, update_wrapper
from math import floor, isfinite, log10
from operator import itemgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar, final

from ..measuring import Original

if TYPE_CHECKING:
    from ...records import Operator
    from .sites import Site

_P = ParamSpec("_P")
_R = TypeVar("_R")

_FILE: Final = "<pytest_mlflow_experiments>"


def unseen(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a copy of the function without a file name, as for generated code.

    Hypothesis explains a failure by the lines that only failing examples have run, and would list
    ours. It ignores code without a file, and so does coverage.
    """
    assert isinstance(function, FunctionType)
    copy: Callable[_P, _R] = FunctionType(
        function.__code__.replace(co_filename=_FILE),
        function.__globals__,
        function.__name__,
        function.__defaults__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return update_wrapper(copy, function)


_APPROX_TYPES: Final = frozenset({"ApproxScalar", "ApproxDecimal"})
_NO_NUMBERS: Final = frozenset({bool, bytes, dict, frozenset, list, set, str, tuple, type(None)})


class ApproxNumber(NamedTuple):
    """The number that a :func:`pytest.approx` expects; ``tolerance`` is absolute."""

    source: object
    expected: float
    tolerance: float


@unseen
def as_number(operand: object) -> float | int | None:
    """Convert a real number to a plain int or float; return None for anything else.

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
    """Return the expected number if ``operand`` is a :func:`pytest.approx` of one, or None."""
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


MAX_OBSERVATIONS: Final = 10_000
"""The maximum of observations of one case, and again as many failing ones."""

_KEY_LENGTH: Final = 60

# How a call compares: whether the limit comes first, its function, and the names and values of its
# other arguments. Its tolerance follows from that, and most are not asked for while a test runs.
Closeness: TypeAlias = tuple[bool, str, tuple[str | None, ...], tuple[object, ...]]

_PLAIN: Final = frozenset({bool, float, int, str, type(None)})
PASSED: Final = 4
_UNKEPT: Final = (None,) * (PASSED + 1)
RAW_CLOCK: Final = itemgetter(5)
# Site, value, limit, tolerance or what it follows from, whether it passed, reading of the clock,
# key of the place.
Raw: TypeAlias = "tuple[Site, float, float, float | Closeness | None, bool, float, str] | list[Any]"


class Observation(NamedTuple):
    """One evaluated comparison, normalised to read ``value operator limit``.

    What it shares with its :class:`.sites.Site` is told there; ``site`` is that one's ``place``.
    ``tolerance`` is the absolute distance that ``==`` allows. ``clock`` is a reading of
    :func:`time.perf_counter`. ``key`` tells the place in a loop, as far as the loop shows one.
    """

    name: str
    operator: Operator
    value: float
    limit: float
    tolerance: float | None
    passed: bool
    line: int
    site: tuple[str, int, int]
    clock: float
    alternative: bool = False
    expression: bool = False
    same_as: str = ""
    key: str = ""


_observation = partial(tuple.__new__, Observation)


@final
class Observations:
    """The observations of one case, in the order of time.

    They are kept as plain tuples, which take half the time to create, until they are read.
    ``dropped`` counts those beyond the limit.
    """

    __slots__ = ("dropped", "raw")

    def __init__(self) -> None:
        self.dropped = 0
        self.raw: list[Raw] = []

    def __len__(self) -> int:
        return len(self.raw)

    def __iter__(self) -> Iterator[Observation]:
        # A call that was interrupted as it began may have left one more item.
        for site, value, limit, tolerance, passed, clock, key, *_ in self.raw:
            name, operator, line, place, _, alternative, _, expression, same_as = site
            if isinstance(tolerance, tuple):
                tolerance = tolerance_of(value, limit, *tolerance)
            found = (name, operator, value, limit, tolerance, passed, line, place, clock)
            yield _observation((*found, alternative, expression, same_as, key))


current: Observations | None = None
"""The observations of the running case. Code that sets it must restore the former value."""


@unseen
def record(
    site: Site,
    value: object,
    limit: object,
    result: _R,
    keys: tuple[object, ...] = (),
    # A default is the quickest to call.
    _clock: Callable[[], float] = Original.perf_counter,
) -> _R:
    """Record one ordering of two numbers, ignore anything else; return the result."""
    sink = current
    if sink is None:
        return result
    # Two floats are by far the commonest, and nothing here can fail for them. There is no "try"
    # around it, so that what a signal handler raises meanwhile (a timeout) reaches the test.
    # Constants of the bytecode are plain tuples: a site's items have no names here.
    if type(value) is float and type(limit) is float:
        passed = result is not site[4]
        if len(sink.raw) < MAX_OBSERVATIONS or _has_room(sink, passed):
            place = _place(keys) if keys else ""
            sink.raw.append((site, value, limit, None, passed, _clock(), place))
        return result
    try:
        if (raw := _raw(sink, site, value, limit, None, result, keys)) is not None:
            sink.raw.append(raw)
    except Exception:  # noqa: BLE001 - operands are anything, and the assertion must not notice
        pass
    return result


@unseen
def record_approx(
    site: Site, value: object, limit: object, result: _R, keys: tuple[object, ...] = ()
) -> _R:
    """Record one ``==`` of a number and a :func:`pytest.approx`; return the result."""
    sink = current
    if sink is None:
        return result
    try:
        if (approx := as_approx(limit) or as_approx(value)) is not None:
            number = approx.expected if approx.source is value else value
            bound = approx.expected if approx.source is limit else limit
            raw = _raw(sink, site, number, bound, approx.tolerance, result, keys)
            if raw is not None:
                sink.raw.append(raw)
    except Exception:  # noqa: BLE001 - as above
        pass
    return result


@unseen
def record_close(
    site: Site,
    how: Closeness,
    value: object,
    limit: object,
    result: _R,
    keys: tuple[object, ...] = (),
    _clock: Callable[[], float] = Original.perf_counter,
) -> _R:
    """Record a call that tells whether two numbers are approximately equal; return its result."""
    sink = current
    if sink is None:
        return result
    try:
        if type(value) is float and type(limit) is float and len(sink.raw) < MAX_OBSERVATIONS:
            place = _place(keys) if keys else ""
            sink.raw.append((site, value, limit, how, bool(result), _clock(), place))
        elif (raw := _raw(sink, site, value, limit, how, result, keys)) is not None:
            sink.raw.append(raw)
    except Exception:  # noqa: BLE001 - as above
        pass
    return result


@unseen
def record_close_by(
    site: Site,
    how: Closeness,
    value: object,
    limit: object,
    result: _R,
    *others: object,
    keys: tuple[object, ...] = (),
) -> _R:
    """Record a call as :func:`record_close` does; its other arguments are no constants."""
    return record_close(site, _with(how, others), value, limit, result, keys)


@unseen
def begin(
    site: Site,
    how: Closeness | None,
    swapped: bool,
    first: object,
    second: object,
    keys: tuple[object, ...] = (),
    _clock: Callable[[], float] = Original.perf_counter,
) -> list[Any]:
    """Record a call that compares two numbers as a failed one, until its item says otherwise.

    The last item is the second number as it was, to be taken away.
    """
    sink = current
    value, limit = (second, first) if swapped else (first, second)
    if sink is not None:
        if type(value) is float and type(limit) is float and len(sink.raw) < MAX_OBSERVATIONS:
            place = _place(keys) if keys else ""
            raw = [site, value, limit, how, False, _clock(), place, second]
            sink.raw.append(raw)
            return raw
        try:
            kept = _raw(sink, site, value, limit, how, False, keys)
            if kept is not None:
                sink.raw.append(raw := [*kept, second])
                return raw
        except Exception:  # noqa: BLE001 - as above
            pass
    return [*_UNKEPT, second]


@unseen
def begin_by(
    site: Site,
    how: Closeness | None,
    swapped: bool,
    first: object,
    second: object,
    *others: object,
    keys: tuple[object, ...] = (),
) -> list[Any]:
    """Record a call as :func:`begin` does; the last item is the last argument."""
    raw = begin(site, how and _with(how, others), swapped, first, second, keys)
    raw[-1] = others[-1]
    return raw


@unseen
def _with(how: Closeness, others: tuple[object, ...]) -> Closeness:
    """Return ``how`` with the other arguments as plain values; what is no number becomes None."""
    if not _PLAIN.issuperset(map(type, others)):
        try:
            others = tuple([o if type(o) in _PLAIN else as_number(o) for o in others])
        except Exception:  # noqa: BLE001 - as above
            others = (None,) * len(others)
    return (*how[:3], others)


@unseen
def _raw(
    sink: Observations,
    site: Site,
    value: object,
    limit: object,
    tolerance: float | Closeness | None,
    result: object,
    keys: tuple[object, ...],
    _clock: Callable[[], float] = Original.perf_counter,
) -> tuple[Any, ...] | None:
    """Return what is kept of a comparison of two numbers; of two integers if the site counts these.

    None is also returned where the sink is full.
    """
    number = value if type(value) is float else as_number(value)
    bound = limit if type(limit) is float else as_number(limit)
    if number is None or bound is None or (type(number) is type(bound) is int and not site[6]):
        return None
    passed = bool(result) is not site[4]
    if len(sink.raw) >= MAX_OBSERVATIONS and not _has_room(sink, passed):
        return None
    place = _place(keys) if keys else ""
    return (site, float(number), float(bound), tolerance, passed, _clock(), place)


@unseen
def _has_room(sink: Observations, passed: bool) -> bool:
    """Return whether a full sink takes one more observation, and count it if not."""
    if not passed and len(sink.raw) < 2 * MAX_OBSERVATIONS:
        return True
    sink.dropped += 1
    return False


@unseen
def _place(keys: tuple[object, ...]) -> str:
    """Return the text of a place's key; an empty one where no variable has a short text."""
    try:
        named = [text for key in keys if (text := _text(key))]
    except Exception:  # noqa: BLE001 - objects of any kind are keys, and the assertion must not notice
        return ""
    # Where there is a name, a number that comes with it may be a result.
    floats = [repr(key) for key in keys if type(key) is float]
    return ", ".join(named or floats)


@unseen
def _text(key: object) -> str | None:
    kind = type(key)
    if issubclass(kind, Enum):
        return str(key.name)  # type: ignore[attr-defined]
    if kind is str:
        return _clean(key)  # type: ignore[arg-type]
    if kind is int or kind is bool:
        return repr(key)
    if type(key) is tuple and 0 < len(key) < 4:
        parts = [_text(part) for part in key]
        return "-".join([part for part in parts if part]) if all(parts) else None
    if hasattr(kind, "dtype") and getattr(key, "ndim", 1) == 0:
        item = key.item()  # type: ignore[attr-defined]
        return None if hasattr(type(item), "dtype") else _text(item)
    return None


@unseen
def _clean(text: str) -> str:
    """Return a text within the length of a name, and without brackets."""
    text = " ".join(text.replace("[", "(").replace("]", ")").split())
    return text if len(text) <= _KEY_LENGTH else f"{text[: _KEY_LENGTH - 1]}…"


# The greatest distance at which functions take two numbers for equal, by their own signatures.


def _of_math(a: float, b: float, *, rel_tol: float = 1e-9, abs_tol: float = 0.0) -> float:
    return max(rel_tol * max(abs(a), abs(b)), abs_tol)


def _of_isclose(
    a: float, b: float, rtol: float = 1e-5, atol: float = 1e-8, *_: object, **__: object
) -> float:
    return atol + rtol * abs(b)


def _of_allclose(
    a: float, b: float, rtol: float = 1e-7, atol: float = 0.0, *_: object, **__: object
) -> float:
    return atol + rtol * abs(b)


def _of_decimals(a: float, b: float, decimal: int = 7, *_: object, **__: object) -> float:
    return 1.5 * 10.0**-decimal


def _of_fewer_decimals(a: float, b: float, decimal: int = 6, *_: object, **__: object) -> float:
    return 1.5 * 10.0**-decimal


def _of_digits(a: float, b: float, significant: int = 7, *_: object, **__: object) -> float:
    scale = (abs(a) + abs(b)) / 2
    return 10.0 ** (floor(log10(scale)) - significant + 1) if scale else 0.0


def _of_places(
    a: float, b: float, places: int | None = None, msg: object = None, delta: float | None = None
) -> float:
    if delta is not None:
        return delta
    return 0.5 * 10.0 ** -(7 if places is None else places)


_TOLERANCES: Final[dict[str, Callable[..., float]]] = {
    "allclose": _of_isclose,
    "assertAlmostEqual": _of_places,
    "assert_allclose": _of_allclose,
    "assert_almost_equal": _of_decimals,
    "assert_approx_equal": _of_digits,
    "assert_array_almost_equal": _of_fewer_decimals,
    "isclose": _of_isclose,
    "math.isclose": _of_math,
}


def tolerance_of(
    value: float,
    limit: float,
    swapped: bool,
    rule: str,
    names: tuple[str | None, ...],
    others: tuple[Any, ...],
) -> float | None:
    """Return the tolerance of a call by its own arguments; None where they make no sense."""
    first, second = (limit, value) if swapped else (value, limit)
    arguments = list(zip(names, others, strict=True))
    positional = [other for key, other in arguments if key is None]
    keywords = {key: other for key, other in arguments if key is not None}
    try:
        tolerance = float(_TOLERANCES[rule](first, second, *positional, **keywords))
    except (ArithmeticError, TypeError, ValueError):
        return None
    return tolerance if isfinite(limit) else 0.0
