"""A session compared with its baseline: what is judged, against what, and what it comes to."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sessions import (
    baseline,
    judged,
    make_case,
    make_check,
    make_session,
    only,
    past_of,
)

from pytest_mlflow_experiments.records import CaseRecord, DatasetInput, Operator
from pytest_mlflow_experiments.records.accepted import AcceptedValue, MetricLevel, make_step
from pytest_mlflow_experiments.records.tags import COMMIT
from pytest_mlflow_experiments.regression import MetricSeries, Tolerance, Verdict
from pytest_mlflow_experiments.regression.comparer import CompareOptions, Comparer
from pytest_mlflow_experiments.regression.comparison import Comparison, MetricComparison
from pytest_mlflow_experiments.regression.sweeps.build import SweepBuilder
from pytest_mlflow_experiments.regression.values import Sessions, SessionValues
from pytest_mlflow_experiments.report.headline import headline
from pytest_mlflow_experiments.report.run_texts import with_comparison

STEADY = [0.90, 0.91, 0.90, 0.89, 0.90]


def now(value: float, metric: str = "accuracy", **fields: Any) -> SessionValues:
    return make_session(make_case(metrics={metric: value}, **fields))


@pytest.mark.parametrize(
    ("value", "status"), [(0.80, "regressed"), (0.90, "unchanged"), (0.99, "improved")]
)
def test_statuses_of_a_steady_metric(value: float, status: str) -> None:
    metric = only(judged(now(value), past_of(STEADY)))
    assert (metric.status, metric.gates) == (status, status == "regressed")
    assert metric.history == tuple(STEADY)
    assert metric.n == 5
    assert metric.values == (value,)


@pytest.mark.parametrize("other", [("f1", "accuracy"), ("f1",), ("accuracy", "f1", "loss")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_metric_has_its_own_history(other: tuple[str, ...], place: int) -> None:
    """Whatever order they have in a session, and whichever of them it lacks."""
    numbers = {"accuracy": 0.9, "f1": 0.8, "loss": 0.1}
    names: list[tuple[str, ...]] = [("accuracy", "f1")] * 3
    names[place] = other
    past = [
        make_session(make_case(metrics={name: numbers[name] + day / 1_000 for name in one}))
        for day, one in enumerate(names)
    ]
    found = judged(make_session(make_case(metrics={"accuracy": 0.9, "f1": 0.8})), baseline(*past))
    for row in found.metrics:
        days = [day for day, one in enumerate(names) if row.metric in one]
        assert row.history == tuple(numbers[row.metric] + day / 1_000 for day in days)


def test_no_baseline() -> None:
    comparison = judged(now(0.9), None)
    assert comparison.baseline is None
    assert only(comparison).status == "new"
    assert comparison.gating() == []


def test_one_value_is_not_enough() -> None:
    metric = only(judged(now(0.8), past_of([0.9])))
    assert (metric.status, metric.gates) == ("inconclusive", False)


def test_one_value_shows_a_collapse() -> None:
    assert only(judged(now(0.4), past_of([0.9]))).status == "regressed"


@pytest.mark.parametrize(
    ("value", "status"), [(0.9, "unchanged"), (0.9 - 1e-12, "unchanged"), (0.85, "regressed")]
)
def test_constant_history(value: float, status: str) -> None:
    assert only(judged(now(value), past_of([0.9] * 6))).status == status


@pytest.mark.parametrize(
    ("value", "status"), [(0.0, "unchanged"), (1e-13, "unchanged"), (0.5, "regressed")]
)
def test_mean_of_zero(value: float, status: str) -> None:
    metric = only(judged(now(value, "loss"), past_of([0.0] * 5, "loss")))
    assert metric.status == status
    assert metric.relative is None


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_no_number_after_numbers_gates(value: float) -> None:
    metric = only(judged(now(value), past_of(STEADY)))
    assert (metric.status, metric.gates) == ("regressed", True)


def test_nan_gates_where_nobody_knows_the_direction() -> None:
    metric = only(judged(now(math.nan, "thing"), past_of(STEADY, "thing")))
    assert (metric.status, metric.gates) == ("regressed", True)


def test_new_nan_gates() -> None:
    metric = only(judged(now(math.nan), None))
    assert (metric.status, metric.gates) == ("inconclusive", True)


def test_numbers_after_no_numbers_do_not_gate() -> None:
    metric = only(judged(now(0.9), past_of([math.nan, -math.inf, math.nan])))
    assert not metric.gates


def test_metric_that_appears() -> None:
    metric = only(judged(now(0.9), baseline(make_session(make_case()))))
    assert (metric.status, metric.gates) == ("new", False)


def test_metric_that_vanishes() -> None:
    metric = only(judged(make_session(make_case()), past_of(STEADY)))
    assert (metric.status, metric.gates, metric.current) == ("missing", True, None)
    assert metric.baseline == pytest.approx(0.9)


def test_metric_that_vanished_long_ago_is_not_missing() -> None:
    past = past_of(STEADY)
    past.sessions.append(make_session(make_case()))
    assert judged(make_session(make_case()), past).metrics == ()


def test_renamed_case_is_missing_and_new() -> None:
    current = make_session(make_case("test_b", metrics={"accuracy": 0.5}))
    comparison = judged(current, past_of(STEADY))
    assert {metric.name: metric.status for metric in comparison.metrics} == {
        "test_a": "missing",
        "test_b": "new",
    }
    (missing,) = comparison.gating()
    assert "case=" in missing.reason


def test_renamed_case_with_a_name_of_its_own_keeps_its_history() -> None:
    current = make_session(make_case("test_b", case="digits", metrics={"accuracy": 0.5}))
    assert only(judged(current, past_of(STEADY, case="digits"))).status == "regressed"


@pytest.mark.parametrize(
    "arguments",
    [
        {"not_run": {"test_it.py::test_a": "deselected"}},
        {"partial": "-k"},
    ],
    ids=["left out", "-k"],
)
def test_what_was_left_out_is_not_missing(arguments: dict[str, Any]) -> None:
    assert judged(make_session(), past_of(STEADY), **arguments).metrics == ()


def test_other_selection_has_other_cases() -> None:
    past = past_of(STEADY)
    comparison = judged(make_session(selection=["tests/unit"]), past)
    assert comparison.metrics == ()
    assert "missing tests can't be detected" in comparison.notes[0]


@pytest.mark.parametrize("partial", [None, "-k"])
def test_test_that_passed_without_a_record_lost_its_metric(partial: str | None) -> None:
    passed = {"test_it.py::test_a"}
    metric = only(judged(make_session(), past_of(STEADY), passed=passed, partial=partial))
    assert (metric.status, metric.gates) == ("missing", True)
    assert "passed" in metric.reason


def test_skipped_case_of_the_baseline_is_shown() -> None:
    not_run = {"test_it.py::test_a": "skipped"}
    (case,) = judged(make_session(), past_of(STEADY), not_run=not_run).unjudged
    assert (case.name, case.outcome) == ("test_a", "skipped")


E = ">       raise OSError('no data')\nE       OSError: no data\n\ntest_it.py:3: OSError"


@pytest.mark.parametrize("age", [0, 1], ids=["newest", "before the newest"])
@pytest.mark.parametrize("outcome", ["failed", "error"])
def test_case_that_failed_before_its_first_metric(outcome: str, age: int) -> None:
    past = past_of(STEADY)
    past.sessions += [make_session(make_case("test_b"))] * age
    current = make_session(
        *[make_case("test_b", durations={"call": 0.5})] * age, make_case(outcome=outcome, failure=E)
    )
    comparison = judged(current, past)
    (metric,) = [row for row in comparison.metrics if row.metric == "accuracy"]
    assert (metric.status, metric.gates) == ("missing", True)
    assert metric.reason.endswith("before it was measured: OSError: no data")
    (case,) = comparison.unjudged
    assert (case.outcome, case.failure, case.known) == (outcome, E, True)


def test_what_a_failed_case_had_measured_is_not_missing() -> None:
    past = baseline(*(make_session(make_case(metrics={"a": v, "b": v})) for v in STEADY))
    failed = make_case(outcome="failed", failure="assert", metrics={"a": 0.1})
    comparison = judged(make_session(failed), past)
    assert only(comparison).metric == "b"


def test_failed_repeats_are_told_of_once() -> None:
    def repeats(**fields: Any) -> list[CaseRecord]:
        return [
            make_case(f"test_a[{n}]", params={"seed": n}, arguments=("seed",), **fields)
            for n in "12"
        ]

    past = baseline(*(make_session(*repeats(metrics={"accuracy": v})) for v in STEADY))
    comparison = judged(make_session(*repeats(outcome="failed")), past)
    assert only(comparison).status == "missing"
    assert len(comparison.unjudged) == 2
    one_passed = [repeats(metrics={"accuracy": 0.9})[0], repeats(outcome="failed")[1]]
    assert only(judged(make_session(*one_passed), past)).status == "unchanged"


@pytest.mark.parametrize("node", ["test_it.py::test_a", "test_it.py"])
@pytest.mark.parametrize("partial", [None, "-k"])
def test_failed_test_without_a_record(node: str, partial: str | None) -> None:
    comparison = judged(
        make_session(), past_of(STEADY), not_run={node: "error"}, gated=True, partial=partial
    )
    assert (only(comparison).status, only(comparison).gates) == ("missing", True)
    assert headline(comparison).text.startswith("Gate failed: 1 metric missing; 1 failed case")


@pytest.mark.parametrize("metrics", [{}, {"accuracy": 0.1}])
def test_gate_never_passes_beside_a_failed_case_with_a_history(metrics: dict[str, float]) -> None:
    failed = make_case(outcome="failed", metrics=metrics)
    comparison = judged(make_session(failed), past_of(STEADY), gated=True)
    assert comparison.rejected
    assert (headline(comparison).gate, headline(comparison).level) == ("failed", "bad")
    new = judged(make_session(make_case("test_new", outcome="failed")), past_of(STEADY), gated=True)
    assert headline(replace(new, metrics=())).level == "warning"


def test_headline_is_never_green_where_pytest_fails() -> None:
    good = judged(now(0.9), past_of(STEADY), gated=True)
    assert headline(good).level == "good"
    failed = headline(replace(good, exit_status=1))
    assert (failed.gate, failed.level) == ("passed", "warning")
    assert failed.text.endswith("; the exit status is 1 for another reason")
    cut = now(0.9)
    assert cut.end is not None
    cut.end = replace(cut.end, interrupted="Ctrl-C")
    for gated, level in ((True, "bad"), (False, "warning")):
        found = headline(judged(cut, past_of(STEADY), gated=gated))
        assert (found.level, "ot everything ran: Ctrl-C" in found.text) == (level, True)


def swept(points: Mapping[str, float], **fields: Any) -> list[CaseRecord]:
    """Return the cases of a sweep; without a value, the point failed."""
    return [
        make_case(
            f"test_grid[{point}]",
            params={"rate": point},
            arguments=("rate",),
            objective="accuracy",
            metrics={} if math.isnan(value) else {"accuracy": value},
            outcome="failed" if math.isnan(value) else "passed",
            **fields,
        )
        for point, value in points.items()
    ]


OLD_GRID = {"1": 0.80, "2": 0.85, "3": 0.90, "4": 0.70}
GRIDS = baseline(
    *(
        make_session(*swept({point: value + shift for point, value in OLD_GRID.items()}))
        for shift in (0.0, 0.001, -0.001, 0.0, 0.001)
    )
)


def regridded(points: Mapping[str, float], **arguments: Any) -> Comparison:
    builder = SweepBuilder(CompareOptions())
    cases = swept(points)
    for case in cases:
        builder.add(case)
    return judged(make_session(*cases), GRIDS, sweeps=builder.build(), gated=True, **arguments)


@pytest.mark.parametrize(
    ("points", "worse"),
    [
        ({"2": 0.85, "3": 0.90}, set()),
        ({"3": 0.90, "5": 0.95}, set()),
        ({"5": 0.95, "6": 0.90}, set()),
        ({"2": 0.85, "1": 0.80}, {"accuracy[best]"}),
        ({"5": 0.80, "6": 0.70}, {"accuracy[best]"}),
        ({"2": 0.70, "1": 0.65, "5": 0.95}, {"accuracy", "accuracy[mean]"}),
    ],
    ids=["fewer", "better", "all others", "without the best", "others, worse", "shared are worse"],
)
def test_sweep_with_another_grid_is_judged_by_its_objective(
    points: dict[str, float], worse: set[str]
) -> None:
    comparison = regridded(points)
    assert "missing" not in {row.status for row in comparison.metrics}
    assert {row.metric for row in comparison.gating()} == worse
    assert {row.status for row in comparison.gating()} <= {"regressed"}
    (best,) = [row for row in comparison.metrics if row.metric == "accuracy[best]"]
    assert (best.name, best.current) == ("test_grid", max(points.values()))
    assert best.history == pytest.approx((0.9, 0.901, 0.899, 0.9, 0.901))
    went = [point for point in OLD_GRID if point not in points]
    assert all(f"test_grid[{point}]" in comparison.notes[0] for point in went)
    assert f"{len(went)} point" in comparison.notes[0]


def test_points_that_failed_did_not_go_with_the_grid() -> None:
    comparison = regridded({"3": 0.90, "4": 0.70, "1": math.nan})
    assert [row.case for row in comparison.gating()] == ["test_it.py::test_grid[1]"]
    nothing = regridded({"3": math.nan, "5": math.nan})
    assert {row.metric for row in nothing.gating()} == {"accuracy", "accuracy[best]"}


def test_points_without_a_sweep_are_missing() -> None:
    # They may be data, or what is left may be no sweep.
    left = make_session(*swept({"3": 0.90}))
    assert len(judged(left, GRIDS).gating()) == 3
    assert judged(make_session(), GRIDS, partial="-k").metrics == ()
    assert regridded({"1": 0.80, "3": 0.90}, partial="-k").notes == ()


def test_sweep_whose_grid_has_grown_is_judged_by_its_points() -> None:
    comparison = regridded({**OLD_GRID, "5": 0.6})
    assert comparison.notes == ()
    assert {row.metric for row in comparison.metrics} == {"accuracy"}


def test_changed_param_does_not_hide_a_missing_metric() -> None:
    current = make_session(make_case(params={"lr": "2"}))
    assert only(judged(current, past_of(STEADY, params={"lr": "1"}))).status == "missing"


def test_clause_that_is_not_reached_is_not_missing() -> None:
    check = replace(make_check("accuracy", 0.9, 0.8), alternative=True)
    past = past_of(STEADY, checks=(check,))
    assert judged(make_session(make_case()), past).metrics == ()


def test_problem_leaves_nothing_to_judge() -> None:
    comparison = judged(now(0.1), past_of(STEADY), problem="no answer")
    assert (comparison.metrics, comparison.problem) == ((), "no answer")


def test_failed_case_is_shown_and_not_judged() -> None:
    failed = make_case(outcome="failed", failure="assert 0.5 >= 0.9", metrics={"accuracy": 0.5})
    comparison = judged(make_session(failed), past_of(STEADY))
    assert comparison.metrics == ()
    (case,) = comparison.unjudged
    assert (case.name, case.outcome, case.failure) == ("test_a", "failed", "assert 0.5 >= 0.9")


def test_failed_cases_are_no_history() -> None:
    past = past_of(STEADY)
    past.sessions += past_of([0.1] * 5, outcome="failed").sessions
    assert only(judged(now(0.9), past)).history == tuple(STEADY)


@pytest.mark.parametrize("field", ["params", "datasets"])
def test_other_data_are_not_comparable(field: str) -> None:
    before: dict[str, Any] = {field: {"train": "a"}}
    after: dict[str, Any] = {field: {"train": "b"}}
    metric = only(judged(now(0.5, **after), past_of(STEADY, **before)))
    assert (metric.status, metric.gates, metric.history) == ("not comparable", False, ())
    assert metric.reason == f"{'param' if field == 'params' else 'dataset'} 'train' changed (a → b)"


@pytest.mark.parametrize(
    ("key", "name", "context", "digests", "told"),
    [
        ("dataset", "churn.csv", None, ("36dc11", "3c9822"), "churn.csv changed (36dc… → 3c98…)"),
        ("train", "churn.csv", "train", ("36dc1", "36dc2"), "churn.csv changed (36dc1 → 36dc2)"),
        ("train", "train", None, ("a1", "b2"), "dataset 'train' changed (a1 → b2)"),
        ("dataset", "dataset", None, ("36dc11", "3c9822"), "the dataset changed (36dc… → 3c98…)"),
    ],
)
def test_changed_data_have_the_name_that_users_know(
    key: str, name: str, context: str | None, digests: tuple[str, str], told: str
) -> None:
    before, after = digests
    data = DatasetInput(name=name, digest=after, source_type="local", source="{}", context=context)
    past = past_of(STEADY, datasets={key: before})
    metric = only(judged(now(0.5, datasets={key: after}, inputs=(data,)), past))
    assert (metric.status, metric.reason) == ("not comparable", told)


def test_only_the_sessions_with_the_same_data_count() -> None:
    past = past_of([0.5] * 5, datasets={"train": "a"})
    past.sessions += past_of(STEADY, datasets={"train": "b"}).sessions
    metric = only(judged(now(0.9, datasets={"train": "b"}), past))
    assert (metric.status, metric.history) == ("unchanged", tuple(STEADY))


def test_repeats_over_seeds_are_one_case() -> None:
    def session(*values: float) -> SessionValues:
        return make_session(
            *(
                make_case(
                    f"test_a[{seed}-ridge]",
                    arguments=("seed", "model"),
                    params={"seed": str(seed), "model": "ridge"},
                    metrics={"accuracy": value},
                )
                for seed, value in enumerate(values)
            )
        )

    past = baseline(*(session(value - 0.1, value, value + 0.1) for value in STEADY))
    metric = only(judged(session(0.6, 0.8, 0.7), past))
    assert (metric.case, metric.name) == ("test_it.py::test_a[model=ridge]", "test_a[model=ridge]")
    assert metric.values == (0.6, 0.8, 0.7)
    assert metric.current == pytest.approx(0.7)
    assert metric.history == pytest.approx(tuple(STEADY))
    assert metric.status == "regressed"


def test_seeds_that_a_baseline_has_not_got_are_told() -> None:
    repeats = [
        make_case(
            f"test_a[{seed}]",
            arguments=("seed",),
            params={"seed": str(seed)},
            metrics={"accuracy": 0.95},
        )
        for seed in range(3)
    ]
    told = judged(make_session(*repeats), past_of(STEADY))
    (note,) = [one for one in told.notes if "seeds" in one]
    assert note == (
        "test_a: repeated over seeds now, and not in the baseline; the mean of the repeats is "
        "compared with a single value, whatever luck that had"
    )
    past = baseline(make_session(*repeats))
    assert not any("seeds" in one for one in judged(make_session(*repeats), past).notes)


def test_fewer_seeds_are_compared_with_the_same_seeds() -> None:
    def session(values: dict[int, float]) -> SessionValues:
        return make_session(
            *(
                make_case(
                    f"test_a[{seed}]",
                    arguments=("seed",),
                    params={"seed": str(seed)},
                    metrics={"accuracy": value},
                )
                for seed, value in values.items()
            )
        )

    past = baseline(*(session({0: value, 1: value - 0.2}) for value in STEADY))
    assert only(judged(session({0: 0.80}), past)).status == "regressed"
    assert only(judged(session({1: 0.70}), past)).status == "unchanged"
    both = only(judged(session({0: 0.9, 1: 0.7, 2: 0.8}), past))
    assert (both.status, both.n) == ("unchanged", 5)


def test_seed_that_only_is_logged_does_not_make_data_differ() -> None:
    past = past_of(STEADY, params={"seed": "1"})
    assert only(judged(now(0.9, params={"seed": "2"}), past)).status == "unchanged"


def test_seed_params_can_be_others() -> None:
    options = CompareOptions(seed_params=frozenset({"fold"}))
    case = make_case("test_a[1]", arguments=("fold",), params={"fold": "1"}, metrics={"f1": 1})
    session = make_session(case, seed_params=options.seed_params)
    assert only(judged(session, None, options)).case == "test_it.py::test_a"


def test_last_step_counts() -> None:
    case = make_case(metrics={"loss": 3.0})
    steps = tuple(
        replace(case.metrics[0], step=step, value=v) for step, v in [(0, 3), (2, 1), (1, 2)]
    )
    assert only(judged(make_session(replace(case, metrics=steps)), None)).values == (1,)


def test_costs_are_reported_and_do_not_gate() -> None:
    past = baseline(*(make_session(make_case(durations={"call": 1.0})) for _ in range(6)))
    metric = only(judged(make_session(make_case(durations={"call": 9.0})), past))
    assert (metric.metric, metric.status) == ("duration_seconds", "regressed")
    assert (metric.cost, metric.advisory, metric.gates) == (True, True, False)


def test_listed_costs_gate() -> None:
    options = CompareOptions(tolerances=[("*_seconds", Tolerance.parse("50%"))])
    past = baseline(make_session(make_case(durations={"call": 1.0})))
    metric = only(judged(make_session(make_case(durations={"call": 1.6})), past, options))
    assert (metric.status, metric.gates, metric.tolerance) == ("regressed", True, "50%")


@pytest.mark.parametrize(
    ("ini", "marker", "line", "status"),
    [
        (["0.05"], {}, [], "unchanged"),
        (["0.01"], {}, [], "regressed"),
        (["0.01"], {"accuracy": "0.05"}, [], "unchanged"),
        (["0.05"], {"accuracy": "0.05"}, ["0.01"], "regressed"),
    ],
    ids=["ini", "strict ini", "marker beats ini", "command line beats all"],
)
def test_tolerance_decides_alone(
    ini: list[str], marker: dict[str, str], line: list[str], status: str
) -> None:
    options = CompareOptions(
        ini_tolerances=[("acc*", Tolerance.parse(text)) for text in ini],
        tolerances=[("acc*", Tolerance.parse(text)) for text in line],
    )
    current = now(0.87, tolerances=marker)
    assert only(judged(current, past_of(STEADY), options)).status == status


@pytest.mark.parametrize(
    ("ini", "marker", "status"),
    [
        ([], {}, "unchanged"),
        (["100"], {}, "regressed"),
        (["0.1%"], {}, "regressed"),
        (["1000"], {}, "unchanged"),
        (["100"], {"log*": "1000"}, "unchanged"),
    ],
)
def test_smallest_effect_of_a_large_offset(
    ini: list[str], marker: dict[str, str], status: str
) -> None:
    options = CompareOptions(
        min_effects=[("loglik", Tolerance.parse(text)) for text in ini],
        directions=[("loglik", "max")],
    )
    past = past_of([-100_000.0 + offset for offset in (3, -2, 0, 1, -1)], "loglik")
    current = now(-100_500.0, "loglik", min_effects=marker)
    assert only(judged(current, past, options)).status == status


@pytest.mark.parametrize(
    ("metric", "check", "direction"),
    [
        ("accuracy", None, "max"),
        ("loss", None, "min"),
        ("thing", ">=", "max"),
        ("thing", "<", "min"),
        ("thing", None, None),
    ],
)
def test_direction_by_name_then_by_assertion(
    metric: str, check: str | None, direction: str | None
) -> None:
    checks = (replace(make_check(metric, 1.0, 0.5), operator=check),) if check else ()  # type: ignore[arg-type]
    assert only(judged(now(1.0, metric, checks=checks), None)).direction == direction


def test_metric_between_two_limits_has_no_direction() -> None:
    checks = (make_check("thing", 1.0, 0.5), replace(make_check("thing", 1.0, 2.0), operator="<"))
    assert only(judged(now(1.0, "thing", checks=checks), None)).direction is None


def test_direction_that_is_said_wins() -> None:
    options = CompareOptions(directions=[("loss", "max")])
    assert only(judged(now(1.0, "loss"), None, options)).direction == "max"
    current = now(1.0, "loss", directions={"loss": "min"})
    assert only(judged(current, None, options)).direction == "min"


def test_unknown_direction_never_gates() -> None:
    metric = only(judged(now(0.1, "thing"), past_of(STEADY, "thing")))
    assert (metric.direction, metric.advisory, metric.gates) == (None, True, False)
    assert "direction" in metric.reason


def test_margin_of_the_assertion_now_and_before() -> None:
    current = now(0.88, checks=(make_check("accuracy", 0.88, 0.85),))
    margin = only(judged(current, past_of(STEADY))).margin
    assert margin is not None
    assert margin.margin == pytest.approx(0.03)
    assert margin.baseline_margin == pytest.approx(0.05)
    assert margin.shrank


@pytest.mark.parametrize("operator", [">=", "<", "=="])
def test_margins_now_and_before_are_those_of_the_same_value(operator: Operator) -> None:
    """Of repeats, folds and steps both are the means': the worst of them is always closer."""
    values = {"0": 0.90, "1": 0.94, "2": 0.86}
    limit = {">=": 0.8, "<": 1.0, "==": 0.9}[operator]
    guard = replace(
        make_check("accuracy", 0.0, limit),
        operator=operator,
        tolerance=0.2 if operator == "==" else None,
    )

    def session() -> SessionValues:
        return make_session(
            *(
                make_case(
                    f"test_a[{seed}]",
                    arguments=("seed",),
                    params={"seed": seed},
                    metrics={"accuracy": value},
                    checks=(replace(guard, value=value),),
                )
                for seed, value in values.items()
            )
        )

    row = only(judged(session(), baseline(*(session() for _ in range(5)))))
    assert row.status == "unchanged"
    assert row.margin is not None
    assert row.margin.margin == pytest.approx(row.margin.baseline_margin)
    assert not row.margin_shrank


