"""The description of a case's run: what was checked, what failed, and what had to be changed."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_mlflow_experiments.records import Attempt, CaseRecord, Check

from .limits import TAG_LENGTH, shorten
from .markdown import block, first_items, inline, last_lines, number, table

_CHECKS = 30
_ATTEMPTS = 10
_NOTES = 20


def describe_case(record: CaseRecord, notes: Sequence[str]) -> str:
    """Return the markdown text of a case; ``notes`` come after the record's own."""
    parts = [f"**{record.outcome}** in {record.duration:.3g} s"]
    if record.checks:
        parts.append(_checks(record.checks))
    if record.failure:
        parts.append(block(last_lines(record.failure, lines=25, characters=2_000)))
    if record.attempts:
        parts.append(_attempts(record.attempts))
    every_note = [*record.notes, *notes]
    if every_note:
        lines = first_items([inline(note) for note in every_note], _NOTES, "notes")
        parts.append("\n".join(["**Notes**", "", *lines]))
    return shorten("\n\n".join(parts), TAG_LENGTH)


def _checks(checks: Sequence[Check]) -> str:
    # Those that did not hold come first: they are what a reader looks for in a long table.
    ordered = sorted(checks, key=lambda check: (check.passed, check.alternative))
    text = table(
        ["metric", "value", "limit", "margin", "held"],
        [
            [
                inline(check.metric, 80),
                number(check.value),
                _limit(check),
                number(check.margin),
                _held(check),
            ]
            for check in ordered[:_CHECKS]
        ],
    )
    if len(checks) > _CHECKS:
        text += f"\n\n… and {len(checks) - _CHECKS} more checks"
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


def _attempts(attempts: Sequence[Attempt]) -> str:
    lines = []
    for attempt in attempts:
        line = f"{attempt.outcome} in {attempt.duration:.3g} s"
        if attempt.metrics:
            values = (f"{metric.key} = {number(metric.value)}" for metric in attempt.metrics[:5])
            line += f": {inline(', '.join(values), 150)}"
        if attempt.failure:
            line += f" ({inline(attempt.failure.rstrip().splitlines()[-1], 150)})"
        lines.append(line)
    shown = first_items(lines, _ATTEMPTS, "attempts")
    return "\n".join(["**Earlier attempts**", "", *shown])
