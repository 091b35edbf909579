"""Read and write MLflow's tables without loading MLflow, which takes seconds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    and_,
    func,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ..records import DatasetInput, Metric
from ..records.directory import write_private
from ..records.tags import RUN_NAME, USER
from .errors import StoreError
from .local_files import local_path
from .stand_in import Page, StandIn, now
from .tables import (
    EXPERIMENT_TAGS,
    EXPERIMENTS,
    INPUT_TABLES,
    LATEST,
    METRICS,
    PARAMS,
    RUNS,
    TAGS,
    Row,
    insert_inputs,
    insert_rows,
    latest,
    metric_rows,
    pair_rows,
    prepare,
    replace_rows,
    run_row,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

Begin: TypeAlias = Callable[[], AbstractContextManager[Connection]]

_PLAIN = re.compile(r"(file://(?=/))?/?([A-Za-z]:)?[^?#;:]*")


def artifact_uri(location: str, run_id: str) -> str:
    """Return where MLflow keeps the artifacts of a run of an experiment with this location."""
    if local_path(location) is not None and _PLAIN.fullmatch(location):
        return f"{location}{'' if location.endswith('/') else '/'}{run_id}/artifacts"
    from mlflow.utils.uri import append_to_uri_path

    append: Callable[..., str] = append_to_uri_path
    return append(location, run_id, "artifacts")


_MISSING: Final = "RESOURCE_DOES_NOT_EXIST"
_REFUSED: Final = "INVALID_PARAMETER_VALUE"
_TERM = re.compile(
    r"(tags|attributes)\.(?:`([^`]+)`|(\w+)) (=|<|>=|LIKE) "
    r"(?:'([^']*)'|\"([^\"]*)\"|(\d+))(?: and |$)"
)


@final
@dataclass(eq=False)
class SqlClient(StandIn):
    """Stands in for MLflow's client where a trial has shown that both do the same.

    ``begin`` opens a transaction, ``load`` returns MLflow's client.
    """

    takes_any_size: ClassVar[bool] = True
    begin: Begin
    load: Callable[[], MlflowClient]
    engine: Engine | None = None

    def close(self) -> None:
        """Close the connections to the database."""
        if self.engine is not None:
            self.engine.dispose()

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """Return an experiment, or None if there is none."""
        found: Experiment | None = self._experiment(EXPERIMENTS.c.name == name)
        return found

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment; MLflow says what is wrong with one that does not exist."""
        found = None
        if experiment_id.isdecimal():
            found = self._experiment(EXPERIMENTS.c.experiment_id == int(experiment_id))
        return self.mlflow.get_experiment(experiment_id) if found is None else found

    def _experiment(self, condition: ColumnElement[bool]) -> Any:
        with self._connection() as connection:
            row = connection.execute(select(EXPERIMENTS).where(condition)).mappings().first()
            if row is None:
                return None
            tags = EXPERIMENT_TAGS.c
            query = select(tags.key, tags.value).where(tags.experiment_id == row["experiment_id"])
            pairs = {tag.key: tag.value for tag in connection.execute(query)}
            number = str(row["experiment_id"])
            return SimpleNamespace(**{**row, "experiment_id": number, "tags": pairs})

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """Create a RUNNING run."""
        experiment = self.get_experiment(experiment_id)
        if experiment.lifecycle_stage != "active":
            return self.mlflow.create_run(experiment_id, start_time, dict(tags or {}), run_name)
        run_id, tags = uuid4().hex, dict(tags or {})
        name = run_name or tags.get(RUN_NAME) or run_id
        with self._connection() as connection:
            row = run_row(
                run_id,
                experiment_id,
                artifact_uri(experiment.artifact_location, run_id),
                name=name,
                user_id=tags.get(USER, "unknown"),
                status="RUNNING",
                start_time=start_time or now(),
                end_time=None,
            )
            insert_rows(connection, RUNS, [row])
            insert_rows(connection, TAGS, pair_rows(run_id, {RUN_NAME: name, **tags}))
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> Run:
        """Return a run."""
        with self._connection() as connection:
            found: list[Run] = _runs(connection, RUNS.c.run_uuid == run_id, 0, 1)
        if found:
            return found[0]
        raise StoreError(f"Run with id={run_id} not found", _MISSING)

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: int = 1,
        max_results: int = 1_000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return a page of runs that match all terms of a filter, the newest first.

        A filter in other words than the tracker's goes to MLflow's client, and any other order.
        """
        terms = _terms(filter_string)
        if terms is None or list(order_by or ()) not in ([], ["attributes.start_time DESC"]):
            search: Callable[..., Any] = self.mlflow.search_runs
            order = order_by and list(order_by)
            view = run_view_type, max_results, order, page_token
            return search(list(experiment_ids), filter_string, *view)
        condition = and_(
            RUNS.c.experiment_id.in_(map(int, experiment_ids)),
            *([RUNS.c.lifecycle_stage == "active"] if run_view_type == 1 else ()),
            *terms,
        )
        start = int(page_token or 0)
        with self._connection() as connection:
            found = _runs(connection, condition, start, max_results + 1)
        page = Page(found[:max_results])
        page.token = f"{start + max_results}" if len(found) > max_results else None
        return page

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of an active run."""
        self.log(run_id, tags={key: value})

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Rename an active run."""
        assert status is None
        self.log(run_id, tags={RUN_NAME: name} if name else {})

    def set_terminated(
        self,
        run_id: str,
        status: str | None = None,
        end_time: int | None = None,
        name: str | None = None,
    ) -> None:
        """Set the status and the end of an active run, and rename it if it gets a name."""
        values = {"status": status or "FINISHED", "end_time": end_time or now()}
        if name is not None:
            values["name"] = name
        with self._active(run_id) as (connection, _):
            connection.execute(update(RUNS).where(RUNS.c.run_uuid == run_id).values(values))
            if name is not None:
                replace_rows(connection, TAGS, pair_rows(run_id, {RUN_NAME: name}))

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add metrics and params to an active run, and set tags, however many."""
        with self._active(run_id) as (connection, _):
            self._log_params(connection, run_id, params or {})
            rows = metric_rows(run_id, metrics)
            keys = {row["key"] for row in rows}
            held = [_held(connection, table, run_id, keys) for table in (METRICS, LATEST)]
            known = {_identity(row) for row in held[0]}
            new = {key: row for row in rows if (key := _identity(row)) not in known}
            insert_rows(connection, METRICS, new.values())
            last = latest([*held[1], *new.values()])
            kept = set(map(id, held[1]))
            replace_rows(connection, LATEST, [row for row in last if id(row) not in kept])
            replace_rows(connection, TAGS, pair_rows(run_id, tags or {}))
            if tags and RUN_NAME in tags:
                name = {"name": tags[RUN_NAME]}
                connection.execute(update(RUNS).where(RUNS.c.run_uuid == run_id).values(name))

    def _log_params(self, connection: Connection, run_id: str, params: Mapping[str, str]) -> None:
        held = {row["key"]: row["value"] for row in _held(connection, PARAMS, run_id, params)}
        if changed := [key for key, value in params.items() if held.get(key, value) != value]:
            refusal = f"Changing param values is not allowed. They are logged already: {changed}"
            raise StoreError(refusal, _REFUSED)
        new = {key: value for key, value in params.items() if key not in held}
        insert_rows(connection, PARAMS, pair_rows(run_id, new))

    def log_inputs(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Add datasets to an active run that it has not got."""
        datasets, links, _ = (table.c for table in INPUT_TABLES)
        query = (
            select(datasets.name, datasets.digest)
            .where(datasets.dataset_uuid == links.source_id)
            .where(links.destination_type == "RUN", links.destination_id == run_id)
        )
        with self._active(run_id) as (connection, experiment_id):
            held = {(name, digest) for name, digest in connection.execute(query)}
            new = {(one.name, one.digest): one for one in reversed(inputs)}
            wanted = [one for key, one in reversed(new.items()) if key not in held]
            insert_inputs(connection, experiment_id, {run_id: wanted})

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Open a transaction; errors of the database become those that MLflow makes of them."""
        try:
            with self.begin() as connection:
                prepare(connection)
                yield connection
        except SQLAlchemyError as error:
            is_down = isinstance(error, OperationalError)
            code = "TEMPORARILY_UNAVAILABLE" if is_down else "BAD_REQUEST"
            raise StoreError(str(error), code) from error

    @contextmanager
    def _active(self, run_id: str) -> Iterator[tuple[Connection, int]]:
        """Open a transaction on a run that was not deleted; yield its experiment's id too."""
        query = select(RUNS.c.lifecycle_stage, RUNS.c.experiment_id).where(
            RUNS.c.run_uuid == run_id
        )
        with self._connection() as connection:
            found = connection.execute(query).first()
            if found is None:
                raise StoreError(f"Run with id={run_id} not found", _MISSING)
            stage, experiment_id = found
            if stage != "active":
                state = f"must be in the 'active' state. Current state is {stage}."
                raise StoreError(f"The run {run_id} {state}", _REFUSED)
            yield connection, experiment_id


def _held(connection: Connection, table: Table, run_id: str, keys: Iterable[str]) -> list[Row]:
    """Return the rows of a run with these keys."""
    columns = table.c
    if not (wanted := list(keys)):
        return []
    query = select(table).where(columns.run_uuid == run_id, columns.key.in_(wanted))
    return [dict(row) for row in connection.execute(query).mappings()]


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("key", "timestamp", "step", "value", "is_nan"))


