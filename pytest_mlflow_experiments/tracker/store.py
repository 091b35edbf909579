"""Open a tracking store; find or create the experiment and the session's run in it."""

from __future__ import annotations

import getpass
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast, final
from urllib.parse import unquote
from uuid import uuid4

from ..records import SessionHeader
from ..records import tags as tag
from ..records.session_tags import run_tags
from .errors import TrackerError, code_of
from .limits import NAME_LENGTH, clean_text, shorten
from .retries import briefly, create_once, patiently, run_or_none, runs_with, tracker_error
from .runs.case import project_tags
from .runs.existing import merge_duplicates
from .stand_in import StandIn
from .state import Redactor

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run
    from sqlalchemy import Engine


def artifact_location(engine: Engine | None) -> str | None:
    """Return the artifact location of a new experiment; None for MLflow's own choice.

    For a database, that choice is ``mlruns`` in the current directory. MLflow decodes the path like
    a URL's, and so writes to the wrong place if a directory has a name such as ``feature%2Fnew``.
    """
    directory = Path("mlruns").absolute()
    if engine is None or unquote(str(directory)) == str(directory):
        return None
    return f"{directory.as_uri()}/{uuid4().hex}"


def own_disk_note(uri: str, location: str) -> tuple[str, ...]:
    """Return a note if a server leaves artifacts to the disk of whoever writes them, else none."""
    kind, colon, _ = location.partition(":")
    is_path = not colon or len(kind) == 1 or kind == "file"
    if not is_path or not uri.startswith(("http://", "https://")):
        return ()
    return (
        f"Artifacts are kept on this machine's own disk, in {location}: others who use {uri} won't "
        "see the files. What helps: a server with --serve-artifacts and --artifacts-destination, "
        "and a new experiment",
    )


_MOST = 1_000


def _belongs(
    client: MlflowClient, run: Run | None, header: SessionHeader, known: dict[str, bool]
) -> bool:
    """Return whether a run is the session's run or nested below it."""
    above: list[str] = []
    verdict = False
    while run is not None and run.info.run_id not in above:
        run_id = run.info.run_id
        above.append(run_id)
        tags = run.data.tags
        if run_id in known or header.session_id in (tags.get(tag.SESSION_ID), tags.get(tag.SHARD)):
            verdict = known.get(run_id, True)
            break
        parent_id = tags.get(tag.PARENT)
        run = run_or_none(client, parent_id) if parent_id else None
    known.update(dict.fromkeys(above, verdict))
    return verdict


# The kind decides which tab the experiment's page opens on: this one opens on the table of runs.
_EXPERIMENT_TAGS = {tag.EXPERIMENT_KIND: "custom_model_development"}
_SETTLING = 1.0


@final
@dataclass(frozen=True, slots=True)
class SessionRun:
    """The run of a session; ``resumed`` if an earlier tracker created it."""

    run_id: str
    user: str
    resumed: bool
    deleted: bool


