"""What the end of a session tells: counts, and how close the assertions came to their limits."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import final

from .records import CaseRecord, Check

_KEPT = 3


@final
@dataclass(frozen=True, slots=True)
class Margin:
    """A check and the case it stands in, ordered by the margin relative to the limit."""

    relative: float
    check: Check
    case: str

    def __lt__(self, other: Margin) -> bool:
        return self.relative < other.relative


def relative_margin(check: Check) -> float:
    """Return the margin as a share of the limit (of the tolerance for ``approx``); may be NaN."""
    scale = check.tolerance if check.operator == "==" else abs(check.limit)
    if not scale:
        scale = abs(check.value) or 1.0
    return check.margin / scale


@final
@dataclass(slots=True)
class Summary:
    """Counts over the kept cases of a session, and their tightest and widest margins.

    Only checks that held take part in the margins; the others are failures, which pytest shows.
    """

    cases: int = 0
    metrics: int = 0
    checks: int = 0
    notes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    _tightest: list[Margin] = field(default_factory=list)
    _widest: list[Margin] = field(default_factory=list)

    def add(self, record: CaseRecord) -> None:
        """Count one more case."""
        self.cases += 1
        self.metrics += len(record.metrics)
        self.checks += len(record.checks)
        self.notes += len(record.notes)
        self.outcomes[record.outcome] += 1
        closest: dict[str, Margin] = {}
        for check in record.checks:
            margin = Margin(relative_margin(check), check, record.name)
            if not check.passed or not isfinite(margin.relative):
                continue
            if margin.relative < getattr(closest.get(check.metric), "relative", inf):
                closest[check.metric] = margin
        if closest:
            self._tightest = heapq.nsmallest(_KEPT, [*self._tightest, *closest.values()])
            self._widest = heapq.nlargest(_KEPT, [*self._widest, *closest.values()])

    def tightest(self) -> list[Margin]:
        """Return the margins nearest to their limits, the nearest first."""
        return list(self._tightest)

    def widest(self) -> list[Margin]:
        """Return the margins farthest from their limits that are not among the tightest."""
        return [margin for margin in self._widest if margin not in self._tightest]
