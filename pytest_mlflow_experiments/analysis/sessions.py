"""One row for each session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, get_args

from ..baseline.choice import why_incomplete
from ..records import Outcome, SessionEnd, SessionHeader
from ..records.tags import BASELINE, BASELINE_NEWEST, BRANCH, COMMIT, DIRTY
from .frame import Kind, Row, make_frame, prefixed
from .sources import Source, StoredSession, stored_sessions

if TYPE_CHECKING:
    import pandas as pd

_NAMED: Final = frozenset({BRANCH, COMMIT, DIRTY, BASELINE, BASELINE_NEWEST})
_OUTCOMES: Final = get_args(Outcome)
_STATUSES: Final = ("regressed", "missing", "improved")

_COLUMNS: Final[Mapping[str, Kind]] = {
    "session_id": "text",
    "name": "text",
    "start_time": "time",
    "duration_seconds": "number",
    "branch": "text",
    "commit": "text",
    "dirty": "rare flag",
    "complete": "flag",
    "incomplete": "text",
    "exit_status": "rare count",
    "gate_failed": "flag",
    "tests": "rare count",
    "cases": "count",
    **dict.fromkeys(_OUTCOMES, "count"),
    **dict.fromkeys(_STATUSES, "rare count"),
    "baseline": "text",
    "baseline_newest": "text",
    "tracking_uri": "text",
    "experiment": "text",
    "run_id": "text",
}


def load_sessions(
    source: Source = None,
    *,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    branch: str | None = None,
    last: int | None = None,
) -> pd.DataFrame:
    """Return one row for each session, the oldest first.

    ================================ =================== ======================================
    column                           dtype               meaning
    ================================ =================== ======================================
    session_id, name                 string
    start_time                       datetime64[ms, UTC]
    duration_seconds                 float64             NaN without an end
    branch, commit                   string              NA outside of git
    dirty                            boolean             whether files were changed after the
                                                         commit
    complete                         bool                whether all tests ran that should
    incomplete                       string              why they did not, else NA
    exit_status                      Int64               pytest's; NA without an end
    gate_failed                      bool
    tests                            Int64               all that ran, kept or not; NA without
                                                         an end
    cases                            int64               those that were kept
    passed, failed, error, skipped   int64               how many cases had which outcome
    xfailed, xpassed, interrupted    int64
    regressed, missing, improved     Int64               how many metrics did; NA where nothing
                                                         was compared
    baseline, baseline_newest        string              which sessions it was compared with,
                                                         and the newest's id
    tracking_uri, experiment, run_id string              where MLflow has the session
    tags.<name>                      string              all other tags
    ================================ =================== ======================================

    Shards that were merged are left out where the session that they make up is there.

    Args:
        source: a rootdir, its ``.pytest_mlflow``, the directory of a session or one with such
            directories below it, a journal (``results.jsonl``), a baseline file, or several of
            these. None: the ``.pytest_mlflow`` of the current directory, or of the next one above
            that has one. The text ``"mlflow"``: MLflow, where the commands look for it (the
            variables ``MLFLOW_TRACKING_URI`` and so on, else where the newest session here went).
        tracking_uri: read from this MLflow; ``source`` is then not given.
        experiment: only sessions of the experiment with this name. In MLflow, where none is given,
            it is the one that the commands would take.
        branch: only sessions of this branch.
        last: only so many sessions, the newest ones.

    Raises:
        ValueError: an argument is not legal.
        FileNotFoundError: there is no such file, or no session in a directory.
        JournalError: a session is damaged, or of a newer release.
        BaselineError: MLflow can't be used, or has no such experiment.
    """
    found = stored_sessions(
        source, tracking_uri=tracking_uri, experiment=experiment, branch=branch, last=last
    )
    return make_frame([_row(session) for session in found], _COLUMNS, {"tags.": "text"})


def _row(session: StoredSession) -> Row:
    header, end = session.header, session.end
    tags = {**header.tags, **(end.tags if end else {})}
    dirty = tags.get(DIRTY)
    outcomes = Counter(case.outcome for case in session.cases)
    return {
        "session_id": header.session_id,
        "name": header.name,
        "start_time": header.start_time,
        "duration_seconds": (end.end_time - header.start_time) / 1_000 if end else None,
        "branch": header.branch,
        "commit": header.commit,
        "dirty": None if dirty is None else dirty == "true",
        **_ending(header, end),
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


def _ending(header: SessionHeader, end: SessionEnd | None) -> dict[str, Any]:
    # A gate's verdict says nothing of what ran.
    incomplete = why_incomplete(header, replace(end, rejected=False) if end else None)
    return {
        "complete": incomplete is None,
        "incomplete": incomplete,
        "exit_status": end.exit_status if end else None,
        "gate_failed": end is not None and end.rejected,
        "tests": end.tests if end else None,
        **{status: _whole(end.metrics.get(status)) if end else None for status in _STATUSES},
    }


def _whole(number: float | None) -> int | None:
    return None if number is None or number != number else int(number)
