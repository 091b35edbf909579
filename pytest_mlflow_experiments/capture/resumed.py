"""The cases of an earlier session that do not run again: they are reported as they were then."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import pytest

from ..records import CaseRecord
from ..records.codec import decode, encode
from ..records.directory import make_directories
from ..records.secrets import MASK
from .params import case_arguments, case_params, has_whole_text

if TYPE_CHECKING:
    from typing import Literal

    from .secrets import CaseSecrets

    Phase = Literal["setup", "call", "teardown"]
    Deliver = Callable[[pytest.TestReport | None, CaseRecord], None]

RESUMED: Final = "mlflow_resumed"
"""The attribute of a report with the id of the session that the case ran in."""

_PHASES: Final[tuple[Phase, ...]] = ("setup", "call", "teardown")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierCase:
    """A case that passed before: its record as it goes on, and where its artifacts are now."""

    record: CaseRecord
    artifacts: Path


def write_cases(path: Path, cases: Iterable[EarlierCase]) -> None:
    """Write the cases that need not run, for the processes that run the others.

    Raises:
        OSError: the file can't be written.
    """
    path.touch(mode=0o600)
    with path.open("w", encoding="ascii") as file:
        for case in cases:
            line = {"artifacts": str(case.artifacts), "case": encode(case.record)}
            file.write(f"{json.dumps(line)}\n")


def read_cases(path: Path) -> dict[str, EarlierCase]:
    """Return by their node ids what :func:`write_cases` has written; nothing where it has not."""
    cases: dict[str, EarlierCase] = {}
    with suppress(FileNotFoundError), path.open(encoding="ascii") as file:
        for data in map(json.loads, file):
            record = decode(CaseRecord, data["case"])
            cases[record.nodeid] = EarlierCase(record=record, artifacts=Path(data["artifacts"]))
    return cases


def is_same(item: pytest.Item, record: CaseRecord, secrets: CaseSecrets) -> bool:
    """Tell whether the params of a test are those of an earlier case with its node id.

    What can't be compared is not the same: secrets, and what has no text that tells all of it.
    """
    names = case_arguments(item)
    if names != record.arguments:
        return False
    if not names:
        return True
    if not all(map(has_whole_text, item.callspec.params.values())):  # type: ignore[attr-defined]
        return False
    texts = secrets.without_environment(case_params(item, secrets))
    return all(MASK not in text and record.params.get(name) == text for name, text in texts.items())


@final
class ResumedCases:
    """Stands in for the run of a test that need not run.

    Args:
        cases: the cases that may be taken over, by their node ids.
        artifacts: the directory that gets a directory for each case with artifacts.
        deliver: called with the report of the teardown and the record of each such case.
    """

    def __init__(
        self, cases: Mapping[str, EarlierCase], *, artifacts: Path, deliver: Deliver
    ) -> None:
        self._cases = dict(cases)
        self._artifacts = artifacts
        self._deliver = deliver
        # Numbered within the process: tests replace what makes a new uuid.
        self._ids = map("{}{:08x}".format, repeat(uuid.uuid4().hex[8:]), count())
        self._next: tuple[pytest.Item, CaseRecord, CaseSecrets] | None = None

    def takes(self, item: pytest.Item, nodeid: str, secrets: CaseSecrets) -> bool:
        """Tell whether a test, which comes next, need not run."""
        self._next = None
        # If it comes once more, somebody wants it to run again.
        case = self._cases.pop(nodeid, None)
        if case is None or not is_same(item, case.record, secrets):
            return False
        record = replace(case.record, id=next(self._ids))
        if record.artifacts and not _bring(case.artifacts, self._artifacts / record.id, record):
            return False
        self._next = item, record, secrets
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        """Report a test that need not run, instead of running it."""
        case, self._next = self._next, None
        # Another plugin may have run the test that was to come next.
        if case is None or case[0] is not item:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item, nextitem, *case[1:]):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> Any:
        """Tell such a test from those that ran."""
        if not report.passed or getattr(report, RESUMED, None) is None:
            return None
        return ("resumed", "r", "RESUMED") if report.when == "call" else ("", "", "")

    def _reports(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        record: CaseRecord,
        secrets: CaseSecrets,
    ) -> Iterator[pytest.TestReport]:
        for phase in _PHASES:
            report = _report(item, record, phase)
            if phase == "teardown":
                failed = _tear_down(item, nextitem)
                if failed is not None:
                    report = failed
                    failure = secrets.of_failure(failed.longreprtext)
                    record = replace(record, outcome="error", failure=failure)
                self._deliver(report, record)
            yield report


def _report(item: pytest.Item, record: CaseRecord, phase: Phase) -> pytest.TestReport:
    report = pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="passed",
        longrepr=None,
        when=phase,
        duration=record.durations.get(phase, 0.0),
        start=record.start_time / 1_000,
        stop=record.end_time / 1_000,
    )
    setattr(report, RESUMED, record.resumed_from)
    return report


def _tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.TestReport | None:
    """Tear down what the tests before have left and the next one does not need.

    Returns the report of what went wrong, or None.
    """
    session: Any = item.session
    if session.shouldfail or session.shouldstop:
        nextitem = None
    capture = item.config.pluginmanager.get_plugin("capturemanager")
    capturing: AbstractContextManager[None] = nullcontext()
    if capture is not None and hasattr(capture, "item_capture"):
        # What fixtures print is shown only where they fail, as ever.
        capturing = capture.item_capture("teardown", item)
    with capturing:
        call = pytest.CallInfo.from_call(
            partial(session._setupstate.teardown_exact, nextitem),
            when="teardown",
            reraise=(pytest.exit.Exception, KeyboardInterrupt),
        )
    return None if call.excinfo is None else pytest.TestReport.from_item_and_call(item, call)


def _bring(source: Path, target: Path, record: CaseRecord) -> bool:
    """Bring the artifacts of a case to its new place; tell whether all are there.

    The same file has two names then, where the system allows it.
    """
    try:
        for name in record.artifacts:
            make_directories((target / name).parent)
            try:
                os.link(source / name, target / name)
            except OSError:
                shutil.copyfile(source / name, target / name)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True
