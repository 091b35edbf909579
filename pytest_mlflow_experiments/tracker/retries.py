"""What can go wrong between the tracker and MLflow, and which of it passes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeAlias, TypeVar

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

P = ParamSpec("P")
T = TypeVar("T")
Cause: TypeAlias = Literal["passing", "data", "store"]

_PAUSES = (0.2, 1.0, 3.0)

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


def cause_of(error: Exception) -> Cause:
    """Tell what an error comes from: a passing trouble, the data at hand, or the store itself."""
    if isinstance(error, MlflowException):
        # Stores wrap what their database or their connection said.
        if isinstance(error.__cause__, SQLAlchemyError):
            return cause_of(error.__cause__)
        if error.error_code in _PASSING:
            return "passing"
        return "data" if error.error_code in _DATA else "store"
    if isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
        return "passing"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return "passing"
    # requests' own exceptions are OSErrors.
    return "passing" if isinstance(error, OSError) else "data"


def retried(action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``action``, and call it again while its error may pass by itself."""
    for pause in _PAUSES:
        try:
            return action(*args, **kwargs)
        except Exception as error:
            if cause_of(error) != "passing":
                raise
        time.sleep(pause)
    return action(*args, **kwargs)
