from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mlflow_experiments.regression.tolerance import (
    Tolerance,
    direction_of,
    find,
    mentions,
    parse_direction,
    parse_rule,
)


@pytest.mark.parametrize(
    ("text", "tolerance", "written"),
    [
        ("0.02", Tolerance(0.02, False), "0.02"),
        ("-0.02", Tolerance(0.02, False), "0.02"),
        ("2%", Tolerance(0.02, True), "2%"),
        ("-2%", Tolerance(0.02, True), "2%"),
        (" 10 % ", Tolerance(0.1, True), "10%"),
        ("+.5", Tolerance(0.5, False), "0.5"),
        ("1e-3", Tolerance(0.001, False), "0.001"),
        ("7.3%", Tolerance(0.073, True), "7.3%"),
        ("0", Tolerance(0.0, False), "0"),
        (-0.02, Tolerance(0.02, False), "0.02"),
        (3, Tolerance(3.0, False), "3"),
    ],
)
def test_parse(text: str | float, tolerance: Tolerance, written: str) -> None:
    assert Tolerance.parse(text) == tolerance
    assert str(tolerance) == written


@given(st.floats(min_value=0, max_value=1e6), st.booleans())
def test_what_is_written_is_read_again(amount: float, relative: bool) -> None:
    again = Tolerance.parse(str(Tolerance(amount, relative)))
    assert again.relative is relative
    assert math.isclose(again.amount, amount, rel_tol=1e-14, abs_tol=1e-300)


@pytest.mark.parametrize(
    "text",
    ["", "%", "two", "0.1.2", "1e", "nan", "inf", "--1", "1%%", "1e999", "٢", True, math.nan],
)
def test_what_is_no_tolerance(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"the amount .* write 0\.02 .* or 2%"):
        Tolerance.parse(text)


@pytest.mark.parametrize("amount", [-0.1, math.nan, math.inf])
def test_an_amount_is_a_finite_number_from_0_on(amount: float) -> None:
    with pytest.raises(ValueError, match="not a finite number from 0 on"):
        Tolerance(amount, relative=False)


def test_parse_rule() -> None:
    assert parse_rule("accuracy: -0.02") == ("accuracy", Tolerance(0.02, False))
    assert parse_rule(" latency*:10% ") == ("latency*", Tolerance(0.1, True))
    assert parse_rule("eval: top 5/acc.1: 1%") == ("eval: top 5/acc.1", Tolerance(0.01, True))


@pytest.mark.parametrize("line", ["", "accuracy", "accuracy:", ": 0.1", "accuracy 0.1"])
def test_what_is_no_rule(line: str) -> None:
    with pytest.raises(ValueError, match="not a metric, a colon and a value, such as 'accuracy: -"):
        parse_rule(line)


def test_parse_direction() -> None:
    assert parse_direction("loss: min") == ("loss", "min")
    assert parse_direction("a:b: MAX") == ("a:b", "max")
    assert parse_direction("weird_*: none") == ("weird_*", None)
    with pytest.raises(ValueError, match="such as 'loss: min'"):
        parse_direction("loss")


def test_direction_of_an_unknown_word() -> None:
    with pytest.raises(ValueError, match="the direction 'up' is not known; write max"):
        direction_of("up")


def test_the_last_pattern_wins_and_the_exact_name_always() -> None:
    rules = [("acc*", 1), ("*", 2), ("a[1]", 3), ("a?1?", 4), ("Acc", 5)]
    assert find("accuracy", rules) == 2
    assert find("accuracy", rules[:1]) == 1
    assert find("a[1]", rules) == 3
    assert find("a[1]", [*rules, ("a[1]", 6)]) == 6
    assert find("loss", rules[:1]) is None
    assert find("acc", rules[-1:]) is None


def test_a_rule_that_says_none_is_a_rule() -> None:
    rules = [("loss*", "min"), ("loss_x*", None)]
    assert find("loss_xy", rules) is None
    assert mentions("loss_xy", rules)
    assert mentions("a[1]", [("a[1]", None)])
    assert not mentions("x", rules)
