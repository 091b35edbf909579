"""Build the run of a sweep, the parent of its cases' runs and child of the session's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import isinf, isnan
from typing import final

from mlflow.entities import Run

from ...records import FAILED_OUTCOMES, CaseRecord, Metric, Outcome, SessionEnd, SweepEnd
from ...records import tags as tag
from ..limits import (
    NAME_LENGTH,
    PARAM_LENGTH,
    TAG_LENGTH,
    clean_integer,
    clean_text,
    legal_keys,
    shorten,
)
from ..writers import Problem, RunWriter
from .case import (
    Parent,
    RunData,
    Status,
    fit_values,
    metrics_at,
    note_infinite,
    project_case,
    project_tags,
    stored_value,
)
from .description import inline, titled_list
from .existing import unmerged_note, worse_status

_NOTES = 20
# What the run has had since it was opened.
_OF_THE_RUN = frozenset({
    *(tag.KIND, tag.PARENT, tag.RECORD_ID, tag.RUN_NAME, tag.SESSION_ID, tag.SHARD, tag.USER),
    *(tag.NODEID, tag.FILE),
})  # fmt: skip


@final
@dataclass(slots=True)
class SweepTally:
    """A running count of one sweep's cases; it keeps no records."""

    test: str
    name: str
    start_time: int
    last_time: int = 0
    outcome_of: dict[str, Outcome] = field(default_factory=dict)

    def add(self, record: CaseRecord) -> None:
        """Count a case; if it ran several times, once, as failed if it ever failed."""
        if self.outcome_of.get(record.nodeid) not in FAILED_OUTCOMES:
            self.outcome_of[record.nodeid] = record.outcome
        self.start_time = min(self.start_time, record.start_time)
        self.last_time = max(self.last_time, record.end_time)

    @property
    def outcomes(self) -> Counter[Outcome]:
        """How many cases had which outcome."""
        return Counter(self.outcome_of.values())

    @property
    def status(self) -> Status:
        """The status of a sweep that ran to its end: one case that failed makes it fail."""
        return "FAILED" if FAILED_OUTCOMES & self.outcomes.keys() else "FINISHED"


def sweep_id(session_id: str, test: str) -> str:
    """Return the sweep's substitute for a record id, which is the same in each shard."""
    return sha256(f"{session_id}\n{test}".encode(errors="replace")).hexdigest()[:32]


def project_open_sweep(tally: SweepTally, parent: Parent) -> RunData:
    """Return the run of a sweep as created with its first case."""
    file = tally.test.partition("::")[0]
    name = shorten(clean_text(tally.name), NAME_LENGTH)
    record_id = sweep_id(parent.session_id, tally.test)
    reserved = {
        tag.PARENT: parent.run_id,
        tag.RUN_NAME: name,
        tag.USER: parent.user,
        tag.SOURCE_TYPE: "LOCAL",
        tag.SOURCE_NAME: file,
        tag.KIND: "sweep",
        tag.SESSION_ID: parent.session_id,
        tag.RECORD_ID: record_id,
        tag.NODEID: tally.test,
        tag.FILE: file,
    }
    return RunData(
        id=record_id,
        name=name,
        status="RUNNING",
        start_time=max(1, clean_integer(tally.start_time)),
        end_time=None,
        params={},
        metrics=(),
        tags={**parent.tags, **project_tags({}, reserved, [])},
    )


def project_ended_sweep(
    tally: SweepTally, created: RunData, sweep_end: SweepEnd | None, end: SessionEnd | None
) -> RunData:
    """Return what is added to the run of a sweep at the end of a session.

    Args:
        tally: its cases.
        created: the run as :func:`project_open_sweep` made it.
        sweep_end: its best configuration and so on, if known.
        end: the end of the session; None if it broke off.
    """
    sweep_end = sweep_end or SweepEnd(test=tally.test)
    broke_off = end is None or end.interrupted is not None
    end_time = max(1, clean_integer(tally.last_time))
    notes: list[str] = []
    params = fit_values("param", sweep_end.params, PARAM_LENGTH, notes)
    metrics = _metrics(tally, sweep_end.metrics, end_time, notes)
    given = {key: value for key, value in sweep_end.tags.items() if key not in _OF_THE_RUN}
    tags = project_tags(given, {}, notes)
    tags[tag.NOTE] = _description(tally, sweep_end.summary, notes, broke_off=broke_off)
    status: Status = "KILLED" if broke_off else tally.status
    return replace(
        created, status=status, end_time=end_time, params=params, metrics=metrics, tags=tags
    )


def _metrics(
    tally: SweepTally, metrics: Mapping[str, float], end_time: int, notes: list[str]
) -> tuple[Metric, ...]:
    keys = legal_keys("metric", metrics, notes)
    values = {keys[key]: value for key, value in metrics.items()}
    note_infinite((key for key, value in values.items() if isinf(value)), notes)
    # Always there, so that sweeps compare; the other outcomes are rare.
    counts = {"cases": tally.outcomes.total(), "passed": 0, "failed": 0}
    counts |= {str(outcome): number for outcome, number in tally.outcomes.items()}
    values |= {key: number for key, number in counts.items() if key not in values}
    return tuple(metrics_at(end_time, values))