def test_accepted_step_restarts_the_window() -> None:
    step = make_step("test_it.py::test_a", "accuracy", "a smaller model")
    options = CompareOptions(accepted=[step])
    past = past_of(STEADY)
    assert only(judged(now(0.8), past, options)).status == "new"
    for value in (0.80, 0.81, 0.80):
        case = make_case(metrics={"accuracy": value})
        past.sessions.append(make_session(case, accepted=[step.id]))
    assert "accepted: a smaller model" in only(judged(now(0.8), past, options)).reason
    metric = only(judged(now(0.6), past, options))
    assert (metric.status, metric.history) == ("regressed", (0.80, 0.81, 0.80))
    other = CompareOptions(accepted=[make_step("*", "f1", "not this one")])
    assert only(judged(now(0.8), past_of(STEADY), other)).status == "regressed"


def ended(session: SessionValues, past: Sessions, options: CompareOptions) -> MetricComparison:
    """Compare a session and end it as the plugin does."""
    comparison = judged(session, past, options)
    assert session.end is not None
    session.end = with_comparison(session.end, comparison, ())
    past.sessions.append(session)
    del past.sessions[: -options.window]
    return only(comparison)


@pytest.mark.parametrize("commits", ["ab" * 20, None], ids=["one commit", "no commit"])
def test_level_is_inherited_beyond_the_window(commits: str | None) -> None:
    options, past = CompareOptions(window=8), past_of([*STEADY, *STEADY][:8])
    rows = []
    for value in [0.80] * 20 + [0.86]:
        session = now(value)
        if commits is not None:
            session.header = replace(session.header, tags={COMMIT: commits})
        rows.append(ended(session, past, options))
    assert {(row.status, row.n) for row in rows[-14:]} <= {("regressed", n) for n in range(5, 9)}
    assert rows[-1].below_since == (commits[:7] if commits else rows[5].below_since)
    assert (
        f"than the level before; worse than that level since {rows[-1].below_since}"
        in rows[-1].reason
    )
    assert rows[-1].baseline == pytest.approx(0.9, abs=0.01)
    # Back at the level for some sessions, it is no longer missed.
    assert [ended(now(0.9), past, options).status for _ in range(7)] == ["unchanged"] * 7
    (end,) = (session.end for session in past.sessions[-1:])
    assert end is not None
    assert end.levels == ()


