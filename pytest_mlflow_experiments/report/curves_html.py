"""The training curves of a session as the page shows them: a grid of small charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..regression.comparison import Comparison, Curve
from . import numbers
from .curves_svg import chart, last, shown_lines

if TYPE_CHECKING:
    from markupsafe import Markup

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
