"""Frozen dataclasses as JSON builtins and back, derived from the annotations of their fields.

Numbers stay exact: a finite float keeps every bit through JSON, and NaN and the infinities, which
JSON does not know, are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.

Fields may be ``str``, ``bool``, ``int`` (of 64 bits; of any size as :data:`AnySize`), ``float``,
``Literal`` of texts, other dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]`` and
any of these ``| None``. ``Annotated`` with a :class:`Constraint` narrows one down.

What a class needs is worked out once, as functions for each of its fields, and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from math import isfinite, isnan
from operator import attrgetter
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

Builtins: TypeAlias = dict[str, Any]
T = TypeVar("T")
_Convert: TypeAlias = Callable[[Any], Any]

RARE: Final = {"rare": True}
"""Metadata of a field that is left out of the JSON where it is empty; such fields come last."""

ADDED: Final = {"added": True}
"""Metadata of a field that older files, which are still read, do not have."""

LARGEST: Final = 2**63
"""Integers are smaller than this: they have 64 bits."""

_SPECIAL = frozenset({"NaN", "Infinity", "-Infinity"})
_SHOWN = 80


@final
class DecodeError(ValueError):
    """A member of some JSON is missing or wrong; the message names it (``metrics[0].value``)."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self._path = ""
        self._problem = problem

    def __str__(self) -> str:
        return f"{self._path or 'it'} {self._problem}"

    def below(self, step: str | int) -> DecodeError:
        """Return the error with what holds the member, by name or number, before its path."""
        joint = "." if self._path and not self._path.startswith("[") else ""
        name = f"[{step}]" if isinstance(step, int) else step[:_SHOWN]
        self._path = f"{name}{joint}{self._path}"
        return self


@final
@dataclass(frozen=True, slots=True)
class Constraint:
    """What a value must be beyond its type: ``fits`` tells, ``wanted`` says it in words."""

    fits: Callable[[Any], object]
    wanted: str


AnySize: TypeAlias = Annotated[int, "of any size"]


def written_after(name: str) -> Callable[[Callable[[Any], T]], Callable[[Any], T]]:
    """Mark a property's function: its value is written for readers after the field ``name``.

    Decoding makes nothing of it.
    """

    def mark(function: Callable[[Any], T]) -> Callable[[Any], T]:
        function.__dict__["written_after"] = name
        return function

    return mark


def encode(record: Any) -> Builtins:
    """Return a dataclass as JSON builtins."""
    return cast("Builtins", _object_encoder(cast("Any", type(record)))(record))


def decode(cls: type[T], data: object) -> T:
    """Rebuild a dataclass from :func:`encode`; members that it does not know are passed over.

    Raises:
        DecodeError: a member is missing, of a wrong type or out of its range.
    """
    return cast("T", _object_decoder(cast("Any", cls))(data))


def encode_float(value: float) -> float | str:
    """Return a float as JSON has it: NaN and the infinities, which it does not know, are texts."""
    if isfinite(value):
        return value
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


@cache
def _object_encoder(cls: type) -> _Convert:
    hints = get_type_hints(cls, include_extras=True)
    common = [one.name for one in fields(cls) if "rare" not in one.metadata]
    rare = [one.name for one in fields(cls) if "rare" in one.metadata]
    for name, member in vars(cls).items():
        if before := getattr(getattr(member, "fget", None), "written_after", None):
            common.insert(common.index(before) + 1, name)
            hints[name] = get_type_hints(member.fget)["return"]
    encoders = {name: _encoder(hints[name]) for name in (*common, *rare)}
    floats = [name for name in common if encoders[name] is encode_float]
    others = [(name, one) for name in common if (one := encoders[name]) not in (None, encode_float)]
    rare_encoders = [(name, encoders[name] or _same) for name in rare]
    get = attrgetter(*common, "__class__")  # of a single name it would return no tuple

    def encode_object(record: Any) -> Builtins:
        data: Builtins = dict(zip(common, get(record)))  # noqa: B905
        for name in floats:
            value = data[name]
            if value is not None and not isfinite(value):
                data[name] = encode_float(value)
        for name, convert in others:
            value = data[name]
            if value is not None:
                data[name] = convert(value)
        for name, convert in rare_encoders:
            value = getattr(record, name)
            if value:
                data[name] = convert(value)
        return data

    return encode_object


