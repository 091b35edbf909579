"""The sessions below the rootdir, and the baseline that is pinned there."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import Final, final
from urllib.parse import unquote

from ..records import Exclusion, SessionEnd, SessionHeader, journal
from ..records.directory import (
    DIRECTORY_NAME,
    SessionDirectory,
    SessionState,
    make_directories,
    write_private,
)
from ..records.journal import JournalError
from ..records.reader import LONGEST_HEADER, peek_header
from ..records.secrets import without_credentials
from ..records.tags import EXCLUDED, SESSION_ID
from .choice import Candidate, Query, only_one, why_incomplete
from .kept_values import kept_end
from .specs import BaselineError, UnknownSessionError

_PIN: Final = "baseline"
_DAMAGED_SHOWN: Final = 3
_LONG: Final = 8_192
"""The bytes of a line that takes longer to decode than to look for a shorter one."""


@final
class LocalCatalog:
    """The sessions below ``root`` of one experiment of one tracking store.

    Only the first and the last line of a journal are read. Other files are ignored.
    ``tracking_uri`` is without credentials, as headers have it.
    """

    def __init__(
        self,
        root: Path,
        *,
        tracking_uri: str,
        experiment_name: str | None = None,
        experiment_id: str | None = None,
    ) -> None:
        self._root = root
        self._target = (tracking_uri, experiment_name, experiment_id)
        self._candidates: dict[str, Candidate] = {}

    @property
    def place(self) -> str:
        """The name of the store for messages."""
        _, name, number = self._target
        shown = f"experiment {name!r}" if name is not None else f"the experiment with id {number}"
        return f"{shown} in {DIRECTORY_NAME}"

    def newest(self, query: Query) -> Iterator[Candidate]:
        """Yield sessions, the newest first."""
        for header, directory in self._sessions:
            if query.before is None or header.start_time < query.before:
                yield self._candidate(header, directory)

    def session(self, session_id: str) -> Candidate:
        """Return the session with this id, or the only one whose id starts so."""
        found = {
            header.session_id: (header, directory)
            for header, directory in self._sessions
            if header.session_id.startswith(session_id)
        }
        return self._candidate(*found[only_one(session_id, found, self.place)])

    def run(self, run_id: str) -> Candidate:
        """Return the session whose own run it is."""
        for header, directory in self._sessions:
            state = SessionState.read(directory.state)
            if state is not None and state.run_id == run_id:
                return self._candidate(header, directory)
        raise UnknownSessionError(
            f"no session in {self.place} has the run {run_id}; whose run it is, only the tracking "
            "server can tell"
        )

    def model(self, name: str, alias: str) -> Candidate:
        """Raise an error: models are known to MLflow only."""
        raise BaselineError(
            f"which session is behind the model {name}@{alias}, only the tracking server can tell"
        )

    def pinned(self) -> str | None:
        """Return the id of the pinned session, unless it belongs to another experiment."""
        if (pin := local_pin(self._root)) is None:
            return None
        header = peek_header(SessionDirectory(self._root / DIRECTORY_NAME / pin).journal)
        return pin if header is None or self._is_ours(header) else None

    def journals(self, sessions: Sequence[Candidate], directory: Path) -> Iterator[Path | str]:
        """Yield the journal of each session."""
        del directory
        places = {header.session_id: place for header, place in self._sessions}
        return (places[session.session_id].journal for session in sessions)

    @cached_property
    def _sessions(self) -> list[tuple[SessionHeader, SessionDirectory]]:
        found = [
            (header, directory)
            for directory in SessionDirectory.find_all(self._root)
            if (header := peek_header(directory.journal)) and self._is_ours(header)
        ]
        return sorted(found, key=lambda entry: entry[0].start_time, reverse=True)

    def _is_ours(self, header: SessionHeader) -> bool:
        mine = (header.tracking_uri, header.experiment_name, header.experiment_id)
        return mine == self._target

    def _exclusion(self, directory: SessionDirectory) -> Exclusion | None:
        """Return the last decision on a session, from here or from MLflow's database here."""
        known = (directory.exclusion, self._told.get(directory.session_id))
        return max(filter(None, known), key=lambda one: one.time, default=None)

    @cached_property
    def _told(self) -> dict[str, Exclusion]:
        return _exclusions(self._target[0])

    def _candidate(self, header: SessionHeader, directory: SessionDirectory) -> Candidate:
        if header.session_id not in self._candidates:
            end = _end(directory.journal)
            self._candidates[header.session_id] = Candidate(
                session_id=header.session_id,
                start_time=header.start_time,
                branch=header.branch,
                exit_status=end.exit_status if end else None,
                incomplete=why_incomplete(header, end),
                tags={**header.tags, **end.tags} if end else header.tags,
                selection=end.selection if end else None,
                exclusion=self._exclusion(directory),
                metrics=end.metrics if end else {},
            )
        return self._candidates[header.session_id]


