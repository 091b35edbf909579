"""The interface of the writers that send runs to MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, final

from ...records import Metric
from ...records.tags import NODEID
from ..errors import reason_of
from ..runs.case import RunData

if TYPE_CHECKING:
    from mlflow.entities import Run


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a case that MLflow did not store; ``passing`` if it may store it later.

    For a sweep, ``case`` is its name, and the missing part its end. Artifacts are ``lost`` if they
    are no longer here either.
    """

    case: str
    part: Literal["run", "artifacts", "lost", "sweep"]
    reason: str
    passing: bool = False

    @classmethod
    def refused(cls, part: Literal["run", "sweep"], run: RunData, error: Exception) -> Problem:
        """Return the problem of a run whose data MLflow refuses."""
        return cls(run.tags[NODEID] if part == "run" else run.name, part, reason_of(error))


class RunWriter(Protocol):
    """Writes runs: cases by ``write``, sweeps in two steps, ``open`` and ``close``.

    An existing run of a case is left as it is.
    """

    @property
    def name(self) -> str:
        """The name of this writer in the session's state."""

    @property
    def batch_size(self) -> int:
        """How many runs to hand over at once."""

    @property
    def added_at_once(self) -> int:
        """The number of runs to add metrics to at once."""

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Write finished runs, and return what MLflow did not store.

        Raises:
            Exception: the store itself can't be used any more.
        """

    def add(self, metrics: Mapping[str, Sequence[Metric]]) -> None:
        """Add metrics to runs that were written, by record id; doing it twice changes nothing.

        Raises:
            Exception: the store itself can't be used any more.
        """

    def open(self, runs: Sequence[RunData]) -> Mapping[str, str]:
        """Create RUNNING runs that do not exist yet, and return their ids.

        Returns:
            the run ids by record id, without runs that users have deleted in MLflow, and without
                those that MLflow refuses.

        Raises:
            Exception: the store itself can't be used any more.
        """

    def close(self, runs: Sequence[RunData], held: Mapping[str, Run]) -> Sequence[Problem]:
        """Complete opened runs and end them; what they have under the same keys is replaced.

        MLflow's client can't replace params: the older ones stay, and the run's description says
        so. Closing a run twice is harmless.

        Args:
            runs: the runs, with ``run_id`` and the params, metrics and tags to add.
            held: the runs in MLflow, by run id, that differ from what was opened.

        Raises:
            Exception: the store itself can't be used any more.
        """
