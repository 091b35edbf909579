from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comparisons import hostile, large, make_comparison, make_metric, one_of_everything
from swept import hostile_sweeps, ordinary

from pytest_mlflow_experiments import report
from pytest_mlflow_experiments.records.codec import encode
from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.report.json import read_json, render_json

SCHEMA = Path(str(report.__file__)).with_name("comparison.schema.json")


def nothing() -> Comparison:
    return make_comparison(baseline=None, gated=False)


SAMPLES = [one_of_everything, hostile, nothing, lambda: large(20), ordinary, hostile_sweeps]


def strict(schema: Any) -> Any:
    """Return the schema with no member allowed that it does not describe."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: strict(value) for key, value in schema.items()}
    if changed.get("type") == "object" and "properties" in changed:
        changed["additionalProperties"] = False
    return changed


@pytest.mark.parametrize("make", SAMPLES)
def test_round_trip_is_exact(make: Callable[[], Comparison]) -> None:
    comparison = make()
    # NaN differs from itself, but not in its text.
    assert repr(read_json(render_json(comparison))) == repr(comparison)


@pytest.mark.parametrize("make", SAMPLES)
def test_schema_describes_every_member(make: Callable[[], Comparison]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(strict(schema))
    validator.validate(json.loads(render_json(make())))


def test_text_is_json_of_every_reader_with_a_line_for_each_metric() -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    comparison = one_of_everything()
    text = render_json(comparison)
    data = json.loads(text, parse_constant=refuse)
    assert (data["schema"], data["kind"], data["gate"]) == (1, "comparison", "failed")
    assert data["counts"]["regressed"] == 3
    assert text.isascii()
    assert sum('"p_value"' in line for line in text.splitlines()) == len(comparison.metrics)


@pytest.mark.parametrize(
    "history",
    [
        (),
        (0.25,) * 3,
        (0.0, -0.0),
        (-0.0, -0.0),
        (math.nan, math.nan),
        (0.1, math.inf, -math.inf),
        (1, 2),
        (1e300, 5e-324),
    ],
)
@pytest.mark.parametrize("name", ["test_it", 'ü"\\\u2028\ud800', "[1, 2]: {3}"])
def test_lines_are_the_json_of_the_codec(history: tuple[float, ...], name: str) -> None:
    metric = replace(
        make_metric(), name=name, history=history, params={name: name}, seeds={name: history}
    )
    lines = render_json(make_comparison(metric)).splitlines()
    assert f"  {json.dumps(encode(metric))}" in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", '"kind": "comparison" is expected'),
        ('{"kind": "session", "schema": 1}', '"kind": "comparison" is expected'),
        ('{"kind": "comparison", "schema": 2}', "schema version 2 of a comparison is not known"),
        ('{"kind": "comparison"}', "schema version None"),
        ('{"kind": "comparison", "schema": 1}', "session is missing"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_json(text)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"session": None}, "session must be an object, not None"),
        ({"session": {}}, r"session\.session_id is missing"),
        ({"cases": True}, "cases must be an integer of 64 bits, not True"),
        ({"duration": "1"}, "duration must be a number, not '1'"),
        ({"notes": "ab"}, "notes must be a list, not 'ab'"),
        ({"notes": ["a", 1]}, r"notes\[1\] must be a string, not 1"),
        ({"metrics": [1]}, r"metrics\[0\] must be an object, not 1"),
        ({"problem": 1}, "problem must be a string, not 1"),
        ({"sweeps": [{}]}, r"sweeps\[0\]\.test is missing"),
        ({"curves": [{"current": [[[1.5, 0]]]}]}, r"curves\[0\]\.case is missing"),
    ],
)
def test_a_wrong_member_is_named(members: dict[str, object], message: str) -> None:
    data = json.loads(render_json(make_comparison(make_metric())))
    with pytest.raises(ValueError, match=message):
        read_json(json.dumps({**data, **members}))


def test_wrong_members_of_sweeps_and_curves_are_named() -> None:
    text = render_json(ordinary())
    for old, new, message in (
        (
            '{"C": "0.',
            '{"C": 1, "c": "',
            r"configurations\[\d+\]\.params\.C must be a string, not 1",
        ),
        ('"metrics": {', '"metrics": {"x": null, ', r"\.metrics\.x must be a number, not None"),
        (
            '"current": [[[0, ',
            '"current": [[["0", ',
            r"curves\[0\]\.current\[0\]\[0\]\[0\] must be an integer, not '0'",
        ),
        ('"mode": "max"', '"mode": "up"', r"sweeps\[0\]\.mode must be one of m.., m.., not 'up'"),
    ):
        assert old in text
        with pytest.raises(ValueError, match=message):
            read_json(text.replace(old, new, 1))


def test_files_from_before_sweeps_are_read() -> None:
    data = json.loads(render_json(ordinary()))
    del data["sweeps"], data["curves"]
    assert read_json(json.dumps(data)) == replace(ordinary(), sweeps=(), curves=())


def test_unknown_direction_is_refused() -> None:
    text = render_json(make_comparison(make_metric()))
    with pytest.raises(ValueError, match=r"\[0\]\.direction must be one of m.., m.., not 'up'"):
        read_json(text.replace('"direction": "max"', '"direction": "up"'))


def test_unknown_status_is_refused() -> None:
    text = render_json(make_comparison(make_metric()))
    with pytest.raises(ValueError, match=r"metrics\[0\]\.status must be one of regressed, "):
        read_json(text.replace('"status": "unchanged"', '"status": "fine"'))
