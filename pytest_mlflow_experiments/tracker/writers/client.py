"""Write runs through MLflow's client, which works with every kind of tracking store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, final

from ...records import DatasetInput, Metric
from ...records.tags import DATA_CONTEXT, KIND, NOTE, PARENT, RECORD_ID, RUN_NAME
from ..limits import TAG_LENGTH, shorten
from ..retries import ALL_RUNS, cause_of, create_once, log, patiently, run_or_none
from ..runs.case import RunData
from ..runs.description import inline
from ..runs.existing import KnownRun, known_run
from ..stand_in import StandIn
from . import Problem
from .artifacts import Uploader, run_repository

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput as MlflowInput
    from mlflow.entities import Run

_RACES: Final = 5


@final
class InputLog:
    """Logs inputs, also from several threads: a shared dataset is created once."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._made: set[tuple[str, str]] = set()
        self._one_at_a_time = Lock()

    def log(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Log the inputs of a run; those that it has already are left as they are."""
        if not inputs:
            return
        entities: Any = inputs
        if not isinstance(self._client, StandIn):
            entities = [mlflow_input(data) for data in inputs]
        names = {(data.name, data.digest) for data in inputs}
        # MLflow looks for a dataset and then makes it: two at once would make it twice, which the
        # database refuses.
        with nullcontext() if names <= self._made else self._one_at_a_time:
            for race in range(_RACES):
                try:
                    patiently(self._client.log_inputs, run_id, entities)
                    break
                except Exception as error:
                    # Another session may have made it at the same moment; then it is found now.
                    if race == _RACES - 1 or cause_of(error) != "data":
                        raise
            self._made |= names


def mlflow_input(data: DatasetInput) -> MlflowInput:
    """Convert a dataset for MLflow's client."""
    from mlflow.entities import Dataset, InputTag
    from mlflow.entities import DatasetInput as MlflowInput

    tags = [InputTag(DATA_CONTEXT, data.context)] if data.context else []
    what = data.name, data.digest, data.source_type, data.source
    return MlflowInput(Dataset(*what, schema=data.schema, profile=data.profile), tags)


_IN_FLIGHT = 8
_FIRST_IN_FLIGHT = 4
_ROUNDS = 4
_QUICKER = 1.2


@final
class Pace:
    """Finds out how many runs to write at the same time, at most ``most``.

    The number is doubled for as long as more runs are written in a second because of it: a server
    that is far away takes many at once, one that is busy, or whose database lets in one writer at a
    time, answers later the more it is asked.
    """

    def __init__(self, most: int) -> None:
        self.number = min(_FIRST_IN_FLIGHT, most)
        self._most, self._best = most, 0.0

    def learn(self, runs: int, seconds: float) -> None:
        """Take into account how long it took to write so many runs; a few tell nothing."""
        if self._most == 0 or runs < _ROUNDS * self.number:
            return
        rate = runs / max(seconds, 1e-9)
        if rate < _QUICKER * self._best:
            self.number, self._most = self.number // 2, 0
        elif self.number < self._most:
            self.number, self._best = min(2 * self.number, self._most), rate
        else:
            self._most = 0


_MAX_DUPLICATES = 5
_OWN_STAY = "The test's own values stay for"
_SHOWN = 100

T = TypeVar("T")
One = TypeVar("One")
"""A run, or the id of one."""


@final
@dataclass(slots=True)
class ClientWriter:
    """Writes runs through MLflow's client; over HTTP several at a time, at most ``in_flight``.

    ``known`` holds the runs of an earlier tracker of the session, by record id. ``shared`` tells
    that other shards may open the same runs at the same time. ``on_written`` is called after each
    run, ``on_closed`` after each closed one, to report progress. ``run_ids`` are those of the runs
    that were written, by record id.
    """

    client: MlflowClient
    experiment_id: str
    known: Mapping[str, KnownRun]
    uploader: Uploader = field(default_factory=Uploader)
    shared: bool = False
    in_flight: int = _IN_FLIGHT
    on_written: Callable[[], None] = lambda: None
    on_closed: Callable[[], None] = lambda: None
    name: ClassVar[str] = "client"
    run_ids: dict[str, str] = field(default_factory=dict, init=False)
    _inputs: InputLog = field(init=False)
    _pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        """Create the log of inputs."""
        self._inputs, self._pace = InputLog(self.client), Pace(self.in_flight)

    @property
    def batch_size(self) -> int:
        """How many runs to hand over at once."""
        return 8 * self._pace.number

    @property
    def added_at_once(self) -> int:
        """The number of runs to add metrics to at once."""
        return self.batch_size

    def knows(self, run: RunData) -> bool:
        """Return whether an earlier tracker created this run through the client."""
        known = self.known.get(run.id)
        return known is not None and known.run_id != run.id

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Write finished runs, and return what MLflow did not store."""
        refused = partial(Problem.refused, "run")
        problems: list[Problem] = []
        while runs:
            some, runs = runs[: self.batch_size], runs[self.batch_size :]
            started = time.monotonic()
            problems += self._each(self._write_one, some, refused, self.on_written)
            self._pace.learn(len(some), time.monotonic() - started)
        return problems

    def add(self, metrics: Mapping[str, Sequence[Metric]]) -> None:
        """Add metrics to runs that were written, by record id."""

        def add_one(record_id: str) -> None:
            known = self.known.get(record_id)
            run_id = self.run_ids.get(record_id)
            if run_id is not None and not (known is not None and known.has_baseline):
                self._log(run_id, metrics[record_id], {}, {})

        self._each(add_one, list(metrics), lambda record_id, error: None, lambda: None)

    def open(self, runs: Sequence[RunData]) -> Mapping[str, str]:
        """Create RUNNING runs that do not exist yet, and return their ids."""
        return dict(self._each(self._open_one, runs, lambda run, error: None, lambda: None))

    def close(self, runs: Sequence[RunData], held: Mapping[str, Run]) -> Sequence[Problem]:
        """Complete opened runs and end them, and return what MLflow did not store."""

        def close_one(run: RunData) -> Problem | None:
            return self._close_one(run, held.get(run.run_id or ""))

        return self._each(close_one, runs, partial(Problem.refused, "sweep"), self.on_closed)

    def _each(
        self,
        action: Callable[[One], T | None],
        runs: Sequence[One],
        refused: Callable[[One, Exception], T | None],
        on_done: Callable[[], None],
    ) -> list[T]:
        """Call the action for each run, and return the results other than None.

        ``refused`` returns the result for a run whose data MLflow refuses.
        """

        def one(run: One) -> T | None:
            try:
                return action(run)
            except Exception as error:
                if cause_of(error) != "data":
                    raise
                return refused(run, error)

        found: list[T] = []
        in_turn = self.in_flight == 1 or len(runs) == 1
        with ThreadPoolExecutor(self._pace.number) as pool:
            for result in (map if in_turn else pool.map)(one, runs):
                on_done()
                if result is not None:
                    found.append(result)
        return found

    def _open_one(self, run: RunData) -> tuple[str, str] | None:
        known = self.known.get(run.id)
        if known is None and self.shared:
            known = patiently(self._find, run.id)
        if known is None:
            return run.id, self._create(run)
        return None if known.deleted else (run.id, known.run_id)

    def _close_one(self, run: RunData, held: Run | None) -> Problem | None:
        assert run.run_id is not None
        if held is not None:
            return self._complete(held, run, staying="An earlier end of the session left")
        self._log(run.run_id, run.metrics, run.params, run.tags)
        return self._finish(run.run_id, run, resumed=False)

    def _write_one(self, run: RunData) -> Problem | None:
        # What the test itself opened may be in another store, or deleted since.
        own = None if run.run_id is None else run_or_none(self.client, run.run_id)
        if own is not None and own.info.lifecycle_stage == "active":
            self.run_ids[run.id] = own.info.run_id
            return self._complete(own, run, owned=True, staying=_OWN_STAY)
        known = self.known.get(run.id)
        if known is None:
            run_id = self.run_ids[run.id] = self._create(run)
            self._log(run_id, run.metrics, run.params, {})
            self._inputs.log(run_id, run.inputs)
            return self._finish(run_id, run, resumed=False)
        if not known.deleted:
            self.run_ids[run.id] = known.run_id
        if known.open:
            existing = patiently(self.client.get_run, known.run_id)
            return self._complete(existing, run)
        return self._upload(known.run_id, run, resumed=True)

    def _create(self, run: RunData) -> str:
        def find() -> str | None:
            known = self._find(run.id)
            return None if known is None else known.run_id

        def create() -> str:
            tags = dict(run.tags)
            made = self.client.create_run(self.experiment_id, run.start_time, tags, run.name)
            return str(made.info.run_id)

        return create_once(create, find)

    def _find(self, record_id: str) -> KnownRun | None:
        found = self.client.search_runs(
            [self.experiment_id],
            filter_string=f"tags.`{RECORD_ID}` = '{record_id}'",
            run_view_type=ALL_RUNS,
            max_results=_MAX_DUPLICATES,
        )
        # Of several that others have opened at once, one stays: see ``existing.merge_duplicates``.
        left = [run for run in found if run.data.tags.get(KIND) != "superseded"]
        left.sort(key=lambda run: (run.info.lifecycle_stage != "active", run.info.run_id))
        return known_run(left[0]) if left else None

    def _complete(
        self, existing: Run, run: RunData, *, owned: bool = False, staying: str = ""
    ) -> Problem | None:
        """Add missing data to a run. Values that the test set in its own run stay.

        ``staying`` is the description's text before the names of params that stay.
        """
        held = existing.data
        params = {key: value for key, value in run.params.items() if key not in held.params}
        tags = {
            key: value
            for key, value in run.tags.items()
            if held.tags.get(key) != value
            and not (owned and key in held.tags and not key.startswith(("pytest.", PARENT)))
        }
        if owned:
            tags.pop(RUN_NAME, None)
        differing = [
            f"{key} ({shorten(held.params[key], _SHOWN)}, not {shorten(value, _SHOWN)})"
            for key, value in run.params.items()
            if held.params.get(key) not in (None, value)
        ]
        if staying and differing and NOTE in run.tags:
            text = f"{staying}: {inline(', '.join(differing), 2_000)}"
            tags[NOTE] = shorten(f"{text}\n\n{run.tags[NOTE]}", TAG_LENGTH)
        run_id = existing.info.run_id
        self._log(run_id, run.metrics, params, tags)
        self._inputs.log(run_id, run.inputs)
        return self._finish(run_id, run, resumed=True)

    def _finish(self, run_id: str, run: RunData, *, resumed: bool) -> Problem | None:
        problem = self._upload(run_id, run, resumed=resumed)
        patiently(self.client.set_terminated, run_id, run.status, run.end_time)
        return problem

    def _upload(self, run_id: str, run: RunData, *, resumed: bool) -> Problem | None:
        repository = partial(run_repository, self.client, run_id)
        return self.uploader.upload_run(repository, run, resumed=resumed)

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        log(self.client, run_id, metrics, params, tags)
