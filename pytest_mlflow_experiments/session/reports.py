"""Tell the hooks of a session's comparison, and write its reports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import final

import pytest
from _pytest.outcomes import OutcomeException

from ..baseline.specs import BaselineError
from ..records.directory import SessionDirectory, shown_path
from ..records.journal import JournalError
from ..regression.comparison import Comparison
from .builtin_hooks import STANDARD_SUFFIXES


@final
class SessionReports:
    """The reports of one session, where whatever goes wrong with one costs that one alone.

    ``written`` are the paths of the reports; ``annotations`` are lines that GitHub reads from the
    output; ``notes`` tell of what failed.
    """

    def __init__(self, config: pytest.Config, directory: SessionDirectory) -> None:
        self._config = config
        self._directory = directory
        self.written: list[Path] = []
        self.annotations: list[str] = []
        self.notes: list[str] = []

    def publish(self, comparison: Comparison, paths: Iterable[Path]) -> None:
        """Tell the hooks, and write the reports: those of every session, and those at ``paths``."""
        hook = self._config.hook.pytest_mlflow_compared
        self._try(
            "pytest_mlflow_compared", lambda: hook(config=self._config, comparison=comparison)
        )
        standard = [self._directory.path / f"report{suffix}" for suffix in STANDARD_SUFFIXES]
        for path in (*standard, *paths):
            self._try(f"the report {path}", partial(self._write, comparison, path))

        # Only here, for it takes time that no session needs at its start.
        from ..report.github import add_to_step_summary, annotation_lines

        self._try("the step's summary", partial(add_to_step_summary, comparison))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            # GitHub knows files by their path from the checkout.
            prefix = path_below(os.environ.get("GITHUB_WORKSPACE"), self._config.rootpath) or ""
            self.annotations = annotation_lines(comparison, prefix=prefix)

    def shown(self) -> list[str]:
        """Return the paths of the reports that people read, as they type them."""
        own = self._directory.path
        return [
            shown_path(path)
            for path in self.written
            if path.parent != own or path.suffix in (".html", ".md")
        ]

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
        self.written.append(path)

    def _try(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except (Exception, OutcomeException) as error:  # noqa: BLE001 - hooks raise what they like
            self.notes.append(f"{what} failed: {error_text(error)}")


def path_below(directory: Path | str | None, path: Path) -> str | None:
    """Return the path from a directory to what is below it, or None for what is not."""
    if not directory or not path.is_relative_to(directory):
        return None
    return path.relative_to(directory).as_posix()


def error_text(error: BaseException) -> str:
    """Return what went wrong, with the kind of error where the text alone may say little."""
    if isinstance(error, BaselineError | JournalError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"
