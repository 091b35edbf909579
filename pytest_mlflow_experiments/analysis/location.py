"""Locate stored sessions: below the current directory, in files, and in MLflow."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import pytest
from _pytest.config.findpaths import load_config_dict_from_file

from ..baseline.choice import Candidate, Catalog, Query
from ..baseline.local import (
    LocalCatalog,
    absolute_store,
    default_store,
    is_local_store,
    is_own_store,
)
from ..baseline.specs import (
    BaselineError,
    BaselineRequest,
    NothingYetError,
    UnknownSessionError,
    parse_spec,
)
from ..records import SessionHeader
from ..records.accepted import ACCEPTED_FILE, AcceptedError, AcceptedStep, read_accepted
from ..records.case import named_few
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.reader import peek_header
from ..records.secrets import without_credentials
from ..records.tags import BRANCH

if TYPE_CHECKING:
    from ..tracker.catalog import MlflowCatalog
    from ..tracker.registry import Registry


class UsageError(Exception):
    """The user's arguments are wrong; the message says why and what would be right."""


def sessions_root() -> Path:
    """Return the directory with the sessions: the current one, or the nearest parent with any."""
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / DIRECTORY_NAME).is_dir()), here)


def given_store(tracking_uri: str | None) -> str | None:
    """Return the store of the option ``--tracking-uri``, else of the environment, or None.

    Raises:
        UsageError: it is a database in memory, which has no session.
    """
    for text, source in (
        (tracking_uri, "--tracking-uri"),
        (os.environ.get("MLFLOW_TRACKING_URI"), "the variable MLFLOW_TRACKING_URI"),
    ):
        if text:
            return _checked(text, Path.cwd(), source)
    return None


def intended_store(
    root: Path, header: SessionHeader | None, directory: SessionDirectory | None = None
) -> str:
    """Return the store of a session, or of a project, where neither option nor variable tells it.

    A journal may be somebody else's, and whoever it names gets the user's credentials. Its address
    counts if it is the project's own (of its ini file, or the default), or one that this user's
    sessions were sent to. Else the ini file's counts; and for the default database of a checkout
    that was moved, the one of today.

    Args:
        root: the project's root.
        header: the session's, or None for the project's store.
        directory: where the session lies, if that may be in another project: its default database
            counts too, which no credentials go to. Its ini file does not, for it may have come
            together with the journal.

    Raises:
        UsageError: nothing but the journal names the address.
    """
    own = ini_store(root)
    if header is None:
        return own or default_store(root)
    uri = header.tracking_uri
    if os.name != "nt" and _WINDOWS_PATH.match(uri):
        raise UsageError(f"{uri} is a path on Windows; give the address with --tracking-uri")
    if own is not None and uri == without_credentials(own):
        return own
    roots = [root]
    if directory is not None and (sessions := directory.path.absolute().parent).name == (
        DIRECTORY_NAME
    ):
        roots.append(sessions.parent)
    if any(uri == default_store(one) or is_own_store(one, uri) for one in roots):
        return uri
    if own is not None:
        return own
    is_here = (root / DIRECTORY_NAME / header.session_id / "journal.jsonl").is_file()
    if is_here and uri.startswith("sqlite:///") and uri.endswith("/mlflow.db"):
        return default_store(root)
    raise UsageError(
        f"session {header.session_id} names the address "
        f"{without_credentials(uri)!r}, which neither MLFLOW_TRACKING_URI nor the project's ini "
        "file has, and to which no session was sent from here; credentials would go there. If it "
        "is right, say so with --tracking-uri"
    )


_WINDOWS_PATH = re.compile(r"(sqlite(\+\w+)?:///|file:/*)?[A-Za-z]:[\\/]")


def ini_store(root: Path) -> str | None:
    """Return the store in the project's ini file, else in pytest's options there, or None.

    Raises:
        UsageError: the ini file can't be read, or names a database in memory.
    """
    settings, base = _ini_file(root)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--mlflow-tracking-uri")
    parser.add_argument("-o", "--override-ini", action="append", default=[])
    words: list[str] = []
    for text in (settings.get("addopts", ""), os.environ.get("PYTEST_ADDOPTS", "")):
        with suppress(ValueError):
            words += shlex.split(text) if isinstance(text, str) else map(str, text)
    with suppress(argparse.ArgumentError, SystemExit):
        given, _ = parser.parse_known_args(words)
        if given.mlflow_tracking_uri:
            return _checked(given.mlflow_tracking_uri, root, "--mlflow-tracking-uri")
        settings |= dict(one.split("=", 1) for one in given.override_ini if "=" in one)
    text = settings.get("mlflow_tracking_uri")
    return _checked(str(text), base, "ini value mlflow_tracking_uri") if text else None


