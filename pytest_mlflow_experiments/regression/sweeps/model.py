"""The results of a sweep, as frozen values: what reports, commands and MLflow runs show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, TypeAlias, final

from ...records.codec import RARE
from ..findings import Status

Mode: TypeAlias = Literal["min", "max"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One choice of the params, with all of its repeats over seeds.

    ``params`` leaves out those that only repeat. ``values`` are the objective's, one for each
    repeat that has one, and ``seeds`` says which repeat each of them is of (``"seed=3"``; an empty
    text if nothing repeats). ``mean`` and ``std`` (the sample standard deviation, from two
    values on) are theirs. ``distance`` is how much worse the mean is than that of the best, in the
    objective's unit and never below zero; ``relative`` the same as a share of the best's mean.
    ``p_value`` is the probability of such a distance between equally good configurations, adjusted
    for the number of those compared with the best; None with too few values. ``on_front`` tells
    that it is on the Pareto front of the sweep's two objectives. ``metrics`` are the means of all
    other metrics. ``failed`` counts the cases
    that neither passed nor were skipped, ``cases`` all of them; ``nodeids`` are theirs.
    """

    params: Mapping[str, str]
    values: tuple[float, ...]
    seeds: tuple[str, ...]
    mean: float | None
    std: float | None
    distance: float | None
    relative: float | None
    p_value: float | None
    metrics: Mapping[str, float]
    cases: int
    failed: int
    nodeids: tuple[str, ...]
    on_front: bool = field(default=False, metadata=RARE)

    @property
    def n(self) -> int:
        """How many values of the objective there are."""
        return len(self.values)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One value of a param: mean and sample standard deviation over the ``n`` configurations."""

    value: str
    mean: float
    std: float | None
    n: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """How much a param matters: the marginal means of the objective at each of its values.

    ``spread`` is the distance between the best and the worst of the means; ``share`` the part of
    the variance between configurations that the param alone explains (eta squared), from 0 to 1,
    None if nothing varies. The levels of a number with very many values are ranges of it.
    """

    param: str
    levels: tuple[Level, ...]
    spread: float
    share: float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The cases of one parametrized test.

    ``test`` is the node id of the function, ``name`` its short name. ``params`` are the names of
    the params that make configurations, ``repeats`` of those that only repeat them. ``objective``
    is None if no case has a metric, ``mode`` if the direction is unknown. ``configurations`` come
    best first (those with a failed case, or with fewer values than most, behind the others, those
    whose mean is no finite number last; without a mode in the order in which they ran), ``effects``
    by their share. ``second`` is another metric of which it is known what is better, and
    ``second_mode`` that; None if no other has been measured.
    """

    test: str
    name: str
    params: tuple[str, ...]
    repeats: tuple[str, ...]
    objective: str | None
    mode: Mode | None
    configurations: tuple[Configuration, ...]
    effects: tuple[Effect, ...] = ()
    cases: int = 0
    failed: int = 0
    notes: tuple[str, ...] = ()
    second: str | None = field(default=None, metadata=RARE)
    second_mode: Mode | None = field(default=None, metadata=RARE)

    @property
    def best(self) -> Configuration | None:
        """The best configuration of which every case passed, with no value missing, or None."""
        if self.mode is None or not self.configurations:
            return None
        first = self.configurations[0]
        usable = first.failed == 0 and first.mean is not None and isfinite(first.mean)
        return first if usable and first.n >= usual_n(self.configurations) else None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One part of the data in a :class:`SliceTable`: its metric now and in the baseline.

    ``params`` are those that vary in the table. The rest is as in
    :class:`~pytest_mlflow_experiments.regression.comparison.MetricComparison`.
    """

    params: Mapping[str, str]
    case: str
    nodeid: str
    status: Status
    gates: bool
    current: float | None
    baseline: float | None
    change: float | None
    history: tuple[float, ...]
    reason: str

    @property
    def is_worse(self) -> bool:
        """Whether the part became worse, or is gone."""
        return self.status in ("regressed", "missing")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTable:
    """One metric of a test whose params name parts of the data, the worst part first.

    Those that became worse come before the others. ``test`` is the node id of the function,
    ``name`` its short name, ``mode`` says which values are better, None if nobody knows.
    """

    test: str
    name: str
    metric: str
    mode: Mode | None
    slices: tuple[Slice, ...]


def usual_n(configurations: Iterable[Configuration]) -> int:
    """Return the most frequent number of values; a mean of fewer may just be lucky."""
    counts = Counter(configuration.n for configuration in configurations)
    return max(counts, key=lambda n: (counts[n], n), default=0)
