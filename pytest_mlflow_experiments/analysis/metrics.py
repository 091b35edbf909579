"""One row for each value of each metric, or one for each case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..records import CaseRecord, Check, Metric, function_of, last_values
from ..regression.values import DURATION
from .frame import Kind, Row, make_frame, prefixed
from .sources import Source, StoredSession, stored_sessions

if TYPE_CHECKING:
    import pandas as pd


def all_values(record: CaseRecord) -> Iterator[Metric]:
    """Yield each value of each metric that MLflow's run of the case has.

    What has neither a step nor a time of its own gets step 0 and the time of the case's end.
    """
    yield from record.metrics
    yield from record.run_history
    known = {metric.key for metric in (*record.metrics, *record.run_history)}
    duration = record.durations.get("call")
    single = {
        **({} if duration is None or isnan(duration) else {DURATION: duration}),
        **record.usage,
        **record.run_metrics,
    }
    for key, value in single.items():
        if key not in known:
            yield Metric(key=key, value=value, step=0, timestamp=record.end_time)


def case_columns(session: StoredSession, record: CaseRecord) -> dict[str, Any]:
    """Return which case of which session a row is of."""
    header = session.header
    return {
        "session_id": header.session_id,
        "session_start": header.start_time,
        "branch": header.branch,
        "commit": header.commit,
        "test": function_of(record.nodeid),
        "case": record.case,
        "name": record.name,
        "outcome": record.outcome,
        "record_id": record.id,
    }


Limits: TypeAlias = tuple[float | None, float | None]

_STEPS: Final = 2**63
_METRIC_COLUMNS: Final[Mapping[str, Kind]] = {
    "session_id": "text",
    "session_start": "time",
    "branch": "text",
    "commit": "text",
    "test": "text",
    "case": "text",
    "name": "text",
    "outcome": "text",
    "record_id": "text",
    "metric": "text",
    "step": "count",
    "value": "number",
    "timestamp": "time",
    "lower": "number",
    "upper": "number",
}


def load_metrics(
    source: Source = None,
    *,
    metric: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    branch: str | None = None,
    last: int | None = None,
) -> pd.DataFrame:
    """Return one row for each value of each metric of each case: every step, with its limits.

    ======================= =================== =============================================
    column                  dtype               meaning
    ======================= =================== =============================================
    session_id to record_id …                   which case it is of, as in :func:`load_cases`
    metric                  string
    step                    int64
    value                   float64             NaN where NaN was measured
    timestamp               datetime64[ms, UTC] when it was logged
    lower, upper            float64             the limits that assertions set to it, else
                                                NaN; those of ``pytest.approx`` are both
    ======================= =================== =============================================

    Args:
        source: see :func:`load_sessions`, also for the other arguments and the errors.
        metric: only this metric.
        tracking_uri: see there.
        experiment: see there.
        branch: see there.
        last: see there.
    """
    found = stored_sessions(
        source, tracking_uri=tracking_uri, experiment=experiment, branch=branch, last=last
    )
    rows = [
        row
        for session in found
        for record in session.cases
        for row in _rows(session, record, metric)
    ]
    return make_frame(rows, _METRIC_COLUMNS)


def _rows(session: StoredSession, record: CaseRecord, metric: str | None) -> Iterator[Row]:
    limits = _limits(record.checks)
    columns = case_columns(session, record)
    for one in all_values(record):
        if metric is None or one.key == metric:
            lower, upper = limits.get((one.key, one.step), (None, None))
            yield {
                **columns,
                "metric": one.key,
                # A test may log any; MLflow keeps the nearest that fits, too.
                "step": min(max(one.step, -_STEPS), _STEPS - 1),
                "value": one.value,
                "timestamp": one.timestamp,
                "lower": lower,
                "upper": upper,
            }


def _limits(checks: Iterable[Check]) -> dict[tuple[str, int], Limits]:
    """Return the closest limits of each value; clauses that an ``or`` may do without set none."""
    limits: dict[tuple[str, int], Limits] = {}
    for check in checks:
        if check.alternative:
            continue
        lower, upper = limits.get((check.metric, check.step), (None, None))
        distance = check.tolerance or 0.0
        if check.operator in (">", ">=", "=="):
            limit = check.limit - distance
            lower = limit if lower is None else max(lower, limit)
        if check.operator in ("<", "<=", "=="):
            limit = check.limit + distance
            upper = limit if upper is None else min(upper, limit)
        limits[check.metric, check.step] = lower, upper
    return limits


_CASE_COLUMNS: Final[Mapping[str, Kind]] = {
    "session_id": "text",
    "session_start": "time",
    "branch": "text",
    "commit": "text",
    "test": "text",
    "case": "text",
    "name": "text",
    "nodeid": "text",
    "outcome": "text",
    "start_time": "time",
    "record_id": "text",
    "run_id": "text",
    "resumed_from": "text",
    "attempts": "count",
    "repeats": "count",
    "failure": "text",
}


def load_cases(
    source: Source = None,
    *,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    branch: str | None = None,
    last: int | None = None,
) -> pd.DataFrame:
    """Return one row for each case of each session, as ``mlflow.search_runs`` has them.

    ================== =================== =====================================================
    column             dtype               meaning
    ================== =================== =====================================================
    session_id         string              joins with :func:`load_sessions`
    session_start      datetime64[ms, UTC]
    branch, commit     string              NA outside of git
    test               string              the node id of the function, without params
    case               string              the identity across sessions
    name, nodeid       string
    outcome            string              pytest's own word
    start_time         datetime64[ms, UTC]
    record_id          string              the tag ``pytest.record_id`` of its run in MLflow
    run_id             string              the run that the test held itself (``mlflow_run``),
                                           else NA
    resumed_from       string              the session that it was taken over from, else NA
    attempts           int64               how often it had been run before, by reruns
    repeats            int64               how many fresh runs followed, by ``--mlflow-rerun``
    failure            string              pytest's own text, else NA
    params.<name>      string              NA where the case has no such param
    metrics.<name>     float64             the last value, ``metrics.duration_seconds`` among
                                           them; NaN where there is none
    tags.<name>        string
    ================== =================== =====================================================

    The arguments and errors are those of :func:`load_sessions`.
    """
    found = stored_sessions(
        source, tracking_uri=tracking_uri, experiment=experiment, branch=branch, last=last
    )
    rows = [_row(session, record) for session in found for record in session.cases]
    groups: Mapping[str, Kind] = {"params.": "text", "metrics.": "number", "tags.": "text"}
    return make_frame(rows, _CASE_COLUMNS, groups)


def _row(session: StoredSession, record: CaseRecord) -> Row:
    return {
        **case_columns(session, record),
        "nodeid": record.nodeid,
        "start_time": record.start_time,
        "run_id": record.run_id,
        "resumed_from": record.resumed_from,
        "attempts": len(record.attempts),
        "repeats": len(record.repeats),
        "failure": record.failure,
        **prefixed("params.", record.params),
        **prefixed("metrics.", last_values(all_values(record))),
        **prefixed("tags.", record.tags),
    }
