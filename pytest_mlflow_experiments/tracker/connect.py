"""Open a tracking store from a process in which nothing of MLflow is loaded yet."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..baseline.files import make_baseline
from ..baseline.specs import BaselineError, BaselineRequest, NothingYetError
from ..records.directory import SessionDirectory
from ..records.session_tags import shard_states
from ..records.tags import KIND, SESSION_ID
from .errors import MergeError, NoDatabaseError, TrackerError, reason_of
from .state import Redactor, Reporter

if TYPE_CHECKING:
    from .catalog import MlflowCatalog
    from .store import Store

_CONNECT_TIMEOUT = 5.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


@final
@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why nothing can be reached, and whether that may pass by itself."""

    reason: str
    passing: bool


def unreachable(tracking_uri: str) -> Unreachable | None:
    """Return why the URI can't be reached; None where it can be, or where that is unknown.

    One connection is tried, for at most five seconds; nothing is sent.
    """
    try:
        parts = urlsplit(tracking_uri)
        port = parts.port
    except ValueError as error:
        return Unreachable(f"it is malformed ({error})", passing=False)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in _PORTS:
        return None
    if not parts.hostname:
        # A database may be reached through a socket in the file system instead.
        named = scheme not in ("http", "https")
        return None if named else Unreachable("it names no host", passing=False)
    if _behind_proxy(parts):
        return None
    address = parts.hostname, port or _PORTS[scheme]
    try:
        with socket.create_connection(address, timeout=_CONNECT_TIMEOUT):
            return None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        text = f"no connection to {address[0]}:{address[1]} ({reason})"
        return Unreachable(text, passing=isinstance(error, OSError))


def _behind_proxy(parts: SplitResult) -> bool:
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


def open_store(tracking_uri: str, redact: Redactor, *, create: bool = True) -> Store:
    """Set MLflow's timeouts, load it, and open the store.

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
    """Use a shorter timeout than later, unless the user has set one."""
    usual = os.environ[_TIMEOUT]
    if usual == _MLFLOW_DEFAULTS[_TIMEOUT]:
        os.environ[_TIMEOUT] = _FIRST_TIMEOUT
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = usual


@contextlib.contextmanager
def _termination_deferred() -> Iterator[None]:
    """Block SIGTERM: a database that is left in the middle of its migration can't be used."""
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


SHARDS: Final = "shards"
"""The directory of the shards' journals among the artifacts of the session's run."""

_WHERE: Final = "--tracking-uri and --experiment say where else to look"
_ENDED: Final = frozenset({"finished", "broken off", "merged"})


@final
@dataclass(frozen=True, slots=True)
class Fetched:
    """The journals of shards that have ended, and the ids of those that have not."""

    journals: tuple[Path, ...]
    running: tuple[str, ...]


def fetch_shards(
    tracking_uri: str,
    session_id: str,
    directory: Path,
    *,
    experiment_name: str | None,
    experiment_id: str | None,
) -> Fetched:
    """Download the journals of a session's shards into ``directory``.

    Raises:
        MergeError: MLflow can't be reached, has no such session, or none of its shards has ended.
    """
    redact = Redactor.of(tracking_uri)
    try:
        store = open_store(tracking_uri, redact, create=False)
        experiment = store.find_experiment(experiment_name, experiment_id)
    except TrackerError as error:
        raise MergeError(redact(str(error)).removesuffix(".")) from error
    name = experiment.name if experiment else experiment_name or experiment_id
    place = f"experiment {name!r} at {store.shown_uri}"
    if experiment is None:
        raise MergeError(f"there is no {place} yet; {_WHERE}")
    from .retries import Caller, runs_with

    client, terms = store.client, {SESSION_ID: session_id, KIND: "session"}
    call = Caller(store.shown_uri, redact, MergeError).of(f"the shards of {session_id!r}")
    runs = runs_with(client, experiment.experiment_id, terms, deleted=False, call=call)
    found = {
        shard: (run, state) for run in runs for shard, state in shard_states(run.data.tags).items()
    }
    if not found:
        raise MergeError(
            f"there is no shard of session {session_id!r} in {place}; say where they are "
            "with --tracking-uri and --experiment"
        )
    ended = {shard: run for shard, (run, state) in found.items() if state in _ENDED}
    if not ended:
        raise MergeError(f"no shard of session {session_id!r} has ended yet")
    download = client.download_artifacts
    return Fetched(
        journals=tuple(
            Path(call(download, run.info.run_id, f"{SHARDS}/{shard}.jsonl", str(directory)))
            for shard, run in ended.items()
        ),
        running=tuple(found.keys() - ended.keys()),
    )


def answer_request(directory: SessionDirectory, catalog: MlflowCatalog, reporter: Reporter) -> None:
    """Fetch the baseline that a session asks for, if any; failures go into its state."""

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
