"""Find the session that ``--mlflow-resume`` means."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from .. import journal
from ..directory import DIRECTORY_NAME, SessionDirectory
from ..journal import JournalError
from ..records import CaseRecord

LATEST: Final = "latest"
_SHOWN: Final = 3


def find_session(rootdir: Path, text: str, base: Path) -> SessionDirectory | None:
    """Return the session to go on with, or None where ``latest`` is wanted and there is none yet.

    Args:
        rootdir: the directory below which sessions are kept.
        text: ``latest``, the id of a session or the beginning of one, or the path of a directory.
        base: where relative paths start from.

    Raises:
        pytest.UsageError: there is no such session, or it still runs.
    """
    if text == LATEST:
        newest = reversed(SessionDirectory.find_all(rootdir))
        return next((one for one in newest if _has_cases(one) and not _runs(one)), None)
    found = _named(rootdir, text, base)
    if _runs(found):
        raise pytest.UsageError(f"--mlflow-resume: session {found.session_id} still runs")
    return found


def _named(rootdir: Path, text: str, base: Path) -> SessionDirectory:
    for path in (rootdir / DIRECTORY_NAME / text, base / text):
        if text and (path / "journal.jsonl").is_file():
            return SessionDirectory(path.resolve())
    known = SessionDirectory.find_all(rootdir)
    matching = [one for one in known if text and one.session_id.startswith(text)]
    if len(matching) == 1:
        return matching[0]
    ids = [one.session_id for one in reversed(matching or known)]
    there = f" (there {'is' if len(ids) == 1 else 'are'} {_listed(ids)})" if ids else ""
    hint = ""
    if (base / text.partition("::")[0]).exists():
        hint = "; before the path of tests, write --mlflow-resume=latest"
    raise pytest.UsageError(
        f"--mlflow-resume: expected latest, the id of a session{there} or the path of its "
        f"directory, got {text!r}{hint}"
    )


def _listed(ids: list[str]) -> str:
    rest = len(ids) - _SHOWN
    return ", ".join(ids[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _runs(directory: SessionDirectory) -> bool:
    return journal.is_being_written(directory.journal)


def _has_cases(directory: SessionDirectory) -> bool:
    try:
        return any(isinstance(entry, CaseRecord) for entry in journal.read(directory.journal))
    except (OSError, JournalError):
        return False
