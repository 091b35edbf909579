from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest

from pytest_mlflow_experiments.records import (
    Attempt,
    CaseRecord,
    Check,
    Metric,
    Operator,
    Provenance,
    SessionEnd,
    SessionHeader,
    journal,
)
from pytest_mlflow_experiments.records.codec import decode, encode
from pytest_mlflow_experiments.records.journal import JournalError
from pytest_mlflow_experiments.records.session import SCHEMA_VERSION

METRIC = Metric(key="accuracy", value=0.1 + 0.2, step=3, timestamp=1_700_000_000_123)


def make_check(
    operator: Operator = ">=",
    value: float = 0.94,
    limit: float = 0.9,
    tolerance: float | None = None,
    alternative: bool = False,
) -> Check:
    return Check(
        metric="accuracy",
        step=3,
        operator=operator,
        value=value,
        limit=limit,
        tolerance=tolerance,
        passed=True,
        line=12,
        alternative=alternative,
    )


ATTEMPT = Attempt(
    outcome="failed", duration=0.25, metrics=(METRIC,), checks=(make_check(),), failure="boom"
)
CASE = CaseRecord(
    id="0" * 32,
    nodeid="test_it.py::test_it[é-1]",
    case="test_it.py::test_it[é-1]",
    name="test_it[é-1]",
    outcome="passed",
    start_time=1,
    end_time=2,
    durations={"setup": 0.1, "call": 0.2, "teardown": 0.3},
    params={"kernel": "rbf"},
    metrics=(METRIC,),
    checks=(make_check(),),
    tags={"team": "vision"},
    artifacts=("plots/roc.png",),
    failure="assert 1 == 2\n\x00\ud800",
    run_id="1" * 32,
    attempts=(ATTEMPT,),
    notes=("a note",),
    arguments=("kernel",),
    datasets={"train": "0123456789abcdef"},
    tolerances={"accuracy": "-0.02"},
    directions={"loss": "min"},
    repeats=(ATTEMPT, ATTEMPT),
)
BARE_CASE = CaseRecord(
    id="0" * 32,
    nodeid="t.py::t",
    case="t.py::t",
    name="t",
    outcome="skipped",
    start_time=1,
    end_time=1,
    durations={},
)
HEADER = SessionHeader(
    session_id="20250101-120000-abcd",
    name="main@1234567",
    start_time=1,
    tracking_uri="sqlite:////tmp/mlflow.db",
    experiment_name="project",
    experiment_id=None,
    tags={"platform": "x"},
    accepted=("0123456789ab",),
)
END = SessionEnd(
    end_time=3,
    exit_status=1,
    tests=7,
    interrupted="stopping after 1 failures",
    partial="-k",
    selection=("tests", "-m slow"),
    tags={"baseline": "branch:main"},
    metrics={"regressed": 1.0},
    summary="**1 regressed**",
)
PROVENANCE = Provenance(spec="auto", place="experiment 'x'", reason="the last 5 sessions on main")


@pytest.mark.parametrize(
    "record",
    [
        METRIC,
        make_check(),
        make_check("==", tolerance=0.05),
        make_check(alternative=True),
        ATTEMPT,
        CASE,
        BARE_CASE,
        HEADER,
        END,
        SessionEnd(end_time=3, exit_status=0, tests=0),
        PROVENANCE,
    ],
    ids=lambda record: type(record).__name__,
)
def test_record_survives_json(record: Any) -> None:
    text = json.dumps(encode(record), allow_nan=False)
    assert decode(type(record), json.loads(text)) == record


@pytest.mark.parametrize(
    "value",
    [0.1, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, 1.0, math.pi, math.inf, -math.inf],
)
def test_every_bit_of_a_value_survives(value: float) -> None:
    metric = Metric(key="m", value=value, step=0, timestamp=0)
    check = make_check(value=value, limit=value)
    data = json.loads(json.dumps([encode(metric), encode(check)], allow_nan=False))
    for number in (
        decode(Metric, data[0]).value,
        decode(Check, data[1]).value,
        decode(Check, data[1]).limit,
    ):
        assert isinstance(number, float)
        assert struct.pack("d", number) == struct.pack("d", value)


def test_nan_survives() -> None:
    metric = Metric(key="m", value=math.nan, step=0, timestamp=0)
    check = make_check("==", value=math.nan, limit=math.nan, tolerance=math.nan)
    data = json.loads(json.dumps([encode(metric), encode(check)], allow_nan=False))
    assert data[0]["value"] == "NaN"
    back = decode(Check, data[1])
    assert back.tolerance is not None
    for number in (decode(Metric, data[0]).value, back.value, back.limit, back.tolerance):
        assert math.isnan(number)


