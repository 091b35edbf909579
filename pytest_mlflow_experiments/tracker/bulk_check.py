"""Prove that the bulk writer leaves what the installed MLflow itself would leave."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import isnan
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import DatasetInput
from sqlalchemy import Engine, Table, select

from .bulk_close import Row
from .bulk_writer import TABLES, BulkWriter, latest, metric_rows
from .client_inputs import CONTEXT
from .projection import RUN_NAME, RunData

_HISTORIES = 10

_PAIR = frozenset({"key", "value", "run_uuid"})
_VALUE = _PAIR | {"timestamp", "step", "is_nan"}
_COLUMNS = {
    "runs": frozenset(
        {
            "run_uuid",
            "name",
            "source_type",
            "source_name",
            "entry_point_name",
            "user_id",
            "status",
            "start_time",
            "end_time",
            "deleted_time",
            "source_version",
            "lifecycle_stage",
            "artifact_uri",
            "experiment_id",
        }
    ),
    "tags": _PAIR,
    "params": _PAIR,
    "metrics": _VALUE,
    "latest_metrics": _VALUE,
    "datasets": frozenset(
        {
            "dataset_uuid",
            "experiment_id",
            "name",
            "digest",
            "dataset_source_type",
            "dataset_source",
            "dataset_schema",
            "dataset_profile",
        }
    ),
    "inputs": frozenset(
        {"input_uuid", "source_type", "source_id", "destination_type", "destination_id"}
    ),
    "input_tags": frozenset({"input_uuid", "name", "value"}),
}
# What differs between any two runs; everything else must be as in a run that MLflow made.
_OF_THE_RUN = frozenset({"run_uuid", "name", "status", "start_time", "end_time", "artifact_uri"})


def unknown_structure() -> str | None:
    """Return what is strange about MLflow's tables, or None where the bulk writer knows them."""
    for table in TABLES:
        known = _COLUMNS.get(table.name)
        if known is None:
            return f"the table {table.name!r} is not known"
        columns = {column.name: column for column in table.columns}
        if missing := known - columns.keys():
            return f"table {table.name!r} has no column {min(missing)!r}"
        for name in columns.keys() - known:
            column = columns[name]
            if not (column.nullable or column.default or column.server_default):
                return f"table {table.name!r} demands a column {name!r}"
    return None


def difference(
    engine: Engine, client: MlflowClient, writer: BulkWriter, run: RunData, model_run_id: str
) -> str | None:
    """Compare a run that the bulk writer wrote with what it should be, or return None.

    ``model_run_id`` is a run that MLflow's client created in the same experiment.
    """
    model, row = _row(engine, model_run_id), _row(engine, run.id)
    for name in model.keys() - _OF_THE_RUN:
        if model[name] != row[name]:
            return f"column {name!r} is {row[name]!r}, MLflow writes {model[name]!r}"
    model_run = client.get_run(model_run_id)
    if model_run.info.artifact_uri != writer.artifact_uri(model_run_id):
        return f"MLflow keeps artifacts at {model_run.info.artifact_uri!r}"
    if model_run.data.tags.get(RUN_NAME) != model_run.info.run_name:
        return f"MLflow no longer keeps a run's name in the tag {RUN_NAME!r}"
    return _difference_read_back(client, writer, run)


def _difference_read_back(client: MlflowClient, writer: BulkWriter, run: RunData) -> str | None:
    found = client.get_run(run.id)
    rows = metric_rows(run)
    pairs: list[tuple[str, Any, Any]] = [
        ("name", found.info.run_name, run.name),
        ("status", found.info.status, run.status),
        ("start time", found.info.start_time, run.start_time),
        ("end time", found.info.end_time, run.end_time),
        ("artifact URI", found.info.artifact_uri, writer.artifact_uri(run.id)),
        ("params", found.data.params, dict(run.params)),
        ("tags", found.data.tags, dict(run.tags)),
        (
            "metrics",
            {key: _shown(value) for key, value in found.data.metrics.items()},
            _latest_values(run),
        ),
        (
            "datasets",
            sorted(map(_shown_input, found.inputs.dataset_inputs if found.inputs else [])),
            sorted((data.name, data.digest, data.context or "") for data in run.inputs),
        ),
    ]
    for key in islice({row["key"]: None for row in rows}, _HISTORIES):
        history = client.get_metric_history(run.id, key)
        pairs.append(
            (
                f"history of {key!r}",
                sorted((m.step, m.timestamp, _shown(m.value)) for m in history),
                sorted(
                    (row["step"], row["timestamp"], _shown_row(row))
                    for row in rows
                    if row["key"] == key
                ),
            )
        )
    return _first_difference(pairs)


def difference_when_closed(client: MlflowClient, run: RunData) -> str | None:
    """Compare a run that the bulk writer completed with what it should be, or return None."""
    found = client.get_run(run.run_id or run.id)
    values = {key: _shown(value) for key, value in found.data.metrics.items()}
    pairs: list[tuple[str, Any, Any]] = [
        ("status", found.info.status, run.status),
        ("end time", found.info.end_time, run.end_time),
        ("params", found.data.params, {**found.data.params, **run.params}),
        ("tags", found.data.tags, {**found.data.tags, **run.tags}),
        ("metrics", values, {**values, **_latest_values(run)}),
    ]
    return _first_difference(pairs)


def _latest_values(run: RunData) -> dict[str, str]:
    return {row["key"]: _shown_row(row) for row in latest(metric_rows(run))}


def _first_difference(pairs: Iterable[tuple[str, Any, Any]]) -> str | None:
    for what, is_now, should_be in pairs:
        if is_now != should_be:
            return f"{what} of a run came back as {is_now!r} instead of {should_be!r}"
    return None


def _shown_input(data: DatasetInput) -> tuple[str, str, str]:
    context = next((tag.value for tag in data.tags if tag.key == CONTEXT), "")
    return data.dataset.name, data.dataset.digest, context


def _row(engine: Engine, run_id: str) -> Row:
    runs: Table = TABLES[0]
    with engine.connect() as connection:
        return dict(
            connection.execute(select(runs).where(runs.c.run_uuid == run_id)).mappings().one()
        )


def _shown(value: float) -> str:
    return "nan" if isnan(value) else repr(float(value))


def _shown_row(row: Row) -> str:
    return "nan" if row["is_nan"] else repr(float(row["value"]))
