"""The comparison as one page of HTML that loads nothing, and works without its script as well."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, final, get_args

from ...regression import Status
from ...regression.comparison import Comparison, MetricComparison
from .. import numbers
from ..headline import SYMBOLS, age, grows_worse, headline, short_commit
from ..numbers import sort_keys
from ..text import clean, cut
from .curves import view_curves
from .svg import sparkline
from .sweeps import view_sweeps

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_HERE = Path(__file__).parent
_FAILURES = 500
_FAILURE_LENGTH = 20_000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A filter: a group of rows, and how many there are of them."""

    group: str
    text: str
    symbol: str
    number: int
    shown: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric as the table shows it; ``keys`` are the numbers to sort by.

    ``better`` is "better", "worse" or nothing; ``change`` the relative change where there is one,
    and ``detail`` the rest.
    """

    metric: MetricComparison
    group: str
    symbol: str
    better: str
    change: str
    detail: str
    drawing: Markup
    keys: str


def render_html(comparison: Comparison) -> str:
    """Return the page, in UTF-8 without a byte order mark."""
    from markupsafe import Markup

    sweeps, curves = view_sweeps(comparison.sweeps), view_curves(comparison)
    # What a page has no use for is left out of it.
    style = _read("report.css", *(["sweeps.css"] if sweeps.shown or curves.charts else []))
    script = _read("tables.js", "report.js", *(["plots.js", "sweeps.js"] if sweeps.shown else []))
    return _template().render(
        comparison=comparison,
        headline=headline(comparison),
        baseline=comparison.baseline,
        ages=[
            (session, age(comparison, session))
            for session in reversed(comparison.baseline.sessions if comparison.baseline else ())
        ],
        chips=_chips(comparison),
        sweeps=sweeps,
        curves=curves,
        rows=map(_row, comparison.ranked()),
        failures=comparison.unjudged[:_FAILURES],
        policy=(
            f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        style=Markup(style),
        script=Markup(script),
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
    environment.globals.update(
        numbers=numbers, failure_text=_failure_text, short=short_commit, cut=cut
    )
    return environment.get_template("report.html.jinja")


def _read(*names: str) -> str:
    return "\n".join(_HERE.joinpath(name).read_text(encoding="utf-8") for name in names)


def _source(text: str) -> str:
    """Return the source expression that allows this very text, and nothing else."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _group(metric: MetricComparison) -> str:
    return "advisory" if metric.advisory else metric.status.replace(" ", "-")


def _chips(comparison: Comparison) -> list[Chip]:
    found = Counter(map(_group, comparison.metrics))
    folded = {"unchanged", "advisory"}
    if not set(found) - folded:
        # There is nothing else to look at.
        folded = {"advisory"} if found["unchanged"] else set()
    symbols: dict[str, str] = {"advisory": "i"}
    symbols.update(SYMBOLS.items())
    groups = ((text, text.replace(" ", "-")) for text in (*get_args(Status), "advisory"))
    return [
        Chip(
            group=group,
            text=text,
            symbol=symbols[text],
            number=found[group],
            shown=group not in folded,
        )
        for text, group in groups
        if found[group]
    ]


def _row(metric: MetricComparison) -> Row:
    from markupsafe import Markup

    worse = None if metric.status == "unchanged" else grows_worse(metric)
    better = "" if worse is None else "worse" if worse else "better"
    share, change = metric.relative, numbers.signed(metric.change)
    if share is not None and isfinite(share):
        change, detail = numbers.relative(share), f"{change} {better}".strip()
    else:
        detail = better
    return Row(
        metric=metric,
        group=_group(metric),
        symbol=SYMBOLS[metric.status],
        better=better,
        change=change,
        detail=detail,
        drawing=Markup(sparkline(metric)),
        keys=sort_keys(
            (
                metric.baseline,
                metric.current,
                metric.change if metric.relative is None else metric.relative,
                metric.limit,
                metric.margin.margin if metric.margin else None,
            )
        ),
    )


def _failure_text(text: str) -> str:
    """Return pytest's text of a failure, without the middle of one that is very long."""
    if len(text) <= _FAILURE_LENGTH:
        return text
    half = _FAILURE_LENGTH // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n\n… {left_out:,} characters are left out …\n\n{text[-half:]}"
