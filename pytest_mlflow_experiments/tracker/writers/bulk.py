"""Write runs directly to MLflow's tables: a batch in one short transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Final, Literal, TypeAlias, final
from uuid import uuid4

from mlflow.entities import Experiment, Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import Column, Connection, Table, case, delete, insert, literal, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...records import Metric
from ...records.tags import DATA_CONTEXT, USER
from ..retries import cause_of, patiently
from ..runs.case import RunData, stored_value
from . import Problem
from .client import ClientWriter

Row: TypeAlias = dict[str, Any]

RUN_TABLES: Final[tuple[Table, ...]] = tuple(
    model.__table__ for model in (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric)
)
INPUT_TABLES: Final[tuple[Table, ...]] = tuple(
    model.__table__ for model in (SqlDataset, SqlInput, SqlInputTag)
)
_RUNS, _TAGS, _PARAMS, _METRICS, _LATEST = RUN_TABLES
# In one transaction; a statement that ends runs has four values for each.
_ENDED_AT_ONCE = 100
_RACES = 5


def replace_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, replacing those with the same run and key."""
    if not rows:
        return
    written = {(row["run_uuid"], row["key"]) for row in rows}
    ids = {run_id for run_id, _ in written}
    columns = table.c
    held = connection.execute(
        select(columns.run_uuid, columns.key).distinct().where(columns.run_uuid.in_(ids))
    )
    for run_id, key in written & {(run_id, key) for run_id, key in held}:
        connection.execute(
            delete(table).where(columns.run_uuid == run_id).where(columns.key == key)
        )
    connection.execute(insert(table), rows)


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


def insert_inputs(connection: Connection, experiment_id: int, runs: Sequence[RunData]) -> None:
    """Insert the inputs of runs without any; each dataset exists once in an experiment."""
    wanted = {(data.name, data.digest): data for run in runs for data in reversed(run.inputs)}
    if not wanted:
        return
    columns = INPUT_TABLES[0].c
    held = connection.execute(
        select(columns.name, columns.digest, columns.dataset_uuid)
        .where(columns.experiment_id == experiment_id)
        .where(columns.name.in_({name for name, _ in wanted}))
    )
    ids = {(name, digest): str(dataset_id) for name, digest, dataset_id in held}
    new = {key: uuid4().hex for key in wanted.keys() - ids.keys()}
    ids |= new
    datasets = [
        {
            "dataset_uuid": dataset_id,
            "experiment_id": experiment_id,
            "name": key[0],
            "digest": key[1],
            "dataset_source_type": wanted[key].source_type,
            "dataset_source": wanted[key].source,
            "dataset_schema": wanted[key].schema,
            "dataset_profile": wanted[key].profile,
        }
        for key, dataset_id in new.items()
    ]
    inputs: list[Row] = []
    tags: list[Row] = []
    for run in runs:
        for data in run.inputs:
            input_id = uuid4().hex
            inputs.append({
                "input_uuid": input_id,
                "source_type": "DATASET",
                "source_id": ids[data.name, data.digest],
                "destination_type": "RUN",
                "destination_id": run.id,
            })  # fmt: skip
            if data.context:
                tags.append({"input_uuid": input_id, "name": DATA_CONTEXT, "value": data.context})
    for table, rows in zip(INPUT_TABLES, (datasets, inputs, tags), strict=True):
        _insert_rows(connection, table, rows)


