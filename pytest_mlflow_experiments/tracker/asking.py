"""Ask MLflow's client for a person, who is told what was asked for where there is no answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar, final

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from .errors import TrackerError, reason_of
from .retries import retried

P = ParamSpec("P")
T = TypeVar("T")

_MISSING: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})


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
