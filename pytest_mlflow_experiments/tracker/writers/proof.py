"""Show by a trial that runs written in bulk, or without MLflow, are the same as MLflow's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Table, select, text

from ...records import DatasetInput, Metric
from ...records.tags import KIND, NODEID, RECORD_ID, RUN_NAME, SESSION_ID, USER
from ..errors import reason_of
from ..limits import KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH
from ..retries import passes
from ..runs.case import RunData, metrics_at
from ..sql import SqlClient, remember_proof
from ..store import Store
from ..tables import INPUT_TABLES, RUN_TABLES, prepare
from . import RunWriter
from .bulk import BulkWriter
from .client import ClientWriter

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


_LOGGER = logging.getLogger(__name__)


def why_not_in_bulk(store: Store, experiment: Experiment) -> str | None:
    """Return how runs written in bulk differ from those of MLflow's client, or None.

    The trial writes the same runs, of a case with a dataset and of a sweep, both through MLflow's
    client and in bulk, each within a transaction that is rolled back: they are never visible to
    others, and nothing is left of them however the process ends.

    Raises:
        Exception: the database is temporarily unavailable.
    """

    def difference(connection: Connection) -> str | None:
        trial = _Trial(connection, store.client, experiment)
        in_bulk = BulkWriter(trial.savepoint, trial.one_by_one, experiment)
        return trial.difference(in_bulk)

    return _tried(store, difference)


def prove(store: Store, experiment: Experiment) -> None:
    """Find out, by another trial, whether MLflow is needed; later sessions know if it is not.

    Raises:
        Exception: the database is temporarily unavailable.
    """
    if store.engine is None or store.proofs is None or isinstance(store.client, SqlClient):
        return

    def difference(connection: Connection) -> str | None:
        trial = _Trial(connection, store.client, experiment)
        return trial.difference_without_mlflow()

    if reason := _tried(store, difference):
        _LOGGER.warning("MLflow stays needed for this database: %s.", reason)
    else:
        remember_proof(store.engine, store.proofs)


def _tried(store: Store, difference: Callable[[Connection], str | None]) -> str | None:
    """Return a difference that is found within a transaction, or why it can't be found."""
    assert store.engine is not None
    with store.engine.connect() as connection:
        try:
            prepare(connection)
            if connection.dialect.name == "sqlite":
                # Else the driver begins no transaction before a savepoint, whose end would commit.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            with _bound_to(connection, store):
                return difference(connection)
        except Exception as error:
            if passes(error):
                raise
            reason = reason_of(error)
        finally:
            connection.rollback()
        if connection.invalidated:
            raise ConnectionError(reason)
        return reason


@contextmanager
def _bound_to(connection: Connection, store: Store) -> Iterator[None]:
    """Make MLflow's store work within the connection's transaction without committing it."""
    from mlflow.store.db.utils import _get_managed_session_maker
    from sqlalchemy.orm import sessionmaker

    mlflow_store: Any = store.client._tracking_client.store
    sessions = sessionmaker(bind=connection, join_transaction_mode="create_savepoint")
    make: Callable[..., Any] = _get_managed_session_maker
    before = mlflow_store.ManagedSessionMaker
    mlflow_store.ManagedSessionMaker = make(sessions, mlflow_store.db_type)
    try:
        yield
    finally:
        mlflow_store.ManagedSessionMaker = before


class _Trial:
    """Compares what writers leave in MLflow with what its client leaves there."""

    def __init__(
        self, connection: Connection, client: MlflowClient, experiment: Experiment
    ) -> None:
        self.connection, self.client, self.experiment = connection, client, experiment
        self.one_by_one = ClientWriter(client, experiment.experiment_id, known={})
        self._session_id = uuid4().hex
        self._filter = f"tags.`{SESSION_ID}` = '{self._session_id}'"

    @contextmanager
    def savepoint(self) -> Iterator[Connection]:
        """Open a transaction within the trial's."""
        with self.connection.begin_nested():
            yield self.connection

    def difference(self, writer: RunWriter) -> str | None:
        """Return how the runs of a writer differ from those of MLflow's client."""
        found = []
        for each, endings in ((self.one_by_one, 1), (writer, 2)):
            with self.connection.begin_nested() as transaction:
                if reason := _write_trial(each, self._session_id, endings):
                    return reason
                runs = self.client.search_runs([self.experiment.experiment_id], self._filter)
                found.append({run.data.tags[KIND]: _contents(self.connection, run) for run in runs})
                transaction.rollback()
        return _first_difference(*found)

    def difference_without_mlflow(self) -> str | None:
        """Return what is not read, or written, as MLflow's client does."""
        number = self.experiment.experiment_id
        client = cast("MlflowClient", SqlClient(self.savepoint, _unneeded))
        both = self.client, client
        for name in ("experiment_id", "name", "artifact_location", "lifecycle_stage", "tags"):
            held, found = (getattr(one.get_experiment(number), name) for one in both)
            if held != found:
                return f"{name} of the experiment is read as {found!r} instead of {held!r}"
        with self.connection.begin_nested() as transaction:
            if reason := _write_trial(self.one_by_one, self._session_id):
                return reason
            pages = [one.search_runs([number], self._filter) for one in both]
            read = [{run.data.tags[KIND]: _entity(run) for run in page} for page in pages]
            transaction.rollback()
        for entities in read:
            for entity in entities.values():
                # Nothing here reads these.
                del entity["datasets"]
        return _first_difference(*read) or self.difference(ClientWriter(client, number, known={}))


