"""How runs get into MLflow: the one seam between the tracker's loop and its ways of writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final

from .projection import RunData


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """Something of one case that MLflow did not take; ``passing`` where it may take it later."""

    case: str
    part: Literal["run", "artifacts"]
    reason: str
    passing: bool = False


class RunWriter(Protocol):
    """Writes runs, whole and once: a run that MLflow has already is left as it is."""

    @property
    def name(self) -> str:
        """What the session's state calls this writer."""

    @property
    def batch_size(self) -> int:
        """How many runs to hand over at once."""

    def write(self, runs: Sequence[RunData]) -> Sequence[Problem]:
        """Bring the runs into MLflow, and return what could not be brought there.

        Raises:
            Exception: the store itself can't be used any more.
        """
