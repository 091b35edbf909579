"""Measure the call of a test: wall time, CPU seconds and memory of the process.

:class:`Original` is for all our code that runs beside tests.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple, final


@final
class Original:
    """Functions of the standard library, kept before any test could replace them.

    They are attributes of a class because tools that freeze time replace functions in all modules.
    ``perf_counter`` is the one clock that tools which patch the C library leave alone.
    """

    perf_counter = staticmethod(time.perf_counter)
    process_time = staticmethod(time.process_time)
    sleep = staticmethod(time.sleep)
    wall_clock = staticmethod(time.time)
    getpid = staticmethod(os.getpid)
    open = staticmethod(os.open)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    close = staticmethod(os.close)


@final
class Clock:
    """A clock in milliseconds since the epoch, monotonic within one process."""

    __slots__ = ("_epoch", "perf_counter")

    def __init__(self) -> None:
        self.perf_counter = Original.perf_counter
        self._epoch = Original.wall_clock() - Original.perf_counter()

    def now(self) -> int:
        """Return the time now, in milliseconds since the epoch."""
        return self.at(self.perf_counter())

    def at(self, counter: float) -> int:
        """Convert a reading of ``perf_counter`` to milliseconds since the epoch."""
        return round((self._epoch + counter) * 1_000)

    def reading(self, timestamp: int) -> float:
        """Convert milliseconds since the epoch to a reading of ``perf_counter``."""
        return timestamp / 1_000 - self._epoch


_STATM: Final = "/proc/self/statm"
_MEGABYTE: Final = 1e6
_LASTS: Final = 1e-3
"""Seconds for which a reading of the memory counts."""


class Reading(NamedTuple):
    """What the process has used so far: CPU seconds, and its peak memory in bytes if it is told."""

    cpu: float
    peak: int | None = None


if sys.platform == "win32":

    def read_usage() -> Reading:
        """Return what the process has used so far."""
        return Reading(Original.process_time())

    def read_resident() -> int | None:
        """Return the resident memory of the process in bytes, None if it can't be read cheaply."""
        return None

else:
    import resource

    _getrusage: Final = resource.getrusage
    _SELF: Final = resource.RUSAGE_SELF
    _CHILDREN: Final = resource.RUSAGE_CHILDREN
    _PAGE: Final = resource.getpagesize()
    _TELLS_MEMORY: Final = os.access(_STATM, os.R_OK)

    def read_usage() -> Reading:
        """Return what the process and its reaped children have used so far."""
        own, children = _getrusage(_SELF), _getrusage(_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
        # Where there is /proc, the peak is in KiB.
        return Reading(cpu, own.ru_maxrss * 1024 if _TELLS_MEMORY else None)

    _last_resident: tuple[float, int | None] = (-inf, None)

    def read_resident() -> int | None:
        """Return the resident memory of the process in bytes, None if it can't be read cheaply.

        A reading counts for a millisecond, in which it can't change by more than a few megabytes:
        for tests that are as short as that, the reading takes longer than their calls.
        """
        global _last_resident
        clock = Original.perf_counter()
        if clock - _last_resident[0] > _LASTS:
            _last_resident = clock, _resident()
        return _last_resident[1]

    def _resident() -> int | None:
        try:
            # Opened each time, which takes 4 µs more: tests close what they don't know, and fork.
            file = Original.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return int(Original.read(file, 128).split()[1]) * _PAGE
            finally:
                Original.close(file)
        except (OSError, ValueError, IndexError):  # no descriptor is left, maybe
            return None


def usage_between(
    before: Reading, after: Reading, resident: Callable[[], int | None] = read_resident
) -> dict[str, float]:
    """Return the usage between two readings as metrics.

    ``cpu_seconds`` is user and system time. ``peak_memory_mb`` is resident memory in megabytes
    (10^6 bytes, as in MLflow's system metrics): the peak, if it was reached meanwhile; otherwise
    what ``resident`` tells now.
    """
    usage = {"cpu_seconds": max(0.0, round(after.cpu - before.cpu, 6))}
    if before.peak is not None and after.peak is not None:
        memory = after.peak if after.peak > before.peak else resident()
        if memory is not None:
            usage["peak_memory_mb"] = memory / _MEGABYTE
    return usage