def _exclusions(tracking_uri: str) -> dict[str, Exclusion]:
    """Return what a SQLite database on this machine tells of sessions, by their ids.

    Somebody may have excluded them from another checkout. MLflow takes seconds to load, this does
    not.
    """
    if not tracking_uri.startswith("sqlite:///"):
        return {}
    path = Path(tracking_uri.removeprefix("sqlite:///"))
    if not path.is_file():
        return {}
    import sqlite3

    query = (
        "SELECT own.value, told.value FROM tags AS told JOIN tags AS own USING (run_uuid) "
        "WHERE told.key = ? AND own.key = ?"
    )
    with (
        suppress(sqlite3.Error, OSError),
        closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        ) as base,
    ):
        found = base.execute(query, (EXCLUDED, SESSION_ID)).fetchall()
        return {name: one for name, text in found if (one := Exclusion.parse(text))}
    return {}


def default_store(root: Path) -> str:
    """Return the URI of the default tracking store of a project."""
    return f"sqlite:///{root.as_posix().rstrip('/')}/mlflow.db"


_SQLITE = re.compile(r"(?P<scheme>sqlite(\+\w+)?:)(?P<path>[^?]*)(?P<query>.*)", re.DOTALL)
_ABSOLUTE = re.compile(r"/|file:|[A-Za-z]:[\\/]")
_NOT_IN_URI = re.compile(r"\?|%[0-9A-Fa-f]{2}")
_EXAMPLE = "expected a file, as sqlite:///mlflow.db or sqlite:////home/me/mlflow.db, or a server"


def absolute_store(uri: str, base: Path) -> str:
    """Return the URI of a tracking store; a relative path in it starts from ``base``.

    Raises:
        ValueError: it is a database in memory, which nobody could read, or a path can't stand in
            it.
    """
    if match := _SQLITE.fullmatch(uri):
        path = match["path"].removeprefix("///")
        name, query = unquote(path), unquote(match["query"])
        if match["path"] == path or not path:
            raise ValueError(
                f"{uri!r} names no file: the runs would be lost with the process; {_EXAMPLE}"
            )
        if _MEMORY.match(name) or _IN_MEMORY.search(query):
            raise ValueError(f"{uri!r} is a database in memory, lost with the process; {_EXAMPLE}")
        if _ABSOLUTE.match(path):
            return uri
        return f"{match['scheme']}///{_in_uri(base)}/{path}{match['query']}"
    if "://" in uri or uri in ("databricks", "databricks-uc", "uc"):
        return uri
    return str(base / uri.removeprefix("file:"))


_MEMORY = re.compile(r"(file:(//)?)?(:memory:|$)")
_IN_MEMORY = re.compile(r"[?&](mode=memory|vfs=memdb)(&|$)")


def _in_uri(directory: Path) -> str:
    """Return a directory as a part of a SQLite URI.

    Whether ``%20`` is a space there depends on the release of SQLAlchemy, and MLflow itself is
    inconsistent.
    """
    path = directory.as_posix()
    if match := _NOT_IN_URI.search(path):
        raise ValueError(
            f"MLflow can't keep a SQLite file in {path!r}, for {match[0]!r} means something else "
            "in its URI; give another place with --mlflow-tracking-uri"
        )
    return path.rstrip("/")


def is_local_store(tracking_uri: str) -> bool:
    """Return whether a store is on this machine, so that its sessions are here too."""
    return "://" not in tracking_uri or tracking_uri.startswith(("sqlite", "file:"))


