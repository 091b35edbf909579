"""MySQL as the tracking store: MariaDB, which Debian has in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import free_port
from test_postgres import read_back, send_by_and_by
from tracker_kit import Journal, rich_records

from pytest_mlflow_experiments.records.processes import wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]


@pytest.fixture(scope="module")
def mysql() -> Iterator[str]:
    """Return the URI of an empty database on a server of this machine."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("MariaDB is not installed (Debian's package mariadb-server)")
    user = "mysql" if os.geteuid() == 0 else None
    own: dict[str, Any] = {"user": user, "group": user} if user else {}
    # The path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="mysql-") as name:
        directory, port = Path(name), free_port()
        if user:
            shutil.chown(directory, user, user)
        socket, data = directory / "socket", f"--datadir={directory / 'data'}"
        install = ["mariadb-install-db", data, "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, capture_output=True, **own)
        serve = ["mariadbd", "--no-defaults", data, f"--port={port}", "--bind-address=127.0.0.1"]
        serve += [f"--socket={socket}", f"--pid-file={directory / 'pid'}"]
        server = subprocess.Popen(serve, stderr=subprocess.DEVNULL, **own)
        try:
            sql = (
                "CREATE DATABASE mlflow CHARACTER SET utf8mb4; "
                "CREATE USER tester@'127.0.0.1' IDENTIFIED BY 'p@ss/w%'; "
                "GRANT ALL ON mlflow.* TO tester@'127.0.0.1'"
            )
            client = ["mariadb", f"--socket={socket}", "--user=root"]

            def is_up() -> bool:
                asked = subprocess.run([*client, "--execute=SELECT 1"], capture_output=True)
                return asked.returncode == 0

            assert wait_until(is_up, timeout=60, poll=0.2)
            subprocess.run([*client, f"--execute={sql}"], check=True)
            yield f"mysql+pymysql://tester:p%40ss%2Fw%25@127.0.0.1:{port}/mlflow"
        finally:
            server.terminate()
            server.wait()


def test_same_contents_as_in_sqlite_with_and_without_mlflow(
    mysql: str, tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    found = []
    # The second session in MySQL is written without MLflow, as the first has shown that this works.
    for name, uri in (
        ("sqlite", f"sqlite:///{tmp_path.as_posix()}/mlflow.db"),
        ("first", mysql),
        ("second", mysql),
    ):
        journal = Journal(tmp_path, session_id=name)
        states = send_by_and_by(journal, rich_records(journal.directory), uri)
        assert [(state.phase, state.error, state.sent, state.notes) for state in states] == [
            ("done", None, 12, ())
        ] * 3
        assert states[0].writer == "bulk"
        found.append(read_back(uri, states[0]))
        proofs = tmp_path.joinpath(".pytest_mlflow", "proofs").read_text(encoding="utf-8")
        assert ("mysql pymysql" in proofs) == (name != "sqlite")
    assert found[0] == found[1] == found[2]
