"""The comparison of a session with its baseline, in the controller: ask, judge, report."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import pytest
from _pytest.outcomes import OutcomeException

from ..baseline import (
    damage_notes,
    load_file,
    session_request,
    write_baseline,
)
from ..records import SessionEnd, SessionHeader, journal
from ..records.directory import DIRECTORY_NAME, SessionDirectory, SessionState
from ..records.journal import JournalError
from ..regression.compare import compare, gate_problem, session_info
from ..regression.comparer import CompareOptions
from ..regression.comparison import Comparison
from ..regression.sweeps.build import SweepBuilder
from ..regression.values import Sessions, collect_session, collect_values
from .comparison_settings import ComparisonSettings
from .reports import SessionReports, error_text, path_below
from .selection import Selection


def compare_options(config: pytest.Config, settings: ComparisonSettings) -> CompareOptions:
    """Return how sessions are compared, with the rule that the hooks make."""
    rule = config.hook.pytest_mlflow_rule
    return CompareOptions(
        seed_params=settings.seed_params,
        window=settings.history,
        ini_tolerances=settings.ini_tolerances,
        tolerances=settings.tolerances,
        directions=settings.directions,
        accepted=settings.accepted,
        rule=lambda series: rule(series=series),
    )


@final
class SessionVerdicts:
    """Compares one session with its baseline; ``reports`` are what tells of it."""

    def __init__(
        self,
        config: pytest.Config,
        settings: ComparisonSettings,
        directory: SessionDirectory,
        header: SessionHeader,
    ) -> None:
        self._config = config
        self._settings = settings
        self._directory = directory
        self._header = header
        self._problem: str | None = None
        self._has_baseline = False
        self.reports = SessionReports(config, directory)

    @property
    def awaits_tracker(self) -> bool:
        """Whether the tracker was asked for the baseline."""
        return self._directory.baseline_request.exists()

    def ask(self, selection: Sequence[str], *, online: bool) -> None:
        """Find the baseline, or leave a request for the tracker, which is started after this.

        Args:
            selection: which tests were asked for: sessions with the same ones are preferred.
            online: whether there is going to be a tracker.
        """
        request = session_request(
            self._header,
            self._settings.baseline,
            self._settings.history,
            selection=selection,
            rootdir=self._config.rootpath,
        )
        try:
            path = self._config.hook.pytest_mlflow_baseline(config=self._config, request=request)
            if path is not None:
                self._take(path)
            elif online:
                request.write(self._directory.baseline_request)
        except (Exception, OutcomeException) as error:  # noqa: BLE001 - hooks raise what they like
            self._problem = f"the baseline {request.spec!r} can't be read: {error_text(error)}"

    def _take(self, path: object) -> None:
        """Bring a baseline to where workers, which may run suspicious cases again, find it too."""
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"pytest_mlflow_baseline returned {path!r}; expected a path or None")
        source, target = Path(path), self._directory.baseline
        if source != target:
            file = load_file(source)
            # Reports are read elsewhere, where only a relative path means anything.
            rootdir = self._config.rootpath
            place = path_below(rootdir, source) or str(source)
            spec = self._settings.baseline.replace(str(source), place)
            provenance = replace(file.provenance, spec=spec, place=place)
            write_baseline(target, provenance, (one.entries() for one in file.sessions))
        self._has_baseline = True

    def finish(
        self,
        end: SessionEnd,
        state: SessionState | None,
        selection: Selection,
        problem: str | None = None,
    ) -> Comparison:
        """Compare, tell the hooks and write the reports.

        Args:
            end: how the session ends, as far as that is known.
            state: what the tracker says; None where it was not asked for the baseline.
            selection: which tests ran and which did not.
            problem: why no verdict can be reached, whatever the baseline is.
        """
        with warnings.catch_warnings():
            # Libraries are loaded here, and what they warn of must not become an error of ours.
            warnings.simplefilter("ignore")
            options = compare_options(self._config, self._settings)
            sweeps = SweepBuilder(options)
            try:
                comparison = self._compare(end, state, selection, problem, options, sweeps)
            except (Exception, OutcomeException) as error:  # noqa: BLE001 - as hooks like
                # A session must not end in a traceback of ours.
                comparison = Comparison(
                    session=session_info(self._header),
                    baseline=None,
                    problem=f"the verdicts could not be reached: {error_text(error)}",
                    gated=self._settings.gate,
                )
            try:
                comparison = replace(comparison, sweeps=sweeps.build())
            except Exception as error:  # noqa: BLE001 - nor must it lack its verdicts
                self.reports.notes.append(f"the sweeps failed: {error_text(error)}")
            self.reports.publish(comparison, self._settings.reports)
        return comparison

    def _compare(
        self,
        end: SessionEnd,
        state: SessionState | None,
        selection: Selection,
        problem: str | None,
        options: CompareOptions,
        sweeps: SweepBuilder,
    ) -> Comparison:
        settings = self._settings
        baseline: Sessions | None = None
        problem = problem or self._problem or _no_answer(state)
        if problem is None and (self._has_baseline or (state and state.baseline == "found")):
            try:
                baseline = self._read_baseline()
            except (OSError, JournalError) as error:
                problem = f"the baseline can't be read: {error}"
        damaged = self._damaged(baseline)
        notes = [*damaged]
        if problem is None and baseline is None:
            if settings.gate:
                # What is here matters only where the baseline was looked for here.
                required_by = "--mlflow-require-baseline" if settings.require_baseline else None
                problem = gate_problem([] if self.awaits_tracker else damaged, required_by)
            if problem is None and settings.baseline != "auto":
                notes.append(f"No session is known for --mlflow-baseline={settings.baseline}")
        entries = sweeps.watch(journal.read(self._directory.journal))
        current = collect_session(entries, options.seed_params)
        current.end = end
        return compare(
            current,
            baseline,
            options,
            not_run=selection.not_run,
            passed=selection.passed,
            problem=problem,
            gated=settings.gate,
            notes=notes,
        )

    def _damaged(self, baseline: Sessions | None) -> list[str]:
        """Return notes of the sessions on this machine that can't be read and might be history."""
        place = DIRECTORY_NAME
        if baseline is not None and baseline.provenance is not None:
            place = baseline.provenance.place
        if self._settings.baseline.startswith("file:") or not place.endswith(DIRECTORY_NAME):
            return []
        return damage_notes(self._config.rootpath)

    def _read_baseline(self) -> Sessions | None:
        """Return the sessions to compare with, or None where the file holds none."""
        entries = journal.read_slim(self._directory.baseline)
        sessions = collect_values(entries, self._settings.seed_params)
        return sessions if sessions.sessions else None


def _no_answer(state: SessionState | None) -> str | None:
    """Return why the tracker has not answered, or None where it has or was not asked."""
    if state is None or state.baseline in ("found", "none"):
        return None
    return f"the baseline can't be read: {state.baseline_error or state.error or 'no answer'}"
