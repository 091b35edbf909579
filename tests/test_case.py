from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_mlflow_experiments.capture.assertions import recorder
from pytest_mlflow_experiments.capture.assertions.recorder import Observation
from pytest_mlflow_experiments.capture.assertions.sites import Site
from pytest_mlflow_experiments.capture.case import MAX_FAILURE_LENGTH, CaseLog
from pytest_mlflow_experiments.capture.marker import CaseOptions
from pytest_mlflow_experiments.capture.measuring import Clock
from pytest_mlflow_experiments.capture.merged_metrics import LoggedMetric, merge
from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.codec import decode, encode

CLOCK = Clock()


def asserted(
    value: float,
    *,
    line: int = 1,
    column: int = 0,
    clock: float = 0.0,
    name: str = "accuracy",
    limit: float = 0.5,
    alternative: bool = False,
) -> Observation:
    return Observation(
        name=name,
        operator=">=",
        value=value,
        limit=limit,
        tolerance=None,
        passed=value >= limit,
        line=line,
        site=("test_it.py", line, column),
        clock=clock,
        alternative=alternative,
    )


def logged(
    value: float, step: int | None = None, *, clock: float = 0.0, key: str = "accuracy"
) -> LoggedMetric:
    return LoggedMetric(clock, key, value, step)


Events = Sequence[Observation | LoggedMetric]


def in_order(events: Events) -> tuple[list[LoggedMetric], list[Observation]]:
    """Give each event the time of its place, a second apart, and part the kinds."""
    values: list[LoggedMetric] = []
    observations: list[Observation] = []
    for time, event in enumerate(events):
        if isinstance(event, LoggedMetric):
            values.append(LoggedMetric(float(time), event.key, event.value, event.step))
        else:
            observations.append(event._replace(clock=float(time)))
    return values, observations


@pytest.mark.parametrize(
    ("events", "points", "check_steps"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([asserted(0.9)], [(0, 0.9)], [0], id="one assertion"),
        pytest.param(
            [asserted(0.7), asserted(0.8), asserted(0.9)],
            [(0, 0.7), (1, 0.8), (2, 0.9)],
            [0, 1, 2],
            id="a loop makes steps",
        ),
        pytest.param(
            [asserted(0.9), asserted(0.9)],
            [(0, 0.9), (1, 0.9)],
            [0, 1],
            id="also where its value stays",
        ),
        pytest.param(
            [asserted(0.9), asserted(0.9, line=2), asserted(0.9, line=3)],
            [(0, 0.9)],
            [0, 0, 0],
            id="other assertions on one value",
        ),
        pytest.param(
            [asserted(0.9), asserted(0.9, column=9)], [(0, 0.9)], [0, 0], id="a chain on one line"
        ),
        pytest.param(
            [asserted(0.9), asserted(0.8, line=2)],
            [(0, 0.9), (1, 0.8)],
            [0, 1],
            id="another assertion on another value",
        ),
        pytest.param(
            [asserted(v, line=line) for v in (0.7, 0.8, 0.8) for line in (1, 2)],
            [(0, 0.7), (1, 0.8), (2, 0.8)],
            [0, 0, 1, 1, 2, 2],
            id="two assertions in a loop",
        ),
        pytest.param(
            [asserted(0.9), *[asserted(0.9, line=2)] * 3],
            [(0, 0.9), (1, 0.9), (2, 0.9)],
            [0, 0, 1, 2],
            id="a loop after an assertion on its first value",
        ),
        pytest.param(
            [logged(0.9), asserted(0.9)], [(0, 0.9)], [0], id="logged, then asserted is one value"
        ),
        pytest.param(
            [logged(0.9), asserted(0.9), asserted(0.9, line=2)],
            [(0, 0.9)],
            [0, 0],
            id="logged, then asserted twice",
        ),
        pytest.param(
            [logged(0.9), asserted(0.8)],
            [(0, 0.9), (1, 0.8)],
            [1],
            id="logged, then another value asserted",
        ),
        pytest.param(
            [logged(0.5, 0), logged(0.7, 10), asserted(0.7)],
            [(0, 0.5), (10, 0.7)],
            [10],
            id="the last step asserted",
        ),
        pytest.param(
            [logged(0.5, 0), logged(0.7, 10), asserted(0.9)],
            [(0, 0.5), (10, 0.7), (11, 0.9)],
            [11],
            id="steps go on after explicit ones",
        ),
        pytest.param(
            [logged(0.5, 3), logged(0.6, 1), asserted(0.9)],
            [(3, 0.5), (1, 0.6), (4, 0.9)],
            [4],
            id="the next step is after the highest",
        ),
        pytest.param(
            [logged(0.7, -1), asserted(0.7), asserted(0.8)],
            [(-1, 0.7), (0, 0.8)],
            [-1, 0],
            id="negative steps",
        ),
        pytest.param(
            [logged(0.5), logged(0.7)], [(0, 0.5), (0, 0.7)], [], id="without a step it is 0"
        ),
        pytest.param(
            [asserted(0.9), logged(0.9)], [(0, 0.9), (0, 0.9)], [0], id="asserted, then logged"
        ),
    ],
)
def test_merge(events: Events, points: list[tuple[int, float]], check_steps: list[int]) -> None:
    metrics, checks = merge(*in_order(events), CLOCK)
    assert [(metric.step, metric.value) for metric in metrics] == points
    assert [check.step for check in checks] == check_steps


