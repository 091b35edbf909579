"""The comparison as GitHub-flavoured markdown, for step summaries, comments and descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from ..regression.comparison import Comparison, GuardChange, MetricComparison, UnjudgedCase
from . import numbers
from .headline import (
    GATE_FAILED,
    SYMBOLS,
    UNDECIDED,
    counts,
    describe_session,
    headline,
    partial_run,
    provenance,
    remedies,
)
from .links import Links
from .metric_lines import describe_guard, describe_missed, details
from .sweep_markdown import add_slices, add_sweeps
from .text import (
    MarkdownPage,
    block,
    clean,
    code,
    html_code,
    inline_text,
    one_line,
    shorten,
    table_row,
)

LIMIT = 60_000
"""Bytes of a report: GitHub takes 65,536 characters in a comment."""

SHORT_LIMIT = 4_000

_FEW = 10

_MANY = 30

_NAME = 40
"""Characters of a case's name that have room in 800 pixels, beside a metric and its numbers."""

_TOLD = frozenset({"regressed", "missing", "drifting", "accepted", "improved"})


def render_markdown(
    comparison: Comparison, *, limit: int = LIMIT, links: Links | None = None
) -> str:
    """Render the report, with at most ``limit`` bytes in UTF-8.

    What got worse stands first, one line each; why, and all else, is folded. Rows that don't fit
    are left out and counted. ``links`` are by default those that the environment tells.

    Raises:
        ValueError: ``limit`` leaves no room for a report.
    """
    links = Links.of(comparison.session) if links is None else links
    end = _remedies(comparison)
    if limit - len(end.encode()) < SHORT_LIMIT:
        end = ""
    page = MarkdownPage(limit - len(end.encode()))
    page.add(f"### {_verdict(comparison)}")
    _warn(page, comparison)
    ranked = comparison.ranked()
    judged = [metric for metric in ranked if not metric.advisory]
    told = [metric for metric in judged if metric.status in _TOLD or metric.gates]
    for status in dict.fromkeys(metric.status for metric in told):
        rows = [metric for metric in told if metric.status == status]
        shown = _MANY if status != "improved" else _FEW if len(rows) <= _FEW else 0
        _add_table(page, rows[:shown], links, head=f"{SYMBOLS[status]} {len(rows):,} {status}")
        more = f"more {status}" if shown else status
        _add_table(page, rows[shown:], links, title=more, share=0.4)
    if targets := _targets(links):
        page.add(targets)
    _add_failures(page, comparison.unjudged)
    _add_guards(page, comparison.guards)
    _add_reasons(page, told, "Why, and by which limits")
    _introduce(page, comparison)
    _add_notes(page, comparison.notes)
    add_slices(page, comparison.slices)
    add_sweeps(page, comparison.sweeps)
    undecided = [metric for metric in judged if metric.status in UNDECIDED]
    plain, others = (
        [one for one in undecided if (one.status == "new" and one.accepted is None) is is_plain]
        for is_plain in (True, False)
    )
    _add_reasons(page, others, f"{len(others):,} that could not be judged")
    _add_table(page, plain, links, title="new")
    unchanged = [metric for metric in judged if metric.status == "unchanged" and not metric.gates]
    _add_table(page, unchanged, links, title="unchanged")
    advisory = [metric for metric in ranked if metric.advisory]
    _add_table(page, advisory, links, title="informational: never fail the gate")
    return page.text() + end


def render_comment(
    comparison: Comparison, key: str, *, limit: int = LIMIT, links: Links | None = None
) -> str:
    """Render the report below a hidden marker, by which the comment to update is found."""
    first = marker(key)
    return f"{first}\n{render_markdown(comparison, limit=limit - len(first) - 1, links=links)}"


def marker(key: str) -> str:
    """Return the first line of the comment with this key; it is ASCII."""
    # A key of usual characters stays readable, and none can end the comment.
    name = quote(clean(key), safe=" /:@.,=").replace("--", "-%2D")
    return f"<!-- pytest-mlflow: {name} -->"


def render_short(comparison: Comparison) -> str:
    """Render the description of the session's run: a few lines, at most 4,000 bytes."""
    page = MarkdownPage(SHORT_LIMIT)
    page.add(f"**{_verdict(comparison)}**")
    _introduce(page, comparison)
    _warn(page, comparison)
    page.add_items(comparison.gating()[:_FEW], _line, mark="- ", total=len(comparison.gating()))
    _add_guards(page, comparison.guards[:_FEW])
    return page.text()


def _add_guards(page: MarkdownPage, guards: Sequence[GuardChange]) -> None:
    page.add_items(
        guards,
        lambda guard: f"- {'✕ ' if guard.gates else ''}{inline_text(describe_guard(guard))}",
        before="**Checks changed** since the baseline:\n" if guards else "",
        mark="- ",
        share=0.3,
    )


def _remedies(comparison: Comparison) -> str:
    told = [f"{what}:\n\n{block(one_line(text))}\n" for what, text in remedies(comparison)]
    told[:0] = [f"[What it may be]({GATE_FAILED})\n"] if told else []
    return "".join(f"\n{one}" for one in told)


def _verdict(comparison: Comparison) -> str:
    verdict = headline(comparison)
    sign = {"good": "✅", "neutral": "⚪", "warning": "⚠️", "bad": "❌"}[verdict.level]
    if verdict.gate == "passed" and comparison.baseline is None:
        sign = "⚠️"  # it would have passed whatever the values are
    return f"{sign} {verdict.text}"


