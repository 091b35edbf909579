"""How much each param of a sweep matters: the marginal means at each of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, final

from ..sweeps.axis import Axis
from ..sweeps.model import Level, Sweep
from .sweeps_svg import dot, reach, share_bar
from .sweeps_text import known_share, percent, plus_minus, short
from .text import cut

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
