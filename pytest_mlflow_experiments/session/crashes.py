"""Make the records of cases whose pytest-xdist worker crashed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final, final

import pytest

from ..capture.case import Deliver
from ..capture.measuring import Clock
from ..capture.plugin import Track
from ..capture.running import RunningNote
from ..records import Attempt, CaseRecord, journal
from ..records.directory import SessionDirectory
from ..records.secrets import SHOWN_NODEID
from .selection import plain_nodeid

CARGO: Final = "mlflow_case"
"""The attribute under which a record travels on a report, as a line of the journal."""


@final
class CrashedCases:
    """Follows the reports of workers, and makes the records that crashed ones can't send.

    A case that crashed its worker may have had metrics that nobody can know of. So it is kept,
    except where its marker or ``--mlflow-track=marked`` say that it never would be.

    Args:
        directory: the session's directory, where workers note what they are running.
        track: which tests are kept.
        deliver: called with each record that is made here.
    """

    def __init__(self, directory: SessionDirectory, track: Track, deliver: Deliver) -> None:
        self._directory = directory
        self._track = track
        self._deliver = deliver
        self._clock = Clock()
        self._last: dict[str, str] = {}
        self._told: set[str] = set()
        self._attempts: dict[str, list[Attempt]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the record that came with a report, or make the record of a crash."""
        worker = _worker(report)
        line: str | None = getattr(report, CARGO, None)
        if line is not None:
            self._last[worker] = line
            if report.nodeid in self._attempts:
                setattr(report, CARGO, self._with_attempts(report.nodeid, line))
        elif report.when not in ("setup", "call", "teardown"):
            self._crashed(report, worker)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Keep the cases that were interrupted in workers, which have ended by now."""
        for note in RunningNote.find_all(self._directory):
            running = note.read()
            note.remove()
            record = running.record if running is not None else None
            if record is not None and record.outcome == "interrupted" and self._is_news(record):
                self._deliver(None, record)

    def _crashed(self, report: pytest.TestReport, worker: str) -> None:
        running = RunningNote.of(self._directory, worker).read()
        record: CaseRecord | None
        if running is not None and running.is_of(report.nodeid):
            record = running.record
        else:
            # The worker died before it could note the case.
            record = None if self._track == "marked" else self._bare(report)
        if record is None or not self._is_news(record):
            return
        failure = _without(str(report.longrepr), report.nodeid, record.nodeid)
        if record.nodeid != plain_nodeid(report.nodeid):
            setattr(report, SHOWN_NODEID, record.nodeid)
        now = max(record.start_time, self._clock.now())
        seconds = (now - record.start_time) / 1_000
        if report.outcome == "rerun":  # type: ignore[comparison-overlap] # by pytest-rerunfailures
            attempt = Attempt(outcome="failed", duration=seconds, failure=failure)
            earlier = self._attempts.setdefault(report.nodeid, [])
            earlier += [*record.attempts, attempt]
            return
        self._told.add(record.id)
        self._deliver(
            report,
            replace(
                record,
                outcome="failed",
                failure=failure,
                end_time=now,
                durations={"call": seconds},
                artifacts=self._artifacts(record.id),
                attempts=(*self._attempts.pop(report.nodeid, ()), *record.attempts),
            ),
        )

    def _bare(self, report: pytest.TestReport) -> CaseRecord:
        """Return the record of a case of which only its node id is known."""
        nodeid, now = plain_nodeid(report.nodeid), self._clock.now()
        head, bracket, params = nodeid.partition("[")
        return CaseRecord(
            id=os.urandom(16).hex(),
            nodeid=nodeid,
            case=nodeid,
            name=f"{head.rpartition('::')[2]}{bracket}{params}",
            outcome="failed",
            start_time=now,
            end_time=now,
            durations={},
        )

    def _is_news(self, record: CaseRecord) -> bool:
        """Tell whether the case has no record yet: a worker can crash right after it sent one."""
        return record.id not in self._told and not any(
            record.id in line for line in self._last.values()
        )

    def _with_attempts(self, nodeid: str, line: str) -> str:
        """Return the line of a record with the attempts that crashed before."""
        record = journal.decode(line)
        assert isinstance(record, CaseRecord)
        attempts = (*self._attempts.pop(nodeid), *record.attempts)
        return journal.encode(replace(record, attempts=attempts))

    def _artifacts(self, record_id: str) -> tuple[str, ...]:
        """Return the artifacts that the case had logged before the crash."""
        root = self._directory.artifacts(record_id)
        files = (path for path in root.rglob("*") if path.is_file())
        return tuple(sorted(path.relative_to(root).as_posix() for path in files))


def _without(text: str, nodeid: str, shown: str) -> str:
    """Return the text of a crash with the node id of the record."""
    return text.replace(repr(nodeid), repr(shown)).replace(nodeid, shown)


def _worker(report: pytest.TestReport) -> str:
    node: Any = getattr(report, "node", None)
    return str(node.gateway.id) if node is not None else ""
