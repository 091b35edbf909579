"""Which case a process is running, noted on disk: a crash leaves no other trace of it."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from ..records import CaseRecord, journal
from ..records.directory import SessionDirectory
from ..records.journal import JournalError

_PREFIX: Final = "running-"

# Kept here, for tests replace the functions of modules, some for as long as a session.
_open, _write, _close = os.open, os.write, os.close


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCase:
    """A case that has begun: its record as far as it is known, None where it won't be kept."""

    key: str
    record: CaseRecord | None

    def is_of(self, nodeid: str) -> bool:
        """Tell whether this is the case that pytest reports by this node id."""
        return self.key == _key(nodeid)


@final
class RunningNote:
    """The note of one process, which is written anew for each case."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = str(path)

    @classmethod
    def of(cls, directory: SessionDirectory, worker: str) -> RunningNote:
        """Return the note of a worker of the session."""
        return cls(directory.path / f"{_PREFIX}{worker}")

    @classmethod
    def find_all(cls, directory: SessionDirectory) -> list[RunningNote]:
        """Return the notes of all workers."""
        return [cls(path) for path in sorted(directory.path.glob(f"{_PREFIX}*"))]

    def write(self, nodeid: str, record: CaseRecord | None) -> None:
        """Note a case by the node id that pytest reports it by; a full disk costs the note alone.

        Of the node id a digest is kept, for it may hold what the record leaves out.
        """
        key, line = _key(nodeid), "" if record is None else journal.encode(record)
        with suppress(OSError):
            # Opened each time, for tests close descriptors that they do not know; but written over
            # what was there, which takes 2 µs instead of 100: hence the key at the end as well.
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
            fd = _open(self._text, flags, 0o600)
            try:
                _write(fd, f"{key}\n{line}\n{key}\n".encode("ascii"))
            finally:
                _close(fd)

    def read(self) -> RunningCase | None:
        """Return the case that was noted last, or None where that can't be told."""
        try:
            key, line, end, *_ = self._path.read_bytes().split(b"\n")
            record = journal.decode(line) if line else None
        except (OSError, ValueError, JournalError):
            return None
        if key != end or not isinstance(record, CaseRecord | None):
            return None
        return RunningCase(key=key.decode("ascii", "replace"), record=record)

    def remove(self) -> None:
        """Remove the note."""
        with suppress(OSError):
            self._path.unlink()


def _key(nodeid: str) -> str:
    return hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()
