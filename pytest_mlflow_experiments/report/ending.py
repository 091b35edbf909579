"""How a session ended: where its runs are, or why MLflow has not got them and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import final

from ..directory import SessionState


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a session ended, as far as the terminal tells of it.

    ``place`` says where the runs are (a URL, after the command that serves it where nothing does
    yet); ``problem`` why MLflow has not got all of them, and ``remedy`` what to do about it.
    ``notes`` are shown as they are.
    """

    tests: int
    experiment: str | None
    place: tuple[str, ...] = ()
    problem: str | None = None
    remedy: str | None = None
    notes: tuple[str, ...] = ()


def describe_end(
    state: SessionState | None,
    *,
    tests: int,
    tracking_uri: str,
    experiment: str | None,
    directory: str,
    notes: Sequence[str],
) -> Ending:
    """Return how the session ended.

    Args:
        state: what the tracker says, which may be at work still; None for an offline session.
        tests: how many tests ran.
        tracking_uri: where the runs go, without credentials.
        experiment: the experiment's name or id, as the user gave it.
        directory: the session's directory, as a person types it.
        notes: what else a person should know.
    """
    remedy = f"The session is kept; send it with: pytest-mlflow sync {quote(directory)}"
    if state is None:
        return Ending(tests=tests, experiment=experiment, place=(remedy,), notes=tuple(notes))
    if state.is_unsure:
        return Ending(
            tests=tests,
            experiment=experiment,
            problem=f"Not everything is in MLflow: {(state.error or 'no word why').rstrip('.')}",
            remedy=remedy,
            notes=(*notes, *state.notes),
        )
    known = state.phase == "done" or state.experiment_id is not None
    return Ending(
        tests=tests,
        experiment=state.experiment_name or experiment,
        place=(
            *(() if state.phase == "done" else ("MLflow gets the rest in the background",)),
            *(_place(tracking_uri, state) if known else ()),
        ),
        notes=(*notes, *state.notes),
    )


def _place(uri: str, state: SessionState) -> tuple[str, ...]:
    """Return where a person finds the session: a page, after the command that serves it."""
    # Without the workflow type MLflow's pages open on its tools for language models.
    page = f"#/experiments/{state.experiment_id}?workflowType=machine_learning"
    if uri.startswith(("http://", "https://")):
        return (f"{uri.rstrip('/')}/{page}",)
    if uri.startswith("databricks"):
        return (f"run {state.run_id} on {uri}",)
    return (f"mlflow ui --backend-store-uri {quote(uri)}", f"http://127.0.0.1:5000/{page}")
