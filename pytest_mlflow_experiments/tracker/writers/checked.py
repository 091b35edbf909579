"""Choose how to write: in bulk where that is proved to leave what MLflow itself would leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from math import isnan
from typing import Any, final

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Experiment, Run
from sqlalchemy import Engine, Table, select

from ...records.tags import DATA_CONTEXT, RUN_NAME
from ..errors import reason_of
from ..retries import cause_of
from ..runs.case import RunData
from ..runs.existing import KnownRun
from ..store import SessionRun, Store
from . import Problem, RunWriter
from .bulk import TABLES, BulkWriter, Row, latest, metric_rows
from .client import ClientWriter

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
    context = next((tag.value for tag in data.tags if tag.key == DATA_CONTEXT), "")
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


def choose_writer(
    store: Store,
    experiment: Experiment,
    session_run: SessionRun,
    known: Mapping[str, KnownRun],
    *,
    shared: bool,
    on_note: Callable[[str], None],
    on_written: Callable[[], None],
    on_closed: Callable[[], None],
) -> RunWriter:
    """Return the fastest writer that is sure to work.

    ``shared`` tells that other shards may open the same runs. ``on_note`` hears why it does not
    write in bulk, and ``on_written`` then of each single run; ``on_closed`` of each run of a sweep
    that has ended.
    """
    engine = store.engine
    client = ClientWriter(
        store.client,
        experiment.experiment_id,
        known=known,
        shared=shared,
        in_flight=store.in_flight,
        on_written=on_written,
        on_closed=on_closed,
    )
    if engine is None:
        return client
    try:
        from .bulk import BulkWriter

        if reason := unknown_structure():
            on_note(f"Runs are written one by one: {reason}.")
            return client
        bulk = BulkWriter(
            engine,
            client,
            experiment_id=experiment.experiment_id,
            artifact_location=experiment.artifact_location,
            on_closed=on_closed,
        )
    except (ImportError, AttributeError, ValueError) as error:
        on_note(f"Runs are written one by one: {reason_of(error)}.")
        return client

    def check(run: RunData) -> str | None:
        return difference(engine, store.client, bulk, run, session_run.run_id)

    def check_closed(run: RunData) -> str | None:
        return difference_when_closed(store.client, run)

    return CheckedWriter(bulk, client, check, check_closed, on_note)


@final
class CheckedWriter:
    """Writes in bulk as long as the first run of each kind that was written so proves right.

    The kinds are the runs of cases, those of cases with datasets, and those of sweeps, when they
    are opened and when they are closed.
    """

    def __init__(
        self,
        bulk: BulkWriter,
        client: ClientWriter,
        check: Callable[[RunData], str | None],
        check_closed: Callable[[RunData], str | None],
        on_note: Callable[[str], None],
    ) -> None:
        self._bulk = bulk
        self._client = client
        self._check = check
        self._check_closed = check_closed
        self._on_note = on_note
        self._proven: set[str] = set()
        self._refused = False

    @property
    def name(self) -> str:
        """The name of the writer in use."""
        return self._writer.name

    @property
    def batch_size(self) -> int:
        """The batch size of the writer in use."""
        return self._writer.batch_size

    @property
    def _writer(self) -> BulkWriter | ClientWriter:
        return self._client if self._refused else self._bulk

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Bring the runs into MLflow, and return what could not be brought there."""
        if all(map(self._is_proven, runs)):
            return self._writer.write(runs)
        # Only what the bulk writer makes now may be judged, and removed.
        missing = self._bulk.missing(runs)
        problems = [*self._bulk.write([run for run in runs if run.id not in missing])]
        rest = [run for run in runs if run.id in missing]
        while trial := next((run for run in rest if not self._is_proven(run)), None):
            rest.remove(trial)
            problems += self._try(trial, self._bulk.write, self._client.write)
        return [*problems, *self._writer.write(rest)] if rest else problems

    def open(self, runs: Sequence[RunData]) -> Mapping[str, str]:
        """Make runs that go on, where MLflow has not got them, and return their ids."""
        opened: dict[str, str] = {}

        def keep(writer: RunWriter, some: Sequence[RunData]) -> Sequence[Problem]:
            opened.update(writer.open(some))
            return ()

        if not all(map(self._is_proven, runs)):
            missing = self._bulk.missing(runs)
            trial = next((run for run in runs if run.id in missing), None)
            if trial is not None:
                self._try(trial, partial(keep, self._bulk), partial(keep, self._client))
                runs = [run for run in runs if run is not trial]
        keep(self._writer, runs)
        return opened

    def close(self, runs: Sequence[RunData], held: Mapping[str, Run]) -> Sequence[Problem]:
        """Add to opened runs and end them, and return what could not be brought there."""
        if self._refused or not runs or "closed" in self._proven:
            return self._writer.close(runs, held)
        problems = self._bulk.close(runs[:1], held)
        if not problems:
            if reason := self._check_closed(runs[0]):
                self._refuse(reason)
                return self._client.close(runs, held)
            self._proven.add("closed")
        return [*problems, *self._bulk.close(runs[1:], held)]

    def _is_proven(self, run: RunData) -> bool:
        return self._refused or _kind(run) in self._proven

    def _try(
        self,
        run: RunData,
        in_bulk: Callable[[Sequence[RunData]], Sequence[Problem]],
        one_by_one: Callable[[Sequence[RunData]], Sequence[Problem]],
    ) -> Sequence[Problem]:
        try:
            problems = in_bulk([run])
            if any(problem.part == "run" for problem in problems):
                return problems
            reason = self._check(run)
        except Exception as error:
            if cause_of(error) == "passing":
                raise
            reason = reason_of(error)
        if reason is None:
            self._proven.add(_kind(run))
            return problems
        self._refuse(reason)
        self._bulk.remove(run)
        return one_by_one([run])

    def _refuse(self, reason: str) -> None:
        self._on_note(f"Runs are written one by one: {reason}.")
        self._refused = True


def _kind(run: RunData) -> str:
    if run.status == "RUNNING":
        return "opened"
    return "case with inputs" if run.inputs else "case"