_CLOSE = (False, "math.isclose", ("rel_tol",), (0.25,))


@pytest.mark.parametrize(
    "events",
    [
        [],
        [("a", ">=", 0.9, 0.5, None, {})],
        [("a", ">=", 0.9, 0.5, None, {}), ("b", "<", math.nan, 0.5, None, {"alternative": True})],
        [("b", "==", 0.9, 1.0, 0.2, {}), ("a", "<=", -0.0, 0.5, None, {"expression": True})],
        [(name, ">", 0.9, 0.5, None, {}) for name in "aab"],
        [("a", "==", 1.0, 1.0, None, {"same_as": "b"}), ("b", ">", 1.0, 0.5, None, {})],
        [("a", "==", 1.0, 1.2, _CLOSE, {})],
    ],
)
@pytest.mark.parametrize("order", [1, -1], ids=["in time", "backwards"])
def test_what_is_asserted_once_is_merged_as_all_else(events: list[Any], order: int) -> None:
    """The quick way of most cases, which takes observations as they are kept, and the other."""
    observations = recorder.Observations()
    for time, (name, operator, value, limit, tolerance, more) in enumerate(events):
        place = ("test_it.py", time, 0)
        site = Site(
            **{"name": name, "operator": operator, "line": time, "place": place, "negated": False},
            **{"alternative": False, "count_integers": False, **more},
        )
        # The last item is that of a call that was interrupted.
        raw = (site, value, limit, tolerance, value > limit, order * float(time), "key", None)
        observations.raw.append(raw[: 7 + time % 2])  # type: ignore[arg-type]
    for random_examples in (False, True):
        quick = merge([], observations, CLOCK, random_examples=random_examples)
        other = merge([], [*observations], CLOCK, random_examples=random_examples)
        assert repr(quick) == repr(other)  # NaN is no other


def test_nan_is_the_same_value_as_nan() -> None:
    metrics, checks = merge(
        *in_order([logged(math.nan), asserted(math.nan), asserted(math.nan, line=2)]), CLOCK
    )
    assert len(metrics) == 1
    assert math.isnan(metrics[0].value)
    assert [check.passed for check in checks] == [False, False]


def test_metrics_do_not_mix() -> None:
    metrics, checks = merge(
        *in_order([asserted(0.9, name="a"), asserted(0.9, name="b", line=2), logged(0.9, key="c")]),
        CLOCK,
    )
    assert [(metric.key, metric.step) for metric in metrics] == [("a", 0), ("b", 0), ("c", 0)]
    assert [check.metric for check in checks] == ["a", "b"]


