"""A small drawing of a param's value: its marginal mean as a dot, its scatter as a line."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from ..sweeps.model import Level

_WIDTH, _HEIGHT, _EDGE = 140.0, 16.0, 5.0


def reach(levels: Iterable[Level]) -> tuple[float, float]:
    """Return the smallest and the largest number that the drawings of ``levels`` have to hold."""
    ends = [
        end
        for level in levels
        for end in (level.mean - (level.std or 0.0), level.mean + (level.std or 0.0), level.mean)
        if isfinite(end)
    ]
    return min(ends, default=0.0), max(ends, default=0.0)


def dot(level: Level, span: tuple[float, float], middle: float | None) -> str:
    """Return the drawing on a scale that all values of a sweep share.

    ``middle`` is the mean of everything, a line to compare with.
    """
    parts = []
    y = _HEIGHT / 2
    if middle is not None and isfinite(middle):
        parts.append(f'<path class="middle" d="M{_place(middle, span):.1f} 0V{_HEIGHT:.0f}"/>')
    if isfinite(level.mean):
        if level.std is not None and isfinite(level.std):
            low, high = (_place(level.mean + sign * level.std, span) for sign in (-1, 1))
            parts.append(f'<path class="std" d="M{low:.1f} {y:.0f}H{high:.1f}"/>')
        parts.append(f'<circle cx="{_place(level.mean, span):.1f}" cy="{y:.0f}" r="3.5"/>')
    return (
        f'<svg class="level" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def share_bar(share: float) -> str:
    """Return a bar as long as the share of the variance that a param explains."""
    width = 60 * min(1.0, max(0.0, share))
    return (
        '<svg class="share" viewBox="0 0 60 8" aria-hidden="true">'
        f'<rect class="whole" width="60" height="8" rx="2"/>'
        f'<rect width="{width:.1f}" height="8" rx="2"/></svg>'
    )


def _place(number: float, span: tuple[float, float]) -> float:
    low, high = span
    # Halves, for the difference of the largest floats is infinite.
    half = high / 2 - low / 2
    if not half:
        return _WIDTH / 2
    share = min(1.0, max(0.0, (number / 2 - low / 2) / half))
    return _EDGE + share * (_WIDTH - 2 * _EDGE)
