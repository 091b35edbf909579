"""The compiled codec beside one that walks the annotations, also on what is damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_codec import BARE, THING, Thing
from tracker_kit import make_check, make_record

from pytest_mlflow_experiments.records import Attempt, CaseRecord, DatasetInput, SessionHeader
from pytest_mlflow_experiments.records.codec import (
    RARE,
    AnySize,
    Constraint,
    DecodeError,
    decode,
    encode,
    hints_of,
)


class RefusedError(Exception):
    """What the codec says of damaged data, without the path to it."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path or 'it'} {problem}")
        self.problem, self.path = problem, path


def refused(wanted: str, value: object) -> RefusedError:
    return RefusedError(f"must be {wanted}, not {repr(value)[:80]}")


def at(step: str | int, hint: Any, value: Any) -> Any:
    try:
        return decoded(hint, value)
    except RefusedError as error:
        name = f"[{step}]" if isinstance(step, int) else step[:80]
        joint = "." if error.path and not error.path.startswith("[") else ""
        raise RefusedError(error.problem, f"{name}{joint}{error.path}") from None


def decoded(hint: Any, value: Any) -> Any:
    """Return what a value becomes in a field with this annotation."""
    origin, args = get_origin(hint), get_args(hint)
    if NoneType in args:
        return None if value is None else decoded(args[0], value)
    if hint == AnySize or hint is int:
        if type(value) is int and (hint == AnySize or -(2**63) <= value < 2**63):
            return value
        raise refused("an integer" if hint == AnySize else "an integer of 64 bits", value)
    if origin is Annotated and isinstance(args[1], Constraint):
        if args[1].fits(decoded(args[0], value)):
            return value
        raise refused(args[1].wanted, value)
    if origin is Literal:
        if decoded(str, value) in args:
            return value
        raise refused(f"one of {', '.join(args)}", value)
    if hint is float and (type(value) is int or value in ("NaN", "Infinity", "-Infinity")):
        try:
            return float(value)
        except OverflowError:
            raise refused("a number", value) from None
    for plain, wanted in ((str, "a string"), (bool, "true or false"), (float, "a number")):
        if hint is plain:
            if type(value) is plain:
                return value
            raise refused(wanted, value)
    if origin is tuple and args[-1] is Ellipsis:
        if type(value) is not list:
            raise refused("a list", value)
        return tuple(at(n, args[0], one) for n, one in enumerate(value))
    if origin is tuple:
        if type(value) is not list or len(value) != len(args):
            raise refused(f"a list of {len(args)}", value)
        return tuple(at(n, args[n], one) for n, one in enumerate(value))
    if type(value) is not dict:
        raise refused("an object", value)
    if origin is Mapping:
        return {key: at(key, args[1], one) for key, one in value.items()}
    assert is_dataclass(hint)
    cls: Any = hint
    hints = hints_of(cls)
    found = {}
    for one in sorted(fields(cls), key=lambda one: bool(one.metadata)):
        if one.name in value:
            found[one.name] = at(one.name, hints[one.name], value[one.name])
        elif not one.metadata:
            raise RefusedError("is missing", one.name)
    return cls(**found)


def told(decode_it: Any, cls: type, data: object) -> str:
    """Return the object that data become, with the types of all that is in it, or the error."""
    try:
        return repr(decode_it(cls, data))
    except (DecodeError, RefusedError) as error:
        return f"error: {error}"


RECORD = make_record(1, checks=(make_check(), make_check()))
FULL = replace(
    RECORD,
    failure="no",
    arguments=("a", "b"),
    attempts=(
        Attempt(outcome="failed", duration=0.5, metrics=RECORD.metrics, usage={"cpu": 1.0}, seed=3),
    ),
    inputs=(DatasetInput(name="d", digest="1", source_type="s", source="{}", context="c"),),
    run_history=RECORD.metrics,
    swept=False,
    cut_short=True,
    best={"m": float("inf")},
)
HEADER = SessionHeader(
    session_id="s",
    name="s",
    start_time=1,
    tracking_uri="",
    experiment_name="e",
    experiment_id=None,
    tags={"a": "b"},
)
SOUND: list[tuple[type, Any]] = [
    *[(Thing, encode(thing)) for thing in (THING, BARE)],
    *[(CaseRecord, encode(record)) for record in (RECORD, FULL)],
    (SessionHeader, encode(HEADER)),
]
TEXTS = st.text("ab.\u2028", max_size=3)
OTHERS = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | TEXTS
    | st.sampled_from(["NaN", "Infinity", 2**63, -(2**63), 2**63 - 1, 10**400, "x" * 100]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner),
    max_leaves=4,
)


def places_in(data: Any) -> list[tuple[Any, Any]]:
    """Return the containers in the data, each with the key or index of one thing in it."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in [*items]:
        found += [(data, key), *(places_in(value) if isinstance(value, dict | list) else ())]
    return found


@st.composite
def damaged(draw: st.DrawFn) -> tuple[type, Any]:
    """Return data of which a few things are missing, others, or more."""
    cls, sound = draw(st.sampled_from(SOUND))
    data = deepcopy(sound)
    for _ in range(draw(st.integers(0, 3))):
        places = places_in(data)
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["other", "other", "missing", "more"]))
        if how == "missing":
            del holder[key]
        elif how == "other":
            holder[key] = draw(OTHERS)
        elif isinstance(holder, dict):
            holder[draw(TEXTS)] = draw(OTHERS)
        else:
            holder.append(draw(OTHERS))
    return cls, data


@given(damaged())
def test_damaged_data_become_what_the_annotations_say(one: tuple[type, Any]) -> None:
    cls, data = one
    before = deepcopy(data)
    assert told(decode, cls, data) == told(decoded, cls, data)
    assert repr(data) == repr(before)


@pytest.mark.parametrize(("cls", "data"), SOUND)
def test_each_member_that_is_missing_or_another(cls: type, data: Any) -> None:
    for number, _ in enumerate(places_in(data)):
        for other in (MISSING, None, 5, 2**63, 0.5, "NaN", "?", True, [], [0], {}, {"key": 1}):
            damaged = deepcopy(data)
            holder, key = places_in(damaged)[number]
            if other is MISSING:
                del holder[key]
            else:
                holder[key] = other
            assert told(decode, cls, damaged) == told(decoded, cls, damaged)


@dataclass(frozen=True)
class Frozen:
    at: int
    value: float
    data: tuple[str, ...] = field(default=(), metadata=RARE)
    record: Mapping[str, str] = field(default_factory=dict, metadata=RARE)


@dataclass
class Mutable:
    at: int
    value: float
    data: tuple[str, ...] = field(default=(), metadata=RARE)
    record: Mapping[str, str] = field(default_factory=dict, metadata=RARE)


@pytest.mark.parametrize("cls", [Frozen, Mutable])
def test_an_object_is_what_the_constructor_makes(cls: type[Frozen | Mutable]) -> None:
    made, other = [decode(cls, {"at": 1, "value": 2.0, "cls": 3}) for _ in range(2)]
    assert made == cls(at=1, value=2.0)
    assert vars(made) == vars(cls(at=1, value=2.0))
    assert made.record is not other.record
    full = decode(cls, {"at": 1, "value": 2.0, "data": ["x"], "record": {"a": "b"}})
    assert full == cls(1, 2.0, ("x",), {"a": "b"})


def test_names_in_data_never_reach_the_compiled_text() -> None:
    data = json.loads(json.dumps(encode(RECORD)))
    name = "'\n  raise SystemExit\n#"
    record = decode(CaseRecord, {**data, name: name, "params": {name: name}})
    assert record.params == {name: name}
