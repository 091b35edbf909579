"""Render the comparison as one self-contained HTML page that also works without scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from ...regression.comparison import Comparison, MetricComparison
from .. import numbers
from ..headline import BROKEN_OUTCOMES, GATE_FAILED, age, headline, remedies, short_commit
from ..metric_lines import describe_missed
from ..text import cut
from . import sections
from .curves import view_curves
from .markup import Room, command, escape
from .metrics import Data, Ranked, grouped, is_plain, when
from .rows import MetricRows
from .sweep_sections import sweep_sections
from .sweeps import view_sweeps

LIMIT = 5_000_000
"""Bytes of a page at most, whatever the session; the JSON report has what a page leaves out."""

_HERE = Path(__file__).parent
# What every page has: its style, its scripts, and the texts that stand outside of lists.
_FRAME = 450_000
# Kept for each metric that is more than unchanged or advisory.
_ROW = 1_500
# Characters of a failure; all of them share the room that there is for failures.
_FAILURE, _LEAST_FAILURE = 20_000, 1_000

_SHORT_TITLES = {
    "worse": "got worse",
    "better": "got better",
    "undecided": "not decided",
    "unchanged": "unchanged",
    "informational": "informational",
}
_SIGNS = {"good": "✓", "neutral": "i", "warning": "!", "bad": "✕"}


def render_html(comparison: Comparison) -> str:
    """Render the page, in UTF-8 without a byte order mark, of at most :data:`LIMIT` bytes."""
    sweeps, curves = view_sweeps(comparison.sweeps), view_curves(comparison)
    groups, lost = grouped(comparison)
    told = sum(not is_plain(metric) for metric in comparison.metrics)
    room = Room(LIMIT - _FRAME - LIMIT // 7, reserved=told * _ROW)
    data = Data(comparison, LIMIT // 7)
    rows = MetricRows(comparison, data, room)
    broken = [case for case in comparison.unjudged if case.outcome in BROKEN_OUTCOMES]
    skipped = [case for case in comparison.unjudged if case.outcome not in BROKEN_OUTCOMES]
    share = int(sections.FAILURES * LIMIT) // max(1, len(comparison.unjudged))
    length = max(_LEAST_FAILURE, min(_FAILURE, share))
    # A page has bounds: what matters most takes its room first.
    worse = rows.worse(groups.get("worse", ()))
    failed = sections.failures(broken, lost, room, length) + sections.skipped(skipped, room)
    guards = sections.guards(comparison.guards, room)
    notes = sections.notes(comparison.notes, room)
    found = [rows.open_group(one, groups[one]) for one in ("better", "undecided") if one in groups]
    body = [worse, failed, guards, *found, notes]
    rest = [
        sections.slices(comparison, room),
        sweep_sections(sweeps, room),
        sections.curves(curves, room),
        sections.reliability(comparison.reliability, room),
        sections.sessions(comparison, room),
    ]
    plain = [one for one in ("unchanged", "informational") if one in groups]
    body += [rows.folded_group(group, groups[group]) for group in plain]
    # What a page has no use for is left out of it.
    style = _read("report.css", *(["sweeps.css"] if sweeps.shown or curves.charts else []))
    script = _read("tables.js", "report.js", *(["plots.js", "sweeps.js"] if sweeps.shown else []))
    none = "" if groups else "<section><h2>Metrics</h2><p>There are none.</p></section>\n"
    return (
        f"{_head(comparison, style, script)}<body>\n{_top(comparison, groups, lost, len(broken))}"
        f"<main data-common='{data.common()}'>\n{''.join((*body, *rest))}\n{none}"
        '<p id="empty" role="status" hidden>No metric matches. '
        '<button type="button" id="reset">Show all</button></p>\n</main>\n<footer>\n'
        "<p><b>Baseline</b>: the mean of its sessions, since the last lasting change. "
        "<b>Worse below</b> or <b>above</b>: a value beyond this line is worse than chance "
        "explains. <b>Assertion</b>: the limit in the test itself.</p>\n"
        "</footer>\n</body>\n</html>"
    )


def _head(comparison: Comparison, style: str, script: str) -> str:
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = " \N{EN DASH} ".join(map(escape, (headline(comparison).text, comparison.session.name)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n<script>{script}</script>\n</head>\n"
    )


def _top(comparison: Comparison, groups: Ranked, lost: Ranked, broken: int) -> str:
    """Return what stands above the metrics: the verdict, what helps, and links to the groups."""
    verdict = headline(comparison)
    parts = [
        f'<header class="top {verdict.level}">\n<p class="kicker">pytest --mlflow</p>\n',
        f'<h1><span class="sign" aria-hidden="true">{_SIGNS[verdict.level]}</span>',
        f"{escape(verdict.text)}</h1>\n",
    ]
    lines = lead(comparison, groups.get("worse", ()), lost)
    parts.extend(f'<p class="lead">{escape(line)}</p>\n' for line in lines)
    for level, name, text in (
        ("bad", "Problem", comparison.problem),
        ("warning", "Partial", comparison.partial),
    ):
        if text is not None:
            alert = f"<strong>{name}</strong> {escape(text)}"
            parts.append(f'<div class="alert {level}" role="note">{alert}</div>\n')
    if helpful := remedies(comparison):
        parts.append('<h2 class="now-what">What now?</h2>\n')
        parts.extend(command(what, text) for what, text in helpful)
        parts.append(f'<p class="lead"><a href="{GATE_FAILED}">What it may be</a></p>\n')
    parts.append(_facts(comparison))
    if groups:
        parts.append(_navigation(groups, broken, is_first=comparison.baseline is None))
    return f"{''.join(parts)}</header>\n"


def _facts(comparison: Comparison) -> str:
    session = comparison.session
    facts = ""
    if session.branch:
        facts += f"<span>branch <code>{escape(session.branch)}</code></span>"
    if session.commit:
        facts += f"<span>commit <code>{escape(short_commit(session))}</code></span>"
    if session.author:
        facts += f"<span>by {escape(session.author)}</span>"
    return (
        f'<p class="facts"><strong>{escape(session.name)}</strong>{facts}'
        f"<span>{numbers.moment(session.start_time)}</span>\n"
        f"<span>{numbers.duration(comparison.duration)}</span>\n"
        f"<span>{numbers.count(comparison.cases, 'case')}</span>"
        f"{'' if comparison.gated else '<span>not gated</span>'}</p>\n"
    )


def _navigation(groups: Ranked, broken: int, *, is_first: bool) -> str:
    links = []
    if broken:
        links.append(f'<a href="#failures" class="worse"><b>{broken:,}</b> failed</a>\n')
    for group, metrics in groups.items():
        title = "recorded" if is_first and group == "undecided" else _SHORT_TITLES[group]
        links.append(f'<a href="#{group}" class="{group}"><b>{len(metrics):,}</b> {title}</a>\n')
    return (
        f'<nav aria-label="Results">\n{"".join(links)}<input id="search" type="search" '
        'placeholder="Find a test or metric" aria-label="Find a test or metric" autocomplete="off" '
        'spellcheck="false" hidden>\n</nav>\n'
    )


def _read(*names: str) -> str:
    return "\n".join(_HERE.joinpath(name).read_text(encoding="utf-8") for name in names)


def _source(text: str) -> str:
    """Return the Content-Security-Policy hash source that allows this text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def lead(
    comparison: Comparison, worse: Sequence[MetricComparison], lost: Collection[str]
) -> Iterator[str]:
    """Yield the sentences below the verdict: the worst change, the baseline, what comes next."""
    broken = [one for one in comparison.unjudged if one.outcome in BROKEN_OUTCOMES]
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
