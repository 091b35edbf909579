"""Know when the process that writes the journal has gone."""

from __future__ import annotations

import os
import threading
import time
from typing import final

from pytest_mlflow_experiments.processes import is_running

_INTERVAL = 5.0


@final
class Controller:
    """The process at the other end of standard input.

    The end of the input says that it has gone, or has nothing more to say. Children that its tests
    forked may keep the pipe open after it, so the process itself is looked at too, now and then.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._closed = threading.Event()
        self._looked_at = time.monotonic()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def alive(self) -> bool:
        """Tell whether the journal may still grow."""
        clock = time.monotonic()
        if clock - self._looked_at >= _INTERVAL:
            self._looked_at = clock
            if not is_running(self._pid):
                self._closed.set()
        return not self._closed.is_set()

    def _read(self) -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        self._closed.set()
