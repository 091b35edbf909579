"""Write the description of a case's run: checks, failures and changes for MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isinf, isnan

from ...records import Attempt, CaseRecord, Check, Metric, last_values
from ...records.case import named_few
from ...report.text import block
from ..limits import TAG_LENGTH, clean_text, shorten

_MARKUP = re.compile(r"([\\`*_\[\]|#~])")


def inline(text: str, limit: int = 200) -> str:
    """Return ``text`` as one line with its markup escaped."""
    line = " ".join(shorten(clean_text(text), limit).split())
    return _MARKUP.sub(r"\\\1", escape(line, quote=False))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table; its cells must be escaped already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def titled_list(title: str, items: Iterable[str], limit: int, kind: str) -> str:
    """Return the first ``limit`` items as a list below a title; a last line counts the others."""
    lines = [f"- {item}" for item in items]
    if (others := len(lines) - limit) > 0:
        lines[limit:] = [f"- … and {others:,} more {kind}"]
    return "\n".join([f"**{title}**", "", *lines])


def number(value: float) -> str:
    """Format a value for readers."""
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.6g}"


_CHECKS = 30
_ATTEMPTS = 10
_COLUMNS = 4
_DATASETS = 10
_NOTES = 20


def describe_case(record: CaseRecord, notes: Sequence[str]) -> str:
    """Return the markdown description of a case; ``notes`` follow the record's own."""
    every_note = [inline(note) for note in (*record.notes, *notes)]
    parts = [
        _origin(record) if record.resumed_from else "",
        f"**{record.outcome}** in {record.duration:.3g} s",
        _checks(record.checks) if record.checks else "",
        _fresh_runs(record) if record.repeats else "",
        block(record.failure) if record.failure else "",
        _attempts(record.attempts) if record.attempts else "",
        _datasets(record.datasets) if record.datasets else "",
        titled_list("Notes", every_note, _NOTES, "notes") if every_note else "",
    ]
    return shorten("\n\n".join(filter(None, parts)), TAG_LENGTH)


def _origin(record: CaseRecord) -> str:
    text = f"Taken over from session {inline(record.resumed_from or '')}"
    return f"{text}, run {inline(record.resumed_run)}" if record.resumed_run else text


def _checks(checks: Sequence[Check]) -> str:
    # Those that did not hold come first: they are what a reader looks for in a long table.
    ordered = sorted(checks, key=lambda check: (check.passed, check.alternative))
    rows = [
        [inline(one.metric, 80), number(one.value), _limit(one), number(one.margin), _held(one)]
        for one in ordered[:_CHECKS]
    ]
    text = table(["metric", "value", "limit", "margin", "held"], rows)
    if len(checks) > _CHECKS:
        text += f"\n\n… and {len(checks) - _CHECKS:,} more checks"
    return text


def _held(check: Check) -> str:
    if check.passed:
        return "yes"
    return "no (an alternative)" if check.alternative else "**no**"


def _limit(check: Check) -> str:
    if check.operator == "==":
        return f"≈ {number(check.limit)} ± {number(check.tolerance or 0.0)}"
    sign = {"<": "&lt;", "<=": "≤", ">": "&gt;", ">=": "≥"}[check.operator]
    return f"{sign} {number(check.limit)}"


def _fresh_runs(record: CaseRecord) -> str:
    runs = record.repeats
    every_run = [record.metrics, *(run.metrics for run in runs)]
    measured = (metric.key for metrics in every_run for metric in metrics)
    # What was asserted comes first: there may be more metrics than a table has room for.
    asserted = {check.metric for check in record.checks}
    keys = sorted(dict.fromkeys(measured), key=lambda key: key not in asserted)
    shown = keys[:_COLUMNS]
    rows = [_row("first", record.outcome, record.duration, record.metrics, shown)]
    for count, run in enumerate(runs[:_ATTEMPTS], 1):
        outcome = f"{run.outcome}{_reason(run)}"
        rows.append(_row(str(count), outcome, run.duration, run.metrics, shown))
    parts = [
        "**Fresh runs**",
        "The metrics looked worse than the baseline, so the test was run again; the fresh values "
        "decide.",
        table(["run", "outcome", "duration", *(inline(key, 80) for key in shown)], rows),
    ]
    if len(runs) > _ATTEMPTS:
        parts.append(f"… and {len(runs) - _ATTEMPTS:,} more fresh runs")
    if len(keys) > _COLUMNS:
        parts.append(f"… and {len(keys) - _COLUMNS:,} more metrics")
    return "\n\n".join(parts)


def _row(
    name: str, outcome: str, duration: float, metrics: Sequence[Metric], keys: Sequence[str]
) -> list[str]:
    values = last_values(metrics)
    cells = (number(values[key]) if key in values else "" for key in keys)
    return [name, outcome, f"{duration:.3g} s", *cells]


def _attempts(attempts: Sequence[Attempt]) -> str:
    lines = []
    for attempt in attempts:
        line = f"{attempt.outcome} in {attempt.duration:.3g} s"
        if attempt.metrics:
            values = (f"{metric.key} = {number(metric.value)}" for metric in attempt.metrics[:5])
            line += f": {inline(', '.join(values), 150)}"
        lines.append(line + _reason(attempt))
    return titled_list("Earlier attempts", lines, _ATTEMPTS, "attempts")


def _reason(attempt: Attempt) -> str:
    """Return the last line of a failure in parentheses, or nothing."""
    lines = (attempt.failure or "").rstrip().splitlines()
    return f" ({inline(lines[-1], 150)})" if lines else ""


def _datasets(datasets: Mapping[str, str]) -> str:
    texts = [f"{inline(name, 80)} {inline(digest, 40)}" for name, digest in datasets.items()]
    return f"**Datasets** {named_few(texts, _DATASETS)}"
