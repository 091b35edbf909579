"""Open a tracking store from a process that has not loaded MLflow yet."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from ..baseline.files import make_baseline
from ..baseline.specs import BaselineError, BaselineRequest, NothingYetError
from ..records.directory import SessionDirectory
from .errors import NoDatabaseError, TrackerError, reason_of
from .state import Redactor, Reporter

if TYPE_CHECKING:
    from .catalog import MlflowCatalog
    from .store import Store

_CONNECT_TIMEOUT = 5.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def unreachable(tracking_uri: str) -> TrackerError | None:
    """Return why the URI can't be reached; None if it can be, or if that is unknown.

    One connection is tried, for at most five seconds; nothing is sent.
    """
    try:
        parts = urlsplit(tracking_uri)
        port = parts.port
    except ValueError as error:
        return TrackerError(f"it is malformed ({error})")
    scheme = parts.scheme.partition("+")[0]
    if scheme not in _PORTS:
        return None
    if not parts.hostname:
        # A database may be reached through a socket in the file system instead.
        return TrackerError("it names no host") if scheme in ("http", "https") else None
    if _behind_proxy(parts):
        return None
    address = parts.hostname, port or _PORTS[scheme]
    try:
        with socket.create_connection(address, timeout=_CONNECT_TIMEOUT):
            return None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        text = f"no connection to {address[0]}:{address[1]} ({reason})"
        return TrackerError(text, passing=isinstance(error, OSError))


def _behind_proxy(parts: SplitResult) -> bool:
    # Only here, for it takes a tenth of the tracker's start, and a file needs no proxy.
    from urllib.request import getproxies, proxy_bypass

    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")


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


def open_store(
    tracking_uri: str,
    redact: Redactor,
    *,
    create: bool = True,
    proofs: Path | None = None,
    on_load: Callable[[], None] = lambda: None,
) -> Store:
    """Set MLflow's timeouts, load it unless there is a proof that it is not needed, and open it.

    Args:
        tracking_uri: the store's URI; MLflow's environment variables are set to it.
        redact: removes credentials from messages.
        create: whether to create a missing database file.
        proofs: the file of proofs, if they count.
        on_load: called before MLflow is loaded.

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
            f"Cannot use the tracking URI {redact(tracking_uri)}: {trouble}.",
            passing=trouble.passing,
        )
    from .store import Store

    if tracking_uri.startswith(("http:", "https:")):
        with _first_timeout():
            return Store.open(tracking_uri, redact, proofs, on_load)
    # Loads SQLAlchemy, which takes a moment.
    from .databases import database_file

    if not create and (file := database_file(tracking_uri)) and not file.exists():
        raise NoDatabaseError(f"there is no database {file} yet.")
    with _termination_deferred():
        return Store.open(tracking_uri, redact, proofs, on_load)


@contextlib.contextmanager
def _first_timeout() -> Iterator[None]:
    """Use a shorter timeout for the first request, unless the user has set one."""
    usual = os.environ[_TIMEOUT]
    if usual == _MLFLOW_DEFAULTS[_TIMEOUT]:
        os.environ[_TIMEOUT] = _FIRST_TIMEOUT
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = usual


@contextlib.contextmanager
def _termination_deferred() -> Iterator[None]:
    """Defer SIGTERM: an interrupted migration leaves a database that can't be used."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def open_catalog(
    tracking_uri: str, *, experiment_name: str | None = None, experiment_id: str | None = None
) -> MlflowCatalog:
    """Open the sessions of an experiment; this loads MLflow, and sets its environment.

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


def answer_request(directory: SessionDirectory, catalog: MlflowCatalog, reporter: Reporter) -> None:
    """Fetch the baseline that a session requested, if any; write failures to its state."""

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
