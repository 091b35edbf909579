"""The journal: one JSON line for the session's header, for every finished case, and for the end.

A baseline file holds several journals, the oldest first; its first line may be their provenance.

The journal is the source of truth of a session. It is only ever appended to, by one process, so a
reader that stops at the last complete line always sees a consistent prefix, also after a crash.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, TypeVar, final

from . import codec
from .case import CaseRecord
from .directory import make_directories
from .json_text import json_text
from .session import SCHEMA_VERSION, Provenance, SessionEnd, SessionHeader
from .slim import SlimCase

Entry: TypeAlias = SessionHeader | CaseRecord | SessionEnd | Provenance
_T = TypeVar("_T")

_KINDS: dict[str, type[Entry]] = {
    "baseline": Provenance,
    "session": SessionHeader,
    "case": CaseRecord,
    "finish": SessionEnd,
}
_END = b'{"kind":"finish"'
_BLOCK = 65_536
# What is nested too deep, or a number without end, is no work of ours either.
_UNREADABLE = (KeyError, TypeError, AttributeError, RecursionError, OverflowError)
_KIND_OF = {cls: kind for kind, cls in _KINDS.items()}

# Kept here, for tests replace the functions of these modules, some for as long as a session.
# Entries are trees: to look for circles in them takes a tenth of the time.
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
_write, _fstat, _lstat, _open = os.write, os.fstat, os.lstat, os.open
_clock = time.perf_counter
if sys.platform != "win32":
    import fcntl

    _flock, _LOCK = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB


class JournalError(Exception):
    """A journal, or a line of one, can't be read."""


def encode(entry: Entry) -> str:
    """Return the entry as one line of ASCII JSON, without the line's end."""
    cls = type(entry)
    schema = f',"schema":{SCHEMA_VERSION}' if cls is SessionHeader else ""
    try:
        text = json_text(entry)
    except (TypeError, AttributeError):
        # Something is not of its field's type, which may be JSON all the same.
        text = _to_json(codec.encode(entry))
    return f'{{"kind":"{_KIND_OF[cls]}"{schema},{text[1:]}'


def decode(line: str | bytes) -> Entry:
    """Rebuild an entry from :func:`encode`.

    Raises:
        JournalError: the line is not JSON, or not of a kind or schema that this version knows.
    """
    try:
        data = json.loads(line)
        kind = _KINDS.get(data["kind"])
        if kind is None:
            raise ValueError(f"kind {data['kind']!r} is not known to this version")
        if kind is SessionHeader and data.get("schema") != SCHEMA_VERSION:
            raise ValueError(
                f"schema version {data.get('schema')!r} is not known; this version of "
                f"pytest-mlflow-experiments reads version {SCHEMA_VERSION}"
            )
        return codec.decode(kind, data)
    except ValueError as error:
        raise JournalError(f"not a line of a session's file: {error}") from error
    except _UNREADABLE as error:
        raise JournalError(f"not a line of a session's file: {error!r}") from error


def decode_case(line: str) -> CaseRecord:
    """Rebuild the record of a case from :func:`encode`; raise what :func:`decode` does."""
    record = decode(line)
    assert isinstance(record, CaseRecord)
    return record


def decode_slim(line: bytes) -> Entry | SlimCase:
    """Rebuild an entry as :func:`decode` does, a case as a SlimCase if that loses nothing."""
    try:
        data = json.loads(line)
        slim = SlimCase.from_line(data) if data["kind"] == "case" else None
    except (ValueError, *_UNREADABLE):
        slim = None
    return decode(line) if slim is None else slim


_LOOK_EVERY = 0.1
"""Seconds after which a writer looks again whether its file is still in its place."""