@pytest.mark.parametrize(
    ("operator", "value", "limit", "tolerance", "margin"),
    [
        (">=", 0.75, 0.5, None, 0.25),
        (">", 0.25, 0.5, None, -0.25),
        ("<=", 0.25, 0.5, None, 0.25),
        ("<", 0.75, 0.5, None, -0.25),
        ("==", 1.25, 1.0, 0.5, 0.25),
        ("==", 0.25, 1.0, 0.5, -0.25),
        ("==", 1.0, 1.0, None, 0.0),
        (">=", math.inf, 0.5, None, math.inf),
        ("<=", math.inf, 0.5, None, -math.inf),
    ],
)
def test_margin_is_positive_on_the_good_side(
    operator: Operator, value: float, limit: float, tolerance: float | None, margin: float
) -> None:
    assert make_check(operator, value, limit, tolerance).margin == margin


def test_margin_of_nan_is_nan_and_encodable() -> None:
    assert encode(make_check(value=math.nan))["margin"] == "NaN"
    assert encode(make_check(value=math.inf, limit=math.inf))["margin"] == "NaN"


@pytest.mark.parametrize(
    ("durations", "duration"),
    [
        ({"setup": 1.0, "call": 2.0, "teardown": 4.0}, 2.0),
        ({"setup": 1.0, "teardown": 4.0}, 1.0),
        ({}, 0.0),
    ],
)
def test_duration_is_that_of_the_call(durations: dict[str, float], duration: float) -> None:
    record = decode(CaseRecord, {**encode(BARE_CASE), "durations": durations})
    assert record.duration == duration


@pytest.mark.parametrize("schema", [None, 0, SCHEMA_VERSION + 1, str(SCHEMA_VERSION)])
def test_header_of_another_schema_is_refused(schema: object) -> None:
    with pytest.raises(JournalError, match=f"reads version {SCHEMA_VERSION}"):
        journal.decode(json.dumps({"kind": "session", **encode(HEADER), "schema": schema}))


def test_header_without_a_schema_is_refused() -> None:
    with pytest.raises(JournalError, match="schema version None is not known"):
        journal.decode(json.dumps({"kind": "session", **encode(HEADER)}))


RARE = {"arguments", "datasets", "tolerances", "directions", "repeats"}


def test_what_most_cases_have_none_of_is_left_out() -> None:
    assert encode(CASE).keys() - encode(BARE_CASE).keys() == RARE


@pytest.mark.parametrize(
    ("record", "later"),
    [
        (CASE, RARE),
        (HEADER, {"accepted"}),
        (END, {"partial", "selection", "tags", "metrics", "summary"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_lines_of_the_older_form_are_read(record: Any, later: set[str]) -> None:
    data = encode(record)
    older = {key: value for key, value in data.items() if key not in later}
    back = decode(type(record), older)
    assert not any(getattr(back, name) for name in later)
    assert {key: value for key, value in encode(back).items() if key in older} == older


@pytest.mark.parametrize(
    ("interrupted", "partial", "complete"),
    [(None, None, True), ("Ctrl-C", None, False), (None, "-k", False), ("Ctrl-C", "-k", False)],
)
def test_session_is_complete_where_all_tests_ran(
    interrupted: str | None, partial: str | None, complete: bool
) -> None:
    end = SessionEnd(end_time=3, exit_status=0, tests=1, interrupted=interrupted, partial=partial)
    assert end.complete == complete


@pytest.mark.parametrize(
    ("tags", "branch", "commit"),
    [
        ({}, None, None),
        (
            {"mlflow.source.git.branch": "main", "mlflow.source.git.commit": "abc"},
            "main",
            "abc",
        ),
    ],
)
def test_header_knows_what_was_tested(
    tags: dict[str, str], branch: str | None, commit: str | None
) -> None:
    header = decode(SessionHeader, {**encode(HEADER), "tags": tags})
    assert (header.branch, header.commit) == (branch, commit)


def test_builtins_are_copies() -> None:
    data = encode(CASE)
    data["datasets"].clear()
    data["tolerances"].clear()
    data["directions"].clear()
    data["params"]["kernel"] = "other"
    data["tags"].clear()
    data["durations"].clear()
    assert CASE.params == {"kernel": "rbf"}
    assert CASE.tags == {"team": "vision"}
    assert CASE.duration == 0.2
    assert CASE.datasets
    assert CASE.tolerances
    assert CASE.directions