@final
@dataclass(frozen=True, slots=True)
class Store:
    """An open tracking store.

    ``shown_uri`` is its URI without credentials, ``proofs`` the file of the proofs that databases
    of some kind can be used without MLflow.
    """

    client: MlflowClient
    shown_uri: str
    proofs: Path | None = None

    @classmethod
    def open(
        cls,
        tracking_uri: str,
        redact: Redactor,
        proofs: Path | None = None,
        on_load: Callable[[], None] = lambda: None,
    ) -> Store:
        """Open the store; an empty database gets its tables.

        ``on_load`` is called before MLflow is loaded, which with a proof is never or later, and
        before requests are sent to a server.

        Raises:
            TrackerError: there is no such store, or it does not answer.
        """
        prepare = cache(on_load)

        def load() -> MlflowClient:
            prepare()
            from mlflow import MlflowClient

            return MlflowClient(tracking_uri=tracking_uri)

        shown_uri = redact(tracking_uri)
        try:
            if tracking_uri.startswith(("http:", "https:")):
                prepare()
                from .rest import rest_client

                return cls._answering(rest_client(tracking_uri, load) or load(), shown_uri)
            # Loads SQLAlchemy, which takes a moment.
            from .databases import migration_lock, plain_uri, proven_client, try_database

            tracking_uri = plain_uri(tracking_uri)
            proven = proofs and proven_client(tracking_uri, proofs, load)
            if proven is not None:
                return cls(cast("MlflowClient", proven), shown_uri)
            try_database(tracking_uri)
            with migration_lock(tracking_uri):
                return cls._answering(load(), shown_uri, proofs)
        except Exception as error:
            raise tracker_error(f"Cannot use the tracking URI {shown_uri}", error) from error

    @classmethod
    def _answering(
        cls, client: MlflowClient | StandIn, shown_uri: str, proofs: Path | None = None
    ) -> Store:
        # Any answer will do; the client alone does not ask anything of a server.
        briefly(client.search_experiments, max_results=1)
        return cls(cast("MlflowClient", client), shown_uri, proofs)

    @property
    def engine(self) -> Engine | None:
        """The SQLAlchemy engine if the store is a database, else None."""
        if isinstance(self.client, StandIn):
            return self.client.engine
        engine = getattr(self.client._tracking_client.store, "engine", None)
        if engine is None:
            return None
        from sqlalchemy import Engine

        return engine if isinstance(engine, Engine) else None

    def close(self) -> None:
        """Close the connections, unless they are MLflow's."""
        if isinstance(self.client, StandIn):
            self.client.close()

    @property
    def in_flight(self) -> int:
        """The number of concurrent requests."""
        return 8 if self.shown_uri.startswith(("http:", "https:", "databricks")) else 1

    def find_experiment(self, name: str | None, number: str | None) -> Experiment | None:
        """Return the experiment with the id or the name, or None if it has to be created.

        Raises:
            TrackerError: the experiment is deleted, or there is none with the id.
        """
        find: Callable[[str], Experiment | None] = self.client.get_experiment_by_name
        key, shown = name or "", f"{name!r}"
        if number is not None:
            find, key, shown = self.client.get_experiment, number, f"with the id {number}"
        try:
            experiment = patiently(find, key)
        except Exception as error:
            text = f"Cannot use the experiment {shown} at {self.shown_uri}"
            raise tracker_error(text, error) from error
        if experiment is not None and experiment.lifecycle_stage != "active":
            raise TrackerError(
                f"The experiment {experiment.name!r} is deleted. Restore it with "
                f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, "
                "or choose another one with --mlflow-experiment."
            )
        return experiment

    def make_experiment(self, header: SessionHeader) -> Experiment:
        """Return the session's experiment; create it if it does not exist.

        Raises:
            TrackerError: the experiment can't be used, or MLflow refuses its name.
        """
        name, number = header.experiment_name or "", header.experiment_id
        if (experiment := self.find_experiment(name, number)) is not None:
            return experiment
        try:
            place = artifact_location(self.engine)
            patiently(self.client.create_experiment, name, place, dict(_EXPERIMENT_TAGS))
        except Exception as error:
            if (code := code_of(error)) is None:
                raise
            # Another session may have been faster.
            if code != "RESOURCE_ALREADY_EXISTS":
                text = f"Cannot create the experiment {name!r} at {self.shown_uri}"
                raise tracker_error(text, error) from error
        experiment = self.find_experiment(name, number)
        if experiment is None:
            raise TrackerError(f"The experiment {name!r} vanished from {self.shown_uri}.")
        return experiment

    def prepare_files(self, experiment: Experiment) -> None:
        """Load MLflow where it has to upload the files, now and not when somebody waits for it."""
        client = self.client
        if isinstance(client, StandIn) and client.files_at(experiment.artifact_location) is None:
            client.mlflow  # noqa: B018

    def make_session_run(self, header: SessionHeader, experiment: Experiment) -> SessionRun:
        """Return the session's run, found by the session's id or created."""
        user = header.tags.get(tag.USER) or _user()
        found = self._session_runs(header, experiment)
        resumed = bool(found)
        if not found:
            run = self._create_session_run(header, experiment, user)
            if header.shard is None:
                return SessionRun(run.info.run_id, user, resumed=False, deleted=False)
            # Other shards may have looked for it at the same moment.
            time.sleep(_SETTLING)
            found = self._session_runs(header, experiment)
        run = merge_duplicates(self.client, experiment.experiment_id, found)
        return SessionRun(
            run_id=run.info.run_id,
            user=run.data.tags.get(tag.USER, user),
            resumed=resumed,
            deleted=run.info.lifecycle_stage != "active",
        )

    def find_session_run(self, header: SessionHeader, experiment: Experiment) -> Run | None:
        """Return the session's run, or None if there is none yet."""
        found = self._session_runs(header, experiment)
        return merge_duplicates(self.client, experiment.experiment_id, found) if found else None

    def _create_session_run(self, header: SessionHeader, experiment: Experiment, user: str) -> Run:
        name = shorten(clean_text(header.name), NAME_LENGTH)
        reserved = run_tags(header, name=name, user=user)
        notes: list[str] = []
        given = {key: value for key, value in header.tags.items() if key not in reserved}
        tags = project_tags(given, reserved, notes)
        tags = {**run_type(), **tags}
        start_time = max(1, header.start_time)
        return create_once(
            partial(self.client.create_run, experiment.experiment_id, start_time, tags, name),
            lambda: next(iter(self._session_runs(header, experiment)), None),
        )

    def _session_runs(self, header: SessionHeader, experiment: Experiment) -> list[Run]:
        terms = {tag.SESSION_ID: header.joint_id, tag.KIND: "session"}
        return list(runs_with(self.client, experiment.experiment_id, terms))

    def kill_open_runs(self, header: SessionHeader, experiment: Experiment, end_time: int) -> None:
        """End the runs that tests opened and left RUNNING, with the runs nested below them."""
        since = max(0, header.start_time)
        found = patiently(
            self.client.search_runs,
            [experiment.experiment_id],
            filter_string=f"attributes.status = 'RUNNING' and attributes.start_time >= {since}",
            max_results=_MOST,
        )
        known: dict[str, bool] = {}
        cases = [run for run in found if run.data.tags.get(tag.KIND) != "session"]
        for run in [run for run in cases if _belongs(self.client, run, header, known)]:
            patiently(self.client.set_terminated, run.info.run_id, "KILLED", end_time)


@cache
def run_type() -> dict[str, str]:
    """Return the tag of runs of tests, where the installed release of MLflow knows it."""
    found = find_spec("mlflow")
    # Read, for MLflow takes seconds to load.
    source = (
        Path(found.origin).with_name("utils") / "mlflow_tags.py" if found and found.origin else None
    )
    text = source.read_text(encoding="utf-8") if source and source.exists() else ""
    test = re.search(r'^MLFLOW_RUN_TYPE_TEST = "(\w+)"', text, re.MULTILINE)
    return {tag.RUN_TYPE: test[1]} if test else {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # no such user, as in many containers
        return "unknown"
