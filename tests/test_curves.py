"""Curves: the lines of metrics with several steps, from the records to the comparison."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import isnan, nan
from typing import Any

import pytest
from project import Project
from sessions import baseline, judged, make_case, make_session

from pytest_mlflow_experiments.baseline.files import slim, slim_line
from pytest_mlflow_experiments.baseline.kept_values import ValuesReader
from pytest_mlflow_experiments.baseline.local_baseline import read_baseline
from pytest_mlflow_experiments.records import CaseRecord, Metric, journal, last_values
from pytest_mlflow_experiments.records.slim import MAX_POINTS, thinned
from pytest_mlflow_experiments.regression.compare import curves
from pytest_mlflow_experiments.regression.comparison import Curve
from pytest_mlflow_experiments.regression.values import (
    MAX_CURVES,
    MAX_LINES,
    collect_values,
    lines_of,
    values_of,
)

SEEDS = frozenset({"seed"})


def steps(key: str, *values: float, start: int = 0, timestamp: int = 0) -> tuple[Metric, ...]:
    return tuple(
        Metric(key=key, value=value, step=step, timestamp=timestamp)
        for step, value in enumerate(values, start)
    )


def trained(*values: float, name: str = "test_a", **fields: Any) -> CaseRecord:
    return replace(make_case(name), metrics=steps("loss", *values), **fields)


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 11, 19, 1_000])
def test_thinned_values_are_spread_with_the_first_and_the_last(length: int) -> None:
    values = list(range(length))
    found = list(thinned(values, 10))
    assert len(found) == min(length, 10)
    assert found == sorted(set(found))
    if values:
        assert (found[0], found[-1]) == (0, length - 1)
    gaps = {right - left for left, right in pairwise(found)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_lines_are_those_of_metrics_with_several_steps() -> None:
    metrics = (
        *steps("loss", 3.0, 2.0, 1.0)[::-1],
        *steps("accuracy", 0.5),
        *steps("twice", 0.5),
        *steps("twice", 0.7, timestamp=1),
        *steps("diverged", 1.0, nan, nan),
        *steps("again", 1.0, 2.0, timestamp=5),
        *steps("again", 9.0, timestamp=4),
        *steps("system/cpu_percent", 1.0, 2.0),
    )
    record = replace(make_case(), metrics=metrics, run_history=steps("live", 1.0, 2.0, start=-1))
    lines = lines_of(record)
    assert lines.keys() == {"loss", "diverged", "again", "live"}
    assert lines["loss"] == ((0, 3.0), (1, 2.0), (2, 1.0))
    assert lines["again"] == ((0, 1.0), (1, 2.0))
    assert lines["live"] == ((-1, 1.0), (0, 2.0))
    assert [isnan(value) for _, value in lines["diverged"]] == [False, True, True]


def test_long_lines_are_thinned() -> None:
    (line,) = lines_of(trained(*map(float, range(5_000)))).values()
    assert len(line) == MAX_POINTS
    assert (line[0], line[-1]) == ((0, 0.0), (4_999, 4_999.0))


def test_the_load_of_the_machine_is_no_value_to_compare() -> None:
    record = replace(
        make_case(),
        metrics=steps("system/cpu_percent", 1.0),
        run_metrics={"system/gpu_percent": 1.0, "mine": 2.0},
    )
    assert values_of(record) == {"mine": 2.0}


def test_curve_has_the_line_of_now_and_of_the_newest_session_that_has_one() -> None:
    old, new = make_session(trained(9.0, 8.0)), make_session(trained(7.0, 6.0))
    latest = make_session(trained(5.0))
    current = make_session(trained(4.0, 3.0, 2.0), make_case("test_b"))
    comparison = judged(current, baseline(old, new, latest))
    assert comparison.curves == (
        Curve(
            case="test_it.py::test_a",
            name="test_a",
            nodeid="test_it.py::test_a",
            metric="loss",
            current=(((0, 4.0), (1, 3.0), (2, 2.0)),),
            baseline=(((0, 7.0), (1, 6.0)),),
            baseline_session=new.header.session_id,
        ),
    )
    (row,) = (row for row in comparison.metrics if row.metric == "loss")
    assert (row.current, row.history) == (2.0, (8.0, 6.0, 5.0))


def test_first_session_has_curves_too() -> None:
    (curve,) = judged(make_session(trained(2.0, 1.0)), None).curves
    assert (curve.baseline, curve.baseline_session) == ((), None)


def test_each_repeat_has_a_line_in_the_order_of_the_cases() -> None:
    def repeat(name: str, seed: int, *values: float) -> CaseRecord:
        return trained(
            *values,
            name=f"{name}[{seed}]",
            params={"seed": str(seed)},
            arguments=("seed",),
        )

    count = MAX_LINES + 2
    cases = [repeat("test_z", seed, seed, 0.0) for seed in range(count)]
    cases.insert(1, repeat("test_a", 5, 1.0, 0.0))
    one, other = judged(make_session(*cases), None).curves
    assert (one.name, other.name) == ("test_z", "test_a")
    assert [line[0][1] for line in one.current] == [float(seed) for seed in range(MAX_LINES)]
    assert len(other.current) == 1


def test_case_that_failed_has_a_curve_and_is_no_baseline() -> None:
    failed = make_session(trained(9.0, nan, outcome="failed"))
    (curve,) = judged(failed, baseline(make_session(trained(2.0, 1.0)))).curves
    assert curve.current[0][0] == (0, 9.0)
    assert curve.baseline == (((0, 2.0), (1, 1.0)),)
    (curve,) = judged(make_session(trained(2.0, 1.0)), baseline(failed)).curves
    assert curve.baseline == ()


def test_not_more_curves_are_kept_than_anybody_looks_at() -> None:
    cases = [trained(2.0, 1.0, name=f"test_{number}") for number in range(MAX_CURVES + 1)]
    comparison = judged(make_session(*cases), None)
    assert len(comparison.curves) == MAX_CURVES
    assert any(f"{MAX_CURVES:,}" in note for note in comparison.notes)
    assert judged(make_session(*cases[:9]), None).notes == ()


def test_older_lines_are_forgotten_while_sessions_are_read() -> None:
    sessions = [make_session(), make_session(), make_session()]
    cases = [[trained(3.0, 2.0), trained(1.0, 0.0, name="test_b")], [trained(5.0, 4.0)], []]
    entries = [
        entry
        for session, records in zip(sessions, cases, strict=True)
        for entry in (session.header, *records, session.end)
        if entry is not None
    ]
    first, second, third = collect_values(entries, frozenset()).sessions
    assert list(first.lines) == [("test_it.py::test_b", "loss")]
    assert list(second.lines) == [("test_it.py::test_a", "loss")]
    assert third.lines == {}


def test_baseline_keeps_thinned_steps_and_the_same_last_values() -> None:
    metrics = (*steps("loss", *map(float, range(1_000))), *steps("accuracy", 0.5))
    record = replace(make_case(), metrics=metrics, run_history=steps("live", *map(float, range(9))))
    kept = slim(record)
    assert lines_of(kept) == lines_of(record)
    assert len(kept.metrics) == MAX_POINTS + 1
    assert last_values(kept.metrics) == last_values(record.metrics)
    assert slim(kept) == kept
    older = journal.decode(slim_line(journal.encode(record).encode(), steps=False))
    assert isinstance(older, CaseRecord)
    assert lines_of(older) == {}
    assert values_of(older).items() <= values_of(record).items()
    assert slim(replace(record, outcome="failed")).run_history == ()


SUITE = """
    import pytest

    @pytest.mark.parametrize("seed", [1, 2])
    def test_train(mlflow_case, seed):
        for epoch in range(300):
            mlflow_case.log_metric("loss", {scale} / (epoch + seed), step=epoch)
        accuracy = 0.9
        assert accuracy > 0.5