def _encoder(hint: Any) -> _Convert | None:
    """Return what makes builtins of a value of this type, not None; None where it is one itself."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is float:
        return encode_float
    if is_dataclass(hint):
        return _object_encoder(cast("type", hint))
    if origin is Annotated:
        return _encoder(args[0])
    if origin in (Union, UnionType):
        return _encoder(_without_none(hint))
    if origin is tuple and args[-1] is not Ellipsis:
        each = [_encoder(arg) or _same for arg in args]
        return lambda values: [one(value) for one, value in zip(each, values, strict=True)]
    if origin is tuple:
        return _encoder_of_each(_encoder(args[0]))
    if origin is Mapping:
        return _encoder_by_name(_encoder(args[1]))
    return None


def _encoder_of_each(item: _Convert | None) -> _Convert:
    return list if item is None else lambda values: [item(value) for value in values]


def _encoder_by_name(item: _Convert | None) -> _Convert:
    return dict if item is None else lambda values: {key: item(one) for key, one in values.items()}


def _same(value: Any) -> Any:
    return value


@cache
def _object_decoder(cls: type) -> _Convert:
    hints = get_type_hints(cls, include_extras=True)
    needed: list[tuple[str, frozenset[type], _Convert]] = []
    others: list[tuple[str, frozenset[type], _Convert]] = []
    for one in fields(cls):
        may_be_missing = "rare" in one.metadata or "added" in one.metadata
        (others if may_be_missing else needed).append((one.name, *_decoder(hints[one.name])))

    def decode_object(data: Any) -> Any:
        if type(data) is not dict:
            raise _wrong("an object", data)
        values = {}
        name = ""
        try:
            for name, plain, convert in needed:
                value = data[name]
                values[name] = value if type(value) in plain else convert(value)
            for name, plain, convert in others:
                if name in data:
                    value = data[name]
                    values[name] = value if type(value) in plain else convert(value)
        except DecodeError as error:
            raise error.below(name) from None
        except KeyError:
            raise DecodeError("is missing").below(name) from None
        return cls(**values)

    return decode_object


def _decoder(hint: Any) -> tuple[frozenset[type], _Convert]:
    """Return the types whose values are taken as they are, and what makes all others a value.

    The function raises a :class:`DecodeError` where it can't.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is str:
        return frozenset({str}), _refuse("a string")
    if hint is bool:
        return frozenset({bool}), _refuse("true or false")
    if hint is int:
        return frozenset(), _decode_int64
    if hint is float:
        return frozenset({float}), _decode_float
    if is_dataclass(hint):
        return frozenset(), _object_decoder(cast("type", hint))
    if origin is Literal:
        return frozenset(), _literal_decoder(args)
    if hint == AnySize:
        return frozenset({int}), _refuse("an integer")
    if origin is Annotated:
        return frozenset(), _constrained(*args)
    if origin in (Union, UnionType):
        plain, convert = _decoder(_without_none(hint))
        return plain | {NoneType}, convert
    if origin is tuple and args[-1] is not Ellipsis:
        return frozenset(), _tuple_decoder(args)
    if origin is tuple:
        return frozenset(), _list_decoder(args[0])
    if origin is Mapping:
        return frozenset(), _mapping_decoder(args[1])
    raise TypeError(f"the codec knows no fields of type {hint}")


def _without_none(hint: Any) -> Any:
    (one,) = (arg for arg in get_args(hint) if arg is not NoneType)
    return one


def _refuse(wanted: str) -> _Convert:
    def refuse(value: object) -> Any:
        raise _wrong(wanted, value)

    return refuse


def _decode_int64(value: Any) -> int:
    if type(value) is int and -LARGEST <= value < LARGEST:
        return value
    raise _wrong("an integer of 64 bits", value)


def _decode_float(value: Any) -> float:
    if type(value) is int or (type(value) is str and value in _SPECIAL):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _wrong("a number", value)


def _literal_decoder(known: tuple[str, ...]) -> _Convert:
    texts, wanted = frozenset(known), f"one of {', '.join(known)}"

    def decode_literal(value: Any) -> Any:
        if type(value) is str and value in texts:
            return value
        raise _wrong(wanted, value)

    return decode_literal


def _constrained(base: Any, constraint: Constraint) -> _Convert:
    each = _whole_decoder(base)

    def decode_constrained(value: Any) -> Any:
        if constraint.fits(decoded := each(value)):
            return decoded
        raise _wrong(constraint.wanted, value)

    return decode_constrained


def _whole_decoder(hint: Any) -> _Convert:
    """Return what decodes a value of the type, also where it is taken as it is."""
    plain, convert = _decoder(hint)
    return (lambda value: value if type(value) in plain else convert(value)) if plain else convert


def _list_decoder(hint: Any) -> _Convert:
    plain, _ = _decoder(hint)
    item = _whole_decoder(hint)

    def decode_list(values: Any) -> tuple[Any, ...]:
        if type(values) is not list:
            raise _wrong("a list", values)
        if plain.issuperset(map(type, values)):
            return tuple(values)
        return tuple([_decode_at(number, item, value) for number, value in enumerate(values)])

    return decode_list


def _tuple_decoder(hints: tuple[Any, ...]) -> _Convert:
    each = [_whole_decoder(hint) for hint in hints]

    def decode_tuple(values: Any) -> tuple[Any, ...]:
        if type(values) is not list or len(values) != len(each):
            raise _wrong(f"a list of {len(each)}", values)
        return tuple([_decode_at(n, each[n], value) for n, value in enumerate(values)])

    return decode_tuple


def _mapping_decoder(hint: Any) -> _Convert:
    plain, _ = _decoder(hint)
    item = _whole_decoder(hint)

    def decode_mapping(values: Any) -> dict[str, Any]:
        if type(values) is not dict:
            raise _wrong("an object", values)
        if plain.issuperset(map(type, values.values())):
            return values
        return {key: _decode_at(key, item, value) for key, value in values.items()}

    return decode_mapping


def _decode_at(step: str | int, convert: _Convert, value: Any) -> Any:
    try:
        return convert(value)
    except DecodeError as error:
        raise error.below(step) from None


def _wrong(wanted: str, value: object) -> DecodeError:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or nested too deep
        shown = "something huge"
    return DecodeError(f"must be {wanted}, not {shown[:_SHOWN]}")
