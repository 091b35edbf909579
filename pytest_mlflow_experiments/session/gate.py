"""Fail a session whose metrics regressed, wherever pytest shows failures."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, final

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest.junitxml import bin_xml_escape, mangle_test_address, xml_key

from ..records import FAILED_OUTCOMES
from ..regression.compare import outcome_of
from ..regression.comparison import Comparison
from ..report.metric_lines import describe_guard, describe_metric
from ..report.text import clean

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter
    from _pytest.junitxml import LogXML
    from _pytest.terminal import TerminalReporter


def fail_testcase(xml: LogXML, nodeid: str, text: str) -> bool:
    """Turn a passed test case of the XML into a failed one; return whether there is one.

    Another report of the same test would add a second test case. The first one is finished, but its
    element is written at the end.
    """
    *classes, name = mangle_test_address(nodeid)
    if xml.prefix:
        classes.insert(0, xml.prefix)
    wanted = {"classname": bin_xml_escape(".".join(classes)), "name": bin_xml_escape(name)}
    for reporter in xml.node_reporters_ordered:
        element = reporter.to_xml()
        if wanted.items() <= dict(element.attrib).items() and element.find("failure") is None:
            message = str(bin_xml_escape(text))
            ET.SubElement(element, "failure", message=message).text = message
            xml.stats["passed"] -= 1
            xml.stats["failure"] += 1
            return True
    return False


SECTION: Final = "mlflow gate"
"""The node id of failures of the gate that belong to no test."""


def fail_session(
    session: pytest.Session,
    comparison: Comparison,
    nodeids: Mapping[str, str],
    not_run: Mapping[str, str],
) -> bool:
    """Fail a session with regressions or without verdicts; return whether it failed.

    Each reason is then shown in the short summary, the JUnit XML and, if it is a test's, the
    cache of ``--lf``. ``nodeids`` maps the comparison's node ids to pytest's own, where these
    contain secrets; ``not_run`` has the outcomes of tests that failed by themselves.
    """
    if not comparison.rejected:
        return False
    mark_failed(session)
    lines: dict[str, list[str]] = defaultdict(list)
    for metric in comparison.gating():
        if outcome_of(metric.nodeid, not_run)[1] in FAILED_OUTCOMES:
            # It has a report of its own, and counts once.
            continue
        lines[nodeids.get(metric.nodeid, metric.nodeid)].append(describe_metric(metric))
    for guard in comparison.guards:
        if guard.gates:
            nodeid = nodeids.get(guard.nodeid, guard.nodeid) or SECTION
            lines[nodeid].append(describe_guard(guard))
    if told := [*filter(None, [comparison.problem]), *comparison.mistakes]:
        lines[SECTION] += told
    for nodeid, texts in lines.items():
        if len(texts) > 1:
            # The short summary has the first line alone.
            texts = [f"{place} of {len(texts)}: {text}" for place, text in enumerate(texts, 1)]
        _send(session.config, nodeid, clean("\n".join(texts)))
    return True


def mark_failed(session: pytest.Session) -> None:
    """Set the exit status of failed tests, unless the status is a failure already."""
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@final
class _Verdict(TerminalRepr):
    """The text of a report in place of a traceback; ``reprcrash`` is for the short summary."""

    def __init__(self, path: str, text: str) -> None:
        self.reprcrash = ReprFileLocation(path, 0, text)

    def toterminal(self, tw: TerminalWriter) -> None:
        """Write the text."""
        tw.line(self.reprcrash.message, red=True)


def _send(config: pytest.Config, nodeid: str, text: str) -> None:
    """Report a failure to every plugin except those that would count the test twice."""
    path, _, test = nodeid.partition("::")
    report = pytest.TestReport(
        nodeid=nodeid,
        location=(path, None, test.replace("::", ".") or nodeid),
        keywords={},
        outcome="failed",
        longrepr=_Verdict(path, text),
        when="call",
    )
    manager = config.pluginmanager
    terminal: TerminalReporter | None = manager.get_plugin("terminalreporter")
    xml = config.stash.get(xml_key, None)
    # The session itself would take it for a reason to stop, the terminal show progress again.
    names = ("session", "mlflow-session", "mlflow-capture", "mlflow-selection")
    untold: list[object] = [terminal, *map(manager.get_plugin, names)]
    if report.nodeid == SECTION:
        untold.append(manager.get_plugin("lfplugin"))
    if xml is not None and fail_testcase(xml, report.nodeid, report.longreprtext):
        untold.append(xml)
    hook = manager.subset_hook_caller(
        "pytest_runtest_logreport", [plugin for plugin in untold if plugin is not None]
    )
    with suppress(Exception):
        # Somebody may expect attributes that only reports of tests have.
        hook(report=report)
    if terminal is not None:
        _count(terminal, report)


def _count(terminal: TerminalReporter, report: pytest.TestReport) -> None:
    """Change the count of a test from passed to failed."""
    passed = terminal.stats.get("passed", [])
    for number, known in enumerate(passed):
        # With pytest-xdist's groups, "@group" stands behind it.
        if known.nodeid == report.nodeid or known.nodeid.startswith(f"{report.nodeid}@"):
            del passed[number]
            break
    if not passed:
        terminal.stats.pop("passed", None)
    terminal.stats.setdefault("failed", []).append(report)