def test_level_outlives_sessions_without_it() -> None:
    options, past = CompareOptions(window=8), past_of([*STEADY, *STEADY][:8])
    for _ in range(8):
        ended(now(0.8), past, options)
    past.sessions.append(make_session(make_case("test_b", metrics={"f1": 0.5})))
    past.sessions.append(now(0.8))  # which was not compared
    del past.sessions[:2]
    assert only(judged(now(0.8), past, options)).status == "regressed"


def test_level_of_other_data_is_not_inherited() -> None:
    options, past = CompareOptions(window=8), past_of([*STEADY, *STEADY][:8])
    for _ in range(9):
        ended(now(0.8), past, options)
    for session in past.sessions:
        session.cases["test_it.py::test_a"].context["param 'size'"] = "small"
    for status in ("not comparable", "inconclusive"):
        other = now(0.8, params={"size": "large"})
        assert ended(other, past, options).status == status


def test_fixture_for_seeds_is_recommended_where_they_are_frozen() -> None:
    same, other = ({"accuracy": value} for value in (0.8, 0.81))
    for repeats, history, expected in (
        ([same] * 3, [0.9] * 5, True),
        ([same, other, same], [0.9] * 5, False),
        ([same] * 3, STEADY, False),
        ([], [0.9] * 5, False),
    ):
        comparison = judged(now(0.8, repeats=repeats), past_of(history))
        assert only(comparison).status == "regressed"
        assert any("mlflow_seed" in note for note in comparison.notes) == expected