def _unneeded() -> MlflowClient:
    raise AssertionError("MLflow's client is asked")


def _first_difference(mlflow: Found, bulk: Found) -> str | None:
    for kind, expected in mlflow.items():
        if kind not in bulk:
            return f"the run of a {kind} did not come back"
        for what, value in expected.items():
            if (actual := bulk[kind].get(what)) != value:
                if what.startswith("column"):
                    return f"{what} is {actual!r}, MLflow writes {value!r}"
                return f"{what} of a run came back as {actual!r} instead of {value!r}"
    return None


Found: TypeAlias = dict[str, dict[str, Any]]
"""The stored data of each run, by its kind."""

# Columns that differ between equal runs, and those that :func:`_entity` covers.
_IDS: Final = frozenset({"run_uuid", "input_uuid", "dataset_uuid", "source_id", "destination_id"})
_IN_ENTITY: Final = frozenset({"name", "status", "start_time", "end_time", "artifact_uri"})


def _write_trial(writer: RunWriter, session_id: str, endings: int = 1) -> str | None:
    """Write two runs as a session does, and return why that failed, or None.

    One is ended so many times, as by a session that is sent again.
    """
    sweep, case = (_trial_run(session_id, kind) for kind in ("sweep", "case"))
    opened = writer.open([replace(sweep, params={}, metrics=(), inputs=())])
    if sweep.id not in opened:
        return "the run of a sweep can't be made"
    closed = replace(
        sweep,
        run_id=opened[sweep.id],
        status="FINISHED",
        end_time=2_000,
        tags={"text": "replaced", "more": "new"},
        inputs=(),
    )
    written = writer.write([replace(case, status="FAILED", end_time=2_000)])
    ended = [problem for _ in range(endings) for problem in writer.close([closed], {})]
    problems = [*written, *ended]
    return problems[0].reason if problems else None


def _trial_run(session_id: str, kind: str) -> RunData:
    values = (0.1, 5e-324, float("nan"), float("inf"), float("-inf"))
    points = ((0.3, 2, 1_000), (0.2, 2, 1_000), (0.9, 1, 3_000), (0.4, -1, 1_000))
    return RunData(
        id=sha256(f"{session_id}{kind}".encode()).hexdigest()[:32],
        name="a trial",
        status="RUNNING",
        start_time=1_000,
        end_time=None,
        params={"text": "\N{GREEK SMALL LETTER ALPHA}" * PARAM_LENGTH, "k" * KEY_LENGTH: ""},
        metrics=(
            *metrics_at(1_000, {f"value {value}": value for value in values}),
            *(
                Metric(key="curve", value=value, step=step, timestamp=timestamp)
                for value, step, timestamp in points
            ),
        ),
        tags={
            **{RUN_NAME: "a trial", USER: "somebody", KIND: kind, SESSION_ID: session_id},
            **{RECORD_ID: kind, NODEID: kind},
            "text": "\N{GREEK SMALL LETTER ALPHA}" * TAG_LENGTH,
        },
        inputs=(
            DatasetInput(
                name=session_id,
                digest="digest",
                source_type="code",
                source="{}",
                schema="[]",
                context="training",
            ),
        ),
    )


def _contents(connection: Connection, run: Run) -> dict[str, Any]:
    """Return a run as MLflow's client reads it, with its rows in all tables."""
    table = RUN_TABLES[0]
    (row,) = _select(connection, table, table.c.run_uuid == run.info.run_id)
    columns = {f"column {name!r}": value for name, value in row.items() if name not in _IN_ENTITY}
    return {**columns, **_entity(run), **_rows(connection, run)}


def _entity(run: Run) -> dict[str, Any]:
    info, data = run.info, run.data
    return {
        "name": info.run_name,
        "status": info.status,
        "start time": info.start_time,
        "end time": info.end_time,
        "artifact URI": info.artifact_uri.replace(info.run_id, "RUN"),
        "params": data.params,
        "tags": data.tags,
        "metrics": {key: repr(value) for key, value in data.metrics.items()},
        "datasets": [
            (one.dataset.to_dictionary(), [(tag.key, tag.value) for tag in one.tags])
            for one in (run.inputs.dataset_inputs if run.inputs else ())
        ],
    }


def _rows(connection: Connection, run: Run) -> dict[str, Any]:
    """Return the rows of a run in each other table, unknown columns included."""
    datasets, inputs, input_tags = INPUT_TABLES
    of_the_run = inputs.c.destination_id == run.info.run_id
    dataset_ids = select(inputs.c.source_id).where(of_the_run)
    input_ids = select(inputs.c.input_uuid).where(of_the_run)
    where = {
        **{table: table.c.run_uuid == run.info.run_id for table in RUN_TABLES[1:]},
        datasets: datasets.c.dataset_uuid.in_(dataset_ids),
        inputs: of_the_run,
        input_tags: input_tags.c.input_uuid.in_(input_ids),
    }
    return {
        f"table {table.name!r}": sorted(
            repr(sorted(row.items())) for row in _select(connection, table, condition)
        )
        for table, condition in where.items()
    }


def _select(
    connection: Connection, table: Table, condition: ColumnElement[bool]
) -> list[dict[str, Any]]:
    query = select(text("*")).select_from(table).where(condition)
    return [
        {name: value for name, value in row.items() if name not in _IDS}
        for row in connection.execute(query).mappings()
    ]
