"""The run of a session that several shards share, each from a machine of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, final

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from ...records import SessionHeader
from ...records.session_tags import ShardState, end_tags, shard_states, shard_tags
from ...records.tags import KIND, NOTE, PARENT, SESSION_ID
from ..connect import open_store
from ..errors import MergeError, TrackerError
from ..retries import Caller, cause_of, patiently, runs_with
from ..state import Redactor
from .case import Status

SHARDS: Final = "shards"
"""The directory of the shards' journals among the artifacts of the session's run."""

_WORSE: Final[tuple[Status, ...]] = ("FINISHED", "FAILED", "KILLED")


def unite(client: MlflowClient, experiment_id: str, runs: Sequence[Run]) -> Run:
    """Return the one of several runs of a session that counts, once it has all that others have."""
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    chosen, *others = sorted(active or runs, key=lambda run: str(run.info.run_id))
    for other in others:
        if not active:
            break
        known, told = (shard_states(run.data.tags) for run in (chosen, other))
        missing = {shard: told[shard] for shard in told.keys() - known.keys()}
        _set_tags(client, chosen.info.run_id, shard_tags(missing))
        adopt(client, experiment_id, other.info.run_id, chosen.info.run_id)
        with _done_by_others():
            supersede(client, [other.info.run_id])
            patiently(client.delete_run, other.info.run_id)
    return chosen


def _set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        patiently(client.set_tag, run_id, key, value)


def supersede(client: MlflowClient, run_ids: Iterable[str]) -> None:
    """Tell of runs that others count in their place."""
    for run_id in run_ids:
        patiently(client.set_tag, run_id, KIND, "superseded")


def adopt(client: MlflowClient, experiment_id: str, old_id: str, new_id: str) -> None:
    """Make the children of one run those of another."""
    for run in list(runs_with(client, experiment_id, {PARENT: old_id})):
        with _done_by_others():
            patiently(client.set_tag, run.info.run_id, PARENT, new_id)


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
    if header.session_id not in shard_states(patiently(client.get_run, run_id).data.tags):
        _set_tags(client, run_id, shard_tags({header.session_id: "running"}))


def close_shard(
    client: MlflowClient, run_id: str, header: SessionHeader, status: Status, end_time: int
) -> None:
    """Tell in the session's run that a shard has ended, and end the run as far as is known."""
    state: ShardState = "broken off" if status == "KILLED" else "finished"
    tags = {**shard_tags({header.session_id: state}), **end_tags(None)}
    _set_tags(client, run_id, {**tags, NOTE: unmerged(header.joint_id)})
    # Read last, as other shards may have ended it meanwhile.
    info = patiently(client.get_run, run_id).info
    patiently(
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


_WHERE: Final = "--tracking-uri and --experiment say where else to look"
_ENDED: Final = frozenset({"finished", "broken off", "merged"})


@final
@dataclass(frozen=True, slots=True)
class Fetched:
    """The journals of shards that have ended, and the ids of those that have not."""

    journals: tuple[Path, ...]
    running: tuple[str, ...]


def fetch_shards(
    tracking_uri: str,
    session_id: str,
    directory: Path,
    *,
    experiment_name: str | None,
    experiment_id: str | None,
) -> Fetched:
    """Download the journals of a session's shards into ``directory``.

    Raises:
        MergeError: MLflow can't be reached, has no such session, or none of its shards has ended.
    """
    redact = Redactor.of(tracking_uri)
    try:
        store = open_store(tracking_uri, redact, create=False)
        experiment = store.find_experiment(experiment_name, experiment_id)
    except TrackerError as error:
        raise MergeError(redact(str(error)).removesuffix(".")) from error
    name = experiment.name if experiment else experiment_name or experiment_id
    place = f"experiment {name!r} at {store.shown_uri}"
    if experiment is None:
        raise MergeError(f"there is no {place} yet; {_WHERE}")
    client = store.client
    call, what = Caller(store.shown_uri, redact, MergeError), f"the shards of {session_id!r}"
    terms = {SESSION_ID: session_id, KIND: "session"}
    found = {
        shard: (run, state)
        for run in runs_with(
            client,
            experiment.experiment_id,
            terms,
            view=ViewType.ACTIVE_ONLY,
            call=partial(call, what),
        )
        for shard, state in shard_states(run.data.tags).items()
    }
    if not found:
        raise MergeError(
            f"there is no shard of session {session_id!r} in {place}; say where they are "
            "with --tracking-uri and --experiment"
        )
    ended = {shard: run for shard, (run, state) in found.items() if state in _ENDED}
    if not ended:
        raise MergeError(f"no shard of session {session_id!r} has ended yet")
    download = client.download_artifacts
    return Fetched(
        journals=tuple(
            Path(call(what, download, run.info.run_id, f"{SHARDS}/{shard}.jsonl", str(directory)))
            for shard, run in ended.items()
        ),
        running=tuple(found.keys() - ended.keys()),
    )
