"""Metrics and cases with another name than before keep their history, and a line says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sessions import baseline, judged, make_case, make_check, make_session, only

from pytest_mlflow_experiments.baseline.files import slim
from pytest_mlflow_experiments.records import CaseRecord, Check
from pytest_mlflow_experiments.records.accepted import AcceptedValue, MetricLevel, make_step
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.regression.values import SessionValues

STEADY = [0.90, 0.91, 0.90, 0.89, 0.90]


def case(values: Mapping[str, float], limit: float | None = None, **fields: Any) -> CaseRecord:
    """Return a case in which each metric was asserted to be at least ``limit``, if there is one."""
    checks: Sequence[Check] = fields.pop("checks", ())
    if limit is not None:
        checks = [make_check(metric, value, limit) for metric, value in values.items()]
    return make_case(metrics=values, checks=tuple(checks), **fields)


def of_metric(
    metric: str, values: Sequence[float], limit: float | None = 0.5
) -> list[SessionValues]:
    """Return sessions as a baseline has them."""
    return [make_session(slim(case({metric: value}, limit))) for value in values]


def statuses(comparison: Comparison) -> dict[tuple[str, str], str]:
    return {(row.name, row.metric): row.status for row in comparison.metrics}


@pytest.mark.parametrize(
    ("limit", "value", "status"),
    [(0.5, 0.7, "regressed"), (0.5, 0.905, "unchanged"), (None, 0.9, "unchanged")],
    ids=["guard", "guard, still good", "value"],
)
def test_renamed_metric_keeps_its_history(limit: float | None, value: float, status: str) -> None:
    past = baseline(*of_metric("acc", STEADY, limit))
    comparison = judged(make_session(case({"accuracy": value}, limit)), past)
    row = only(comparison)
    assert (row.metric, row.status, row.history) == ("accuracy", status, tuple(STEADY))
    assert comparison.notes == ("accuracy was called acc before; its history is continued",)


def test_history_under_both_names() -> None:
    """Half of the baseline has the old name, also once removed; the note ends after a while."""
    sessions = [*of_metric("ret", STEADY), *of_metric("acc", [0.9]), *of_metric("accuracy", STEADY)]
    comparison = judged(make_session(case({"accuracy": 0.7}, 0.5)), baseline(*sessions))
    row = only(comparison)
    assert (row.status, len(row.history), comparison.notes) == ("regressed", 11, ())
    young = judged(make_session(case({"accuracy": 0.9}, 0.5)), baseline(*sessions[:9]))
    assert len(only(young).history) == 9
    assert young.notes == (
        "accuracy was called ret before; its history is continued",
        "accuracy was called acc before; its history is continued",
    )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"acc": 0.9}, {"top": 0.8, "low": 0.7}),
        ({"acc": 0.9, "score": 0.8}, {"accuracy": 0.7}),
        ({"accuracy": 0.9}, {"loss": 0.9}),
    ],
    ids=["one became two", "two became one", "opposites"],
)
def test_what_can_be_several_is_missing_and_new(
    before: dict[str, float], now: dict[str, float]
) -> None:
    past = baseline(*(make_session(case(before, 0.5)) for _ in range(5)))
    comparison = judged(make_session(case(now, 0.5)), past)
    assert {*statuses(comparison).values()} == {"missing", "new"}
    assert not any("continued" in note for note in comparison.notes)


def test_same_value_tells_which_of_several() -> None:
    past = baseline(*(make_session(case({"a": 0.9, "b": 0.8}, 0.5)) for _ in range(5)))
    comparison = judged(make_session(case({"x": 0.8, "y": 0.9}, 0.5)), past)
    assert {row.metric: row.history[-1] for row in comparison.metrics} == {"x": 0.8, "y": 0.9}


@pytest.mark.parametrize(
    ("old", "new", "value", "is_it"),
    [
        ("acc", "accuracy", 1.0, True),
        ("rmse", "root_mean_squared_error", 1.0, True),
        ("log_loss", "logloss", 0.0, True),
        ("auc", "metrics.roc_auc_score", 0.9, True),
        ("thing", "accuracy", 0.9, True),
        ("thing", "accuracy", 1.0, False),
        ("recall", "precision", 0.9, False),
    ],
)
def test_value_alone_tells_less(old: str, new: str, value: float, is_it: bool) -> None:
    past = baseline(*of_metric(old, [value] * 5, None))
    comparison = judged(make_session(case({new: value})), past)
    assert (len(comparison.metrics) == 1) is is_it


def test_another_guard_and_value_is_another_metric() -> None:
    past = baseline(*of_metric("acc", STEADY))
    comparison = judged(make_session(case({"accuracy": 0.7}, 0.6)), past)
    assert {*statuses(comparison).values()} == {"missing", "new"}


def test_of_a_metric_with_steps_the_last_one_counts() -> None:
    """One name in two asserts became two names; the baseline judged the last value."""
    two = [replace(make_check("ret", 0.9, limit), step=step) for step, limit in enumerate((1, 0.5))]
    past = baseline(*(make_session(slim(case({"ret": 0.9}, checks=two))) for _ in range(5)))
    checks = [make_check("log_loss", 2.0, 1), make_check("auc", 0.7, 0.5)]
    comparison = judged(make_session(case({"log_loss": 2.0, "auc": 0.7}, checks=checks)), past)
    assert statuses(comparison) == {("test_a", "log_loss"): "new", ("test_a", "auc"): "regressed"}


def test_accepted_level_stays_under_the_new_name() -> None:
    level = MetricLevel(
        case="test_it.py::test_a",
        metric="acc",
        level=AcceptedValue(value=0.8, scatter=0.005, n=5),
    )
    step = replace(make_step("test_it.py::test_a", "acc", "smaller"), levels=(level,))
    options = CompareOptions(accepted=[step])
    row = only(
        judged(
            make_session(case({"accuracy": 0.8}, 0.5)),
            baseline(*of_metric("acc", STEADY)),
            options,
        )
    )
    assert (row.status, row.metric) == ("accepted", "accuracy")


def fit(params: Mapping[str, object], value: float, **fields: Any) -> CaseRecord:
    """Return a case of one test with these params."""
    texts = {name: str(text) for name, text in params.items()}
    name = f"test_fit[{'-'.join(texts.values())}]" if texts else "test_fit"
    fields = {"params": texts, "arguments": tuple(texts), **fields}
    return make_case(name, metrics={"accuracy": value}, **fields)


def fits(*params: Mapping[str, object], value: float = 0.9) -> SessionValues:
    return make_session(*(fit(one, value) for one in params))


SMALL, LARGE = {"lr": 0.1}, {"lr": 0.2}
DEEP, DEEPER = {"lr": 0.1, "depth": 10}, {"lr": 0.1, "depth": 20}


@pytest.mark.parametrize(
    ("before", "now", "note"),
    [
        (
            [SMALL, LARGE],
            [{**SMALL, "depth": 10}, {**LARGE, "depth": 10}],
            "test_fit[0.1-10] was called test_fit[0.1] before its test got the param 'depth'; "
            "its history is continued (like 1 more)",
        ),
        (
            [{"depth": 10, **SMALL}, {"depth": 10, **LARGE}],
            [SMALL, LARGE],
            "test_fit[0.1] was called test_fit[10-0.1] before its test lost the param 'depth'; "
            "its history is continued (like 1 more)",
        ),
        (
            [{}],
            [SMALL],
            "test_fit[0.1] was called test_fit before its test got the param 'lr'; "
            "its history is continued",
        ),
        (
            [DEEP],
            [{"lr": 0.1, "rate": 3, "more": 4}],
            "test_fit[0.1-3-4] was called test_fit[0.1-10] before its test got the params 'rate', "
            "'more' and lost the param 'depth'; its history is continued",
        ),
    ],
    ids=["added", "taken away", "the first one", "both"],
)
def test_other_params_keep_their_history(
    before: list[dict[str, object]], now: list[dict[str, object]], note: str
) -> None:
    past = baseline(*(fits(*before) for _ in range(5)))
    comparison = judged(fits(*now, value=0.7), past)
    assert [row.status for row in comparison.metrics] == ["regressed"] * len(now)
    assert comparison.notes == (note,)


def test_cases_of_several_generations() -> None:
    past = baseline(*(fits(one) for one in ({}, {}, SMALL, SMALL, SMALL, DEEP)))
    row = only(judged(fits(DEEP, value=0.7), past))
    assert (row.status, len(row.history)) == ("regressed", 6)


def test_metric_renamed_with_its_case() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    now = make_session(replace(fit(DEEP, 0.9), metrics=make_case(metrics={"acc": 0.9}).metrics))
    row = only(judged(now, past))
    assert (row.metric, row.status, len(row.history)) == ("acc", "unchanged", 5)


def test_ids_are_no_params() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    named = fit(
        SMALL, 0.7, nodeid="test_it.py::test_fit[small]", case="test_it.py::test_fit[small]"
    )
    assert only(judged(make_session(named), past)).status == "regressed"


def test_same_value_tells_the_new_default() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    comparison = judged(make_session(fit(DEEP, 0.8), fit(DEEPER, 0.9)), past)
    assert statuses(comparison) == {
        ("test_fit[0.1-10]", "accuracy"): "new",
        ("test_fit[0.1-20]", "accuracy"): "unchanged",
    }


def test_several_cases_that_may_be_it() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    comparison = judged(fits(DEEP, DEEPER, value=0.8), past)
    assert sorted(statuses(comparison).values()) == ["missing", "new", "new"]
    (missing,) = (row for row in comparison.metrics if row.status == "missing")
    assert missing.reason == (
        "the case did not run: its test has the param 'depth', and which of its cases continues "
        "this one can't be told; "
        'pytest.param(..., marks=pytest.mark.mlflow(case="test_it.py::test_fit[0.1]")) says it'
    )


def test_another_value_of_the_same_param_is_another_case() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    comparison = judged(fits(LARGE), past)
    assert sorted(statuses(comparison).values()) == ["missing", "new"]
    (missing,) = (row for row in comparison.metrics if row.status == "missing")
    assert missing.reason == "the case did not run, though its test did: with other params"


def test_failed_case_is_not_missing_under_its_old_name() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    comparison = judged(make_session(fit(DEEP, 0.1, outcome="failed")), past)
    assert comparison.metrics == ()
    assert [one.name for one in comparison.unjudged] == ["test_fit[0.1-10]"]


def test_part_of_the_cases_does_not_tell() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    assert only(judged(fits(DEEP), past, partial="-k")).status == "new"


def test_case_name_that_is_added_and_seeds_that_are() -> None:
    past = baseline(*(fits(SMALL) for _ in range(5)))
    named = fit(SMALL, 0.7, case="digits[0.1]")
    assert only(judged(make_session(named), past)).status == "regressed"
    seeds = [fit({**SMALL, "seed": seed}, 0.7) for seed in range(3)]
    assert only(judged(make_session(*seeds), past)).status == "regressed"


def test_curves_of_a_renamed_metric() -> None:
    def curve(metric: str) -> SessionValues:
        one = make_case(metrics={metric: 0.9})
        steps = tuple(replace(one.metrics[0], step=step) for step in range(3))
        return make_session(replace(one, metrics=steps, checks=(make_check(metric, 0.9, 0.5),)))

    past = baseline(*[curve("acc") for _ in range(3)])
    (found,) = judged(curve("accuracy"), past).curves
    assert found.metric == "accuracy"
    assert found.baseline != ()
