"""The journal: one JSON line for the session's header, for every finished case, and for the end.

A file with several of them, one after the other and the oldest first, is a baseline; its first line
may tell where they come from.

The journal is the source of truth of a session. It is only ever appended to, by one process, so a
reader that stops at the last complete line always sees a consistent prefix, also after a crash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, final

from .records import CaseRecord, Provenance, SessionEnd, SessionHeader

Entry: TypeAlias = SessionHeader | CaseRecord | SessionEnd | Provenance

_KINDS: dict[str, type[Entry]] = {
    "baseline": Provenance,
    "session": SessionHeader,
    "case": CaseRecord,
    "finish": SessionEnd,
}
_KIND_OF = {cls: kind for kind, cls in _KINDS.items()}

# Kept here, for tests replace the functions of these modules, some for as long as a session.
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_write, _fstat, _open = os.write, os.fstat, os.open


class JournalError(Exception):
    """A journal, or a line of one, can't be read."""


def encode(entry: Entry) -> str:
    """Return the entry as one line of ASCII JSON, without the line's end."""
    return _to_json({"kind": _KIND_OF[type(entry)], **entry.to_builtins()})


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
        self._path = str(path)
        self._fd = self._opened()
        self._identity = _identity(self._fd)

    def append(self, line: str) -> None:
        """Append one line as :func:`encode` made it.

        Raises:
            OSError: the disk is full, or the journal closed.
        """
        if self._fd >= 0 and not self._is_open():
            self._fd = self._opened()
            self._identity = _identity(self._fd)
        data = rest = f"{line}\n".encode("ascii")
        try:
            while rest:
                rest = rest[_write(self._fd, rest) :]
        finally:
            if 0 < len(rest) < len(data):
                # The next line must not be glued to a part of this one.
                size = _fstat(self._fd).st_size
                os.ftruncate(self._fd, size - (len(data) - len(rest)))

    def close(self) -> None:
        """Close the journal."""
        if self._is_open():
            os.close(self._fd)
        self._fd = -1

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        return _open(self._path, flags, 0o600)

    def _is_open(self) -> bool:
        """Tell whether the descriptor still is the journal's.

        A test may have closed all descriptors that it did not know; then the number may stand for
        a file of its own by now.
        """
        try:
            return _identity(self._fd) == self._identity
        except OSError:
            return False


def _identity(fd: int) -> tuple[int, int]:
    status = _fstat(fd)
    return status.st_dev, status.st_ino


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
