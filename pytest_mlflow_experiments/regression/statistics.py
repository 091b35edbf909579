"""Means, deviations and t-tests that neither overflow nor fail on NaN and the infinities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, frexp, fsum, inf, isfinite, isnan, ldexp, lgamma, nan, sqrt
from operator import mul
from typing import NamedTuple

from .distributions import binomial_p, f_p, student_p

ROUNDING = 8 * 2.0**-52
"""The bound on rounding errors of values within [-1, 1], their means and differences."""


_TINY = 1e-200
"""Means of values that are all smaller are taken of multiples of them, which have all digits."""


class Scaled(NamedTuple):
    """Finite values in units of ``2**exponent``: they and their squares are within [-1, 1]."""

    values: tuple[float, ...]
    exponent: int

    def plain(self, number: float) -> float:
        """Return a number in the values' own unit instead of this one; infinite if too large."""
        try:
            return ldexp(number, self.exponent)
        except OverflowError:
            return number * inf


def scaled(values: Sequence[float]) -> Scaled:
    """Scale finite values, at least one, so that sums and squares don't overflow."""
    exponent = exponent_of(values)
    return Scaled(tuple([ldexp(value, -exponent) for value in values]), exponent)


def exponent_of(values: Sequence[float]) -> int:
    """Return the ``e`` for which all finite values, divided by ``2**e``, are within [-1, 1]."""
    largest = max(map(abs, values))
    return frexp(largest)[1] if largest else 0


_SAFE = 300


def is_safe(exponent: int) -> bool:
    """Whether squares of values with this binary exponent neither overflow nor vanish."""
    return -_SAFE < exponent < _SAFE


def finite_mean(values: Sequence[float]) -> float:
    """Return the mean of finite values whose sum does not overflow; exact for constants."""
    return min(max(fsum(values) / len(values), min(values)), max(values))


def squares(values: Sequence[float], middle: float | None = None) -> float:
    """Return the sum of the squared deviations from the mean of values within [-1, 1].

    ``middle`` is the mean where it is known.
    """
    if middle is None:
        middle = finite_mean(values)
    apart = [value - middle for value in values]
    return fsum(map(mul, apart, apart))


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None without values; a NaN, or infinities of both signs, make it NaN."""
    if not values:
        return None
    try:
        total = fsum(values)
    except (OverflowError, ValueError):
        total = nan  # it overflows, or there are infinities of both signs
    if isfinite(total):
        least, most = min(values), max(values)
        if max(-least, most) > _TINY:
            return min(max(total / len(values), least), most)
    if any(map(isnan, values)):
        return nan
    if not all(map(isfinite, values)):
        return min(values) + max(values)
    units = scaled(values)
    return units.plain(finite_mean(units.values))


def average(values: Sequence[float], *, cost: bool = False) -> float:
    """Return one value for several repeats: their mean, or the median of a cost.

    Huge values do not overflow. A NaN, or infinities of both signs, make the result NaN.

    Raises:
        ValueError: there are no values.
    """
    if len(values) == 1:
        return float(values[0])
    if cost and not any(map(isnan, values)) and len(values):
        ordered = sorted(map(float, values))
        lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return lower if lower == upper else lower / 2 + upper / 2
    if (found := mean(values)) is None:
        raise ValueError("there are no values to average")
    return float(found)


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation: None below two values, NaN with infinite ones."""
    if len(values) < 2:
        return None
    if not all(map(isfinite, values)):
        return nan
    units = scaled(values)
    return units.plain(sqrt(squares(units.values) / (len(values) - 1)))


def variance_ratio_p(share: float, groups: int, rest: float, freedom: int) -> float:
    """Return the p-value of the F-test (Fisher 1925) of groups that explain a share of a variance.

    ``rest`` is the share that nothing explains, with so many degrees of ``freedom``.
    """
    if freedom < 1 or groups < 2 or share <= ROUNDING:
        return 1.0
    if rest <= ROUNDING:
        return 0.0
    return f_p(share / (groups - 1) / (rest / freedom), groups - 1, freedom)


def poisson_p(now: int, times: int, before: int, sessions: int) -> float:
    """Return the probability of as many events as now, or more, if their rate is as before.

    ``now`` events in ``times`` runs and ``before`` in ``sessions`` runs: given their sum, those now
    are binomial. That is the conditional test of Przyborowski and Wilenski (1940).
    """
    return binomial_p(now, now + before, times / (times + sessions))


@lru_cache(maxsize=1_024)
def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the interval of Wilson (1927) that a rate lies in with a probability of 95 %."""
    z = 1.959963984540054
    rate, spread = successes / trials, z * z / trials
    middle = rate + spread / 2
    reach = z * sqrt(rate * (1 - rate) / trials + spread / (4 * trials))
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def fisher_p(now: int, of_now: int, before: int, of_before: int) -> float:
    """Return the one-sided mid-p of Fisher's exact test (1935): more events now than before.

    The mid-p (Lancaster, 1961) counts half of the probability of what was seen: exact tests of few
    events are too careful without it.
    """
    total, n = now + before, of_now + of_before

    def log_choose(top: int, bottom: int) -> float:
        return lgamma(top + 1) - lgamma(bottom + 1) - lgamma(top - bottom + 1)

    everything = log_choose(n, total)
    chances = [
        exp(log_choose(of_now, k) + log_choose(of_before, total - k) - everything)
        for k in range(max(now, total - of_before), min(of_now, total) + 1)
    ]
    return min(1.0, fsum(chances) - chances[0] / 2)


def paired_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p-value of the paired t-test, None if the differences don't scatter.

    That is Student's (1908), as in ``scipy.stats.ttest_rel``, for two differences or more.
    """
    if len(differences) < 2:
        return None
    freedom = len(differences) - 1
    scatter = sqrt(squares(differences) / freedom)
    if scatter <= ROUNDING:
        return None
    return _two_sided(finite_mean(differences) / (scatter / sqrt(len(differences))), freedom)


def welch_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Welch's t-test (1947), None without any scatter.

    That is ``scipy.stats.ttest_ind(a, b, equal_var=False)``, for two values of each or more.
    Without scatter, equal means have a p of 1.
    """
    change = finite_mean(a) - finite_mean(b)
    shares = [squares(values) / (len(values) - 1) / len(values) for values in (a, b)]
    variance = fsum(shares)
    if sqrt(variance) <= ROUNDING:
        return 1.0 if abs(change) <= ROUNDING else None
    # The degrees of freedom by Welch and Satterthwaite.
    freedom = variance**2 / fsum(
        share**2 / (len(values) - 1) for share, values in zip(shares, (a, b), strict=True)
    )
    return _two_sided(change / sqrt(variance), freedom)


def _two_sided(t: float, freedom: float) -> float:
    return min(1.0, 2 * student_p(abs(t), freedom))
