"""Open a tracking store from a process in which nothing of MLflow is loaded yet."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .errors import NoDatabaseError, TrackerError
from .probe import unreachable
from .redaction import Redactor

if TYPE_CHECKING:
    from .store import Store

# MLflow's defaults wait for minutes on a server that does not answer. The calls here are the
# plugin's own, so they are neither the user's telemetry nor worth a line of output each.
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_MLFLOW_DEFAULTS = {
    _TIMEOUT: "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

# Seconds; what is asked first is answered at once by any server that is well.
_FIRST_TIMEOUT = "8"


def open_store(tracking_uri: str, redact: Redactor, *, create: bool = True) -> Store:
    """Load MLflow, as patient as it should be here, and open the store.

    Args:
        tracking_uri: where it is; MLflow's environment of this process says the same from then on.
        redact: what keeps credentials out of what is said of it.
        create: whether to make a database file that is not there.

    Raises:
        TrackerError: there is no such store, or it does not answer.
    """
    # MLflow repeats any request whose answer got lost, also one that makes a run, and so makes two;
    # it is repeated here, after a look whether it took effect. Whatever the user has set is for
    # the user's own calls.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    for name, value in _MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Listing artifacts, MLflow 3.0 asks the environment's store and not the client's.
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    if trouble := unreachable(tracking_uri):
        raise TrackerError(
            f"Cannot use the tracking URI {redact(tracking_uri)}: {trouble.reason}.",
            passing=trouble.passing,
        )
    from .store import Store, database_file

    if not create and (file := database_file(tracking_uri)) and not file.exists():
        raise NoDatabaseError(f"There is no database {file} yet.")
    if tracking_uri.startswith(("http:", "https:")):
        with _first_timeout():
            return Store.open(tracking_uri, redact)
    with _termination_deferred():
        return Store.open(tracking_uri, redact)


@contextlib.contextmanager
def _first_timeout() -> Iterator[None]:
    """Wait for a shorter time than later, unless the user has set how long to wait."""
    usual = os.environ[_TIMEOUT]
    if usual == _MLFLOW_DEFAULTS[_TIMEOUT]:
        os.environ[_TIMEOUT] = _FIRST_TIMEOUT
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = usual


@contextlib.contextmanager
def _termination_deferred() -> Iterator[None]:
    """Let SIGTERM wait: a database that is left in the middle of its migration can't be used."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
