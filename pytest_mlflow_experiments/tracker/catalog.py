"""The sessions in MLflow, and the baseline that is pinned there for all users."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, final

from mlflow.entities import Experiment, Run

from ..baseline.choice import Candidate, Query, only_one
from ..baseline.specs import BaselineError, UnknownSessionError
from ..records import Exclusion
from ..records import tags as tag
from ..records.session_tags import shard_states
from .errors import MergeError, reason_of
from .retries import Caller, passes, patiently, runs_with, search_runs
from .runs.case import RESULTS_FILE
from .state import Redactor
from .store import Store

SHARDS: Final = "shards"
"""The directory of the shards' journals among the artifacts of the session's run."""

_ENDED: Final = frozenset({"finished", "broken off", "merged"})
_PAGE: Final = 50
_FAMILY: Final = 10
_SESSION: Final = f"tags.`{tag.KIND}` = 'session'"


@final
@dataclass(frozen=True, slots=True)
class FetchedShards:
    """The journals of the shards that have ended, and the ids of the others."""

    journals: tuple[Path, ...]
    running: tuple[str, ...]


@final
class MlflowCatalog:
    """The sessions of one experiment; ``experiment`` is None if it does not exist yet.

    All errors of MLflow become a :class:`BaselineError`.
    """

    def __init__(
        self, store: Store, experiment: Experiment | None, shown_name: str, redact: Redactor
    ) -> None:
        self._store = store
        self._call = Caller(store.shown_uri, redact, BaselineError)
        self._client = store.client
        self._experiment = experiment
        self._shown_name = shown_name

    @property
    def place(self) -> str:
        """The name of the experiment and store for messages, without credentials."""
        name = self._experiment.name if self._experiment else self._shown_name
        return f"experiment {name!r} at {self._store.shown_uri}"

    @property
    def exists(self) -> bool:
        """Whether the experiment exists."""
        return self._experiment is not None

    def newest(self, query: Query) -> Iterator[Candidate]:
        """Yield sessions, the newest first, page by page."""
        experiment_id = query.experiment_id
        if experiment_id is None and self._experiment is not None:
            experiment_id = self._experiment.experiment_id
        if experiment_id is not None:
            yield from map(_candidate, self._search(experiment_id, _filter(query)))

    def session(self, session_id: str) -> Candidate:
        """Return the session with this id, or the only one whose id starts so."""
        if self._experiment is None:
            raise UnknownSessionError(
                f"there is no {self.place} yet, and so no session {session_id!r}"
            )
        return self._session(self._experiment.experiment_id, session_id)

    def run(self, run_id: str) -> Candidate:
        """Return the session of a run: a session's, a case's, or one that a test opened."""
        run = self._run(run_id)
        for _ in range(_FAMILY):
            tags = run.data.tags
            if tag.SESSION_ID in tags:
                if tags.get(tag.KIND) == "session":
                    return _candidate(run)
                return self._session(run.info.experiment_id, tags[tag.SESSION_ID])
            if tag.PARENT not in tags:
                break
            run = self._run(tags[tag.PARENT])
        raise BaselineError(f"the run {run_id} is not one that pytest --mlflow made")

    def model(self, name: str, alias: str) -> Candidate:
        """Return the session that logged the model behind an alias."""
        shown = f"model {name}@{alias}"
        version = self._call(f"the {shown}", self._client.get_model_version_by_alias, name, alias)
        if not version.run_id:
            raise BaselineError(f"the {shown}, version {version.version}, comes from no run")
        try:
            if session_id := version.tags.get(tag.SESSION_ID):
                # The model of a case that was taken over is that of a run of an earlier session.
                run = self._run(version.run_id)
                return self._session(run.info.experiment_id, session_id)
            return self.run(version.run_id)
        except BaselineError as error:
            raise BaselineError(f"the {shown} can't be used: {error}") from error

    def pinned(self) -> str | None:
        """Return the id of the session that is pinned as the baseline, or None."""
        return (self._experiment and self._experiment.tags.get(tag.PINNED)) or None

    def pin(self, session_id: str) -> None:
        """Pin a session as the baseline for all users of the experiment.

        Raises:
            BaselineError: there is no such experiment, or MLflow refuses.
        """
        if self._experiment is None:
            raise BaselineError(f"there is no {self.place} yet")
        number = self._experiment.experiment_id
        what = f"the pin of {self._experiment.name!r}"
        self._call(what, self._client.set_experiment_tag, number, tag.PINNED, session_id)
        self._experiment = self._call(what, self._client.get_experiment, number)

    def unpin(self) -> None:
        """Remove the pin; raise what :meth:`pin` does."""
        # Empty, for older releases of MLflow can't delete an experiment's tag.
        self.pin("")

    def exclude(self, session_id: str, exclusion: Exclusion) -> None:
        """Take a session out of all baselines, for all users, or back in.

        Raises:
            BaselineError: there is no such session, or MLflow refuses.
        """
        run_id, what = self.session(session_id).run_id or "", f"the session {session_id}"
        self._call(what, self._client.set_tag, run_id, tag.EXCLUDED, exclusion.text)

    def experiments(self) -> list[str]:
        """Return the names of all experiments of the store."""
        found = self._call("its experiments", self._client.search_experiments)
        return [experiment.name for experiment in found]

    def journals(self, sessions: Sequence[Candidate], directory: Path) -> Iterator[Path | str]:
        """Yield the journal of each session, or why MLflow does not have it.

        Raises:
            BaselineError: MLflow can't be reached any more: a partial baseline is useless.
        """
        in_flight = self._store.in_flight
        with ThreadPoolExecutor(in_flight) as pool:
            each = map if in_flight == 1 else pool.map
            yield from each(partial(self._fetch, directory), sessions)

    def shards(self, session_id: str, directory: Path) -> FetchedShards:
        """Download the journals of a session's shards into ``directory``.

        Raises:
            MergeError: there is no such session, or none of its shards has ended.
        """
        if self._experiment is None:
            raise MergeError(
                f"there is no {self.place} yet; --tracking-uri and --experiment say where else to "
                "look"
            )
        call = self._call.of(f"the shards of {session_id!r}")
        number = self._experiment.experiment_id
        terms = {tag.SESSION_ID: session_id, tag.KIND: "session"}
        found = {
            shard: (run, state)
            for run in runs_with(self._client, number, terms, deleted=False, call=call)
            for shard, state in shard_states(run.data.tags).items()
        }
        if not found:
            raise MergeError(
                f"there is no shard of session {session_id!r} in {self.place}; say where they are "
                "with --tracking-uri and --experiment"
            )
        ended = {shard: run for shard, (run, state) in found.items() if state in _ENDED}
        if not ended:
            raise MergeError(f"no shard of session {session_id!r} has ended yet")
        download = self._client.download_artifacts
        return FetchedShards(
            journals=tuple(
                Path(call(download, run.info.run_id, f"{SHARDS}/{shard}.jsonl", str(directory)))
                for shard, run in ended.items()
            ),
            running=tuple(found.keys() - ended.keys()),
        )

    def _fetch(self, directory: Path, session: Candidate) -> Path | str:
        run_id = session.run_id or ""
        # Not called like the run: an id is a server's word.
        target = Path(tempfile.mkdtemp(dir=directory))
        try:
            # Asked first, for what is missing looks like a passing trouble to some stores.
            names = {info.path for info in patiently(self._client.list_artifacts, run_id)}
            if RESULTS_FILE not in names:
                return f"its run has no artifact {RESULTS_FILE}"
            download = self._client.download_artifacts
            return Path(patiently(download, run_id, RESULTS_FILE, str(target)))
        except Exception as error:
            if passes(error):
                raise self._call.problem("the baseline's sessions", error) from error
            return self._call.redact(reason_of(error))

    def _session(self, experiment_id: str, session_id: str) -> Candidate:
        key = f"tags.`{tag.SESSION_ID}`"
        found: dict[str, Candidate] = {}
        # No id holds a quote, so what does is the start of none.
        if "'" not in session_id and "\\" not in session_id:
            for term in (f"{key} = '{session_id}'", f"{key} LIKE '{session_id}%'"):
                runs = islice(self._search(experiment_id, f"{_SESSION} and {term}"), _PAGE)
                found = {
                    candidate.session_id: candidate
                    for candidate in map(_candidate, runs)
                    if candidate.session_id.startswith(session_id)
                }
                if found:
                    break
        return found[only_one(session_id, found, self.place)]

    def _search(self, experiment_id: str, filter_string: str) -> Iterator[Run]:
        call = self._call.of("its sessions")
        order = ["attributes.start_time DESC"]
        yield from search_runs(
            self._client, experiment_id, filter_string, call=call, page=_PAGE, order_by=order
        )

    def _run(self, run_id: str) -> Run:
        run: Run | None = self._call.or_none(f"the run {run_id}", self._client.get_run, run_id)
        if run is None:
            raise UnknownSessionError(f"there is no run {run_id} at {self._store.shown_uri}")
        if run.info.lifecycle_stage != "active":
            raise BaselineError(f"the run {run_id} is deleted")
        return run


def _candidate(run: Run) -> Candidate:
    tags = run.data.tags
    status = tags.get(tag.EXIT_STATUS, "")
    finished = run.info.status == "FINISHED"
    return Candidate(
        session_id=tags.get(tag.SESSION_ID, ""),
        start_time=run.info.start_time,
        branch=tags.get(tag.BRANCH),
        exit_status=int(status) if status.isdecimal() else 0 if finished else None,
        incomplete=_why_incomplete(run),
        tags=tags,
        selection=tuple(tags[tag.SELECTION].split("\n")) if tag.SELECTION in tags else None,
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        exclusion=Exclusion.parse(tags.get(tag.EXCLUDED)),
        metrics=run.data.metrics,
    )


def _why_incomplete(run: Run) -> str | None:
    complete = run.data.tags.get(tag.COMPLETE)
    if complete == "false" and (why := run.data.tags.get(tag.INCOMPLETE)):
        return why
    if run.info.status not in ("FINISHED", "FAILED"):
        return f"it did not run to its end (its run is {run.info.status})"
    if complete == "true" or (complete is None and run.info.status == "FINISHED"):
        return None
    if partial := run.data.tags.get(tag.PARTIAL):
        return f"only some of its tests ran ({partial})"
    if shard_states(run.data.tags):
        return "its shards were not merged yet"
    return "it is not known whether all of its tests ran"


def _filter(query: Query) -> str:
    """Return MLflow's filter string for a query; the query itself checks the rest."""
    terms = [_SESSION]
    if query.passing:
        terms.append("attributes.status = 'FINISHED'")
    if query.before is not None:
        terms.append(f"attributes.start_time < {query.before}")
    if not query.any_branch and query.branch is not None:
        terms += _equality(tag.BRANCH, query.branch)
    if query.tag is not None:
        terms += _equality(*query.tag)
    return " and ".join(terms)


def _equality(key: str, value: str) -> list[str]:
    """Return the term for a tag, or nothing if MLflow's filter language can't express it."""
    if "`" in key or not (key + value).isprintable() or "\\" in value:
        return []
    quote = next((quote for quote in "'\"" if quote not in value), None)
    return [] if quote is None else [f"tags.`{key}` = {quote}{value}{quote}"]
