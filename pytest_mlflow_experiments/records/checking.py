"""Whether what a journal's line says is what it should be: a line may be anybody's work.

What is read from JSON has the right names already, for otherwise it would not have become a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from . import (
    LEGAL_ID,
    Attempt,
    CaseRecord,
    Check,
    Metric,
    Provenance,
    SessionEnd,
    SessionHeader,
    Shard,
)
from .slim import CASE_ID, LARGEST

_OPERATORS = frozenset({"<", "<=", ">", ">=", "=="})
_OUTCOMES = frozenset({"passed", "failed", "error", "skipped", "xfailed", "xpassed", "interrupted"})
_TEXT = frozenset({str})
_NUMBER = frozenset({int, float})


def check(entry: SessionHeader | CaseRecord | SessionEnd | Provenance) -> None:
    """Check the types of all that others rely on.

    Raises:
        ValueError: something is of another type, or a number too large; the message names it.
    """
    if isinstance(entry, CaseRecord):
        _check_case(entry)
    elif isinstance(entry, SessionHeader):
        _texts("session_id, name", (entry.session_id, entry.name))
        _texts("accepted", entry.accepted)
        _mapping("tags", entry.tags)
        _integers("start_time", (entry.start_time,))
        _optional("tracking_uri", entry.tracking_uri)
        _optional("experiment_name", entry.experiment_name)
        _optional("experiment_id", entry.experiment_id)
        _texts("shards", entry.shards)
        if entry.shard is not None:
            _check_shard(entry.shard)
    elif isinstance(entry, SessionEnd):
        _integers("end_time, exit_status, tests", (entry.end_time, entry.exit_status, entry.tests))
        _optional("interrupted", entry.interrupted)
        _optional("partial", entry.partial)
        _texts("selection, summary", (*entry.selection, entry.summary))
        _mapping("tags", entry.tags)
        _numbers("metrics", entry.metrics)
        _mapping("unrecorded", entry.unrecorded)
        for sweep in entry.sweeps:
            _texts("sweeps", (sweep.test, sweep.summary))
            _mapping("sweeps", sweep.params)
            _mapping("sweeps", sweep.tags)
    else:
        _texts("spec, place, reason", (entry.spec, entry.place, entry.reason))


def _check_shard(shard: Shard) -> None:
    _texts("shard", (shard.session_id, shard.baseline))
    if LEGAL_ID.fullmatch(shard.session_id) is None:
        raise ValueError(f"shard: {shard.session_id[:80]!r} is no id of a session")
    _integers("history", (shard.history,))
    _texts("tolerances", (*shard.ini_tolerances, *shard.tolerances))
    _texts("directions, seed_params", (*shard.directions, *shard.seed_params))


def _check_case(record: CaseRecord) -> None:
    _texts("id, nodeid, case, name", (record.id, record.nodeid, record.case, record.name))
    if CASE_ID.fullmatch(record.id) is None:
        raise ValueError(f"id: expected letters and digits, got {record.id[:80]!r}")
    if record.outcome not in _OUTCOMES:
        raise ValueError(f"outcome: {record.outcome!r} is not known")
    _integers("start_time, end_time", (record.start_time, record.end_time))
    _numbers("durations", record.durations)
    _mapping("params", record.params)
    _mapping("tags", record.tags)
    _optional("failure", record.failure)
    _optional("run_id", record.run_id)
    _texts("artifacts, notes, arguments", (*record.artifacts, *record.notes, *record.arguments))
    _check_values(record.metrics, record.checks)
    for attempt in (*record.attempts, *record.repeats):
        _check_attempt(attempt)
    for name in ("datasets", "tolerances", "directions"):
        _mapping(name, getattr(record, name))
    _numbers("run_metrics", record.run_metrics)
    _numbers("usage", record.usage)
    if record.objective is not None or record.resumed_from is not None or record.inputs:
        _check_rare(record)
    _check_values(record.run_history, ())


def _check_rare(record: CaseRecord) -> None:
    for name in ("objective", "resumed_from", "resumed_run"):
        _optional(name, getattr(record, name))
    for data in record.inputs:
        _texts("inputs", (data.name, data.digest, data.source_type, data.source))
        for text in (data.schema, data.profile, data.context):
            _optional("inputs", text)


def _check_attempt(attempt: Attempt) -> None:
    if attempt.outcome not in _OUTCOMES:
        raise ValueError(f"outcome: {attempt.outcome!r} is not known")
    _numbers("duration", {"": attempt.duration})
    _optional("failure", attempt.failure)
    _numbers("usage", attempt.usage)
    _check_values(attempt.metrics, attempt.checks)


def _check_values(metrics: Iterable[Metric], checks: Iterable[Check]) -> None:
    for metric in metrics:
        if type(metric.key) is not str:
            raise ValueError(f"key: expected a text, got {_shown(metric.key)}")
        _step(metric.step)
        _integers("timestamp", (metric.timestamp,))
    for one in checks:
        if type(one.metric) is not str or one.operator not in _OPERATORS:
            raise ValueError(f"checks: {_shown(one.metric)} {_shown(one.operator)} is none")
        _step(one.step)
        _integers("line", (one.line,))


def _step(value: object) -> None:
    # A test may log any; the tracker brings it into MLflow's range.
    if type(value) is not int:
        raise ValueError(f"step: expected an integer, got {_shown(value)}")


def _is_one_of(values: Iterable[object], kinds: frozenset[type]) -> bool:
    return kinds.issuperset(map(type, values))


def _texts(name: str, values: tuple[object, ...]) -> None:
    if not _is_one_of(values, _TEXT):
        raise ValueError(f"{name}: expected texts, got {_shown(values)}")


def _optional(name: str, value: object) -> None:
    if value is not None and type(value) is not str:
        raise ValueError(f"{name}: expected a text, got {_shown(value)}")


def _integers(name: str, values: tuple[object, ...]) -> None:
    for value in values:
        if type(value) is not int or not -LARGEST <= value < LARGEST:
            raise ValueError(f"{name}: expected integers of 64 bits, got {_shown(value)}")


def _mapping(name: str, values: object) -> None:
    if not _is_object(values) or not _is_one_of(values.values(), _TEXT):
        raise ValueError(f"{name}: expected texts by name, got {_shown(values)}")


def _numbers(name: str, values: object) -> None:
    if not _is_object(values) or not _is_one_of(values.values(), _NUMBER):
        raise ValueError(f"{name}: expected numbers by name, got {_shown(values)}")
    for value in values.values():
        if type(value) is int and not -LARGEST <= value < LARGEST:
            raise ValueError(f"{name}: a number is too large")


def _is_object(values: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(values, dict)


def _shown(value: object) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # an integer that has too many digits
        return "a huge number"
