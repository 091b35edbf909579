"""Choose how to write: in bulk where MLflow's tables are at hand and as expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, final

from mlflow.entities import Experiment, Run

from .client_writer import ClientWriter
from .errors import reason_of
from .known import KnownRun
from .projection import RunData
from .retries import cause_of
from .store import SessionRun, Store
from .writers import Problem, RunWriter

if TYPE_CHECKING:
    from .bulk_writer import BulkWriter


def choose_writer(
    store: Store,
    experiment: Experiment,
    session_run: SessionRun,
    known: Mapping[str, KnownRun],
    *,
    shared: bool,
    on_note: Callable[[str], None],
    on_written: Callable[[], None],
    on_closed: Callable[[], None],
) -> RunWriter:
    """Return the fastest writer that is sure to work.

    ``shared`` tells that other shards may open the same runs. ``on_note`` hears why it does not
    write in bulk, and ``on_written`` then of each single run; ``on_closed`` of each run of a sweep
    that has ended.
    """
    engine = store.engine
    client = ClientWriter(
        store.client,
        experiment.experiment_id,
        known=known,
        shared=shared,
        in_flight=store.in_flight,
        on_written=on_written,
        on_closed=on_closed,
    )
    if engine is None:
        return client
    try:
        from .bulk_check import difference, difference_when_closed, unknown_structure
        from .bulk_writer import BulkWriter

        if reason := unknown_structure():
            on_note(f"Runs are written one by one: {reason}.")
            return client
        bulk = BulkWriter(
            engine,
            client,
            experiment_id=experiment.experiment_id,
            artifact_location=experiment.artifact_location,
            on_closed=on_closed,
        )
    except (ImportError, AttributeError, ValueError) as error:
        on_note(f"Runs are written one by one: {reason_of(error)}.")
        return client

    def check(run: RunData) -> str | None:
        return difference(engine, store.client, bulk, run, session_run.run_id)

    def check_closed(run: RunData) -> str | None:
        return difference_when_closed(store.client, run)

    return CheckedWriter(bulk, client, check, check_closed, on_note)


@final
class CheckedWriter:
    """Writes in bulk as long as the first run of each kind that was written so proves right.

    The kinds are the runs of cases, those of cases with datasets, and those of sweeps, when they
    are opened and when they are closed.
    """

    def __init__(
        self,
        bulk: BulkWriter,
        client: ClientWriter,
        check: Callable[[RunData], str | None],
        check_closed: Callable[[RunData], str | None],
        on_note: Callable[[str], None],
    ) -> None:
        self._bulk = bulk
        self._client = client
        self._check = check
        self._check_closed = check_closed
        self._on_note = on_note
        self._proven: set[str] = set()
        self._refused = False

    @property
    def name(self) -> str:
        """The name of the writer in use."""
        return self._writer.name

    @property
    def batch_size(self) -> int:
        """The batch size of the writer in use."""
        return self._writer.batch_size

    @property
    def _writer(self) -> BulkWriter | ClientWriter:
        return self._client if self._refused else self._bulk

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Bring the runs into MLflow, and return what could not be brought there."""
        if all(map(self._is_proven, runs)):
            return self._writer.write(runs)
        # Only what the bulk writer makes now may be judged, and removed.
        missing = self._bulk.missing(runs)
        problems = [*self._bulk.write([run for run in runs if run.id not in missing])]
        rest = [run for run in runs if run.id in missing]
        while trial := next((run for run in rest if not self._is_proven(run)), None):
            rest.remove(trial)
            problems += self._try(trial, self._bulk.write, self._client.write)
        return [*problems, *self._writer.write(rest)] if rest else problems

    def open(self, runs: Sequence[RunData]) -> Mapping[str, str]:
        """Make runs that go on, where MLflow has not got them, and return their ids."""
        opened: dict[str, str] = {}

        def keep(writer: RunWriter, some: Sequence[RunData]) -> Sequence[Problem]:
            opened.update(writer.open(some))
            return ()

        if not all(map(self._is_proven, runs)):
            missing = self._bulk.missing(runs)
            trial = next((run for run in runs if run.id in missing), None)
            if trial is not None:
                self._try(trial, partial(keep, self._bulk), partial(keep, self._client))
                runs = [run for run in runs if run is not trial]
        keep(self._writer, runs)
        return opened

    def close(self, runs: Sequence[RunData], held: Mapping[str, Run]) -> Sequence[Problem]:
        """Add to opened runs and end them, and return what could not be brought there."""
        if self._refused or not runs or "closed" in self._proven:
            return self._writer.close(runs, held)
        problems = self._bulk.close(runs[:1], held)
        if not problems:
            if reason := self._check_closed(runs[0]):
                self._refuse(reason)
                return self._client.close(runs, held)
            self._proven.add("closed")
        return [*problems, *self._bulk.close(runs[1:], held)]

    def _is_proven(self, run: RunData) -> bool:
        return self._refused or _kind(run) in self._proven

    def _try(
        self,
        run: RunData,
        in_bulk: Callable[[Sequence[RunData]], Sequence[Problem]],
        one_by_one: Callable[[Sequence[RunData]], Sequence[Problem]],
    ) -> Sequence[Problem]:
        try:
            problems = in_bulk([run])
            if any(problem.part == "run" for problem in problems):
                return problems
            reason = self._check(run)
        except Exception as error:
            if cause_of(error) == "passing":
                raise
            reason = reason_of(error)
        if reason is None:
            self._proven.add(_kind(run))
            return problems
        self._refuse(reason)
        self._bulk.remove(run)
        return one_by_one([run])

    def _refuse(self, reason: str) -> None:
        self._on_note(f"Runs are written one by one: {reason}.")
        self._refused = True


def _kind(run: RunData) -> str:
    if run.status == "RUNNING":
        return "opened"
    return "case with inputs" if run.inputs else "case"
