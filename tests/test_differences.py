"""What two sessions differ by, on plain numbers."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
from sessions import baseline, judged, make_case, make_session

from pytest_mlflow_experiments.regression.values import SessionValues
from pytest_mlflow_experiments.report.differences import Differences, difference_lines, differences


def found(old: SessionValues, new: SessionValues, *window: SessionValues) -> Differences:
    comparison = judged(new, baseline(old))
    return differences(old, new, window, comparison)


def of(**metrics: float) -> SessionValues:
    return make_session(make_case(metrics=metrics))


def test_relative_differences_without_a_scatter() -> None:
    rows = found(of(a=1.0, b=100.0, c=2.0), of(a=1.1, b=150.0, c=2.0)).rows
    assert [(row.metric, row.share) for row in rows] == [
        ("b", 0.5),
        ("a", pytest.approx(0.1)),
        ("c", 0.0),
    ]
    assert rows[0].scatter is None
    assert rows[0].origin.startswith("nothing")


def test_scatter_of_the_sessions_up_to_the_old_one() -> None:
    window = [of(a=value, b=value) for value in (1.0, 1.02, 1.0, 1.02)]
    rows = found(window[-1], of(a=1.1, b=1.04), *window[:-1]).rows
    assert [row.metric for row in rows] == ["a", "b"]
    assert rows[0].scatter == pytest.approx(0.02 / 2**0.5)
    assert rows[0].origin == "4 sessions around A"
    # A shift of the level is no scatter.
    window = [of(a=value) for value in (1.0, 1.02, 1.0, 3.0, 3.02, 3.0, 3.02, 3.0)]
    (row,) = found(window[-1], of(a=1.1), *window[:-1]).rows
    assert row.scatter == pytest.approx((4.0012 / 14) ** 0.5, rel=0.01)


def test_session_that_is_b_tells_no_scatter() -> None:
    old, new = of(a=1.0), of(a=2.0)
    assert found(old, new).rows[0].scatter is None


def test_seeds_and_repeats() -> None:
    def session(*values: float) -> SessionValues:
        return make_session(
            *(
                make_case(
                    f"test_a[{seed}]",
                    params={"seed": str(seed)},
                    arguments=("seed",),
                    metrics={"f1": value},
                )
                for seed, value in enumerate(values)
            )
        )

    (row,) = found(session(1.0, 2.0, 3.0), session(2.0, 3.0, 4.0)).rows
    assert (row.old, row.new, row.scatter) == (2.0, 3.0, 1.0)
    assert row.origin == "seeds (3 in A, 3 in B)"
    # One side is enough.
    again = make_session(make_case(metrics={"f1": 1.0}, repeats=[{"f1": 3.0}]))
    (row,) = found(of(f1=2.0), again).rows
    assert row.origin == "fresh runs (1 in A, 2 in B)"
    assert row.scatter == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("old", "new", "size"), [(nan, nan, 0.0), (1.0, nan, inf), (inf, inf, 0.0), (0.0, 1.0, inf)]
)
def test_numbers_that_are_none(old: float, new: float, size: float) -> None:
    (row,) = found(of(a=old), of(a=new)).rows
    assert row.size == size
    assert "Traceback" not in "".join(difference_lines(found(of(a=old), of(a=new))))


def test_repeats_that_are_the_same_again_tell_less_than_sessions() -> None:
    new = make_session(make_case(metrics={"f1": 3.0}, repeats=[{"f1": 3.0}]))
    (row,) = found(of(f1=2.0), new).rows
    assert (row.scatter, row.origin) == (0.0, "fresh runs (1 in A, 2 in B)")
    assert "∞" in "".join(difference_lines(found(of(f1=2.0), new)))
    window = [of(f1=2.0), of(f1=2.1), of(f1=nan), of(f1=2.0)]
    (row,) = found(window[-1], new, *window[:-1]).rows
    assert row.scatter == pytest.approx(0.1 / 2**0.5)
    assert row.origin == "3 sessions around A"


def test_no_scatter_at_all() -> None:
    window = [of(a=1.0, b=1.0) for _ in range(3)]
    rows = found(window[0], of(a=1.0, b=1.001), *window).rows
    assert [(row.metric, row.size) for row in rows] == [("b", inf), ("a", 0.0)]


def test_rounding_errors_order_nothing() -> None:
    rows = found(of(a=3.0, b=1.0, c=0.7), of(a=3.3, b=1.1, c=0.77)).rows
    assert len({row.size for row in rows}) > 1
    assert [row.metric for row in rows] == ["a", "b", "c"]


def test_costs_come_last() -> None:
    rows = found(of(accuracy=0.9, duration_seconds=1.0), of(accuracy=0.91, duration_seconds=9.0))
    assert [row.metric for row in rows.rows] == ["accuracy", "duration_seconds"]


def test_what_only_one_has() -> None:
    old = make_session(
        make_case("test_a", metrics={"f1": 1.0, "gone": 2.0}),
        make_case("test_old", metrics={"f1": 1}),
    )
    new = make_session(
        make_case("test_a", metrics={"f1": 1.0}), make_case("test_new", metrics={"f1": 1})
    )
    text = "\n".join(difference_lines(found(old, new)))
    assert "only in A: 1 case: test_old" in text
    assert "only in A: 1 metric: gone of test_a (2)" in text
    assert "only in B: 1 case: test_new" in text
    assert "1 metric is the same" in text or "1 is the same" in text


def test_failed_case_shows_what_it_measured() -> None:
    new = make_session(
        make_case(metrics={"f1": 0.2}, outcome="failed"), make_case("test_b", outcome="failed")
    )
    old = make_session(make_case(metrics={"f1": 0.9}), make_case("test_b", metrics={"f1": 0.9}))
    result = found(old, new)
    assert [(row.old, row.new) for row in result.rows] == [(0.9, 0.2)]
    assert "test_b (failed in the other one, without a metric)" in "".join(result.texts)


def test_params_data_and_environment() -> None:
    def session(lr: str, digest: str, python: str) -> SessionValues:
        cases = [
            make_case(name, params={"lr": lr}, datasets={"train": digest}, metrics={"f1": 1.0})
            for name in ("test_a", "test_b")
        ]
        made = make_session(*cases)
        tags = {"python.version": python, "git.commit": "x", "team": "a"}
        made.header = replace(made.header, tags=tags, rules=(f"tolerances f1: {lr}",))
        return made

    result = found(session("0.1", "abc", "3.11"), session("0.2", "def", "3.12"))
    assert result.texts == (
        "param 'lr': 0.1 → 0.2 (test_a, test_b)",
        "dataset 'train': abc → def (test_a, test_b)",
        "python.version: 3.11 → 3.12",
        "settings: tolerances f1: 0.1 → tolerances f1: 0.2",
    )


def test_many_rows_are_counted() -> None:
    old = of(**{f"m{number}": 1.0 for number in range(80)})
    new = of(**{f"m{number}": 2.0 + number for number in range(80)})
    lines = [*difference_lines(found(old, new))]
    assert "… and 30 smaller ones" in lines[-1]
    assert len(lines) == 3 + 1 + 50 + 1
