"""Render the comparison as one self-contained HTML page that also works without scripts."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ...regression import Status
from ...regression.comparison import Comparison, MetricComparison
from .. import numbers, sweep_text
from ..headline import SYMBOLS, age, headline, remedies, short_commit
from ..metric_lines import describe_guard
from ..text import clean, cut
from .curves import caption, chart, view_curves
from .svg import draw_level, sparkline
from .sweeps import view_sweeps

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).parent
_FAILURES = 500
_SLICE_TABLES, _SLICES = 40, 200
_FAILURE_LENGTH = 20_000

# The groups of rows, in the order of their filters.
_SYMBOLS = {**{status: SYMBOLS[status] for status in get_args(Status)}, "advisory": "i"}


def render_html(comparison: Comparison) -> str:
    """Render the page, in UTF-8 without a byte order mark."""
    sweeps, curves = view_sweeps(comparison.sweeps), view_curves(comparison)
    past = comparison.baseline.sessions if comparison.baseline else ()
    numbers_of = Counter(map(group_of, comparison.metrics))
    groups = {group: numbers_of[group] for group in _SYMBOLS if numbers_of[group]}
    # What a page has no use for is left out of it.
    style = _read("report.css", *(["sweeps.css"] if sweeps.shown or curves.charts else []))
    script = _read("tables.js", "report.js", *(["plots.js", "sweeps.js"] if sweeps.shown else []))
    return _template().render(
        comparison=comparison,
        headline=headline(comparison),
        baseline=comparison.baseline,
        ages=[(session, age(comparison, session)) for session in reversed(past)],
        groups=groups,
        folded=_folded(groups),
        sweeps=sweeps,
        slices=comparison.slices[:_SLICE_TABLES],
        by_case={(row.case, row.metric): row for row in comparison.metrics},
        curves=curves,
        failures=comparison.unjudged[:_FAILURES],
        remedies=remedies(comparison),
        policy=(
            f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        style=style,
        script=script,
    )


def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every value of a comparison passes here, so that none needs to be cleaned by hand.
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters["number"] = numbers.value
    helpers = (
        *(caption, chart, cut, describe_guard, draw_level, failure_text),
        *(group_of, short_commit, sparkline),
    )
    environment.globals |= {helper.__name__: helper for helper in (*helpers, tendency_of)}
    environment.globals |= {"numbers": numbers, "sweep_text": sweep_text, "symbols": _SYMBOLS}
    environment.globals |= {"most_slices": _SLICES}
    return environment.get_template("report.html.jinja")


def _read(*names: str) -> str:
    return "\n".join(_HERE.joinpath(name).read_text(encoding="utf-8") for name in names)


def _source(text: str) -> str:
    """Return the Content-Security-Policy hash source that allows this text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def group_of(metric: MetricComparison) -> str:
    """Return the group of rows that a metric belongs to."""
    return "advisory" if metric.advisory else metric.status


def _folded(groups: Mapping[str, int]) -> set[str]:
    """Return the groups of rows that are hidden at first."""
    if set(groups) - {"unchanged", "advisory"}:
        return {"unchanged", "advisory"}
    return {"advisory"} if "unchanged" in groups else set()


def tendency_of(metric: MetricComparison) -> str:
    """Return ``worse`` or ``better`` for a change; empty without one or without a direction."""
    change = metric.change
    if not change or isnan(change) or metric.direction is None or metric.status == "unchanged":
        return ""
    return "worse" if (change < 0) is (metric.direction == "max") else "better"


def failure_text(text: str) -> str:
    """Cut the middle out of a very long failure."""
    if len(text) <= _FAILURE_LENGTH:
        return text
    half = _FAILURE_LENGTH // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n\n… {left_out:,} characters are left out …\n\n{text[-half:]}"