def test_level_after_an_accepted_one_is_inherited() -> None:
    step = replace(
        make_step("*test_a", "accuracy", "a smaller model"),
        levels=(
            MetricLevel(
                case="test_it.py::test_a",
                metric="accuracy",
                level=AcceptedValue(value=0.8, scatter=0.005, n=5),
            ),
        ),
    )
    options, past = CompareOptions(window=8, accepted=[step]), past_of(STEADY)
    comparer = Comparer(past.sessions, options)
    suspect = {
        value: [one.metric for one in comparer.suspects(now(value).cases["test_it.py::test_a"])]
        for value in (0.8, 0.1)
    }
    assert suspect == {0.8: [], 0.1: ["accuracy"]}
    rows = [ended(now(value), past, options) for value in [0.8] * 4 + [0.9] * 8 + [0.8] * 12]
    assert rows[0].status == "accepted"
    assert {row.status for row in rows[1:4]} == {"unchanged"}
    assert [row.status for row in rows[-8:]] == ["regressed"] * 8
    assert rows[-1].baseline == pytest.approx(0.9)


def accepted_step(value: float, metric: str = "accuracy", n: int = 5, before: float = 0.9) -> Any:
    known = AcceptedValue(value=value, scatter=0.005, n=n)
    level = MetricLevel(case="test_it.py::test_a", metric=metric, level=known, before=before)
    return replace(make_step("*test_a*", metric, "half the size"), levels=(level,))


