"""The configurations of a sweep as a table: the best first, and how far the others are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias, final

from ..regression.direction import is_cost
from ..sweeps.axis import Axis
from ..sweeps.model import Configuration, Sweep
from ..sweeps.noise import is_near, noise_limit
from . import numbers
from .sorting import sort_keys
from .sweeps_text import choice, plus_minus, short
from .text import cut

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
