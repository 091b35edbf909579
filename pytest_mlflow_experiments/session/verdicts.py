"""The comparison of a session with its baseline, in the controller: ask, judge, report."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final

import pytest
from _pytest.outcomes import OutcomeException

from ..baseline import (
    BaselineError,
    BaselineRequest,
    base_branch,
    damage_notes,
    load_file,
    write_baseline,
)
from ..records import SessionEnd, SessionHeader, journal
from ..records.directory import DIRECTORY_NAME, SessionDirectory, SessionState, shown_path
from ..records.git import default_branch
from ..records.journal import JournalError
from ..regression.compare import compare, session_info
from ..regression.comparer import CompareOptions
from ..regression.comparison import Comparison
from ..regression.sweeps.build import SweepBuilder, sweep_builder
from ..regression.values import Sessions, read_sessions
from .builtin_hooks import STANDARD_SUFFIXES
from .comparison_settings import ComparisonSettings
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
    """Compares one session with its baseline.

    ``reports`` are the paths of the reports that were written; ``annotations`` are lines that
    GitHub reads from the output; ``notes`` tell of what failed on the way.
    """

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
        self._found = False
        self.reports: list[Path] = []
        self.annotations: list[str] = []
        self.notes: list[str] = []

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
        request = BaselineRequest(
            spec=self._settings.baseline,
            history=self._settings.history,
            branch=self._header.branch,
            base_branch=base_branch(os.environ) or default_branch(self._config.rootpath),
            selection=tuple(selection),
            session_id=self._header.session_id,
            start_time=self._header.start_time,
        )
        try:
            path = self._config.hook.pytest_mlflow_baseline(config=self._config, request=request)
            if path is not None:
                self._take(path)
            elif online:
                request.write(self._directory.baseline_request)
        except (Exception, OutcomeException) as error:  # noqa: BLE001 - hooks raise what they like
            self._problem = f"the baseline {request.spec!r} can't be read: {_text(error)}"

    def _take(self, path: object) -> None:
        """Bring a baseline to where workers, which may run suspicious cases again, find it too."""
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"pytest_mlflow_baseline returned {path!r}; expected a path or None")
        source, target = Path(path), self._directory.baseline
        if source != target:
            found = load_file(source)
            # Reports are read elsewhere, where only a relative path means anything.
            rootdir = self._config.rootpath
            place = _below(rootdir, source) or str(source)
            spec = self._settings.baseline.replace(str(source), place)
            provenance = replace(found.provenance, spec=spec, place=place)
            write_baseline(target, provenance, (one.entries() for one in found.sessions))
        self._found = True

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
            sweeps = sweep_builder(options)
            try:
                comparison = self._compare(end, state, selection, problem, options, sweeps)
            except (Exception, OutcomeException) as error:  # noqa: BLE001 - as hooks like
                # A session must not end in a traceback of ours.
                comparison = Comparison(
                    session=session_info(self._header),
                    baseline=None,
                    problem=f"the verdicts could not be reached: {_text(error)}",
                    gated=self._settings.gate,
                )
            try:
                comparison = replace(comparison, sweeps=sweeps.build())
            except Exception as error:  # noqa: BLE001 - nor must it lack its verdicts
                self.notes.append(f"the sweeps failed: {_text(error)}")
            self._tell(comparison)
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
        if problem is None:
            try:
                found = self._found or (state is not None and state.baseline == "found")
                baseline = self._read_baseline() if found else None
            except (OSError, JournalError) as error:
                problem = f"the baseline can't be read: {error}"
        damaged = self._damaged(baseline)
        is_first = problem is None and baseline is None
        if is_first and damaged and settings.gate and not self.awaits_tracker:
            # Nobody can tell whether it really is the first session.
            problem = f"no session that can be read is a baseline; {damaged[0]}"
        if problem is None and baseline is None and settings.gate and settings.require_baseline:
            problem = "there is no baseline yet, and --mlflow-require-baseline asks for one"
        (current,) = read_sessions(
            sweeps.watch(journal.read(self._directory.journal)), settings.seed_params
        ).sessions
        current.end = end
        notes = damaged
        if problem is None and baseline is None and settings.baseline != "auto":
            notes.append(f"No session is known for --mlflow-baseline={settings.baseline}")
        return compare(
            current,
            baseline,
            options,
            not_run=selection.not_run,
            passed=selection.passed,
            partial=end.interrupted or end.partial or self._header.partial,
            problem=problem,
            gated=settings.gate,
            notes=notes,
        )

    def _damaged(self, baseline: Sessions | None) -> list[str]:
        """Return notes of the sessions on this machine that can't be read and might be history."""
        found = baseline.provenance if baseline is not None else None
        place = found.place if found is not None else DIRECTORY_NAME
        if self._settings.baseline.startswith("file:") or not place.endswith(DIRECTORY_NAME):
            return []
        return damage_notes(self._config.rootpath)

    def shown_reports(self) -> list[str]:
        """Return the paths of the reports that people read, as they type them."""
        own = self._directory.path
        return [
            shown_path(path)
            for path in self.reports
            if path.parent != own or path.suffix in (".html", ".md")
        ]

    def _read_baseline(self) -> Sessions | None:
        """Return the sessions to compare with, or None where the file holds none."""
        entries = journal.read_slim(self._directory.baseline)
        sessions = read_sessions(entries, self._settings.seed_params)
        return sessions if sessions.sessions else None

    def _tell(self, comparison: Comparison) -> None:
        """Tell the hooks, and write the reports: whatever goes wrong costs that part alone."""
        hook = self._config.hook.pytest_mlflow_compared
        self._try(
            "pytest_mlflow_compared", lambda: hook(config=self._config, comparison=comparison)
        )
        standard = [self._directory.path / f"report{suffix}" for suffix in STANDARD_SUFFIXES]
        for path in (*standard, *self._settings.reports):
            self._try(f"the report {path}", partial(self._write, comparison, path))

        # Only here, for it takes time that no session needs at its start.
        from ..report.github import add_to_step_summary, annotation_lines

        self._try("the step's summary", partial(add_to_step_summary, comparison))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            # GitHub knows files by their path from the checkout.
            prefix = _below(os.environ.get("GITHUB_WORKSPACE"), self._config.rootpath) or ""
            self.annotations = annotation_lines(comparison, prefix=prefix)

    def _write(self, comparison: Comparison, path: Path) -> None:
        text: str | None = self._config.hook.pytest_mlflow_render(
            config=self._config, comparison=comparison, suffix=path.suffix
        )
        if text is None:
            raise ValueError(f"no format is known for {path.suffix or 'a file without a suffix'}")
        # What stands in the session's directory is uploaded with it, and is the user's alone.
        kept = self._directory.path / f"report{path.suffix}"
        for target in dict.fromkeys((path, kept)):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target == kept:
                target.touch(mode=0o600)
            target.write_text(text, encoding="utf-8", errors="replace")
        self.reports.append(path)

    def _try(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except (Exception, OutcomeException) as error:  # noqa: BLE001 - hooks raise what they like
            self.notes.append(f"{what} failed: {_text(error)}")


def _below(directory: Path | str | None, path: Path) -> str | None:
    """Return the path from a directory to what is below it, or None for what is not."""
    if not directory or not path.is_relative_to(directory):
        return None
    return path.relative_to(directory).as_posix()


def _no_answer(state: SessionState | None) -> str | None:
    """Return why the tracker has not answered, or None where it has or was not asked."""
    if state is None or state.baseline in ("found", "none"):
        return None
    return f"the baseline can't be read: {state.baseline_error or state.error or 'no answer'}"


def _text(error: BaseException) -> str:
    """Return what went wrong, with the kind of error where the text alone may say little."""
    if isinstance(error, BaselineError | JournalError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"
