"""Frozen dataclasses as JSON builtins and back, derived from the annotations of their fields.

Numbers stay exact: a finite float keeps every bit through JSON, and NaN and the infinities, which
JSON does not know, are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.

Fields may be ``str``, ``bool``, ``int`` (of 64 bits; of any size as :data:`AnySize`), ``float``,
``Literal`` of texts, other dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]`` and ``Mapping[str, X]``,
each of them also ``| None``. ``Annotated`` with a :class:`Constraint` narrows one down.

The functions that convert the fields of a class are built once and cached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
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
    NamedTuple,
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
    """A member of the JSON is missing or wrong; the message names it (``metrics[0].value``)."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self._path = ""
        self._problem = problem

    def __str__(self) -> str:
        return f"{self._path or 'it'} {self._problem}"

    def below(self, step: str | int) -> DecodeError:
        """Return the error with ``step``, a member's name or an item's index, before its path."""
        joint = "." if self._path and not self._path.startswith("[") else ""
        name = f"[{step}]" if isinstance(step, int) else step[:_SHOWN]
        self._path = f"{name}{joint}{self._path}"
        return self


@final
@dataclass(frozen=True, slots=True)
class Constraint:
    """A restriction of a value beyond its type: ``fits`` checks it, ``wanted`` describes it."""

    fits: Callable[[Any], object]
    wanted: str


AnySize: TypeAlias = Annotated[int, "of any size"]
"""An integer that need not have 64 bits."""


def written_after(name: str) -> Callable[[Callable[[Any], T]], Callable[[Any], T]]:
    """Mark a property for encoding: its value is written after the field ``name``.

    Decoding ignores it.
    """

    def mark(function: Callable[[Any], T]) -> Callable[[Any], T]:
        function.__dict__["written_after"] = name
        return function

    return mark


def encode(record: Any) -> Builtins:
    """Return a dataclass as JSON builtins."""
    return cast("Builtins", _kind_of_class(cast("Any", type(record))).encode(record))


def decode(cls: type[T], data: object) -> T:
    """Rebuild a dataclass from :func:`encode`; unknown members are ignored.

    The dataclass may share mappings with ``data``.

    Raises:
        DecodeError: a member is missing, of a wrong type or out of its range.
    """
    return cast("T", _kind_of_class(cast("Any", cls)).decode(data))


def encode_float(value: float) -> float | str:
    """Return a float for JSON: NaN and the infinities become strings."""
    if isfinite(value):
        return value
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


class _Kind(NamedTuple):
    """How the values of one type are encoded and decoded.

    Values whose type is one of ``plain`` are taken from JSON as they are; ``decode`` is for all
    others, and raises a :class:`DecodeError`. ``encode`` is not called for None.
    """

    encode: _Convert
    decode: _Convert
    plain: frozenset[type] = frozenset()


@cache
def _kind_of_class(cls: type) -> _Kind:
    kinds = {name: _kind(hint) for name, hint in hints_of(cls).items()}
    return _Kind(_object_encoder(cls, kinds), _object_decoder(cls, kinds))


def hints_of(cls: type) -> dict[str, Any]:
    """Return the types of the members that are written, by name; their order is not theirs."""
    hints = get_type_hints(cls, include_extras=True)
    found = {one.name: hints[one.name] for one in fields(cast("Any", cls))}
    derived = {name: get_type_hints(vars(cls)[name].fget)["return"] for name in _derived(cls)}
    return found | derived


def members_of(cls: type) -> list[str]:
    """Return the members that are always written, in their order."""
    names = [one.name for one in fields(cast("Any", cls)) if "rare" not in one.metadata]
    for name, before in _derived(cls).items():
        names.insert(names.index(before) + 1, name)
    return names


def _derived(cls: type) -> dict[str, str]:
    """Return the properties that are written, by name, and the fields that they come after."""
    getters = {name: getattr(member, "fget", None) for name, member in vars(cls).items()}
    found = {name: getattr(getter, "written_after", None) for name, getter in getters.items()}
    return {name: before for name, before in found.items() if before}


def _object_encoder(cls: type, kinds: Mapping[str, _Kind]) -> _Convert:
    encoders = {name: kind.encode for name, kind in kinds.items()}
    common = members_of(cls)
    # False and 0 say something where nothing is None.
    rare = [
        (one.name, encoders[one.name], one.default is None)
        for one in fields(cls)
        if one.name not in common
    ]
    get = attrgetter(*common, "__class__")  # of a single name it would return no tuple
    floats = [name for name in common if encoders[name] is encode_float]
    others = [
        (name, encoders[name]) for name in common if encoders[name] not in (_same, encode_float)
    ]

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
        for name, convert, is_optional in rare:
            value = getattr(record, name)
            if value or (is_optional and value is not None):
                data[name] = convert(value)
        return data

    return encode_object


