from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_mlflow_experiments.regression import (
    AcceptedValue,
    Direction,
    MetricSeries,
    RuleOptions,
    Status,
    Tolerance,
    Verdict,
    judge,
    judge_session,
)
from pytest_mlflow_experiments.regression.statistics import average

NOISY = (0.90, 0.91, 0.89, 0.905, 0.895, 0.902, 0.898, 0.908, 0.892, 0.9)
PLAIN = RuleOptions()
COST = RuleOptions(cost=True)

histories = st.lists(st.floats(0.01, 1000), min_size=1, max_size=25)
scores = st.lists(st.floats(0.9, 0.9999), min_size=1, max_size=25)
counts = st.lists(st.integers(0, 9).map(float), min_size=1, max_size=25)
shifting = st.builds(
    lambda before, after, factor: [*before, *(value * factor for value in after)],
    st.lists(st.floats(0.99, 1.01), min_size=3, max_size=12),
    st.lists(st.floats(0.99, 1.01), min_size=1, max_size=12),
    st.sampled_from([0.5, 0.9, 0.97, 1.03, 1.1, 2.0]),
)
all_kinds = histories | scores | counts | shifting
values = st.floats(0.001, 2000)
directions: st.SearchStrategy[Direction] = st.sampled_from(["max", "min"])
seldom = settings(max_examples=150, deadline=None)


def status(
    now: float | Sequence[float],
    history: Sequence[float],
    direction: Direction | None = "max",
    options: RuleOptions = PLAIN,
) -> Status:
    current = now if isinstance(now, Sequence) else [now]
    return judge(current, history, direction=direction, options=options).status


def allowing(amount: float, *, relative: bool = False) -> RuleOptions:
    return RuleOptions(tolerance=Tolerance(amount, relative))


def test_a_verdict_tells_the_numbers() -> None:
    verdict = judge([0.80], NOISY, direction="max")
    assert verdict.status == "regressed"
    assert verdict.suspect
    assert verdict.n == 10
    assert verdict.current == 0.80
    assert verdict.baseline == pytest.approx(0.9)
    assert verdict.change == pytest.approx(-0.1)
    assert verdict.relative == pytest.approx(-0.1 / 0.9)
    assert verdict.limit is not None
    assert 0.80 < verdict.limit < 0.89
    assert verdict.reason == "11 % worse than the mean of 10 sessions: p < 0.0001"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("direction", "alternative"), [("max", "less"), ("min", "greater")])
def test_p_is_that_of_scipys_t_test(seed: int, direction: Direction, alternative: str) -> None:
    rng = np.random.default_rng(seed)
    history = rng.normal(10, 1, size=rng.integers(2, 21))
    current = rng.normal(9, 1, size=3)
    several = stats.ttest_ind(current, history, equal_var=True, alternative=alternative)
    verdict = judge(list(current), list(history), direction=direction)
    assert verdict.p_value == pytest.approx(several.pvalue, rel=1e-9)
    # Of one value, ttest_ind itself warns, and in older releases it returns NaN.
    before = (np.mean(history), np.std(history, ddof=1), len(history))
    one = stats.ttest_ind_from_stats(current[0], 0, 1, *before, alternative=alternative)
    verdict = judge([current[0]], list(history), direction=direction)
    assert verdict.p_value == pytest.approx(one.pvalue, rel=1e-9)


