"""The comparison as GitHub-flavoured markdown, for step summaries, comments and descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from ..regression.comparison import Comparison, GuardChange, MetricComparison, UnjudgedCase
from . import numbers
from .headline import (
    SYMBOLS,
    UNDECIDED,
    counts,
    describe_session,
    headline,
    provenance,
    remedies,
)
from .metric_lines import describe_guard
from .sweep_markdown import add_slices, add_sweeps
from .text import MarkdownPage, block, clean, code, html_code, inline_text, one_line, table_row

LIMIT = 60_000
"""Bytes of a report: GitHub takes 65,536 characters in a comment."""

SHORT_LIMIT = 4_000

_FEW = 10


def render_markdown(comparison: Comparison, *, limit: int = LIMIT) -> str:
    """Render the report, with at most ``limit`` bytes in UTF-8.

    Rows that don't fit are left out and counted.

    Raises:
        ValueError: ``limit`` leaves no room for a report.
    """
    end = _remedies(comparison)
    if limit - len(end.encode()) < SHORT_LIMIT:
        end = ""
    page = MarkdownPage(limit - len(end.encode()))
    page.add(f"### {_verdict(comparison)}")
    _introduce(page, comparison)
    page.add_items(comparison.notes, lambda note: f"- {inline_text(note)}", share=0.2, mark="- ")
    _add_guards(page, comparison.guards)

    ranked = comparison.ranked()
    judged = [metric for metric in ranked if not metric.advisory]
    told = [metric for metric in judged if metric.status not in {"unchanged", *UNDECIDED}]
    undecided = [metric for metric in judged if metric.status in UNDECIDED]
    if len(undecided) <= _FEW:
        told, undecided = told + undecided, []
    _add_table(page, told, share=0.6 if comparison.unjudged else 0.9)
    _add_failures(page, comparison.unjudged)
    add_slices(page, comparison.slices)
    add_sweeps(page, comparison.sweeps)
    _add_table(page, undecided, title="inconclusive, new or not comparable")
    _add_table(page, [row for row in judged if row.status == "unchanged"], title="unchanged")
    advisory = [metric for metric in ranked if metric.advisory]
    _add_table(page, advisory, title="advisory: reported, never gating")
    return page.text() + end


def render_comment(comparison: Comparison, key: str, *, limit: int = LIMIT) -> str:
    """Render the report below a hidden marker, by which a script finds the comment to update."""
    first = marker(key)
    return f"{first}\n{render_markdown(comparison, limit=limit - len(first) - 1)}"


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
    page.add_items(comparison.gating()[:_FEW], _line, mark="- ", total=len(comparison.gating()))
    _add_guards(page, comparison.guards[:_FEW])
    return page.text()


def _add_guards(page: MarkdownPage, guards: Sequence[GuardChange]) -> None:
    page.add_items(
        guards,
        lambda guard: f"- {'✕ ' if guard.gates else ''}{inline_text(describe_guard(guard))}",
        before="**Guards changed** since the baseline:\n" if guards else "",
        mark="- ",
        share=0.3,
    )


def _remedies(comparison: Comparison) -> str:
    told = [f"{what}:\n\n{block(one_line(text))}\n" for what, text in remedies(comparison)]
    return "".join(f"\n{one}" for one in told)


def _verdict(comparison: Comparison) -> str:
    verdict = headline(comparison)
    sign = {"good": "✅", "warning": "⚠️", "bad": "❌"}[verdict.level]
    return f"{sign} {verdict.text}"


def _introduce(page: MarkdownPage, comparison: Comparison) -> None:
    session, cases = comparison.session, numbers.count(comparison.cases, "case")
    named = inline_text(f"{cases} in session {describe_session(session)}")
    page.add(
        f"{counts(comparison)}. {named}, {numbers.moment(session.start_time)}, "
        f"{numbers.duration(comparison.duration)}."
    )
    page.add(f"{inline_text(provenance(comparison), 600)}.")
    if comparison.problem is not None:
        page.add(f"> **Problem:** {inline_text(comparison.problem)}")
    if comparison.partial is not None:
        page.add(f"> **Only some tests ran:** {inline_text(comparison.partial)}")


def _add_table(
    page: MarkdownPage,
    rows: Sequence[MetricComparison],
    *,
    title: str | None = None,
    share: float = 1.0,
) -> None:
    if not rows:
        return
    guarded = any(row.margin is not None and row.margin.shrank for row in rows)
    head = ["", "case", "metric", "baseline", "now", "change", "limit", "n"]
    rule = ["---", "---", "---", *["---:"] * 5]
    if guarded:
        head.append("assertion")
        rule.append("---")
    before = f"{table_row([*head, 'why'])}\n{table_row([*rule, '---'])}"
    page.add_items(
        rows,
        lambda row: table_row(_cells(row, guarded=guarded)),
        before=before if title is None else f"{_summary(f'{len(rows):,} {title}')}{before}",
        after="" if title is None else "\n\n</details>",
        mark="\n",
        share=share,
    )


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
    if not case.failure:
        return f"\n- {title}"
    return f"\n<details><summary>{title}</summary>\n\n{block(case.failure)}\n\n</details>"


def _summary(title: str) -> str:
    return f"<details><summary>{title}</summary>\n\n"


def _cells(metric: MetricComparison, *, guarded: bool) -> list[str]:
    status = f"{SYMBOLS[metric.status]} {metric.status}".replace(" ", "&nbsp;")
    return [
        f"**{status}**" if metric.gates else status,
        code(metric.name, 120),
        code(metric.metric, 80),
        numbers.value(metric.baseline),
        numbers.value(metric.current),
        numbers.change(metric),
        inline_text(numbers.limit(metric)),
        str(metric.n),
        *([_margin(metric)] if guarded else []),
        inline_text(metric.reason, 160),
    ]


def _margin(metric: MetricComparison) -> str:
    if metric.margin is None or not metric.margin.shrank:
        return ""
    return f"{inline_text(numbers.assertion(metric.margin))}: {numbers.margin(metric)} left"


def _line(metric: MetricComparison) -> str:
    return (
        f"- {metric.status}: {code(metric.name)} {code(metric.metric)} "
        f"{numbers.value(metric.baseline)} → {numbers.value(metric.current)}, "
        f"{numbers.change(metric)}"
    )
