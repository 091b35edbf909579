"""What one sweep becomes in MLflow: the run between the session's and those of its cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isinf
from typing import final

from pytest_mlflow_experiments.records import (
    FAILED_OUTCOMES,
    CaseRecord,
    Metric,
    Outcome,
    SessionEnd,
    SweepEnd,
)

from .limits import (
    NAME_LENGTH,
    TAG_LENGTH,
    clean_integer,
    clean_text,
    legal_keys,
    shorten,
)
from .markdown import first_items, inline
from .projection import (
    KIND,
    NOTE,
    PARENT,
    RECORD_ID,
    RUN_NAME,
    SESSION_ID,
    SHARD,
    USER,
    Parent,
    RunData,
    Status,
    project_params,
    project_tags,
)

_NOTES = 20
# What the run has had since it was opened.
_OF_THE_RUN = frozenset({
    *(KIND, PARENT, RECORD_ID, RUN_NAME, SESSION_ID, SHARD, USER),
    *("pytest.nodeid", "pytest.file"),
})  # fmt: skip


@final
@dataclass(slots=True)
class SweepTally:
    """A running count of one sweep's cases; it keeps no records."""

    test: str
    name: str
    start_time: int
    last_time: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    @classmethod
    def of(cls, test: str, record: CaseRecord) -> SweepTally:
        """Return the count of a sweep of which this is the first case, before it is counted."""
        return cls(test, record.name.partition("[")[0] or test, record.start_time)

    def add(self, record: CaseRecord) -> None:
        """Count one case."""
        self.outcomes[record.outcome] += 1
        self.start_time = min(self.start_time, record.start_time)
        self.last_time = max(self.last_time, record.end_time)

    @property
    def status(self) -> Status:
        """The status of a sweep that ran to its end: one case that failed makes it fail."""
        return "FAILED" if FAILED_OUTCOMES & self.outcomes.keys() else "FINISHED"


def sweep_id(session_id: str, test: str) -> str:
    """Return the id that a sweep has in place of a record's: the same in each shard."""
    return sha256(f"{session_id}\n{test}".encode(errors="replace")).hexdigest()[:32]


def project_opening(tally: SweepTally, parent: Parent) -> RunData:
    """Return the run of a sweep with its first case."""
    file = tally.test.partition("::")[0]
    name = shorten(clean_text(tally.name), NAME_LENGTH)
    record_id = sweep_id(parent.session_id, tally.test)
    reserved = {
        PARENT: parent.run_id,
        RUN_NAME: name,
        USER: parent.user,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": file,
        KIND: "sweep",
        SESSION_ID: parent.session_id,
        RECORD_ID: record_id,
        "pytest.nodeid": tally.test,
        "pytest.file": file,
    }
    return RunData(
        id=record_id,
        name=name,
        status="RUNNING",
        start_time=max(1, clean_integer(tally.start_time)),
        end_time=None,
        params={},
        metrics=(),
        tags=project_tags({}, reserved, []),
    )


def project_closing(
    tally: SweepTally,
    opening: RunData,
    told: SweepEnd | None,
    end: SessionEnd | None,
) -> RunData:
    """Return what the run of a sweep gets at the end of a session.

    Args:
        tally: its cases.
        opening: the run as it was opened, or would have been.
        told: what is known of its best configuration and so on, if anything.
        end: the end of the session, which broke off where it has none.
    """
    told = told or SweepEnd(test=tally.test)
    broke_off = end is None or end.interrupted is not None
    end_time = max(1, clean_integer(tally.last_time))
    notes: list[str] = []
    params = project_params(told.params, notes)
    metrics = _metrics(tally, told.metrics, end_time, notes)
    given = {key: value for key, value in told.tags.items() if key not in _OF_THE_RUN}
    tags = project_tags(given, {}, notes)
    tags[NOTE] = _description(tally, told.summary, notes, broke_off=broke_off)
    return RunData(
        id=opening.id,
        name=opening.name,
        status="KILLED" if broke_off else tally.status,
        start_time=opening.start_time,
        end_time=end_time,
        params=params,
        metrics=metrics,
        tags=tags,
    )


def _metrics(
    tally: SweepTally, told: Mapping[str, float], end_time: int, notes: list[str]
) -> tuple[Metric, ...]:
    keys = legal_keys("metric", told)
    notes += keys.notes
    notes += (
        f"{keys.legal[key]} is infinite; MLflow may store 1.797e+308 instead"
        for key, value in told.items()
        if isinf(value)
    )
    values = {keys.legal[key]: value for key, value in told.items()}
    # Always there, so that sweeps compare; the other outcomes are rare.
    counts = {"cases": tally.outcomes.total(), "passed": 0, "failed": 0}
    counts |= {str(outcome): number for outcome, number in tally.outcomes.items()}
    values |= {key: number for key, number in counts.items() if key not in values}
    return tuple(
        Metric(key=key, value=float(value), step=0, timestamp=end_time)
        for key, value in values.items()
    )


def _description(tally: SweepTally, summary: str, notes: Iterable[str], *, broke_off: bool) -> str:
    parts = [clean_text(summary).strip()] if summary else []
    cases = tally.outcomes.total()
    counts = ", ".join(f"{number} {outcome}" for outcome, number in tally.outcomes.items())
    parts.append(f"**{cases} case{'' if cases == 1 else 's'}**: {counts}")
    if broke_off:
        parts.append("The session broke off; there may have been more cases to come.")
    if lines := first_items([inline(note) for note in notes], _NOTES, "notes"):
        parts.append("\n".join(["**Notes**", "", *lines]))
    return shorten("\n\n".join(parts), TAG_LENGTH)
