"""Compare a session with its baseline in the controller: find it, judge, report."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import final

import pytest
from _pytest.outcomes import OutcomeException

from ..baseline.files import changed_settings, copy_file
from ..baseline.kept_values import ValuesReader
from ..baseline.local import damage_notes
from ..baseline.local_baseline import read_baseline
from ..baseline.specs import BaselineError, BaselineRequest, session_request, why_unknown
from ..records import CaseRecord, SessionEnd, SessionHeader, journal
from ..records.directory import (
    DIRECTORY_NAME,
    SessionDirectory,
    SessionState,
    make_directories,
    shown_path,
    write_private,
    write_report,
)
from ..records.journal import JournalError
from ..records.processes import without_collector
from ..regression.compare import compare_sessions, gate_problem, session_info
from ..regression.comparison import Comparison
from ..regression.sweeps.build import SweepBuilder
from ..regression.sweeps.model import Sweep
from ..regression.values import (
    Sessions,
    SessionValues,
    collect_session,
    identity,
)
from .builtin_hooks import STANDARD_SUFFIXES
from .comparison_settings import ComparisonSettings
from .selection import Selection

_BESIDE = 2_000_000
"""Bytes that are read at most of the journals of sessions that are in no baseline."""


@final
@dataclass
class SessionVerdicts:
    """Compares one session with its baseline; ``reports`` writes the reports."""

    _config: pytest.Config
    _settings: ComparisonSettings
    _directory: SessionDirectory
    _header: SessionHeader
    _problem: str | None = None
    _has_baseline: bool = False
    _request: BaselineRequest | None = None
    _sessions: Sessions | None = None

    def __post_init__(self) -> None:
        self._reader = ValuesReader(self._settings.options.seed_params)
        self.reports = SessionReports(self._config, self._directory)

    @property
    def awaits_tracker(self) -> bool:
        """Whether the tracker was asked for the baseline."""
        return self._problem is None and self._directory.baseline_request.exists()

    def ask(self, selection: Sequence[str], *, online: bool) -> None:
        """Find the baseline, or write a request for the tracker, which is started after this.

        Sessions with the same ``selection`` of tests are preferred. ``online`` tells whether there
        will be a tracker.
        """
        spec, history = self._settings.baseline, self._settings.options.window
        rootdir = self._config.rootpath
        request = session_request(self._header, spec, history, selection, rootdir)
        self._request = request
        try:
            path = self._config.hook.pytest_mlflow_baseline(config=self._config, request=request)
            if path is not None:
                self._copy_baseline(path)
            elif online:
                request.write(self._directory.baseline_request)
        except (Exception, OutcomeException) as error:  # noqa: BLE001 - hooks raise what they like
            self._problem = f"the baseline {request.spec!r} can't be read: {error_text(error)}"

    def _copy_baseline(self, path: object) -> None:
        """Copy a baseline to the session directory, where workers find it for fresh runs.

        Sessions on this machine are read where they are.
        """
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"pytest_mlflow_baseline returned {path!r}; expected a path or None")
        source, target = Path(path), self._directory.baseline
        if source not in (target, self._directory.local_baseline):
            # Reports are read elsewhere, where only a relative path means anything.
            rootdir = self._config.rootpath
            place = path_below(rootdir, source) or str(source)
            spec = self._settings.baseline.replace(str(source), place)
            copy_file(source, target, spec=spec, place=place)
        self._has_baseline = True

    def read_baseline(self, state: SessionState | None) -> None:
        """Read the baseline; ``state`` is the tracker's, None if it was not asked for one."""
        self._problem = self._problem or _no_answer(state)
        self._has_baseline |= state is not None and state.baseline == "found"
        if self._problem is None and self._has_baseline:
            try:
                found = read_baseline(self._directory, self._reader)
                self._sessions = found if found.sessions else None
            except (OSError, JournalError) as error:
                self._problem = f"the baseline can't be read: {error}"

    def knows(self, record: CaseRecord) -> bool:
        """Return whether the case of a record passed in a session of the baseline."""
        case, _ = identity(record, self._settings.options.seed_params)
        past = self._sessions.sessions if self._sessions is not None else ()
        return any(case in one.cases and one.cases[case].passed for one in past)

    def finish(self, end: SessionEnd, selection: Selection, problem: str | None) -> Comparison:
        """Compare with the baseline that was read, tell the hooks and write the reports.

        Args:
            end: the session's end so far.
            selection: which tests ran and which did not.
            problem: why verdicts are impossible, whatever the baseline is.
        """
        self._problem = problem or self._problem
        with warnings.catch_warnings():
            # Libraries are loaded here, and what they warn of must not become an error of ours.
            warnings.simplefilter("ignore")
            sweeps = SweepBuilder(self._settings.options)
            try:
                comparison = self._compare(end, selection, sweeps)
            except (Exception, OutcomeException) as error:  # noqa: BLE001 - hooks may be in it
                # A session must not end in a traceback of ours.
                comparison = Comparison(
                    session=session_info(self._header),
                    baseline=None,
                    # What is missing in the journal may be the reason.
                    problem=self._problem or f"metrics can't be judged: {error_text(error)}",
                    gated=self._settings.gate,
                )
            try:
                slices = sweeps.slices(comparison.metrics)
                comparison = replace(
                    comparison, sweeps=sweeps.build(), slices=slices, exit_status=end.exit_status
                )
            except Exception as error:  # noqa: BLE001 - nor must it lack its verdicts
                self.reports.notes.append(f"the sweeps failed: {error_text(error)}")
            # Only here, for it takes time that no session needs at its start.
            from ..report.links import located

            comparison = located(comparison, self._directory)
            self.reports.publish(comparison, self._settings.reports)
        return comparison

    def _compare(self, end: SessionEnd, selection: Selection, sweeps: SweepBuilder) -> Comparison:
        settings, problem = self._settings, self._problem
        baseline = self._sessions if problem is None else None
        damaged = self._damaged(baseline)
        notes = [*damaged]
        required_by = "--mlflow-require-baseline" if settings.require_baseline else None
        if problem is None and baseline is None:
            unknown = (
                None if self._request is None else why_unknown(self._request, self._config.rootpath)
            )
            if settings.gate:
                # What is here matters only where the baseline was looked for here.
                problem = gate_problem([] if self.awaits_tracker else damaged, required_by, unknown)
            if problem is None and settings.baseline != "auto":
                why = f": {unknown}" if unknown else ""
                notes.append(f"There is no session for --mlflow-baseline={settings.baseline}{why}")
        entries = sweeps.watch(journal.read(self._directory.journal))
        with without_collector():
            current = collect_session(entries, settings.options.seed_params)
        current.end = end
        swept: tuple[Sweep, ...] = ()
        with suppress(Exception):  # it is told of where they are reported
            swept = sweeps.build()
        return compare_sessions(
            current,
            baseline,
            settings.options,
            not_run=selection.not_run,
            passed=selection.passed,
            whole=selection.whole,
            problem=problem,
            gated=settings.gate,
            required_by=required_by,
            notes=notes,
            sweeps=swept,
            others=self._beside(baseline),
            settings=changed_settings(
                self._config.rootpath,
                settings.baseline,
                self._request.base_branch if self._request is not None else None,
            ),
        )

    def _beside(self, baseline: Sessions | None) -> list[SessionValues]:
        """Read the newest sessions of this directory that are not in the baseline.

        Failed ones, which never are, tell how reliable the tests are.
        """
        past = baseline.sessions if baseline is not None else []
        known = {self._header.session_id, *(one.header.session_id for one in past)}
        found, left = [], _BESIDE
        for directory in reversed(SessionDirectory.find_all(self._config.rootpath)):
            if directory.session_id in known:
                continue
            with suppress(OSError, JournalError, ValueError):
                left -= directory.journal.stat().st_size
                if left < 0:
                    break
                if journal.has_end(directory.journal):
                    session = self._reader.read(directory.journal)
                else:
                    entries = journal.read_slim(directory.journal)
                    session = collect_session(entries, self._settings.options.seed_params)
                # Of the time before the baseline, the passing sessions would be missing.
                if past and session.header.start_time < past[0].header.start_time:
                    break
                found.append(session)
        return found

    def _damaged(self, baseline: Sessions | None) -> list[str]:
        """Return notes of damaged sessions on this machine that might belong to the baseline."""
        place, readable = DIRECTORY_NAME, set()
        if baseline is not None and baseline.provenance is not None:
            place = baseline.provenance.place
            readable = {one.header.session_id for one in baseline.sessions}
        if self._settings.baseline.startswith("file:") or not place.endswith(DIRECTORY_NAME):
            return []
        return damage_notes(self._config.rootpath, readable)


