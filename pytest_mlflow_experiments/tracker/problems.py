"""Say what MLflow did not take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import TrackerError
from .writers import Problem


def judge_problems(problems: Sequence[Problem], cases: int, directory: Path) -> None:
    """Pass where there are none.

    Raises:
        TrackerError: MLflow did not take everything; the text is for the user.
    """
    runs = [problem for problem in problems if problem.part == "run"]
    if runs:
        raise TrackerError(
            f"MLflow did not take {len(runs)} of {cases} cases; the first is "
            f"{runs[0].case}: {runs[0].reason}"
        )
    sweeps = [problem for problem in problems if problem.part == "sweep"]
    if sweeps:
        raise TrackerError(
            f"MLflow has every case, but did not take the end of {len(sweeps)} sweeps; the first "
            f"is {sweeps[0].case}: {sweeps[0].reason}"
        )
    if problems:
        raise TrackerError(
            "MLflow has every case, but not all artifacts could be uploaded; they stay in "
            f"{directory}; the first ones missing are those of "
            f"{problems[0].case}: {problems[0].reason}",
            passing=any(problem.passing for problem in problems),
        )