def _description(tally: SweepTally, summary: str, notes: Sequence[str], *, broke_off: bool) -> str:
    parts = [clean_text(summary).strip()] if summary else []
    cases = tally.outcomes.total()
    counts = ", ".join(f"{number} {outcome}" for outcome, number in tally.outcomes.items())
    parts.append(f"**{cases} case{'' if cases == 1 else 's'}**: {counts}")
    if broke_off:
        parts.append("The session broke off; there may have been more cases to come.")
    if notes:
        parts.append(titled_list("Notes", map(inline, notes), _NOTES, "notes"))
    return shorten("\n\n".join(parts), TAG_LENGTH)


@final
class SweepRuns:
    """Creates the runs of sweeps, and makes them the parents of their cases' runs."""

    def __init__(self, parent: Parent, writer: RunWriter) -> None:
        self._parent = parent
        self._writer = writer
        self._tallies: dict[str, SweepTally] = {}
        self._created: dict[str, RunData] = {}
        self._parents: dict[str | None, Parent] = {None: parent}

    def project(self, records: Sequence[CaseRecord]) -> list[RunData]:
        """Return the runs of cases; a sweep's case gets the sweep's run as its parent."""
        for record in records:
            if (test := record.sweep) is not None:
                name = record.name.partition("[")[0] or test
                new = SweepTally(test, name, record.start_time)
                self._tallies.setdefault(test, new).add(record)
        self._open([tally for test, tally in self._tallies.items() if test not in self._parents])
        return [project_case(record, self._parents[record.sweep]) for record in records]

    def _open(self, tallies: Sequence[SweepTally]) -> None:
        if not tallies:
            return
        created = {tally.test: project_open_sweep(tally, self._parent) for tally in tallies}
        run_ids = self._writer.open(list(created.values()))
        self._created |= created
        for test, run in created.items():
            # Of a sweep whose run was deleted, the cases that come stand where they can be seen.
            run_id = run_ids.get(run.id, self._parent.run_id)
            self._parents[test] = replace(self._parent, run_id=run_id)

    def close(
        self, end: SessionEnd | None, held: Mapping[str, Run], move: Callable[[str, str], None]
    ) -> Sequence[Problem]:
        """End the runs, and return what MLflow did not store.

        Args:
            end: the end of the session; None if it broke off.
            held: the existing runs of sweeps, by record id, that other trackers may have changed.
            move: makes the children of one run those of another.
        """
        runs = list(self._ended(end, held, move))
        by_run = {str(run.info.run_id): run for run in held.values()}
        return self._writer.close(
            [run for run in runs if not _has_all(by_run.get(run.run_id or ""), run)], by_run
        )

    def _ended(
        self, end: SessionEnd | None, held: Mapping[str, Run], move: Callable[[str, str], None]
    ) -> Iterator[RunData]:
        sweep_ends = {sweep.test: sweep for sweep in end.sweeps} if end is not None else {}
        for test, tally in self._tallies.items():
            created, run_id = self._created[test], self._parents[test].run_id
            existing = held.get(created.id)
            if existing is not None and existing.info.lifecycle_stage != "active":
                continue
            if existing is not None and run_id != existing.info.run_id:
                # Two shards have opened it at once, and the other's run is the one that stays.
                move(run_id, existing.info.run_id)
                run_id = existing.info.run_id
            if run_id == self._parent.run_id:
                continue
            ended = project_ended_sweep(tally, created, sweep_ends.get(test), end)
            if self._parent.shard_id is not None:
                ended = _of_shard(ended, existing, self._parent.session_id)
            yield replace(ended, run_id=run_id)


def _of_shard(run: RunData, existing: Run | None, session_id: str) -> RunData:
    """Return the part of a sweep's end that one shard knows; the merge adds the rest."""
    status, end_time = run.status, run.end_time
    if existing is not None and status != "RUNNING":
        status = worse_status(status, existing.info.status)
        end_time = max(end_time or 0, existing.info.end_time or 0)
    return replace(
        run,
        status=status,
        end_time=end_time,
        metrics=(),
        params={},
        tags={tag.NOTE: unmerged_note(session_id)},
    )


def _has_all(existing: Run | None, run: RunData) -> bool:
    """Return whether a run has been ended with the same data already."""
    if existing is None:
        return False
    info, data = existing.info, existing.data
    values = {metric.key: metric.value for metric in run.metrics}
    return (
        (info.status, info.end_time) == (run.status, run.end_time)
        and run.tags.items() <= data.tags.items()
        and run.params.items() <= data.params.items()
        and all(
            key in data.metrics and _same(data.metrics[key], value) for key, value in values.items()
        )
    )


def _same(held: float, value: float) -> bool:
    return held == stored_value(value)[0] or held == value or (isnan(held) and isnan(value))
