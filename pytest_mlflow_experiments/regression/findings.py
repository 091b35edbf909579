"""The statuses of a metric, the parameters of the rule, and what it says of infinite values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Literal, NamedTuple, TypeAlias, final

from .tolerance import Tolerance

Direction: TypeAlias = Literal["max", "min"]
"""Which values of a metric are better: greater ones (``max``) or smaller ones (``min``)."""

Status: TypeAlias = Literal[
    "regressed",
    "missing",
    "drifting",
    "accepted",
    "improved",
    "unchanged",
    "inconclusive",
    "new",
    "not comparable",
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """The parameters of the rule.

    ``alpha`` is the false-alarm rate of a single comparison, ``min_effect`` the smallest change
    that counts, as a share of the level; ``min_change`` is the same in the metric's own unit, and
    wins. ``error_effect`` is the smallest growth of the error, 1 - value, that counts for scores
    near 1 as long as neither of these two is set. ``window`` is how many of the newest history
    values are looked at. ``cost`` marks time, memory, money and the like, which scatter more.
    ``tolerance``, if given, replaces the test.

    Raises:
        ValueError: a number is out of its range.
    """

    alpha: float = 0.001
    min_effect: float = 0.01
    window: int = 20
    cost: bool = False
    tolerance: Tolerance | None = None
    min_change: float | None = None
    error_effect: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is {self.alpha!r}; it must be between 0 and 0.5")
        for name in ("min_effect", "min_change", "error_effect"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < inf:
                raise ValueError(f"{name} is {value!r}; it must be 0 or more")
        if self.window < 1:
            raise ValueError(f"window is {self.window!r}; it must be 1 or more")

    @property
    def judges_errors(self) -> bool:
        """Whether the error of scores near 1 counts: nobody has set what else does."""
        return (
            self.min_effect == _LEAST
            and self.min_change is None
            and self.error_effect > 0
            and not self.cost
        )


_LEAST = RuleOptions.__dataclass_fields__["min_effect"].default

UNKNOWN_DIRECTION = (
    "it is not known which direction is better: "
    "state it with the marker's direction= or the ini value mlflow_direction"
)


@final
class Finding(NamedTuple):
    """A status and its reason; see :class:`~.rule.Verdict`."""

    status: Status
    reason: str
    p_value: float | None = None
    suspect: bool = False
    decisive: float | None = None


def against_infinite(now: float, history: Sequence[float], direction: Direction | None) -> Finding:
    """Compare with a history of only NaN and infinities, by which of them is better."""
    before = ", ".join(sorted({f"{_infinite(value)}" for value in history}))
    if isnan(now) or all(value == now for value in history):
        return Finding(status="unchanged", reason=f"{_infinite(now)}; the baseline is {before}")
    reason = f"{_infinite(now)} instead of {before}"
    if direction is None:
        return Finding(status="inconclusive", reason=f"{reason}, but {UNKNOWN_DIRECTION}")
    badness = [_badness(value, direction) for value in history]
    if _badness(now, direction) < min(badness):
        return Finding(status="improved", reason=reason)
    if _badness(now, direction) > max(badness):
        return Finding(status="regressed", reason=reason)
    return Finding(status="unchanged", reason=f"{_infinite(now)}; the baseline is {before}")


def infinite_now(now: float, direction: Direction | None) -> Finding:
    """Compare NaN or an infinity with a finite history."""
    reason = f"{_infinite(now)}, and the baseline is finite"
    if isnan(now):
        return Finding(status="regressed", reason=reason)
    if direction is None:
        return Finding(status="inconclusive", reason=f"{reason}, but {UNKNOWN_DIRECTION}")
    bad = _badness(now, direction) > 0
    return Finding(status="regressed" if bad else "improved", reason=reason)


def _badness(value: float, direction: Direction) -> float:
    """Return how bad a non-finite value is; NaN is as bad as the bad infinity."""
    return inf if isnan(value) else (-value if direction == "max" else value)


def _infinite(value: float) -> str:
    return "NaN" if isnan(value) else f"{value:g}".replace("inf", "infinity")


def percent(share: float) -> str:
    """Format a share as a percentage: ``4.7 %``, ``0.052 %``, ``130 %``."""
    number = 100 * share
    return f"{number:.0f} %" if number >= 100 else f"{number:.2g} %"


def p_text(p: float) -> str:
    """Format a p-value: ``p = 0.0004``."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def sessions(n: int) -> str:
    """Count sessions: ``1 session``, ``3 sessions``."""
    return "1 session" if n == 1 else f"{n} sessions"
