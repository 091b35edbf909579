"""The training curves of a session: a grid of small charts, as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from typing import final

from ...regression.comparison import Comparison, Curve, Line
from ...regression.statistics import mean
from ..numbers import count, value
from ..text import clean
from .svg import Scale

_WIDTH, _HEIGHT = 320.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 312.0, 8.0, 148.0

# So many lines a chart, and so many points in all of them: enough for its pixels.
_LINES = 10
_POINTS, _LEAST_POINTS, _MOST_POINTS = 1_600, 60, 200

_CHARTS = 60
_AT_ONCE = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesView:
    """The charts that are open, those that are folded, and the number of the others.

    ``before`` names the session of the grey lines; empty without any.
    """

    charts: Sequence[Curve]
    folded: Sequence[Curve]
    left_out: int
    before: str


def view_curves(comparison: Comparison) -> CurvesView:
    """Choose the curves to show, those with at least two points."""
    drawable = [
        curve for curve in comparison.curves if any(len(line) > 1 for line in curve.current)
    ]
    drawn = drawable[:_CHARTS]
    sessions = dict.fromkeys(curve.baseline_session for curve in drawn if any(curve.baseline))
    baseline = comparison.baseline
    names = {one.session_id: one.name for one in (baseline.sessions if baseline else ())}
    return CurvesView(
        charts=drawn[:_AT_ONCE],
        folded=drawn[_AT_ONCE:],
        left_out=len(drawable) - len(drawn),
        before=", ".join(
            names.get(session or "", session or "the baseline") for session in list(sessions)[:3]
        ),
    )


def caption(curve: Curve) -> str:
    """Return the caption: the last values now and before, and the number of lines if several."""
    text = f"at last {value(_mean_of_ends(curve.current))}"
    if any(curve.baseline):
        text = f"{text}, before {value(_mean_of_ends(curve.baseline))}"
    lines = sum(map(bool, curve.current))
    if lines > _LINES:
        return f"{text} ({_LINES} of {lines:,} repeats)"
    return f"{text} ({count(lines, 'repeat')})" if lines > 1 else text


def describe_curve(curve: Curve) -> str:
    """Describe the chart in words."""
    steps = max((len(line) for line in curve.current), default=0)
    text = f"{curve.metric}: {count(steps, 'step')}, at last {value(_mean_of_ends(curve.current))}"
    if curve.baseline:
        text = f"{text}; baseline {value(_mean_of_ends(curve.baseline))}"
    return text


def _mean_of_ends(lines: Iterable[Line]) -> float | None:
    return mean([line[-1][1] for line in lines if line])


def chart(curve: Curve) -> str:
    """Draw the chart; all text in it is escaped."""
    # No more lines than can be told apart.
    current, before = (
        [line for line in lines if line][:_LINES] for lines in (curve.current, curve.baseline)
    )
    most = max(_LEAST_POINTS, min(_MOST_POINTS, _POINTS // max(1, len(current) + len(before))))
    finite = [point for line in (*current, *before) for point in line if isfinite(point[1])]
    x = Scale((step for step, _ in finite), _LEFT, _RIGHT)
    y = Scale((number for _, number in finite), _BOTTOM, _TOP)
    parts = [f"<title>{escape(clean(describe_curve(curve)))}</title>"]
    parts.extend(_axes(x, y))
    for name, lines in (("before", before), ("now", current)):
        parts.extend(_line(name, downsample(line, most), x, y) for line in lines)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">'
        f"{''.join(parts)}</svg>"
    )


def downsample(line: Line, most: int) -> list[tuple[int, float]]:
    """Downsample a line to about ``most`` points that look the same; NaN marks a gap.

    Each of ``most / 2`` stretches keeps its smallest and its largest value, so that a single
    outlier stays visible.
    """
    if len(line) <= most:
        return list(line)
    stretches = max(1, (most - 1) // 2)
    points: list[tuple[int, float]] = []
    for place in range(stretches):
        part = line[place * len(line) // stretches : (place + 1) * len(line) // stretches]
        finite = [point for point in part if isfinite(point[1])]
        if finite:
            ends = {min(finite, key=lambda point: point[1]), max(finite, key=lambda p: p[1])}
            points.extend(sorted(ends))
        if len(finite) < len(part):
            points.append((part[-1][0], float("nan")))
    if isfinite(line[-1][1]) and points[-1] != line[-1]:
        points.append(line[-1])
    return points


def _axes(x: Scale, y: Scale) -> list[str]:
    parts = [f'<path class="axis" d="M{_LEFT:.0f} {_TOP:.0f}V{_BOTTOM:.0f}H{_RIGHT:.0f}"/>']
    for tick in y.ticks():
        place = y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT:.0f} {place:.1f}H{_RIGHT:.0f}"/>')
        parts.append(
            f'<text class="y" x="{_LEFT - 6:.0f}" y="{place + 3.5:.1f}">{_tick(tick)}</text>'
        )
    for tick in dict.fromkeys(map(round, x.ticks())):
        if x.holds(tick):
            place = x(tick)
            parts.append(f'<path class="grid" d="M{place:.1f} {_BOTTOM:.0f}v4"/>')
            parts.append(
                f'<text class="x" x="{place:.1f}" y="{_BOTTOM + 16:.0f}">{_tick(tick)}</text>'
            )
    return parts


def _tick(number: float) -> str:
    """Return a number short enough for a tick label."""
    text = value(number)
    return text if len(text) <= 8 else f"{number:.2e}"


def _line(name: str, line: Sequence[tuple[int, float]], x: Scale, y: Scale) -> str:
    """Draw a line as a path with gaps at values that are not finite."""
    path: list[str] = []
    dots: list[str] = []
    pen, length = "M", 0
    for step, number in [*line, (0, float("nan"))]:
        if isfinite(number):
            path.append(f"{pen}{x(step):.1f} {y(number):.1f}")
            pen, length = "L", length + 1
            continue
        if length == 1:
            # A single point between two gaps is a dot: a path that goes nowhere, with round ends.
            dots.append(f"{path.pop()}h0")
        pen, length = "M", 0
    return f'<path class="{name}" d="{"".join(path + dots)}"/>' if path or dots else ""
