"""Know when the process that writes the journal has gone."""

from __future__ import annotations

import os
import threading
import time
from typing import final

from pytest_mlflow_experiments.processes import is_running, started_at

_INTERVAL = 5.0
_INTERVAL_AT_END = 0.2


@final
class Controller:
    """The process at the other end of standard input.

    The end of the input says that it may have gone, and that it is worth a look. Tests can close
    the pipe, and children that they forked can keep it open, so only the process itself counts.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started = started_at(pid)
        self._alive = True
        self._closed = threading.Event()
        self._looked_at = time.monotonic()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def alive(self) -> bool:
        """Tell whether the journal may still grow."""
        clock = time.monotonic()
        interval = _INTERVAL_AT_END if self._closed.is_set() else _INTERVAL
        if self._alive and clock - self._looked_at >= interval:
            self._looked_at = clock
            self._alive = is_running(self._pid, self._started)
        return self._alive

    def _read(self) -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        self._closed.set()
