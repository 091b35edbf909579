"""Decide what to take over from the session of ``--mlflow-resume``, and report it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, final

import pytest

from ..capture.resumed import write_cases
from ..records import CaseRecord, SessionHeader, journal
from ..records.case import named_few
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.journal import JournalError
from ..records.reader import read_cases, read_header
from ..records.tags import RESUMED_FROM
from .resumable import DataCheck, DataFinding, choose, has_passed, mixed_data, why_other_code

LATEST: Final = "latest"
_SHOWN: Final = 3


def find_session(rootdir: Path, text: str, base: Path) -> SessionDirectory | None:
    """Return the session to resume, or None for ``latest`` if there is none yet.

    Args:
        rootdir: the directory below which sessions are kept.
        text: ``latest``, the id of a session or its beginning, or the path of a directory.
        base: where relative paths start from.

    Raises:
        pytest.UsageError: there is no such session, or it is still running.
    """
    if text == LATEST:
        newest = reversed(SessionDirectory.find_all(rootdir))
        ended = (one for one in newest if not journal.is_being_written(one.journal))
        return next(filter(_has_cases, ended), None)
    named = _session_named(rootdir, text, base)
    if journal.is_being_written(named.journal):
        raise pytest.UsageError(f"--mlflow-resume: session {named.session_id} still runs")
    return named


def _session_named(rootdir: Path, text: str, base: Path) -> SessionDirectory:
    for path in (rootdir / DIRECTORY_NAME / text, base / text):
        if text and (path / "journal.jsonl").is_file():
            return SessionDirectory(path.resolve())
    known = SessionDirectory.find_all(rootdir)
    matching = [one for one in known if text and one.session_id.startswith(text)]
    if len(matching) == 1:
        return matching[0]
    ids = [one.session_id for one in reversed(matching or known)]
    few = named_few(ids, _SHOWN)
    there = f" (there {'is' if len(ids) == 1 else 'are'} {few})" if ids else ""
    hint = ""
    if (base / text.partition("::")[0]).exists():
        hint = "; before the path of tests, write --mlflow-resume=latest"
    raise pytest.UsageError(
        f"--mlflow-resume: expected latest, the id of a session{there} or the path of its "
        f"directory, got {text!r}{hint}"
    )


def _has_cases(directory: SessionDirectory) -> bool:
    with suppress(OSError, JournalError):
        return any(True for _ in read_cases(directory.journal))
    return False


@final
class Resumption:
    """Decides which cases to take over from a session (or None), and reports them."""

    def __init__(self, earlier: SessionDirectory | None) -> None:
        self._earlier = earlier
        self._refusal: str | None = None
        self._files: tuple[str, ...] = ()
        self._count = 0
        self._data = DataCheck()

    def begin(
        self,
        header: SessionHeader,
        directory: SessionDirectory,
        rootdir: Path,
        outputs: Collection[Path] = (),
    ) -> SessionHeader:
        """Write the cases that need not run, for the processes that run tests.

        ``outputs`` are files that sessions write, which don't count as code.

        Returns:
            The header of the new session, which names the earlier one if anything may be taken
                over.
        """
        if self._earlier is None:
            self._refusal = "there is no earlier session with a case"
            return header
        name = self._earlier.session_id
        try:
            earlier = read_header(self._earlier.journal)
            if earlier is None:
                self._refusal = f"session {name} can't be read: it has no header"
            elif has_passed(self._earlier):
                # With copies of its values, it would be its own baseline.
                self._refusal = f"session {name} ran to its end, and passed"
            else:
                self._refusal = why_other_code(earlier, header, rootdir, outputs)
            if self._refusal is not None:
                return header
            choice = choose(self._earlier, rootdir)
        except (OSError, JournalError) as error:
            self._refusal = f"session {name} can't be read: {error}"
            return header
        if mixed := mixed_data(choice.rounds):
            self._refusal = f"session {name} itself mixes data ({_data_names(mixed)})"
            return header
        try:
            write_cases(directory.resumed, choice.cases)
        except OSError as error:
            self._refusal = f"the earlier results can't be copied: {error}"
            with suppress(OSError):
                directory.resumed.unlink()
            return header
        self._files = choice.files
        for record in (*(case.record for case in choice.cases), *choice.others):
            self._data.add(record, earlier=True)
        return replace(header, tags={**header.tags, RESUMED_FROM: name})

    def add(self, record: CaseRecord) -> None:
        """Note a case of the new session."""
        if record.resumed_from is not None:
            self._count += 1
        else:
            self._data.add(record, earlier=False)

    @property
    def headline(self) -> str:
        """What is going to be taken over, for pytest's header."""
        if self._refusal is not None:
            return f"nothing is resumed: {self._refusal}"
        assert self._earlier is not None
        return f"resuming session {self._earlier.session_id}"

    @property
    def problem(self) -> str | None:
        """Why old and new cases can't be combined, or None."""
        if not self._count:
            return None
        if not (changed := [finding for finding in self._data.findings() if finding.sure]):
            return None
        return (
            f"resumed cases were measured on other data ({_data_names(changed)}); run without "
            "--mlflow-resume"
        )

    def notes(self) -> list[str]:
        """Return notes on what was taken over."""
        if self._refusal is not None:
            return [f"Nothing is resumed: {self._refusal}"]
        assert self._earlier is not None
        cases = {0: "No case", 1: "1 case"}.get(self._count, f"{self._count:,} cases")
        notes = [f"{cases} taken over from session {self._earlier.session_id}"]
        if self._files:
            few = named_few(self._files, 1)
            notes.append(f"Their data have changed, so that cases ran again: {few}")
        if problem := self.problem:
            notes.append(f"{problem[0].upper()}{problem[1:]}")
        unsure = [finding for finding in self._data.findings() if not finding.sure]
        if self._count and unsure:
            notes.append(
                "Resumed cases may be of older data: the cases that ran had other data "
                f"({_data_names(unsure)})"
            )
        return notes


def _data_names(findings: list[DataFinding]) -> str:
    return named_few([f"{one.dataset!r} of {one.test}" for one in findings], 1)