@pytest.mark.parametrize(
    ("value", "n", "status"),
    [
        (0.80, 5, "accepted"),
        (0.79, 5, "accepted"),
        (0.87, 5, "accepted"),  # better, but it is not what it was before
        (0.95, 5, "improved"),
        (0.70, 5, "regressed"),
        (0.70, 3, "inconclusive"),  # so few can't tell
        (0.30, 3, "regressed"),
        (0.30, 1, "regressed"),
    ],
)
def test_accepted_value_is_the_standard_from_the_first_session_on(
    value: float, n: int, status: str
) -> None:
    options = CompareOptions(accepted=[accepted_step(0.8, n=n)])
    row = only(judged(now(value), past_of(STEADY), options))
    assert row.status == status
    assert row.gates == (status == "regressed")
    assert row.baseline == (0.9 if status == "accepted" else 0.8)
    assert row.accepted is not None
    assert (row.accepted.value, row.accepted.before) == (0.8, 0.9)
    if status == "accepted":
        assert row.change == pytest.approx(value - 0.9)
        assert "accepted: half the size" in row.reason


def test_accepted_value_with_a_tolerance() -> None:
    options = CompareOptions(
        accepted=[accepted_step(0.8)], tolerances=[("accuracy", Tolerance.parse("0.02"))]
    )
    for value, status in ((0.79, "accepted"), (0.77, "regressed")):
        assert only(judged(now(value), past_of(STEADY), options)).status == status


