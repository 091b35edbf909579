"""Means and standard deviations that neither overflow nor fail on NaN and the infinities."""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp, fsum, inf, isfinite, isnan, ldexp, nan, sqrt
from typing import NamedTuple

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


ROUNDING = 8 * 2.0**-52
"""What the rounding of values within [-1, 1], their means and differences may amount to."""


class Scaled(NamedTuple):
    """Finite values in units of ``2**exponent``, all within [-1, 1]: their squares are too."""

    values: tuple[float, ...]
    exponent: int

    def plain(self, number: float) -> float:
        """Return a number in these units in the values' own; infinite where it is too large."""
        try:
            return ldexp(number, self.exponent)
        except OverflowError:
            return number * float("inf")


def scaled(values: Sequence[float]) -> Scaled:
    """Return finite values, at least one, so that one may add and square them."""
    largest = max(map(abs, values))
    exponent = frexp(largest)[1] if largest else 0
    return Scaled(tuple(ldexp(value, -exponent) for value in values), exponent)


def center(values: Sequence[float]) -> float:
    """Return the mean of finite values that :func:`scaled` gave; exact for constants."""
    return min(max(fsum(values) / len(values), min(values)), max(values))


def squares(values: Sequence[float]) -> float:
    """Return the sum of the squared deviations from the mean of such values."""
    middle = center(values)
    return fsum([(value - middle) ** 2 for value in values])


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing; a NaN, or infinities of both signs, make it NaN."""
    if not values:
        return None
    if not all(map(isfinite, values)):
        return sum(values, 0.0)
    units = scaled(values)
    return units.plain(center(units.values))


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, None of fewer than two values, NaN of infinite ones."""
    if len(values) < 2:
        return None
    if not all(map(isfinite, values)):
        return nan
    units = scaled(values)
    return units.plain(sqrt(squares(units.values) / (len(values) - 1)))
