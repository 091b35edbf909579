"""The runs of a session's sweeps: opened with their first case, ended with the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import final

from mlflow.entities import Run

from pytest_mlflow_experiments.records import CaseRecord, SessionEnd

from .joint import unmerged, worse
from .metrics import stored_value
from .projection import NOTE, Parent, RunData, project_case
from .sweeps import SweepTally, project_closing, project_opening
from .writers import Problem, RunWriter


@final
class SweepRuns:
    """Knows below which run each case belongs, and makes that run where there is none yet."""

    def __init__(self, parent: Parent, writer: RunWriter) -> None:
        self._parent = parent
        self._writer = writer
        self._tallies: dict[str, SweepTally] = {}
        self._openings: dict[str, RunData] = {}
        self._parents: dict[str, Parent] = {}

    def place(self, records: Sequence[CaseRecord]) -> list[RunData]:
        """Return the runs of cases, each below that of its sweep, if it is one of a sweep."""
        for record in records:
            if (test := record.sweep) is not None:
                tally = self._tallies.setdefault(test, SweepTally.of(test, record))
                tally.add(record)
        self._open([tally for test, tally in self._tallies.items() if test not in self._parents])
        return [project_case(record, self._parent_of(record)) for record in records]

    def _parent_of(self, record: CaseRecord) -> Parent:
        return self._parents[record.sweep] if record.sweep is not None else self._parent

    def _open(self, tallies: Sequence[SweepTally]) -> None:
        if not tallies:
            return
        openings = {tally.test: project_opening(tally, self._parent) for tally in tallies}
        run_ids = self._writer.open(list(openings.values()))
        self._openings |= openings
        for test, run in openings.items():
            # Of a sweep whose run was deleted, the cases that come stand where they can be seen.
            run_id = run_ids.get(run.id, self._parent.run_id)
            self._parents[test] = replace(self._parent, run_id=run_id)

    def close(
        self,
        end: SessionEnd | None,
        held: Mapping[str, Run],
        adopt: Callable[[str, str], None],
    ) -> Sequence[Problem]:
        """End the runs, and return what could not be brought there.

        Args:
            end: the end of the session, which broke off where it has none.
            held: the session's sweeps as MLflow has them, by record id, as far as others than this
                tracker may have had a hand in them.
            adopt: makes the children of one run those of another.
        """
        runs = list(self._endings(end, held, adopt))
        by_run = {str(run.info.run_id): run for run in held.values()}
        return self._writer.close(
            [run for run in runs if not _has_all(by_run.get(run.run_id or ""), run)], by_run
        )

    def _endings(
        self,
        end: SessionEnd | None,
        held: Mapping[str, Run],
        adopt: Callable[[str, str], None],
    ) -> Iterator[RunData]:
        told = {sweep.test: sweep for sweep in end.sweeps} if end is not None else {}
        for test, tally in self._tallies.items():
            opening, run_id = self._openings[test], self._parents[test].run_id
            existing = held.get(opening.id)
            if existing is not None and existing.info.lifecycle_stage != "active":
                continue
            if existing is not None and run_id != existing.info.run_id:
                # Two shards have opened it at once, and the other's run is the one that stays.
                adopt(run_id, existing.info.run_id)
                run_id = existing.info.run_id
            if run_id == self._parent.run_id:
                continue
            ending = project_closing(tally, opening, told.get(test), end)
            if self._parent.shard_id is not None:
                ending = _of_shard(ending, existing, self._parent.session_id)
            yield replace(ending, run_id=run_id)


def _of_shard(run: RunData, existing: Run | None, session_id: str) -> RunData:
    """Return what one shard knows of the end of a sweep: the rest is told by the whole."""
    status, end_time = run.status, run.end_time
    if existing is not None and status != "RUNNING":
        status = worse(status, existing.info.status)
        end_time = max(end_time or 0, existing.info.end_time or 0)
    return replace(
        run,
        status=status,
        end_time=end_time,
        metrics=(),
        params={},
        tags={NOTE: unmerged(session_id)},
    )


def _has_all(existing: Run | None, run: RunData) -> bool:
    """Tell whether a run has ended as it should already."""
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