def test_check_says_what_was_compared() -> None:
    observation = asserted(0.25, line=7, limit=0.5, alternative=True)
    _, (check,) = merge([], [observation], CLOCK)
    assert (check.metric, check.operator, check.value, check.limit) == (
        "accuracy",
        ">=",
        0.25,
        0.5,
    )
    assert (check.tolerance, check.passed, check.line, check.alternative) == (None, False, 7, True)


def test_events_are_brought_into_the_order_of_their_time() -> None:
    values = [logged(0.8, 5, clock=2.0), logged(0.6, 4, clock=1.0)]
    metrics, checks = merge(values, [asserted(0.6, clock=1.5)], CLOCK)
    assert [metric.step for metric in metrics] == [4, 5]
    assert [check.step for check in checks] == [4]


def test_timestamps_are_those_of_the_clock() -> None:
    metrics, _ = merge([logged(0.5, 0, clock=1.0)], [asserted(0.6, clock=3.5)], CLOCK)
    assert [metric.timestamp for metric in metrics] == [CLOCK.at(1.0), CLOCK.at(3.5)]


@pytest.mark.parametrize("steps", [[0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 0]])
def test_timestamps_grow_within_a_step(steps: list[int]) -> None:
    """MLflow takes two values of one step at one time for the same point."""
    metrics, _ = merge([logged(0.5, step) for step in steps], [], CLOCK)
    for step in set(steps):
        timestamps = [metric.timestamp for metric in metrics if metric.step == step]
        assert timestamps == sorted(set(timestamps))


def test_steps_do_not_drift_from_the_clock() -> None:
    metrics, _ = merge([logged(0.5, step) for step in range(1_000)], [], CLOCK)
    assert {metric.timestamp for metric in metrics} == {CLOCK.at(0.0)}


def observe(log: CaseLog, value: float) -> None:
    """Let the recorder bring ``assert accuracy >= 0.5`` into the log."""
    site = Site(
        name="accuracy",
        operator=">=",
        line=1,
        place=("test_it.py", 1, 0),
        negated=False,
        alternative=False,
        count_integers=False,
    )
    outer, recorder.current = recorder.current, log.observations
    try:
        recorder.record(site, value, 0.5, value >= 0.5)
    finally:
        recorder.current = outer


def freeze(log: CaseLog, *attempts: CaseLog) -> CaseRecord:
    return log.freeze(
        nodeid="t.py::test_it[1]",
        case="t.py::test_it[1]",
        name="test_it[1]",
        tags={"team": "vision", "stage": "dev"},
        attempts=attempts,
    )


def test_new_log_freezes_to_an_empty_record() -> None:
    log = CaseLog(CLOCK)
    record = freeze(log)
    assert not log.has_metrics
    assert (record.id, record.outcome, record.start_time) == (log.id, "passed", log.start_time)
    assert record.end_time >= record.start_time
    assert (record.metrics, record.checks, record.artifacts, record.attempts) == ((), (), (), ())
    assert (record.failure, record.notes, record.run_id) == (None, (), None)
    assert (record.arguments, record.datasets, record.tolerances, record.directions) == (
        *((), {}, {}, {}),
    )


def test_every_log_has_an_id_of_its_own() -> None:
    ids = {CaseLog(CLOCK).id for _ in range(10)}
    assert len(ids) == 10
    assert all(len(record_id) == 32 and int(record_id, 16) >= 0 for record_id in ids)


def test_record_holds_what_the_log_got() -> None:
    log = CaseLog(CLOCK)
    log.params["kernel"] = "rbf"
    log.tags["stage"] = "prod"
    log.durations["call"] = 0.5
    log.notes.append("a note")
    log.logged.append(logged(0.9))
    log.run_id = "abc"
    record = freeze(log)
    assert log.has_metrics
    assert record.params == {"kernel": "rbf"}
    assert record.tags == {"team": "vision", "stage": "prod"}
    assert (record.duration, record.notes, record.run_id) == (0.5, ("a note",), "abc")
    assert [metric.value for metric in record.metrics] == [0.9]