def test_the_limit_is_that_of_students_prediction_interval() -> None:
    mean, scatter, n = np.mean(NOISY), np.std(NOISY, ddof=1), len(NOISY)
    expected = mean - stats.t.ppf(0.999, n - 1) * scatter * math.sqrt(1 + 1 / n)
    assert judge([0.9], NOISY, direction="max").limit == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("now", "history", "expected"),
    [
        (0.991, [1.0] * 20, "unchanged"),  # less than 1 %
        (0.985, [1.0] * 20, "regressed"),
        (1.015, [1.0] * 20, "improved"),
        (0.991, [1.0] * 19 + [0.999], "unchanged"),
        (0.95, [1.0] * 18 + [0.955, 1.0], "inconclusive"),  # like one of the last 3, an exception
        (0.95, [1.0] * 16 + [0.955, 1.0, 1.0, 1.0], "regressed"),
        (0.90, [1.0, 0.95, 1.05, 0.98, 1.02, 1.0], "unchanged"),  # within the scatter
        (0.95, [1.0] * 3, "unchanged"),  # three say little
        (0.93, [1.0] * 3, "regressed"),
        (0.70, [1.0, 1.0], "regressed"),
        (0.76, [1.0, 1.0], "inconclusive"),
        (0.70, [1.0, 1.5], "inconclusive"),  # far, and p > 0.05
        (0.49, [1.0], "regressed"),
        (0.51, [1.0], "inconclusive"),
        (2.01, [1.0], "improved"),  # twice is as far above as half is below
        (1.99, [1.0], "inconclusive"),
        (1.0, [1.0], "inconclusive"),
        (0.70, [1.0, 1.2, 0.8, 1.1, 0.9], "unchanged"),  # with 5, far is not enough
    ],
)
def test_statuses(now: float, history: list[float], expected: Status) -> None:
    assert status(now, history) == expected
    assert status(-now, [-value for value in history], "min") == expected


def test_a_cost_takes_more() -> None:
    assert status(1.9, [1.0], "min", COST) == "inconclusive"
    assert status(2.1, [1.0], "min", COST) == "regressed"
    assert status(0.6, [1.0], "max", COST) == "inconclusive"
    assert status(0.4, [1.0], "max", COST) == "regressed"  # half the throughput is twice the time
    assert status(0.4, [1.0], "min", COST) == "improved"


def test_only_the_window_counts() -> None:
    history = [0.5] * 10 + [1.0] * 20
    assert judge([0.95], history, direction="max").n == 20
    assert status(0.95, history) == "regressed"
    assert judge([0.95], history, direction="max", options=RuleOptions(window=30)).n == 20
    assert status(0.6, [1.0] * 20 + [0.5] * 9) == "regressed"
    assert status(0.6, [1.0] * 20 + [0.5] * 9, options=RuleOptions(window=9)) == "improved"


def test_fresh_values_decide_from_one_session_of_history_on() -> None:
    assert status([0.70, 0.701, 0.702], [1.0]) == "regressed"
    assert status([0.80, 0.801, 0.802], [1.0]) == "regressed"
    assert status([0.60, 0.70, 0.80], [1.0]) == "inconclusive"
    assert status([1.30, 1.301, 1.302], [1.0]) == "improved"
    assert not judge([0.5, 0.501], [1.0], direction="max").suspect


def test_fresh_values_of_a_frozen_seed_count_as_one() -> None:
    one, many = (judge([0.875] * k, NOISY, direction="max") for k in (1, 3))
    assert (one.status, many.status) == ("unchanged", "unchanged")
    assert many.p_value == one.p_value
    assert many.reason.startswith(
        "2.8 % worse than the mean of 10 sessions, over 3 runs that count"
    )
    assert status([0.870, 0.875, 0.880], NOISY) == "regressed"
    assert status([0.95] * 3, [1.0] * 4) == "regressed"  # a history without scatter says no such


@pytest.mark.parametrize(
    ("now", "history", "suspect"),
    [
        (0.87, NOISY, True),  # p = 0.001 to 0.01
        (0.89, NOISY, False),
        (0.93, NOISY, False),
        (0.94, [1.0], True),
        (0.95, [1.0], True),
        (0.96, [1.0], False),
        (1.10, [1.0], False),
        (0.95, [1.0, 0.8, 1.2, 0.9], False),
        (nan, NOISY, True),
    ],
)
def test_suspects(now: float, history: Sequence[float], suspect: bool) -> None:
    assert judge([now], history, direction="max").suspect is suspect


def test_a_tolerance_decides_alone() -> None:
    assert status(0.87, [0.9], options=allowing(0.02)) == "regressed"
    assert status(0.93, [0.9], options=allowing(0.02)) == "improved"
    assert status(0.89, [0.9], options=allowing(0.02)) == "unchanged"
    assert status(0.1, NOISY, options=allowing(1.0)) == "unchanged"
    assert status(99, [100], options=allowing(0.02, relative=True)) == "unchanged"
    assert status(97, [100], options=allowing(0.02, relative=True)) == "regressed"
    assert status(-103, [-100], options=allowing(0.02, relative=True)) == "regressed"
    assert status(0.87, [0.9], None, allowing(0.02)) == "inconclusive"
    assert status(0.89, [0.9], None, allowing(0.02)) == "unchanged"


