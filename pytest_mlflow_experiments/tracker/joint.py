"""The run of a session that several shards share, each from a machine of its own.

MLflow has no way to make a run only where there is none, so shards that start at the same moment
may make several. Whoever sees that unites them: all choose the same one, by its id.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pytest_mlflow_experiments.records import SessionHeader

from .projection import COMPLETE, KIND, NOTE, PARENT, SHARD, Status
from .retries import cause_of, retried
from .search import runs_with

SHARDS: Final = "shards"
"""The directory of the shards' journals among the artifacts of the session's run."""

ShardState: TypeAlias = Literal["running", "finished", "broken off", "merged"]

_WORSE: Final[tuple[Status, ...]] = ("FINISHED", "FAILED", "KILLED")


def state_tag(shard_id: str) -> str:
    """Return the tag of the session's run that holds a shard's :data:`ShardState`."""
    return f"{SHARD}.{shard_id}"


def states(tags: Mapping[str, str]) -> dict[str, str]:
    """Return how far the shards are, by their ids, from the tags of the session's run."""
    prefix = state_tag("")
    return {key.removeprefix(prefix): tags[key] for key in tags if key.startswith(prefix)}


def merged_tags(header: SessionHeader) -> dict[str, str]:
    """Return what the session's run says of its shards once they are put together."""
    if not header.shards:
        return {}
    merged: ShardState = "merged"
    return {
        "pytest.shards": str(len(header.shards)),
        **{state_tag(shard): merged for shard in header.shards},
    }


def unite(client: MlflowClient, experiment_id: str, runs: Sequence[Run]) -> Run:
    """Return the one of several runs of a session that counts, once it has all that others have."""
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    chosen, *others = sorted(active or runs, key=lambda run: str(run.info.run_id))
    for other in others:
        if not active:
            break
        for key, state in other.data.tags.items():
            if key.startswith(state_tag("")) and key not in chosen.data.tags:
                retried(client.set_tag, chosen.info.run_id, key, state)
        adopt(client, experiment_id, other.info.run_id, chosen.info.run_id)
        with _done_by_others():
            supersede(client, [other.info.run_id])
            retried(client.delete_run, other.info.run_id)
    return chosen


def supersede(client: MlflowClient, run_ids: Iterable[str]) -> None:
    """Tell of runs that others count in their place."""
    for run_id in run_ids:
        retried(client.set_tag, run_id, KIND, "superseded")


def adopt(client: MlflowClient, experiment_id: str, old_id: str, new_id: str) -> None:
    """Make the children of one run those of another."""
    for run in list(runs_with(client, experiment_id, {PARENT: old_id})):
        with _done_by_others():
            retried(client.set_tag, run.info.run_id, PARENT, new_id)


def unmerged(session_id: str) -> str:
    """Return the description of what shards share as long as they are not put together."""
    return (
        "Shards of one session. What they are as a whole is not known yet:\n\n"
        f"    pytest-mlflow merge --session {session_id}"
    )


def worse(status: Status, held: str) -> Status:
    """Return the worse of two statuses, where the one that a run has is that of an end at all."""
    return max(status, held, key=_WORSE.index) if held in _WORSE else status


def announce_shard(client: MlflowClient, run_id: str, header: SessionHeader) -> None:
    """Tell in the session's run that there is a shard, unless it has told of it before."""
    if header.session_id not in states(retried(client.get_run, run_id).data.tags):
        retried(client.set_tag, run_id, state_tag(header.session_id), "running")


def close_shard(
    client: MlflowClient, run_id: str, header: SessionHeader, status: Status, end_time: int
) -> None:
    """Tell in the session's run that a shard has ended, and end the run as far as is known."""
    state: ShardState = "broken off" if status == "KILLED" else "finished"
    tags = {
        state_tag(header.session_id): state,
        COMPLETE: "false",
        NOTE: unmerged(header.joint_id),
    }
    for key, value in tags.items():
        retried(client.set_tag, run_id, key, value)
    # Read last, as other shards may have ended it meanwhile.
    info = retried(client.get_run, run_id).info
    retried(
        client.set_terminated, run_id, worse(status, info.status), max(end_time, info.end_time or 0)
    )


@contextlib.contextmanager
def _done_by_others() -> Iterator[None]:
    """Let pass what MLflow refuses since another shard has done it already."""
    try:
        yield
    except MlflowException as error:
        if cause_of(error) == "passing":
            raise
