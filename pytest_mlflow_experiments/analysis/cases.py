"""One row for each case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..records import CaseRecord, last_values
from .frame import Kind, Row, make_frame, prefixed
from .sources import Source, stored_sessions
from .stored import StoredSession
from .values import all_values, case_columns

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS: Final[Mapping[str, Kind]] = {
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
    return make_frame(rows, _COLUMNS, groups)


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
