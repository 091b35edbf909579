"""Counts over a session, and how close its assertions came to their limits."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from math import isfinite, isnan
from operator import itemgetter
from typing import final

from ..records import FAILED_OUTCOMES, CaseRecord, Check

_KEPT = 3


@final
@dataclass(frozen=True, slots=True)
class CheckMargin:
    """A check, its margin relative to the limit, and its case."""

    relative: float
    check: Check
    case: str


def relative_margin(check: Check) -> float:
    """Return the margin as a share of the limit (of the tolerance for ``approx``); may be NaN."""
    scale = check.tolerance if check.operator == "==" else abs(check.limit)
    return check.margin_of(check.value) / (scale or abs(check.value) or 1.0)


_RELATIVE = itemgetter(0)


@final
@dataclass(slots=True)
class SessionSummary:
    """Counts over the kept cases of a session, and its notable margins.

    ``outcome_of`` holds outcomes by node id. ``missed`` are the checks that missed their limits
    most, the worst first; ``tightest`` the margins nearest to their limits, the nearest first.

    A case is at most once in each list, so that one test doesn't fill it: with the check closest to
    its limit, with the one farthest from it (of each metric only the closest counts), and with the
    one that missed it most.
    """

    outcome_of: dict[str, str] = field(default_factory=dict)
    metrics: int = 0
    missed: list[CheckMargin] = field(default_factory=list)
    tightest: list[CheckMargin] = field(default_factory=list)
    _widest: list[CheckMargin] = field(default_factory=list)

    def add(self, record: CaseRecord) -> None:
        """Count a case; if it ran several times, once, as failed if it ever failed."""
        if self.outcome_of.get(record.nodeid) not in FAILED_OUTCOMES:
            self.outcome_of[record.nodeid] = record.outcome
        self.metrics += len(record.metrics)
        missed: list[tuple[float, Check]] = []
        closest: dict[str, tuple[float, Check]] = {}
        for check in record.checks:
            relative = relative_margin(check)
            if not check.passed:
                # An alternative that did not hold, as in "a or b", is no failure.
                # Nor is one that was expected.
                is_failure = not check.alternative and record.outcome != "xfailed"
                if is_failure and not isnan(relative):
                    missed.append((relative, check))
            elif isfinite(relative):
                known = closest.get(check.metric)
                if known is None or relative < known[0]:
                    closest[check.metric] = relative, check
        if missed:
            _keep(self.missed, *min(missed, key=_RELATIVE), record.name)
        if closest:
            _keep(self.tightest, *min(closest.values(), key=_RELATIVE), record.name)
            _keep(self._widest, *max(closest.values(), key=_RELATIVE), record.name, widest=True)

    @property
    def cases(self) -> int:
        """The number of cases."""
        return len(self.outcome_of)

    @property
    def outcomes(self) -> Counter[str]:
        """How many cases had which outcome."""
        return Counter(self.outcome_of.values())

    @property
    def widest(self) -> list[CheckMargin]:
        """The largest margins that are not among the tightest."""
        return [margin for margin in self._widest if margin not in self.tightest]


def _keep(
    ranking: list[CheckMargin], relative: float, check: Check, case: str, *, widest: bool = False
) -> None:
    """Insert a margin into a ranking, and cut it to its length."""
    if len(ranking) == _KEPT:
        last = ranking[-1].relative
        if relative <= last if widest else relative >= last:
            return
    margin = CheckMargin(relative, check, case)
    insort(ranking, margin, key=lambda one: -one.relative if widest else one.relative)
    del ranking[_KEPT:]
