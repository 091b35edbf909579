"""Draw SVG: the scale of all drawings, a metric's sparkline, a param's marginal mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, isfinite, log10
from typing import final

from ...regression.comparison import MetricComparison
from ...regression.sweeps.model import Configuration, Level
from ..numbers import assertion, count, limit, value


@final
class Scale:
    """A linear scale from numbers to coordinates, clamped to ``start`` and ``end``.

    Its range is that of the finite ``numbers``.
    """

    def __init__(self, numbers: Iterable[float], start: float, end: float) -> None:
        finite = [number for number in numbers if isfinite(number)]
        self.low, self.high = min(finite, default=0.0), max(finite, default=0.0)
        self._start, self._end = start, end
        # Halves, for the difference of the largest floats is infinite.
        self._half = self.high / 2 - self.low / 2

    def __call__(self, number: float) -> float:
        """Return the coordinate of a number; the middle for NaN and in an empty range."""
        share = 0.5
        if self._half and number == number:
            share = min(1.0, max(0.0, (number / 2 - self.low / 2) / self._half))
        return self._start + share * (self._end - self._start)

    def holds(self, number: float) -> bool:
        """Return whether a number is in the range."""
        return self.low <= number <= self.high

    def ticks(self) -> list[float]:
        """Return up to 6 round numbers in the range, or its ends if there are none."""
        ends = [self.low, self.high] if self._half else [self.low]
        room = 2 * self._half / 4
        if not isfinite(room) or room <= abs(self.high) * 1e-12 or room < 1e-300:
            return ends
        power = 10.0 ** floor(log10(room))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= room * 0.999)
        first, final = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [float(f"{place * step:.12g}") for place in range(first, final + 1)] or ends


_WIDTH, _HEIGHT = 120.0, 30.0
_LEFT, _RIGHT, _EDGE = 3.0, 112.0, 3.5

# How far an assertion's limit may be from the values, in multiples of their range, and still be
# drawn: a limit that is farther would press them into a flat line.
_REACH = 1.5


def sparkline(metric: MetricComparison) -> str:
    """Draw a metric's history and its values now; all text in it is escaped."""
    scale = _scale(metric)
    parts = [f"<title>{escape(describe_history(metric))}</title>"]
    if metric.margin is not None and scale.holds(metric.margin.limit):
        parts.append(_level("a", scale(metric.margin.limit)))
    if metric.limit is not None and isfinite(metric.limit):
        parts.append(_level("l", scale(metric.limit)))
    parts.extend(_history(metric.history, scale))
    parts.extend(
        f'<circle cx="{_RIGHT:.0f}" cy="{scale(number):.1f}" r="2.6"/>'
        if isfinite(number)
        # What has no place is a cross: at the edge where infinity lies, or in the middle.
        else _cross(_RIGHT, scale(number))
        for number in metric.values[:20]
    )
    return f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">{"".join(parts)}</svg>'


def describe_history(metric: MetricComparison) -> str:
    """Describe the sparkline in words."""
    parts = []
    known = [number for number in metric.history if isfinite(number)]
    if known:
        span = f"{value(min(known))} to {value(max(known))}"
        parts.append(f"{count(len(metric.history), 'baseline value')} from {span}")
    if metric.values:
        parts.append(f"now {', '.join(map(value, metric.values[:5]))}")
    if metric.limit is not None:
        parts.append(limit(metric))
    if metric.margin is not None:
        parts.append(f"assertion {assertion(metric.margin)}")
    return "; ".join(parts) or "no values"


def _scale(metric: MetricComparison) -> Scale:
    """Return the vertical scale; it includes the assertion's limit if that is near."""
    ends = _HEIGHT - _EDGE, _EDGE
    numbers = [*metric.history, *metric.values]
    if metric.limit is not None:
        numbers.append(metric.limit)
    scale = Scale(numbers, *ends)
    if metric.margin is None:
        return scale
    guard, reach = metric.margin.limit, _REACH * (scale.high - scale.low)
    near = scale.low - reach <= guard <= scale.high + reach
    return Scale([*numbers, guard], *ends) if near else scale


def _history(history: Sequence[float], scale: Scale) -> list[str]:
    """Draw the history as a line with gaps at values that are not finite."""
    step = (_RIGHT - _LEFT) / max(1, len(history))
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


_LEVEL_WIDTH, _LEVEL_HEIGHT, _LEVEL_EDGE = 140.0, 16.0, 6.0


def level_scale(levels: Iterable[Level | Configuration]) -> Scale:
    """Return the common scale of the drawings of ``levels``; it spans their intervals."""
    known = [(level.mean, level.std or 0.0) for level in levels if level.mean is not None]
    ends = (end for mean, std in known for end in (mean - std, mean + std, mean))
    return Scale(ends, _LEVEL_EDGE, _LEVEL_WIDTH - _LEVEL_EDGE)


def draw_level(level: Level | Configuration, scale: Scale, middle: float | None) -> str:
    """Draw a mean as a dot, and a standard deviation to either side as a line.

    ``middle`` is the mean of another one, drawn as a line. A mean beyond the scale is an arrow.
    """
    parts = []
    y = _LEVEL_HEIGHT / 2
    if middle is not None and isfinite(middle):
        parts.append(f'<path class="middle" d="M{scale(middle):.1f} 0V{_LEVEL_HEIGHT:.0f}"/>')
    if level.mean is not None and isfinite(level.mean):
        x, std = scale(level.mean), level.std
        if not scale.holds(level.mean):
            way = 5 if level.mean < scale.low else -5
            parts.append(f'<path class="beyond" d="M{x + way:.1f} {y - 4:.0f}l{-way} 4l{way} 4z"/>')
        else:
            if std is not None and isfinite(std):
                low, high = scale(level.mean - std), scale(level.mean + std)
                parts.append(f'<path class="std" d="M{low:.1f} {y:.0f}H{high:.1f}"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.0f}" r="3.5"/>')
    size = f"{_LEVEL_WIDTH:.0f} {_LEVEL_HEIGHT:.0f}"
    return f'<svg class="level" viewBox="0 0 {size}" aria-hidden="true">{"".join(parts)}</svg>'