def _terms(filter_string: str) -> list[ColumnElement[bool]] | None:
    """Return the conditions of a filter; None where there is more in it than is known here."""
    terms: list[ColumnElement[bool]] = []
    end = 0
    while end < len(filter_string):
        if (found := _TERM.match(filter_string, end)) is None:
            return None
        end = found.end()
        kind, quoted, bare, operator, *values = found.groups()
        value = next(value for value in values if value is not None)
        key = quoted or bare
        if kind == "tags":
            same = TAGS.c.value == value
            if operator == "LIKE" and value.endswith("%"):
                # The prefix itself holds no pattern, and the databases differ in case.
                start = value.removesuffix("%")
                same = func.substr(TAGS.c.value, 1, len(start)) == start
            elif operator != "=":
                return None
            terms.append(
                RUNS.c.run_uuid.in_(select(TAGS.c.run_uuid).where(TAGS.c.key == key, same))
            )
        elif (key, operator) == ("status", "="):
            terms.append(RUNS.c.status == value)
        elif key == "start_time" and operator in ("<", ">="):
            column, number = RUNS.c.start_time, int(value)
            terms.append(column < number if operator == "<" else column >= number)
        else:
            return None
    return terms


def _runs(connection: Connection, condition: ColumnElement[bool], start: int, most: int) -> Any:
    """Return runs as MLflow's client gives them, but for their inputs and outputs."""
    columns = RUNS.c
    query = select(RUNS).where(condition).order_by(columns.start_time.desc(), columns.run_uuid)
    rows = connection.execute(query.offset(start).limit(most)).mappings().all()
    ids = [row["run_uuid"] for row in rows]
    data: dict[str, SimpleNamespace] = {
        run_id: SimpleNamespace(tags={}, params={}, metrics={}) for run_id in ids
    }
    for table, name in ((TAGS, "tags"), (PARAMS, "params"), (LATEST, "metrics")):
        wanted = select(table).where(table.c.run_uuid.in_(ids))
        for row in connection.execute(wanted).mappings() if ids else ():
            value = nan if row.get("is_nan") else row["value"]
            getattr(data[row["run_uuid"]], name)[row["key"]] = value
    return [
        SimpleNamespace(info=_info(row), data=data[row["run_uuid"]], inputs=None) for row in rows
    ]


