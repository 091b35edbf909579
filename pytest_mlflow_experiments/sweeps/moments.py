"""Means and standard deviations that neither overflow nor fail on NaN and the infinities."""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp, fsum, isfinite, ldexp, nan, sqrt
from typing import NamedTuple

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
