"""Find baselines in MLflow: for a session that asks, and for whoever works with them later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mlflow_experiments.baseline import (
    BaselineError,
    BaselineRequest,
    NothingYetError,
    make_baseline,
)
from pytest_mlflow_experiments.directory import SessionDirectory

from .connection import open_store
from .errors import NoDatabaseError, TrackerError, reason_of
from .redaction import Redactor
from .reporter import Reporter

if TYPE_CHECKING:
    from .catalog import MlflowCatalog


def open_catalog(
    tracking_uri: str, *, experiment_name: str | None = None, experiment_id: str | None = None
) -> MlflowCatalog:
    """Return the sessions of an experiment; this loads MLflow, and sets its environment.

    Raises:
        BaselineError: the tracking store, or the experiment, can't be used.
    """
    redact = Redactor.of(tracking_uri)
    try:
        store = open_store(tracking_uri, redact, create=False)
        experiment = store.find_experiment(experiment_name, experiment_id)
    except NoDatabaseError as error:
        raise NothingYetError(str(error).removesuffix(".")) from error
    except TrackerError as error:
        raise BaselineError(redact(str(error)).removesuffix(".")) from error
    from .catalog import MlflowCatalog

    return MlflowCatalog(store, experiment, experiment_name or f"{experiment_id}", redact)


def answer(directory: SessionDirectory, catalog: MlflowCatalog, reporter: Reporter) -> None:
    """Make the baseline that a session asks for, if it does; whatever goes wrong is its state."""

    def on_progress(number: int) -> None:
        # Who waits for the session gives up only where nothing changes.
        reporter.change(fetched=number)
        reporter.flush()

    try:
        request = BaselineRequest.read(directory.baseline_request)
        if request is None:
            return
        made = make_baseline(request, catalog, directory.baseline, on_progress=on_progress)
    except Exception as error:  # noqa: BLE001 - the session is sent all the same
        reporter.change(baseline="failed", baseline_error=reporter.redact(reason_of(error)))
    else:
        reporter.change(baseline="none" if made is None else "found")
        reporter.note(*(made.notes if made else ()))
    reporter.flush(now=True)
