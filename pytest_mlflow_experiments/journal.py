"""The journal: one JSON line for the session's header, for every finished case, and for the end.

It is the source of truth of a session. It is only ever appended to, by one process, so a reader
that stops at the last complete line always sees a consistent prefix, also after a crash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, final

from .records import CaseRecord, SessionEnd, SessionHeader

Entry: TypeAlias = SessionHeader | CaseRecord | SessionEnd

_KINDS: dict[str, type[SessionHeader] | type[CaseRecord] | type[SessionEnd]] = {
    "session": SessionHeader,
    "case": CaseRecord,
    "finish": SessionEnd,
}
_KIND_OF = {cls: kind for kind, cls in _KINDS.items()}


class JournalError(Exception):
    """A journal, or a line of one, can't be read."""


def encode(entry: Entry) -> str:
    """Return the entry as one line of ASCII JSON, without the line's end."""
    return json.dumps(
        {"kind": _KIND_OF[type(entry)], **entry.to_builtins()},
        separators=(",", ":"),
        allow_nan=False,
    )


def decode(line: str | bytes) -> Entry:
    """Rebuild an entry from :func:`encode`.

    Raises:
        JournalError: the line is not JSON, or not of a kind or schema that this version knows.
    """
    try:
        data = json.loads(line)
        return _KINDS[data["kind"]].from_builtins(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JournalError(f"not a line of a session's journal: {error!r}") from error


@final
class JournalWriter:
    """Append lines to a journal; each is handed to the operating system at once."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)

    def append(self, line: str) -> None:
        """Append one line as :func:`encode` made it.

        Raises:
            OSError: the disk is full, or the file was closed by somebody else.
        """
        data = rest = f"{line}\n".encode("ascii")
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        finally:
            if 0 < len(rest) < len(data):
                # The next line must not be glued to a part of this one.
                size = os.fstat(self._fd).st_size
                os.ftruncate(self._fd, size - (len(data) - len(rest)))

    def close(self) -> None:
        """Close the journal."""
        os.close(self._fd)


@final
class JournalTail:
    """Read a journal that is still being written, each complete line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.damaged: list[str] = []

    def read_new(self, limit: int = 1_000) -> list[Entry]:
        """Return at most ``limit`` entries that have become complete since the last call.

        A line that can't be understood is passed over and described in :attr:`damaged`.
        """
        entries: list[Entry] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    entries.append(decode(line))
                except JournalError as error:
                    self.damaged.append(f"byte {self._offset}: {error}")
                self._offset += len(line)
                if len(entries) >= limit:
                    break
        return entries


def read(path: Path) -> Iterator[Entry]:
    """Yield the complete entries of a journal.

    Raises:
        JournalError: a complete line can't be understood; the message says which.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decode(line)
            except JournalError as error:
                raise JournalError(f"{path}, line {number}: {error}") from error