def test_record_holds_what_a_comparison_needs() -> None:
    log = CaseLog(CLOCK)
    log.options = CaseOptions(
        tolerance={"accuracy": -0.02}, direction={"loss": "min"}, min_effect={"loglik": 100}
    )
    log.datasets["train"] = {"abc": None}
    log.datasets["folds"] = {"abc": None, "def": None}
    record = log.freeze(
        nodeid="t.py::t[1]",
        case="t.py::t[1]",
        name="t[1]",
        tags={},
        arguments=("C",),
    )
    assert record.min_effects == {"loglik": "100"}
    assert (record.arguments, record.tolerances, record.directions) == (
        ("C",),
        {"accuracy": "-0.02"},
        {"loss": "min"},
    )
    assert record.datasets["train"] == "abc"
    assert len(record.datasets["folds"]) == 16


def test_dropped_assertions_are_noted() -> None:
    log = CaseLog(CLOCK)
    observe(log, 0.9)
    log.observations.dropped = 12
    (note,) = freeze(log).notes
    assert note.startswith("12 more checks")
    assert log.notes == []


def test_failures_of_all_phases_are_one_text() -> None:
    log = CaseLog(CLOCK)
    log.failures += ["assert 1 == 2", "error in teardown"]
    assert freeze(log).failure == "assert 1 == 2\n\nerror in teardown"


def test_long_failure_is_cut_and_says_so() -> None:
    log = CaseLog(CLOCK)
    log.failures.append("x" * (MAX_FAILURE_LENGTH + 1))
    failure = log.failure()
    assert failure is not None
    assert failure.endswith(f"\n… [{MAX_FAILURE_LENGTH + 1} characters]")
    assert failure.startswith("x" * MAX_FAILURE_LENGTH + "\n")


def test_artifacts_are_listed_below_the_directory_of_the_case(tmp_path: Path) -> None:
    log = CaseLog(CLOCK, artifact_root=tmp_path)
    assert log.artifact_directory == tmp_path / log.id
    assert log.artifacts() == ()
    for name in ("b.txt", "plots/roc.png"):
        path = tmp_path / log.id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / log.id / "empty").mkdir()
    assert freeze(log).artifacts == ("b.txt", "plots/roc.png")


def test_attempts_keep_what_they_measured() -> None:
    first = CaseLog(CLOCK)
    first.outcome = "failed"
    first.durations.update(setup=0.1, call=0.2)
    first.failures.append("boom")
    observe(first, 0.25)
    second = CaseLog(CLOCK)
    second.outcome = "error"
    second.durations["setup"] = 0.3
    last = CaseLog(CLOCK)
    observe(last, 0.75)

    record = freeze(last, first, second)

    assert (record.id, record.outcome, record.failure) == (last.id, "passed", None)
    assert [metric.value for metric in record.metrics] == [0.75]
    one, two = record.attempts
    assert (one.outcome, one.duration, one.failure) == ("failed", 0.2, "boom")
    assert [metric.value for metric in one.metrics] == [0.25]
    assert [check.passed for check in one.checks] == [False]
    assert (two.outcome, two.duration, two.failure, two.metrics) == ("error", 0.3, None, ())


def test_record_of_a_full_log_survives_json() -> None:
    log = CaseLog(CLOCK)
    log.logged.append(logged(math.inf, 2))
    observe(log, 0.9)
    record = freeze(log, CaseLog(CLOCK))
    assert decode(CaseRecord, encode(record)) == record


def test_check_of_a_metric_that_is_logged_too() -> None:
    nothing: dict[str, float] = {}
    for values, of_run in (([logged(0.5, 0, clock=9.0)], nothing), ([], {"accuracy": 0.5})):
        _, (check,) = merge(values, [asserted(0.6, clock=3.5)], CLOCK, of_run)
        assert check.logged
    _, (check,) = merge([], [asserted(0.6, clock=3.5)], CLOCK, {"other": 0.5})
    assert not check.logged