def test_accepted_nan_is_no_failure_again() -> None:
    options = CompareOptions(accepted=[accepted_step(math.nan, n=1)])
    row = only(judged(now(math.nan), past_of(STEADY), options))
    assert (row.status, row.gates) == ("accepted", False)
    assert not only(judged(now(0.9), past_of(STEADY), options)).gates


def test_line_without_a_value_says_so() -> None:
    options = CompareOptions(accepted=[make_step("*", "accuracy", "by hand")])
    row = only(judged(now(0.1), past_of(STEADY), options))
    assert row.status == "new"
    assert "any value passes now" in row.reason


def test_accepted_rate_of_examples() -> None:
    def examples(good: int) -> SessionValues:
        return make_session(
            *(make_case(f"test_a[{n}]", metrics={"correct": float(n < good)}) for n in range(20))
        )

    step = accepted_step(0.5, "correct", n=20, before=1.0)
    past = baseline(examples(20), examples(20))
    for good, status in ((10, "accepted"), (9, "accepted"), (1, "regressed")):
        row = only(judged(examples(good), past, CompareOptions(accepted=[step])))
        assert (row.case, row.status) == ("test_it.py::test_a", status)
        assert row.current == good / 20


def test_accepted_step_forgives_what_is_missing() -> None:
    options = CompareOptions(accepted=[make_step("*test_a", "*", "was of no use")])
    assert judged(make_session(), past_of(STEADY), options).metrics == ()
    assert judged(make_session(make_case()), past_of(STEADY), options).metrics == ()