def local_pin(root: Path) -> str | None:
    """Return the id of the session that is pinned below ``root``, or None."""
    with suppress(OSError, ValueError):
        return _pin_file(root).read_text(encoding="utf-8").strip() or None
    return None


def set_local_pin(root: Path, session_id: str) -> None:
    """Pin a session as the baseline for all sessions below ``root``.

    Raises:
        OSError: the directory can't be written to.
    """
    make_directories(_pin_file(root).parent)
    write_private(_pin_file(root), f"{session_id}\n")


def clear_local_pin(root: Path) -> None:
    """Remove the pin below ``root``, if there is one."""
    _pin_file(root).unlink(missing_ok=True)


_STORES: Final = "stores"
_LONGEST: Final = 1_000_000


def remember_store(root: Path, tracking_uri: str) -> None:
    """Note that sessions of a project are sent to a store, so that :func:`is_own_store` knows it.

    Where that can't be written, commands ask for the address.
    """
    with suppress(OSError, ValueError):
        if tracking_uri != default_store(root) and not is_own_store(root, tracking_uri):
            path = root / DIRECTORY_NAME / _STORES
            path.touch(mode=0o600)
            with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{_seal(tracking_uri, _key(create=True))}\n")


def is_own_store(root: Path, tracking_uri: str) -> bool:
    """Return whether this user's sessions of a project were sent to a store.

    Credentials go where a session is sent to, and a journal may come from anybody: from an artifact
    of a pull request that was unpacked here, from the repository itself. So may all that lies
    beside it, whatever its name, owner, mode and time are. What cannot come from elsewhere is what
    only this user can make: each line of the file has a hash of the address with a key that lies in
    the user's home, outside of every project. Lines of others, or of another machine, count for
    nothing. The key is not bound to a path, so that a project can be moved.
    """
    with suppress(OSError, ValueError):
        path = root / DIRECTORY_NAME / _STORES
        if path.stat().st_size < _LONGEST:
            known = path.read_bytes().splitlines()
            return _seal(tracking_uri, _key()).encode() in known
    return False


def _seal(tracking_uri: str, key: bytes) -> str:
    text = without_credentials(tracking_uri)
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def _key(*, create: bool = False) -> bytes:
    """Return the user's key.

    Raises:
        OSError: there is none, or it can't be created.
        ValueError: it is damaged.
    """
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_STATE_HOME")
    try:
        home = Path(base) if base else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise OSError(str(error)) from error
    path = home / "pytest-mlflow-experiments" / "key"
    if create and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another session was faster
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
    key = bytes.fromhex(path.read_text(encoding="ascii"))
    if len(key) != 32:
        raise ValueError(f"{path} is damaged")
    return key


def damage_notes(root: Path, readable: Collection[str] = ()) -> list[str]:
    """Return a note for each session below ``root`` whose journal is damaged.

    Only complete lines count: an incomplete one belongs to a session that broke off or still runs.
    Those that are known to be ``readable`` are not looked at.
    """
    found = (
        (one.session_id, _damage(one.journal))
        for one in SessionDirectory.find_all(root)
        if one.session_id not in readable
    )
    notes = [
        f"Session {session_id} is ignored, for it can't be read: {damage}"
        for session_id, damage in found
        if damage is not None
    ]
    if (rest := len(notes) - _DAMAGED_SHOWN) > 0:
        notes[_DAMAGED_SHOWN:] = [f"{rest} more sessions can't be read either"]
    return notes


def _pin_file(root: Path) -> Path:
    return root / DIRECTORY_NAME / _PIN


def _damage(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            first = file.readline(LONGEST_HEADER)
        for line in (first if first.endswith(b"\n") else b"", _last_line(path)):
            if line:
                journal.decode(line)
    except FileNotFoundError:  # another session has pruned it
        return None
    except (OSError, JournalError) as error:
        return str(error)
    return None


def _end(path: Path) -> SessionEnd | None:
    with suppress(OSError, JournalError):
        line = _last_line(path)
        if len(line) > _LONG and (end := kept_end(path, line)) is not None:
            return end
        entry = journal.decode(line)
        return entry if isinstance(entry, SessionEnd) else None
    return None


def _last_line(path: Path) -> bytes:
    """Return the last line of a journal, or nothing if it is incomplete."""
    line, rest = journal.last_line(path)
    return b"" if rest else line
