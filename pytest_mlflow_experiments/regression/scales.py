"""The scales that a metric is judged on: its value, for scores near 1 its error, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, floor, inf, ldexp, log, log1p
from typing import final

from .evidence import Evidence, Scatter, measure
from .findings import Direction, RuleOptions
from .levels import Known
from .statistics import poisson_p

_LARGEST_COUNT = 30
"""Whole numbers with a greater mean than this are no counts of rare events."""

_HUGE = 1e6
"""A count that is more than any number of rare events."""

_UNLIKELY = 0.05
"""With a greater p in the t-test, there is no need for another one."""

_FEW_COUNTS = 5
"""With more values than this, counts that never differ are no chance events."""

_YOUNG = 3
"""With fewer values than this, only the value itself is judged."""


@final
@dataclass(slots=True, kw_only=True, eq=False)
class Scale:
    """A metric's evidence on one scale.

    ``whole`` is the evidence with all runs of the history, ``without`` the same without
    ``exceptions``. On the scale of errors, ``log(1 - score)``, ``error_of`` is 1 for a score and -1
    for its negative. ``counts`` tells that the values are counts of rare events.
    """

    whole: Evidence
    without: Evidence
    exceptions: tuple[int, ...]
    error_of: float | None = None
    counts: bool = False

    def p_value(self, evidence: Evidence) -> float | None:
        """Return the one-sided p, towards worse; of unlikely counts that of the exact test."""
        p = evidence.p_value()
        if not self.counts or p is None or p > _UNLIKELY:
            return p
        plain = evidence.plain(evidence.now)
        return p if plain is None else max(p, _exact_p(evidence, plain))

    def worst(self, evidence: Evidence) -> float:
        """Return the value from which on it is worse, in the unit of the evidence."""
        bound = evidence.worst()
        return max(bound, _worst_count(evidence)) if self.counts else bound

    def is_worse(self, evidence: Evidence) -> bool:
        """Return whether the values now are significantly worse."""
        # The change must be large enough in any case.
        if evidence.change < evidence.effect - evidence.slack:
            return False
        return evidence.now >= self.worst(evidence) - evidence.slack

    def plain(self, evidence: Evidence, number: float) -> float | None:
        """Return a number of the evidence as a value of the metric; None if there is none."""
        plain = None if number == inf else evidence.plain(number)
        if plain is None or self.error_of is None:
            return plain
        return self.error_of * (1 - exp(plain)) if plain <= 0 else None


def scales(
    current: Sequence[float],
    history: Sequence[float],
    direction: Direction | None,
    options: RuleOptions,
    alpha: float,
    *,
    fresh: bool,
    known: Known | None,
    scatter: Scatter | None,
    pinned: bool = False,
) -> list[Scale]:
    """Return the scales to judge a metric on, that of its value first."""
    whole, without, exceptions = measure(
        current,
        history,
        sign=-1.0 if direction == "max" else 1.0,
        alpha=alpha,
        min_effect=options.min_effect,
        min_change=options.min_change,
        cost=options.cost,
        fresh=fresh,
        directed=direction is not None and not pinned,
        known=known,
        scatter=scatter,
    )
    counts = (
        direction is not None
        and known is None
        and scatter is None
        and not options.cost
        and _are_counts(history, direction)
    )
    found = [Scale(whole=whole, without=without, exceptions=exceptions, counts=counts)]
    if direction and options.judges_errors and scatter is None and len(history) >= _YOUNG:
        sign = 1.0 if direction == "max" else -1.0
        found += _error_scale(current, history, sign, options, alpha, whole, known, fresh=fresh)
    return found


def _error_scale(
    current: Sequence[float],
    history: Sequence[float],
    sign: float,
    options: RuleOptions,
    alpha: float,
    evidence: Evidence,
    known: Known | None,
    *,
    fresh: bool,
) -> list[Scale]:
    """Return the scale of the error of a score, where it shows changes that the value hides.

    ``sign`` is 1 for a score, -1 for its negative.
    """
    level = evidence.plain(evidence.level.mean)
    if level is None or not 0 < sign * level < 1:
        return []
    if options.error_effect * (1 - sign * level) >= options.min_effect * sign * level:
        return []
    scores = [sign * value for value in (*history, *([] if known is None else [known.value]))]
    if min(scores) < 0 or max(scores) >= 1:
        return []
    # A perfect score has no logarithm of its error: it is better than any other so far.
    least = (1 - max(scores)) / 2
    if known is not None:
        error = 1 - sign * known.value
        known = known._replace(value=log(error), scatter=known.scatter / error)
    whole, without, exceptions = measure(
        [log(max(1 - sign * value, least)) for value in current],
        [log(1 - sign * value) for value in history],
        sign=1.0,
        alpha=alpha,
        min_change=log1p(options.error_effect),
        fresh=fresh,
        known=known,
        drifts=False,  # a slow change of the score is told by its value
    )
    return [Scale(whole=whole, without=without, exceptions=exceptions, error_of=sign)]


def _are_counts(history: Sequence[float], direction: Direction) -> bool:
    """Return whether a history is one of small whole numbers that vary.

    Where greater is better, 0 and 1 may also be the ends of a score.
    """
    if history[0] % 1 or not all(value >= 0 and not value % 1 for value in history):
        return False
    least = 2 if direction == "max" else 1
    if max(history) < least or sum(history) > _LARGEST_COUNT * len(history):
        return False
    return len(history) <= _FEW_COUNTS or min(history) < max(history)


def _exact_p(evidence: Evidence, mean: float) -> float:
    """Return the p of a conditional Poisson test, where ``mean`` is that of the values now."""
    k, sessions = evidence.k, max(1, round(evidence.level.weight))
    before = round(abs(evidence.plain(evidence.level.mean) or 0.0) * evidence.level.weight)
    if mean > _HUGE:
        return 0.0 if evidence.sign > 0 else 1.0
    if evidence.sign > 0:
        return poisson_p(floor(mean * k + 1e-9), k, before, sessions)
    return 1 - poisson_p(ceil(mean * k - 1e-9) + 1, k, before, sessions)


def _worst_count(evidence: Evidence) -> float:
    """Return the mean from which on counts are significantly worse; infinite if none is."""
    level = evidence.plain(evidence.level.mean)
    if level is None:
        return inf
    k, sessions = evidence.k, max(1, round(evidence.level.weight))
    before = round(abs(level) * evidence.level.weight)
    find = _worst_total if evidence.sign > 0 else _best_total
    total = find(before, sessions, k, evidence.alpha)
    return inf if total is None else ldexp(evidence.sign * total / k, -evidence.exponent)


@lru_cache(maxsize=4_096)
def _worst_total(before: int, sessions: int, k: int, alpha: float) -> int | None:
    """Return the least number of events now that is significantly more than before."""
    total = max(1, before * k // sessions)
    while poisson_p(total, k, before, sessions) > alpha:
        total += 1
    return total


@lru_cache(maxsize=4_096)
def _best_total(before: int, sessions: int, k: int, alpha: float) -> int | None:
    """Return the greatest number of events now that is significantly less than before."""
    total = before * k // sessions
    while total >= 0 and 1 - poisson_p(total + 1, k, before, sessions) > alpha:
        total -= 1
    return total if total >= 0 else None
