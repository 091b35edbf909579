"""Where kept sessions are: below the current directory, in files, and in MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

from ..baseline.choice import Catalog
from ..baseline.local import LocalCatalog, is_local_store
from ..baseline.specs import BaselineError, BaselineRequest, NothingYetError
from ..records import SessionHeader
from ..records.accepted import ACCEPTED_FILE, AcceptedError, AcceptedStep, read_accepted
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.reader import peek_header
from ..records.secrets import without_credentials

if TYPE_CHECKING:
    from ..tracker.catalog import MlflowCatalog
    from ..tracker.registry import Registry


class UsageError(Exception):
    """What was asked for can't be done as given; the message says why and what would be right."""


def sessions_root() -> Path:
    """Return the directory that keeps sessions: this one, or the next one above that does."""
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / DIRECTORY_NAME).is_dir()), here)


def default_store(root: Path) -> str:
    """Return the URI of the tracking store of a project that has named none."""
    return f"sqlite:///{root.as_posix()}/mlflow.db"


def session_directory(path: Path) -> SessionDirectory:
    """Return the session in a directory, which must have one."""
    directory = SessionDirectory(path)
    if not directory.journal.is_file():
        raise UsageError(f"{path} is not the directory of a session: it has no journal.jsonl")
    return directory


T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The experiment that sessions belong to: in MLflow, and on this machine where it is there.

    ``tracking_uri`` may hold credentials and must not be shown. ``offline`` leaves MLflow out.
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
        """Return the location that arguments, the environment and a session tell of, in this order.

        The session is the newest one here where none is given.
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
        """Return the sessions that MLflow has; this loads mlflow, which takes seconds."""
        from ..tracker.connect import open_catalog

        return open_catalog(self.tracking_uri, **self.experiment)

    def registry(self) -> AbstractContextManager[Registry]:
        """Return MLflow's models and runs of sessions; this loads mlflow, which takes seconds."""
        from ..tracker.registry import open_registry

        return open_registry(self.tracking_uri, **self.experiment)

    def accepted_steps(self) -> tuple[AcceptedStep, ...]:
        """Return the accepted steps, whichever sessions had them."""
        try:
            return read_accepted(self.root / ACCEPTED_FILE)
        except AcceptedError as error:
            raise UsageError(str(error)) from None

    def ask(self, question: Callable[[Catalog], T | None], request: BaselineRequest) -> T:
        """Return the answer of the nearest catalog that has one.

        Raises:
            BaselineError: none has; it says why the nearest has not.
        """
        answer, problems = self._first_answer(question, request)
        if answer is None:
            raise BaselineError("; ".join(dict.fromkeys(map(str, problems))))
        return answer

    def look_for(
        self, question: Callable[[Catalog], T | None], request: BaselineRequest
    ) -> T | None:
        """Return the answer of the nearest catalog that has one, or None where there is none yet.

        Raises:
            BaselineError: a catalog can't be asked, so that nobody can tell.
        """
        answer, problems = self._first_answer(question, request)
        serious = (one for one in problems if not isinstance(one, NothingYetError))
        if answer is None and (problem := next(serious, None)) is not None:
            raise problem
        return answer

    def _first_answer(
        self, question: Callable[[Catalog], T | None], request: BaselineRequest
    ) -> tuple[T | None, list[BaselineError]]:
        """Return the answer, and why the catalogs before have none."""
        catalogs: list[Callable[[], Catalog]] = [] if self.offline else [self.mlflow]
        if (local := self.local) is not None:
            # What a session on a server is compared with is what the server has.
            catalogs.insert(0 if is_local_store(self.tracking_uri) else 1, lambda: local)
        problems: list[BaselineError] = []
        for open_catalog in catalogs:
            try:
                catalog = open_catalog()
                if (answer := question(catalog)) is not None:
                    return answer, problems
                text = f"there is no session for {request.spec!r} in {catalog.place} yet"
                problems.append(NothingYetError(text))
            except BaselineError as error:  # noqa: PERF203 - there are two at most
                problems.append(error)
        return None, problems


def _newest_header(root: Path) -> SessionHeader | None:
    headers = (peek_header(one.journal) for one in reversed(SessionDirectory.find_all(root)))
    return next((header for header in headers if header is not None), None)
