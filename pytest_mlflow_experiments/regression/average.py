"""Means that neither overflow nor drift off constants."""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp, fsum, inf, isfinite, isnan, ldexp, nan

_SAFE = 1e308


def average(values: Sequence[float], *, cost: bool = False) -> float:
    """Return the one value that stands for repeats: their mean, or the median of a cost.

    Huge values do not overflow. A NaN, or infinities of both signs, make the result NaN.

    Raises:
        ValueError: there are no values.
    """
    if len(values) == 1:
        return float(values[0])
    if len(values) == 0:
        raise ValueError("there are no values to average")
    if any(map(isnan, values)):
        return nan
    if cost:
        ordered = sorted(map(float, values))
        lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return lower if lower == upper else lower / 2 + upper / 2
    low, high = min(values), max(values)
    if not (isfinite(low) and isfinite(high)):
        return nan if low == -inf and high == inf else low + high
    if max(-low, high) < _SAFE / len(values):
        return finite_mean(values)
    exponent = exponent_of((low, high))
    return ldexp(finite_mean([ldexp(value, -exponent) for value in values]), exponent)


def exponent_of(values: Sequence[float]) -> int:
    """Return the power of two that, divided by, brings all finite values into [-1, 1]."""
    return max(frexp(value)[1] for value in values if value) if any(values) else 0


def finite_mean(values: Sequence[float]) -> float:
    """Return the mean of finite values whose sum does not overflow; exact for constants."""
    return min(max(fsum(values) / len(values), min(values)), max(values))
