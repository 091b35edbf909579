"""Report the cases that a resumed session takes over instead of running them."""

from __future__ import annotations

import functools
import inspect
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import date, time, timedelta
from enum import Enum
from numbers import Number
from pathlib import Path, PurePath
from types import FunctionType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, Final, final

import pytest

from ..records import CaseRecord
from ..records.codec import decode, encode
from ..records.directory import make_directories, write_private
from ..records.secrets import MASK
from .case import Deliver, record_ids
from .params import case_arguments, case_params, is_told_by_source, stable_text

if TYPE_CHECKING:
    from typing import Literal

    from .secrets import CaseSecrets

    Phase = Literal["setup", "call", "teardown"]

RESUMED: Final = "mlflow_resumed"
"""The attribute of a report with the id of the session that the case ran in."""

_PHASES: Final[tuple[Phase, ...]] = ("setup", "call", "teardown")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierCase:
    """A case that passed before: its record for this session, and its artifact directory."""

    record: CaseRecord
    artifacts: str


def write_cases(path: Path, cases: Iterable[EarlierCase]) -> None:
    """Write the cases that need not run, for the processes that run tests.

    Raises:
        OSError: the file can't be written.
    """
    write_private(path, "".join(f"{json.dumps(encode(case))}\n" for case in cases))


def read_cases(path: Path) -> dict[str, EarlierCase]:
    """Read the cases of :func:`write_cases`, by node id; none without a file."""
    with suppress(FileNotFoundError), path.open(encoding="ascii") as file:
        cases = (decode(EarlierCase, json.loads(line)) for line in file)
        return {case.record.nodeid: case for case in cases}
    return {}


def is_same(item: pytest.Item, record: CaseRecord, secrets: CaseSecrets) -> bool:
    """Return whether a test has the same params as an earlier case with its node id.

    Params that can't be compared are different: secrets, and values without a complete text.
    """
    names = case_arguments(item, secrets.rules.names)
    if names != record.arguments:
        return False
    if not names:
        return True
    if not all(map(has_complete_text, item.callspec.params.values())):  # type: ignore[attr-defined]
        return False
    texts = secrets.without_environment(case_params(item, secrets))
    return all(MASK not in text and record.params.get(name) == text for name, text in texts.items())


@final
@dataclass(eq=False)
class ResumedCases:
    """Reports tests that need not run, instead of running them.

    ``cases`` are the earlier cases by node id; ``artifacts`` gets a directory for each resumed case
    with artifacts.
    """

    cases: dict[str, EarlierCase]
    artifacts: Path
    deliver: Deliver

    def __post_init__(self) -> None:
        self._ids = record_ids()
        self._next: tuple[pytest.Item, CaseRecord, CaseSecrets] | None = None

    def takes(self, item: pytest.Item, nodeid: str, secrets: CaseSecrets) -> bool:
        """Return whether the next test need not run."""
        self._next = None
        # If it comes once more, somebody wants it to run again.
        case = self.cases.pop(nodeid, None)
        if case is None or not is_same(item, case.record, secrets):
            return False
        record = replace(case.record, id=next(self._ids))
        if record.artifacts and not _copy_artifacts(
            Path(case.artifacts), self.artifacts / record.id, record
        ):
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
        _, record, secrets = case
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for phase in _PHASES:
            report = _report(item, record, phase)
            if phase == "teardown":
                failed = _tear_down(item, nextitem)
                if failed is not None:
                    report = failed
                    failure = secrets.of_failure(failed.longreprtext)
                    record = replace(record, outcome="error", failure=failure)
                self.deliver(report, record)
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> Any:
        """Show resumed tests as "resumed"."""
        if not report.passed or getattr(report, RESUMED, None) is None:
            return None
        return ("resumed", "r", "RESUMED") if report.when == "call" else ("", "", "")


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
    """Tear down the fixtures of earlier tests that the next one does not need.

    Returns the report of an error, or None.
    """
    session: Any = item.session
    if session.shouldfail or session.shouldstop:
        nextitem = None
    manager = item.config.pluginmanager.get_plugin("capturemanager")
    # What fixtures print is shown only where they fail, as ever.
    capture = getattr(manager, "item_capture", lambda *_: nullcontext())
    with capture("teardown", item):
        call = pytest.CallInfo.from_call(
            functools.partial(session._setupstate.teardown_exact, nextitem),
            when="teardown",
            reraise=(pytest.exit.Exception, KeyboardInterrupt),
        )
    return None if call.excinfo is None else pytest.TestReport.from_item_and_call(item, call)


def _copy_artifacts(source: Path, target: Path, record: CaseRecord) -> bool:
    """Link or copy the artifacts of a case to its new directory; return whether all exist.

    Files are hard-linked if the system allows it.
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


_PRINTED_IN_FULL: Final = (NoneType, Number, str, bytes, bytearray, Enum, date, time, timedelta)
_NAMED: Final = (type, ModuleType, PurePath)
_CONTAINERS: Final = (list, tuple, set, frozenset, dict)


def has_complete_text(value: object) -> bool:
    """Return whether the text of a value, if it has any, shows all of the value.

    A function without a text does unless it has a closure or defaults; an object of the tests' own
    classes does only if it is a dataclass or a named tuple with the generated repr.
    """
    if stable_text(value) is None:
        return isinstance(value, FunctionType) and is_told_by_source(value)
    return _is_complete(value)


def _is_complete(value: Any) -> bool:
    if isinstance(value, (*_PRINTED_IN_FULL, *_NAMED)):
        return True
    if isinstance(value, functools.partial):
        return all(map(_is_complete, (value.func, *value.args, *value.keywords.values())))
    if inspect.isroutine(value):
        # The method of an object stands for the object too.
        owner = getattr(value, "__self__", None)
        return owner is None or isinstance(owner, (type, ModuleType))
    kind = type(value)
    if kind in _CONTAINERS:
        elements = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_is_complete, elements))
    if is_dataclass(value):
        return _has_fields(value, kind.__qualname__, [one.name for one in fields(value)])
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return _has_fields(value, kind.__name__, kind._fields)
    return False


def _has_fields(value: object, name: str, fields: Iterable[str]) -> bool:
    """Return whether a value's repr shows all of its fields, recursively."""
    values = {field: getattr(value, field) for field in fields}
    shown = ", ".join(f"{field}={held!r}" for field, held in values.items())
    return repr(value) == f"{name}({shown})" and all(map(_is_complete, values.values()))
