"""Write for GitHub: annotations on files, the summary of a step, the body of a check run."""

from __future__ import annotations

import ast
import json
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, final

from ..records import FAILED_OUTCOMES
from ..records.git import path_in_repository
from ..regression.comparison import Comparison, MetricComparison, UnjudgedCase
from . import numbers
from .headline import headline
from .links import Links
from .markdown import render_markdown, render_short
from .metric_lines import describe_guard, describe_missed
from .text import clean, one_line

SUMMARY_LIMIT: Final = 1024 * 1024
"""Bytes of a step's summary: GitHub shows nothing of a longer one."""

_SHOWN: Final = 10
"""Errors, and as many warnings, of a step that GitHub shows."""

_IN_CHECK: Final = 50
"""Annotations that one request for a check run may have."""

AnnotationLevel: TypeAlias = Literal["error", "warning"]

# What a command's message, and its properties, can't have as they are.
_DATA = "%\r\n"
_PROPERTY = f"{_DATA}:,"

_YOUNG: Final = 5
"""Below this many values of the baseline nothing is told of what can't be judged yet."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A message on a line of a file below the repository's root; on none if ``file`` is empty."""

    level: AnnotationLevel
    title: str
    message: str
    file: str = ""
    line: int = 0

    def command(self) -> str:
        """Return the workflow command that makes the annotation."""
        line = str(self.line) if self.line and self.file else ""
        found = (("file", self.file), ("line", line), ("title", one_line(self.title, 200)))
        told = ",".join(f"{name}={_escaped(text, _PROPERTY)}" for name, text in found if text)
        return f"::{self.level} {told}::{_escaped(one_line(self.message, 1_000), _DATA)}"

    def for_check(self) -> dict[str, object]:
        """Return the annotation as the API for check runs takes it."""
        return {
            "path": self.file,
            "start_line": self.line or 1,
            "end_line": self.line or 1,
            "annotation_level": "failure" if self.level == "error" else "warning",
            "title": one_line(self.title, 200),
            "message": one_line(self.message, 1_000),
        }


def annotation_lines(comparison: Comparison, rootdir: Path) -> list[str]:
    """Return annotations as workflow commands: errors first, and 10 of each, as GitHub shows.

    Without a gate there are no errors. ``rootdir`` is pytest's, or where the tests lie now.
    """
    lines: list[str] = []
    found = list_annotations(comparison, rootdir)
    for level in ("error", "warning"):
        same = [one for one in found if one.level == level]
        if len(same) > _SHOWN:
            rest = f"… and {len(same) - _SHOWN + 1:,} more, in the report"
            same[_SHOWN - 1 :] = [
                Annotation(level=same[0].level, title="pytest-mlflow", message=rest)
            ]
        lines += [one.command() for one in same]
    return lines


def render_check(
    comparison: Comparison, *, name: str, head_sha: str, rootdir: Path, links: Links
) -> str:
    """Return the body of a request that makes a check run, as JSON.

    Its conclusion is ``failure`` where pytest's exit status says so, ``neutral`` where nothing
    fails and nothing is proven, else ``success``.
    """
    verdict = headline(comparison)
    failed = verdict.level == "bad" or comparison.exit_status or comparison.interrupted
    is_open = verdict.level == "warning" or comparison.baseline is None
    calm = "neutral" if is_open else "success"
    found = [one.for_check() for one in list_annotations(comparison, rootdir) if one.file]
    summary = render_short(comparison)
    if len(found) > _IN_CHECK:
        summary += f"\n… and {len(found) - _IN_CHECK:,} more annotations than GitHub takes\n"
    body: dict[str, object] = {
        "name": name,
        "head_sha": head_sha,
        "external_id": comparison.session.session_id,
        "status": "completed",
        "conclusion": "failure" if failed else calm,
    }
    if url := links.session() or links.report:
        body["details_url"] = url
    body["output"] = {
        "title": one_line(verdict.text, 200),
        "summary": summary,
        "text": render_markdown(comparison, links=links),
        "annotations": found[:_IN_CHECK],
    }
    return json.dumps(body, indent=2, ensure_ascii=True)


def add_to_step_summary(comparison: Comparison, html: Path | None = None) -> None:
    """Append the comparison to GitHub Actions' step summary, if running there.

    ``html`` is the HTML report.

    Raises:
        OSError: the summary can't be written.
    """
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        links = Links.of(comparison.session, html=html)
        append_step_summary(Path(summary), render_markdown(comparison, links=links))


def workflow_commands(comparison: Comparison, rootdir: Path) -> list[str]:
    """Return the annotations if GitHub Actions reads the output."""
    on_github = os.environ.get("GITHUB_ACTIONS") == "true"
    return annotation_lines(comparison, rootdir) if on_github else []


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


def list_annotations(comparison: Comparison, rootdir: Path) -> list[Annotation]:
    """Return what to say at the tests: errors first; nothing of what is too young to judge."""
    found = list(_annotations(comparison, _Sources(rootdir)))
    return sorted(found, key=lambda one: one.level)