def test_fresh_runs_alone_decide() -> None:
    repeats = [{"accuracy": value} for value in (0.90, 0.91, 0.89)]
    metric = only(judged(now(0.80, repeats=repeats), past_of(STEADY)))
    assert (metric.status, metric.fresh) == ("unchanged", 3)
    assert metric.values == (0.90, 0.91, 0.89)


def test_fresh_runs_that_yield_nothing_are_no_verdict() -> None:
    metric = only(judged(now(0.80, repeats=[{}, {}, {}]), past_of(STEADY)))
    assert (metric.status, metric.gates) == ("inconclusive", True)
    assert "fresh" in metric.reason


def test_rule_can_be_another() -> None:
    seen: list[MetricSeries] = []

    def rule(series: MetricSeries) -> Verdict:
        seen.append(series)
        return Verdict(
            status="regressed",
            current=None,
            baseline=None,
            change=None,
            relative=None,
            limit=None,
            p_value=None,
            n=0,
            suspect=False,
            reason="never good enough",
        )

    metric = only(judged(now(0.9), past_of(STEADY), CompareOptions(rule=rule)))
    assert (metric.status, metric.gates, metric.reason) == ("regressed", True, "never good enough")
    assert (seen[0].metric, seen[0].history) == ("accuracy", tuple(STEADY))