def _info(row: Mapping[Any, Any]) -> SimpleNamespace:
    names = {"run_id": row["run_uuid"], "run_name": row["name"]}
    return SimpleNamespace(**{**row, **names, "experiment_id": str(row["experiment_id"])})


# Whatever makes MLflow read or write a database in another way.
_SPECIAL = re.compile(r"MLFLOW_(SQLALCHEMYSTORE|MYSQL_SSL|ENABLE_WORKSPACES|WORKSPACE)")
_PACKAGES: Final = ("mlflow-skinny", "SQLAlchemy", "pytest-mlflow-experiments")


def proof_of(engine: Engine) -> str | None:
    """Return the line of a proof for a database: what has to be the same for it to hold.

    None for a database that MLflow would change before it uses it, or that it uses in another way.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "mssql" or any(map(_SPECIAL.match, os.environ)):
            return None
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
        query = text("SELECT * FROM experiments")
        found = {row["experiment_id"]: row for row in connection.execute(query).mappings()}
    workspaces = {row.get("workspace", "default") for row in found.values()}
    plugins = {one.name.partition("+")[0] for one in entry_points(group="mlflow.tracking_store")}
    if 0 not in found or workspaces - {None, "default"} or engine.dialect.name in plugins:
        return None
    try:
        versions = [f"{name} {version(name)}" for name in _PACKAGES]
    except PackageNotFoundError:
        return None
    return " ".join([engine.dialect.name, engine.driver, str(revision), *versions])


def read_proofs(proofs: Path) -> list[str]:
    """Return the lines of a file of proofs; none of one that can't be read."""
    try:
        return proofs.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def remember_proof(engine: Engine, proofs: Path) -> None:
    """Remember that a trial has shown for such a database that MLflow is not needed."""
    line, known = proof_of(engine), read_proofs(proofs)
    if line is not None and line not in known:
        write_private(proofs, "".join(f"{one}\n" for one in [*known, line]))
