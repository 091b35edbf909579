"""What the end of a session tells: counts, and how close the assertions came to their limits."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from math import isfinite
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


def _descending(margin: Margin) -> float:
    return -margin.relative


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
        closest: dict[str, tuple[float, Check]] = {}
        for check in record.checks:
            if check.passed and isfinite(relative := relative_margin(check)):
                best = closest.get(check.metric)
                if best is None or relative < best[0]:
                    closest[check.metric] = relative, check
        for relative, check in closest.values():
            if len(self._tightest) < _KEPT or relative < self._tightest[-1].relative:
                insort(self._tightest, Margin(relative, check, record.name))
                del self._tightest[_KEPT:]
            if len(self._widest) < _KEPT or relative > self._widest[-1].relative:
                insort(self._widest, Margin(relative, check, record.name), key=_descending)
                del self._widest[_KEPT:]

    def tightest(self) -> list[Margin]:
        """Return the margins nearest to their limits, the nearest first."""
        return list(self._tightest)

    def widest(self) -> list[Margin]:
        """Return the margins farthest from their limits that are not among the tightest."""
        return [margin for margin in self._widest if margin not in self._tightest]
