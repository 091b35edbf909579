from __future__ import annotations

from math import inf, nan

import pytest
from comparisons import make_metric

from pytest_mlflow_experiments.records import Operator
from pytest_mlflow_experiments.regression import Direction
from pytest_mlflow_experiments.regression.comparison import Margin
from pytest_mlflow_experiments.report import numbers


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.912345678, "0.912346"),
        (1234567, "1.23457e+06"),
        (-0.0, "0"),
        (None, "—"),
        (nan, "NaN"),
        (inf, "∞"),
        (-inf, "-∞"),
        (5e-324, "4.94066e-324"),
    ],
)
def test_value(number: float | None, text: str) -> None:
    assert numbers.value(number) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (-0.023, "-2.3 %"),
        (0.1, "+10.0 %"),
        (0.9996, "+100 %"),
        (2.5, "+250 %"),
        (0.0, "0.0 %"),
        (0.0004, "+0.04 %"),
        (-1e-05, "-0.001 %"),
        (1e-15, "0.0 %"),
        (1000000.0, "+1e+08 %"),
        (inf, "+∞ %"),
        (-inf, "-∞ %"),
        (nan, "NaN %"),
        (None, "—"),
    ],
)
def test_relative(share: float | None, text: str) -> None:
    assert numbers.relative(share) == text


@pytest.mark.parametrize(
    ("history", "value", "text"),
    [
        ((2.0,), 1.5, "-0.5 (-25.0 %)"),
        ((-2.0,), -1.5, "+0.5 (+25.0 %)"),
        ((0.0,), 0.25, "+0.25"),
        ((1.0,), nan, "NaN"),
        ((1.0,), inf, "+∞"),
        ((1.0,), 1.0, "0 (0.0 %)"),
        ((), 1.0, "—"),
    ],
)
def test_change(history: tuple[float, ...], value: float, text: str) -> None:
    assert numbers.change(make_metric(history=history, values=(value,))) == text


@pytest.mark.parametrize(
    ("direction", "side"), [("max", "below"), ("min", "above"), (None, "from")]
)
def test_limit(direction: Direction | None, side: str) -> None:
    assert numbers.limit(make_metric(direction=direction, limit=0.5)) == f"worse {side} 0.5"
    assert numbers.limit(make_metric(direction=direction, limit=None)) == "—"


@pytest.mark.parametrize(
    ("operator", "tolerance", "before", "texts"),
    [
        (">=", None, 0.3, ("≥ 0.5", "0.2 (was 0.3)")),
        ("<", None, 0.1, ("< 0.5", "0.2")),
        ("==", 0.25, None, ("≈ 0.5 ± 0.25", "0.2")),
    ],
)
def test_margin(
    operator: Operator, tolerance: float | None, before: float | None, texts: tuple[str, str]
) -> None:
    margin = Margin(
        operator=operator, limit=0.5, tolerance=tolerance, margin=0.2, baseline_margin=before
    )
    assert (
        numbers.assertion(margin),
        numbers.margin(make_metric("regressed", margin=margin)),
    ) == texts
    # What is within noise of the baseline came no closer.
    assert numbers.margin(make_metric("unchanged", margin=margin)) == "0.2"


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0004, "p = 0.0004"), (0.25, "p = 0.25"), (1e-9, "p < 0.0001"), (nan, ""), (None, "")],
)
def test_p_value(p: float | None, text: str) -> None:
    assert numbers.p_value(p) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 seconds"),
        (1500, "1 second"),
        (90000, "1 minute"),
        (7300000.0, "2 hours"),
        (86400000 * 3, "3 days"),
        (86400000 * 800, "2 years"),
        (-120000, "2 minutes"),
    ],
)
def test_span(milliseconds: float, text: str) -> None:
    assert numbers.span(milliseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "0.012 s"),
        (3.21, "3.2 s"),
        (59.99, "1 min 0 s"),
        (245, "4 min 5 s"),
        (7380, "2 h 3 min"),
        (nan, "—"),
        (-1, "—"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


def test_moment() -> None:
    assert numbers.moment(1_795_440_000_000) == "2026-11-23 13:20 UTC"
    assert numbers.timestamp(1_795_440_000_000) == "2026-11-23T13:20:00+00:00"
    assert (numbers.moment(10**20), numbers.timestamp(10**20)) == ("—", "")


@pytest.mark.parametrize(
    ("operator", "limit", "now", "before", "told"),
    [
        (">=", 0.8, 0.0578, 0.1641, "0.058 above the assertion's 0.8 (was 0.164)"),
        (">", 0.8, 0.0578, 0.01, "0.058 above the assertion's 0.8"),
        ("<", 62.0, 0.8, 7.1, "0.80 below the assertion's 62 (was 7.10)"),
        ("<=", 1e9, 1234.5, 23456.7, "1234 below the assertion's 1e+09 (was 23457)"),
        ("<", 1e-6, 1e-9, 5e-9, "1e-09 below the assertion's 1e-06 (was 5e-09)"),
        (">=", 0.8, -0.02, 0.1, "0.020 below the assertion's 0.8 (was 0.100)"),
        ("<", 1.0, -0.02, None, "0.020 above the assertion's 1"),
        (">=", 0.8, 0.0, 0.1, "exactly at the assertion's 0.8 (was 0.10)"),
        ("==", 0.2, 0.011, 0.14, "0.011 within the assertion's 0.2 ± 0.15 (was 0.140)"),
        (">=", 0.8, inf, None, "∞ above the assertion's 0.8"),
    ],
)
def test_headroom(
    operator: Operator, limit: float, now: float, before: float | None, told: str
) -> None:
    tolerance = 0.15 if operator == "==" else None
    margin = Margin(
        operator=operator, limit=limit, tolerance=tolerance, margin=now, baseline_margin=before
    )
    assert numbers.headroom(margin) == told