@pytest.mark.parametrize(
    ("now", "history", "amount"),
    [(0.88, [0.9], 0.02), (0.7, [0.8], 0.1), (0.3, [0.1, 0.2, 0.3, 0.4], -0.05), (1.1, [1.2], 0.1)],
)
def test_the_rounding_of_floats_is_no_change(
    now: float, history: list[float], amount: float
) -> None:
    assert status(now, history, options=allowing(abs(amount))) in ("unchanged", "improved")
    assert status(now, history, options=allowing(abs(amount) - 1e-9)) != "unchanged"


def test_the_limit_of_a_tolerance() -> None:
    verdict = judge([0.89], [0.9], direction="max", options=allowing(0.02))
    assert verdict.limit == pytest.approx(0.88)
    assert verdict.reason == "1.1 % worse than the mean of 1 session; the tolerance is 0.02"


def test_without_a_direction_nothing_gates() -> None:
    for now in (0.5, 1.5, inf):
        verdict = judge([now], NOISY)
        assert verdict.status == "inconclusive"
        assert not verdict.suspect
        assert "direction= or the ini value mlflow_direction" in verdict.reason
    assert status(0.9, NOISY, None) == "unchanged"
    assert status(nan, NOISY, None) == "regressed"
    assert judge([0.5], NOISY).limit is None


@pytest.mark.parametrize(
    ("now", "history", "direction", "expected"),
    [
        (nan, [1.0], "max", "regressed"),
        (-inf, [1.0], "max", "regressed"),
        (inf, [1.0], "max", "improved"),
        (inf, [1.0], "min", "regressed"),
        (-inf, [1.0], "min", "improved"),
        (nan, [1.0, nan], "max", "regressed"),
        (nan, [nan, nan], "max", "unchanged"),
        (nan, [nan], None, "unchanged"),
        (nan, [-inf], "max", "unchanged"),
        (1.0, [nan, nan], "max", "improved"),
        (1.0, [nan, -inf], "max", "improved"),
        (1.0, [nan, inf], "min", "improved"),
        (1.0, [inf], "max", "regressed"),
        (1.0, [nan], None, "inconclusive"),
        (inf, [inf, inf], "min", "unchanged"),
        (inf, [nan], "min", "unchanged"),
        (inf, [inf], None, "unchanged"),
        (nan, [], "max", "inconclusive"),
        (1.0, [], "max", "new"),
        ([0.9, nan], [1.0], "max", "regressed"),
        ([inf, -inf], [1.0], "max", "regressed"),
    ],
)
def test_what_is_not_finite(
    now: float | list[float], history: list[float], direction: Direction | None, expected: Status
) -> None:
    assert status(now, history, direction) == expected


def test_what_is_not_finite_in_the_history_is_ignored() -> None:
    verdict = judge([0.8], [nan, *NOISY[:5], inf, *NOISY[5:]], direction="max")
    assert (verdict.status, verdict.n) == ("regressed", 10)


def test_missing() -> None:
    verdict = judge([], NOISY, direction="max")
    assert (verdict.status, verdict.current, verdict.suspect) == ("missing", None, False)
    assert verdict.baseline == pytest.approx(0.9)


def test_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match="neither a value now nor a history"):
        judge([], [])


def test_a_direction_is_max_or_min() -> None:
    with pytest.raises(ValueError, match="'up'; it must be 'max', 'min' or None"):
        judge([1], [1], direction="up")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 0}, {"alpha": 0.5}, {"min_effect": -0.1}, {"min_effect": nan}, {"window": 0}],
)
def test_options_out_of_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))} is .*; it must be"):
        RuleOptions(**wrong)  # type: ignore[arg-type]


