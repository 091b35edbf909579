"""A clock that tests can't turn: wall time anchored once, then the performance counter."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final


@final
class Clock:
    """Milliseconds since the epoch, monotonic within one process.

    The functions are defaults, and then kept on the instance: tools that freeze time, maybe from
    the first conftest on, replace the attributes of modules. And ``perf_counter`` is the one
    function that those which patch the C library leave alone.
    """

    __slots__ = ("_epoch", "perf_counter")

    def __init__(
        self,
        *,
        time: Callable[[], float] = time.time,
        perf_counter: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.perf_counter = perf_counter
        self._epoch = time() - perf_counter()

    def now(self) -> int:
        """Return the time now, in milliseconds since the epoch."""
        return self.at(self.perf_counter())

    def at(self, counter: float) -> int:
        """Return the time of a reading of the performance counter, in the same unit."""
        return round((self._epoch + counter) * 1_000)

    def reading(self, timestamp: int) -> float:
        """Return the performance counter's reading at a time in milliseconds since the epoch."""
        return timestamp / 1_000 - self._epoch
