"""What a baseline keeps of a session: enough to compare with, and little enough for git.

The cases of a whole window, tens of thousands, are not worth becoming objects for being copied:
they stay builtins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .. import journal
from ..journal import Entry, JournalError
from ..records import (
    PASSED_OUTCOMES,
    Builtins,
    CaseRecord,
    SessionEnd,
    SessionHeader,
    decode,
    encode,
    thinned,
)

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
_KEPT_WHERE_ANY = ("arguments", "datasets", "run_metrics", "usage", "resumed_from")
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def slim(record: CaseRecord) -> CaseRecord:
    """Return what comparisons need of a case: no metrics where it did not pass.

    Metrics with several steps keep enough of them to draw the curve.
    """
    return decode(CaseRecord, _slim_case(encode(record), steps=True))


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


def slim_line(line: bytes, *, steps: bool = True) -> str:
    """Return what comparisons need of a line as it stands in a journal, without its end.

    Args:
        line: the line.
        steps: whether metrics keep several steps; otherwise they have the last one alone.

    Raises:
        JournalError: it is no line of a journal.
    """
    try:
        data = json.loads(line)
        if data["kind"] == "case":
            return _to_json({"kind": "case", **_slim_case(data, steps=steps)})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise JournalError(f"not a line of a session's journal: {error!r}") from error
    return journal.encode(slim_entry(journal.decode(line)))


def _slim_case(data: Builtins, *, steps: bool) -> Builtins:
    case: Builtins = {name: data[name] for name in _KEPT}
    passed = data["outcome"] in PASSED_OUTCOMES
    case["metrics"] = _values(data["metrics"], steps=steps) if passed else []
    case |= {"checks": _alternatives(data["checks"]), "tags": {}, "artifacts": []}
    case |= {"failure": None, "run_id": None}
    case |= {"attempts": [], "notes": []}
    case |= {name: data[name] for name in _KEPT_WHERE_ANY if data.get(name)}
    if steps and passed and (history := data.get("run_history")):
        case["run_history"] = _values(history, steps=True)
    if repeats := data.get("repeats"):
        case["repeats"] = [
            {
                "outcome": repeat["outcome"],
                "duration": repeat["duration"],
                "metrics": _values(repeat["metrics"], steps=False),
                "checks": [],
                "failure": None,
                **({"usage": usage} if (usage := repeat.get("usage")) else {}),
            }
            for repeat in repeats
        ]
    return case


def _alternatives(checks: list[Any]) -> list[Any]:
    """Return a check of each metric that an assertion need not come to, as in ``a or b``."""
    needed = {check["metric"] for check in checks if not check["alternative"]}
    return list({c["metric"]: c for c in checks if c["metric"] not in needed}.values())


def _values(metrics: Iterable[Any], *, steps: bool) -> list[Any]:
    """Return the last value of each metric, and where wanted some of those at earlier steps."""
    series: dict[str, dict[int, Any]] = {}
    for metric in metrics:
        by_step = series.setdefault(metric["key"], {})
        held = by_step.get(metric["step"])
        if held is None or metric["timestamp"] >= held["timestamp"]:
            by_step[metric["step"]] = metric
    if not steps:
        return [by_step[max(by_step)] for by_step in series.values()]
    return [by_step[step] for by_step in series.values() for step in thinned(sorted(by_step))]
