"""Find sessions by the names that users give them, the same in all commands.

A name is an id or its beginning, the directory of a session, ``latest``, the id of a run, or any
other form of ``--mlflow-baseline``.
"""

from __future__ import annotations

import re
import tempfile
from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, final

from ..baseline.choice import Candidate, Catalog, Query, choose
from ..baseline.files import load_file, make_baseline
from ..baseline.specs import (
    BaselineError,
    BaselineRequest,
    in_checkout,
    of_session,
    parse_spec,
)
from ..records import SessionHeader, journal
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.git import git_tags
from ..records.journal import Entry
from ..records.reader import StoredSession, peek_header, stored_sessions
from ..records.tags import COMMIT, TESTED
from ..regression.comparison import Comparison
from ..report.json import read_json
from .location import Location, UsageError, session_directory, sessions_root


def as_spec(reference: str) -> str:
    """Return the form of ``--mlflow-baseline`` that the name of a session stands for."""
    path = Path(reference)
    if path.is_dir() and (header := peek_header(session_directory(path).journal)):
        return f"session:{header.session_id}"
    if ":" in reference or reference in ("auto", "latest", "none"):
        return reference
    return f"{'run' if _RUN_ID.fullmatch(reference) else 'session'}:{reference}"


_RUN_ID = re.compile("[0-9a-f]{32}")
_LOOKED_AT: Final = 20
"""The number of sessions among which ``latest`` looks for one that has ended."""


def baseline_request(
    location: Location, spec: str, history: int, compared: SessionHeader | None = None
) -> BaselineRequest:
    """Return the baseline request for a session, or for the checked-out branch."""
    spec = as_spec(spec)
    try:
        parse_spec(spec)
    except ValueError as error:
        raise UsageError(str(error)) from None
    request = BaselineRequest(spec=spec, history=history)
    if compared is not None:
        own = replace(request, session_id=compared.session_id, start_time=compared.start_time)
        here = SessionDirectory.find_all(location.root)
        own = replace(own, here=tuple([directory.session_id for directory in here]))
        return of_session(own, compared.tags)
    tags = git_tags(location.root)
    return in_checkout(request, tags, tags.get(TESTED) or tags.get(COMMIT), location.root)


def baseline_entries(
    location: Location, reference: str, history: int, compared: SessionHeader | None = None
) -> list[Entry]:
    """Return the baseline of a reference: its provenance and the entries of its sessions.

    ``reference`` is the directory of a session, a file, or a form of ``--mlflow-baseline``, which
    may stand for several sessions, ``history`` at most.

    Raises:
        UsageError: the reference is not a legal one.
        BaselineError: there is no such session.
    """
    if (path := _file(reference)) is not None:
        return list(load_file(path).entries(history))
    request = baseline_request(location, reference, history, compared)
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as directory:
        target = Path(directory, "baseline.jsonl")
        location.ask(lambda catalog: make_baseline(request, catalog, target), request)
        return list(journal.read(target))


def newest_id(location: Location, spec: str) -> str:
    """Return the id of the newest session that a form of ``--mlflow-baseline`` selects."""
    request = baseline_request(location, spec, 1)
    parsed = parse_spec(request.spec)
    choice = location.ask(lambda catalog: choose(parsed, request, catalog), request)
    return choice.sessions[-1].session_id


def named_candidate(location: Location, reference: str) -> Candidate:
    """Return what is known of the one session of a name, even if it can't be a baseline.

    Raises:
        UsageError: the name is not a legal one.
        BaselineError: there is no such session.
    """
    request = baseline_request(location, reference, 1)
    return location.ask(lambda catalog: _candidate(catalog, request), request)


def named_session(location: Location, reference: str) -> StoredSession | None:
    """Return the one session of a reference, even if it can't be a baseline.

    For a file it is the newest one, or None if the file is empty.

    Raises:
        UsageError: the reference is not a legal one; see :func:`baseline_entries`.
        BaselineError: there is no such session.
        JournalError: the session can't be read.
    """
    if (directory := kept_directory(reference)) is not None:
        return _last_session(directory.journal)
    if (path := _file(reference)) is not None:
        return _last_session(path)
    request = baseline_request(location, reference, 1)
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as name:
        return location.ask(lambda catalog: _session(catalog, request, Path(name)), request)


def _file(reference: str) -> Path | None:
    """Return the file of a reference, which may be a session's journal, or None."""
    path = Path(reference.removeprefix("file:"))
    if path.is_dir():
        return session_directory(path).journal
    return path if path.is_file() or reference.startswith("file:") else None


def _last_session(path: Path) -> StoredSession | None:
    try:
        newest = deque(stored_sessions(journal.read(path)), maxlen=1)
    except OSError as error:
        raise BaselineError(f"{path}: {error.strerror or error}") from error
    return newest[0] if newest else None


