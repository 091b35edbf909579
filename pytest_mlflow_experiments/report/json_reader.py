"""Read a comparison back from its JSON, with an error that names what is wrong."""

from __future__ import annotations

import json
from typing import cast, get_args

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
from .json import KIND, SCHEMA_VERSION
from .json_object import JsonObject
from .sweeps_json import read_sweep


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