def _object_decoder(cls: type, kinds: Mapping[str, _Kind]) -> _Convert:
    members = [(one, kinds[one.name]) for one in fields(cls)]
    needed = [(one.name, kind.plain, kind.decode) for one, kind in members if not one.metadata]
    others = [(one.name, kind.plain, kind.decode) for one, kind in members if one.metadata]

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


def _kind(hint: Any) -> _Kind:
    origin, args = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if is_dataclass(hint):
        return _kind_of_class(cast("Any", hint))
    if origin is Literal:
        known = Constraint(frozenset(args).__contains__, f"one of {', '.join(args)}")
        return _constrained(_KINDS[str], known)
    if origin is Annotated:
        return _constrained(_kind(args[0]), args[1])
    if origin in (Union, UnionType):
        (some,) = (_kind(arg) for arg in args if arg is not NoneType)
        return some._replace(plain=some.plain | {NoneType})
    if origin is tuple:
        return _list(_kind(args[0])) if args[-1] is Ellipsis else _tuple([*map(_kind, args)])
    if origin is Mapping:
        return _mapping(_kind(args[1]))
    raise TypeError(f"no fields of type {hint}")


def _same(value: Any) -> Any:
    return value


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
        with suppress(OverflowError):
            return float(value)
    raise _wrong("a number", value)


_KINDS: Final[dict[Any, _Kind]] = {
    str: _Kind(_same, _refuse("a string"), frozenset({str})),
    bool: _Kind(_same, _refuse("true or false"), frozenset({bool})),
    int: _Kind(_same, _decode_int64),
    AnySize: _Kind(_same, _refuse("an integer"), frozenset({int})),
    float: _Kind(encode_float, _decode_float, frozenset({float})),
}


def _constrained(base: _Kind, constraint: Constraint) -> _Kind:
    def decode_constrained(value: Any) -> Any:
        decoded = value if type(value) in base.plain else base.decode(value)
        if constraint.fits(decoded):
            return decoded
        raise _wrong(constraint.wanted, value)

    return _Kind(base.encode, decode_constrained)


def _list(item: _Kind) -> _Kind:
    plain, encode_item = item.plain, item.encode

    def decode_list(values: Any) -> tuple[Any, ...]:
        if type(values) is not list:
            raise _wrong("a list", values)
        if plain.issuperset(map(type, values)):
            return tuple(values)
        return tuple([_decode_at(number, item, value) for number, value in enumerate(values)])

    if encode_item is _same:
        return _Kind(list, decode_list)
    if encode_item is encode_float:
        return _Kind(_encode_floats, decode_list)
    return _Kind(lambda values: [*map(encode_item, values)], decode_list)


def _encode_floats(values: Any) -> list[Any]:
    return list(values) if all(map(isfinite, values)) else [*map(encode_float, values)]


def _tuple(items: list[_Kind]) -> _Kind:
    def encode_tuple(values: Any) -> list[Any]:
        return [item.encode(value) for item, value in zip(items, values, strict=True)]

    def decode_tuple(values: Any) -> tuple[Any, ...]:
        if type(values) is not list or len(values) != len(items):
            raise _wrong(f"a list of {len(items)}", values)
        return tuple([_decode_at(n, item, values[n]) for n, item in enumerate(items)])

    return _Kind(encode_tuple, decode_tuple)


def _mapping(item: _Kind) -> _Kind:
    plain, encode_item = item.plain, item.encode

    def decode_mapping(values: Any) -> dict[str, Any]:
        if type(values) is not dict:
            raise _wrong("an object", values)
        if plain.issuperset(map(type, values.values())):
            return values
        return {key: _decode_at(key, item, value) for key, value in values.items()}

    def encode_mapping(values: Any) -> Builtins:
        return {key: encode_item(value) for key, value in values.items()}

    return _Kind(dict if encode_item is _same else encode_mapping, decode_mapping)


def _decode_at(step: str | int, kind: _Kind, value: Any) -> Any:
    if type(value) in kind.plain:
        return value
    try:
        return kind.decode(value)
    except DecodeError as error:
        raise error.below(step) from None


def _wrong(wanted: str, value: object) -> DecodeError:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or nested too deep
        shown = "something huge"
    return DecodeError(f"must be {wanted}, not {shown[:_SHOWN]}")
