"""What a case measured, whoever logged it; and the columns that tell which case it was."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import Any

from ..records import CaseRecord, Metric, function_of
from ..regression.values import DURATION
from .stored import StoredSession


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
