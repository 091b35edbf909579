"""The sweeps of a session, where the options of the comparison tell which way is better."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..sweeps.build import SweepBuilder
from .comparer import CompareOptions, known_direction
from .direction import is_cost
from .terms import Direction


def sweep_builder(options: CompareOptions) -> SweepBuilder:
    """Return what collects the cases of a session and makes its sweeps of them."""

    def direction_of(
        metric: str, operators: Collection[str], marked: Mapping[str, str]
    ) -> Direction | None:
        return known_direction(metric, operators, marked, options.directions)[0]

    return SweepBuilder(options.seed_params, direction_of, is_cost=is_cost)