def _introduce(page: MarkdownPage, comparison: Comparison) -> None:
    session, cases = comparison.session, numbers.count(comparison.cases, "case")
    named = inline_text(f"{cases} in session {describe_session(session)}")
    page.add(
        f"{counts(comparison)}. {named}, {numbers.moment(session.start_time)}, "
        f"{numbers.duration(comparison.duration)}."
    )
    page.add(f"{inline_text(provenance(comparison), 600)}.")


def _warn(page: MarkdownPage, comparison: Comparison) -> None:
    if comparison.problem is not None:
        page.add(f"> **Problem:** {inline_text(comparison.problem)}")
    if comparison.partial is not None:
        page.add(f"> {inline_text(partial_run(comparison.partial), 600)}")


def _targets(links: Links) -> str:
    """Return links to what is more than a page of markdown holds."""
    found = (("session in MLflow", links.session()), ("HTML report", links.report))
    return " · ".join(f"[{text}]({url})" for text, url in found if url)


def _add_notes(page: MarkdownPage, notes: Sequence[str]) -> None:
    folded = len(notes) > 1
    page.add_items(
        notes,
        lambda note: f"- {inline_text(note)}",
        before=_summary(numbers.count(len(notes), "note")).rstrip("\n") + "\n" if folded else "",
        after="\n\n</details>" if folded else "",
        mark="- ",
        share=0.2,
    )


def _add_table(
    page: MarkdownPage,
    rows: Sequence[MetricComparison],
    links: Links,
    *,
    head: str = "case",
    title: str | None = None,
    share: float = 1.0,
) -> None:
    if not rows:
        return
    heads = [head.replace(" ", "&nbsp;"), "metric", "baseline&nbsp;→&nbsp;now", "change"]
    before = f"{table_row(heads)}\n{table_row(['---', '---', '---:', '---:'])}"
    page.add_items(
        rows,
        lambda row: table_row(_cells(row, links)),
        before=before if title is None else f"{_summary(f'{len(rows):,} {title}')}{before}",
        after="" if title is None else "\n\n</details>",
        mark="\n",
        share=share,
    )


def _add_reasons(page: MarkdownPage, rows: Sequence[MetricComparison], title: str) -> None:
    if rows:
        page.add_items(
            rows,
            _reason,
            before=_summary(title).rstrip("\n") + "\n",
            after="\n\n</details>",
            mark="- ",
            share=0.6,
        )


def _reason(metric: MetricComparison) -> str:
    told = [metric.reason, *(text for text in details(metric) if text not in metric.reason)]
    return (
        f"- {metric.status} {code(metric.metric, 80)} of {code(metric.nodeid)}, "
        f"{_values(metric)}: {inline_text('; '.join(told), 400)}"
    )


def _values(metric: MetricComparison) -> str:
    known = [value for value in (metric.baseline, metric.current) if value is not None]
    text = " → ".join(map(numbers.value, known)) or numbers.NOTHING
    return text if metric.current is not None else f"was {text}"


def _add_failures(page: MarkdownPage, cases: Sequence[UnjudgedCase]) -> None:
    if not cases:
        return
    title = numbers.count(len(cases), "case that did not pass", "cases that did not pass")
    page.add_items(
        cases,
        _failure,
        before=_summary(f"{title}, not judged").rstrip("\n"),
        after="\n\n</details>",
        mark="\n",
        share=0.6,
    )


def _failure(case: UnjudgedCase) -> str:
    # Raw HTML: markdown means nothing in the line of a summary.
    title = f"{case.outcome} {html_code(case.nodeid)}"
    if case.missed:
        title = f"{title}: {', '.join(html_code(describe_missed(one)) for one in case.missed)}"
    if not case.failure:
        return f"\n- {title}"
    return f"\n<details><summary>{title}</summary>\n\n{block(case.failure)}\n\n</details>"


def _summary(title: str) -> str:
    return f"<details><summary>{title}</summary>\n\n"


def _cells(metric: MetricComparison, links: Links) -> list[str]:
    name, page = code(_short(metric.name)), links.case(metric.case)
    change = numbers.relative(numbers.finite(metric.relative))
    if metric.relative is None or change == numbers.NOTHING:
        change = numbers.signed(metric.change)
    # Other tables have one status each.
    is_change = metric.advisory and metric.status in _TOLD
    sign = f"{SYMBOLS[metric.status]} " if is_change else ""
    return [
        f"[{name}]({page})" if page else name,
        code(metric.metric, 20),
        _values(metric).replace(" ", "&nbsp;"),
        f"{sign}{change}".replace(" ", "&nbsp;"),
    ]


def _short(name: str) -> str:
    """Cut the name of a case to what has room on one line: params tell it from its neighbours."""
    test, bracket, params = one_line(name).partition("[")
    test = shorten(test, max(_NAME - len(bracket + params), _NAME // 3))
    room = _NAME - len(test + bracket)
    if len(params) > room:
        # The last param is often the one that is the same in all.
        params = f"{params[: room - 6]}…{params[-5:]}"
    return f"{test}{bracket}{params}"


def _line(metric: MetricComparison) -> str:
    return (
        f"- {metric.status}: {code(metric.name)} {code(metric.metric)} "
        f"{numbers.value(metric.baseline)} → {numbers.value(metric.current)}, "
        f"{numbers.change(metric)}"
    )
