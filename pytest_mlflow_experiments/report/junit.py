"""The comparison as JUnit XML: one test case for each metric, for CI servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

from ..regression.comparison import Comparison, MetricComparison, UnjudgedCase
from . import numbers
from .headline import BROKEN_OUTCOMES, provenance
from .metric_lines import describe_guard, describe_missed
from .text import clean, one_line

_SETTLED = frozenset({"accepted", "improved", "unchanged"})
_TOTALS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
_FIGURES = ("baseline", "current", "change", "relative", "limit", "p_value")


def render_junit(comparison: Comparison) -> str:
    """Render the XML, with its declaration (UTF-8).

    A metric that fails a gated session is a failure, with or without a gate; an undecided one is
    skipped, as is one that drifts. A comparison that could not be made is an error.
    """
    return "".join(stream_junit(comparison))


def stream_junit(comparison: Comparison) -> Iterator[str]:
    """Yield the text of :func:`render_junit` in small pieces."""
    # The numbers stand first: what they count is made twice, and never kept.
    numbers_of = Counter(
        kind for case in _cases(comparison) for kind in ("testcase", *_kinds(case))
    )
    suite = ElementTree.Element("testsuite", name="pytest-mlflow")
    for total, kind in _TOTALS.items():
        suite.set(total, str(numbers_of[kind]))
    suite.set("time", f"{comparison.duration:.3f}" if 0 <= comparison.duration < 1e9 else "0")
    suite.set("timestamp", numbers.timestamp(comparison.session.start_time))
    _properties(suite, {"session": comparison.session.name, "baseline": provenance(comparison)})
    ElementTree.indent(suite, level=1)
    end = "\n  </testsuite>"
    start = ElementTree.tostring(suite, encoding="unicode").removesuffix(end)
    yield f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n  {start}'
    for case in _cases(comparison):
        ElementTree.indent(case, level=2)
        yield f"\n    {ElementTree.tostring(case, encoding='unicode')}"
    yield f"{end}\n</testsuites>\n"


def _kinds(case: ElementTree.Element) -> list[str]:
    return [child.tag for child in case if child.tag != "properties"]


def _cases(comparison: Comparison) -> Iterator[ElementTree.Element]:
    if comparison.problem is not None:
        case = _case("pytest-mlflow", "comparison")
        yield _result(case, "error", "the comparison could not be made", comparison.problem)
    for mistake in comparison.mistakes:
        yield _result(_case("pytest-mlflow", "settings"), "error", "nothing matches", mistake)
    for guard in comparison.guards:
        if guard.accepted is None:
            case = _case(guard.case, f"check of {guard.metric}")
            yield _result(case, "failure" if guard.gates else "skipped", describe_guard(guard))
    yield from map(_metric, comparison.ranked())
    yield from map(_unjudged, comparison.unjudged)


def _metric(metric: MetricComparison) -> ElementTree.Element:
    case = _case(metric.case, metric.metric)
    properties: dict[str, str] = {"status": metric.status}
    properties |= {name: _exact(getattr(metric, name)) for name in _FIGURES}
    properties |= {"n": str(metric.n), "margin": _exact(metric.margin and metric.margin.margin)}
    _properties(case, {name: text for name, text in properties.items() if text})
    if metric.gates:
        _result(case, "failure", _message(metric), _details(metric))
    elif metric.advisory:
        _result(case, "skipped", f"informational: {_message(metric)}")
    elif metric.status not in _SETTLED:
        _result(case, "skipped", _message(metric))
    return case


def _unjudged(unjudged: UnjudgedCase) -> ElementTree.Element:
    case = _case(unjudged.case, "not judged")
    kind = "error" if unjudged.outcome in BROKEN_OUTCOMES else "skipped"
    told = [f"the test's outcome is {unjudged.outcome}", *map(describe_missed, unjudged.missed)]
    return _result(case, kind, "; ".join(told), unjudged.failure or "")


def _case(classname: str, name: str) -> ElementTree.Element:
    attributes = {"classname": one_line(classname, 1_000), "name": one_line(name, 1_000)}
    return ElementTree.Element("testcase", attributes, time="0")


def _properties(parent: ElementTree.Element, properties: dict[str, str]) -> None:
    element = ElementTree.SubElement(parent, "properties")
    for name, text in properties.items():
        ElementTree.SubElement(element, "property", name=name, value=one_line(text, 2_000))


def _result(
    case: ElementTree.Element, kind: str, message: str, text: str = ""
) -> ElementTree.Element:
    ElementTree.SubElement(case, kind, message=one_line(message, 1_000)).text = clean(text) or None
    return case


def _exact(number: float | None) -> str:
    return "" if number is None else repr(float(number))


def _message(metric: MetricComparison) -> str:
    return f"{metric.status}: {metric.reason}"


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