"""


@pytest.mark.real
@pytest.mark.parametrize("export", [False, True], ids=["directory", "file"])
def test_sessions_have_curves_beside_those_before(project: Project, export: bool) -> None:
    for scale in (4.0, 2.0, 1.0):
        project.write(SUITE.format(scale=scale))
        options = ["--mlflow", "--mlflow-offline"]
        if export and scale == 1.0:
            project.cli("baseline", "export", "baseline.jsonl")
            lines = project.path.joinpath("baseline.jsonl").read_text("utf-8").splitlines()
            counts = [line.count('"key":"loss"') for line in lines if '"kind":"case"' in line]
            assert counts == [1, 1, MAX_POINTS, MAX_POINTS]
            options.append("--mlflow-baseline=file:baseline.jsonl")
        project.pytest(*options)
    *_, before, session = project.sessions()
    current = collect_values(journal.read(session.directory.journal), SEEDS)
    past = read_baseline(session.directory, ValuesReader(SEEDS))
    (curve,) = curves(current.sessions[0], past.sessions)
    assert (curve.name, curve.metric) == ("test_train", "loss")
    assert [line[0] for line in curve.current] == [(0, 1.0), (0, 0.5)]
    assert [line[0] for line in curve.baseline] == [(0, 2.0), (0, 1.0)]
    assert {line[-1][0] for line in (*curve.current, *curve.baseline)} == {299}
    assert {len(line) for line in (*curve.current, *curve.baseline)} == {MAX_POINTS}
    assert curve.baseline_session == before.header.session_id
