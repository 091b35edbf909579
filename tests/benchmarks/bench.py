"""What all parts of the benchmark share: directories, stores, and the speed of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from . import pairs
from .command import Figures
from .peers import PLAIN, Peer
from .results import Budget, Results
from .stores import Store

REFERENCE: Final = 360e-6
"""Seconds of CPU that plain pytest takes for one trivial case on the machine of the budgets.

Budgets that are times are multiples of it: so they mean the same on a slower machine, and on one
that is busy with something else.
"""


@dataclass(slots=True)
class Bench:
    """One run of the benchmark.

    ``slack`` is how many times its budget something may cost. ``unit`` is how much slower this
    machine is than that of the budgets: what plain pytest takes for a case here, divided by what it
    took there.
    """

    root: Path
    template: Path
    rounds: int
    slack: float = 1.0
    results: Results = field(default_factory=Results)
    unit: float = 1.0
    _numbers: Iterator[int] = field(default_factory=count)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """Make a directory that is there for a while."""
        path = self.root / f"run{next(self._numbers)}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def compare(
        self,
        peers: Sequence[Peer],
        cases: int,
        store: Store | None,
        *options: str,
        rounds: int | None = None,
    ) -> pairs.Rounds[str]:
        """Let peers do the same work in turn."""
        by_name = {peer.name: peer for peer in peers}

        def measure(name: str, _: int) -> Figures:
            with self.directory() as directory:
                place = store.place(directory) if store is not None else None
                return by_name[name].measure(directory, cases, place, *options)

        return pairs.measure(list(by_name), rounds or self.rounds, measure)

    def calibrate(self, cases: int) -> None:
        """Measure how quick this machine is."""
        found = self.compare([PLAIN], cases, None, rounds=max(3, self.rounds))
        self.unit = found.median(PLAIN.name, lambda one: one.tests_cpu) / cases / REFERENCE

    def budget(self, name: str, found: float, limit: float) -> Budget:
        """Return a budget that is a ratio."""
        return Budget(name=name, found=found, limit=limit * self.slack, unit="times")

    def timed(self, name: str, found: float, limit: float) -> Budget:
        """Return a budget that is a time: seconds on the machine of the budgets."""
        scale, unit = next(
            (scale, unit)
            for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns"))
            if limit * scale >= 1
        )
        return Budget(
            name=name, found=found / self.unit * scale, limit=limit * self.slack * scale, unit=unit
        )

    def sized(self, name: str, found: float, limit: float) -> Budget:
        """Return a budget that is a number of bytes."""
        return Budget(name=name, found=found, limit=limit * self.slack, unit="bytes")


Part = Callable[[Bench], None]
