"""MLflow's tables that hold experiments and runs, and the rows that MLflow writes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final, TypeAlias
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
)
from sqlalchemy.dialects import sqlite

from ..records import DatasetInput, Metric
from ..records.tags import DATA_CONTEXT
from .runs.case import stored_value

Row: TypeAlias = dict[str, Any]


def _table(name: str, texts: str, **others: Any) -> Table:
    """Return one of MLflow's tables, with the columns that are used here."""
    types = {**dict.fromkeys(texts.split(), String), **others}
    return Table(name, MetaData(), *(Column(key, kind) for key, kind in types.items()))


_VALUE: Final = {
    **{"value": Float(53), "timestamp": BigInteger, "step": BigInteger, "is_nan": Boolean}
}
EXPERIMENTS: Final = _table(
    "experiments", "name artifact_location lifecycle_stage", experiment_id=Integer
)
EXPERIMENT_TAGS: Final = _table("experiment_tags", "key value", experiment_id=Integer)
RUNS: Final = _table(
    "runs",
    "run_uuid name source_type source_name entry_point_name user_id status source_version "
    "lifecycle_stage artifact_uri",
    **dict.fromkeys(("start_time", "end_time", "deleted_time"), BigInteger),
    experiment_id=Integer,
)
TAGS: Final = _table("tags", "key value run_uuid")
PARAMS: Final = _table("params", "key value run_uuid")
METRICS: Final = _table("metrics", "key run_uuid", **_VALUE)
LATEST: Final = _table("latest_metrics", "key run_uuid", **_VALUE)
RUN_TABLES: Final = (RUNS, TAGS, PARAMS, METRICS, LATEST)
INPUT_TABLES: Final = (
    _table(
        "datasets",
        "dataset_uuid name digest dataset_source_type dataset_source dataset_schema "
        "dataset_profile",
        experiment_id=Integer,
    ),
    _table("inputs", "input_uuid source_type source_id destination_type destination_id"),
    _table("input_tags", "input_uuid name value"),
)


def prepare(connection: Connection) -> None:
    """Set SQLite's pragmas, as MLflow does for each of its sessions: tests may write meanwhile."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        connection.exec_driver_sql("PRAGMA busy_timeout = 20000")


def insert_rows(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Insert rows, if there are any."""
    if not (listed := list(rows)):
        return
    if connection.dialect.name != "sqlite":
        connection.execute(insert(table), listed)
        return
    # Values are of types that SQLite takes as they are; to look at each takes as long as to write.
    statement, values = _for_sqlite(table)
    connection.exec_driver_sql(statement, list(map(values, listed)))


@cache
def _for_sqlite(table: Table) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """Return the statement that inserts a row, and what returns its values."""
    compiled = insert(table).compile(dialect=sqlite.dialect())
    return str(compiled), itemgetter(*(compiled.positiontup or ()))


_FEW = 100


def replace_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, replacing those with the same run and key."""
    if not rows:
        return
    written = {(row["run_uuid"], row["key"]) for row in rows}
    ids, keys = {run_id for run_id, _ in written}, {key for _, key in written}
    columns = table.c
    query = select(columns.run_uuid, columns.key).distinct().where(columns.run_uuid.in_(ids))
    if len(keys) <= _FEW:
        # Runs may have many others, which would all be fetched.
        query = query.where(columns.key.in_(keys))
    for run_id, key in written & {(run_id, key) for run_id, key in connection.execute(query)}:
        connection.execute(
            delete(table).where(columns.run_uuid == run_id).where(columns.key == key)
        )
    insert_rows(connection, table, rows)


def run_row(run_id: str, experiment_id: str, artifact_uri: str, **values: Any) -> Row:
    """Return the row of a new run as MLflow writes it; ``values`` are its other columns."""
    return {
        "run_uuid": run_id,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": artifact_uri,
        "experiment_id": int(experiment_id),
        **values,
    }


def pair_rows(run_id: str, pairs: Mapping[str, str]) -> list[Row]:
    """Return the rows of a run's tags or params."""
    return [{"key": key, "value": value, "run_uuid": run_id} for key, value in pairs.items()]


def metric_rows(run_id: str, metrics: Iterable[Metric]) -> list[Row]:
    """Return the rows of a run's metrics, as MLflow stores their values."""
    rows: list[Row] = []
    for metric in metrics:
        value, is_nan = stored_value(metric.value)
        when = {"timestamp": metric.timestamp, "step": metric.step}
        rows.append(
            {"key": metric.key, "value": value, **when, "is_nan": is_nan, "run_uuid": run_id}
        )
    return rows


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


def insert_inputs(
    connection: Connection, experiment_id: int, wanted: Mapping[str, Sequence[DatasetInput]]
) -> None:
    """Insert inputs that runs have not got; each dataset exists once in an experiment.

    ``wanted`` are the inputs by the ids of their runs.
    """
    data = {(one.name, one.digest): one for some in wanted.values() for one in reversed(some)}
    if not data:
        return
    columns = INPUT_TABLES[0].c
    held = connection.execute(
        select(columns.name, columns.digest, columns.dataset_uuid)
        .where(columns.experiment_id == experiment_id)
        .where(columns.name.in_({name for name, _ in data}))
    )
    ids = {(name, digest): str(dataset_id) for name, digest, dataset_id in held}
    new = {key: uuid4().hex for key in data.keys() - ids.keys()}
    ids |= new
    datasets = [
        {
            "dataset_uuid": dataset_id,
            "experiment_id": experiment_id,
            "name": key[0],
            "digest": key[1],
            "dataset_source_type": data[key].source_type,
            "dataset_source": data[key].source,
            "dataset_schema": data[key].schema,
            "dataset_profile": data[key].profile,
        }
        for key, dataset_id in new.items()
    ]
    inputs: list[Row] = []
    tags: list[Row] = []
    for run_id, some in wanted.items():
        for one in some:
            input_id = uuid4().hex
            inputs.append({
                "input_uuid": input_id,
                "source_type": "DATASET",
                "source_id": ids[one.name, one.digest],
                "destination_type": "RUN",
                "destination_id": run_id,
            })  # fmt: skip
            if one.context:
                tags.append({"input_uuid": input_id, "name": DATA_CONTEXT, "value": one.context})
    for table, rows in zip(INPUT_TABLES, (datasets, inputs, tags), strict=True):
        insert_rows(connection, table, rows)
