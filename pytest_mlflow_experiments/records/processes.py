"""Check whether other processes still run; wait for a condition; hold the garbage collector."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def wait_until(
    condition: Callable[[], bool],
    *,
    timeout: float | None = None,
    poll: float,
    # Defaults, for tests replace these functions, and some never put them back.
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Poll until a condition holds; return False if it did not within ``timeout`` seconds.

    The condition is checked at least once, and once more after the last pause. Without ``timeout``
    there is no limit.
    """
    deadline = None if timeout is None else clock() + timeout
    while not condition():
        if deadline is not None and clock() >= deadline:
            return False
        sleep(poll)
    return True


def started_at(pid: int) -> str | None:
    """Return when a process started, to recognise a reused pid; None if unknown."""
    fields = _status(pid)
    return fields[19] if len(fields) > 19 else None


def is_running(pid: int, started: str | None = None) -> bool:
    """Return whether the process runs; True if the system has no harmless way to check.

    ``started`` is the value of :func:`started_at`: pids are reused.
    """
    if os.name != "posix":
        return True
    # Where this process is the first of its container, orphans become its children, and stay
    # visible until they are waited for.
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    # Linux: one that has died, and that its parent has not looked at yet.
    if (fields := _status(pid)) and (fields[0] == "Z" or started not in (None, fields[19])):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _status(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the state on; nothing outside of Linux."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()
    return []


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Look for no garbage meanwhile: what is made stays, and to go through all of it takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
