"""Read the sessions to analyse: below a directory, in files, or in MLflow."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

from ..baseline.choice import Query
from ..baseline.specs import BaselineError
from ..records import SessionHeader
from ..records.directory import DIRECTORY_NAME, SessionDirectory, SessionState
from ..records.journal import JournalError
from ..records.reader import StoredSession, read_header, read_sessions
from .location import Location, UsageError, sessions_root

PathLike: TypeAlias = "str | os.PathLike[str]"
Source: TypeAlias = "PathLike | Iterable[PathLike] | None"

JOURNAL: Final = "journal.jsonl"
MLFLOW: Final = "mlflow"

LOCATION: Final = {
    "tracking_uri": "where MLflow is, as for the commands.",
    "experiment": "the experiment, as for the commands.",
}
ARGUMENTS: Final = {
    "source": "a rootdir, its ``.pytest_mlflow``, the directory of a session or one with such "
    "directories below it, a session's file (``results.jsonl``), a baseline file, or several of "
    "these. None: the ``.pytest_mlflow`` of the current directory, or of the next one above "
    'that has one. The text ``"mlflow"``: MLflow, where the commands look for it (the variables '
    "``MLFLOW_TRACKING_URI`` and so on, else where the newest session here went).",
    "tracking_uri": "read from this MLflow; ``source`` is then not given.",
    "experiment": "only sessions of the experiment with this name. In MLflow, where none is given, "
    "it is the one that the commands would take.",
    "branch": "only sessions of this branch.",
    "last": "only so many sessions, the newest ones.",
}
"""The arguments of :func:`load_stored`, for the docstrings of functions that pass them on."""

RAISES: Final = {
    "ValueError": "an argument is not legal.",
    "FileNotFoundError": "there is no such file, or no session in a directory.",
    "JournalError": "a session is damaged, or of a newer release.",
    "BaselineError": "MLflow can't be used, or has no such experiment.",
}


def load_stored(
    source: Source, uri: str | None, experiment: str | None, branch: str | None, last: int | None
) -> Iterator[StoredSession]:
    """Yield the sessions selected by :data:`ARGUMENTS`, the oldest first."""
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 1):
        raise ValueError(f"last: expected a whole number, 1 or more, or None, got {last!r}")
    if source == MLFLOW or (source is None and uri is not None):
        yield from _of_mlflow(uri, experiment, branch, last)
        return
    if uri is not None:
        raise ValueError(
            f"source: got {source!r} together with a tracking_uri; expected one of them"
        )
    # Of what is in directories of their own, only those that are wanted are read.
    by_id: dict[str, tuple[SessionHeader, StoredSession | Path]] = {}
    for header, session in _of_disk(source):
        by_id.setdefault(header.session_id, (header, session))
    merged = {shard for header, _ in by_id.values() for shard in header.shards}
    wanted = [
        (header, session)
        for header, session in by_id.values()
        if header.session_id not in merged
        and (branch is None or header.branch == branch)
        and (experiment is None or header.experiment_name == experiment)
    ]
    wanted.sort(key=lambda pair: (pair[0].start_time, pair[0].session_id))
    for _, session in wanted[-last if last else 0 :]:
        yield session if isinstance(session, StoredSession) else _only(session)


def _of_mlflow(
    uri: str | None, experiment: str | None, branch: str | None, last: int | None
) -> Iterator[StoredSession]:
    """Yield the sessions of an experiment, the oldest first; warn of those without a journal."""
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as name:
        with undisturbed():
            try:
                catalog = Location.resolve(uri, experiment).mlflow()
            except UsageError as error:
                raise BaselineError(str(error)) from None
            if not catalog.exists:
                raise BaselineError(f"there is no {catalog.place}")
            query = Query(any_branch=branch is None, branch=branch)
            matching = (
                one for one in catalog.newest(query) if branch is None or one.branch == branch
            )
            wanted = list(islice(matching, last))[::-1]
            journals = list(catalog.journals(wanted, Path(name)))
        for one, path in zip(wanted, journals, strict=True):
            if isinstance(path, str):
                text = f"session {one.session_id} is left out: {path}"
                warnings.warn(text, UserWarning, stacklevel=2)
                continue
            try:
                for session in read_sessions(path):
                    yield replace(session, run_id=one.run_id)
            except JournalError as error:
                text = str(error).replace(str(path), f"{path.name} of its run {one.run_id}")
                raise JournalError(f"session {one.session_id}: {text}") from error


@contextmanager
def undisturbed() -> Iterator[None]:
    """Protect the caller from MLflow's side effects in the block.

    MLflow's environment variables, which the tracker's code sets, are restored, and warnings from
    importing libraries can't become errors of the caller.
    """
    before = _variables()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in _variables().keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _variables() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name.startswith("MLFLOW_")}


def _of_disk(source: Source) -> Iterator[tuple[SessionHeader, StoredSession | Path]]:
    """Yield headers, each with its session, or with the journal that holds only this session."""
    for path in _paths(source):
        if path.is_dir():
            for directory in _directories(path):
                try:
                    header = read_header(directory.journal)
                except FileNotFoundError:  # a session that ends just now has pruned it
                    continue
                if header is not None:  # killed before its first line
                    yield header, directory.journal
        else:
            sessions = _read(path)
            if not sessions:
                raise JournalError(f"{path} holds no session")
            yield from ((session.header, session) for session in sessions)


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
    """Return the session directories of a directory: itself, a rootdir's, or all below it."""
    if (path / JOURNAL).is_file():
        return [SessionDirectory(path)]
    if (path / DIRECTORY_NAME).is_dir():
        return SessionDirectory.find_all(path)
    below = [SessionDirectory(journal.parent) for journal in sorted(path.rglob(JOURNAL))]
    if not below and path.name != DIRECTORY_NAME:
        raise FileNotFoundError(
            f"there is no session in {path}; expected a rootdir, its {DIRECTORY_NAME}, the "
            "directory of a session, or one with such directories below it"
        )
    return below


def _read(path: Path) -> list[StoredSession]:
    state = SessionState.read(SessionDirectory(path.parent).state) if path.name == JOURNAL else None
    run_id = state.run_id if state is not None else None
    return [replace(session, run_id=run_id) for session in read_sessions(path)]


def _only(path: Path) -> StoredSession:
    sessions = _read(path)
    if len(sessions) != 1:
        raise JournalError(f"{path} holds {len(sessions)} sessions, and not one")
    return sessions[0]
