"""The comparison as JUnit XML: one test case for each metric, for CI servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from typing import Literal, TypeAlias

from ..regression.comparison import Comparison, MetricComparison
from . import numbers
from .headline import BROKEN_OUTCOMES, provenance
from .metric_lines import describe_guard, describe_missed
from .text import clean, one_line

_SETTLED = frozenset({"accepted", "improved", "unchanged"})
_FIGURES = ("baseline", "current", "change", "relative", "limit", "p_value")


def render_junit(comparison: Comparison) -> str:
    """Render the XML, with its declaration (UTF-8).

    A metric that fails a gated session is a failure, with or without a gate; an undecided one is
    skipped, as is one that drifts. A comparison that could not be made is an error.
    """
    return "".join(stream_junit(comparison))


def stream_junit(comparison: Comparison) -> Iterator[str]:
    """Yield the text of :func:`render_junit` in small pieces."""
    ranked = comparison.ranked()
    # The numbers stand first: what they count is gone through twice, and never kept.
    found = Counter(kind for kind, _ in _cases(comparison, ranked))
    suite = {
        "name": "pytest-mlflow",
        "tests": str(found.total()),
        "failures": str(found["failure"]),
        "errors": str(found["error"]),
        "skipped": str(found["skipped"]),
        "time": f"{comparison.duration:.3f}" if 0 <= comparison.duration < 1e9 else "0",
        "timestamp": numbers.timestamp(comparison.session.start_time),
    }
    told = {"session": comparison.session.name, "baseline": provenance(comparison)}
    yield (
        '<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n'
        f"  <testsuite{_attributes(suite)}>\n{_properties(told, 4)}"
    )
    for kind, render in _cases(comparison, ranked):
        yield render(kind)
    yield "  </testsuite>\n</testsuites>\n"


_Kind: TypeAlias = Literal["failure", "error", "skipped", ""]
_Case: TypeAlias = tuple[_Kind, Callable[[_Kind], str]]
"""The kind of a case's result, empty if it passed, and what renders it for that kind."""


def _cases(comparison: Comparison, ranked: Sequence[MetricComparison]) -> Iterator[_Case]:
    if comparison.problem is not None:
        message = "the comparison could not be made"
        yield "error", _told("pytest-mlflow", "comparison", message, comparison.problem)
    for mistake in comparison.mistakes:
        yield "error", _told("pytest-mlflow", "settings", "nothing matches", mistake)
    for guard in comparison.guards:
        if guard.accepted is None:
            told = _told(guard.case, f"check of {guard.metric}", describe_guard(guard))
            yield "failure" if guard.gates else "skipped", told
    for metric in ranked:
        yield _kind(metric), partial(_metric, metric)
    for one in comparison.unjudged:
        parts = [f"the test's outcome is {one.outcome}", *map(describe_missed, one.missed)]
        kind: _Kind = "error" if one.outcome in BROKEN_OUTCOMES else "skipped"
        yield kind, _told(one.case, "not judged", "; ".join(parts), one.failure or "")


def _kind(metric: MetricComparison) -> _Kind:
    if metric.gates:
        return "failure"
    return "skipped" if metric.advisory or metric.status not in _SETTLED else ""


def _metric(metric: MetricComparison, kind: _Kind) -> str:
    figures = {name: _exact(getattr(metric, name)) for name in _FIGURES}
    margin = _exact(metric.margin and metric.margin.margin)
    properties = {"status": metric.status, **figures, "n": str(metric.n), "margin": margin}
    inside = _properties({name: text for name, text in properties.items() if text}, 6)
    message = f"{metric.status}: {metric.reason}"
    if kind == "failure":
        inside += _result(kind, message, _details(metric))
    elif kind:
        inside += _result(kind, f"{'informational: ' if metric.advisory else ''}{message}")
    return _case(metric.case, metric.metric, inside)


def _told(classname: str, name: str, message: str, text: str = "") -> Callable[[_Kind], str]:
    """Return what renders a case that has nothing but its result."""
    return lambda kind: _case(classname, name, _result(kind, message, text))


def _case(classname: str, name: str, inside: str) -> str:
    names = {"classname": one_line(classname, 1_000), "name": one_line(name, 1_000)}
    return f'    <testcase{_attributes(names)} time="0">\n{inside}    </testcase>\n'


def _properties(properties: Mapping[str, str], indent: int) -> str:
    space = " " * indent
    lines = (
        f'{space}  <property name="{name}" value="{_escaped(one_line(text, 2_000))}" />\n'
        for name, text in properties.items()
    )
    return f"{space}<properties>\n{''.join(lines)}{space}</properties>\n"


def _result(kind: _Kind, message: str, text: str = "") -> str:
    start = f"      <{kind}{_attributes({'message': one_line(message, 1_000)})}"
    text = clean(text)
    return f"{start}>{escape(text, quote=False)}</{kind}>\n" if text else f"{start} />\n"


def _attributes(texts: Mapping[str, str]) -> str:
    return "".join(f' {name}="{_escaped(text)}"' for name, text in texts.items())


def _escaped(text: str) -> str:
    return escape(text, quote=False).replace('"', "&quot;")


def _exact(number: float | None) -> str:
    return "" if number is None else repr(float(number))


def _details(metric: MetricComparison) -> str:
    lines = [
        metric.nodeid,
        f"baseline {numbers.value(metric.baseline)} ({numbers.count(metric.n, 'session')})",
        f"now {numbers.value(metric.current)}",
        f"change {numbers.change(metric)}",
        *([] if metric.limit is None else [numbers.limit(metric)]),
        *numbers.standing(metric),
    ]
    if metric.margin is not None:
        lines.append(numbers.headroom(metric.margin))
    return "\n".join(lines)
