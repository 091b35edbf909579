"""The interface of the writers that bring runs into MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final

from mlflow.entities import Run

from ...records.tags import NODEID
from ..errors import reason_of
from ..runs.case import RunData


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a case that MLflow did not store; ``passing`` where it may store it later.

    Of a sweep, ``case`` is the name, and the part that is missing is its end.
    """

    case: str
    part: Literal["run", "artifacts", "sweep"]
    reason: str
    passing: bool = False

    @classmethod
    def refused(cls, part: Literal["run", "sweep"], run: RunData, error: Exception) -> Problem:
        """Return what tells of a run whose data MLflow refuses."""
        return cls(run.tags[NODEID] if part == "run" else run.name, part, reason_of(error))


class RunWriter(Protocol):
    """Writes runs: those of cases in one step, those of sweeps in two, ``open`` and ``close``.

    A case's run that MLflow has already is left as it is.
    """

    @property
    def name(self) -> str:
        """What the session's state calls this writer."""

    @property
    def batch_size(self) -> int:
        """How many runs to hand over at once."""

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Write finished runs, and return what MLflow did not store.

        Raises:
            Exception: the store itself can't be used any more.
        """

    def open(self, runs: Sequence[RunData]) -> Mapping[str, str]:
        """Create RUNNING runs that do not exist yet, and return their ids.

        Returns:
            the runs' own ids by the records' ids; a run that somebody has deleted in MLflow, and
            one that MLflow refuses, has none.

        Raises:
            Exception: the store itself can't be used any more.
        """

    def close(self, runs: Sequence[RunData], held: Mapping[str, Run]) -> Sequence[Problem]:
        """Complete opened runs and end them; what they have under the same keys is replaced.

        Only a param can't be, where MLflow's client writes: the older one stays, and the run's
        description tells of it. Closing a run twice is harmless.

        Args:
            runs: the runs, with ``run_id``, and of params, metrics and tags what is to be added.
            held: runs as MLflow has them, by their ids, as far as that is not what was opened.

        Raises:
            Exception: the store itself can't be used any more.
        """
