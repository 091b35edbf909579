"""Choose how to write: in bulk where MLflow's tables are at hand and as expected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

from mlflow.entities import Experiment

from .client_writer import ClientWriter, KnownRun
from .errors import reason_of
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
    known: dict[str, KnownRun],
    on_note: Callable[[str], None],
    on_written: Callable[[], None],
) -> RunWriter:
    """Return the fastest writer that is sure to work.

    ``on_note`` hears why it does not write in bulk, and ``on_written`` then of each single run.
    """
    engine = store.engine
    client = ClientWriter(
        store.client,
        experiment.experiment_id,
        known=known,
        in_flight=store.in_flight,
        on_written=on_written,
    )
    if engine is None:
        return client
    try:
        from .bulk_check import difference, unknown_structure
        from .bulk_writer import BulkWriter

        if reason := unknown_structure():
            on_note(f"Runs are written one by one: {reason}.")
            return client
        bulk = BulkWriter(
            engine,
            client,
            experiment_id=experiment.experiment_id,
            artifact_location=experiment.artifact_location,
        )
    except (ImportError, AttributeError, ValueError) as error:
        on_note(f"Runs are written one by one: {reason_of(error)}.")
        return client

    def check(run: RunData) -> str | None:
        return difference(engine, store.client, bulk, run, session_run.run_id)

    return CheckedWriter(bulk, client, check, on_note)


@final
class CheckedWriter:
    """Writes in bulk once the first run that was written so has proved right."""

    def __init__(
        self,
        bulk: BulkWriter,
        client: ClientWriter,
        check: Callable[[RunData], str | None],
        on_note: Callable[[str], None],
    ) -> None:
        self._bulk = bulk
        self._client = client
        self._check = check
        self._on_note = on_note
        self._decided: RunWriter | None = None

    @property
    def name(self) -> str:
        """The name of the writer in use."""
        return (self._decided or self._bulk).name

    @property
    def batch_size(self) -> int:
        """The batch size of the writer in use."""
        return (self._decided or self._bulk).batch_size

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Bring the runs into MLflow, and return what could not be brought there."""
        if self._decided is not None:
            return self._decided.write(runs)
        # Only what the bulk writer makes now may be judged, and removed.
        missing = self._bulk.missing(runs)
        problems = [*self._bulk.write([run for run in runs if run.id not in missing])]
        rest = [run for run in runs if run.id in missing]
        while rest:
            if self._decided is not None:
                return [*problems, *self._decided.write(rest)]
            problems += self._try(rest.pop(0))
        return problems

    def _try(self, run: RunData) -> Sequence[Problem]:
        try:
            problems = self._bulk.write([run])
            if any(problem.part == "run" for problem in problems):
                return problems
            reason = self._check(run)
        except Exception as error:
            if cause_of(error) == "passing":
                raise
            reason = reason_of(error)
        if reason is None:
            self._decided = self._bulk
            return problems
        self._on_note(f"Runs are written one by one: {reason}.")
        self._bulk.remove(run)
        self._decided = self._client
        return self._client.write([run])
