"""Note on disk which case a process is running, for its record if the process crashes."""

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
from .measuring import Original

_PREFIX: Final = "running-"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCase:
    """A case that has begun: its record so far, None if it won't be kept."""

    key: str
    record: CaseRecord | None

    def is_of(self, nodeid: str) -> bool:
        """Return whether this is the case with pytest's node id ``nodeid``."""
        return self.key == _key(nodeid)


@final
class RunningNote:
    """The file with the running case of one process, overwritten for each case."""

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
        """Write the case with pytest's node id; errors of the disk are ignored.

        The node id is kept as a digest, as it may contain secrets.
        """
        key, line = _key(nodeid), "" if record is None else journal.encode(record)
        with suppress(OSError):
            # Opened each time, for tests close descriptors that they do not know; but written over
            # what was there, which takes 2 µs instead of 100: hence the key at the end as well.
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
            flags |= getattr(os, "O_NOFOLLOW", 0)
            fd = Original.open(self._text, flags, 0o600)
            try:
                Original.write(fd, f"{key}\n{line}\n{key}\n".encode("ascii"))
            finally:
                Original.close(fd)

    def read(self) -> RunningCase | None:
        """Return the last case, or None if it can't be read."""
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
