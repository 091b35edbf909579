"""The sessions, their cases and their metrics as DataFrames: one row for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from ..baseline.choice import why_incomplete
from ..records import CaseRecord, Check, Metric, Outcome, function_of, last_values
from ..records.case import ANY_PLACE, name_at
from ..records.reader import StoredSession
from ..records.tags import BASELINE, BASELINE_NEWEST, BRANCH, COMMIT, DIRTY
from ..regression.values import DURATION
from .frame import Columns, Row, attributes, documented, make_frame, prefixed
from .loading import ARGUMENTS, RAISES, Source, load_stored

if TYPE_CHECKING:
    import pandas as pd

_NAMED: Final = frozenset({BRANCH, COMMIT, DIRTY, BASELINE, BASELINE_NEWEST})
_OUTCOMES: Final = get_args(Outcome)
_STATUSES: Final = ("regressed", "missing", "drifting", "improved")

_SESSION_COLUMNS: Final[Columns] = {
    "session_id, name": ("text", ""),
    "start_time": ("time", ""),
    "duration_seconds": ("number", "NaN without an end"),
    "branch, commit": ("text", "NA outside of git"),
    "dirty": ("rare flag", "whether files were changed after the commit"),
    "complete": ("flag", "whether all tests ran that should"),
    "incomplete": ("text", "why they did not, else NA"),
    "exit_status": ("rare count", "pytest's; NA without an end"),
    "gate_failed": ("flag", ""),
    "tests": ("rare count", "all that ran, kept or not; NA without an end"),
    "cases": ("count", "those that were kept"),
    ", ".join(_OUTCOMES): ("count", "how many cases had which outcome"),
    ", ".join(_STATUSES): ("rare count", "how many metrics did; NA where nothing was compared"),
    "baseline": ("text", "which sessions it was compared with"),
    "baseline_newest": ("text", "the newest one's id"),
    "tracking_uri, experiment, run_id": ("text", "where MLflow has the session"),
    "tags.<name>": ("text", "all other tags"),
}


@documented(_SESSION_COLUMNS, ARGUMENTS, RAISES)
def load_sessions(
    source: Source = None,
    *,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    branch: str | None = None,
    last: int | None = None,
) -> pd.DataFrame:
    """Return one row for each session, the oldest first.

    Shards that were merged are left out where the session that they make up is there.
    """
    sessions = load_stored(source, tracking_uri, experiment, branch, last)
    return make_frame([_session_row(session) for session in sessions], _SESSION_COLUMNS)


def _session_row(session: StoredSession) -> Row:
    header, end = session.header, session.end
    tags = {**header.tags, **(end.tags if end else {})}
    dirty = tags.get(DIRTY)
    # A gate's verdict says nothing of what ran.
    incomplete = why_incomplete(header, replace(end, rejected=False) if end else None)
    outcomes = Counter(case.outcome for case in session.cases)
    return {
        **attributes(header, "session_id", "name", "start_time", "branch", "commit"),
        "duration_seconds": (end.end_time - header.start_time) / 1_000 if end else None,
        "dirty": None if dirty is None else dirty == "true",
        "complete": incomplete is None,
        "incomplete": incomplete,
        "exit_status": end.exit_status if end else None,
        "gate_failed": end is not None and end.rejected,
        "tests": end.tests if end else None,
        **{status: _integer(end.metrics.get(status)) if end else None for status in _STATUSES},
        "cases": len(session.cases),
        **{outcome: outcomes[outcome] for outcome in _OUTCOMES},
        "baseline": tags.get(BASELINE),
        "baseline_newest": tags.get(BASELINE_NEWEST),
        # Baselines do not tell where their sessions were sent.
        "tracking_uri": header.tracking_uri or None,
        "experiment": header.experiment_name or header.experiment_id,
        "run_id": session.run_id,
        **prefixed("tags.", {name: text for name, text in tags.items() if name not in _NAMED}),
    }


def _integer(number: float | None) -> int | None:
    return None if number is None or isnan(number) else int(number)


_CASE: Final[Columns] = {
    "session_id": ("text", "joins with :func:`load_sessions`"),
    "session_start": ("time", ""),
    "branch, commit": ("text", "NA outside of git"),
    "test": ("text", "the node id of the function, without params"),
    "case": ("text", "the identity across sessions"),
    "name": ("text", ""),
}
_OUTCOME: Final = ("text", "pytest's own word")
_RECORD_ID: Final = ("text", "the tag ``pytest.record_id`` of its run in MLflow")
_CASE_COLUMNS: Final[Columns] = {
    **_CASE,
    "nodeid": ("text", ""),
    "outcome": _OUTCOME,
    "start_time": ("time", ""),
    "record_id": _RECORD_ID,
    "run_id": ("text", "the run that the test held itself (``mlflow_run``), else NA"),
    "resumed_from": ("text", "the session that it was taken over from, else NA"),
    "attempts": ("count", "how often it had been run before, by reruns"),
    "repeats": ("count", "how many fresh runs followed, by ``--mlflow-rerun``"),
    "failure": ("text", "pytest's own text, else NA"),
    "params.<name>": ("text", "NA where the case has no such param"),
    "metrics.<name>": (
        "number",
        "the last value, ``metrics.duration_seconds`` among them; NaN where there is none",
    ),
    "tags.<name>": ("text", ""),
}


@documented(_CASE_COLUMNS, ARGUMENTS, RAISES)
def load_cases(
    source: Source = None,
    *,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    branch: str | None = None,
    last: int | None = None,
) -> pd.DataFrame:
    """Return one row for each case of each session, as ``mlflow.search_runs`` has them."""
    sessions = load_stored(source, tracking_uri, experiment, branch, last)
    rows = [_case_row(session, record) for session in sessions for record in session.cases]
    return make_frame(rows, _CASE_COLUMNS)


def _case_row(session: StoredSession, record: CaseRecord) -> Row:
    return {
        **_case_columns(session, record),
        **attributes(record, "nodeid", "start_time", "run_id", "resumed_from", "failure"),
        "attempts": len(record.attempts),
        "repeats": len(record.repeats),
        **prefixed("params.", record.params),
        **prefixed("metrics.", {**last_values(_all_values(record)), **_values_at_places(record)}),
        **prefixed("tags.", record.tags),
    }


def _values_at_places(record: CaseRecord) -> dict[str, float]:
    placed = (one for one in record.metrics if one.place not in ("", ANY_PLACE))
    return {name_at(one.key, one.place): one.value for one in placed}


_Limits: TypeAlias = tuple[float | None, float | None]

_STEPS: Final = 2**63
_METRIC_COLUMNS: Final[Columns] = {
    **_CASE,
    "outcome": _OUTCOME,
    "record_id": _RECORD_ID,
    "metric": ("text", ""),
    "step": ("count", ""),
    "value": ("number", "NaN where NaN was measured"),
    "timestamp": ("time", "when it was logged"),
    "lower, upper": (
        "number",
        "the limits that assertions set to it, else NaN; those of ``pytest.approx`` are both",
    ),
}


@documented(_METRIC_COLUMNS, {**ARGUMENTS, "metric": "only this metric."}, RAISES)
def load_metrics(
    source: Source = None,
    *,
    metric: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    branch: str | None = None,
    last: int | None = None,
) -> pd.DataFrame:
    """Return one row for each value of each metric of each case: every step, with its limits."""
    sessions = load_stored(source, tracking_uri, experiment, branch, last)
    cases = ((session, record) for session in sessions for record in session.cases)
    rows = [row for session, record in cases for row in _metric_rows(session, record, metric)]
    return make_frame(rows, _METRIC_COLUMNS)


def _metric_rows(session: StoredSession, record: CaseRecord, metric: str | None) -> Iterator[Row]:
    limits = _limits(record.checks)
    columns = _case_columns(session, record)
    for one in _all_values(record):
        if metric not in (None, one.key):
            continue
        lower, upper = limits.get((one.key, one.step), (None, None))
        yield {
            **columns,
            **attributes(one, "value", "timestamp"),
            "metric": one.key,
            # A test may log any; MLflow keeps the nearest that fits, too.
            "step": min(max(one.step, -_STEPS), _STEPS - 1),
            "lower": lower,
            "upper": upper,
        }


def _limits(checks: Iterable[Check]) -> dict[tuple[str, int], _Limits]:
    """Return the closest limits of each value, without clauses of an ``or``."""
    limits: dict[tuple[str, int], _Limits] = {}
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


def _all_values(record: CaseRecord) -> Iterator[Metric]:
    """Yield each value of each metric of the case's run in MLflow.

    Values without a step or time of their own get step 0 and the time of the case's end.
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


def _case_columns(session: StoredSession, record: CaseRecord) -> dict[str, Any]:
    """Return the columns that identify the case of a row."""
    return {
        **attributes(session.header, "session_id", "branch", "commit"),
        **attributes(record, "case", "name", "outcome"),
        "session_start": session.header.start_time,
        "test": function_of(record.nodeid),
        "record_id": record.id,
    }
