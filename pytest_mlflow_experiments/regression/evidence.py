"""The current values of one metric and its history, as the numbers that the rule uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, ldexp, sqrt
from typing import final

from .statistics import ROUNDING, exponent_of, finite_mean, student_p, student_t

RECENT = 3
"""The number of newest history values that a change must exceed, each by itself."""

ENOUGH = 5
"""With fewer history values than this, a change that is far also counts."""

_ZERO = 1e-9
"""A history that touches zero has no percentages; changes smaller than this are float noise."""

_FROZEN = 1 / 20
"""Fresh values with less than this share of the history's scatter are one value, repeated."""

_FAR = 0.25
_FAR_COST = 1.0
_FAR_COST_DOWN = 0.5  # half the throughput is what twice the time is
_FAR_ALPHA = 0.05
_FRESH_FAR_ALPHA = 0.01


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Current values and a history, all finite, with signs such that greater is worse.

    All numbers are in units of ``2**exponent``, so that squares of huge or tiny values neither
    overflow nor vanish; :meth:`plain` turns them back. ``recent`` is the worst of the last
    ``RECENT`` history values, ``recent_best`` the best. ``effect`` is the smallest change that
    counts, ``floor`` the lower bound of the scatter, ``slack`` the tolerance for rounding. ``zero``
    is what counts as zero if the history touches it, else 0. ``n`` and ``k`` count the values of
    the history and the independent ones now; ``squares`` and ``squares_now`` are their sums of
    squared deviations.
    """

    exponent: int
    sign: float
    now: float
    mean: float
    n: int
    k: int
    squares: float
    squares_now: float
    recent: float
    recent_best: float
    effect: float
    floor: float
    slack: float
    zero: float

    @property
    def change(self) -> float:
        """How much worse the mean now is than that of the history."""
        return self.now - self.mean

    def plain(self, number: float) -> float | None:
        """Return a number of this evidence in the metric's own unit; None if too large."""
        try:
            return ldexp(self.sign * number, self.exponent)
        except OverflowError:
            return None

    def mirrored(self) -> Evidence:
        """Return the same evidence for the opposite direction."""
        return replace(
            self,
            sign=-self.sign,
            now=-self.now,
            mean=-self.mean,
            recent=-self.recent_best,
            recent_best=-self.recent,
        )

    def p_value(self) -> float | None:
        """Return the one-sided p-value of the pooled two-sample t-test, None without any scatter.

        It is that of ``scipy.stats.ttest_ind(now, history, equal_var=True)``, except that the
        scatter is never taken below ``floor``.
        """
        freedom = self.n + self.k - 2
        if freedom < 1:
            return None
        scatter = max(sqrt((self.squares + self.squares_now) / freedom), self.floor)
        t = self.change / (scatter * sqrt(1 / self.n + 1 / self.k))
        return student_p(t, freedom)

    def is_worse(self, p: float | None, alpha: float) -> bool:
        """Whether the values are significantly worse than the mean and the recent ones."""
        return (
            p is not None
            and p <= alpha
            and (self.n >= RECENT or self.k > 1)
            and self.change >= self.effect - self.slack
            and self.now - self.recent >= self.effect - self.slack
        )

    def far(self, *, cost: bool) -> float | None:
        """Return the change that is large whatever the scatter; None if percentages mean nothing.

        It is 25 % of the mean; for a cost 100 %, or 50 % where smaller is worse.
        """
        if self.zero:
            return None
        share = (_FAR_COST if self.sign > 0 else _FAR_COST_DOWN) if cost else _FAR
        return share * abs(self.mean)

    def is_far_worse(self, p: float | None, *, cost: bool) -> bool:
        """Whether the change is so large that a short history is enough."""
        far = self.far(cost=cost)
        if self.n >= ENOUGH or far is None or not self.change > far + self.slack:
            return False
        if p is None:
            return self.n == 1
        return p <= (_FAR_ALPHA if self.k == 1 else _FRESH_FAR_ALPHA)

    def is_suspect(self, p: float | None, alpha: float, *, cost: bool) -> bool:
        """Whether the change justifies fresh runs; this takes far less than a regression."""
        if self.change <= 0:
            return False
        if p is not None and p <= 10 * alpha:
            return True
        far = self.far(cost=cost)
        threshold = self.effect if far is None else far / 5
        return self.n < ENOUGH and self.change >= threshold - self.slack

    def limit(self, alpha: float, *, cost: bool) -> float | None:
        """Return the value beyond which one further value would be worse; None if none would.

        The part that depends on the scatter is the limit of Student's prediction interval,
        ``mean + t(n - 1, 1 - alpha) * scatter * sqrt(1 + 1 / n)``.
        """
        bounds = []
        if self.n >= RECENT:
            least = max(self.mean, self.recent) + self.effect
            bounds.append(max(least, self._prediction_limit(alpha)))
        far = self.far(cost=cost)
        if self.n < ENOUGH and far is not None:
            bound = self.mean + far
            bounds.append(bound if self.n < 2 else max(bound, self._prediction_limit(_FAR_ALPHA)))
        return self.plain(min(bounds)) if bounds else None

    def _prediction_limit(self, alpha: float) -> float:
        scatter = max(sqrt(self.squares / (self.n - 1)), self.floor)
        return self.mean + student_t(alpha, self.n - 1) * scatter * sqrt(1 + 1 / self.n)


def measure(
    current: Sequence[float], history: Sequence[float], *, sign: float, min_effect: float
) -> Evidence:
    """Return the evidence; ``sign`` is 1 where greater values are worse, else -1.

    All values are finite, and there is at least one of each.
    """
    touches_zero = min(history) <= 0 <= max(history)
    extremes = (min(history), max(history), min(current), max(current))
    exponent = exponent_of((*extremes, _ZERO) if touches_zero else extremes)
    before = [ldexp(sign * value, -exponent) for value in history]
    after = [ldexp(sign * value, -exponent) for value in current]
    mean, now = finite_mean(before), finite_mean(after)
    squares = fsum([(value - mean) ** 2 for value in before])
    squares_now = fsum([(value - now) ** 2 for value in after])
    largest = max(abs(mean), *map(abs, before))
    zero = ldexp(_ZERO, -exponent) if touches_zero else 0.0
    effect = max(min_effect * abs(mean), zero)
    slack = ROUNDING * max(largest, abs(now))
    floor = max(effect / 4, slack)
    n, k = len(before), len(after)
    # A frozen seed gives each run of a session the same value: repeating it tells nothing about
    # how sessions differ, and the values would count as several where they are one.
    scatter = sqrt(squares / (n - 1)) if n > 1 else 0.0
    if k > 1 and scatter > slack and sqrt(squares_now / (k - 1)) < _FROZEN * scatter:
        k, squares_now = 1, 0.0
    last = before[-RECENT:]
    return Evidence(
        exponent=exponent,
        sign=sign,
        now=now,
        mean=mean,
        n=n,
        k=k,
        squares=squares,
        squares_now=squares_now,
        recent=max(last),
        recent_best=min(last),
        effect=effect,
        floor=floor,
        slack=slack,
        zero=zero,
    )
