"""Several rounds of several commands in alternating order, and their ratios pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from .command import Figures

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Rounds(Generic[Key]):
    """The figures of each competitor, one of each round."""

    figures: Mapping[Key, Sequence[Figures]]

    def median(self, key: Key, of: Callable[[Figures], float | None]) -> float:
        """Return the median of one figure."""
        return median(_numbers(self.figures[key], of))

    def ratio(self, key: Key, to: Key, of: Callable[[Figures], float | None]) -> float:
        """Return the median of the ratios within the rounds."""
        mine, theirs = _numbers(self.figures[key], of), _numbers(self.figures[to], of)
        return median(a / b for a, b in zip(mine, theirs, strict=True))

    def difference(self, key: Key, to: Key, of: Callable[[Figures], float | None]) -> float:
        """Return the median of the differences within the rounds."""
        mine, theirs = _numbers(self.figures[key], of), _numbers(self.figures[to], of)
        return median(a - b for a, b in zip(mine, theirs, strict=True))


def measure(keys: Sequence[Key], rounds: int, action: Callable[[Key, int], Figures]) -> Rounds[Key]:
    """Run each competitor once in each round; every other round backwards.

    What the machine does meanwhile, and what the first leaves to the second, thus meets all alike.
    """
    figures: dict[Key, list[Figures]] = {key: [] for key in keys}
    for number in range(rounds):
        for key in keys if number % 2 == 0 else reversed(keys):
            figures[key].append(action(key, number))
    return Rounds(figures)


def _numbers(figures: Sequence[Figures], of: Callable[[Figures], float | None]) -> list[float]:
    found = [of(one) for one in figures]
    return [number for number in found if number is not None]
