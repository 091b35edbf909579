"""Other processes: whether they still run, and waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
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
    """Ask every ``poll`` seconds until a condition holds; False where it never did in time.

    The condition is asked once at least, and once more after the last pause. Without ``timeout``,
    it alone ends the waiting.
    """
    deadline = None if timeout is None else clock() + timeout
    while not condition():
        if deadline is not None and clock() >= deadline:
            return False
        sleep(poll)
    return True


def started_at(pid: int) -> str | None:
    """Return what tells a process from a later one with the same number; None where unknown."""
    fields = _status(pid)
    return fields[19] if len(fields) > 19 else None


def is_running(pid: int, started: str | None = None) -> bool:
    """Tell whether the process runs; True where the system gives no harmless way to ask.

    ``started`` is what :func:`started_at` said of it: the system gives numbers away again.
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
    """Return what Linux tells of a process, from its state on; nothing elsewhere."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()
    return []
