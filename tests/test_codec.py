"""The codec: what annotations become in JSON, and how whatever does not fit them is told."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Annotated, Any, Literal

import pytest

from pytest_mlflow_experiments.records.codec import (
    ADDED,
    RARE,
    AnySize,
    Constraint,
    DecodeError,
    decode,
    encode,
    written_after,
)
from pytest_mlflow_experiments.records.json_text import json_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: float
    step: AnySize = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    name: Annotated[str, Constraint(re.compile("[a-z]+").fullmatch, "small letters")]
    kind: Literal["one", "two"] | None
    count: int
    flag: bool
    limit: float | None
    points: tuple[Point, ...]
    pairs: tuple[tuple[int, float], ...]
    texts: Mapping[str, str]
    numbers: Mapping[str, float]
    added: str = field(default="default", metadata=ADDED)
    rare: tuple[str, ...] = field(default=(), metadata=RARE)
    inner: Point | None = field(default=None, metadata=RARE)

    @property
    @written_after("count")
    def double(self) -> float:
        return math.inf if self.count > 100 else 2.0 * self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Rare:
    common: int = 1
    text: str = field(default="", metadata=RARE)
    flag: bool | None = field(default=None, metadata=RARE)
    number: int | None = field(default=3, metadata=RARE)


class Half(float):
    def __repr__(self) -> str:
        return "half"


class Name(str):
    def __str__(self) -> str:
        return "name"


class Answer(IntEnum):
    YES = 1


THING = Thing(
    name="a",
    kind="two",
    count=3,
    flag=True,
    limit=-math.inf,
    points=(Point(x=0.1, step=10**30), Point(x=math.inf)),
    pairs=((1, 0.5), (2, -math.inf)),
    texts={"a": "b"},
    numbers={"a": 1.5, "b": math.inf},
    rare=("a", "b"),
    inner=Point(x=-0.0),
)
BARE = Thing(
    name="b",
    kind=None,
    count=-(2**63),
    flag=False,
    limit=None,
    points=(),
    pairs=(),
    texts={},
    numbers={},
)


def test_members_are_the_fields_in_their_order() -> None:
    assert json.dumps(encode(THING), allow_nan=False) == (
        '{"name": "a", "kind": "two", "count": 3, "double": 6.0, "flag": true, '
        '"limit": "-Infinity", "points": [{"x": 0.1, "step": 1000000000000000000000000000000}, '
        '{"x": "Infinity", "step": 0}], "pairs": [[1, 0.5], [2, "-Infinity"]], '
        '"texts": {"a": "b"}, "numbers": {"a": 1.5, "b": "Infinity"}, "added": "default", '
        '"rare": ["a", "b"], "inner": {"x": -0.0, "step": 0}}'
    )
    assert encode(BARE).keys() == encode(THING).keys() - {"rare", "inner"}
    assert encode(BARE)["limit"] is None


@pytest.mark.parametrize(
    "thing",
    [
        THING,
        BARE,
        replace(THING, limit=math.nan, texts={'é\n\x00\ud800"\\\u2028': "🙂"}, rare=("", "{}")),
        replace(BARE, flag=True, count=101, limit=5e-324, inner=Point(x=1e22, step=-(10**20))),
        replace(THING, inner=None, numbers={"a": Half(0.5)}, name=Name("b"), count=Answer.YES),
        Point(x=-1.7976931348623157e308),
        Rare(),
        Rare(text="a", flag=False, number=0),
        Rare(number=None, flag=True),
    ],
)
def test_the_text_is_that_of_the_builtins(thing: object) -> None:
    builtins = json.dumps(encode(thing), separators=(",", ":"), allow_nan=False)
    assert json_text(thing) == builtins


@pytest.mark.parametrize(
    "members",
    [
        {"name": 1},
        {"flag": 1},
        {"count": 1.5},
        {"limit": 1},
        {"points": None},
        {"points": (1,)},
        {"texts": ["a"]},
        {"texts": {1: "a"}},
        {"numbers": {"a": "NaN"}},
    ],
)
def test_no_text_is_written_of_what_does_not_fit(members: dict[str, Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        json_text(replace(THING, **members))


@pytest.mark.parametrize("thing", [THING, BARE])
def test_it_comes_back(thing: Thing) -> None:
    assert decode(Thing, json.loads(json.dumps(encode(thing)))) == thing


def test_what_is_derived_can_be_any_number() -> None:
    many = decode(Thing, {**encode(BARE), "count": 101, "double": "unused"})
    assert encode(many)["double"] == "Infinity"


def test_integers_become_floats_where_a_float_is_wanted() -> None:
    point = decode(Point, {"x": 1, "step": 2})
    assert (type(point.x), type(point.step)) == (float, int)


def test_older_and_later_members() -> None:
    data = encode(BARE)
    del data["added"]
    assert decode(Thing, {**data, "later": [1]}) == BARE


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": 1}, "name must be a string, not 1"),
        ({"name": "A"}, "name must be small letters, not 'A'"),
        ({"kind": "three"}, "kind must be one of one, two, not 'three'"),
        ({"kind": ["one"]}, "kind must be a string, not ['one']"),
        ({"count": True}, "count must be an integer of 64 bits, not True"),
        ({"count": 2**63}, f"count must be an integer of 64 bits, not {2**63}"),
        ({"count": 1.0}, "count must be an integer of 64 bits, not 1.0"),
        ({"count": None}, "count must be an integer of 64 bits, not None"),
        ({"flag": 1}, "flag must be true or false, not 1"),
        ({"limit": "nan"}, "limit must be a number, not 'nan'"),
        ({"limit": False}, "limit must be a number, not False"),
        ({"limit": 10**400}, f"limit must be a number, not 1{79 * '0'}"),
        ({"points": {}}, "points must be a list, not {}"),
        ({"points": [5]}, "points[0] must be an object, not 5"),
        ({"points": [{"x": 1.0, "step": 0}, {"x": 1.0}]}, "points[1].step is missing"),
        ({"points": [{"x": 0.5, "step": 1.5}]}, "points[0].step must be an integer, not 1.5"),
        ({"pairs": [[1, 2.0], [1]]}, "pairs[1] must be a list of 2, not [1]"),
        ({"pairs": [[1, 2.0], [1, "x"]]}, "pairs[1][1] must be a number, not 'x'"),
        ({"texts": [["a", "b"]]}, "texts must be an object, not [['a', 'b']]"),
        ({"texts": {"a": "b", "c": None}}, "texts.c must be a string, not None"),
        ({"numbers": {"n" * 999: "1"}}, f"numbers.{80 * 'n'} must be a number, not '1'"),
        ({"rare": "ab"}, "rare must be a list, not 'ab'"),
        ({"rare": None}, "rare must be a list, not None"),
        ({"inner": {"step": 1}}, "inner.x is missing"),
    ],
)
def test_a_wrong_member_is_named(members: dict[str, object], message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(Thing, {**encode(BARE), **members})
    assert str(caught.value) == message


@pytest.mark.parametrize("data", [None, [], "text", 5, [["name", "a"]]])
def test_what_is_no_object_is_told(data: object) -> None:
    with pytest.raises(DecodeError, match=r"^it must be an object, not "):
        decode(Thing, data)


@pytest.mark.parametrize("missing", sorted(encode(BARE).keys() - {"added", "double"}))
def test_a_missing_member_is_named(missing: str) -> None:
    data = encode(BARE)
    del data[missing]
    with pytest.raises(DecodeError, match=f"^{missing} is missing$"):
        decode(Thing, data)


def test_what_can_not_even_be_shown_is_told() -> None:
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(DecodeError, match=r"^count must be an integer of 64 bits, not something"):
        decode(Thing, {**encode(BARE), "count": deep})


def test_a_type_that_the_codec_does_not_know_is_a_mistake_of_ours() -> None:
    @dataclass(frozen=True, slots=True)
    class Unknown:
        when: complex

    with pytest.raises(TypeError, match="no fields of type <class 'complex'>"):
        decode(Unknown, {"when": 1})


def test_false_and_zero_are_written_where_nothing_is_none() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Rare:
        name: str = "a"
        said: bool | None = field(default=None, metadata=RARE)
        number: int | None = field(default=None, metadata=RARE)
        is_cut: bool = field(default=False, metadata=RARE)

    assert encode(Rare(said=False, number=0)) == {"name": "a", "said": False, "number": 0}
    assert encode(Rare()) == {"name": "a"}
