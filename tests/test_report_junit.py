from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from comparisons import HOSTILE, hostile, large, make_comparison, make_metric, one_of_everything

from pytest_mlflow_experiments.regression import Status
from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.report.junit import render_junit
from pytest_mlflow_experiments.report.text import one_line


def parse(comparison: Comparison) -> ElementTree.Element:
    suite = ElementTree.fromstring(render_junit(comparison).encode()).find("testsuite")
    assert suite is not None
    return suite


def result(case: ElementTree.Element) -> str:
    kinds = [child.tag for child in case if child.tag != "properties"]
    return kinds[0] if kinds else "passed"


@pytest.mark.parametrize(
    ("status", "gates", "advisory", "expected"),
    [
        ("regressed", True, False, "failure"),
        ("missing", True, False, "failure"),
        ("regressed", False, True, "skipped"),
        ("improved", False, True, "skipped"),
        ("improved", False, False, "passed"),
        ("unchanged", False, False, "passed"),
        ("accepted", False, False, "passed"),
        ("drifting", False, False, "skipped"),
        ("drifting", True, False, "failure"),
        ("inconclusive", False, False, "skipped"),
        ("new", False, False, "skipped"),
        ("not comparable", False, False, "skipped"),
    ],
)
def test_each_status(status: Status, gates: bool, advisory: bool, expected: str) -> None:
    metric = make_metric(status, gates=gates, advisory=advisory)
    (case,) = parse(make_comparison(metric)).iter("testcase")
    assert (case.get("classname"), case.get("name")) == (metric.case, "accuracy")
    assert result(case) == expected


def test_totals_and_properties() -> None:
    comparison = one_of_everything()
    suite = parse(comparison)
    cases = list(suite.iter("testcase"))
    assert len(cases) == len(comparison.metrics) + len(comparison.unjudged)
    results = [result(case) for case in cases]
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(attribute, "")) == results.count(kind)
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("17", "4", "2")
    values = {
        element.get("name"): element.get("value")
        for element in suite.findall("testcase[@name='rmse']/properties/property")
    }
    assert values["current"] == repr(comparison.metrics[1].current)
    assert (values["n"], values["margin"]) == ("6", "0.8")


def test_problem_is_an_error() -> None:
    suite = parse(make_comparison(problem="the server is down"))
    assert suite.findtext("testcase/error") == "the server is down"


def test_hostile_texts_stay_text() -> None:
    suite = parse(hostile())
    names = {case.get("name") for case in suite.iter("testcase")}
    assert names >= {one_line(text) for text in HOSTILE}


def test_no_character_breaks_the_document() -> None:
    everything = "".join(map(chr, [*range(0x300), *range(0xD7FF, 0xE001), *range(0xFFF0, 0x10010)]))
    metric = make_metric("regressed", metric=everything, reason=everything, case=everything)
    comparison = make_comparison(metric, problem=everything)
    assert len(list(parse(comparison).iter("testcase"))) == 2


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -1.0])
def test_odd_durations_and_dates(duration: float) -> None:
    comparison = make_comparison(duration=duration)
    session = replace(comparison.session, start_time=10**20)
    assert parse(replace(comparison, session=session)).get("time") == "0"


def test_large() -> None:
    assert parse(large()).get("tests") == "5000"
