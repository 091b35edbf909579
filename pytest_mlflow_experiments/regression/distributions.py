"""Tails of Student's t, F, binomial and chi-squared distributions, by the standard library alone.

SciPy has them too, but its import takes longer than judging a thousand metrics. Probabilities have
a relative error of less than 1e-12, however small they are. DLMF is NIST's Digital Library of
Mathematical Functions (https://dlmf.nist.gov).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb, erfc, exp, fsum, inf, isnan, lgamma, log, log1p, nan, pi, sqrt
from statistics import NormalDist

_EPSILON = 2.0**-54
"""The share of a sum from which on further terms change nothing."""

_ROUNDS = 10_000
"""More terms than any fraction needs."""

_CLOSE = 1e-9
"""Newton's step doubles the number of digits: after such a step all are right."""

_FEW_TRIALS = 50
"""Of so many, each number of combinations is a float."""

_FAR = 1e8
"""The square of a greater number is the same with 1 added."""


def student_p(t: float, freedom: float) -> float:
    """Return the probability of a value above ``t`` in Student's t distribution."""
    if isnan(t) or not freedom > 0:
        return nan
    if not t:
        return 0.5  # as for each metric that never varies
    if t < 0:
        return 1 - _student(-t, freedom)[0]
    return _student(t, freedom)[0]


def student_t(p: float, freedom: float) -> float:
    """Return the value that Student's t distribution exceeds with probability ``p``.

    By Newton's method: near the middle the tail is convex in ``t``, further out its logarithm is
    concave in that of ``t``, so that it converges from its start.
    """
    if not 0 <= p <= 1 or not freedom > 0:
        return nan
    if p > 0.5:
        return -student_t(1 - p, freedom)
    if p in (0, 0.5):
        return 0.0 if p else inf
    is_near = p > 0.2
    t = (0.5 - p) * sqrt(freedom) / _student_scale(freedom)
    if not is_near:
        t = -NormalDist().inv_cdf(p)
    last = 0.0
    for _ in range(_ROUNDS):
        found, slope = _student(t, freedom)
        if found:
            step = (found - p) / slope
            last, t = t, t * (1 + step if is_near else exp(log(found / p) * found / slope))
        else:
            t = (last + t) / 2  # too far for a float
        if abs(t - last) <= _CLOSE * t:
            break
    return t


def _student(t: float, freedom: float) -> tuple[float, float]:
    """Return the probability of a value above ``t``, from 0 on, and ``t`` times the density there.

    With ``x = freedom / (freedom + t**2)`` it is half of the incomplete beta function of x, of
    ``freedom / 2`` and 1/2 (Abramowitz and Stegun 1964, 26.7.1): near the middle by the series
    of its complement, further out by a continued fraction.
    """
    half = freedom / 2
    ratio = t / sqrt(freedom)
    if ratio < _FAR:
        square = ratio * ratio
        log_x = -log1p(square)
        y = square / (1 + square)
    else:
        log_x = -2 * log(ratio)
        y = 1.0
    slope = _student_scale(freedom) * sqrt(y) * exp(half * log_x)
    if y * (half + 2.5) > 2:
        return slope / (2 * _fraction(half, 0.5, exp(log_x), y)), slope
    term = total = 1.0
    above, below = half + 0.5, 1.5
    while term > _EPSILON * total:
        term *= y * above / below
        total += term
        above += 1
        below += 1
    return 0.5 - slope * total, slope


@lru_cache(maxsize=1_024)
def _student_scale(freedom: float) -> float:
    """Return 1 / B(1/2, freedom / 2)."""
    half = freedom / 2
    return sqrt(half / pi) * exp(
        half * log1p(1 / freedom) - 0.5 + _stirling_rest(half + 0.5) - _stirling_rest(half)
    )


def f_p(ratio: float, above: float, below: float) -> float:
    """Return the probability of a greater ``ratio`` of two variances, if only chance made it.

    Those above and below the line have so many degrees of freedom: Fisher's F distribution, by the
    incomplete beta function (Abramowitz and Stegun 1964, 26.6.2).
    """
    whole = below + above * ratio
    if not whole < inf:
        return 0.0 if whole == inf else nan
    return incomplete_beta(below / 2, above / 2, below / whole, above * ratio / whole)


