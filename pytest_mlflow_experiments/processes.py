"""Whether another process still runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def is_running(pid: int) -> bool:
    """Tell whether the process runs; True where the system gives no harmless way to ask."""
    if os.name != "posix":
        return True
    # Where this process is the first of its container, orphans become its children, and stay
    # visible until they are waited for.
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    with contextlib.suppress(OSError):
        # Linux: one that has died, and that its parent has not looked at yet.
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        if status.rpartition(")")[2].split()[:1] == ["Z"]:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
