"""The configurations of a sweep as a table, and how much each param matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import final

from ...regression.direction import is_cost
from ...regression.sweeps.effects import Axis, usual_range
from ...regression.sweeps.model import Configuration, Effect, Level, Sweep
from ...regression.sweeps.ranking import Mark, marks
from ..numbers import finite, sort_keys
from ..sweep_text import proven
from .svg import Scale, level_scale

_LEVELS = 12
_MARGINALS = 60


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Marginal:
    """One param: its first levels, the number of the others, and the scale to draw them on.

    ``share`` is the share of variance that the param explains, ``best`` the level with the best
    mean, both None where that may be chance. ``middle`` is the overall mean.
    """

    param: str
    share: float | None
    levels: Sequence[Level]
    left_out: int
    best: Level | None
    scale: Scale
    middle: float | None


def marginals(sweep: Sweep, axes: Mapping[str, Axis]) -> list[Marginal]:
    """Return the params that vary, the one that matters most first, on one common scale."""
    effects: list[tuple[Effect, Sequence[Level]]] = [
        (effect, _in_order(effect.levels, axes[effect.param]))
        for effect in sweep.effects
        if effect.param in axes and effect.levels
    ][:_MARGINALS]
    scale = level_scale(level for _, levels in effects for level in levels[:_LEVELS])
    middle = _middle(effects[0][1]) if effects else None
    sure = [effect.param for effect in proven(sweep)]
    return [
        Marginal(
            param=effect.param,
            share=finite(effect.share) if effect.param in sure else None,
            levels=levels[:_LEVELS],
            left_out=max(0, len(levels) - _LEVELS),
            best=_best(sweep, levels) if effect.param in sure else None,
            scale=scale,
            middle=middle,
        )
        for effect, levels in effects
    ]


def _in_order(levels: Sequence[Level], axis: Axis) -> Sequence[Level]:
    """Sort the levels as the axis's values; ranges of values keep their order."""
    places = {text: place for place, text in enumerate(axis.values)}
    if not all(level.value in places for level in levels):
        return levels
    return sorted(levels, key=lambda level: places[level.value])


def _middle(levels: Sequence[Level]) -> float | None:
    known = [level for level in levels if isfinite(level.mean) and level.n > 0]
    n = sum(level.n for level in known)
    return sum(level.mean / n * level.n for level in known) if n else None


def _best(sweep: Sweep, levels: Sequence[Level]) -> Level | None:
    known = [level for level in levels if isfinite(level.mean)]
    if sweep.mode is None or len(known) < 2:
        return None
    choose = max if sweep.mode == "max" else min
    return choose(known, key=lambda level: level.mean)


_METRICS = 4
_COLUMNS = 8
# So many rows, all that are shown at first, decide the scale on which means are drawn.
_DRAWN = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRow:
    """One row; ``keys`` are the numbers to sort by, ``others`` the params without a column.

    ``mark`` is the configuration's :data:`Mark`.
    """

    rank: int
    mark: Mark
    configuration: Configuration
    others: Mapping[str, str]
    keys: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankingTable:
    """The table of configurations; ``left_out`` of them have no row.

    ``scale`` is that of the drawn means, which spans those of the first rows with their intervals;
    ``params`` and ``metrics`` are its columns, each with the index of its sort key in the row's
    ``keys``, or "text".
    """

    params: Mapping[str, str]
    has_others: bool
    metrics: Mapping[str, str]
    metrics_left_out: int
    rows: Sequence[ConfigurationRow]
    left_out: int
    scale: Scale


# The numbers before those of the metrics and the params in a row's keys.
_FIXED = 5


def ranking(sweep: Sweep, axes: Mapping[str, Axis], *, most: int) -> RankingTable:
    """Make the table of the first ``most`` configurations and the most important params."""
    metrics, left_out = _metrics(sweep.configurations)
    columns = dict(list(axes.items())[:_COLUMNS])
    others = list(axes)[_COLUMNS:]
    low, high = usual_range(sweep.configurations, sweep.mode)
    return RankingTable(
        params={
            name: "text" if axis.numbers is None else str(place)
            for place, (name, axis) in enumerate(columns.items(), _FIXED + len(metrics))
        },
        has_others=bool(others),
        metrics={name: str(place) for place, name in enumerate(metrics, _FIXED)},
        metrics_left_out=left_out,
        rows=list(_rows(sweep, most, columns, others, metrics)),
        left_out=max(0, len(sweep.configurations) - most),
        scale=level_scale(
            one for one in sweep.configurations[:_DRAWN] if low <= (one.mean or 0.0) <= high
        ),
    )


def _metrics(configurations: Sequence[Configuration]) -> tuple[list[str], int]:
    """Return the most frequent metrics, costs last, and the number of the others."""
    counts = Counter(name for found in configurations for name in found.metrics)
    names = [name for name, _ in sorted(counts.most_common(), key=lambda found: is_cost(found[0]))]
    return names[:_METRICS], max(0, len(names) - _METRICS)


def _rows(
    sweep: Sweep,
    most: int,
    columns: Mapping[str, Axis],
    others: Sequence[str],
    metrics: Sequence[str],
) -> Iterator[ConfigurationRow]:
    sizes = {
        name: dict(zip(axis.values, axis.numbers or (), strict=False))
        for name, axis in columns.items()
    }
    marked = zip(sweep.configurations[:most], marks(sweep), strict=False)
    for rank, (found, mark) in enumerate(marked, 1):
        numbers = [rank, found.mean, found.n, found.distance, found.p_value]
        numbers += [found.metrics.get(name) for name in metrics]
        numbers += [sizes[name].get(found.params.get(name, "")) for name in columns]
        yield ConfigurationRow(
            rank=rank,
            mark=mark,
            configuration=found,
            others={name: found.params.get(name, "") for name in others},
            keys=sort_keys(numbers),
        )
