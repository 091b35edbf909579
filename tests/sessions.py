"""Sessions made of plain numbers, for tests that compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import count
from typing import Any

from pytest_mlflow_experiments.records import (
    Attempt,
    CaseRecord,
    Check,
    Metric,
    Provenance,
    SessionEnd,
    SessionHeader,
)
from pytest_mlflow_experiments.regression.compare import compare_sessions
from pytest_mlflow_experiments.regression.comparer import SEED_PARAMS, CompareOptions
from pytest_mlflow_experiments.regression.comparison import Comparison, MetricComparison
from pytest_mlflow_experiments.regression.values import Sessions, SessionValues

_NUMBERS = count(1)
PROVENANCE = Provenance(spec="auto", place="a place", reason="the last passing sessions")


def make_metrics(values: Mapping[str, float]) -> tuple[Metric, ...]:
    return tuple(Metric(key=key, value=value, step=0, timestamp=1) for key, value in values.items())


def make_check(metric: str, value: float, limit: float) -> Check:
    return Check(
        metric=metric,
        step=0,
        operator=">=",
        value=value,
        limit=limit,
        tolerance=None,
        passed=value >= limit,
        line=1,
    )


def make_case(name: str = "test_a", **fields: object) -> CaseRecord:
    """Return a record; ``metrics`` and ``repeats`` (one dict for each) are plain numbers."""
    metrics: Mapping[str, float] = fields.pop("metrics", {})  # type: ignore[assignment]
    repeats: Sequence[Mapping[str, float]] = fields.pop("repeats", ())  # type: ignore[assignment]
    known = {
        "id": f"{next(_NUMBERS):032x}",
        "nodeid": f"test_it.py::{name}",
        "case": f"test_it.py::{name}",
        "name": name,
        "outcome": "passed",
        "start_time": 1,
        "end_time": 2,
        "durations": {},
        "metrics": make_metrics(metrics),
        "repeats": tuple(
            Attempt(outcome="passed", duration=float("nan"), metrics=make_metrics(values))
            for values in repeats
        ),
    }
    return CaseRecord(**{**known, **fields})  # type: ignore[arg-type]


def make_session(
    *cases: CaseRecord,
    accepted: Sequence[str] = (),
    selection: Sequence[str] = (),
    seed_params: AbstractSet[str] = SEED_PARAMS,
) -> SessionValues:
    number = next(_NUMBERS)
    header = SessionHeader(
        session_id=f"session-{number}",
        name=f"main@{number:07x}",
        start_time=number,
        tracking_uri="sqlite:///mlflow.db",
        experiment_name="it",
        experiment_id=None,
        accepted=tuple(accepted),
    )
    session = SessionValues(header=header)
    for case in cases:
        session.add(case, seed_params)
    session.end = SessionEnd(
        end_time=number + 1, exit_status=0, tests=len(cases), selection=tuple(selection)
    )
    return session


def past_of(values: Sequence[float], metric: str = "accuracy", **fields: Any) -> Sessions:
    """Return a baseline in which one case had these values of a metric, the oldest first."""
    return baseline(
        *(make_session(make_case(metrics={metric: value}, **fields)) for value in values)
    )


def baseline(*sessions: SessionValues) -> Sessions:
    return Sessions(sessions=list(sessions), provenance=PROVENANCE)


def judged(
    current: SessionValues,
    past: Sessions | None,
    options: CompareOptions | None = None,
    *,
    partial: str | None = None,
    **arguments: Any,
) -> Comparison:
    """Compare a session that ran with all the steps that are accepted."""
    options = options or CompareOptions()
    accepted = tuple(step.id for step in options.accepted)
    current.header = replace(current.header, accepted=accepted)
    if partial is not None:
        assert current.end is not None
        current.end = replace(current.end, partial=partial)
    return compare_sessions(current, past, options, **arguments)


def only(comparison: Comparison) -> MetricComparison:
    (metric,) = comparison.metrics
    return metric
