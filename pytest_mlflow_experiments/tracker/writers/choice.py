"""Choose a writer: in bulk if a trial shows that this writes the same rows as MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..retries import patiently
from ..runs.existing import KnownRun
from ..stand_in import StandIn
from ..store import Store
from . import RunWriter
from .artifacts import Uploader
from .client import ClientWriter

if TYPE_CHECKING:
    from mlflow.entities import Experiment


def choose_writer(
    store: Store,
    experiment: Experiment,
    known: Mapping[str, KnownRun],
    *,
    uploader: Uploader,
    shared: bool,
    on_note: Callable[[str], None],
    on_written: Callable[[], None],
    on_closed: Callable[[], None],
) -> RunWriter:
    """Return the fastest writer that works with the store.

    ``uploader`` uploads the artifacts. ``shared`` tells that other shards may open the same runs.
    ``on_note`` is called with the reason for not writing in bulk, ``on_written`` then after each
    run, ``on_closed`` after each closed run of a sweep.

    Raises:
        Exception: the database is temporarily unavailable.
    """
    client = ClientWriter(
        store.client,
        experiment.experiment_id,
        known=known,
        uploader=uploader,
        shared=shared,
        in_flight=store.in_flight,
        on_written=on_written,
        on_closed=on_closed,
    )
    if store.engine is None:
        return client
    # Loads SQLAlchemy, which takes a moment.
    from .bulk import BulkWriter
    from .proof import why_not_in_bulk

    is_proven = isinstance(store.client, StandIn)
    if not is_proven and (reason := patiently(why_not_in_bulk, store, experiment)):
        on_note(f"Runs are written one by one: {reason}.")
        return client
    return BulkWriter(store.engine.begin, client, experiment, on_closed=on_closed)
