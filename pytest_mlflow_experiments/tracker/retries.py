"""Which errors between the tracker and MLflow pass by themselves, and calls that are retried."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, ParamSpec, TypeAlias, TypeVar, final

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from .errors import TrackerError, reason_of

P = ParamSpec("P")
T = TypeVar("T")
Cause: TypeAlias = Literal["passing", "data", "store"]

# The first ones are short, for most troubles concern a single request; a server that fails one
# request in five fails ten in a row once in ten million times.
_PAUSES = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 3.0, 3.0)
_BRIEF_PAUSES = _PAUSES[:6]
_PATIENCE = 15.0
_BRIEF_PATIENCE = 5.0

_PASSING = frozenset({
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "ABORTED",
    "CANCELLED",
    "UNKNOWN",
})  # fmt: skip
_DATA = frozenset({
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "DATA_LOSS",
    "INVALID_STATE",
    "MAX_BLOCK_SIZE_EXCEEDED",
    "RESOURCE_ALREADY_EXISTS",
})  # fmt: skip
# Databases call these operational errors too, though waiting does not help.
_LASTING = (
    "readonly database",
    "unable to open database file",
    "authentication failed",
    "access denied",
    "does not exist",
    "unknown database",
    "no such table",
)
# Two shards set the same tag of their session's run at the same moment, as databases tell it.
_COLLISIONS = ("uniqueviolation", "unique constraint", "duplicate entry", "duplicate key")
_COLLISION_CALLS = 3


def cause_of(error: Exception) -> Cause:
    """Tell what an error comes from: a passing trouble, the data at hand, or the store itself."""
    if isinstance(error, MlflowException):
        # Stores wrap what their database or their connection said.
        if isinstance(error.__cause__, SQLAlchemyError):
            return cause_of(error.__cause__)
        if error.error_code in _PASSING:
            return "store" if "CERTIFICATE_VERIFY_FAILED" in str(error) else "passing"
        return "data" if error.error_code in _DATA else "store"
    if isinstance(error, OperationalError):
        said = str(error.orig).lower()
        return "store" if any(text in said for text in _LASTING) else "passing"
    if isinstance(error, InterfaceError | PoolTimeoutError):
        return "passing"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return "passing"
    # requests' own exceptions are OSErrors.
    return "passing" if isinstance(error, OSError) else "data"


def retried(action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``action``, and call it again while its error may pass by itself.

    It gives up after ten calls, or once fifteen seconds have gone by, as they do where nothing
    answers at all: then somebody else decides whether it is worth waiting.
    """
    return _retried(_PAUSES, _PATIENCE, action, *args, **kwargs)


def retried_briefly(action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do the same as :func:`retried` with less patience, for what is not worth more."""
    return _retried(_BRIEF_PAUSES, _BRIEF_PATIENCE, action, *args, **kwargs)


def _retried(
    pauses: Sequence[float],
    patience: float,
    action: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    started = time.monotonic()
    for calls, pause in enumerate(pauses, 1):
        try:
            return action(*args, **kwargs)
        except Exception as error:
            passes = cause_of(error) == "passing" or (calls < _COLLISION_CALLS and _collides(error))
            if not passes or time.monotonic() - started >= patience:
                raise
        # Requests that were turned away together must not come back together.
        time.sleep(pause * random.uniform(0.7, 1.3))
    return action(*args, **kwargs)


def _collides(error: Exception) -> bool:
    """Tell whether somebody else has written the same row at the same moment."""
    said = str(error).lower()
    return any(text in said for text in _COLLISIONS)


_MISSING: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})


_PAGE: Final = 500


def runs_with(
    client: MlflowClient, experiment_id: str, tags: Mapping[str, str], *, view: int = ViewType.ALL
) -> Iterator[Run]:
    """Yield the runs that have these tags; those that somebody has deleted too, by default."""
    filter_string = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    token: str | None = None
    while True:
        page = retried(
            client.search_runs,
            [experiment_id],
            filter_string=filter_string,
            run_view_type=view,
            max_results=_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


@final
@dataclass(frozen=True, slots=True)
class Asker:
    """Calls a client, and turns whatever it raises into a :class:`TrackerError`."""

    client: MlflowClient
    shown_uri: str

    def ask(self, what: str, action: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a method of the client says of ``what``."""
        try:
            return retried(action, *args, **kwargs)
        except Exception as error:
            raise self.problem(what, error) from error

    def ask_for(
        self, what: str, action: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Return the same, or None where there is no such thing."""
        try:
            return retried(action, *args, **kwargs)
        except Exception as error:
            if isinstance(error, MlflowException) and error.error_code in _MISSING:
                return None
            raise self.problem(what, error) from error

    def problem(self, what: str, error: Exception) -> TrackerError:
        """Return the error that tells of another one."""
        return TrackerError(f"no answer from {self.shown_uri} for {what}: {reason_of(error)}")
