"""Frozen dataclasses as JSON builtins and back, derived from the annotations of their fields.

Numbers stay exact: a finite float keeps every bit through JSON, and NaN and the infinities, which
JSON does not know, are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.

Fields may be ``str``, ``bool``, ``int`` (of 64 bits; of any size as :data:`AnySize`), ``float``,
``Literal`` of texts, other dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]`` and ``Mapping[str, X]``,
each of them also ``| None``. ``Annotated`` with a :class:`Constraint` narrows one down.

The functions that convert the objects of a class are compiled from its annotations when the first
of them is converted, as :mod:`dataclasses` does for constructors: a loop over the fields takes
twice the time. Of a class, nothing but the names of its fields goes into their text. Constructors
are not called, as they would do no more than set the fields, in three times the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from math import isfinite, isnan
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
    return cast("Builtins", _encoder_of_class(cast("Any", type(record)))(record))


def decode(cls: type[T], data: object) -> T:
    """Rebuild a dataclass from :func:`encode`; unknown members are ignored.

    The dataclass may share mappings with ``data``.

    Raises:
        DecodeError: a member is missing, of a wrong type or out of its range.
    """
    return cast("T", _decoder_of_class(cast("Any", cls))(data))


def encode_float(value: float) -> float | str:
    """Return a float for JSON: NaN and the infinities become strings."""
    if isfinite(value):
        return value
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


class _Kind(NamedTuple):
    """How the values of one type are encoded and decoded.

    Values whose type is one of ``plain`` are taken from JSON as they are, and so are those that
    meet ``test``, a condition on ``value`` in Python; ``decode`` is for all others, and raises a
    :class:`DecodeError`. ``encode`` is not called for None.
    """

    encode: _Convert
    decode: _Convert
    plain: frozenset[type] = frozenset()
    test: str = "False"


@cache
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


def rare_of(cls: type) -> dict[str, str]:
    """Return the other members, with the conditions on ``record``, in Python, to write them."""
    # False and 0 say something where nothing is None.
    return {
        one.name: f"record.{one.name}" + (" is not None" if one.default is None else "")
        for one in fields(cast("Any", cls))
        if "rare" in one.metadata
    }


def _derived(cls: type) -> dict[str, str]:
    """Return the properties that are written, by name, and the fields that they come after."""
    getters = {name: getattr(member, "fget", None) for name, member in vars(cls).items()}
    found = {name: getattr(getter, "written_after", None) for name, getter in getters.items()}
    return {name: before for name, before in found.items() if before}


@cache
def _encoder_of_class(cls: type) -> _Convert:
    encoders = {name: _kind(hint).encode for name, hint in hints_of(cls).items()}
    common = members_of(cls)

    def encoded(name: str) -> str:
        if encoders[name] is _same:
            return f"record.{name}"
        return f"None if (value := record.{name}) is None else encode_{name}(value)"

    members = [f"'{name}': {encoded(name)}" for name in common]
    lines = ["def convert(record):", f" data = {{{', '.join(members)}}}"]
    for name, wanted in rare_of(cls).items():
        lines.append(f" if {wanted}: data['{name}'] = {encoded(name)}")
    scope = {f"encode_{name}": encode for name, encode in encoders.items()}
    return compiled([*lines, " return data"], scope)


@cache
def _decoder_of_class(cls: type) -> _Convert:
    assert not hasattr(cls, "__post_init__"), f"{cls} does more than set its fields"
    scope: dict[str, Any] = {"cls": cls, "new": cls.__new__, "store": object.__setattr__}
    scope |= {"DecodeError": DecodeError, "wrong": _wrong}
    is_frozen = cast("Any", cls).__dataclass_params__.frozen
    hints, needed, others = hints_of(cls), [], []

    def stored(name: str, value: str) -> str:
        return f"store(record, '{name}', {value})" if is_frozen else f"record.{name} = {value}"

    for one in fields(cast("Any", cls)):
        name, kind = one.name, _kind(hints[one.name])
        scope[f"decode_{name}"] = kind.decode
        value = stored(name, f"value if {kind.test} else decode_{name}(value)")
        member = f"at = '{name}'; value = data['{name}']; {value}"
        if not one.metadata:
            needed.append(f"  {member}")
            continue
        has_factory = one.default is MISSING
        scope[f"default_{name}"] = one.default_factory if has_factory else one.default
        default = stored(name, f"default_{name}{'()' * has_factory}")
        others += [f"  if '{name}' in data: {member}", f"  else: {default}"]
    lines = [
        "def convert(data):",
        " if type(data) is not dict: raise wrong('an object', data)",
        " try:",
        "  record = new(cls)",
        *needed,
        *others,
        " except DecodeError as error: raise error.below(at) from None",
        " except KeyError: raise DecodeError('is missing').below(at) from None",
        " return record",
    ]
    return compiled(lines, scope)


def compiled(lines: Sequence[str], scope: dict[str, Any]) -> _Convert:
    """Return the function ``convert`` that the lines define; they see the names in ``scope``.

    They hold nothing but what is written here and the names of fields.
    """
    exec("\n".join(lines), scope)
    convert: _Convert = scope["convert"]
    return convert


def _kind(hint: Any) -> _Kind:
    origin, args = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if is_dataclass(hint):
        return _object(cast("Any", hint))
    if origin is Literal:
        known = Constraint(frozenset(args).__contains__, f"one of {', '.join(args)}")
        return _constrained(_KINDS[str], known)
    if origin is Annotated:
        return _constrained(_kind(args[0]), args[1])
    if origin in (Union, UnionType):
        (some,) = (_kind(arg) for arg in args if arg is not NoneType)
        test = f"value is None or {some.test}"
        return some._replace(plain=some.plain | {NoneType}, test=test)
    if origin is tuple:
        if args[-1] is not Ellipsis:
            return _tuple([*map(_kind, args)])
        return _list(_kind(args[0]), cast("Any", args[0]) if is_dataclass(args[0]) else None)
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


def _plain(cls: type, decode: _Convert, encode: _Convert = _same) -> _Kind:
    return _Kind(encode, decode, frozenset({cls}), f"type(value) is {cls.__name__}")


_KINDS: Final[dict[Any, _Kind]] = {
    str: _plain(str, _refuse("a string")),
    bool: _plain(bool, _refuse("true or false")),
    int: _Kind(
        _same, _decode_int64, test=f"type(value) is int and {-LARGEST} <= value < {LARGEST}"
    ),
    AnySize: _plain(int, _refuse("an integer")),
    float: _plain(float, _decode_float, encode_float),
}


def _object(cls: type) -> _Kind:
    # Most classes have fields of classes that nothing is read or written of: they cost nothing.
    def encode_object(record: Any) -> Any:
        return _encoder_of_class(cls)(record)

    def decode_object(data: Any) -> Any:
        return _decoder_of_class(cls)(data)

    return _Kind(encode_object, decode_object)


def _constrained(base: _Kind, constraint: Constraint) -> _Kind:
    def decode_constrained(value: Any) -> Any:
        decoded = value if type(value) in base.plain else base.decode(value)
        if constraint.fits(decoded):
            return decoded
        raise _wrong(constraint.wanted, value)

    return _Kind(base.encode, decode_constrained)


def _list(item: _Kind, cls: type | None) -> _Kind:
    """Return the kind of a list; ``cls`` is the class of its items, if they are objects."""
    encode_item, decode_item, plain, _ = item

    def decode_list(values: Any) -> tuple[Any, ...]:
        if type(values) is not list:
            raise _wrong("a list", values)
        for value in values:
            if type(value) not in plain:
                break
        else:
            return tuple(values)
        convert = decode_item if cls is None else _decoder_of_class(cls)  # not for each item
        found: list[Any] = []
        try:
            for value in values:  # the number of those before it says which one is wrong
                found.append(value if type(value) in plain else convert(value))  # noqa: PERF401
        except DecodeError as error:
            raise error.below(len(found)) from None
        return tuple(found)

    def encode_list(values: Any) -> list[Any]:
        return [*map(encode_item if cls is None else _encoder_of_class(cls), values)]

    if encode_item is _same:
        return _Kind(list, decode_list)
    return _Kind(_encode_floats if encode_item is encode_float else encode_list, decode_list)


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
        for value in values.values():
            if type(value) not in plain:
                return {key: _decode_at(key, item, value) for key, value in values.items()}
        return values

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