def binomial_p(successes: int, trials: int, probability: float) -> float:
    """Return the probability of as many successes, or more, in independent trials.

    It is the incomplete beta function (DLMF 8.17.5). Of few trials the sum itself is taken, which
    is exact for a probability of a half: 1/16 is told as that.
    """
    if successes <= 0:
        return 1.0
    if successes > trials:
        return 0.0
    if trials <= _FEW_TRIALS:
        return fsum(
            comb(trials, number) * probability**number * (1 - probability) ** (trials - number)
            for number in range(successes, trials + 1)
        )
    return incomplete_beta(successes, trials - successes + 1, probability, 1 - probability)


def chi_squared_p(value: float, freedom: int) -> float:
    """Return the probability of a greater sum of so many squares of standard normal numbers.

    By the finite sums of Abramowitz and Stegun (1964), 26.4.4 and 26.4.5.
    """
    half = value / 2
    if freedom % 2:
        total, order = erfc(sqrt(half)), 0.5
        term = exp(-half) * 2 * sqrt(half / pi)
    else:
        total = term = exp(-half)
        order = 1.0
        term *= half
    while order < freedom / 2:
        total += term
        order += 1
        term *= half / order
    return total


def incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """Return the regularized incomplete beta function of ``x``, where ``y`` is 1 - x.

    By a continued fraction, of x or of y, whichever converges soon: Press and others, Numerical
    Recipes (2007), 6.4.
    """
    if x <= 0 or y <= 0:
        return 0.0 if x <= 0 else 1.0
    # The density beside its value where it is greatest: no large numbers that cancel out each
    # other. DiDonato and Morris, Algorithm 708, ACM Transactions on Mathematical Software (1992).
    apart = a * y - b * x
    front = _beta_scale(a, b) * exp(
        a * _log_less(-apart / a, x * (a + b) / a) + b * _log_less(apart / b, y * (a + b) / b)
    )
    if x * (a + b + 2) < a + 1:
        return front / _fraction(a, b, x, y)
    return 1 - front / _fraction(b, a, y, x)


def _log_less(change: float, ratio: float) -> float:
    """Return ``log(ratio) - change``, where ``ratio`` is ``1 + change``."""
    return (log(ratio) if ratio < 0.5 else log1p(change)) - change


@lru_cache(maxsize=1_024)
def _beta_scale(a: float, b: float) -> float:
    """Return ``x**a * y**b / B(a, b)`` where it is greatest, at ``x = a / (a + b)``."""
    rest = _stirling_rest(a + b) - _stirling_rest(a) - _stirling_rest(b)
    return sqrt(a * b / (2 * pi * (a + b))) * exp(rest)


def _stirling_rest(number: float) -> float:
    """Return what Stirling's formula lacks of the logarithm of the gamma function (DLMF 5.11.1)."""
    if number < 10:
        return lgamma(number) - (number - 0.5) * log(number) + number - log(2 * pi) / 2
    part = 1 / (number * number)
    total = 0.0
    for coefficient in (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        total = total * part + coefficient
    return total / number


def _fraction(a: float, b: float, x: float, y: float) -> float:
    """Return what ``x**a * y**b / B(a, b)`` is divided by for the incomplete beta function.

    It is the even part of its continued fraction (DLMF 8.17.22), by DiDonato and Morris (1992),
    evaluated by the method of Lentz.
    """
    apart = a * y - b * x + 1
    value = above = a / (a + 1) * apart
    below = 0.0
    for m in range(1, _ROUNDS):
        odd = a + 2 * m - 1
        part = m * (b - m) * x
        numerator = (a + m - 1) * (a + b + m - 1) * part * x / (odd * odd)
        denominator = m + part / odd + (a + m) * (apart + m * (1 + y)) / (odd + 2)
        above = denominator + numerator / above
        below = 1 / (denominator + numerator * below)
        step = above * below
        value *= step
        if abs(step - 1) <= _EPSILON:
            break
    return value
