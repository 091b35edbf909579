"""The training curves of a session: a grid of small charts, as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, final

from ...regression.comparison import Comparison, Curve, Line
from .. import numbers
from ..numbers import count, value
from ..text import clean

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _HEIGHT = 320.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 312.0, 8.0, 148.0

# So many lines a chart, and so many points in all of them: enough for its pixels.
_LINES = 10
_POINTS, _LEAST_POINTS, _MOST_POINTS = 1_600, 60, 200


def chart(curve: Curve) -> str:
    """Return the chart; it has a title for screen readers, and no text that is not escaped."""
    current, before = shown_lines(curve.current), shown_lines(curve.baseline)
    most = max(_LEAST_POINTS, min(_MOST_POINTS, _POINTS // max(1, len(current) + len(before))))
    finite = [
        (float(step), number)
        for line in (*current, *before)
        for step, number in line
        if isfinite(number)
    ]
    x = _Scale([step for step, _ in finite], _LEFT, _RIGHT)
    y = _Scale([number for _, number in finite], _BOTTOM, _TOP)
    parts = [f"<title>{escape(clean(describe(curve)))}</title>"]
    parts.extend(_axes(x, y))
    for name, lines in (("before", before), ("now", current)):
        parts.extend(_line(name, thinned(line, most), x, y) for line in lines)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">'
        f"{''.join(parts)}</svg>"
    )


def shown_lines(lines: Sequence[Line]) -> Sequence[Line]:
    """Return the lines that a chart shows: no more than can be told apart."""
    return [line for line in lines if line][:_LINES]


def describe(curve: Curve) -> str:
    """Return in words what the chart shows."""
    steps = max((len(line) for line in curve.current), default=0)
    text = f"{curve.metric}: {count(steps, 'step')}, at last {value(last(curve.current))}"
    if curve.baseline:
        text = f"{text}; baseline {value(last(curve.baseline))}"
    return text


def last(lines: Iterable[Line]) -> float | None:
    """Return the mean of the last values of some lines."""
    ends = [line[-1][1] for line in lines if line]
    return sum(end / len(ends) for end in ends) if ends else None


def thinned(line: Line, most: int) -> list[tuple[int, float]]:
    """Return at most about ``most`` points that look the same, NaN where the line is broken.

    Of each of ``most / 2`` stretches the smallest and the largest value stay, so that a single
    outlier is still seen.
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


class _Scale:
    """From a number to a place in the chart."""

    def __init__(self, numbers: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(numbers, default=0.0), max(numbers, default=0.0)
        self._start, self._end = start, end
        # Halves, for the difference of the largest floats is infinite.
        self._half = self.high / 2 - self.low / 2

    def __call__(self, number: float) -> float:
        share = (number / 2 - self.low / 2) / self._half if self._half else 0.5
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Return up to 6 round numbers in the range; its ends where there are none."""
        ends = [self.low, self.high] if self._half else [self.low]
        room = 2 * self._half / 4
        if not isfinite(room) or room <= abs(self.high) * 1e-12 or room < 1e-300:
            return ends
        power = 10.0 ** floor(log10(room))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= room * 0.999)
        first, final = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [float(f"{place * step:.12g}") for place in range(first, final + 1)] or ends


def _axes(x: _Scale, y: _Scale) -> list[str]:
    parts = [f'<path class="axis" d="M{_LEFT:.0f} {_TOP:.0f}V{_BOTTOM:.0f}H{_RIGHT:.0f}"/>']
    for tick in y.ticks():
        place = y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT:.0f} {place:.1f}H{_RIGHT:.0f}"/>')
        parts.append(
            f'<text class="y" x="{_LEFT - 6:.0f}" y="{place + 3.5:.1f}">{_tick(tick)}</text>'
        )
    for tick in dict.fromkeys(map(round, x.ticks())):
        if x.low <= tick <= x.high:
            place = x(tick)
            parts.append(f'<path class="grid" d="M{place:.1f} {_BOTTOM:.0f}v4"/>')
            parts.append(
                f'<text class="x" x="{place:.1f}" y="{_BOTTOM + 16:.0f}">{_tick(tick)}</text>'
            )
    return parts


def _tick(number: float) -> str:
    """Return a number that fits beside an axis."""
    text = value(number)
    return text if len(text) <= 8 else f"{number:.2e}"


def _line(name: str, line: Sequence[tuple[int, float]], x: _Scale, y: _Scale) -> str:
    """Return a line as a path with a gap where a value is not finite."""
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


_CHARTS = 60
_AT_ONCE = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ChartView:
    """One chart; ``ends`` are the last values now and before, in words."""

    curve: Curve
    drawing: Markup
    ends: str
    lines: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesView:
    """The charts to see at once, those that are folded, and how many more there are.

    ``before`` names the session that the grey lines are of; empty where there are none.
    """

    charts: tuple[ChartView, ...]
    folded: tuple[ChartView, ...]
    left_out: int
    before: str


def view_curves(comparison: Comparison) -> CurvesView:
    """Return what the page shows of the curves; one point alone is none."""
    drawn = [curve for curve in comparison.curves if any(len(line) > 1 for line in curve.current)]
    views = tuple(map(_view, drawn[:_CHARTS]))
    sessions = dict.fromkeys(
        curve.baseline_session for curve in drawn[:_CHARTS] if any(curve.baseline)
    )
    baseline = comparison.baseline
    names = {
        session.session_id: session.name for session in (baseline.sessions if baseline else ())
    }
    return CurvesView(
        charts=views[:_AT_ONCE],
        folded=views[_AT_ONCE:],
        left_out=len(drawn) - len(views),
        before=", ".join(
            names.get(session or "", session or "the baseline") for session in list(sessions)[:3]
        ),
    )


def _view(curve: Curve) -> ChartView:
    from markupsafe import Markup

    ends = f"at last {numbers.value(last(curve.current))}"
    if any(curve.baseline):
        ends = f"{ends}, before {numbers.value(last(curve.baseline))}"
    lines = [line for line in curve.current if line]
    shown = len(shown_lines(lines))
    return ChartView(
        curve=curve,
        drawing=Markup(chart(curve)),
        ends=ends,
        lines=""
        if len(lines) < 2
        else numbers.count(len(lines), "repeat")
        if shown == len(lines)
        else f"{shown} of {len(lines):,} repeats",
    )