@final
class JournalWriter:
    """Append lines to a journal; each is handed to the operating system at once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._torn: int | None = None
        self._fd = self._opened()
        self._identity = _identity(self._fd)
        self._looked = _clock()

    def append(self, line: str) -> None:
        """Append one line as :func:`encode` made it.

        Raises:
            OSError: the disk is full, or the journal closed.
        """
        if self._fd >= 0 and not self._is_open():
            self._fd = self._opened()
            self._identity = _identity(self._fd)
        elif self._fd >= 0 and _clock() - self._looked >= _LOOK_EVERY:
            # Not each line asks, for nothing is lost meanwhile: the open file has all of them.
            self.stay_in_place()
        if self._torn is not None:
            self._cut()
        data = rest = f"{line}\n".encode("ascii")
        try:
            while rest:
                rest = rest[_write(self._fd, rest) :]
        finally:
            if 0 < len(rest) < len(data):
                # The next line must not be glued to a part of this one.
                self._torn = _fstat(self._fd).st_size - (len(data) - len(rest))
                with suppress(OSError):  # the next line tries again
                    self._cut()

    def _cut(self) -> None:
        """Remove the part of a line that did not fit."""
        if self._torn is not None:
            os.ftruncate(self._fd, self._torn)
            self._torn = None

    def close(self) -> None:
        """Close the journal."""
        if self._is_open():
            with suppress(OSError):
                self.stay_in_place()
            # A child that a test forked may hold the descriptor for longer.
            _set_lock(self._fd, locked=False)
            os.close(self._fd)
        self._fd = -1

    def _opened(self, path: str | None = None) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        fd = _open(path or self._path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
        _set_lock(fd, locked=True)
        return fd

    def _is_open(self) -> bool:
        """Return whether the descriptor still is the journal's.

        A test may have closed all descriptors that it did not know; then the number may stand for
        a file of its own by now.
        """
        try:
            status = _fstat(self._fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def stay_in_place(self) -> None:
        """Put the journal back if the file that is open is no longer the one with its name.

        Raises:
            OSError: it can't be written again.
        """
        try:
            status = _lstat(self._path)
            is_in_place = (status.st_dev, status.st_ino) == self._identity
        except OSError:
            is_in_place = False
        if not is_in_place:
            self._put_back()
        self._looked = _clock()

    def _put_back(self) -> None:
        """Write the journal again after a test, or ``git clean``, has removed it."""
        make_directories(Path(self._path).parent)
        aside = f"{self._path}.{os.getpid()}"
        fd = self._opened(aside)
        try:
            with os.fdopen(os.dup(self._fd), "rb") as old, os.fdopen(os.dup(fd), "wb") as new:
                old.seek(0)
                shutil.copyfileobj(old, new)
            Path(aside).replace(self._path)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                Path(aside).unlink()
            raise
        os.close(self._fd)
        self._fd, self._identity = fd, _identity(fd)


def _identity(fd: int) -> tuple[int, int]:
    status = _fstat(fd)
    return status.st_dev, status.st_ino


def is_being_written(path: Path) -> bool:
    """Return whether the session still runs; False where the system can't tell."""
    try:
        fd = _open(str(path), os.O_RDWR)
    except OSError:
        return False
    try:
        return not _set_lock(fd, locked=True)
    finally:
        os.close(fd)


def _set_lock(fd: int, *, locked: bool) -> bool:
    """Take or release the writer's lock; return whether no other process holds it.

    On Windows there is no lock, as it would keep readers out.
    """
    if sys.platform != "win32":
        try:
            _flock(fd, _LOCK if locked else fcntl.LOCK_UN)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
    return True


@final
class JournalTail:
    """Read a journal that is still being written, each complete line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.damaged: list[str] = []

    def read_new(self, limit: int = 1_000) -> list[Entry]:
        """Return at most ``limit`` entries that have become complete since the last call.

        A line that can't be understood is skipped and described in :attr:`damaged`.
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


def has_end(path: Path) -> bool:
    """Return whether a journal holds its end, even if a half-written line follows."""
    with suppress(OSError):
        return last_line(path)[0].startswith(_END)
    return False


def last_line(path: Path) -> tuple[bytes, bytes]:
    """Return the last complete line of a file and what follows it; read only the file's end.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        tail = b""
        while position > 0 and tail.count(b"\n") < 2:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            tail = file.read(size) + tail
    lines, _, rest = tail.rpartition(b"\n")
    return lines.rpartition(b"\n")[2], rest


def read(path: Path) -> Iterator[Entry]:
    """Yield the complete entries of a journal.

    Raises:
        JournalError: a complete line can't be understood; the message says which.
        OSError: the file can't be read.
    """
    return _read(path, decode)


def read_slim(path: Path) -> Iterator[Entry | SlimCase]:
    """Yield entries as :func:`read` does, cases as :class:`SlimCase` if that loses nothing."""
    return _read(path, decode_slim)


def _read(path: Path, decode_line: Callable[[bytes], _T]) -> Iterator[_T]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decode_line(line)
            except JournalError as error:
                raise JournalError(f"{path}, line {number}: {error}") from error
