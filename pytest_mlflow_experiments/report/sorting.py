"""Numbers that the page's script sorts rows by."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite


def sort_keys(numbers: Iterable[float | None]) -> str:
    """Return the numbers of a row, in the order of the columns that name their places."""
    return " ".join(map(_key, numbers))


def _key(number: float | None) -> str:
    """Return a number as the script reads it; what is none comes last in either order."""
    if number is None or number != number:
        return "-"
    if not isfinite(number):
        return "1e999" if number > 0 else "-1e999"
    return f"{number:.6g}"
