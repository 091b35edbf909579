"""The session directory: the paths of a session's journal, artifacts and state."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

from .codec import decode, encode
from .session import Exclusion

_FILE = 0o600
_DIRECTORY = 0o700


def files_below(root: Path) -> tuple[str, ...]:
    """Return the paths of all files below a directory: relative, with forward slashes, sorted."""
    files = (path for path in root.rglob("*") if path.is_file())
    return tuple(sorted(path.relative_to(root).as_posix() for path in files))


def make_directories(path: Path) -> None:
    """Create a directory and its missing parents; that of all sessions gets its ``.gitignore``."""
    if not path.is_dir() and path != path.parent:
        make_directories(path.parent)
        path.mkdir(mode=_DIRECTORY, exist_ok=True)
        if path.name == DIRECTORY_NAME:
            _ignore(path)


def _ignore(parent: Path) -> None:
    # A full disk must not end the tests, and what is there already is somebody's, a link too.
    with (
        contextlib.suppress(OSError),
        os.fdopen(
            private(parent / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w"
        ) as file,
    ):
        file.write(_GITIGNORE)


def private(path: str | Path, flags: int) -> int:
    """Open a file that only the user can read, with the ``flags`` of ``os.open``.

    A symbolic link in its place is not followed: somebody may have put it there.
    """
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), _FILE)


def write_private(path: Path, text: str | bytes | Iterable[str]) -> None:
    """Write a file for the user alone, in place of whatever stands there; all of it or nothing.

    A text comes whole or in pieces; what UTF-8 does not know becomes a question mark.

    Raises:
        OSError: it can't be written.
    """
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        if isinstance(text, bytes):
            with os.fdopen(fd, "wb") as binary:
                binary.write(text)
        else:
            with os.fdopen(fd, "w", encoding="utf-8", errors="replace", newline="") as file:
                file.writelines((text,) if isinstance(text, str) else text)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def restrict(path: Path) -> None:
    """Make a file, or a directory recursively, accessible to the user alone."""
    if path.is_symlink():
        return
    if path.is_dir():
        path.chmod(_DIRECTORY)
        for inner in path.iterdir():
            restrict(inner)
    else:
        path.chmod(_FILE)


DIRECTORY_NAME = ".pytest_mlflow"

_STARTED = re.compile(r"\d{8}-\d{6}-", re.ASCII)

KEPT_SESSIONS = 50
"""The number of uploaded sessions that stay on disk, as the local history."""

_PROBE = 4_096
"""Bytes that have to fit on a disk that is not full; no state or request is larger."""

_GITIGNORE = "# Created by pytest-mlflow-experiments automatically.\n*\n"


@final
class _SessionPath:
    """A descriptor for the path of one name within the session directory."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, directory: SessionDirectory, owner: object) -> Path:
        return directory.path / self._name


