"""JSON objects, read with errors that name the member that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast, final

_T = TypeVar("_T")


@final
class JsonObject:
    """A JSON object whose members are read by the type that they must have."""

    def __init__(self, data: object, path: str = "") -> None:
        if not isinstance(data, dict):
            raise ValueError(f"not a comparison: {path} must be an object, not {data!r:.100}")
        self._data = cast("dict[str, Any]", data)
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def text(self, name: str) -> str:
        """Return a text."""
        return cast("str", self._get(name, "a string", lambda value: isinstance(value, str)))

    def flag(self, name: str) -> bool:
        """Return true or false."""
        return cast("bool", self._get(name, "true or false", lambda value: isinstance(value, bool)))

    def whole(self, name: str) -> int:
        """Return an integer."""
        return cast("int", self._get(name, "an integer", lambda value: type(value) is int))

    def number(self, name: str) -> float:
        """Return a number; what JSON does not know is a string."""
        return float(self._get(name, "a number", _is_number))

    def one_of(self, name: str, known: tuple[str, ...]) -> str:
        """Return a text that must be one of ``known``."""
        wanted = f"one of {', '.join(known)}"
        return cast("str", self._get(name, wanted, known.__contains__))

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a list of numbers."""
        return tuple(map(float, self._list(name, "a list of numbers", _is_number)))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(self._list(name, "a list of strings", lambda value: isinstance(value, str)))

    def lines(self, name: str) -> tuple[tuple[tuple[int, float], ...], ...]:
        """Return lists of pairs of a step and a value."""
        wanted = "a list of lists of pairs of a step and a value"
        found = self._list(name, wanted, _is_line)
        return tuple(tuple((step, float(value)) for step, value in line) for line in found)

    def _pairs(self, name: str, kind: str, fits: Callable[[Any], bool]) -> dict[str, Any]:
        value = self._get(
            name,
            f"an object of {kind}",
            lambda value: isinstance(value, dict) and all(map(fits, value.values())),
        )
        return cast("dict[str, Any]", value)

    def texts_by_name(self, name: str) -> dict[str, str]:
        """Return an object whose members are texts."""
        return self._pairs(name, "strings", lambda value: isinstance(value, str))

    def numbers_by_name(self, name: str) -> dict[str, float]:
        """Return an object whose members are numbers."""
        found = self._pairs(name, "numbers", _is_number)
        return {key: float(value) for key, value in found.items()}

    def child(self, name: str) -> JsonObject:
        """Return an object."""
        value = self._get(name, "an object", lambda value: isinstance(value, dict))
        return JsonObject(value, f"{self._path}{name}.")

    def children(self, name: str) -> list[JsonObject]:
        """Return a list of objects."""
        values = self._list(name, "a list of objects", lambda value: isinstance(value, dict))
        return [
            JsonObject(value, f"{self._path}{name}[{place}].") for place, value in enumerate(values)
        ]

    def maybe(self, name: str, read: Callable[[str], _T]) -> _T | None:
        """Return what ``read``, a method of this object, makes of a member that may be null."""
        if name in self._data and self._data[name] is None:
            return None
        return read(name)

    def _list(self, name: str, wanted: str, fits: Callable[[Any], bool]) -> list[Any]:
        values = self._get(
            name, wanted, lambda value: isinstance(value, list) and all(map(fits, value))
        )
        return cast("list[Any]", values)

    def _get(self, name: str, wanted: str, fits: Callable[[Any], bool]) -> Any:
        if name not in self._data:
            raise ValueError(f"not a comparison: {self._path}{name} is missing")
        value = self._data[name]
        if not fits(value):
            raise ValueError(
                f"not a comparison: {self._path}{name} must be {wanted}, not {value!r:.100}"
            )
        return value


def _is_number(value: object) -> bool:
    return type(value) in (int, float) or value in ("NaN", "Infinity", "-Infinity")


def _is_line(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and _is_number(pair[1])
        for pair in value
    )
