"""The terms of the rule: which direction is better, what a verdict can be, what can be told."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias, final

from .tolerance import Tolerance

Direction: TypeAlias = Literal["max", "min"]
"""Which values of a metric are better: greater ones (``max``) or smaller ones (``min``)."""

Status: TypeAlias = Literal[
    "regressed",
    "missing",
    "improved",
    "unchanged",
    "inconclusive",
    "new",
    "not comparable",
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """What the rule can be told.

    ``alpha`` is the share of false alarms that a single comparison may give, ``min_effect`` the
    smallest relative change that counts, ``window`` how many of the newest history values are
    looked at. ``cost`` marks time, memory, money and the like, which scatter more. ``tolerance``
    decides alone where it is given.

    Raises:
        ValueError: a number is out of its range.
    """

    alpha: float = 0.001
    min_effect: float = 0.01
    window: int = 20
    cost: bool = False
    tolerance: Tolerance | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is {self.alpha!r}; it must be between 0 and 0.5")
        if not 0 <= self.min_effect < inf:
            raise ValueError(f"min_effect is {self.min_effect!r}; it must be 0 or more")
        if self.window < 1:
            raise ValueError(f"window is {self.window!r}; it must be 1 or more")
