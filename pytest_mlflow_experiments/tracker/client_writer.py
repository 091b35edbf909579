"""Write runs through MLflow's client, which works with every kind of tracking store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, final

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from pytest_mlflow_experiments.records import Metric

from .artifacts import ClientRepository, bring_artifacts
from .batches import batches
from .errors import reason_of
from .limits import TAG_LENGTH, shorten
from .markdown import inline
from .projection import NOTE, RECORD_ID, RUN_NAME, RunData
from .retries import cause_of, retried
from .writers import Problem

_IN_FLIGHT = 8


@final
@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run of this session that MLflow had before; ``open`` means that it is unfinished.

    ``shard`` is the id of the shard that sent it.
    """

    run_id: str
    open: bool
    shard: str | None = None


@final
class ClientWriter:
    """Writes runs through the client; over HTTP several at a time.

    ``known`` holds the runs that an earlier tracker of the same session left, by record id.
    ``on_written`` is called after each run: whoever waits must see that something arrives.
    """

    name: Final = "client"

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        *,
        known: Mapping[str, KnownRun],
        in_flight: int = _IN_FLIGHT,
        on_written: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._known = known
        self._in_flight = in_flight
        self._on_written = on_written
        self.batch_size = 8 * in_flight

    def knows(self, run: RunData) -> bool:
        """Tell whether an earlier tracker made this run under an id of the store's choice."""
        known = self._known.get(run.id)
        return known is not None and known.run_id != run.id

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Bring the runs into MLflow, and return what could not be brought there."""
        if self._in_flight == 1 or len(runs) == 1:
            return self._problems(map(self._write_one, runs))
        with ThreadPoolExecutor(self._in_flight) as pool:
            return self._problems(pool.map(self._write_one, runs))

    def _problems(self, results: Iterable[Problem | None]) -> list[Problem]:
        problems: list[Problem] = []
        for problem in results:
            self._on_written()
            if problem is not None:
                problems.append(problem)
        return problems

    def _write_one(self, run: RunData) -> Problem | None:
        try:
            return self._bring(run)
        except Exception as error:
            if cause_of(error) != "data":
                raise
            return Problem(run.tags["pytest.nodeid"], "run", reason_of(error))

    def _bring(self, run: RunData) -> Problem | None:
        if run.run_id is not None and (existing := self._find_own(run.run_id)) is not None:
            return self._complete(existing, run, owned=True)
        known = self._known.get(run.id)
        if known is None:
            run_id = self._create(run)
            self._log(run_id, run.metrics, run.params, {})
            return self._finish(run_id, run, resumed=False)
        if known.open:
            existing = retried(self._client.get_run, known.run_id)
            return self._complete(existing, run, owned=False)
        return bring_artifacts(ClientRepository(self._client, known.run_id), run, resumed=True)

    def _create(self, run: RunData) -> str:
        again = False

        def create() -> str:
            nonlocal again
            # An answer that got lost may have been the answer to a run well created.
            if again and (run_id := self._find_created(run.id)) is not None:
                return run_id
            again = True
            created = self._client.create_run(
                self._experiment_id,
                start_time=run.start_time,
                tags=dict(run.tags),
                run_name=run.name,
            )
            return str(created.info.run_id)

        return retried(create)

    def _find_created(self, record_id: str) -> str | None:
        found = self._client.search_runs(
            [self._experiment_id],
            filter_string=f"tags.`{RECORD_ID}` = '{record_id}'",
            run_view_type=ViewType.ALL,
            max_results=1,
        )
        return str(found[0].info.run_id) if found else None

    def _find_own(self, run_id: str) -> Run | None:
        """Return the run that the test itself opened, or None where this store has no such run."""
        try:
            run: Run = retried(self._client.get_run, run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _complete(self, existing: Run, run: RunData, *, owned: bool) -> Problem | None:
        """Add what a run lacks. What the test set in a run of its own stays as it is."""
        held = existing.data
        params = {key: value for key, value in run.params.items() if key not in held.params}
        tags = {
            key: value
            for key, value in run.tags.items()
            if held.tags.get(key) != value
            and not (owned and key in held.tags and not key.startswith("pytest."))
        }
        if owned:
            tags.pop(RUN_NAME, None)
            differing = [
                key for key in run.params if held.params.get(key) not in (None, run.params[key])
            ]
            if differing and NOTE in tags:
                text = f"The test's own values stay for: {inline(', '.join(differing))}"
                tags[NOTE] = shorten(f"{text}\n\n{tags[NOTE]}", TAG_LENGTH)
        self._log(existing.info.run_id, run.metrics, params, tags)
        return self._finish(existing.info.run_id, run, resumed=True)

    def _finish(self, run_id: str, run: RunData, *, resumed: bool) -> Problem | None:
        problem = bring_artifacts(ClientRepository(self._client, run_id), run, resumed=resumed)
        retried(self._client.set_terminated, run_id, run.status, run.end_time)
        return problem

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        for batch in batches(metrics, params, tags):
            retried(self._client.log_batch, run_id, *batch)
