"""Find the status of one metric from its values, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, ldexp
from typing import Literal, TypeAlias, final

from .evidence import ENOUGH, RECENT, Evidence
from .tolerance import Tolerance

Direction: TypeAlias = Literal["max", "min"]
"""Which values of a metric are better: greater ones (``max``) or smaller ones (``min``)."""

Status: TypeAlias = Literal[
    "regressed",
    "missing",
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

    ``alpha`` is the false-alarm rate of a single comparison, ``min_effect`` the smallest relative
    change that counts, ``window`` how many of the newest history values are looked at. ``cost``
    marks time, memory, money and the like, which scatter more. ``tolerance``, if given, replaces
    the test.

    Raises:
        ValueError: a number is out of its range.
    """

    alpha: float = 0.001
    min_effect: float = 0.01
    window: int = 20
    cost: bool = False
    tolerance: Tolerance | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is {self.alpha!r}; it must be between 0 and 0.5")
        if not 0 <= self.min_effect < inf:
            raise ValueError(f"min_effect is {self.min_effect!r}; it must be 0 or more")
        if self.window < 1:
            raise ValueError(f"window is {self.window!r}; it must be 1 or more")


_UNKNOWN = (
    "nobody said which direction is better: "
    "state it with the marker's direction= or the ini value mlflow_direction"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A status and its reason; see :class:`~.rule.Verdict`."""

    status: Status
    reason: str
    p_value: float | None = None
    suspect: bool = False


def find(
    now: Sequence[float],
    mean_now: float | None,
    history: Sequence[float],
    evidence: Evidence | None,
    direction: Direction | None,
    options: RuleOptions,
) -> Finding:
    """Return the status; there is evidence if any value of the history is finite."""
    if mean_now is None:
        reason = f"no value now; {_sessions(len(history))} of the baseline had it"
        return Finding(status="missing", reason=reason)
    if not history and isnan(mean_now):
        return Finding(status="inconclusive", reason="NaN, and no history to compare it with")
    if not history:
        return Finding(status="new", reason="no session of the baseline has it")
    if evidence is None:
        return _against_infinite(mean_now, history, direction)
    if not isfinite(mean_now):
        return _infinite_now(mean_now, direction)
    if options.tolerance is not None:
        return _by_tolerance(evidence, options.tolerance, direction)
    return _by_test(evidence, direction, options, values=len(now))


def _against_infinite(now: float, history: Sequence[float], direction: Direction | None) -> Finding:
    """Compare with a history of only NaN and infinities, by which of them is better."""
    before = ", ".join(sorted({f"{_infinite(value)}" for value in history}))
    if isnan(now) or all(value == now for value in history):
        return Finding(status="unchanged", reason=f"{_infinite(now)}; the baseline is {before}")
    reason = f"{_infinite(now)} instead of {before}"
    if direction is None:
        return Finding(status="inconclusive", reason=f"{reason}, but {_UNKNOWN}")
    badness = [_badness(value, direction) for value in history]
    if _badness(now, direction) < min(badness):
        return Finding(status="improved", reason=reason)
    if _badness(now, direction) > max(badness):
        return Finding(status="regressed", reason=reason)
    return Finding(status="unchanged", reason=f"{_infinite(now)}; the baseline is {before}")


def _infinite_now(now: float, direction: Direction | None) -> Finding:
    """Compare NaN or an infinity with a finite history."""
    reason = f"{_infinite(now)}, and the baseline is finite"
    if isnan(now):
        return Finding(status="regressed", reason=reason)
    if direction is None:
        return Finding(status="inconclusive", reason=f"{reason}, but {_UNKNOWN}")
    bad = _badness(now, direction) > 0
    return Finding(status="regressed" if bad else "improved", reason=reason)


def _by_tolerance(evidence: Evidence, tolerance: Tolerance, direction: Direction | None) -> Finding:
    """Compare the change with what a tolerance allows."""
    reason = f"{_compared(evidence, direction)}; the tolerance is {tolerance}"
    if abs(evidence.change) <= _allowed(evidence, tolerance) + evidence.slack:
        return Finding(status="unchanged", reason=reason)
    if direction is None:
        return Finding(status="inconclusive", reason=f"{reason}, but {_UNKNOWN}")
    return Finding(status="regressed" if evidence.change > 0 else "improved", reason=reason)


def _by_test(
    evidence: Evidence, direction: Direction | None, options: RuleOptions, *, values: int
) -> Finding:
    """Apply the test in both directions; ``values`` is the number of current values."""
    alpha, cost = options.alpha, options.cost
    p_worse = evidence.p_value()
    turned = evidence if evidence.change > 0 else evidence.mirrored()
    p = p_worse if evidence.change > 0 else turned.p_value()
    beyond = turned.is_worse(p, alpha)
    far = turned.is_far_worse(p, cost=cost)
    reason = _compared(evidence, direction) + _runs(values, evidence.k)
    p_value = None if direction is None else p_worse
    if (beyond or far) and direction is None:
        return Finding(status="inconclusive", reason=f"{reason}, but {_UNKNOWN}")
    if beyond or far:
        why = f"p = {p:.2g}" if beyond else f"far enough for fewer than {ENOUGH} sessions"
        status: Status = "regressed" if evidence.change > 0 else "improved"
        return Finding(status=status, reason=f"{reason}: {why}", p_value=p_value)
    suspect = direction is not None and evidence.is_suspect(p_worse, alpha, cost=cost)
    if evidence.n < RECENT:
        reason = f"{reason}: too few to tell, {RECENT} are needed"
        return Finding(status="inconclusive", reason=reason, p_value=p_value, suspect=suspect)
    if abs(evidence.change) < evidence.effect - evidence.slack:
        reason = f"{reason}: too small to count"
    elif p is not None and p > alpha:
        reason = f"{reason}: within the scatter, p = {p:.2g}"
    else:
        reason = f"{reason}, but not beyond each of the last {RECENT}"
    return Finding(status="unchanged", reason=reason, p_value=p_value, suspect=suspect)


def limit(evidence: Evidence, direction: Direction | None, options: RuleOptions) -> float | None:
    """Return the value beyond which one further value would be called regressed."""
    if direction is None:
        return None
    if options.tolerance is not None:
        return evidence.plain(evidence.mean + _allowed(evidence, options.tolerance))
    return evidence.limit(options.alpha, cost=options.cost)


def _allowed(evidence: Evidence, tolerance: Tolerance) -> float:
    if tolerance.relative:
        return max(tolerance.amount * abs(evidence.mean), evidence.zero)
    try:
        return ldexp(tolerance.amount, -evidence.exponent)
    except OverflowError:
        return inf


def _badness(value: float, direction: Direction) -> float:
    """Return how bad a non-finite value is; NaN is as bad as the bad infinity."""
    return inf if isnan(value) else (-value if direction == "max" else value)


def _compared(evidence: Evidence, direction: Direction | None) -> str:
    """Describe in words how the current values differ from the mean of the history."""
    mean = f"the mean of {_sessions(evidence.n)}"
    change = evidence.change
    if abs(change) <= evidence.slack:
        return f"the same as {mean}"
    words = ("less", "more") if direction is None else ("better", "worse")
    share = abs(change) / abs(evidence.mean) if evidence.mean else inf
    size = percent(share) if share < 1e6 else f"{abs(evidence.plain(change) or inf):.3g}"
    return f"{size} {words[change > 0]} than {mean}"


def percent(share: float) -> str:
    """Format a share as a percentage: ``4.7 %``, ``0.052 %``, ``130 %``."""
    number = 100 * share
    return f"{number:.0f} %" if number >= 100 else f"{number:.2g} %"


def _infinite(value: float) -> str:
    return "NaN" if isnan(value) else f"{value:g}".replace("inf", "infinity")


def _runs(values: int, independent: int) -> str:
    if values == 1:
        return ""
    return f", over {values} runs" + (" that count as one" if independent == 1 else "")


def _sessions(n: int) -> str:
    return "1 session" if n == 1 else f"{n} sessions"
