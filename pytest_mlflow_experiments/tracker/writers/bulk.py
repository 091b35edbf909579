"""Write runs directly to MLflow's tables: a batch in one short transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from sqlalchemy import Column, Connection, Table, case, literal, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...records import Metric
from ...records.tags import USER
from .. import tables
from ..retries import cause_of, patiently
from ..runs.case import RunData
from ..sql import Begin, artifact_uri
from ..tables import (
    LATEST,
    METRICS,
    PARAMS,
    RUNS,
    TAGS,
    Row,
    insert_inputs,
    insert_rows,
    latest,
    pair_rows,
    prepare,
    replace_rows,
    run_row,
)
from . import Problem
from .artifacts import repository_at
from .client import ClientWriter

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

# In one transaction; a statement that ends runs has four values for each.
_ENDED_AT_ONCE = 100
_RACES = 5


def end_runs(connection: Connection, table: Table, runs: Sequence[RunData]) -> None:
    """Set the status and the end of active runs, in one statement."""
    columns = table.c
    connection.execute(
        update(table)
        .where(columns.run_uuid.in_([run.id for run in runs]))
        .where(columns.lifecycle_stage == "active")
        .values(
            status=_by_run(columns.run_uuid, columns.status, runs, "status"),
            end_time=_by_run(columns.run_uuid, columns.end_time, runs, "end_time"),
        )
    )


def _by_run(run_id: Column[Any], column: Column[Any], runs: Sequence[RunData], name: str) -> Any:
    values = {run.id: literal(getattr(run, name), column.type) for run in runs}
    return case(values, value=run_id)


@final
@dataclass(frozen=True, slots=True)
class BulkWriter:
    """Inserts runs by the hundred.

    The record's id becomes the run's, so that existing runs are recognised in the same transaction.
    Runs that the test opened itself, and those that an earlier tracker created through the client,
    go to ``client``. ``begin`` opens a transaction.
    """

    begin: Begin
    client: ClientWriter
    experiment: Experiment
    on_closed: Callable[[], None] = lambda: None
    name: ClassVar[str] = "bulk"
    batch_size: ClassVar[int] = 500
    added_at_once: ClassVar[int] = 2_000

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Write finished runs, and return what MLflow did not store."""
        own, others = self._own_and_others(runs)
        problems = _at_once_or_singly(self._insert_with_artifacts, own, "run") if own else []
        return [*problems, *self.client.write(others)] if others else problems

    def add(self, metrics: Mapping[str, Sequence[Metric]]) -> None:
        """Add metrics to runs that were written, by record id."""
        ids = self.client.run_ids
        patiently(self._add, {ids.get(one, one): values for one, values in metrics.items()})

    def _add(self, metrics: Mapping[str, Sequence[Metric]]) -> None:
        try:
            self._add_by(insert_rows, metrics)
        except IntegrityError:  # an earlier tracker has added them
            self._add_by(replace_rows, metrics)

    def _add_by(
        self,
        write: Callable[[Connection, Table, Sequence[Row]], None],
        metrics: Mapping[str, Sequence[Metric]],
    ) -> None:
        columns, ids = RUNS.c, list(metrics)
        active = select(columns.run_uuid).where(columns.lifecycle_stage == "active")
        found: list[list[Row]] = []
        with self.begin() as connection:
            prepare(connection)
            for start in range(0, len(ids), self.batch_size):
                some = active.where(columns.run_uuid.in_(ids[start : start + self.batch_size]))
                found += [
                    tables.metric_rows(run_id, metrics[run_id])
                    for run_id in connection.scalars(some)
                ]
            # The latest first: where there is one, it is not to be added to.
            write(connection, LATEST, list(chain.from_iterable(map(latest, found))))
            write(connection, METRICS, list(chain.from_iterable(found)))

    def open(self, runs: Sequence[RunData]) -> Mapping[str, str]:
        """Create RUNNING runs that do not exist yet, and return their ids."""
        own, others = self._own_and_others(runs)
        opened = dict(self.client.open(others)) if others else {}
        if own:
            _at_once_or_singly(self._insert_with_artifacts, own, "run")
            opened |= {run_id: run_id for run_id in patiently(self._active, own)}
        return opened

    def close(self, runs: Sequence[RunData], held: Mapping[str, Run]) -> Sequence[Problem]:
        """Complete opened runs and end them; what they have under the same keys is replaced."""
        problems: list[Problem] = []
        for start in range(0, len(runs), _ENDED_AT_ONCE):
            some = runs[start : start + _ENDED_AT_ONCE]
            problems += _at_once_or_singly(self._close_opened, some, "sweep")
        return problems

    def artifact_uri(self, run_id: str) -> str:
        """Return where MLflow keeps the artifacts of a run."""
        return artifact_uri(self.experiment.artifact_location, run_id)

    def _own_and_others(self, runs: Sequence[RunData]) -> tuple[list[RunData], list[RunData]]:
        own = [run for run in runs if run.run_id is None and not self.client.knows(run)]
        ids = {run.id for run in own}
        return own, [run for run in runs if run.id not in ids]

    def _insert_with_artifacts(self, runs: Sequence[RunData]) -> list[Problem]:
        fresh = patiently(self._insert_despite_races, runs)
        problems = []
        for run in runs:
            if run.has_artifacts:
                repository = partial(repository_at, self.client.client, self.artifact_uri(run.id))
                resumed = run.id not in fresh
                if problem := self.client.uploader.upload_run(repository, run, resumed=resumed):
                    problems.append(problem)
        return problems

    def _insert(self, runs: Sequence[RunData]) -> set[str]:
        """Insert the runs that do not exist yet, and return their ids."""
        with self.begin() as connection:
            prepare(connection)
            ids = {run.id for run in runs}
            held = select(RUNS.c.run_uuid).where(RUNS.c.run_uuid.in_(ids))
            fresh = ids.difference(connection.scalars(held))
            new = {run.id: run for run in runs if run.id in fresh}.values()
            if new:
                insert_rows(connection, RUNS, map(self._run_row, new))
                for table, rows in _rows(new):
                    insert_rows(connection, table, rows)
                inputs = {run.id: run.inputs for run in new}
                insert_inputs(connection, int(self.experiment.experiment_id), inputs)
        return fresh

    def _insert_despite_races(self, runs: Sequence[RunData]) -> set[str]:
        """Insert runs; retry if another process has inserted the same rows meanwhile."""
        for _ in range(_RACES):
            with suppress(IntegrityError):
                return self._insert(runs)
        return self._insert(runs)

    def _active(self, runs: Sequence[RunData]) -> list[str]:
        columns = RUNS.c
        wanted = columns.run_uuid.in_({run.id for run in runs})
        query = select(columns.run_uuid).where(wanted, columns.lifecycle_stage == "active")
        with self.begin() as connection:
            return list(connection.scalars(query))

    def _close_opened(self, runs: Sequence[RunData]) -> list[Problem]:
        patiently(self._close, [replace(run, id=run.run_id or run.id) for run in runs])
        for _ in runs:
            self.on_closed()
        return []

    def _close(self, runs: Sequence[RunData]) -> None:
        with self.begin() as connection:
            prepare(connection)
            for table, rows in _rows(runs):
                replace_rows(connection, table, rows)
            end_runs(connection, RUNS, runs)

    def _run_row(self, run: RunData) -> Row:
        return run_row(
            run.id,
            self.experiment.experiment_id,
            self.artifact_uri(run.id),
            name=run.name,
            user_id=run.tags[USER],
            status=run.status,
            start_time=run.start_time,
            end_time=run.end_time,
        )


def _at_once_or_singly(
    write: Callable[[Sequence[RunData]], list[Problem]],
    runs: Sequence[RunData],
    part: Literal["run", "sweep"],
) -> list[Problem]:
    """Write runs at once, or one by one if the database refuses any of them."""
    try:
        return write(runs)
    except SQLAlchemyError as error:
        if cause_of(error) != "data":
            raise
        if len(runs) == 1:
            return [Problem.refused(part, runs[0], error)]
    return [problem for run in runs for problem in _at_once_or_singly(write, [run], part)]


def metric_rows(run: RunData) -> list[Row]:
    """Return the rows of a run's metrics, as MLflow stores their values."""
    return tables.metric_rows(run.id, run.metrics)


def _rows(runs: Collection[RunData]) -> Iterator[tuple[Table, list[Row]]]:
    """Yield the rows of each table with keys: tags, params and metrics."""
    metrics = [metric_rows(run) for run in runs]
    yield TAGS, [row for run in runs for row in pair_rows(run.id, run.tags)]
    yield PARAMS, [row for run in runs for row in pair_rows(run.id, run.params)]
    yield METRICS, list(chain.from_iterable(metrics))
    yield LATEST, list(chain.from_iterable(map(latest, metrics)))
