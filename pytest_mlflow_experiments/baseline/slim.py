"""What a baseline keeps of a session: enough to compare with, and little enough for git.

The cases of a whole window, tens of thousands, are not worth becoming objects for being copied:
they stay builtins.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from .. import journal
from ..journal import Entry, JournalError
from ..records import PASSED_OUTCOMES, Builtins, CaseRecord, SessionEnd, SessionHeader

_TAGS = ("mlflow.source.git.branch", "mlflow.source.git.commit", "git.dirty", "ci.job")
_KEPT = (
    "id",
    "nodeid",
    "case",
    "name",
    "outcome",
    "start_time",
    "end_time",
    "durations",
    "params",
)
_KEPT_WHERE_ANY = ("arguments", "datasets", "run_metrics")
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def slim(record: CaseRecord) -> CaseRecord:
    """Return what comparisons need of a case: no metrics where it did not pass."""
    return CaseRecord.from_builtins(_slim_case(record.to_builtins()))


def slim_entry(entry: Entry) -> Entry:
    """Return what comparisons need of any line of a journal."""
    if isinstance(entry, CaseRecord):
        return slim(entry)
    if isinstance(entry, SessionHeader):
        tags = {name: entry.tags[name] for name in _TAGS if name in entry.tags}
        # Where the session was sent is a path of somebody's machine as often as not.
        return replace(entry, tags=tags, tracking_uri="")
    if isinstance(entry, SessionEnd):
        return replace(entry, tags={}, metrics={}, summary="")
    return entry


def slim_line(line: bytes) -> str:
    """Return what comparisons need of a line as it stands in a journal, without its end.

    Raises:
        JournalError: it is no line of a journal.
    """
    try:
        data = json.loads(line)
        if data["kind"] == "case":
            return _to_json({"kind": "case", **_slim_case(data)})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise JournalError(f"not a line of a session's journal: {error!r}") from error
    return journal.encode(slim_entry(journal.decode(line)))


def _slim_case(data: Builtins) -> Builtins:
    case: Builtins = {name: data[name] for name in _KEPT}
    case["metrics"] = _last_values(data["metrics"]) if data["outcome"] in PASSED_OUTCOMES else []
    case |= {"checks": _alternatives(data["checks"]), "tags": {}, "artifacts": []}
    case |= {"failure": None, "run_id": None}
    case |= {"attempts": [], "notes": []}
    case |= {name: data[name] for name in _KEPT_WHERE_ANY if data.get(name)}
    if repeats := data.get("repeats"):
        case["repeats"] = [
            {
                "outcome": repeat["outcome"],
                "duration": repeat["duration"],
                "metrics": _last_values(repeat["metrics"]),
                "checks": [],
                "failure": None,
            }
            for repeat in repeats
        ]
    return case


def _alternatives(checks: list[Any]) -> list[Any]:
    """Return a check of each metric that an assertion need not come to, as in ``a or b``."""
    needed = {check["metric"] for check in checks if not check["alternative"]}
    return list({c["metric"]: c for c in checks if c["metric"] not in needed}.values())


def _last_values(metrics: list[Any]) -> list[Any]:
    last: dict[str, Any] = {}
    for metric in metrics:
        held = last.setdefault(metric["key"], metric)
        if (metric["step"], metric["timestamp"]) >= (held["step"], held["timestamp"]):
            last[metric["key"]] = metric
    return list(last.values())
