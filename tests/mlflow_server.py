"""A real ``mlflow server`` on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
def serve(
    path: Path, database_uri: str, *, workers: int = 1, port: int | None = None
) -> Iterator[Server]:
    """Run a server on the database; its artifacts and its log are kept in ``path``.

    Args:
        path: a directory that exists.
        database_uri: where the server keeps its runs.
        workers: how many processes answer.
        port: where it listens; any free port when it does not matter.
    """
    uri = f"http://127.0.0.1:{port or free_port()}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
        *("--port", uri.rpartition(":")[2], "--workers", str(workers)),
        *("--backend-store-uri", database_uri),
        *("--artifacts-destination", (path / "artifacts").as_uri()),
    ]
    log = path / "server.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=path,
            stdout=file,
            stderr=file,
            env=clean_environment(),
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not _answers(uri):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        yield Server(uri, database_uri)
    finally:
        _end(process)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started, which may outlive it."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def _answers(uri: str) -> bool:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=5).close()
    except OSError:
        return False
    return True
