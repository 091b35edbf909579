"""Where the runs go: a new database for each command, or one server for all of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from mlflow_server import serve
from postgres import binaries, make_template, run_cluster

from .line import line

StoreName: TypeAlias = Literal[
    "SQLite", "SQLite, fresh", "mlflow server", "mlflow server, 50 ms away", "PostgreSQL"
]

ROUND_TRIP: Final = 0.05
"""Seconds to a server that is not in the same building, and back."""

# As many as `mlflow server` starts where nobody says how many.
_WORKERS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tracking URI, and the database behind it, as SQLAlchemy has it."""

    uri: str
    database: str

    def count(self, table: str) -> int:
        """Return how many rows a table has; none where there is no database yet."""
        from sqlalchemy import create_engine, make_url, text

        url = make_url(self.database)
        if url.drivername == "sqlite" and not Path(url.database or "").exists():
            return 0
        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                found = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        finally:
            engine.dispose()
        return int(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One kind of store; ``place`` makes one for a command that works in a directory."""

    name: StoreName
    place: Callable[[Path], Place]


def migrated(directory: Path) -> Path:
    """Return a SQLite file with MLflow's tables and nothing in them."""
    path = directory / "template.db"
    if not path.exists():
        uri = f"sqlite:///{path}"
        # In a process of its own: commands inherit the peak memory of the one that starts them.
        code = f"from mlflow import MlflowClient; MlflowClient({uri!r}).search_experiments()"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return path


def sqlite(template: Path) -> Store:
    """SQLite, with its tables."""

    def place(directory: Path) -> Place:
        shutil.copy(template, directory / "mlflow.db")
        return _file(directory)

    return Store(name="SQLite", place=place)


def fresh_sqlite() -> Store:
    """SQLite that has to be made first."""
    return Store(name="SQLite, fresh", place=_file)


@contextmanager
def server(template: Path, directory: Path) -> Iterator[Store]:
    """An ``mlflow server`` with SQLite behind it, on this machine."""
    directory.mkdir()
    shutil.copy(template, directory / "mlflow.db")
    database = f"sqlite:///{directory / 'mlflow.db'}"
    with serve(directory, database, workers=_WORKERS) as running:
        found = Place(uri=running.uri, database=database)
        yield Store(name="mlflow server", place=lambda _: found)


@contextmanager
def distant(server: Store) -> Iterator[Store]:
    """The same server, at the end of a line."""
    near = server.place(Path())
    with line(int(near.uri.rpartition(":")[2]), ROUND_TRIP) as port:
        far = Place(uri=f"http://127.0.0.1:{port}", database=near.database)
        yield Store(name="mlflow server, 50 ms away", place=lambda _: far)


@contextmanager
def postgresql(directory: Path) -> Iterator[Store | None]:
    """A PostgreSQL server, or None where it is not installed."""
    programs = binaries()
    if programs is None:
        yield None
        return
    make_template(directory, programs)
    with run_cluster(directory, programs) as cluster:

        def place(_: Path) -> Place:
            uri = cluster.database()
            return Place(uri=uri, database=uri)

        yield Store(name="PostgreSQL", place=place)


def _file(directory: Path) -> Place:
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    return Place(uri=uri, database=uri)
