"""Write the datasets of runs straight into MLflow's tables.

What it leaves is what ``SqlAlchemyStore.log_inputs`` would have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from mlflow.store.tracking.dbmodels.models import SqlDataset, SqlInput, SqlInputTag
from sqlalchemy import Connection, Table, delete, insert, select

from .bulk_close import Row
from .client_inputs import CONTEXT
from .projection import RunData

INPUT_TABLES: Final[tuple[Table, ...]] = tuple(
    model.__table__ for model in (SqlDataset, SqlInput, SqlInputTag)
)
_DATASETS, _INPUTS, _TAGS = INPUT_TABLES


def insert_inputs(connection: Connection, experiment_id: int, runs: Sequence[RunData]) -> None:
    """Insert the inputs of runs that have none yet; a dataset is there once in an experiment."""
    wanted = {(data.name, data.digest): data for run in runs for data in reversed(run.inputs)}
    if not wanted:
        return
    columns = _DATASETS.c
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
                tags.append({"input_uuid": input_id, "name": CONTEXT, "value": data.context})
    for table, rows in zip(INPUT_TABLES, (datasets, inputs, tags), strict=True):
        if rows:
            connection.execute(insert(table), rows)


def delete_inputs(connection: Connection, run_id: str) -> None:
    """Delete the inputs of a run; the datasets stay, for others may have them too."""
    of_the_run = (_INPUTS.c.destination_type == "RUN") & (_INPUTS.c.destination_id == run_id)
    ids = select(_INPUTS.c.input_uuid).where(of_the_run)
    connection.execute(delete(_TAGS).where(_TAGS.c.input_uuid.in_(ids)))
    connection.execute(delete(_INPUTS).where(of_the_run))
