"""Whose thread is it: tests start some, leave some behind, and may run in several at once."""

from __future__ import annotations

import threading
from threading import Lock, Thread, current_thread, get_ident
from typing import Final, final
from weakref import WeakSet

from .assertions import recorder
from .assertions.recorder import Observations, unseen

# Pools, and event loops that run in a thread of their own.
_POOLS: Final = frozenset({
    *("concurrent.futures.thread", "multiprocessing.pool", "anyio._backends._asyncio"),
    *("asyncio.base_events", "asyncio.runners", "tornado.platform.asyncio"),
})  # fmt: skip

all_threads: Final = threading.enumerate


def is_pooled(thread: Thread) -> bool:
    """Return whether a thread works for whoever hands it something to do, test after test."""
    target = getattr(thread, "_target", None)
    # A subclass may keep something else under that name, and not all functions have a module.
    return getattr(type(thread) if target is None else target, "__module__", None) in _POOLS


@final
class Slot:
    """Sets the recorder's slot to the running case, and to one for each thread if need be.

    That is where several threads run tests, or an earlier test's thread goes on: then the slot
    holds this object in place of observations, and each thread finds its own here. A thread that a
    test has started has those of the only running test; where there are several, none.
    """

    def __init__(self) -> None:
        self._running: dict[int, Observations] = {}
        self._strays: WeakSet[Thread] = WeakSet()
        # To go through a set of weak references takes longer than all the rest of it.
        self._has_strays = False
        self._outer: Observations | None = None
        self._lock = Lock()

    def of(self, thread: int) -> Observations | None:
        """Return the observations of the test that a thread runs."""
        return self._running.get(thread)

    def set(self, thread: int, observations: Observations | None) -> None:
        """Let a thread record to ``observations``; None where its test ends."""
        with self._lock:
            if not self._running:
                self._outer = recorder.current
            self._running.pop(thread, None)
            if observations is not None:
                self._running[thread] = observations
            running = list(self._running.values())
            if self._has_strays:
                self._has_strays = any(stray.is_alive() for stray in self._strays)
            if not running:
                recorder.current = self._outer
            elif len(running) == 1 and not self._has_strays:
                recorder.current = running[0]
            else:
                recorder.current = self  # type: ignore[assignment]

    def add_strays(self, known: list[Thread]) -> None:
        """Note the threads other than ``known`` that the test which ends has left running."""
        if (now := all_threads()) != known:
            left = [thread for thread in set(now).difference(known) if not is_pooled(thread)]
            with self._lock:
                self._strays.update(left)
                self._has_strays |= bool(left)

    @property
    @unseen
    def raw(self) -> list[recorder.Raw]:
        """What the calling thread has observed."""
        return self._own().raw

    @property
    @unseen
    def dropped(self) -> int:
        """How much of it was not kept."""
        return self._own().dropped

    @dropped.setter
    @unseen
    def dropped(self, number: int) -> None:
        self._own().dropped = number

    @unseen
    def _own(self) -> Observations:
        own = self._running.get(get_ident())
        if own is None:
            running = list(self._running.values())
            is_known = len(running) == 1 and current_thread() not in self._strays
            own = running[0] if is_known else Observations()
        return own
