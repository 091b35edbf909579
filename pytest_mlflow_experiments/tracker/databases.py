"""Use a database directly: test the connection, and create MLflow's tables in a new one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from ..records.processes import wait_until
from .errors import code_of
from .retries import briefly, passes
from .sql import SqlClient, proof_of, read_proofs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

_DATABASES: Final = ("postgresql", "mysql", "sqlite", "mssql")


def _dialect(tracking_uri: str) -> str:
    """Return the scheme of a URI without its driver."""
    return tracking_uri.partition(":")[0].partition("+")[0]


def database_file(tracking_uri: str) -> Path | None:
    """Return the file of an SQLite database; None for other stores."""
    if _dialect(tracking_uri) != "sqlite":
        return None
    file = make_url(tracking_uri).database
    return Path(file) if file and not file.startswith((":memory:", "file:")) else None


def plain_uri(tracking_uri: str) -> str:
    """Return the URI of an SQLite database without encoded characters in its path.

    Some releases of SQLAlchemy decode them; MLflow does not, and makes a directory of that name.
    """
    path, question, query = tracking_uri.partition("?")
    scheme, slashes, _ = path.partition(":///")
    if "%" not in path or not slashes or (file := database_file(tracking_uri)) is None:
        return tracking_uri
    plain = f"{scheme}{slashes}{file.as_posix()}{question}{query}"
    return plain if database_file(plain) == file else tracking_uri


@contextmanager
def _engine(tracking_uri: str) -> Iterator[Engine]:
    from mlflow.store.db.utils import create_sqlalchemy_engine

    make: Callable[[str], Engine] = create_sqlalchemy_engine
    engine = make(tracking_uri)
    try:
        yield engine
    finally:
        engine.dispose()


def try_database(tracking_uri: str) -> None:
    """Connect to a database once: MLflow would retry for 100 s after any error."""
    if _dialect(tracking_uri) not in _DATABASES:
        return
    if file := database_file(tracking_uri):
        file.parent.mkdir(parents=True, exist_ok=True)
        _make_database(tracking_uri, file)
    try:
        with _engine(tracking_uri) as engine:
            briefly(inspect(engine).get_table_names)
    except ModuleNotFoundError as error:
        # Which driver "postgresql" alone means depends on SQLAlchemy's release.
        raise ModuleNotFoundError(
            f"its driver {error.name} is not installed; install it, or name the one that is, as in "
            "postgresql+psycopg2://"
        ) from error


def proven_client(
    tracking_uri: str, proofs: Path, load: Callable[[], MlflowClient]
) -> SqlClient | None:
    """Return a client that needs no MLflow; None where that is not proven for the database."""
    file, known = database_file(tracking_uri), read_proofs(proofs)
    is_there = file is not None and file.exists()
    if not known or not (is_there or _dialect(tracking_uri) in ("postgresql", "mysql")):
        return None
    with ExitStack() as stack:
        try:
            engine = create_engine(tracking_uri, pool_pre_ping=True)
            stack.callback(engine.dispose)
            if briefly(proof_of, engine) in known:
                return SqlClient(engine.begin, load, engine)
        except Exception as error:
            # Of all others MLflow tells.
            if passes(error):
                raise
    return None


_QUIET: Final = 10.0
"""Seconds without a change after which no process is writing; no step takes as long."""
_POLL: Final = 0.1


def _make_database(tracking_uri: str, file: Path) -> None:
    """Create a database file with all tables, or wait for another process that does.

    If that fails, MLflow creates it.
    """
    if not file.exists():
        # Somebody may be faster; and there are disks without links, and read-only ones.
        with suppress(OSError):
            _make_aside(tracking_uri, file)
    if file.exists():
        _wait_for_the_maker(tracking_uri, file)


def _make_aside(tracking_uri: str, file: Path) -> None:
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    # SQLAlchemy would encode characters of the path, and MLflow then make another directory.
    path, question, query = tracking_uri.partition("?")
    parent, _, name = path.rpartition("/")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mlflow-") as directory:
        aside = Path(directory, file.name)
        uri = f"{parent}/{Path(directory).name}/{name}{question}{query}"
        make: Callable[[str, None], SqlAlchemyStore] = _get_sqlalchemy_store
        make(uri, None).engine.dispose()
        # Unlike a replacement, a link never takes the place of what another process has made.
        os.link(aside, file)


def _wait_for_the_maker(tracking_uri: str, file: Path) -> None:
    if time.time() - file.stat().st_mtime > _QUIET:
        return
    seen, quiet_since = -1, time.monotonic()

    def is_made() -> bool:
        nonlocal seen, quiet_since
        if (changed := file.stat().st_mtime_ns) != seen:
            seen, quiet_since = changed, time.monotonic()
        return _is_complete(engine) or time.monotonic() - quiet_since >= _QUIET

    with _engine(tracking_uri) as engine:
        wait_until(is_made, poll=_POLL)


def _is_complete(engine: Engine) -> bool:
    """Return whether a database has all tables, and the experiment that MLflow creates last."""
    from mlflow.store.db.utils import _verify_schema

    verify: Callable[[Engine], None] = _verify_schema
    try:
        verify(engine)
        with engine.connect() as connection:
            return connection.execute(text("SELECT 1 FROM experiments")).first() is not None
    except Exception as error:
        if code_of(error) is None and not isinstance(error, SQLAlchemyError):
            raise
        return False


_LOCK: Final = int.from_bytes(b"mlflow", "big")
_PATIENCE: Final = "120s"


@contextmanager
def migration_lock(tracking_uri: str) -> Iterator[None]:
    """Lock a PostgreSQL database, so that only one process at a time creates its tables.

    Sessions that begin together in an empty database would all create its tables, and all but one
    fail. The lock is advisory and lasts as long as a transaction. If it can't be taken, MLflow goes
    on without it.
    """
    with ExitStack() as stack:
        if _dialect(tracking_uri) == "postgresql":
            engine = stack.enter_context(_engine(tracking_uri))
            with suppress(SQLAlchemyError):
                connection = engine.connect()
                stack.callback(_close, connection)
                connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield


def _close(connection: Connection) -> None:
    # A connection that was cut meanwhile has lost its lock anyway.
    with suppress(SQLAlchemyError):
        connection.close()
