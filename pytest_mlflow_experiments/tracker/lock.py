"""A lock between processes: one tracker at a time brings a session into MLflow."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SessionBusyError

_PATIENCE = 1.0


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock at ``path``; the system frees it however the process ends.

    Raises:
        SessionBusyError: another process holds it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait_for(fd, path)
        yield
    finally:
        os.close(fd)


def _wait_for(fd: int, path: Path) -> None:
    # A process that was killed keeps its locks for the moment that its threads take to end.
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _lock(fd)
        except OSError as error:
            if time.monotonic() >= deadline:
                raise SessionBusyError(
                    f"Another process is sending {path.parent.name} already."
                ) from error
        time.sleep(0.02)


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
