from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import pytest
from sessions import judged, make_case, make_check, make_session, only, past_of

from pytest_mlflow_experiments.capture.assertions.sites import ComparisonNode, Where, comparisons
from pytest_mlflow_experiments.records import Check
from pytest_mlflow_experiments.regression import Tolerance
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.comparison import MetricComparison
from pytest_mlflow_experiments.regression.direction import is_cost, is_cost_of_expression
from pytest_mlflow_experiments.regression.guards import (
    Guard,
    Meaning,
    is_expression,
    is_guarded_cost,
    meaning_of,
)
from pytest_mlflow_experiments.regression.values import CaseValues, SessionValues

EXPRESSIONS = """
    min  train_acc - test_acc < 0.30
    max  train_acc - test_acc > -0.30
    min  accuracy_train - accuracy_test <= 0.1
    max  accuracy - old_accuracy > -0.01
    max  old_loss - loss > 0
    min  abs(accuracy - 0.9) < 0.3
    min  abs(test_score - clf.oob_score_) < 0.1
    min  np.abs(scores - expected_scores).max() < 1e-6
    min  (accuracy - before).abs().mean() < 0.1
    min  (train - test) / train < 0.2
    min  (train_score - test_score) / train_score < 0.2
    min  train / test < 1.2
    min  train_accuracy / test_accuracy < 1.2
    max  rmse_baseline / rmse > 1.2
    min  max(s) - min(s) < 0.1
    min  max(scores) - min(scores) < 0.1
    max  accuracy * 100 > 80
    max  100 * accuracy >= 80
    max  accuracy_score(y, p) * 100 >= 80
    max  round(accuracy * 100, 2) > 80
    max  float(accuracy) * 100 > 80
    max  (1 - error) > 0.8
    max  1 - error_rate > 0.8
    min  1 - accuracy < 0.1
    min  -neg_mean_squared_error < 5
    min  -cross_val_score(model, x, y).mean() < 5
    min  np.exp(-accuracy) < 0.9
    min  mse ** 0.5 < 3
    max  10 * math.log10(1 / mse) > 20
    max  precision + recall > 1.5
    min  sum(losses) / len(losses) < 0.4
    max  sum(scores) / len(scores) > 0.4
    min  abs(accuracy) < 0.5
    None 0.1 < train_acc - test_acc < 0.3
"""
NAMES = """
    max  accuracy > 0.8
    max  float(accuracy) > 0.8
    max  round(accuracy, 3) > 0.8
    max  accuracy.item() > 0.8
    max  np.mean(accuracies) > 0.8
    max  scores["f1"].mean() > 0.8
    max  (acc := top() - bottom()) > 0.8
    max  accuracy_score(y, p > 0.5) > 0.8
    max  model.score(x - mean, y) > 0.8
    max  evaluate(x * 2)["f1"] > 0.8
    max  (y == p).mean() > 0.8
    min  max(errors) < 0.1
    min  np.log(loss) < 2
"""


def each(lines: str) -> pytest.MarkDecorator:
    rows = [line.strip().split(maxsplit=1) for line in lines.strip().splitlines()]
    return pytest.mark.parametrize(("direction", "text"), rows)


def guards_of(*assertions: str) -> tuple[str, set[Guard]]:
    """Return the metric that assertions are about, and what they are to it."""
    nodes = [ast.parse(f"assert {text}").body[0] for text in assertions]
    sites = [
        (found.site, found)
        for node in nodes
        if isinstance(node, ast.Assert)
        for found in comparisons(node, Where("test_it.py"))
    ]
    guards = set()
    for site, found in sites:
        assert isinstance(found, ComparisonNode)
        operand = found.node.left if found.left_is_limit else found.node.comparators[found.position]
        try:
            limit = float(ast.literal_eval(operand))
        except ValueError:
            text = ast.unparse(operand)
            limit = float("-inf" if "-" in text else "inf") if "inf" in text else 0.5
        check = Check(
            metric=site.name,
            step=0,
            operator=site.operator,
            value=0.25,
            limit=limit,
            tolerance=None,
            passed=True,
            line=1,
            expression=site.expression,
        )
        guards.add(Guard.of(check))
    (name,) = {site.name for site, _ in sites}
    return name, guards


def meaning(*assertions: str) -> Meaning:
    return meaning_of(*guards_of(*assertions))


@each(EXPRESSIONS)
def test_of_an_expression_the_assertion_decides_alone(direction: str, text: str) -> None:
    name, guards = guards_of(text)
    assert is_expression(guards)
    assert str(meaning_of(name, guards).direction) == direction
    assert not is_cost_of_expression(name)


