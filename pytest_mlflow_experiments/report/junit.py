"""The comparison as JUnit XML: one test case for each metric, for CI servers."""

from __future__ import annotations

from xml.etree import ElementTree

from ..regression.comparison import Comparison, MetricComparison, UnjudgedCase
from . import numbers
from .headline import BROKEN_OUTCOMES, provenance
from .metric_lines import describe_guard
from .text import clean, one_line

_SETTLED = frozenset({"accepted", "improved", "unchanged"})
_FIGURES = ("baseline", "current", "change", "relative", "limit", "p_value")


def render_junit(comparison: Comparison) -> str:
    """Render the XML, with its declaration (UTF-8).

    A metric that fails a gated session is a failure, with or without a gate; an undecided one is
    skipped, as is one that drifts. A comparison that could not be made is an error.
    """
    suite = ElementTree.Element("testsuite", name="pytest-mlflow")
    _properties(suite, {"session": comparison.session.name, "baseline": provenance(comparison)})
    if comparison.problem is not None:
        case = _case(suite, "pytest-mlflow", "comparison")
        _result(case, "error", "the comparison could not be made", comparison.problem)
    for mistake in comparison.mistakes:
        _result(_case(suite, "pytest-mlflow", "settings"), "error", "nothing matches", mistake)
    for guard in comparison.guards:
        if guard.accepted is None:
            case = _case(suite, guard.case, f"guard of {guard.metric}")
            _result(case, "failure" if guard.gates else "skipped", describe_guard(guard))
    for metric in comparison.ranked():
        _add_metric(suite, metric)
    for unjudged in comparison.unjudged:
        _add_unjudged(suite, unjudged)
    suite.set("tests", str(len(suite.findall("testcase"))))
    for kind, total in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(total, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("time", f"{comparison.duration:.3f}" if 0 <= comparison.duration < 1e9 else "0")
    suite.set("timestamp", numbers.timestamp(comparison.session.start_time))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _add_metric(suite: ElementTree.Element, metric: MetricComparison) -> None:
    case = _case(suite, metric.case, metric.metric)
    properties: dict[str, str] = {"status": metric.status}
    properties |= {name: _exact(getattr(metric, name)) for name in _FIGURES}
    properties |= {"n": str(metric.n), "margin": _exact(metric.margin and metric.margin.margin)}
    _properties(case, {name: text for name, text in properties.items() if text})
    if metric.gates:
        _result(case, "failure", _message(metric), _details(metric))
    elif metric.advisory:
        _result(case, "skipped", f"advisory: {_message(metric)}")
    elif metric.status not in _SETTLED:
        _result(case, "skipped", _message(metric))


def _add_unjudged(suite: ElementTree.Element, unjudged: UnjudgedCase) -> None:
    case = _case(suite, unjudged.case, "not judged")
    kind = "error" if unjudged.outcome in BROKEN_OUTCOMES else "skipped"
    _result(case, kind, f"the test's outcome is {unjudged.outcome}", unjudged.failure or "")


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    attributes = {"classname": one_line(classname, 1_000), "name": one_line(name, 1_000)}
    return ElementTree.SubElement(suite, "testcase", attributes, time="0")


def _properties(parent: ElementTree.Element, properties: dict[str, str]) -> None:
    element = ElementTree.SubElement(parent, "properties")
    for name, text in properties.items():
        ElementTree.SubElement(element, "property", name=name, value=one_line(text, 2_000))


def _result(case: ElementTree.Element, kind: str, message: str, text: str = "") -> None:
    ElementTree.SubElement(case, kind, message=one_line(message, 1_000)).text = clean(text) or None


def _exact(number: float | None) -> str:
    return "" if number is None else repr(float(number))


def _message(metric: MetricComparison) -> str:
    return f"{metric.status}: {metric.reason}"


def _details(metric: MetricComparison) -> str:
    lines = [
        metric.nodeid,
        f"baseline {numbers.value(metric.baseline)} (n = {metric.n})",
        f"now {numbers.value(metric.current)}",
        f"change {numbers.change(metric)}",
        f"limit {numbers.limit(metric)}",
        *numbers.standing(metric),
    ]
    if metric.margin is not None:
        guard = f"{numbers.assertion(metric.margin)}, margin {numbers.margin(metric)}"
        lines.append(f"assertion {guard}")
    return "\n".join(lines)
