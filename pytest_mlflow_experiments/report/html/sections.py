"""The sections of the page beside its metrics: failures, changed checks, slices, curves, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote

from ...regression.comparison import (
    Comparison,
    Curve,
    GuardChange,
    MetricComparison,
    Reliability,
    SessionInfo,
    UnjudgedCase,
)
from ...regression.sweeps.model import Slice, SliceTable
from .. import numbers, sweep_text
from ..headline import age, short_commit
from ..metric_lines import describe_guard, describe_missed
from ..text import clean, cut
from .curves import CurvesView, caption, chart
from .markup import Room, breakable, command, entities, escape, region, rest, status_mark
from .metrics import Ranked, is_plain, tendency_of
from .svg import sparkline

# Lines of a failure that are open.
_END = 14
# What change of a time, and of how many seconds, is told.
_TREND, _SHORT = 0.25, 0.05


def failures(broken: Sequence[UnjudgedCase], lost: Ranked, room: Room, length: int) -> str:
    """Return the tests that failed, each with at most ``length`` characters of its failure.

    ``lost`` are the metrics that are missing because of them.
    """
    if not broken:
        return ""

    def card(case: UnjudgedCase) -> str:
        return f"{_failure(case, lost.get(case.nodeid, ()), length)}\n"

    cards, left_out = room.items(broken, card, FAILURES)
    return (
        f'<section aria-labelledby="failures">\n<h2 id="failures">'
        f"{numbers.count(len(broken), 'test')} failed "
        f"<small>metrics of failed tests are not compared</small></h2>\n{cards}"
        f"{rest(left_out, 'test')}\n</section>\n"
    )


FAILURES = 0.25
"""The share of the page that failures may take."""


def _failure(case: UnjudgedCase, lost: Sequence[MetricComparison], length: int) -> str:
    outcome, text = escape(case.outcome), case.failure
    parts = [
        f'<article class="card failure">\n<h3><span class="status {outcome}">',
        f'<i aria-hidden="true">✕</i>{outcome}</span> <span>{breakable(case.nodeid)}</span></h3>\n',
    ]
    parts += [f'<p class="lost">{escape(describe_missed(one))}</p>\n' for one in case.missed]
    if lost:
        named = "; ".join(
            f"<b>{breakable(metric.metric)}</b>, was {numbers.value(metric.baseline)}"
            for metric in lost[:5]
        )
        more = f" and {numbers.count(len(lost) - 5, 'more metric')}" if len(lost) > 5 else ""
        parts.append(f'<p class="lost">Missing because of it: {named}{more}</p>')
    if text:
        end = _end_of(text)
        parts.append(f'<pre tabindex="0">{escape(end)}</pre>\n')
        if len(end) + 9 < len(text):
            parts.append(
                '<details class="whole"><summary>The whole traceback</summary>'
                f'<pre tabindex="0">{_shortened(text, length)}</pre></details>\n'
            )
    again = command("Run it again", f"pytest --mlflow {quote(case.nodeid)}")
    parts.append(f"{again}\n</article>\n")
    return "".join(parts)


def _end_of(text: str) -> str:
    """Return the last lines of a failure, as far as they have room."""
    lines = clean(text).rstrip().split("\n")
    return "\n".join(cut(line, 300) for line in lines[-_END:])


def _shortened(text: str, length: int) -> str:
    """Cut the middle out of a failure that is longer than ``length``, and escape it."""
    half = length // 2
    if (left_out := len(text) - 2 * half) > 0:
        text = f"{text[:half]}\n\n… {left_out:,} characters are left out …\n\n{text[-half:]}"
    return entities(clean(text))


def skipped(cases: Sequence[UnjudgedCase], room: Room) -> str:
    """Return the tests that did not fail and are not judged."""
    if not cases:
        return ""

    def line(case: UnjudgedCase) -> str:
        return f"<li>{escape(case.outcome)} <code>{breakable(case.nodeid)}</code>\n"

    lines, left_out = room.items(cases, line, room.minor(0.1))
    return (
        f'<details class="folded"><summary><h2>{numbers.count(len(cases), "test")} skipped '
        f'<small>not judged</small></h2></summary>\n<ul class="names">\n{lines}</ul>\n'
        f"{rest(left_out, 'test')}\n</details>\n"
    )


def guards(changes: Sequence[GuardChange], room: Room) -> str:
    """Return the checks that changed, those that fail the gate first."""
    if not changes:
        return ""
    style = ""
    if any(guard.gates for guard in changes):
        style = " bad"
    elif any(guard.accepted is None for guard in changes):
        style = " warning"

    def line(guard: GuardChange) -> str:
        return f"<li>{escape(describe_guard(guard))}\n"

    ordered = sorted(changes, key=lambda guard: guard.gates, reverse=True)
    lines, left_out = room.items(ordered, line, 0.06)
    more = _more(left_out, "more check", "\n")
    return (
        f'<div class="alert{style}" role="note"><strong>Checks changed</strong>\n<ul>\n{lines}'
        f"{more}</ul></div>\n"
    )


def notes(texts: Sequence[str], room: Room) -> str:
    """Return the notes of a comparison."""
    if not texts:
        return ""
    lines, left_out = room.items(texts, lambda text: f"<li>{escape(text)}</li>\n", 0.03)
    more = _more(left_out, "more note", "</li>\n")
    return (
        f'<div class="alert" role="note"><strong>Notes</strong>\n<ul>\n{lines}{more}</ul></div>\n'
    )


def _more(left_out: Sequence[object], noun: str, end: str) -> str:
    if not left_out:
        return ""
    counted = numbers.count(len(left_out), noun)
    return f"<li>… and {counted}, all of them in <code>report.json</code>{end}"


def slices(comparison: Comparison, room: Room) -> str:
    """Return the tables of tests over parts of the data."""
    in_slices = {(one.case, table.metric) for table in comparison.slices for one in table.slices}
    metrics = {
        key: row for row in comparison.metrics if (key := (row.case, row.metric)) in in_slices
    }

    def table(numbered: tuple[int, SliceTable]) -> str:
        return _slice_table(*numbered, metrics, room)

    tables, left_out = room.items(enumerate(comparison.slices, 1), table, room.minor(0.1))
    if not left_out:
        return tables
    return (
        f"{tables}<p>… and {numbers.count(len(left_out), 'more table')} of slices, all of them in "
        "<code>report.json</code></p>\n"
    )


def _slice_table(
    number: int, table: SliceTable, metrics: Mapping[tuple[str, str], MetricComparison], room: Room
) -> str:
    def line(part: Slice) -> str:
        row = metrics.get((part.case, table.metric))
        tendency = tendency_of(row) if row else ""
        return (
            f'<tr class="{part.status.replace(" ", "-")}">'
            f"<td>{escape(cut(sweep_text.choice(part.params), 150))}"
            f'<td class="n">{numbers.value(part.current)}'
            f'<td class="n">{numbers.value(part.baseline)}'
            f'<td class="n{f" {tendency}" if tendency else ""}">{numbers.signed(part.change)}'
            f"<td>{sparkline(row) if row else ''}<td>{status_mark(part.status)}\n"
        )

    lines, left_out = room.items(table.slices, line, last=is_plain)
    metric = escape(table.metric)
    label = f"Slices of {escape(cut(table.name, 150))}: {metric}"
    more = ""
    if left_out:
        more = f"<p>… and {len(left_out):,} more, all of them in <code>report.json</code></p>\n"
    return (
        f'<section class="slices" aria-labelledby="slices-{number}">\n<h2 id="slices-{number}">'
        f"Slices of <code>{breakable(table.name)}</code> <small>{metric}</small></h2>\n"
        f'{region(label)}<table class="plain">\n<thead><tr><th scope="col">slice'
        '<th scope="col" class="n">now<th scope="col" class="n">baseline'
        '<th scope="col" class="n">change<th scope="col">trend<th scope="col">status</thead>\n'
        f"<tbody>\n{lines}</tbody></table></div>\n{more}</section>\n"
    )


def curves(view: CurvesView, room: Room) -> str:
    """Return the charts of the metrics with several steps."""
    if not view.charts:
        return ""
    total = numbers.count(len(view.charts) + len(view.folded) + view.left_out, "metric")
    line = '<svg viewBox="0 0 24 8" aria-hidden="true"><path d="M1 4H23"/></svg>'
    before = ""
    if view.before:
        before = f' <span class="before">{line} before: {escape(cut(view.before, 200))}</span>'
    charts, lacking = _grid(view.charts, room)
    folded, left_out = "", view.left_out + lacking
    if view.folded:
        more, lacking = _grid(view.folded, room)
        left_out += lacking
        head = numbers.count(len(view.folded), "more chart")
        folded = f"<details><summary>{head}</summary>\n{more}\n</details>\n"
    told = ""
    if left_out:
        verb = "is" if left_out == 1 else "are"
        more = numbers.count(left_out, "more chart")
        told = f'<p class="soft">{more} {verb} left out.</p>\n'
    return (
        f'<details class="folded"><summary><h2 id="curves">Curves <small>{total} with several steps'
        f'</small></h2></summary>\n<p class="legend"><span class="now">{line} this session</span>'
        f'{before} <span class="soft">a line for each repeat, by step</span></p>\n'
        f"{charts}\n{folded}{told}</details>\n"
    )


def _grid(shown: Sequence[Curve], room: Room) -> tuple[str, int]:
    def figure(curve: Curve) -> str:
        return (
            f"<figure><figcaption><b>{breakable(curve.metric)}</b> {breakable(curve.name)}"
            f"<small>{escape(caption(curve))}</small></figcaption>{chart(curve)}</figure>\n"
        )

    figures, left_out = room.items(shown, figure, room.minor(0.3))
    return f'<div class="curves">\n{figures}</div>\n', len(left_out)


def reliability(tests: Sequence[Reliability], room: Room) -> str:
    """Return how tests fared in the sessions that are known, those to look at first."""
    sessions = max((len(test.outcomes) for test in tests), default=0)
    if sessions < 2:
        return ""
    steady = [test for test in tests if _is_steady(test)]
    odd = [test for test in tests if not _is_steady(test)]
    told = f"all {len(steady):,} tests are steady"
    if odd:
        told = f"{numbers.count(len(odd), 'test')} of {len(tests):,} to look at"
    listed = ""
    if odd:
        listed = f"{_tests('Tests to look at', odd, room, 0.1)}\n"
    if steady:
        head = f"{numbers.count(len(steady), 'steady test')}, the slowest first"
        lines = _tests("Steady tests", steady, room, 0.05)
        listed += f"<details><summary>{head}</summary>\n{lines}\n</details>\n"
    return (
        f'<details class="folded"{" open" if any(test.flaky for test in odd) else ""}><summary>'
        f'<h2 id="reliability">Reliability <small>{told}, in {sessions} sessions</small></h2>'
        '</summary>\n<p class="soft">What costs most time is first. The pass rate has its 95 % '
        "interval (Wilson's). Sessions of the baseline have passed; others count where they are "
        "kept on this machine. Flaky counts commits at which a test passed and failed, and "
        "sessions in which it had to be run again. The newest session is last: <code>.</code> "
        "passed, <code>F</code> failed, <code>E</code> error, <code>R</code> passed when run "
        "again, <code>s</code> skipped, <code>·</code> did not run.</p>\n"
        f"{listed}</details>\n"
    )


def _tests(label: str, shown: Sequence[Reliability], room: Room, share: float) -> str:
    lines, left_out = room.items(shown, _test, room.minor(share))
    return (
        f'{region(label)}<table class="reliability">\n<thead><tr><th scope="col">Test, and its '
        'sessions<th scope="col">Pass rate<th scope="col">Flaky<th scope="col">Time</thead>\n'
        f"<tbody>\n{lines}</tbody></table></div>\n{rest(left_out, 'test')}\n"
    )


def _test(test: Reliability) -> str:
    rate = "—"
    if test.runs:
        share, low, high = (
            escape(numbers.percent(one)) for one in (test.passed / test.runs, test.low, test.high)
        )
        rate = f"{share}<small>{low} to {high}</small>"
    trend = ""
    if text := _slower(test):
        style = ' class="worse"' if (test.trend or 0.0) > 0 else ""
        trend = f"<small{style}>{escape(text)}</small>"
    letters = escape(test.outcomes[-50:].replace(" ", "·"))
    return (
        f'<tr><th scope="row">{breakable(test.nodeid.rpartition("::")[2])} <code class="letters">'
        f"{letters}</code><td>{rate}<td>{test.flaky or '—'}<td>{numbers.duration(test.seconds)}"
        f"{trend}\n"
    )


def _slower(test: Reliability) -> str:
    """Say how the time of a test changed, if it did so clearly."""
    if test.trend is None or abs(test.trend) < _TREND or test.seconds < _SHORT:
        return ""
    return f"{'slower' if test.trend > 0 else 'faster'} by {numbers.percent(abs(test.trend))}"


def _is_steady(test: Reliability) -> bool:
    """Return whether there is nothing to tell of a test."""
    return not test.flaky and test.passed == test.runs and not _slower(test)


def sessions(comparison: Comparison, room: Room) -> str:
    """Return the sessions of the baseline, the newest first."""
    baseline = comparison.baseline
    if baseline is None:
        return ""
    newest = ""
    for one in baseline.sessions[-1:]:
        newest = f", the newest {escape(one.name)}, {age(comparison, one)}"

    def line(session: SessionInfo) -> str:
        cells = (
            breakable(session.name),
            escape(session.branch or "—"),
            f"<code>{escape(short_commit(session) or '—')}</code>",
            escape(session.author or "—"),
            numbers.moment(session.start_time),
            age(comparison, session),
            escape(session.verdict or "—"),
        )
        return f"<tr>{''.join(f'<td>{cell}' for cell in cells)}\n"

    lines, left_out = room.items(reversed(baseline.sessions), line, 0.02)
    more = ""
    if left_out:
        more = f"<p>… and {numbers.count(len(left_out), 'more session')}</p>\n"
    provenance = baseline.provenance
    columns = ("session", "branch", "commit", "author", "started", "age", "verdict")
    head = "".join(f'<th scope="col">{column}' for column in columns)
    return (
        '<details class="folded"><summary><h2 id="baseline">Baseline '
        f"<small>{numbers.count(len(baseline.sessions), 'session')}{newest}</small></h2>"
        "</summary>\n"
        f'<p>{escape(provenance.reason)} <span class="soft">(<code>{escape(provenance.spec)}</code>'
        f", from {escape(provenance.place)})</span></p>\n{region('Sessions of the baseline')}"
        f'<table class="plain">\n<thead><tr>{head}</thead>\n<tbody>\n{lines}</tbody></table>'
        f"</div>\n{more}</details>\n"
    )