def _no_answer(state: SessionState | None) -> str | None:
    """Return why the tracker has not answered, or None if it has or was not asked."""
    if state is None or state.baseline in ("found", "none"):
        return None
    return f"the baseline can't be read: {state.baseline_error or state.error or 'no answer'}"


@final
@dataclass
class SessionReports:
    """Writes the reports of one session; an error in one does not affect the others.

    ``written`` are the paths of the reports; ``annotations`` are lines that GitHub reads from the
    output; ``notes`` describe failures.
    """

    _config: pytest.Config
    _directory: SessionDirectory
    written: list[Path] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def publish(self, comparison: Comparison, paths: Iterable[Path]) -> None:
        """Call the hooks, and write the reports: the standard ones, and those at ``paths``."""
        hook = self._config.hook.pytest_mlflow_compared
        self._try(
            "pytest_mlflow_compared", lambda: hook(config=self._config, comparison=comparison)
        )
        standard = [self._directory.path / f"report{suffix}" for suffix in STANDARD_SUFFIXES]
        for path in (*standard, *paths):
            self._try(f"the report {shown_path(path)}", partial(self._write, comparison, path))

        from ..report.github import add_to_step_summary, workflow_commands

        html = self._directory.path / "report.html"
        self._try("the step's summary", partial(add_to_step_summary, comparison, html))
        found = self.annotations
        rootdir = self._config.rootpath
        self._try("the annotations", lambda: found.extend(workflow_commands(comparison, rootdir)))

    def shown(self) -> list[str]:
        """Return the paths of the reports for people, as users type them."""
        own = self._directory.path
        return [
            shown_path(path)
            for path in self.written
            if path.parent != own or path.suffix in (".html", ".md")
        ]

    def _write(self, comparison: Comparison, path: Path) -> None:
        text = self._rendered(comparison, path)
        if text is None:
            raise ValueError(f"no format is known for {path.suffix or 'a file without a suffix'}")
        # What stands in the session's directory is uploaded with it, and is the user's alone.
        kept = self._directory.path / f"report{path.suffix}"
        try:
            make_directories(kept.parent)
            write_private(kept, text)
        except OSError:
            # The other place may have room.
            if path != kept and (text := self._rendered(comparison, path)) is not None:
                write_report(path, text)
                self.written.append(path)
            raise
        if path != kept:
            with kept.open(encoding="utf-8", newline="") as file:
                write_report(path, file)
        self.written.append(path)

    def _rendered(self, comparison: Comparison, path: Path) -> str | Iterable[str] | None:
        """Return the report for a path, whole or in pieces; None if nobody knows its format."""
        text: str | Iterable[str] | None = self._config.hook.pytest_mlflow_render(
            config=self._config, comparison=comparison, suffix=path.suffix
        )
        return text

    def _try(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except (Exception, OutcomeException) as error:  # noqa: BLE001 - hooks raise what they like
            self.notes.append(f"{what} failed: {error_text(error)}")


def path_below(directory: Path | str | None, path: Path) -> str | None:
    """Return a path relative to a directory, or None if it is not below it."""
    if not directory or not path.is_relative_to(directory):
        return None
    return path.relative_to(directory).as_posix()


def error_text(error: BaseException) -> str:
    """Return the text of an error, with its class if the text alone may say little."""
    if isinstance(error, BaselineError | JournalError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"