def _candidate(catalog: Catalog, request: BaselineRequest) -> Candidate | None:
    """Return the newest session of a request, or None without one."""
    spec = parse_spec(request.spec)
    if spec.kind == "session":
        return catalog.session(spec.value)
    if spec.kind == "run":
        return catalog.run(spec.value)
    if spec.kind == "model":
        return catalog.model(*spec.pair)
    if spec.kind == "latest":
        newest = [*islice(catalog.newest(Query()), _LOOKED_AT)]
        # Somebody else's may be running right now.
        ended = (one for one in newest if one.exit_status is not None)
        return next(ended, newest[0] if newest else None)
    if spec.kind == "branch":
        query = Query(any_branch=False, branch=spec.value)
        found = (one for one in catalog.newest(query) if one.branch == spec.value)
        # Those of pull requests are of no branch, unless there is nothing else.
        first = next(found, None)
        if first is None or first.proposal is None:
            return first
        return next((one for one in found if one.proposal is None), first)
    choice = choose(spec, request, catalog)
    return choice.sessions[-1] if choice is not None else None


def _session(catalog: Catalog, request: BaselineRequest, directory: Path) -> StoredSession | None:
    """Return the newest session of a request, or None without one."""
    session = _candidate(catalog, request)
    if session is None:
        return None
    (source,) = catalog.journals([session], directory)
    if isinstance(source, str):
        raise BaselineError(f"session {session.session_id} can't be read: {source}")
    return _last_session(source)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSession:
    """A session, its directory if it is on this machine, and whether it came from MLflow."""

    stored: StoredSession
    location: Location
    directory: SessionDirectory | None
    is_fetched: bool

    def local_comparison(self) -> Comparison | None:
        """Return the comparison that the session ended with, or None if it is not here."""
        if self.directory is None or not self.directory.report.exists():
            return None
        return read_comparison(self.directory.report)

    def comparison(self) -> Comparison:
        """Return the comparison that the session ended with, from here or from MLflow.

        Raises:
            UsageError: there is none.
        """
        found = self.local_comparison()
        if found is None and self.is_fetched:
            with self.location.registry() as registry:
                run = registry.session_run(self.stored.header)
                text = None if run is None else registry.report(run)
            found = None if text is None else parse_comparison(text, "report.json of the session")
        if found is None:
            raise UsageError(
                f"the session {self.stored.header.session_id} was not compared with a baseline; "
                "name another one"
            )
        return found


def read_comparison(path: Path) -> Comparison:
    """Return the comparison that a report.json holds, as :func:`parse_comparison` does."""
    return parse_comparison(path.read_text(encoding="utf-8"), str(path))


def parse_comparison(text: str, origin: object) -> Comparison:
    """Parse the text of a report.json; ``origin`` names it in errors.

    Raises:
        UsageError: it can't be understood.
    """
    try:
        return read_json(text)
    except ValueError as error:
        raise UsageError(f"{origin}: {error}") from None


def choose_session(
    reference: str | None, tracking_uri: str | None, experiment: str | None
) -> ChosenSession:
    """Return the session of a name, by default the newest one.

    Raises:
        UsageError: the name is not a legal one.
        BaselineError: there is no such session.
        JournalError: it can't be read.
    """
    is_file = True
    directory = chosen_directory(reference, tracking_uri, experiment)
    if directory is not None:
        stored = _last_session(directory.journal)
    else:
        location = Location.resolve(tracking_uri, experiment)
        reference = reference or "latest"
        is_file = _file(reference) is not None
        stored = named_session(location, reference)
    if stored is None:
        raise BaselineError(f"{directory.journal if directory else reference} holds no session")
    location = Location.resolve(tracking_uri, experiment, stored.header)
    if directory is None:
        kept = SessionDirectory(location.root / DIRECTORY_NAME / stored.header.session_id)
        directory = kept if kept.journal.is_file() else None
    return ChosenSession(
        stored=stored,
        location=location,
        directory=directory,
        is_fetched=directory is None and not is_file,
    )


def chosen_directory(
    reference: str | None, tracking_uri: str | None, experiment: str | None
) -> SessionDirectory | None:
    """Return the directory of the named session here, by default of the newest, or None."""
    if reference is not None and reference != "latest":
        return kept_directory(reference)
    if tracking_uri or experiment:
        return None
    return next(reversed(SessionDirectory.find_all(sessions_root())), None)


def kept_directory(reference: str) -> SessionDirectory | None:
    """Return the session directory of a name, an id or a path, or None if it names none."""
    kept = SessionDirectory(sessions_root() / DIRECTORY_NAME / reference.removeprefix("session:"))
    if kept.journal.is_file():
        return kept
    path = Path(reference)
    return session_directory(path) if path.is_dir() else None