@each(NAMES)
def test_a_name_stays_a_name(direction: str, text: str) -> None:
    name, guards = guards_of(text)
    assert not is_expression(guards)
    assert meaning_of(name, ()).direction in (direction, None)
    assert meaning_of(name, guards) == Meaning("max" if direction == "max" else "min")


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("time.perf_counter() - start < 5", True),
        ("elapsed * 1000 < 50", True),
        ("fit_times * 2 < 50", True),
        ("total_tokens / elapsed > 100", True),
        ("rmse / mean_price < 0.1", False),
        ("accuracy * 100 > 80", False),
        ("accuracy * factor > 80", False),
    ],
)
def test_an_expression_is_a_cost_by_what_it_is_made_of(text: str, cost: bool) -> None:
    name, guards = guards_of(text)
    assert is_guarded_cost(name, guards) == cost


def test_a_number_of_times_is_no_time() -> None:
    assert not is_cost("accuracy_times_100")
    assert is_cost("elapsed_times_1000")
    assert is_cost("fit_times")


RANGES = """
    x >= 0
    x > 0.0
    proba.min() >= 0
    proba.max() <= 1
    0 <= p <= 1
    0 < p < 1
    0.0 <= p < 1.0
    -1 <= correlation_like <= 1
    0 <= accuracy <= 1
    0 <= loss < inf
    x < inf
    x > -np.inf
    0 <= x < math.inf
    0 <= a / b <= 1
    a - b < inf
"""
GOALS = """
    max  accuracy > 0
    max  accuracy >= 0
    max  accuracy <= 1
    max  accuracy < 1
    min  loss >= 0
    min  loss > 0
    min  loss < inf
    min  loss < 1
    max  r2 > 0
    max  r2 > -1
    min  x < 1
    max  x > 1
    max  x >= 1
    min  x <= 0
    max  x > -1
    max  a - b > 0
    max  a - b >= 0
    min  a / b <= 1
    max  0.8 <= x <= 1
    max  0.8 < x <= 1.0
    min  0 <= x < 0.3
    None 0 < x < 0.3
    None 0.1 < x < 0.9
    max  0.1 < accuracy < 0.9
    None accuracy < 0.9
    None loss > 0.1
    None accuracy < 0.9 and accuracy <= 1
    None log_loss >= 0.3
    max  d2_log_loss_score >= 0.3
"""


@pytest.mark.parametrize("text", RANGES.strip().splitlines())
def test_check_of_a_range(text: str) -> None:
    assert meaning(text.strip()).is_range


@each(GOALS)
def test_a_limit_that_is_a_goal(direction: str, text: str) -> None:
    found = meaning(text)
    assert str(found.direction) == direction
    assert not found.is_range


def test_several_assertions_on_one_metric() -> None:
    assert meaning("x >= 0", "x <= 1").is_range
    assert meaning("x >= 0", "x <= 1", "x > 0.8") == Meaning("max")
    assert meaning("x >= 0", "x > 0.8") == Meaning("max")
    assert meaning("0 <= accuracy <= 1", "accuracy > 0.8") == Meaning("max")
    assert meaning("0 <= accuracy <= 1", "accuracy < 0.8").contradiction


def test_contradiction_is_told_with_its_cure() -> None:
    told = meaning("log_loss >= 0.3").contradiction
    assert told is not None
    assert "smaller values are better, and its assertion that greater ones are" in told
    assert "direction=" in told


CALM, WILD = [4e-14] * 6, [1e-14, 9e-14, 3e-14, 6e-14, 2e-14, 4e-14]


def compared(
    text: str, history: list[float], now: float, options: CompareOptions | None = None
) -> MetricComparison | None:
    """Compare a metric that an assertion guards, after some values; None if it is not judged."""
    node = ast.parse(f"assert {text}").body[0]
    assert isinstance(node, ast.Assert)
    (found,) = comparisons(node, Where("test_it.py"))
    assert isinstance(found, ComparisonNode)
    site, limit = found.site, ast.literal_eval(found.node.comparators[0])
    check = make_check(site.name, now, limit)
    check = replace(check, operator=site.operator, expression=site.expression)
    current = session(now, site.name, checks=(check,))
    (metric,) = judged(current, past_of(history, site.name), options).metrics or (None,)
    return metric


def status_of(
    text: str, history: list[float], now: float, options: CompareOptions | None = None
) -> str:
    metric = compared(text, history, now, options)
    assert metric is not None
    return metric.status


def session(value: float, metric: str, **fields: Any) -> SessionValues:
    return make_session(make_case(metrics={metric: value}, **fields))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("history", [CALM, WILD])
@pytest.mark.parametrize(
    "text", ["abs(a - b).max() < 1e-6", "max_error < 1e-6", "thing < 1e-6", "a - b > -1e-6"]
)
def test_residual_far_below_its_limit_is_never_a_regression(
    text: str, history: list[float], n: int
) -> None:
    sign = -1 if ">" in text else 1
    past = [sign * value for value in history[:n]]
    for now in (1.95e-14, 1e-13, 4e-12, 9e-9):
        metric = compared(text, past, sign * now)
        if metric is not None:
            assert text.startswith("max_error")
            assert not metric.gates
            assert metric.status == ("unchanged" if n > 2 else "inconclusive")
    assert status_of(text, past, sign * 9e-7) == "regressed"


