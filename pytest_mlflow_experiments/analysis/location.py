"""Locate stored sessions: below the current directory, in files, and in MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

from ..baseline.choice import Candidate, Catalog, Query
from ..baseline.local import LocalCatalog, is_local_store
from ..baseline.specs import (
    BaselineError,
    BaselineRequest,
    NothingYetError,
    UnknownSessionError,
    parse_spec,
)
from ..records import SessionHeader
from ..records.accepted import ACCEPTED_FILE, AcceptedError, AcceptedStep, read_accepted
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


def default_store(root: Path) -> str:
    """Return the URI of the default tracking store of a project."""
    return f"sqlite:///{root.as_posix()}/mlflow.db"


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

    ``tracking_uri`` may contain credentials and must not be shown. ``offline`` ignores MLflow.
    """

    root: Path
    tracking_uri: str
    experiment_name: str | None
    experiment_id: str | None
    local: LocalCatalog | None
    offline: bool = False

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

        The session is by default the newest one here.
        """
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

    @property
    def experiment(self) -> dict[str, str | None]:
        """The experiment as keyword arguments of what opens a tracking store."""
        return {"experiment_name": self.experiment_name, "experiment_id": self.experiment_id}

    def mlflow(self) -> MlflowCatalog:
        """Open MLflow's sessions; this loads mlflow, which takes seconds."""
        from ..tracker.connect import open_catalog

        return open_catalog(self.tracking_uri, **self.experiment)

    def registry(self) -> AbstractContextManager[Registry]:
        """Open MLflow's model registry; this loads mlflow, which takes seconds."""
        from ..tracker.registry import open_registry

        return open_registry(self.tracking_uri, **self.experiment)

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
                yield f"experiments there: {', '.join(map(repr, others()[:_SHOWN])) or 'none'}"
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
