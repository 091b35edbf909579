"""Read the sessions to analyse: below a directory, in files, or in MLflow."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias, final

from ..baseline import BaselineError, Query
from ..records import CaseRecord, SessionEnd, SessionHeader, journal
from ..records.directory import DIRECTORY_NAME, SessionDirectory, SessionState
from ..records.journal import JournalError
from .places import Place, sessions_root

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


def mlflow_sessions(
    tracking_uri: str | None, experiment: str | None, branch: str | None, last: int | None
) -> Iterator[StoredSession]:
    """Yield the sessions of an experiment, the oldest first; those without a journal are told of.

    Raises:
        BaselineError: MLflow can't be used, or there is no such experiment.
        JournalError: a session can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as name, own_environment():
        place = Place.found(tracking_uri, experiment)
        with warnings.catch_warnings():
            # What MLflow warns of while it is loaded must not become an error of the caller's.
            warnings.simplefilter("ignore")
            catalog = place.mlflow()
            if not catalog.exists:
                raise BaselineError(f"there is no {catalog.place}")
            query = Query(any_branch=branch is None, branch=branch)
            matching = (
                one for one in catalog.newest(query) if branch is None or one.branch == branch
            )
            found = list(islice(matching, last))[::-1]
            journals = list(catalog.journals(found, Path(name)))
        for one, path in zip(found, journals, strict=True):
            if isinstance(path, str):
                warnings.warn(
                    f"session {one.session_id} is left out: {path}", UserWarning, stacklevel=2
                )
                continue
            try:
                for session in sessions_in(path):
                    yield replace(session, run_id=one.run_id)
            except JournalError as error:
                text = str(error).replace(str(path), f"{path.name} of its run {one.run_id}")
                raise JournalError(f"session {one.session_id}: {text}") from error


@contextmanager
def own_environment() -> Iterator[None]:
    """Give the caller MLflow's variables back: a tracker sets them for a process of its own."""
    before = _variables()
    try:
        yield
    finally:
        for name in _variables().keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _variables() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name.startswith("MLFLOW_")}


PathLike: TypeAlias = "str | os.PathLike[str]"
Source: TypeAlias = "PathLike | Iterable[PathLike] | None"

MLFLOW: Final = "mlflow"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A session of which no more than its header is needed yet."""

    header: SessionHeader
    read: Callable[[], StoredSession]


def stored_sessions(
    source: Source,
    *,
    tracking_uri: str | None,
    experiment: str | None,
    branch: str | None,
    last: int | None,
) -> Iterator[StoredSession]:
    """Yield the sessions that :func:`.load_sessions` is asked for, the oldest first.

    Raises:
        ValueError: an argument is not legal.
        FileNotFoundError: there is no such file, or no session in a directory.
        JournalError: a session can't be read.
        BaselineError: MLflow can't be used, or has no such experiment.
    """
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 1):
        raise ValueError(f"last: expected a whole number, 1 or more, or None, got {last!r}")
    if source == MLFLOW or (source is None and tracking_uri is not None):
        # Only here, for it is of no use to those who have files.

        yield from mlflow_sessions(tracking_uri, experiment, branch, last)
        return
    if tracking_uri is not None:
        raise ValueError(
            f"source: got {source!r} together with a tracking_uri; expected one of them"
        )
    found: dict[str, _Found] = {}
    for one in _all_found(source):
        found.setdefault(one.header.session_id, one)
    whole = {shard for one in found.values() for shard in one.header.shards}
    wanted = [
        one
        for one in found.values()
        if one.header.session_id not in whole
        and (branch is None or one.header.branch == branch)
        and (experiment is None or one.header.experiment_name == experiment)
    ]
    wanted.sort(key=lambda one: (one.header.start_time, one.header.session_id))
    for one in wanted[-last if last else 0 :]:
        yield one.read()


def _all_found(source: Source) -> Iterator[_Found]:
    for path in _paths(source):
        if path.is_dir():
            for directory in _directories(path):
                yield from _in_directory(directory.journal)
        else:
            sessions = list(sessions_in(path))
            if not sessions:
                raise JournalError(f"{path} holds no session")
            for session in sessions:
                yield _Found(header=session.header, read=partial(_same, session))


def _paths(source: Source) -> list[Path]:
    if source is None:
        root = sessions_root()
        if not (root / DIRECTORY_NAME).is_dir():
            raise FileNotFoundError(
                f"there is no {DIRECTORY_NAME} in {root} or above it; `pytest --mlflow` makes one, "
                "else say where the sessions are with source or tracking_uri"
            )
        return [root / DIRECTORY_NAME]
    if isinstance(source, str | os.PathLike):
        return [Path(source)]
    return [Path(path) for path in source]


def _directories(path: Path) -> list[SessionDirectory]:
    """Return the sessions of a directory: its own, those of a rootdir, or all that are below it."""
    if (path / JOURNAL).is_file():
        return [SessionDirectory(path)]
    if (path / DIRECTORY_NAME).is_dir():
        return SessionDirectory.find_all(path)
    found = [SessionDirectory(journal.parent) for journal in sorted(path.rglob(JOURNAL))]
    if not found and path.name != DIRECTORY_NAME:
        raise FileNotFoundError(
            f"there is no session in {path}; expected a rootdir, its {DIRECTORY_NAME}, the "
            "directory of a session, or one with such directories below it"
        )
    return found


def _in_directory(path: Path) -> Iterator[_Found]:
    try:
        header = next(journal.read(path), None)
    except FileNotFoundError:  # a session that ends just now has pruned it
        return
    if header is None:  # killed before its first line
        return
    if not isinstance(header, SessionHeader):
        raise JournalError(f"{path} is not the journal of a session: it has no header")

    yield _Found(header=header, read=partial(_only, path))


def _only(path: Path) -> StoredSession:
    sessions = list(sessions_in(path))
    if len(sessions) != 1:
        raise JournalError(f"{path} holds {len(sessions)} sessions, and not one")
    return sessions[0]


def _same(session: StoredSession) -> StoredSession:
    return session
