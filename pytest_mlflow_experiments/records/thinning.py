"""Fewer of many values, for what is drawn or kept for long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_POINTS = 200
"""How many points of a curve are kept: more are not seen in a drawing."""


def thinned(values: Sequence[T], most: int = MAX_POINTS) -> Sequence[T]:
    """Return at most ``most`` values, evenly spread, with the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(n * (len(values) - 1) / (most - 1))] for n in range(most)]
