"""Find kept sessions: below the current directory, in files, and in MLflow."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

from ..baseline import (
    BaselineError,
    BaselineRequest,
    Catalog,
    LocalCatalog,
    NothingYetError,
    base_branch,
    choose,
    is_local_store,
    load_file,
    make_baseline,
    parse_spec,
)
from ..records import SessionHeader, journal
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.git import default_branch, git_tags
from ..records.journal import Entry
from ..records.secrets import without_credentials
from ..records.tags import BRANCH

if TYPE_CHECKING:
    from ..tracker.catalog import MlflowCatalog


class UsageError(Exception):
    """The command can't be carried out as given; the message says why and what would be right."""


def sessions_root() -> Path:
    """Return the directory that keeps sessions: this one, or the next one above that does."""
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / DIRECTORY_NAME).is_dir()), here)


def default_store(root: Path) -> str:
    """Return the URI of the tracking store of a project that has named none."""
    return f"sqlite:///{root.as_posix()}/mlflow.db"


def session_directory(path: Path) -> SessionDirectory:
    """Return the session in a directory.

    Raises:
        UsageError: there is none.
    """
    directory = SessionDirectory(path)
    if not directory.journal.is_file():
        raise UsageError(f"{path} is not the directory of a session: it has no journal.jsonl")
    return directory


