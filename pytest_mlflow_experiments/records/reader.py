"""Read sessions from journals and baseline files: of each the header, the cases and the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar, final

from . import CaseRecord, Provenance, SessionEnd, SessionHeader, journal
from .journal import Entry, JournalError
from .slim import SlimCase

Case = TypeVar("Case", bound=CaseRecord | SlimCase)
FileEntry: TypeAlias = SessionHeader | SessionEnd | Provenance | Case

LONGEST_HEADER = 4_000_000
# Not a union, which would be made anew for each case.
_NO_CASE = (SessionHeader, Provenance)


@final
@dataclass
class OpenSession(Generic[Case]):
    """A session while it is read: iterating yields its cases, after which ``end`` is known.

    ``end`` is None if the session did not run to its end. ``provenance`` is that of the file, where
    it has any.
    """

    header: SessionHeader
    provenance: Provenance | None
    _entries: Iterator[FileEntry[Case]]
    end: SessionEnd | None = None

    def __iter__(self) -> Iterator[Case]:
        for entry in self._entries:
            if isinstance(entry, SessionEnd):
                self.end = entry
            elif not isinstance(entry, _NO_CASE):
                yield entry


def split_sessions(entries: Iterable[FileEntry[Case]]) -> Iterator[OpenSession[Case]]:
    """Yield the sessions of a file one after the other, while its entries are read.

    Read each session to its end before asking for the next. Entries before the first header are
    skipped.
    """
    headers = 0
    provenance: Provenance | None = None

    def session_number(entry: FileEntry[Case]) -> int:
        nonlocal headers
        if isinstance(entry, SessionHeader):
            headers += 1
        return headers

    for _, group in groupby(entries, session_number):
        first = next(group)
        if isinstance(first, SessionHeader):
            yield OpenSession(first, provenance, group)  # noqa: B031 - what is left of it
        elif isinstance(first, Provenance):
            provenance = first


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session as a file holds it; ``end`` is None if it did not run to its end.

    ``run_id`` is the session's run in MLflow, if the reader of the session knows it.
    """

    header: SessionHeader
    cases: tuple[CaseRecord, ...]
    end: SessionEnd | None
    run_id: str | None = None

    def entries(self) -> Iterator[Entry]:
        """Yield the entries of the session's journal."""
        yield self.header
        yield from self.cases
        if self.end is not None:
            yield self.end


def stored_sessions(entries: Iterable[Entry]) -> Iterator[StoredSession]:
    """Yield the sessions of a file, each with all of its cases."""
    for session in split_sessions(entries):
        cases = tuple(session)
        yield StoredSession(header=session.header, cases=cases, end=session.end)


def read_sessions(path: Path) -> Iterator[StoredSession]:
    """Yield the sessions of a journal, or of a baseline file.

    It raises what :func:`.journal.read` does, and a JournalError where there is no header.
    """
    entries = journal.read(path)
    first = next(entries, None)
    if isinstance(first, CaseRecord | SessionEnd):
        raise _no_header(path)
    if first is not None:
        yield from stored_sessions(chain([first], entries))


def read_cases(path: Path) -> Iterator[CaseRecord]:
    """Yield the cases of a journal while it is read; raise what :func:`.journal.read` does."""
    return (entry for entry in journal.read(path) if isinstance(entry, CaseRecord))


def read_header(path: Path) -> SessionHeader | None:
    """Return the header of a journal, or None if the session had not written it yet.

    Raises:
        JournalError: the first line is no header, or can't be understood.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        line = file.readline(LONGEST_HEADER)
    if not line.endswith(b"\n"):
        return None
    try:
        entry = journal.decode(line)
    except JournalError as error:
        raise JournalError(f"{path}, line 1: {error}") from error
    if not isinstance(entry, SessionHeader):
        raise _no_header(path)
    return entry


def peek_header(path: Path) -> SessionHeader | None:
    """Return the header of a journal, or None if it is missing or unreadable."""
    with suppress(OSError, JournalError):
        return read_header(path)
    return None


def _no_header(path: Path) -> JournalError:
    return JournalError(f"{path} is not the file of a session: it has no header")
