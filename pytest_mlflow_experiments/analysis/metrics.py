"""One row for each value of each metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from ..records import CaseRecord, Check
from .frame import Kind, Row, make_frame
from .sources import Source, stored_sessions
from .stored import StoredSession
from .values import all_values, case_columns

if TYPE_CHECKING:
    import pandas as pd

Limits: TypeAlias = tuple[float | None, float | None]

_STEPS: Final = 2**63
_COLUMNS: Final[Mapping[str, Kind]] = {
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
    return make_frame(rows, _COLUMNS)


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
