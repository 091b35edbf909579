"""Frozen dataclasses as JSON text in one step, for the lines that are written while tests run.

The text is what :mod:`json` makes of :func:`.codec.encode`. The function that writes the objects of
a class is compiled from its annotations when the first of them is written, as :mod:`dataclasses`
does for constructors: it takes a quarter of the time, and no builtins are made on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from json.encoder import encode_basestring_ascii
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, cast, get_args, get_origin

from .codec import AnySize, compiled, encode_float, hints_of, members_of, rare_of

_Write: TypeAlias = Callable[[Any], str]

_float_text = float.__repr__  # of subclasses too, as json has it


def json_text(record: Any, space: str = "") -> str:
    """Return the JSON of a dataclass, with a ``space`` after each comma and colon.

    Raises:
        TypeError: a value is not of its field's type.
        AttributeError: the same.
    """
    return _writer_of_class(cast("Any", type(record)), space)(record)


@cache
def _writer_of_class(cls: type, space: str) -> _Write:
    hints, common = hints_of(cls), members_of(cls)
    scope: dict[str, Any] = {f"write_{name}": _writer(hint, space) for name, hint in hints.items()}

    def member(name: str) -> str:
        text = f"write_{name}(record.{name})"
        if NoneType in get_args(hints[name]) and name in common:
            text = f'"null" if record.{name} is None else {text}'
        return f',{space}"{name}":{space}{{{text}}}'

    lines = ["def convert(record):", f" text = f'{''.join(map(member, common))}'"]
    for name, wanted in rare_of(cls).items():
        lines.append(f" if {wanted}: text += f'{member(name)}'")
    return compiled([*lines, f" return f'{{{{{{text[{1 + len(space)}:]}}}}}}'"], scope)


def _writer(hint: Any, space: str) -> _Write:
    """Return the function that writes values of a type, which are not None."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in _WRITERS:
        return _WRITERS[hint]
    if is_dataclass(hint):
        return _writer_of_class(cast("Any", hint), space)
    if origin is Literal:
        return encode_basestring_ascii
    if origin is Annotated:
        return _writer(args[0], space)
    if origin in (Union, UnionType):
        (some,) = (arg for arg in args if arg is not NoneType)
        return _writer(some, space)
    if origin is Mapping:
        return _mapping(_writer(args[1], space), space)
    assert origin is tuple, hint
    if args[-1] is Ellipsis:
        return _list(_writer(args[0], space), space)
    return _tuple([_writer(arg, space) for arg in args], space)


def _write_bool(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise TypeError(f"not true or false: {value!r}")


def _write_float(value: Any) -> str:
    text = _float_text(value)
    return text if isfinite(value) else f'"{encode_float(value)}"'


_WRITERS: Final[dict[Any, _Write]] = {
    str: encode_basestring_ascii,
    bool: _write_bool,
    int: int.__repr__,
    AnySize: int.__repr__,
    float: _write_float,
}


def _list(write: _Write, space: str) -> _Write:
    join = f",{space}".join
    if write is not _write_float:
        return lambda values: f"[{join(map(write, values))}]"

    def write_floats(values: Any) -> str:
        if not all(map(isfinite, values)):
            return f"[{join(map(write, values))}]"
        # The histories of most metrics never vary, and the text of a float takes long to find. Of
        # zeros there are two.
        if values and values[0] and values.count(values[0]) == len(values):
            return f"[{join([_float_text(values[0])] * len(values))}]"
        return f"[{join(map(_float_text, values))}]"

    return write_floats


def _tuple(writers: list[_Write], space: str) -> _Write:
    join = f",{space}".join

    def write_tuple(values: Any) -> str:
        texts = [write(value) for write, value in zip(writers, values, strict=True)]
        return f"[{join(texts)}]"

    return write_tuple


def _mapping(write: _Write, space: str, write_key: _Write = encode_basestring_ascii) -> _Write:
    join = f",{space}".join

    def write_mapping(values: Any) -> str:
        items = [f"{write_key(key)}:{space}{write(value)}" for key, value in values.items()]
        return f"{{{join(items)}}}"

    return write_mapping
