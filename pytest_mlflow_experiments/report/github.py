"""Write for GitHub Actions: annotations on files, and the summary of a step."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from ..regression.comparison import Comparison, MetricComparison
from . import numbers
from .metric_lines import describe_guard
from .text import clean, one_line

SUMMARY_LIMIT = 1024 * 1024
"""Bytes of a step's summary: GitHub shows nothing of a longer one."""

_SHOWN = 9

AnnotationLevel: TypeAlias = Literal["error", "warning"]

# What a command's message, and its properties, can't have as they are.
_DATA = "%\r\n"
_PROPERTY = f"{_DATA}:,"

_WARNED_OF = frozenset({"drifting", "inconclusive", "not comparable"})


def annotation_lines(comparison: Comparison, *, prefix: str = "") -> list[str]:
    """Return annotations as workflow commands: errors first, and the 10 that GitHub shows.

    Without a gate there are no errors. ``prefix`` is the path from the repository's root to
    pytest's rootdir.
    """
    found = list(_annotations(comparison, prefix))
    lines = [line for _, line in found]
    if len(lines) <= _SHOWN + 1:
        return lines
    rest = found[_SHOWN:]
    level: AnnotationLevel = "error" if any(level == "error" for level, _ in rest) else "warning"
    last = _line(level, f"… and {len(rest):,} more, in the report", title="pytest-mlflow")
    return [*lines[:_SHOWN], last]


def add_to_step_summary(comparison: Comparison) -> None:
    """Append the comparison to GitHub Actions' step summary, if running there.

    Raises:
        OSError: the summary can't be written.
    """
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        from .markdown import render_markdown

        append_step_summary(Path(summary), render_markdown(comparison))


def append_step_summary(path: Path, text: str, *, limit: int = SUMMARY_LIMIT) -> bool:
    """Append markdown to the file that ``GITHUB_STEP_SUMMARY`` names.

    Return False if it does not fit; then a line that says so is appended, if that fits.

    Raises:
        OSError: the file can't be written.
    """
    data = text.encode("utf-8", "replace")
    size = path.stat().st_size if path.exists() else 0
    # A blank line, for what stands there may not have ended its last.
    gap = b"\n\n" if size else b""
    fits = size + len(gap) + len(data) <= limit
    if not fits:
        data = b"The comparison of metrics has no room in this summary.\n"
    if size + len(gap) + len(data) <= limit:
        with path.open("ab") as file:
            file.write(gap + data)
    return fits


def _annotations(comparison: Comparison, prefix: str) -> Iterator[tuple[AnnotationLevel, str]]:
    gated: AnnotationLevel = "error" if comparison.gated else "warning"
    if comparison.problem is not None:
        yield gated, _line(gated, comparison.problem, title="The comparison could not be made")
    for mistake in comparison.mistakes:
        yield gated, _line(gated, mistake, title="A setting matches nothing")
    for metric in comparison.gating():
        yield gated, _of_metric(gated, metric, prefix)
    for guard in comparison.guards:
        if guard.accepted is None:
            level = gated if guard.gates else "warning"
            file = _path(guard.nodeid, prefix)
            yield level, _line(level, describe_guard(guard), title="Guard changed", file=file)
    for metric in comparison.ranked():
        if metric.status in _WARNED_OF and not metric.gates and not metric.advisory:
            yield "warning", _of_metric("warning", metric, prefix)


def _of_metric(level: AnnotationLevel, metric: MetricComparison, prefix: str) -> str:
    parts = [f"{numbers.value(metric.baseline)} → {numbers.value(metric.current)}"]
    if metric.change is not None:
        parts.append(numbers.change(metric))
    if metric.limit is not None:
        parts.append(f"limit {numbers.limit(metric)}")
    parts += numbers.standing(metric)
    title = f"{metric.metric} {metric.status}"
    message = f"{metric.name}: {metric.reason} ({', '.join(parts)})"
    return _line(level, message, title=title, file=_path(metric.nodeid, prefix))


def _path(nodeid: str, prefix: str) -> str:
    """Return the file of a test below the repository's root; empty if there is none."""
    file, separator, _ = nodeid.partition("::")
    return "/".join(filter(None, (prefix.strip("/"), file))) if separator else ""


def _line(level: AnnotationLevel, message: str, *, title: str, file: str = "") -> str:
    properties = [("file", clean(file)), ("title", one_line(title, 200))]
    told = ",".join(f"{name}={_escaped(text, _PROPERTY)}" for name, text in properties if text)
    return f"::{level} {told}::{_escaped(one_line(message, 1_000), _DATA)}"


def _escaped(text: str, characters: str) -> str:
    """Percent-encode some characters of a workflow command: ``%0A``."""
    return re.sub(f"[{characters}]", lambda match: f"%{ord(match[0]):02X}", text)