_INI_FILES = (
    *("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"),
    *("pyproject.toml", "tox.ini", "setup.cfg"),
)


def _ini_file(root: Path) -> tuple[dict[str, Any], Path]:
    """Return the settings of pytest's ini file, and its directory, as pytest finds it."""
    for directory in (root, *root.parents):
        for name in _INI_FILES:
            path = directory / name
            if not path.is_file():
                continue
            try:
                found: Mapping[str, Any] | None = load_config_dict_from_file(path)
            except pytest.UsageError as error:
                raise UsageError(str(error)) from None
            if found is not None:
                # Since pytest 9 the values are objects that tell where they are from.
                return {key: getattr(one, "value", one) for key, one in found.items()}, directory
    return {}, root


def _checked(text: str, base: Path, source: str) -> str:
    try:
        return absolute_store(text, base)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None


def session_directory(path: Path) -> SessionDirectory:
    """Return the session in a directory; raise a UsageError if there is none."""
    directory = SessionDirectory(path)
    if not directory.journal.is_file():
        raise UsageError(f"{path} is not the directory of a session: it has no journal.jsonl")
    return directory


T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The experiment of sessions, in MLflow and on this machine.

    ``tracking_uri`` may contain credentials and must not be shown. If nothing but a journal names
    it, ``foreign`` says so, and it must not be contacted: :attr:`store` is what may be.
    ``offline`` ignores MLflow.
    """

    root: Path
    tracking_uri: str
    experiment_name: str | None
    experiment_id: str | None
    local: LocalCatalog | None
    offline: bool = False
    foreign: UsageError | None = None

    @classmethod
    def resolve(
        cls,
        tracking_uri: str | None,
        experiment: str | None,
        session: SessionHeader | None = None,
        *,
        offline: bool = False,
    ) -> Location:
        """Find the location from arguments, else the environment, else a session's header.

        The session is by default the newest one here. For the store see :func:`intended_store`.

        Raises:
            UsageError: the given store is a database in memory.
        """
        root = sessions_root()
        newest = session or _newest_header(root)
        name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        number = None if name else os.environ.get("MLFLOW_EXPERIMENT_ID")
        if newest is not None and name is None and number is None:
            name, number = newest.experiment_name, newest.experiment_id
        uri = given_store(tracking_uri)
        local = None
        if newest is not None:
            local = LocalCatalog(
                root,
                tracking_uri=newest.tracking_uri,
                experiment_name=newest.experiment_name if name is None else name,
                experiment_id=number,
            )
        default = newest.tracking_uri if newest else default_store(root)
        foreign = None
        try:
            store = uri or intended_store(root, newest)
        except UsageError as error:
            # What is asked of this machine alone needs no address.
            store, foreign = default, error
        return cls(
            root=root,
            tracking_uri=store,
            foreign=foreign,
            experiment_name=name or (None if number else root.name or "pytest"),
            experiment_id=number,
            local=local if uri is None or without_credentials(uri) == default else None,
            offline=offline,
        )

    @property
    def store(self) -> str:
        """The tracking URI, to be contacted.

        Raises:
            UsageError: nothing but a journal names it.
        """
        if self.foreign is not None:
            raise self.foreign
        return self.tracking_uri

    @property
    def experiment(self) -> dict[str, str | None]:
        """The experiment as keyword arguments of what opens a tracking store."""
        return {"experiment_name": self.experiment_name, "experiment_id": self.experiment_id}

    def mlflow(self) -> MlflowCatalog:
        """Open MLflow's sessions; this loads mlflow, which takes seconds."""
        uri = self.store
        from ..tracker.connect import open_catalog

        return open_catalog(uri, **self.experiment)

    def registry(self) -> AbstractContextManager[Registry]:
        """Open MLflow's model registry; this loads mlflow, which takes seconds."""
        from ..tracker.registry import open_registry

        return open_registry(self.store, **self.experiment)

    def accepted_steps(self) -> tuple[AcceptedStep, ...]:
        """Return the accepted steps in the file, whichever sessions ran with them."""
        try:
            return read_accepted(self.root / ACCEPTED_FILE)
        except AcceptedError as error:
            raise UsageError(str(error)) from None

    def ask(self, question: Callable[[Catalog], T | None], request: BaselineRequest) -> T:
        """Ask the catalogs, this machine's first; return the first answer.

        Raises:
            BaselineError: no catalog has one; the message is the first catalog's, and tells what
                there is where nothing was found.
        """
        asked: list[Catalog] = []
        answer, problems = self._first_answer(question, request, asked)
        if answer is None:
            unknown = NothingYetError | UnknownSessionError
            serious = [one for one in problems if not isinstance(one, unknown)]
            text = "; ".join(dict.fromkeys(map(str, serious or problems)))
            if not serious or isinstance(problems[0], unknown):
                text = "\n  ".join([text, *self._looked_at(asked, request.spec)])
            raise BaselineError(text)
        return answer

    def _looked_at(self, catalogs: Sequence[Catalog], spec: str) -> Iterator[str]:
        """Yield lines that tell where a session was looked for, and which there are instead."""
        names: dict[str, None] = {}
        counted = 0
        kind, value = (parsed := parse_spec(spec)).kind, parsed.value
        for catalog in catalogs:
            try:
                found = list(islice(catalog.newest(Query()), _COUNTED))
            except BaselineError as error:
                yield f"looked at {catalog.place}: {error}"
                continue
            is_local = catalog is self.local
            place = f"{self.root / DIRECTORY_NAME}, {catalog.place}" if is_local else catalog.place
            counted += len(found)
            more = " or more" if len(found) == _COUNTED else ""
            number = f"1 session{more}" if len(found) == 1 else f"{len(found)} sessions{more}"
            yield f"looked at {place}: {number}"
            if (others := getattr(catalog, "experiments", None)) and not found:
                yield f"experiments there: {named_few([*map(repr, others())], _SHOWN) or 'none'}"
            names |= dict.fromkeys(_names(found, kind, parsed.pair[0] if kind == "tag" else ""))
        if self.local is None:
            yield f"looked at {self.root}: no session is in {DIRECTORY_NAME} there"
        wanted = parsed.pair[1] if kind == "tag" else value
        within = [name for name in names if wanted and wanted in name]
        nearest = (within or get_close_matches(wanted, names, _SHOWN, 0.5))[:_SHOWN]
        if nearest:
            yield f"the nearest: {', '.join(nearest)}"
        elif names:
            yield f"the newest: {', '.join([*names][:_SHOWN])}"
        if counted:
            yield "`pytest-mlflow sessions list` shows all of them"

    def look_for(
        self, question: Callable[[Catalog], T | None], request: BaselineRequest
    ) -> T | None:
        """Ask the catalogs as :meth:`ask` does; return None if there is no answer yet.

        Raises:
            BaselineError: a catalog can't be read, so that the answer is unknown.
        """
        answer, problems = self._first_answer(question, request)
        serious = (one for one in problems if not isinstance(one, NothingYetError))
        if answer is None and (problem := next(serious, None)) is not None:
            raise problem
        return answer

    def _first_answer(
        self,
        question: Callable[[Catalog], T | None],
        request: BaselineRequest,
        asked: list[Catalog] | None = None,
    ) -> tuple[T | None, list[BaselineError]]:
        """Return the first answer, and the errors of the catalogs before it.

        The catalogs that could be opened are added to ``asked``.
        """
        catalogs: list[Callable[[], Catalog]] = [] if self.offline else [self.mlflow]
        if (local := self.local) is not None:
            # What a session on a server is compared with is what the server has.
            catalogs.insert(0 if is_local_store(self.tracking_uri) else 1, lambda: local)
        problems: list[BaselineError] = []
        for open_catalog in catalogs:
            try:
                catalog = open_catalog()
                if asked is not None:
                    asked.append(catalog)
                if (answer := question(catalog)) is not None:
                    return answer, problems
                text = f"there is no session for {request.spec!r} in {catalog.place} yet"
                problems.append(NothingYetError(text))
            except BaselineError as error:  # noqa: PERF203 - there are two at most
                problems.append(error)
            except UsageError as error:
                # What is asked of this machine alone needs no address.
                problems.append(BaselineError(str(error)))
        return None, problems


_COUNTED = 200
"""The number of sessions that are looked through for the names that there are."""
_SHOWN = 3


def _names(found: Sequence[Candidate], kind: str, key: str) -> Iterator[str]:
    """Yield the names of sessions that a form of ``--mlflow-baseline`` might have meant."""
    for one in found:
        tags = {"branch": one.tags.get(BRANCH) or one.branch, "run": one.run_id}
        if name := one.tags.get(key) if kind == "tag" else tags.get(kind, one.session_id):
            yield name


def _newest_header(root: Path) -> SessionHeader | None:
    headers = (peek_header(one.journal) for one in reversed(SessionDirectory.find_all(root)))
    return next((header for header in headers if header is not None), None)
