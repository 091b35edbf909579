"""Sessions as files have them: journals, and baselines, which hold several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from .. import journal
from ..directory import SessionDirectory, SessionState
from ..journal import JournalError
from ..records import CaseRecord, SessionEnd, SessionHeader

JOURNAL: Final = "journal.jsonl"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session as its journal has it; ``end`` is None where it did not run to its end.

    ``run_id`` is the session's run in MLflow, as far as that is known.
    """

    header: SessionHeader
    cases: tuple[CaseRecord, ...]
    end: SessionEnd | None
    run_id: str | None = None


def sessions_in(path: Path) -> Iterator[StoredSession]:
    """Yield the sessions of a journal, or of a baseline file.

    Raises:
        JournalError: a line can't be understood, or does not belong to a session.
        OSError: the file can't be read.
    """
    header: SessionHeader | None = None
    cases: list[CaseRecord] = []
    end: SessionEnd | None = None
    run_id = _run_id(path)
    for entry in journal.read(path):
        if isinstance(entry, SessionHeader):
            if header is not None:
                yield StoredSession(header=header, cases=tuple(cases), end=end, run_id=run_id)
            header, cases, end = entry, [], None
        elif isinstance(entry, CaseRecord | SessionEnd) and header is None:
            raise JournalError(f"{path} is not the journal of a session: it has no header")
        elif isinstance(entry, CaseRecord):
            cases.append(entry)
        elif isinstance(entry, SessionEnd):
            end = entry
    if header is not None:
        yield StoredSession(header=header, cases=tuple(cases), end=end, run_id=run_id)


def _run_id(path: Path) -> str | None:
    state = SessionState.read(SessionDirectory(path.parent).state) if path.name == JOURNAL else None
    return state.run_id if state is not None else None
