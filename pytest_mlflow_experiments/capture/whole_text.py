"""Whether the text of a param tells all of its value: then the same text is the same value."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable
from datetime import date, time, timedelta
from enum import Enum
from numbers import Number
from pathlib import PurePath
from types import FunctionType, ModuleType, NoneType
from typing import Any, Final

from .params import stable_text

_SCALARS: Final = (NoneType, Number, str, bytes, bytearray, Enum, date, time, timedelta)
_NAMED: Final = (type, ModuleType, PurePath)
_CONTAINERS: Final = (list, tuple, set, frozenset, dict)


def has_whole_text(value: object) -> bool:
    """Tell whether the text of a value, if it has any, leaves nothing of it out.

    Functions without a name are what the code makes them. Objects of the tests' own may show as
    little of themselves as they like, and arrays within them are shortened.
    """
    if stable_text(value) is None:
        return isinstance(value, FunctionType) and not (
            value.__closure__ or value.__defaults__ or value.__kwdefaults__
        )
    return _is_whole(value)


def _is_whole(value: Any) -> bool:
    if isinstance(value, (*_SCALARS, *_NAMED)):
        return True
    if isinstance(value, functools.partial):
        return all(map(_is_whole, (value.func, *value.args, *value.keywords.values())))
    if inspect.isroutine(value):
        # The method of an object stands for the object too.
        owner = getattr(value, "__self__", None)
        return owner is None or isinstance(owner, (type, ModuleType))
    kind = type(value)
    if kind in _CONTAINERS:
        elements = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_is_whole, elements))
    if dataclasses.is_dataclass(value):
        return _has_fields(
            value, kind.__qualname__, [one.name for one in dataclasses.fields(value)]
        )
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return _has_fields(value, kind.__name__, kind._fields)
    return False


def _has_fields(value: object, name: str, fields: Iterable[str]) -> bool:
    """Tell whether a value shows all of its fields, and these all of theirs."""
    values = {field: getattr(value, field) for field in fields}
    shown = ", ".join(f"{field}={held!r}" for field, held in values.items())
    return repr(value) == f"{name}({shown})" and all(map(_is_whole, values.values()))