@final
@dataclass(frozen=True, slots=True)
class SessionDirectory:
    """The paths of one session's files."""

    path: Path

    journal = _SessionPath("journal.jsonl")
    state = _SessionPath("session.json")
    """The progress of the upload to MLflow: a :class:`SessionState`."""
    log = _SessionPath("tracker.log")
    """The output of the tracker, and of MLflow in it."""
    baseline = _SessionPath("baseline.jsonl")
    """The sessions that this one is compared with, in one file as a journal."""
    local_baseline = _SessionPath("baseline.sessions.json")
    """Which sessions on this machine it is compared with, in place of a copy of them."""
    baseline_request = _SessionPath("baseline.json")
    """The tracker's request for a baseline: a ``BaselineRequest`` as JSON."""
    report = _SessionPath("report.json")
    """The comparison with the baseline as JSON, written once that is made."""
    resumed = _SessionPath("resumed.jsonl")
    """The cases of an earlier session that need not run again, if any."""
    excluded = _SessionPath("excluded.json")
    """Whether somebody took the session out of all baselines: an :class:`.Exclusion` as JSON."""
    run_request = _SessionPath("run.request")
    """An empty file that asks the tracker to create the session's run at once."""
    all_artifacts = _SessionPath("artifacts")
    """The directory of the cases' artifacts: one directory for each record that has any."""

    @classmethod
    def create(cls, root: Path, session_id: str) -> SessionDirectory:
        """Make ``root/.pytest_mlflow/<session_id>/``, readable by the user alone.

        Raises:
            OSError: the directory can't be made, for example below a read-only ``root``.
        """
        parent = root / DIRECTORY_NAME
        parent.mkdir(mode=_DIRECTORY, exist_ok=True)
        _ignore(parent)
        path = parent / session_id
        path.mkdir(mode=_DIRECTORY)
        return cls(path)

    @classmethod
    def find_all(cls, root: Path) -> list[SessionDirectory]:
        """Return the session directories below ``root/.pytest_mlflow``, oldest first."""
        journals = (root / DIRECTORY_NAME).glob("*/journal.jsonl")
        return sorted((cls(journal.parent) for journal in journals), key=cls._age)

    def _age(self) -> tuple[str, str]:
        """Return a key that sorts sessions by start time, which most ids begin with."""
        name = self.session_id
        if _STARTED.match(name):
            return name, ""
        try:
            written = self.journal.stat().st_mtime
        except OSError:  # another session has just pruned it
            return "", name
        return time.strftime("%Y%m%d-%H%M%S", time.localtime(written)), name

    @classmethod
    def prune(
        cls, root: Path, *, keep: int = KEPT_SESSIONS, keep_ids: Collection[str] = ()
    ) -> None:
        """Remove the oldest uploaded sessions until ``keep`` sessions are left.

        Sessions that are not completely uploaded, those in ``keep_ids``, and those that a session
        which may still run is compared with, are never removed. Of the remaining ones, all but the
        newest lose their copy of the baseline, which may be large.
        """
        directories = cls.find_all(root)
        # One without a report that was not sent either may still run, and want its baseline.
        over = {one.path: one.report.exists() or one.is_sent for one in directories}
        kept = {*keep_ids}
        for directory in directories:
            if not over[directory.path]:
                kept |= directory._compared_with()
        for directory in directories[: max(0, len(directories) - keep)]:
            if directory.session_id not in kept and directory.is_sent:
                directory.remove()
        for directory in directories[:-1]:
            if over[directory.path] and directory.baseline.exists():
                with contextlib.suppress(OSError):  # another session may be pruning as well
                    directory.baseline.unlink()

    def _compared_with(self) -> set[str]:
        """Return the ids of the sessions that this one reads where they are."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            journals = json.loads(self.local_baseline.read_bytes())["journals"]
            return {Path(journal).parent.name for journal in journals}
        return set()

    @property
    def is_sent(self) -> bool:
        """Whether the session is completely uploaded, with what was decided on it."""
        state = SessionState.read(self.state)
        if state is None or state.phase != "done":
            return False
        exclusion = self.exclusion
        return exclusion is None or not exclusion.pending

    @property
    def exclusion(self) -> Exclusion | None:
        """Whether somebody took the session out of all baselines, or back in; None if nobody did.

        What can't be read excludes it.
        """
        try:
            return Exclusion.parse(self.excluded.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            return Exclusion(reason=f"{self.excluded.name} can't be read: {error}", time="")

    def exclude(self, exclusion: Exclusion) -> None:
        """Keep a decision, which an earlier one gives way to."""
        write_private(self.excluded, exclusion.text)

    @property
    def is_blank(self) -> bool:
        """Whether the session was killed before its journal had a first line."""
        with contextlib.suppress(OSError), self.journal.open("rb") as file:
            return not file.readline().endswith(b"\n")
        return False

    @property
    def session_id(self) -> str:
        """The session's id, which is the directory's name."""
        return self.path.name

    def artifacts(self, record_id: str) -> Path:
        """Return where the artifacts of one case are kept."""
        return self.all_artifacts / record_id

    def trouble(self) -> str | None:
        """Return why nothing can be written to the directory, or None."""
        try:
            # Several processes may ask at once: the file has no fixed name.
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b" " * _PROBE)
        except OSError as error:
            return error.strerror or str(error)
        return None

    def remove(self) -> None:
        """Remove the session from the disk."""
        shutil.rmtree(self.path, ignore_errors=True)


def write_report(path: Path, text: str | Iterable[str]) -> None:
    """Write a report, and create its parent directories; a part of one does not stay.

    Raises:
        OSError: it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines((text,) if isinstance(text, str) else text)
    except BaseException:
        with contextlib.suppress(OSError):
            if path.is_file():
                path.unlink()
        raise


def shown_path(path: Path) -> str:
    """Return a path as users type it: relative if it is below the current directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or a test has removed the current directory
        return str(path)


Phase = Literal["starting", "ready", "waiting", "failed", "done"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """The progress of a session's upload to MLflow.

    ``phase`` goes ``starting`` (MLflow is being loaded, the store opened), ``ready`` (cases are
    being sent), then ``done`` (everything is there, each artifact whole) or ``failed`` (``error``
    says why; the journal keeps what was not sent). While MLflow is temporarily unavailable
    (``error`` says why), it is ``waiting``; then ``ready`` again, or ``failed``. ``sent`` counts
    cases, ``sweeps`` the runs of sweeps that have ended. Of the ``all_files`` artifacts known so
    far, ``files`` are in MLflow; ``uploaded`` counts bytes, and ``beats`` grows during uploads
    whose bytes can't be counted. ``run_id`` is the session's run. ``baseline`` is the state of the
    request for a baseline: None (not looked for yet), ``found`` (it is in the session's directory),
    ``none`` (there is no such session yet) or ``failed`` (``baseline_error`` says why); ``fetched``
    counts the sessions fetched so far.
    """

    phase: Phase
    pid: int | None = None
    writer: str | None = None
    experiment_id: str | None = None
    experiment_name: str | None = None
    run_id: str | None = None
    sent: int = 0
    sweeps: int = 0
    files: int = 0
    all_files: int = 0
    uploaded: int = 0
    beats: int = 0
    baseline: Literal["found", "none", "failed"] | None = None
    baseline_error: str | None = None
    fetched: int = 0
    error: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> SessionState | None:
        """Return the state at ``path``, or None if it is missing or unreadable."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            # The constructor refuses members of a later version, the codec what is of a wrong type.
            return decode(cls, encode(cls(**{**data, "notes": tuple(data["notes"])})))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, path: Path) -> None:
        """Write the state to ``path`` atomically."""
        write_private(path, json.dumps(encode(self)))

    @property
    def progress(self) -> int:
        """A number that grows whenever something was sent to MLflow or fetched from it."""
        known = (self.pid, self.experiment_name, self.run_id, self.baseline)
        counts = self.sent + self.sweeps + self.fetched + self.files + self.uploaded + self.beats
        return counts + sum(field is not None for field in known)

    @property
    def is_unavailable(self) -> bool:
        """Whether MLflow is unavailable, permanently or temporarily."""
        return self.phase in ("failed", "waiting")

    def update(self, **changes: object) -> SessionState:
        """Return a copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]
