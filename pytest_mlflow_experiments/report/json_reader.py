"""Read a comparison back from its JSON, with an error that names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar, cast, final, get_args

from ..records import Operator, Outcome, Provenance
from ..regression import Direction, Status
from ..regression.comparison import (
    Baseline,
    Comparison,
    Curve,
    Margin,
    MetricComparison,
    SessionInfo,
    UnjudgedCase,
)
from ..regression.sweeps.model import Configuration, Effect, Level, Mode, Sweep
from .json import KIND, SCHEMA_VERSION

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


def read_sweep(data: JsonObject) -> Sweep:
    """Rebuild a sweep.

    Raises:
        ValueError: a member is missing or wrong; the message names it.
    """
    mode = data.maybe("mode", lambda name: data.one_of(name, get_args(Mode)))
    return Sweep(
        test=data.text("test"),
        name=data.text("name"),
        params=data.texts("params"),
        repeats=data.texts("repeats"),
        objective=data.maybe("objective", data.text),
        mode=cast("Mode | None", mode),
        configurations=tuple(map(_configuration, data.children("configurations"))),
        effects=tuple(map(_effect, data.children("effects"))),
        cases=data.whole("cases"),
        failed=data.whole("failed"),
        notes=data.texts("notes"),
    )


def _configuration(data: JsonObject) -> Configuration:
    return Configuration(
        params=data.texts_by_name("params"),
        values=data.numbers("values"),
        seeds=data.texts("seeds"),
        mean=data.maybe("mean", data.number),
        std=data.maybe("std", data.number),
        distance=data.maybe("distance", data.number),
        relative=data.maybe("relative", data.number),
        p_value=data.maybe("p_value", data.number),
        metrics=data.numbers_by_name("metrics"),
        cases=data.whole("cases"),
        failed=data.whole("failed"),
        nodeids=data.texts("nodeids"),
    )


def _effect(data: JsonObject) -> Effect:
    return Effect(
        param=data.text("param"),
        levels=tuple(map(_level, data.children("levels"))),
        spread=data.number("spread"),
        share=data.maybe("share", data.number),
    )


def _level(data: JsonObject) -> Level:
    return Level(
        value=data.text("value"),
        mean=data.number("mean"),
        std=data.maybe("std", data.number),
        n=data.whole("n"),
    )


def read_json(text: str | bytes) -> Comparison:
    """Rebuild a comparison from :func:`.json.render_json`.

    Raises:
        ValueError: the text is no comparison, or follows a schema that this version does not know.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a comparison: not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ValueError(f'not a comparison: a JSON object with "kind": "{KIND}" is expected')
    if data.get("schema") != SCHEMA_VERSION:
        raise ValueError(
            f"schema version {data.get('schema')!r} of a comparison is not known; this version of "
            f"pytest-mlflow-experiments reads version {SCHEMA_VERSION}"
        )
    return _comparison(JsonObject(data))


def _comparison(data: JsonObject) -> Comparison:
    return Comparison(
        session=_session(data.child("session")),
        baseline=_baseline(data.maybe("baseline", data.child)),
        metrics=tuple(map(_metric, data.children("metrics"))),
        unjudged=tuple(map(_unjudged, data.children("unjudged"))),
        cases=data.whole("cases"),
        duration=data.number("duration"),
        problem=data.maybe("problem", data.text),
        partial=data.maybe("partial", data.text),
        gated=data.flag("gated"),
        notes=data.texts("notes"),
        sweeps=tuple(map(read_sweep, data.children("sweeps"))) if "sweeps" in data else (),
        curves=tuple(map(_curve, data.children("curves"))) if "curves" in data else (),
    )


def _session(data: JsonObject) -> SessionInfo:
    return SessionInfo(
        session_id=data.text("session_id"),
        name=data.text("name"),
        start_time=data.whole("start_time"),
        branch=data.maybe("branch", data.text),
        commit=data.maybe("commit", data.text),
    )


def _baseline(data: JsonObject | None) -> Baseline | None:
    if data is None:
        return None
    origin = data.child("provenance")
    return Baseline(
        provenance=Provenance(
            spec=origin.text("spec"), place=origin.text("place"), reason=origin.text("reason")
        ),
        sessions=tuple(map(_session, data.children("sessions"))),
    )


def _unjudged(data: JsonObject) -> UnjudgedCase:
    return UnjudgedCase(
        case=data.text("case"),
        name=data.text("name"),
        nodeid=data.text("nodeid"),
        outcome=cast("Outcome", data.one_of("outcome", get_args(Outcome))),
        failure=data.maybe("failure", data.text),
    )


def _metric(data: JsonObject) -> MetricComparison:
    direction = data.maybe("direction", lambda name: data.one_of(name, get_args(Direction)))
    return MetricComparison(
        case=data.text("case"),
        name=data.text("name"),
        nodeid=data.text("nodeid"),
        metric=data.text("metric"),
        status=cast("Status", data.one_of("status", get_args(Status))),
        gates=data.flag("gates"),
        advisory=data.flag("advisory"),
        cost=data.flag("cost"),
        direction=cast("Direction | None", direction),
        values=data.numbers("values"),
        history=data.numbers("history"),
        current=data.maybe("current", data.number),
        baseline=data.maybe("baseline", data.number),
        change=data.maybe("change", data.number),
        relative=data.maybe("relative", data.number),
        limit=data.maybe("limit", data.number),
        p_value=data.maybe("p_value", data.number),
        n=data.whole("n"),
        tolerance=data.maybe("tolerance", data.text),
        margin=_margin(data.maybe("margin", data.child)),
        fresh=data.whole("fresh"),
        reason=data.text("reason"),
    )


def _curve(data: JsonObject) -> Curve:
    return Curve(
        case=data.text("case"),
        name=data.text("name"),
        nodeid=data.text("nodeid"),
        metric=data.text("metric"),
        current=data.lines("current"),
        baseline=data.lines("baseline"),
        baseline_session=data.maybe("baseline_session", data.text),
    )


def _margin(data: JsonObject | None) -> Margin | None:
    if data is None:
        return None
    return Margin(
        operator=cast("Operator", data.one_of("operator", get_args(Operator))),
        limit=data.number("limit"),
        tolerance=data.maybe("tolerance", data.number),
        margin=data.number("margin"),
        baseline_margin=data.maybe("baseline_margin", data.number),
    )
