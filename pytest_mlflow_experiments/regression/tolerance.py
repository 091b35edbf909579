"""Amounts and directions by metric pattern: ``accuracy: -0.02``, ``loss: min``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Literal, TypeVar, final

from ..records.case import placeless

_Value = TypeVar("_Value")

_NUMBER = re.compile(
    r"[+-]? (?P<amount> (?: \d+ (?:\.\d*)? | \.\d+ ) (?:e[+-]?\d+)? ) \s* (?P<percent>%?)",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_RIGHT = "write 0.02 (in the metric's own unit) or 2%"


@final
@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse a metric may get than its baseline, or has to, in order to count.

    ``amount`` is never negative, in the metric's unit or, if ``relative``, as a share of the
    baseline's mean (0.02 for ``2%``).

    Raises:
        ValueError: ``amount`` is negative or not finite.
    """

    amount: float
    relative: bool

    def __post_init__(self) -> None:
        if not 0 <= self.amount < inf:
            raise ValueError(f"the amount {self.amount!r} is not a finite number from 0 on")

    @classmethod
    def parse(cls, text: str | float) -> Tolerance:
        """Parse an amount; its sign is ignored, as it always bounds a change for the worse.

        Raises:
            ValueError: it is neither a number nor a percentage.
        """
        written = text if isinstance(text, str) else repr(text)
        if isinstance(text, bool) or not (match := _NUMBER.fullmatch(written.strip())):
            raise ValueError(f"the amount {text!r} is not a number; {_RIGHT}")
        amount, relative = float(match["amount"]), bool(match["percent"])
        if amount == inf:
            raise ValueError(f"the amount {text!r} is too large; {_RIGHT}")
        return cls(amount / 100 if relative else amount, relative)

    def __str__(self) -> str:
        return f"{self.amount * 100:.15g}%" if self.relative else f"{self.amount:.15g}"


def parse_rule(line: str) -> tuple[str, Tolerance]:
    """Return the pattern and the amount of a line such as ``latency*: 10%``.

    The last colon divides them, so that the pattern may have others.

    Raises:
        ValueError: the line is no such rule.
    """
    pattern, text = _divide(line, "accuracy: -0.02")
    return pattern, Tolerance.parse(text)


def parse_direction(line: str) -> tuple[str, Literal["max", "min"] | None]:
    """Return the pattern and the better direction of a line such as ``loss: min``.

    ``none`` is a direction too: unknown.

    Raises:
        ValueError: the line is no such rule.
    """
    pattern, text = _divide(line, "loss: min")
    return pattern, direction_of(text)


def direction_of(text: str) -> Literal["max", "min"] | None:
    """Return the direction that ``max``, ``min`` or ``none`` names.

    Raises:
        ValueError: the text names none of them.
    """
    known: dict[str, Literal["max", "min"] | None] = {"max": "max", "min": "min", "none": None}
    try:
        return known[text.strip().lower()]
    except KeyError:
        raise ValueError(
            f"the direction {text!r} is not known; write max (greater is better), "
            "min (smaller is better) or none"
        ) from None


def find(metric: str, rules: Iterable[tuple[str, _Value]]) -> _Value | None:
    """Return the value that the rules give a metric, None if they don't mention it.

    An exact name beats every pattern; else the last matching pattern counts. The name of a metric
    stands for its values at all places, too.
    """
    said = None
    exact = False
    for pattern, value in rules:
        if pattern == metric:
            said, exact = value, True
        elif not exact and _matches(metric, pattern):
            said = value
    return said


def mentions(metric: str, rules: Iterable[tuple[str, object]]) -> bool:
    """Whether any rule matches a metric, even if its value is None."""
    return any(pattern == metric or _matches(metric, pattern) for pattern, _ in rules)


def _matches(metric: str, pattern: str) -> bool:
    return fnmatchcase(metric, pattern) or fnmatchcase(placeless(metric), pattern)


def _divide(line: str, example: str) -> tuple[str, str]:
    pattern, colon, text = line.rpartition(":")
    if not (colon and pattern.strip() and text.strip()):
        raise ValueError(f"{line!r} is not a metric, a colon and a value, such as {example!r}")
    return pattern.strip(), text.strip()
