"""A real PostgreSQL server for the tests: one for the whole test run, a database for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from mlflow_server import free_port
from project import quiet_mlflow
from shared import made_once

if TYPE_CHECKING:
    from sqlalchemy import Engine

USER = "tester"
# With characters that a URI has to quote, and a percent sign, which MLflow's migration must not
# take for its own.
PASSWORD = "geheim/%p@ss"
TIMEOUT = 60.0

_TEMPLATE = "mlflow_template"


def binaries() -> Path | None:
    """Return the directory of PostgreSQL's programs, the newest where there are several."""
    # Debian keeps them out of PATH, so that several releases can be installed.
    releases = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(releases, key=lambda path: int(path.parts[-3]), default=None)
    found = newest or shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class Cluster:
    """A PostgreSQL server on a port of this machine that was free, and its databases."""

    def __init__(self, data: Path, programs: Path) -> None:
        self.port = free_port()
        self._data = data
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    @classmethod
    def make(cls, data: Path, programs: Path) -> Cluster:
        """Make an empty cluster in a directory; it does not run yet."""
        password = data.parent / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        _own(data.parent)
        subprocess.run(
            [
                *(str(programs / "initdb"), "--pgdata", str(data), "--username", USER),
                *("--pwfile", str(password), "--auth=scram-sha-256", "--encoding=UTF8"),
                *("--locale=C.UTF-8", "--no-sync", "--wal-segsize=1"),
            ],
            check=True,
            capture_output=True,
            cwd=data.parent,
            **_owner(),
        )
        return cls(data, programs)

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self._data.parent / "server.log"

    def uri(self, database: str) -> str:
        """Return a database's URI, with its credentials."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    def database(self, *, migrated: bool = True) -> str:
        """Make a database, with MLflow's tables unless told otherwise, and return its URI."""
        name = f"mlflow_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if migrated else 'template0'}")
        return self.uri(name)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, and return its rows."""
        with self._engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    @cached_property
    def _engine(self) -> Engine:
        # Only here, for not every test run can load it, or should wait for it.
        from sqlalchemy import create_engine

        return create_engine(self.uri("postgres"), isolation_level="AUTOCOMMIT", pool_pre_ping=True)

    def cut(self, uri: str, condition: str = "true") -> list[str]:
        """End the connections to a database that fulfil a condition; return their statements.

        Args:
            uri: the database's.
            condition: in SQL, on the columns of ``pg_stat_activity``.
        """
        rows = self.execute(
            "SELECT query, pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{uri.rpartition('/')[2]}' AND {condition}"
        )
        return [row[0] for row in rows]

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(self._programs / "postgres"), "-D", str(self._data), "-F"),
                    *("-h", "127.0.0.1", "-p", str(self.port), "-k", ""),
                    *("-c", "full_page_writes=off", "-c", "max_connections=100"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._data,
                **_owner(),
            )
        deadline = time.monotonic() + TIMEOUT
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, self.log.read_text(encoding="utf-8")
            time.sleep(0.05)

    def _answers(self) -> bool:
        from sqlalchemy.exc import OperationalError

        try:
            return self.execute("SELECT 1") == [(1,)]
        except OperationalError:
            return False

    def stop(self, *, safely: bool = True) -> None:
        """Stop the server; whoever is connected is thrown out.

        Args:
            safely: so that it can be started again; quicker without.
        """
        if self._process is not None:
            self._engine.dispose()
            self._process.send_signal(signal.SIGINT if safely else signal.SIGQUIT)
            self._process.wait(TIMEOUT)
            self._process = None


@contextmanager
def run_cluster(template: Path, programs: Path) -> Iterator[Cluster]:
    """Run a copy of a cluster that was made before."""
    with tempfile.TemporaryDirectory(prefix="pytest-postgres-") as name:
        data = Path(name, "data")
        shutil.copytree(template, data)
        _own(Path(name))
        cluster = Cluster(data, programs)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop(safely=False)


def make_template(path: Path, programs: Path) -> None:
    """Make a stopped cluster that has a migrated database.

    Args:
        path: where to.
        programs: where PostgreSQL's programs are.
    """
    with tempfile.TemporaryDirectory(prefix="pytest-postgres-") as name:
        cluster = Cluster.make(Path(name, "data"), programs)
        try:
            cluster.start()
            _migrate(cluster)
        finally:
            cluster.stop()
        shutil.copytree(Path(name, "data"), path)


def _migrate(cluster: Cluster) -> None:
    cluster.execute(f"CREATE DATABASE {_TEMPLATE}")
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(cluster.uri(_TEMPLATE))
        client.search_experiments()
        client._tracking_client.store.engine.dispose()


def _owner() -> dict[str, Any]:
    """Return what makes a subprocess run as a user that PostgreSQL takes: it refuses root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _own(path: Path) -> None:
    """Hand a directory over to the user that the server runs as."""
    if os.geteuid() == 0:
        for each in (path, *path.rglob("*")):
            shutil.chown(each, "postgres", "postgres")


@pytest.fixture(scope="session")
def postgres(shared_path: Path) -> Iterator[Cluster]:
    """Return the test run's PostgreSQL server; with pytest-xdist each worker has its own."""
    programs = binaries()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed, and in CI nothing is skipped", pytrace=False)
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    template = made_once(shared_path / "postgres", lambda path: make_template(path, programs))
    with run_cluster(template, programs) as cluster:
        yield cluster


@pytest.fixture
def postgres_uri(postgres: Cluster) -> str:
    """Return the URI of a database of the test's own, with MLflow's tables."""
    return postgres.database()
