"""Complete and end runs in MLflow's own tables, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Column, Connection, Table, case, delete, insert, literal, select, update

from .projection import RunData

Row: TypeAlias = dict[str, Any]


def replace_rows(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Put rows in the place of those with the same run and key."""
    new = list(rows)
    if not new:
        return
    written = {(row["run_uuid"], row["key"]) for row in new}
    ids = {run_id for run_id, _ in written}
    columns = table.c
    held = connection.execute(
        select(columns.run_uuid, columns.key).distinct().where(columns.run_uuid.in_(ids))
    )
    for run_id, key in written & {(run_id, key) for run_id, key in held}:
        connection.execute(
            delete(table).where(columns.run_uuid == run_id).where(columns.key == key)
        )
    connection.execute(insert(table), new)


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