def test_a_history_of_zeros() -> None:
    assert status(1, [0, 0, 0], "min") == "regressed"
    assert status(1e-3, [0] * 10, "min") == "regressed"
    assert status(1e-12, [0] * 10, "min") == "unchanged"
    assert status(1e-12, [0, 1e-17, 0, -1e-17, 0], "min") == "unchanged"
    assert status(1, [0, 0], "min") == "inconclusive"
    assert status(0, [0] * 10, "min") == "unchanged"
    assert status(1e-12, [0], "min", allowing(0.1, relative=True)) == "unchanged"
    assert judge([1], [0, 0, 0], direction="min").relative is None


def test_percentages_of_negative_values() -> None:
    verdict = judge([-110.0], [-100.0] * 5, direction="max")
    assert verdict.status == "regressed"
    assert verdict.relative == pytest.approx(-0.1)


@pytest.mark.parametrize("n", [1, 2, 4, 20])
@pytest.mark.parametrize("history", [1.7e308, -1.7e308, 5e-324, 1e-310, 1.0, 0.0])
@pytest.mark.parametrize("now", [1.7e308, -1.7e308, 5e-324, 1.0, 0.0])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_nothing_overflows(n: int, history: float, now: float, direction: Direction) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for series in ([history] * n, [history, -history] * n, [history, 1.0, 1e300] * n):
            verdict = judge([now], series, direction=direction)
            numbers = (verdict.baseline, verdict.change, verdict.relative, verdict.limit)
            assert all(number is None or math.isfinite(number) for number in numbers)
            judge([now, -now, 1.0], series, direction=direction, options=allowing(1e308))


def series(current: Any, history: Any, options: RuleOptions, **more: Any) -> MetricSeries:
    return MetricSeries(
        case="case",
        metric="metric",
        current=current,
        history=history,
        direction="max",
        options=options,
        **more,
    )


_SIZES = (1.7e308, 1e200, 0.5, 1e-250, 5e-324, 0.0)


@pytest.mark.parametrize("history", [*_SIZES, -1e200])
@pytest.mark.parametrize("now", _SIZES)
@pytest.mark.parametrize("change", [None, 0.0])
def test_neither_repeats_nor_accepted_levels_overflow(
    history: float, now: float, change: float | None
) -> None:
    options = RuleOptions(min_change=change)

    def is_judged(current: Any, past: Any, **more: Any) -> bool:
        (verdict,) = judge_session([series(current, past, options, **more)])
        numbers = (verdict.baseline, verdict.change, verdict.limit, verdict.p_value)
        return all(number is None or math.isfinite(number) for number in numbers)

    for n in (1, 2, 6):
        assert is_judged(((now, history),), ((history, now), (history, 1.0)) * n)
        assert is_judged(((now, 0.0, -now),), ((history, now, -history),) * n)
        assert is_judged((now,) * n, (history, 1.0) * n, reseeded=True)
        for scatter in (0.0, 1e-250, 1.0, 1e200, inf):
            for name in ("accepted", "level"):
                level = AcceptedValue(value=history, scatter=scatter, n=n)
                assert is_judged((now,), (history,) * (n - 1), **{name: level})


def test_a_scatter_that_vanishes_as_a_square_counts() -> None:
    level = AcceptedValue(value=1e-250, scatter=3e-253, n=8)
    rows = [series((now,), (), RuleOptions(), accepted=level) for now in (0.99e-250, 0.9e-250)]
    assert [verdict.status for verdict in judge_session(rows)] == ["accepted", "regressed"]


def test_arrays_will_do() -> None:
    now: Any = np.array([0.8])
    history: Any = np.array(NOISY)
    verdict = judge(now, history, direction="max")
    assert verdict == judge([0.8], NOISY, direction="max")
    assert type(verdict.current) is float


@seldom
@given(all_kinds, values, directions)
def test_the_mirror_of_a_metric(history: list[float], now: float, direction: Direction) -> None:
    verdict = judge([now], history, direction=direction)
    mirror: Direction = "min" if direction == "max" else "max"
    mirrored = judge([-now], [-value for value in history], direction=mirror)
    assume(not any(map(is_count, (history, [-value for value in history]))))
    assert (mirrored.limit is None) is (verdict.limit is None)
    same = ("status", "p_value", "n", "suspect", "reason", "exceptions", "below_since")
    assert [getattr(mirrored, name) for name in same] == [getattr(verdict, name) for name in same]