def test_small_differences_of_scores() -> None:
    history = [0.0003, 0.0004, 0.0003, 0.0004, 0.0003]
    assert compared("train - test < 0.1", history, 0.0007) is None
    assert status_of("train - test < 0.1", history, 0.02) == "regressed"


def test_limit_far_away_is_no_tolerance_of_what_has_a_name() -> None:
    history = [0.01, 0.0101, 0.01, 0.0101, 0.01]
    assert status_of("loss < 10", history, 0.05) == "regressed"
    assert status_of("accuracy > 0.1", [0.9, 0.91, 0.9, 0.91], 0.8) == "regressed"


def test_effect_that_somebody_set_wins_over_the_limit() -> None:
    options = CompareOptions(min_effects=[("thing", Tolerance.parse("1%"))])
    assert status_of("thing < 1e-6", CALM, 9e-9, options) == "regressed"


def test_range_is_judged_where_somebody_wants_it() -> None:
    check = make_check("thing", 0.9, 0.0)
    past, current = past_of([0.9] * 5, "thing"), session(0.5, "thing", checks=(check,))
    assert judged(current, past).metrics == ()
    options = CompareOptions(directions=[("thing", "max")])
    assert only(judged(current, past, options)).status == "regressed"
    tolerance = CompareOptions(tolerances=[("thing", Tolerance.parse("-0.1"))])
    assert only(judged(current, past, tolerance)).status == "regressed"
    current = make_session(make_case())
    assert only(judged(current, past)).status == "missing"
    past = past_of([0.9] * 5, "thing", checks=(check,))
    assert judged(current, past).metrics == ()


def test_contradiction_of_a_metric_never_gates() -> None:
    check = make_check("log_loss", 0.49, 0.3)
    metric = only(
        judged(session(0.49, "log_loss", checks=(check,)), past_of([0.85] * 5, "log_loss"))
    )
    assert (metric.status, metric.direction, metric.gates) == ("inconclusive", None, False)
    assert "its name suggests that smaller values are better" in metric.reason
    assert "not known" not in metric.reason


def test_contradictions_of_metrics_that_did_not_change_are_told_once() -> None:
    names = ("log_loss", "error", "accuracy")
    values = dict.fromkeys(names, 0.85)
    current = make_case(metrics=values, checks=tuple(make_check(n, 0.85, 0.3) for n in names))
    (note,) = judged(make_session(current), None).notes
    assert note.startswith("log_loss (like 1 more) is not judged: its name suggests that")
    assert judged(session(0.85, "log_loss"), None).notes == ()


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("0 <= accuracy <= 1", "max"),
        ("x >= 0", "max"),
        ("0 <= x <= 1", None),
        ("0.8 <= x <= 1", "max"),
        ("loss >= 0", "min"),
    ],
)
def test_what_a_test_logs_too_is_no_mere_range(text: str, direction: str | None) -> None:
    name, guards = guards_of(text)
    found = meaning_of(name, [guard._replace(logged=True) for guard in guards])
    assert (found.direction, found.is_range, found.contradiction) == (direction, False, None)


def test_zeros_that_are_equal_keep_their_signs() -> None:
    found = [
        CaseValues.of(
            make_case(
                metrics={"m": 1.0},
                checks=(
                    make_check("m", 1.0, zero),
                    replace(make_check("n", 1.0, 1.0), operator="==", tolerance=zero),
                ),
            ),
            frozenset(),
        )
        for zero in (0.0, -0.0, 0.0)
    ]
    assert [values.limits for values in found] == [
        {"m": f">= {zero}", "n": f"== 1.0 ± {zero}"} for zero in ("0.0", "-0.0", "0.0")
    ]
    bounds = [str(guard.bound) for values in found for guard in values.guards["m"]]
    assert bounds == ["0.0", "-0.0", "0.0"]


def test_the_closest_check_is_kept_and_each_guard() -> None:
    checks = [make_check("m", 0.8, 0.5), make_check("m", 0.7, 0.5), make_check("m", 0.75, 0.0)]
    values = CaseValues.of(make_case(metrics={"m": 0.7}, checks=tuple(checks)), frozenset())
    assert values.check_of("m") == checks[1]
    assert values.guards_of("m") == {Guard(">="), Guard(">=", 0.0)}
    other = replace(checks[0], value=0.51, logged=True)
    values = CaseValues.of(make_case(checks=(*checks, other)), frozenset())
    assert values.check_of("m") == other
    assert values.guards_of("m") == {Guard(">="), Guard(">=", 0.0), Guard(">=", logged=True)}
