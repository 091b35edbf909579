"""Run a command and whatever it leaves behind, and write what each of its processes cost.

It is a small process of its own: a new process starts with the peak memory of the one that it is
forked from.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from pathlib import Path

_SET_CHILD_SUBREAPER = 36


def main(output: Path, command: list[str]) -> int:
    """Run the command, wait for all of its processes, and return its exit status."""
    # Orphans, such as a tracker in the background, become children of this process.
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    main_pid = os.posix_spawn(command[0], command, os.environ)
    status, processes = 0, []
    while True:
        try:
            pid, ended, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        processes.append(
            {
                "is_main": pid == main_pid,
                "end": time.monotonic(),
                "cpu": usage.ru_utime + usage.ru_stime,
                "memory": usage.ru_maxrss * 1_024,
            }
        )
        if pid == main_pid:
            status = os.waitstatus_to_exitcode(ended)
    output.write_text(json.dumps({"start": started, "processes": processes}), encoding="ascii")
    return status if status >= 0 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
