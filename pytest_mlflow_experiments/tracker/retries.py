"""Call MLflow: retry temporary errors, and turn others into messages for the user."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
    final,
)

from ..records import Metric
from .errors import TrackerError, code_of, pause_asked, reason_of
from .limits import batches, entities
from .stand_in import StandIn
from .state import RETRY_LISTENERS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList

P = ParamSpec("P")
T = TypeVar("T")
Cause: TypeAlias = Literal["passing", "data", "store"]

_PASSING = frozenset({
    *("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
    *("DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "UNKNOWN"),
})  # fmt: skip
_DATA = frozenset({
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "DATA_LOSS", "INVALID_STATE"),
    *("MAX_BLOCK_SIZE_EXCEEDED", "RESOURCE_ALREADY_EXISTS"),
})  # fmt: skip
# Databases call these operational errors too, though waiting does not help.
_LASTING = (
    *("readonly database", "unable to open database file", "authentication failed"),
    *("access denied", "does not exist", "unknown database", "no such table"),
)
# Two shards set the same tag of their session's run at the same moment, as databases tell it.
_COLLISIONS = ("uniqueviolation", "unique constraint", "duplicate entry", "duplicate key")
_COLLISION_CALLS = 3
_LIMITS = ("too many requests", "too many 429")


def cause_of(error: Exception) -> Cause:
    """Return the cause of an error: a temporary failure, the data sent, or the store itself."""
    if (code := code_of(error)) is not None:
        # Stores wrap what their database or their connection said.
        if (cause := _cause_of_database(error.__cause__)) is not None:
            return cause
        if code in _PASSING:
            return "store" if "CERTIFICATE_VERIFY_FAILED" in str(error) else "passing"
        return "data" if code in _DATA else "store"
    if (cause := _cause_of_database(error)) is not None:
        return cause
    if (status := _status_of(error)) is not None:
        return "passing" if status >= 500 or status in (408, 425, 429) else "store"
    # requests' own exceptions are OSErrors.
    return "passing" if isinstance(error, OSError) else "data"


def _cause_of_database(error: BaseException | None) -> Cause | None:
    """Return the cause of an error of SQLAlchemy, which need not be loaded; None for others."""
    sql: Any = sys.modules.get("sqlalchemy.exc")
    if sql is None or not isinstance(error, sql.SQLAlchemyError):
        return None
    if isinstance(error, sql.OperationalError):
        said = str(error.orig).lower()
        return "store" if any(text in said for text in _LASTING) else "passing"
    is_cut = isinstance(error, sql.DBAPIError) and error.connection_invalidated
    if is_cut or isinstance(error, sql.InterfaceError | sql.TimeoutError):
        return "passing"
    return "data"


def _status_of(error: Exception) -> int | None:
    """Return the status that an error of requests tells of, which need not be loaded."""
    requests = sys.modules.get("requests")
    if requests is None or not isinstance(error, requests.HTTPError) or error.response is None:
        return None
    return int(error.response.status_code)


def passes(error: Exception) -> bool:
    """Return whether an error may be temporary."""
    return cause_of(error) == "passing"


def tracker_error(text: str, error: Exception) -> TrackerError:
    """Return the error for the user; ``text`` says what can't be done because of it."""
    return TrackerError(f"{text}: {reason_of(error)}", passing=passes(error))


