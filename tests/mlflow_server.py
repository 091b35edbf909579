"""A real ``mlflow server`` on a free port of this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from project import clean_environment

TIMEOUT = 120.0


@dataclass(frozen=True)
class Server:
    """Where the server is, and the database behind it."""

    uri: str
    database_uri: str


@contextmanager
def serve(path: Path, database_uri: str) -> Iterator[Server]:
    """Run a server on the database; its artifacts and its log are kept in ``path``."""
    uri = f"http://127.0.0.1:{free_port()}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
        *("--port", uri.rpartition(":")[2], "--workers", "1"),
        *("--backend-store-uri", database_uri),
        *("--artifacts-destination", (path / "artifacts").as_uri()),
    ]
    log = path / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=path, stdout=file, stderr=file, env=clean_environment()
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not _answers(uri):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        yield Server(uri, database_uri)
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(uri: str) -> bool:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=5).close()
    except OSError:
        return False
    return True