@final
@dataclass(frozen=True, slots=True)
class BulkWriter:
    """Inserts runs by the hundred.

    The record's id becomes the run's, so that existing runs are recognised in the same transaction.
    Runs that the test opened itself, and those that an earlier tracker created through the client,
    go to ``client``. ``begin`` opens a transaction.
    """

    begin: Callable[[], AbstractContextManager[Connection]]
    client: ClientWriter
    experiment: Experiment
    on_closed: Callable[[], None] = lambda: None
    name: ClassVar[str] = "bulk"
    batch_size: ClassVar[int] = 500

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
        columns = _RUNS.c
        query = select(columns.run_uuid).where(
            columns.run_uuid.in_(metrics), columns.lifecycle_stage == "active"
        )
        with self.begin() as connection:
            prepare(connection)
            found = [_metric_rows(run_id, metrics[run_id]) for run_id in connection.scalars(query)]
            replace_rows(connection, _METRICS, list(chain.from_iterable(found)))
            replace_rows(connection, _LATEST, list(chain.from_iterable(map(latest, found))))

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
        append: Callable[..., str] = append_to_uri_path
        return append(self.experiment.artifact_location, run_id, "artifacts")

    def _own_and_others(self, runs: Sequence[RunData]) -> tuple[list[RunData], list[RunData]]:
        own = [run for run in runs if run.run_id is None and not self.client.knows(run)]
        ids = {run.id for run in own}
        return own, [run for run in runs if run.id not in ids]

    def _insert_with_artifacts(self, runs: Sequence[RunData]) -> list[Problem]:
        fresh = patiently(self._insert_despite_races, runs)
        problems = []
        for run in runs:
            if run.has_artifacts:
                repository = partial(get_artifact_repository, self.artifact_uri(run.id))
                resumed = run.id not in fresh
                if problem := self.client.uploader.upload_run(repository, run, resumed=resumed):
                    problems.append(problem)
        return problems

    def _insert(self, runs: Sequence[RunData]) -> set[str]:
        """Insert the runs that do not exist yet, and return their ids."""
        with self.begin() as connection:
            prepare(connection)
            ids = {run.id for run in runs}
            held = select(_RUNS.c.run_uuid).where(_RUNS.c.run_uuid.in_(ids))
            fresh = ids.difference(connection.scalars(held))
            new = {run.id: run for run in runs if run.id in fresh}.values()
            if new:
                _insert_rows(connection, _RUNS, map(self._run_row, new))
                for table, rows in _rows(new):
                    _insert_rows(connection, table, rows)
                insert_inputs(connection, int(self.experiment.experiment_id), list(new))
        return fresh

    def _insert_despite_races(self, runs: Sequence[RunData]) -> set[str]:
        """Insert runs; retry if another process has inserted the same rows meanwhile."""
        for _ in range(_RACES):
            with suppress(IntegrityError):
                return self._insert(runs)
        return self._insert(runs)

    def _active(self, runs: Sequence[RunData]) -> list[str]:
        columns = _RUNS.c
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
            end_runs(connection, _RUNS, runs)

    def _run_row(self, run: RunData) -> Row:
        return {
            "run_uuid": run.id,
            "name": run.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": run.tags[USER],
            "status": run.status,
            "start_time": run.start_time,
            "end_time": run.end_time,
            "deleted_time": None,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": self.artifact_uri(run.id),
            "experiment_id": int(self.experiment.experiment_id),
        }


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


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return the last value of each metric of one run, by MLflow's rule.

    The rule is ``SqlAlchemyStore._update_latest_metrics_if_necessary``: the largest step wins,
    then the largest timestamp, then the largest value.
    """
    last: dict[str, Row] = {}
    for row in rows:
        held = last.get(row["key"])
        if held is None or _age(row) > _age(held):
            last[row["key"]] = row
    return list(last.values())


def _age(row: Row) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]


def metric_rows(run: RunData) -> list[Row]:
    """Return the rows of a run's metrics, as MLflow stores their values."""
    return _metric_rows(run.id, run.metrics)


def _metric_rows(run_id: str, metrics: Iterable[Metric]) -> list[Row]:
    rows: list[Row] = []
    for metric in metrics:
        value, is_nan = stored_value(metric.value)
        when = {"timestamp": metric.timestamp, "step": metric.step}
        rows.append(
            {"key": metric.key, "value": value, **when, "is_nan": is_nan, "run_uuid": run_id}
        )
    return rows


def _rows(runs: Collection[RunData]) -> Iterator[tuple[Table, list[Row]]]:
    """Yield the rows of each table with keys: tags, params and metrics."""
    metrics = [metric_rows(run) for run in runs]
    yield _TAGS, [row for run in runs for row in _pairs(run, run.tags)]
    yield _PARAMS, [row for run in runs for row in _pairs(run, run.params)]
    yield _METRICS, list(chain.from_iterable(metrics))
    yield _LATEST, list(chain.from_iterable(map(latest, metrics)))


def _pairs(run: RunData, pairs: Mapping[str, str]) -> list[Row]:
    return [{"key": key, "value": value, "run_uuid": run.id} for key, value in pairs.items()]


def _insert_rows(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    if listed := list(rows):
        connection.execute(insert(table), listed)


def prepare(connection: Connection) -> None:
    """Set SQLite's pragmas, as MLflow does for each of its sessions: tests may write meanwhile."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        connection.exec_driver_sql("PRAGMA busy_timeout = 20000")
