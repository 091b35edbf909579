"""The configurations of a sweep as a table, and how much each param matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal, TypeAlias, final

from ...regression.direction import is_cost
from ...regression.sweeps.effects import Axis
from ...regression.sweeps.model import Configuration, Level, Sweep
from ...regression.sweeps.ranking import is_near, noise_limit
from .. import numbers
from ..numbers import sort_keys
from ..sweep_text import choice, known_share, percent, plus_minus, short
from ..text import cut
from .svg import dot, reach, share_bar

if TYPE_CHECKING:
    from markupsafe import Markup

_LEVELS = 12
_MARGINALS = 60


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """One value of a param, or a range of values; ``full`` has more of it where it was cut."""

    value: str
    full: str
    drawing: Markup
    mean: str
    n: int
    best: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Marginal:
    """One param; ``share`` is the part of the variance that it explains, with a bar."""

    param: str
    share: str
    bar: Markup | None
    levels: tuple[LevelRow, ...]
    left_out: int


def marginals(sweep: Sweep, axes: Mapping[str, Axis]) -> tuple[Marginal, ...]:
    """Return the params that vary, the one that matters most first, on one common scale."""
    from markupsafe import Markup

    found = [
        (effect, _in_order(effect.levels, axes[effect.param]))
        for effect in sweep.effects
        if effect.param in axes and effect.levels
    ][:_MARGINALS]
    span = reach(level for _, levels in found for level in levels[:_LEVELS])
    middle = _middle(found[0][1]) if found else None
    views = []
    for effect, levels in found:
        share = known_share(effect)
        best = _best(sweep, levels)
        views.append(
            Marginal(
                param=cut(effect.param, 80),
                share="" if share is None else percent(share),
                bar=None if share is None else Markup(share_bar(share)),
                levels=tuple(
                    LevelRow(
                        value=short(level.value),
                        full=cut(level.value, 200),
                        drawing=Markup(dot(level, span, middle)),
                        mean=plus_minus(level.mean, level.std),
                        n=level.n,
                        best=level is best,
                    )
                    for level in levels[:_LEVELS]
                ),
                left_out=max(0, len(levels) - _LEVELS),
            )
        )
    return tuple(views)


def _in_order(levels: tuple[Level, ...], axis: Axis) -> tuple[Level, ...]:
    """Return the levels in the axis's order; ranges, which are no values of it, are in theirs."""
    places = {text: place for place, text in enumerate(axis.values)}
    if not all(level.value in places for level in levels):
        return levels
    return tuple(sorted(levels, key=lambda level: places[level.value]))


def _middle(levels: tuple[Level, ...]) -> float | None:
    known = [level for level in levels if isfinite(level.mean) and level.n > 0]
    n = sum(level.n for level in known)
    return sum(level.mean / n * level.n for level in known) if n else None


def _best(sweep: Sweep, levels: tuple[Level, ...]) -> Level | None:
    known = [level for level in levels if isfinite(level.mean)]
    if sweep.mode is None or len(known) < 2:
        return None
    choose = max if sweep.mode == "max" else min
    return choose(known, key=lambda level: level.mean)


Mark: TypeAlias = Literal["best", "near", "worse", ""]

