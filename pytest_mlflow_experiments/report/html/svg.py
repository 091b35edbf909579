"""Small drawings as SVG: a metric's history, a param's marginal means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite

from ...regression.comparison import MetricComparison
from ...regression.sweeps.model import Level
from ..numbers import assertion, count, limit, value

_LEVEL_WIDTH, _LEVEL_HEIGHT, _LEVEL_EDGE = 140.0, 16.0, 5.0


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
    y = _LEVEL_HEIGHT / 2
    if middle is not None and isfinite(middle):
        parts.append(
            f'<path class="middle" d="M{_place(middle, span):.1f} 0V{_LEVEL_HEIGHT:.0f}"/>'
        )
    if isfinite(level.mean):
        if level.std is not None and isfinite(level.std):
            low, high = (_place(level.mean + sign * level.std, span) for sign in (-1, 1))
            parts.append(f'<path class="std" d="M{low:.1f} {y:.0f}H{high:.1f}"/>')
        parts.append(f'<circle cx="{_place(level.mean, span):.1f}" cy="{y:.0f}" r="3.5"/>')
    box = f"0 0 {_LEVEL_WIDTH:.0f} {_LEVEL_HEIGHT:.0f}"
    return f'<svg class="level" viewBox="{box}" aria-hidden="true">{"".join(parts)}</svg>'


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
        return _LEVEL_WIDTH / 2
    share = min(1.0, max(0.0, (number / 2 - low / 2) / half))
    return _LEVEL_EDGE + share * (_LEVEL_WIDTH - 2 * _LEVEL_EDGE)


_WIDTH, _HEIGHT = 120.0, 30.0
_LEFT, _RIGHT, _EDGE = 3.0, 112.0, 3.5

# How far an assertion's limit may be from the values, in multiples of their range, and still be
# drawn: a limit that is farther would press them into a flat line.
_REACH = 1.5


def sparkline(metric: MetricComparison) -> str:
    """Return the drawing; it has a title for screen readers, and no text that is not escaped."""
    scale = _Scale(_ordinates(metric))
    parts = [f"<title>{escape(describe(metric))}</title>"]
    if metric.margin is not None and scale.holds(metric.margin.limit):
        parts.append(_level("a", scale(metric.margin.limit)))
    if metric.limit is not None and isfinite(metric.limit):
        parts.append(_level("l", scale(metric.limit)))
    step = (_RIGHT - _LEFT) / max(1, len(metric.history))
    parts.extend(_history(metric.history, scale, step))
    parts.extend(
        f'<circle cx="{_RIGHT:.0f}" cy="{scale(number):.1f}" r="2.6"/>'
        if isfinite(number)
        # What has no place is a cross: at the edge where infinity lies, or in the middle.
        else _cross(_RIGHT, scale(number))
        for number in metric.values[:20]
    )
    return f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">{"".join(parts)}</svg>'


def describe(metric: MetricComparison) -> str:
    """Return in words what the drawing shows."""
    parts = []
    known = [number for number in metric.history if isfinite(number)]
    if known:
        span = f"{value(min(known))} to {value(max(known))}"
        parts.append(f"{count(len(metric.history), 'baseline value')} from {span}")
    if metric.values:
        parts.append(f"now {', '.join(map(value, metric.values[:5]))}")
    if metric.limit is not None:
        parts.append(f"regression limit {limit(metric)}")
    if metric.margin is not None:
        parts.append(f"assertion {assertion(metric.margin)}")
    return "; ".join(parts) or "no values"


def _ordinates(metric: MetricComparison) -> list[float]:
    """Return the numbers that have to be inside the drawing."""
    numbers = [*metric.history, *metric.values]
    if metric.limit is not None:
        numbers.append(metric.limit)
    numbers = [number for number in numbers if isfinite(number)]
    if metric.margin is not None and numbers and isfinite(metric.margin.limit):
        low, high, guard = min(numbers), max(numbers), metric.margin.limit
        if low - _REACH * (high - low) <= guard <= high + _REACH * (high - low):
            numbers.append(guard)
    return numbers


class _Scale:
    """From a metric's value to a height in the drawing, where greater is higher."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._low = min(numbers, default=0.0)
        self._high = max(numbers, default=0.0)
        # Halves, for the difference of the largest floats is infinite.
        self._half = self._high / 2 - self._low / 2

    def holds(self, number: float) -> bool:
        return self._low <= number <= self._high

    def __call__(self, number: float) -> float:
        if number != number or not self._half:
            return _HEIGHT / 2
        share = min(1.0, max(0.0, (number / 2 - self._low / 2) / self._half))
        return _HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE)


def _history(history: Sequence[float], scale: _Scale, step: float) -> list[str]:
    """Return the history as a line with gaps where a value is not finite."""
    path: list[str] = []
    marks: list[str] = []
    pen = "M"
    for number, ordinate in enumerate(history):
        x = _LEFT + number * step
        if isfinite(ordinate):
            path.append(f"{pen}{x:.1f} {scale(ordinate):.1f}")
            pen = "L"
        else:
            marks.append(_cross(x, scale(ordinate)))
            pen = "M"
    if path:
        # A path of one point shows as a dot, for its ends are round.
        last = path[-1][1:]
        marks.insert(0, f'<path class="h" d="{"".join(path)}L{last}"/>')
    return marks


def _level(name: str, y: float) -> str:
    return f'<path class="{name}" d="M0 {y:.1f}H{_WIDTH:.0f}"/>'


def _cross(x: float, y: float) -> str:
    return f'<path class="x" d="M{x - 2.5:.1f} {y - 2.5:.1f}l5 5m0-5l-5 5"/>'