def _annotations(comparison: Comparison, sources: _Sources) -> Iterator[Annotation]:
    gated: AnnotationLevel = "error" if comparison.gated else "warning"
    if comparison.problem is not None:
        title = "The comparison could not be made"
        yield Annotation(level=gated, title=title, message=comparison.problem)
    for mistake in comparison.mistakes:
        yield Annotation(level=gated, title="A setting matches nothing", message=mistake)
    failed = {
        case.nodeid: case
        for case in comparison.unjudged
        if case.known and case.outcome in FAILED_OUTCOMES
    }
    for case in failed.values():
        yield _of_failure(gated, case, comparison, sources)
    lines = {}
    for metric in comparison.ranked():
        line = metric.margin.line if metric.margin is not None else 0
        lines[metric.nodeid, metric.metric] = line
        if metric.gates:
            # What is missing of a failed test needs no line of its own.
            if metric.status != "missing" or metric.nodeid not in failed:
                yield _of_metric(gated, metric, sources, line)
        elif _is_alarming(metric):
            yield _of_metric("warning", metric, sources, line)
    for guard in comparison.guards:
        if guard.accepted is None:
            file, line = sources.place(guard.nodeid, lines.get((guard.nodeid, guard.metric), 0))
            yield Annotation(
                level=gated if guard.gates else "warning",
                title="Check changed",
                message=describe_guard(guard),
                file=file,
                line=line,
            )


def _is_alarming(metric: MetricComparison) -> bool:
    if metric.advisory or metric.change is None:
        return False
    is_worse = (metric.change < 0) == (metric.direction == "max")
    is_open = metric.status == "inconclusive" and metric.n >= _YOUNG and is_worse
    return metric.status == "drifting" or is_open


def _of_metric(
    level: AnnotationLevel, metric: MetricComparison, sources: _Sources, assertion: int
) -> Annotation:
    parts = [f"{numbers.value(metric.baseline)} → {numbers.value(metric.current)}"]
    if metric.change is not None:
        parts.append(numbers.change(metric))
    if metric.limit is not None:
        parts.append(numbers.limit(metric))
    parts += numbers.standing(metric)
    file, line = sources.place(metric.nodeid, assertion)
    return Annotation(
        level=level,
        title=f"{metric.metric} {metric.status}",
        message=f"{metric.name}: {metric.reason} ({', '.join(parts)})",
        file=file,
        line=line,
    )


def _of_failure(
    level: AnnotationLevel, case: UnjudgedCase, comparison: Comparison, sources: _Sources
) -> Annotation:
    lost = [one.metric for one in comparison.gating() if one.nodeid == case.nodeid]
    told = [f"{case.name} did not pass and has a history"]
    if lost:
        told.append(f"missing: {', '.join(lost)}")
    told += map(describe_missed, case.missed)
    told += re.findall(r"^E +(\S.*)", case.failure or "", re.MULTILINE)[:1]
    file, line = sources.place(case.nodeid, failure=case.failure or "")
    title = f"{case.name} {case.outcome}"
    return Annotation(level=level, title=title, message="; ".join(told), file=file, line=line)


@final
@dataclass(slots=True)
class _Sources:
    """Finds tests, and their assertions, in the files of a checkout."""

    rootdir: Path
    _prefix: str | None = None
    _trees: dict[str, ast.Module | None] = field(default_factory=dict)
    _asserted: dict[str, frozenset[int]] = field(default_factory=dict)

    def place(self, nodeid: str, assertion: int = 0, *, failure: str = "") -> tuple[str, int]:
        """Return the file of a test below the repository's root, and a line of it.

        It is the line of the assertion if that is in this file, where the ``failure`` happened, or
        else the test's own; 0 if the file has neither. The file is empty if there is none.
        """
        file, separator, names = nodeid.partition("::")
        if not separator:
            return "", 0
        if self._prefix is None:
            self._prefix = path_in_repository(self.rootdir)
        path = clean(posixpath.normpath(posixpath.join(self._prefix, file)))
        if path.startswith(("../", "/")):
            return "", 0
        if file not in self._trees:
            self._trees[file] = _parsed(self.rootdir / file)
        if (tree := self._trees[file]) is None:
            return path, 0
        name = re.escape(posixpath.basename(file))
        happened = re.findall(rf'\b{name}(?::|", line )(\d+)', failure)
        if happened:
            return path, int(happened[-1])
        if assertion:
            if file not in self._asserted:
                self._asserted[file] = frozenset(_asserted_lines(tree))
            if assertion in self._asserted[file]:
                return path, assertion
        return path, _line_of(tree, names.partition("[")[0].split("::"))


def _parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes()) if path.suffix == ".py" else None
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _asserted_lines(tree: ast.Module) -> Iterator[int]:
    """Yield the lines with assertions: metrics may be of one in another file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = str(getattr(node.func, "attr", None) or getattr(node.func, "id", ""))
            if "assert" not in name.lower() and name not in ("isclose", "allclose"):
                continue
        elif not isinstance(node, ast.Assert):
            continue
        yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _line_of(tree: ast.Module, names: list[str]) -> int:
    """Return the line of a test, or of its class if the test is inherited; 0 if both are not."""
    line, body = 0, tree.body
    for name in names:
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == name
        ]
        if not found:
            break
        line, body = found[-1].lineno, found[-1].body
    return line


def _escaped(text: str, characters: str) -> str:
    """Percent-encode some characters of a workflow command: ``%0A``."""
    return re.sub(f"[{characters}]", lambda match: f"%{ord(match[0]):02X}", text)