_METRICS = 4
_COLUMNS = 8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's head; ``sort`` is "text", or the place of the row's number to sort by."""

    text: str
    sort: str
    number: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A configuration; ``keys`` are the numbers to sort by, ``others`` the params without a column.

    ``params`` are texts with their full length where they were cut, ``mark`` says how the
    configuration stands to the best.
    """

    rank: int
    mark: Mark
    params: tuple[tuple[str, str, bool], ...]
    others: str
    objective: str
    n: int
    distance: str
    relative: str
    judgement: str
    p_value: str
    metrics: tuple[str, ...]
    failed: str
    nodeids: str
    keys: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The table; ``left_out`` configurations have no row in it."""

    params: tuple[Column, ...]
    has_others: bool
    metrics: tuple[Column, ...]
    metrics_left_out: int
    rows: tuple[Row, ...]
    left_out: int


# The numbers before those of the metrics and the params in a row's keys.
_FIXED = 5


def ranking(sweep: Sweep, axes: Mapping[str, Axis], *, most: int) -> Ranking:
    """Return the first ``most`` configurations, with columns for the most important params."""
    columns, others = list(axes)[:_COLUMNS], list(axes)[_COLUMNS:]
    metrics, left_out = _metrics(sweep.configurations)
    sizes = {
        name: dict(zip(axes[name].values, axes[name].numbers or (), strict=False))
        for name in columns
    }
    limit, best = noise_limit(sweep), sweep.best
    places = {name: _FIXED + len(metrics) + place for place, name in enumerate(columns)}
    return Ranking(
        params=tuple(
            Column(
                text=cut(name, 60),
                sort="text" if axes[name].numbers is None else str(places[name]),
                number=axes[name].numbers is not None,
            )
            for name in columns
        ),
        has_others=bool(others),
        metrics=tuple(
            Column(text=cut(name, 60), sort=str(_FIXED + place), number=True)
            for place, name in enumerate(metrics)
        ),
        metrics_left_out=left_out,
        rows=tuple(
            _row(rank, best, limit, found, columns, others, metrics, sizes)
            for rank, found in enumerate(sweep.configurations[:most], 1)
        ),
        left_out=max(0, len(sweep.configurations) - most),
    )


def _metrics(configurations: Sequence[Configuration]) -> tuple[list[str], int]:
    """Return the metrics that most configurations have, costs last, and how many more there are."""
    counts = Counter(name for found in configurations for name in found.metrics)
    names = [name for name, _ in sorted(counts.most_common(), key=lambda found: is_cost(found[0]))]
    return names[:_METRICS], max(0, len(names) - _METRICS)


def _row(
    rank: int,
    best: Configuration | None,
    limit: float,
    found: Configuration,
    columns: Sequence[str],
    others: Sequence[str],
    metrics: Sequence[str],
    sizes: Mapping[str, Mapping[str, float]],
) -> Row:
    texts = [found.params.get(name, "") for name in columns]
    relative = found.relative
    mark: Mark = ""
    if found is best:
        mark = "best"
    elif found.p_value is not None:
        mark = "near" if is_near(found, limit) else "worse"
    return Row(
        rank=rank,
        mark=mark,
        params=tuple(
            (
                short(text),
                "" if short(text) == text else cut(text, 200),
                bool(sizes[name]),
            )
            for name, text in zip(columns, texts, strict=True)
        ),
        others=cut(choice({name: found.params.get(name, "") for name in others}), 400),
        objective=plus_minus(found.mean, found.std),
        n=found.n,
        distance="" if mark == "best" else numbers.value(_rounded(found.distance)),
        relative=(
            ""
            if mark == "best" or relative is None or not isfinite(relative)
            else f"{100 * relative:.3g} %"
        ),
        judgement={"best": "best", "near": "within noise", "worse": "worse", "": ""}[mark],
        p_value="" if mark == "best" else numbers.chance(found.p_value),
        metrics=tuple(numbers.value(found.metrics.get(name)) for name in metrics),
        failed=f"{found.failed:,} of {found.cases:,} failed" if found.failed else "",
        nodeids=_nodeids(found.nodeids),
        keys=sort_keys(
            (
                rank,
                found.mean,
                found.n,
                found.distance,
                found.p_value,
                *(found.metrics.get(name) for name in metrics),
                *(sizes[name].get(text) for name, text in zip(columns, texts, strict=True)),
            )
        ),
    )


def _nodeids(nodeids: Sequence[str]) -> str:
    rest = len(nodeids) - 1
    return "".join(cut(nodeid, 200) for nodeid in nodeids[:1]) + (
        f" and {rest:,} more" * (rest > 0)
    )


def _rounded(distance: float | None) -> float | None:
    return None if distance is None else float(f"{distance:.3g}")
