from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_mlflow_experiments.records import CaseRecord, Check, Metric, Operator, Outcome
from pytest_mlflow_experiments.report.summary import SessionSummary, relative_margin


def make_check(
    value: float,
    limit: float,
    operator: Operator = ">=",
    *,
    metric: str = "accuracy",
    tolerance: float | None = None,
    passed: bool = True,
) -> Check:
    return Check(
        metric=metric,
        step=0,
        operator=operator,
        value=value,
        limit=limit,
        tolerance=tolerance,
        passed=passed,
        line=1,
    )


def make_case(name: str, *checks: Check, outcome: Outcome = "passed") -> CaseRecord:
    return CaseRecord(
        id="0" * 32,
        nodeid=name,
        case=name,
        name=name,
        outcome=outcome,
        start_time=0,
        end_time=1,
        durations={},
        metrics=tuple(
            Metric(key=check.metric, value=check.value, step=0, timestamp=0) for check in checks
        ),
        checks=checks,
        notes=("note",) * len(checks),
    )


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (make_check(0.75, 0.5), 0.5),
        (make_check(0.25, 0.5, "<="), 0.5),
        (make_check(-1.0, -2.0, ">"), 0.5),
        (make_check(1.25, 1.0, "==", tolerance=0.5), 0.5),
        (make_check(1.0, 1.0, "==", tolerance=0.5), 1.0),
        (make_check(1.0, 1.0, "==", tolerance=0.0), 0.0),
        (make_check(0.25, 0.0), 1.0),
        (make_check(0.0, 0.0), 0.0),
        (make_check(math.inf, 1.0), math.inf),
    ],
)
def test_relative_margin(check: Check, expected: float) -> None:
    assert relative_margin(check) == expected


@pytest.mark.parametrize(("value", "limit"), [(math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_relative_margin_without_a_meaning_is_nan(value: float, limit: float) -> None:
    assert math.isnan(relative_margin(make_check(value, limit, "<=")))


def test_counts() -> None:
    summary = SessionSummary()
    summary.add(make_case("a", make_check(2, 1), make_check(3, 1)))
    summary.add(make_case("b", make_check(2, 1), outcome="failed"))
    summary.add(make_case("c", outcome="failed"))
    assert (summary.cases, summary.metrics) == (3, 3)
    assert summary.outcomes == {"passed": 1, "failed": 2}


def test_tightest_and_widest_are_sorted_and_share_nothing() -> None:
    summary = SessionSummary()
    for number in (5, 2, 8, 1, 7, 3, 6, 4):
        summary.add(make_case(f"case{number}", make_check(10 + number, 10)))
    assert [margin.case for margin in summary.tightest] == ["case1", "case2", "case3"]
    assert [margin.case for margin in summary.widest] == ["case8", "case7", "case6"]


@pytest.mark.parametrize(("count", "widest"), [(1, 0), (3, 0), (4, 1), (6, 3), (9, 3)])
def test_widest_does_not_repeat_the_tightest(count: int, widest: int) -> None:
    summary = SessionSummary()
    for number in range(count):
        summary.add(make_case(f"case{number}", make_check(10 + number, 10)))
    assert len(summary.tightest) == min(count, 3)
    assert len(summary.widest) == widest


def test_case_takes_part_once_by_the_closest_check_of_a_metric() -> None:
    summary = SessionSummary()
    summary.add(
        make_case(
            "loop",
            *(make_check(value, 10) for value in (15, 11, 19)),
            make_check(5, 10, "<=", metric="loss"),
        )
    )
    margins = [(margin.check.metric, margin.relative) for margin in summary.tightest]
    assert margins == [("accuracy", 0.1)]
    margins = [(margin.check.metric, margin.relative) for margin in summary.widest]
    assert margins == [("loss", 0.5)]


def test_missed_are_the_worst_of_those_that_had_to_hold() -> None:
    summary = SessionSummary()
    for number in range(5):
        check = make_check(10 - number, 11, passed=False)
        summary.add(make_case(f"case{number}", check, make_check(10, 11, passed=False)))
    summary.add(make_case("other", replace(make_check(1, 11, passed=False), alternative=True)))
    assert [margin.case for margin in summary.missed] == ["case4", "case3", "case2"]


@pytest.mark.parametrize(
    "check",
    [
        make_check(1, 2, passed=False),
        make_check(math.nan, 2),
        make_check(math.inf, 2),
        make_check(1, math.inf, "<"),
    ],
    ids=["failed", "nan", "infinite", "infinite limit"],
)
def test_check_without_a_margin_takes_no_part(check: Check) -> None:
    summary = SessionSummary()
    summary.add(make_case("a", check))
    assert (summary.tightest, summary.widest) == ([], [])


def test_nothing_added() -> None:
    summary = SessionSummary()
    assert (summary.cases, summary.tightest, summary.widest) == (0, [], [])