T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where sessions are; ``tracking_uri`` may hold credentials and must not be shown.

    An ``offline`` place is this machine alone.
    """

    root: Path
    tracking_uri: str
    experiment_name: str | None
    experiment_id: str | None
    local: LocalCatalog | None
    offline: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace, session: SessionHeader | None = None) -> Place:
        """Return the place that the options, the environment and a session tell of.

        Args:
            options: those of :func:`.arguments.add_place_options`.
            session: the session; the newest one here where none is given.
        """
        return cls.found(
            options.tracking_uri,
            options.experiment,
            session=session,
            offline=getattr(options, "offline", False),
        )

    @classmethod
    def found(
        cls,
        tracking_uri: str | None,
        experiment: str | None,
        *,
        session: SessionHeader | None = None,
        offline: bool = False,
    ) -> Place:
        """Return the place that is named, as :meth:`of` does; None is what nobody has named."""
        root = sessions_root()
        newest = session or _newest_header(root)
        name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        number = None if name else os.environ.get("MLFLOW_EXPERIMENT_ID")
        if newest is not None and name is None and number is None:
            name, number = newest.experiment_name, newest.experiment_id
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        local = None
        if newest is not None:
            local = LocalCatalog(
                root,
                tracking_uri=newest.tracking_uri,
                experiment_name=newest.experiment_name if name is None else name,
                experiment_id=number,
            )
        default = newest.tracking_uri if newest else default_store(root)
        return cls(
            root=root,
            tracking_uri=uri or default,
            experiment_name=name or (None if number else root.name or "pytest"),
            experiment_id=number,
            local=local if uri is None or without_credentials(uri) == default else None,
            offline=offline,
        )

    def mlflow(self) -> MlflowCatalog:
        """Return the sessions that MLflow has; this loads mlflow, which takes seconds.

        Raises:
            BaselineError: the tracking store can't be used.
        """
        from ..tracker.connect import open_catalog

        return open_catalog(
            self.tracking_uri,
            experiment_name=self.experiment_name,
            experiment_id=self.experiment_id,
        )

    def newest(self, request: BaselineRequest) -> str:
        """Return the id of the newest session that is looked for.

        Raises:
            BaselineError: there is no such session.
        """

        def session(catalog: Catalog) -> str | None:
            choice = choose(parse_spec(request.spec), request, catalog)
            return choice.sessions[-1].session_id if choice is not None else None

        return self.ask(session, request)

    def request(
        self, spec: str, history: int, judged: SessionHeader | None = None
    ) -> BaselineRequest:
        """Return what is looked for: for a session, or for the branch that is checked out.

        Raises:
            UsageError: the spec is not a legal one.
        """
        try:
            parse_spec(spec)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if judged is not None:
            return BaselineRequest(
                spec=spec,
                history=history,
                branch=judged.branch,
                session_id=judged.session_id,
                start_time=judged.start_time,
            )
        branch = git_tags(self.root).get(BRANCH)
        return BaselineRequest(
            spec=spec,
            history=history,
            branch=branch,
            base_branch=base_branch(os.environ) or default_branch(self.root),
        )

    def entries(
        self, reference: str, history: int, judged: SessionHeader | None = None
    ) -> list[Entry]:
        """Return the sessions that a person means, as a baseline: provenance and journals.

        Args:
            reference: the directory of a session, a file, or a form of ``--mlflow-baseline``.
            history: how many sessions at most, where the reference stands for several.
            judged: the session that is to be compared with them.

        Raises:
            UsageError: the reference is not a legal one.
            BaselineError: there is no such session.
        """
        if (path := _file(reference)) is not None:
            found = load_file(path)
            sessions = found.sessions[-history:]
            return [found.provenance, *(entry for one in sessions for entry in one.entries())]
        request = self.request(reference, history, judged)
        with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as directory:
            target = Path(directory, "baseline.jsonl")
            self.ask(lambda catalog: make_baseline(request, catalog, target), request)
            return list(journal.read(target))

    def judged(self, reference: str) -> list[Entry]:
        """Return the one session that a person means, whether it can be a baseline or not.

        Args:
            reference: the directory of a session, a file, or a form of ``--mlflow-baseline``.

        Raises:
            UsageError: the reference is not a legal one.
            BaselineError: there is no such session.
            JournalError: the session can't be read.
        """
        if (path := _file(reference)) is not None:
            return list(_read(path))
        request = self.request(reference, 1)
        with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as name:
            return self.ask(lambda catalog: _whole(catalog, request, Path(name)), request)

    def ask(self, question: Callable[[Catalog], T | None], request: BaselineRequest) -> T:
        """Return the answer of the nearest place that has one.

        Raises:
            BaselineError: none has; it says why the nearest has not.
        """
        answer, problems = self._asked(question, request)
        if answer is None:
            raise BaselineError("; ".join(dict.fromkeys(map(str, problems))))
        return answer

    def look_for(
        self, question: Callable[[Catalog], T | None], request: BaselineRequest
    ) -> T | None:
        """Return the answer of the nearest place that has one, or None where there is none yet.

        Raises:
            BaselineError: a place can't be asked, so that nobody can tell.
        """
        answer, problems = self._asked(question, request)
        if answer is None:
            for problem in problems:
                if not isinstance(problem, NothingYetError):
                    raise problem
        return answer

    def _asked(
        self, question: Callable[[Catalog], T | None], request: BaselineRequest
    ) -> tuple[T | None, list[BaselineError]]:
        """Return the answer, and why the places before have none."""
        places: list[Callable[[], Catalog]] = [] if self.offline else [self.mlflow]
        if (local := self.local) is not None:
            # What a session on a server is compared with is what the server has.
            places.insert(0 if is_local_store(self.tracking_uri) else 1, lambda: local)
        problems: list[BaselineError] = []
        for open_place in places:
            answer, problem = _asked(open_place, question, request)
            if problem is None:
                return answer, problems
            problems.append(problem)
        return None, problems


def _asked(
    open_place: Callable[[], Catalog],
    question: Callable[[Catalog], T | None],
    request: BaselineRequest,
) -> tuple[T | None, BaselineError | None]:
    try:
        catalog = open_place()
        answer = question(catalog)
    except BaselineError as error:
        return None, error
    if answer is None:
        text = f"there is no session for {request.spec!r} in {catalog.place} yet"
        return None, NothingYetError(text)
    return answer, None


def _file(reference: str) -> Path | None:
    """Return the file that a reference means, a session's journal among them, or None."""
    path = Path(reference.removeprefix("file:"))
    if path.is_dir():
        return session_directory(path).journal
    return path if path.is_file() or reference.startswith("file:") else None


def _whole(catalog: Catalog, request: BaselineRequest, directory: Path) -> list[Entry] | None:
    """Return the journal of the newest session that is asked for, or None without one."""
    spec = parse_spec(request.spec)
    if spec.kind == "session":
        session = catalog.session(spec.value)
    elif spec.kind == "run":
        session = catalog.run(spec.value)
    elif spec.kind == "model":
        session = catalog.model(*spec.pair)
    elif choice := choose(spec, request, catalog):
        session = choice.sessions[-1]
    else:
        return None
    (source,) = catalog.journals([session], directory)
    if isinstance(source, str):
        raise BaselineError(f"session {session.session_id} can't be read: {source}")
    return list(_read(source))


def _read(path: Path) -> Iterator[Entry]:
    try:
        yield from journal.read(path)
    except OSError as error:
        raise BaselineError(f"{path}: {error.strerror or error}") from error


def _newest_header(root: Path) -> SessionHeader | None:
    for directory in reversed(SessionDirectory.find_all(root)):
        entry = next(iter(journal.JournalTail(directory.journal).read_new(1)), None)
        if isinstance(entry, SessionHeader):
            return entry
    return None