def is_count(history: Sequence[float]) -> bool:
    """Whether whole numbers are taken for counts, which have neither a unit nor a mirror."""
    return all(value >= 0 and value == int(value) for value in history)


def is_score(history: Sequence[float]) -> bool:
    """Whether values are taken for scores, whose error is judged too."""
    return all(0 <= abs(value) <= 1 for value in history)


@seldom
@given(histories, values, directions, st.integers(-300, 300))
def test_the_unit_does_not_matter(
    history: list[float], now: float, direction: Direction, exponent: int
) -> None:
    units = [value * 2.0**exponent for value in history]
    assume(not any(is_count(one) or is_score(one) for one in (history, units)))
    verdict = judge([now], history, direction=direction)
    scaled = judge([now * 2.0**exponent], units, direction=direction)
    assert (scaled.status, scaled.suspect, scaled.p_value, scaled.reason) == (
        verdict.status,
        verdict.suspect,
        verdict.p_value,
        verdict.reason,
    )


@seldom
@given(
    all_kinds,
    st.lists(st.floats() | st.floats(0, 1) | st.floats(0.9, 1.1), min_size=2, max_size=2),
    directions,
    st.booleans(),
)
def test_a_worse_value_never_gets_a_better_verdict(
    history: list[float], pair: list[float], direction: Direction, tolerant: bool
) -> None:
    assume(not any(map(math.isnan, pair)))
    better, worse = sorted(pair, reverse=direction == "max")
    options = allowing(0.1) if tolerant else PLAIN
    order = ["improved", "unchanged", "drifting", "inconclusive", "regressed"]
    ranks = [order.index(status(value, history, direction, options)) for value in (better, worse)]
    assert ranks == sorted(ranks)
    assert status(nan, history, direction, options) == "regressed"


@seldom
@given(
    all_kinds | st.lists(st.sampled_from([0.0, 1e-3, -1e-3, 1.0]), min_size=1, max_size=8),
    values,
    directions,
    st.sampled_from([PLAIN, COST, allowing(0.3), allowing(0.1, relative=True)]),
)
def test_the_limit_is_where_the_verdict_turns(
    history: list[float], now: float, direction: Direction, options: RuleOptions
) -> None:
    limit = judge([now], history, direction=direction, options=options).limit
    if limit is None:
        assert status(now, history, direction, options) != "regressed"
        return
    # Older releases of SciPy know eight digits of the quantile.
    step = 1e-7 * max(abs(limit), *map(abs, history)) * (1 if direction == "min" else -1)
    beyond = judge([limit + step], history, direction=direction, options=options)
    assert (beyond.status, beyond.suspect) == ("regressed", True)
    assert status(limit - step, history, direction, options) != "regressed"


@seldom
@given(all_kinds, values, directions)
def test_what_regressed_is_suspect(history: list[float], now: float, direction: Direction) -> None:
    verdict: Verdict = judge([now], history, direction=direction)
    assert verdict.suspect or verdict.status != "regressed"


def test_average() -> None:
    assert average([1.0, 2.0, 6.0]) == 3.0
    assert average([1.0, 2.0, 6.0], cost=True) == 2.0
    assert average([1.0, 2.0], cost=True) == 1.5
    assert average([0.1] * 3) == 0.1
    assert average([1.7e308] * 3) == 1.7e308
    assert average([1.7e308, 1.6e308], cost=True) == pytest.approx(1.65e308)
    assert average([5e-324] * 2, cost=True) == 5e-324
    assert average([1.0, inf]) == inf
    assert average([1.0, -inf]) == -inf
    for cost in (False, True):
        assert math.isnan(average([1.0, nan], cost=cost))
        assert math.isnan(average([-inf, inf], cost=cost))
        with pytest.raises(ValueError, match="no values to average"):
            average([], cost=cost)


def test_an_infinity_outweighs_what_overflows() -> None:
    assert average([1e308, 1e308, -inf]) == -inf
    assert math.isnan(average([inf, 1.0, -inf]))