@final
@dataclass(frozen=True, slots=True)
class Retry:
    """Calls an action, and retries it while its error may be temporary.

    It gives up after ``calls`` calls, or after ``patience`` seconds if nothing answers, or if the
    server asks for more than that: then the caller decides whether to wait.
    """

    calls: int
    patience: float

    def __call__(self, action: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of ``action``."""
        started = time.monotonic()
        for calls, usual in enumerate(_PAUSES[: self.calls - 1], 1):
            try:
                return action(*args, **kwargs)
            except Exception as error:
                if not passes(error) and not (calls < _COLLISION_CALLS and _collides(error)):
                    raise
                said = str(error)
                passed = time.monotonic() - started
                if max(passed, pause_asked(said) or 0.0) >= self.patience:
                    raise
                for tell in RETRY_LISTENERS:
                    tell(error)
            time.sleep(_pause(said, calls, usual))
        return action(*args, **kwargs)


def _pause(said: str, calls: int, pause: float) -> float:
    """Return how long to wait after so many failed calls, the last with this error."""
    if (asked := pause_asked(said)) is not None:
        return max(pause, asked) * random.uniform(1.0, 1.3)
    if any(text in said for text in _LIMITS):
        # A server with a limit has to be left alone for longer than one that fails by chance.
        pause = max(pause, 2.0 ** (calls - 1))
    # Requests that were turned away together must not come back together.
    return pause * random.uniform(0.7, 1.3)


def _collides(error: Exception) -> bool:
    """Return whether another process has written the same row at the same moment."""
    said = str(error).lower()
    return any(text in said for text in _COLLISIONS)


# The first pauses are short, for most troubles concern a single request; a server that fails one
# request in five fails ten in a row once in ten million times.
_PAUSES: Final = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 3.0, 3.0)

patiently: Final = Retry(calls=10, patience=15.0)
"""For calls that a session needs."""
briefly: Final = Retry(calls=7, patience=5.0)
"""For calls that a session can do without."""


def create_once(create: Callable[[], T], find: Callable[[], T | None]) -> T:
    """Create something with retries, and look for it before each retry.

    If only the response got lost, it has been created already.
    """
    is_first = True

    def create_or_find() -> T:
        nonlocal is_first
        found = None if is_first else find()
        is_first = False
        return create() if found is None else found

    return patiently(create_or_find)


ACTIVE_RUNS: Final = 1
"""MLflow's ``ViewType.ACTIVE_ONLY``."""
ALL_RUNS: Final = 3
"""MLflow's ``ViewType.ALL``."""


def log(
    client: MlflowClient,
    run_id: str,
    metrics: Sequence[Metric],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Log metrics, params and tags to a run, in as few calls as possible."""
    if isinstance(client, StandIn):
        whole = [(metrics, params, tags)]
        for part in whole if client.takes_any_size else batches(metrics, params, tags):
            patiently(client.log, run_id, part[0], part[1], part[2])
        return
    for batch in batches(metrics, params, tags):
        patiently(client.log_batch, run_id, *entities(*batch))


_MISSING: Final = "RESOURCE_DOES_NOT_EXIST"


def run_or_none(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, or None if the store has no such run."""
    try:
        return patiently(client.get_run, run_id)
    except Exception as error:
        if code_of(error) == _MISSING:
            return None
        raise


@final
@dataclass(frozen=True, slots=True)
class Caller:
    """Calls MLflow's client with retries, and turns errors into messages for the user.

    ``error`` is the class of the errors raised, ``redact`` removes credentials from them.
    """

    shown_uri: str
    redact: Callable[[str], str]
    error: Callable[[str], Exception] = TrackerError

    def __call__(
        self, what: str, action: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the action and return its result; ``what`` is a noun for the message."""
        try:
            return patiently(action, *args, **kwargs)
        except Exception as error:
            raise self.problem(what, error) from error

    def of(self, what: str) -> partial[Any]:
        """Return a caller for ``what``."""
        return partial(self, what)

    def or_none(
        self, what: str, action: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Return the same, or None if the thing does not exist."""
        try:
            return patiently(action, *args, **kwargs)
        except Exception as error:
            if code_of(error) in (_MISSING, "NOT_FOUND"):
                return None
            raise self.problem(what, error) from error

    def problem(self, what: str, error: Exception) -> Exception:
        """Return the error for the user with the reason of another one."""
        reason = self.redact(reason_of(error))
        return self.error(f"no answer from {self.shown_uri} for {what}: {reason}")


def search_runs(
    client: MlflowClient,
    experiment_id: str,
    filter_string: str,
    *,
    call: Callable[..., PagedList[Run]] = patiently,
    page: int = 500,
    **options: Any,
) -> Iterator[Run]:
    """Yield all runs that match a filter, page by page; ``call`` calls the client."""
    search = partial(call, client.search_runs, [experiment_id], filter_string=filter_string)
    token: str | None = None
    while True:
        found = search(max_results=page, page_token=token, **options)
        yield from found
        token = found.token
        if not token:
            return


def runs_with(
    client: MlflowClient,
    experiment_id: str,
    tags: Mapping[str, str],
    *,
    status: str | None = None,
    deleted: bool = True,
    call: Callable[..., PagedList[Run]] = patiently,
) -> Iterator[Run]:
    """Yield the runs with these tags (and status), with ``deleted`` the deleted ones too."""
    view = ALL_RUNS if deleted else ACTIVE_RUNS
    terms = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
    if status is not None:
        terms.append(f"attributes.status = '{status}'")
    return search_runs(client, experiment_id, " and ".join(terms), call=call, run_view_type=view)