def test_gating_comes_first_and_the_largest_change_before_the_others() -> None:
    values = {"accuracy": 0.5, "f1": 0.7, "recall": 0.9, "precision": 0.99}
    past = baseline(
        *(make_session(make_case(metrics=dict.fromkeys(values, value))) for value in STEADY)
    )
    comparison = judged(make_session(make_case(metrics=values)), past)
    assert [metric.metric for metric in comparison.ranked()] == [
        "accuracy",
        "f1",
        "precision",
        "recall",
    ]
    assert comparison.counts()["regressed"] == 2


def test_1000_metrics_cost_no_more_than_twice_the_tests_of_scipy() -> None:
    from scipy.stats import ttest_ind

    def session(shift: float) -> SessionValues:
        values = {f"accuracy_{n}": 0.9 + shift + n / 1e5 for n in range(5)}
        return make_session(*(make_case(f"test_{n}", metrics=values) for n in range(200)))

    past, current = baseline(*(session(n / 1e4) for n in range(20))), session(0)
    judged(current, past)  # everything is loaded now
    ours: list[float] = []
    theirs: list[float] = []
    found: tuple[MetricComparison, ...] = ()
    for _ in range(3):  # the fastest of each: what else the machine does is no part of it
        start = time.process_time()
        found = judged(current, past).metrics
        ours.append(time.process_time() - start)
        start = time.process_time()
        for metric in found[:100]:
            ttest_ind([0.8, 0.9], metric.history, alternative="less")
        theirs.append(time.process_time() - start)
    assert len(found) == 1_000
    # Ten times as many metrics; the factor of two is for a busy machine.
    assert min(ours) < 2 * 10 * min(theirs)


def test_tolerance_for_nothing_is_told() -> None:
    options = CompareOptions(tolerances=[("acuracy", Tolerance.parse("1%"))])
    (note,) = judged(now(0.9), past_of(STEADY), options).notes
    assert "'acuracy'" in note


@pytest.mark.parametrize(
    ("value", "directions", "gates"),
    [(0.95, {}, True), (0.85, {}, True), (0.91, {}, False), (0.95, {"thing": None}, False)],
    ids=["more", "less", "within", "no direction is meant"],
)
def test_tolerance_needs_a_direction(
    value: float, directions: dict[str, None], gates: bool
) -> None:
    options = CompareOptions(
        tolerances=[("thing", Tolerance.parse("0.02"))], directions=list(directions.items())
    )
    metric = only(judged(now(value, "thing"), past_of(STEADY, "thing"), options))
    assert metric.gates is gates
    assert metric.status == ("unchanged" if value == 0.91 else "inconclusive")
