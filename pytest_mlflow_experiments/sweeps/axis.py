"""The values of a param in the order to show them in, and the scale they are on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, log
from typing import final

_DIGITS = re.compile(r"(\d+)")
_DECADE = 10.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The distinct values of a param.

    ``numbers`` are the values as numbers, or None where not all of them are some. ``log`` tells
    that they are positive, span a decade or more, and are spread more evenly by their logarithms.
    """

    values: tuple[str, ...]
    numbers: tuple[float, ...] | None
    log: bool

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len(self.values) > 1


def make_axis(texts: Iterable[str], order: Iterable[str] = ()) -> Axis:
    """Return the values of a param: numbers by size, texts in ``order``, others behind."""
    found = dict.fromkeys(texts)
    numbers = {text: number(text) for text in found}
    known = {text: size for text, size in numbers.items() if size is not None}
    if len(known) == len(found):
        values = sorted(found, key=lambda text: (known[text], text))
        sizes = tuple(known[text] for text in values)
        return Axis(values=tuple(values), numbers=sizes, log=_is_geometric(sizes))
    places = {text: place for place, text in enumerate(order)}
    values = sorted(found, key=lambda text: (places.get(text, len(places)), _natural(text)))
    return Axis(values=tuple(values), numbers=None, log=False)


def number(text: str) -> float | None:
    """Return the finite number that ``text`` is, or None."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if isfinite(found) and text.isascii() and "_" not in text else None


def _is_geometric(sizes: tuple[float, ...]) -> bool:
    # The quotient of the largest floats and the smallest would be infinite.
    if not sizes or sizes[0] <= 0 or log(sizes[-1]) - log(sizes[0]) < log(_DECADE) - 1e-9:
        return False
    return _largest_gap([log(size) for size in sizes]) <= _largest_gap(sizes)


def _largest_gap(sizes: Iterable[float]) -> float:
    """Return the largest distance between neighbours as a share of the whole."""
    scaled = list(sizes)
    whole = scaled[-1] - scaled[0]
    return max(b / whole - a / whole for a, b in pairwise(scaled))


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts ``x9`` before ``x10``."""
    parts = _DIGITS.split(text)
    return tuple((len(part) if part.isdigit() else 0, part) for part in parts)
