"""Render the comparison as one self-contained HTML page that also works without scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, final

from ...regression.comparison import Comparison, MetricComparison, Reliability, UnjudgedCase
from .. import numbers, sweep_text
from ..headline import BROKEN_OUTCOMES, GATE_FAILED, SYMBOLS, age, headline, remedies, short_commit
from ..metric_lines import describe_guard, describe_missed
from ..text import clean, cut
from .curves import caption, chart, view_curves
from .metrics import (
    CARDS,
    GROUPS,
    OPEN_CARDS,
    Data,
    breakable,
    commands,
    count_groups,
    grouped,
    is_plain,
    sure,
    tendency_of,
    when,
)
from .svg import draw_level, sparkline
from .sweeps import view_sweeps

if TYPE_CHECKING:
    from jinja2 import Template

LIMIT = 5_000_000
"""Bytes of a page at most, whatever the session; the JSON report has what a page leaves out."""

_HERE = Path(__file__).parent
# What every page has: its style, its scripts, and the texts that stand outside of lists.
_FRAME = 450_000
# Kept for each metric that is more than unchanged or advisory.
_ROW = 1_500
# Characters of one text; those of failures share the room of all of them.
_TEXT = 4_000
_FAILURE, _LEAST_FAILURE = 20_000, 1_000
_FAILURES = 0.25

_SHORT_TITLES = {
    "worse": "got worse",
    "better": "got better",
    "undecided": "not decided",
    "unchanged": "unchanged",
    "informational": "informational",
}
# Lines of a failure that are open.
_END = 14
# What change of a time, and of how many seconds, is told.
_TREND, _SHORT = 0.25, 0.05


def render_html(comparison: Comparison) -> str:
    """Render the page, in UTF-8 without a byte order mark, of at most :data:`LIMIT` bytes."""
    sweeps, curves = view_sweeps(comparison.sweeps), view_curves(comparison)
    past = comparison.baseline.sessions if comparison.baseline else ()
    groups, lost = grouped(comparison)
    told = sum(not is_plain(metric) for metric in comparison.metrics)
    data = Data(comparison, LIMIT // 7)
    in_slices = {(one.case, table.metric) for table in comparison.slices for one in table.slices}
    # What a page has no use for is left out of it.
    style = _read("report.css", *(["sweeps.css"] if sweeps.shown or curves.charts else []))
    script = _read("tables.js", "report.js", *(["plots.js", "sweeps.js"] if sweeps.shown else []))
    return _template().render(
        comparison=comparison,
        headline=headline(comparison),
        lead=[*lead(comparison, groups.get("worse", ()), lost)],
        lost=lost,
        baseline=comparison.baseline,
        ages=[(session, age(comparison, session)) for session in reversed(past)],
        groups=groups,
        data=data,
        sweeps=sweeps,
        by_case={
            key: row for row in comparison.metrics if (key := (row.case, row.metric)) in in_slices
        },
        curves=curves,
        failures_share=_FAILURES,
        failure_length=max(
            _LEAST_FAILURE,
            min(_FAILURE, int(_FAILURES * LIMIT) // max(1, len(comparison.unjudged))),
        ),
        room=Room(LIMIT - _FRAME - LIMIT // 7, reserved=told * _ROW),
        remedies=remedies(comparison),
        gate_failed=GATE_FAILED,
        flaky=[test for test in comparison.reliability if not is_steady(test)],
        steady=[test for test in comparison.reliability if is_steady(test)],
        sessions=max((len(test.outcomes) for test in comparison.reliability), default=0),
        policy=(
            f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        style=style,
        script=script,
    )


@final
class Room:
    """The bytes that are left in a page; ``reserved`` are for the metrics that must not lack.

    ``left_out`` are the items that the last list had no room for.
    """

    def __init__(self, left: int, *, reserved: int = 0) -> None:
        self._all = self._left = left
        self._reserved = reserved
        self.left_out: list[Any] = []

    def minor(self, share: float) -> float:
        """Return at most this share of the page, for what matters less than metrics do."""
        return min(share, max(self._left / 8, self._left - self._reserved) / self._all)

    def fits(self, text: str) -> bool:
        """Return whether there is room for a text within an item, and take it."""
        size = len(text.encode())
        if size > self._left // 2:
            return False
        self._left -= size
        return True

    def items(
        self,
        items: Iterable[Any],
        share: float | None = None,
        *,
        last: Callable[[Any], bool] | None = None,
        share_of_last: float = 1.0,
        caller: Callable[[Any], str],
    ) -> str:
        """Return the items that fit, in their order; a block of jinja's ``call`` renders each.

        They take at most this share of the page; without one they belong to an item of another
        list, which has more than them. Those for which ``last`` is true get what others leave, up
        to ``share_of_last``.
        """
        from markupsafe import Markup

        outer = self._left
        room = outer // 2 if share is None else min(int(share * self._all), outer)
        taken = 0
        texts: dict[int, str] = {}
        found = list(items)
        left_out: list[Any] = []
        order = range(len(found))
        for place in order if last is None else sorted(order, key=lambda one: last(found[one])):
            if not left_out:
                if last is not None and last(found[place]):
                    room = min(room, int(share_of_last * self._all))
                self._left = room - taken
                text = caller(found[place])
                size = len(text.encode())
                if taken + size <= room:
                    texts[place] = text
                    taken += size
                    continue
            left_out.append(found[place])
        self._left, self.left_out = outer - taken, left_out
        return Markup().join(texts[place] for place in sorted(texts))


def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every value of a comparison passes here, so that none needs to be cleaned by hand.
        finalize=lambda value: cut(clean(value), _TEXT) if type(value) is str else value,
    )
    environment.filters["number"] = numbers.value
    environment.filters["breakable"] = breakable
    environment.tests["skipped_case"] = is_skipped
    helpers = (
        *(breakable, caption, chart, commands, count_groups, cut, describe_guard, describe_missed),
        *(draw_level, enumerate, failure_end, failure_text, is_plain, quote, short_commit, slower),
        *(sparkline, sure, tendency_of, when),
    )
    environment.globals |= {helper.__name__: helper for helper in helpers}
    environment.globals |= {"numbers": numbers, "sweep_text": sweep_text, "symbols": SYMBOLS}
    environment.globals |= {"titles": GROUPS, "short_titles": _SHORT_TITLES, "cards": CARDS}
    environment.globals["open_cards"] = OPEN_CARDS
    return environment.get_template("report.html.jinja")


def _read(*names: str) -> str:
    return "\n".join(_HERE.joinpath(name).read_text(encoding="utf-8") for name in names)


def _source(text: str) -> str:
    """Return the Content-Security-Policy hash source that allows this text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def lead(
    comparison: Comparison, worse: Sequence[MetricComparison], lost: Collection[str]
) -> Iterator[str]:
    """Yield the sentences below the verdict: the worst change, the baseline, what comes next."""
    broken = [one for one in comparison.unjudged if not is_skipped(one)]
    for case in sorted(broken, key=lambda one: one.nodeid not in lost)[:1]:
        told = [line[1:].strip() for line in (case.failure or "").splitlines() if line[:2] == "E "]
        told[:0] = map(describe_missed, case.missed)
        text = f"{case.name} failed{f': {told[0]}' if told else ''}"
        yield f"{cut(text, 300)}{f'; {len(broken) - 1:,} more below' if broken[1:] else ''}"
    for first in worse[:1]:
        what = f"{first.metric} of {first.name}"
        if first.current is None:
            text = f"{what} is missing, was {numbers.value(first.baseline)}"
        elif first.baseline is None:
            text = f"{what} is {numbers.value(first.current)}"
        else:
            share = numbers.finite(first.relative)
            size = numbers.signed(first.change) if share is None else numbers.relative(share)
            size = f" ({size})" if numbers.finite(first.change) is not None else ""
            text = f"{what} went {numbers.step(first)}{size}"
        more = f"; {len(worse) - 1:,} more below" if len(worse) > 1 else ""
        yield f"{text}, {when(first, comparison)}{more}."
    baseline = comparison.baseline
    if baseline is not None:
        sessions = baseline.sessions[-1:]
        newest = "".join(f"; the newest is {one.name}, {age(comparison, one)}" for one in sessions)
        yield f"Compared with {baseline.provenance.reason}{newest}."
    elif comparison.problem is None:
        measured = sum(not one.cost for one in comparison.metrics)
        held = sum(one.margin is not None and one.margin.margin >= 0 for one in comparison.metrics)
        yield (
            f"{numbers.count(comparison.cases, 'case')} and {numbers.count(measured, 'value')} "
            f"were recorded; {numbers.count(held, 'assertion holds', 'assertions hold')}."
        )
        if comparison.partial is None and not comparison.rejected:
            yield (
                "What comes next: run the tests again. Later sessions are compared with this one: "
                "the first few show large drops only, from five on a drop of 1 % counts."
            )


def is_skipped(case: UnjudgedCase) -> bool:
    """Return whether a case that is not judged did not fail."""
    return case.outcome not in BROKEN_OUTCOMES


def slower(test: Reliability) -> str:
    """Say how the time of a test changed, if it did so clearly."""
    if test.trend is None or abs(test.trend) < _TREND or test.seconds < _SHORT:
        return ""
    return f"{'slower' if test.trend > 0 else 'faster'} by {numbers.percent(abs(test.trend))}"


def is_steady(test: Reliability) -> bool:
    """Return whether there is nothing to tell of a test."""
    return not test.flaky and test.passed == test.runs and not slower(test)


def failure_end(text: str) -> str:
    """Return the last lines of a failure, as far as they have room."""
    lines = clean(text).rstrip().split("\n")
    return "\n".join(cut(line, 300) for line in lines[-_END:])


def failure_text(text: str, length: int) -> str:
    """Cut the middle out of a failure that is longer than ``length``, and escape it."""
    from markupsafe import escape

    half = length // 2
    if (left_out := len(text) - 2 * half) > 0:
        text = f"{text[:half]}\n\n… {left_out:,} characters are left out …\n\n{text[-half:]}"
    return escape(clean(text))
