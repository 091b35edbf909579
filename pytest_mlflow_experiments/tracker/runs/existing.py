"""Find the runs of a session in MLflow, from an earlier tracker or other shards; merge them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from ...records import SessionHeader
from ...records.session_tags import ShardState, end_tags, shard_states, shard_tags
from ...records.tags import KIND, NOTE, PARENT, RECORD_ID, SESSION_ID, SHARD, VERDICT
from ..errors import code_of
from ..limits import clean_text
from ..retries import passes, patiently, runs_with
from ..stand_in import StandIn
from .case import BASELINE_SUFFIX, Status
from .session import name_with

_OF_NAME: Final = 100
"""Of longer names of runs, the ends are cut."""

UNMERGED: Final = "… not merged"
"""The verdict on a session of which only shards are known."""

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@final
@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run of this session that exists already; ``open`` means that it is unfinished.

    ``shard`` is the id of the shard that sent it, ``parent`` the id of its parent run.
    """

    run_id: str
    open: bool
    shard: str | None = None
    parent: str | None = None
    deleted: bool = False
    has_baseline: bool = False


def known_run(run: Run) -> KnownRun:
    """Return the fields that the tracker needs of a run."""
    active = run.info.lifecycle_stage == "active"
    return KnownRun(
        run.info.run_id,
        open=active and run.info.status == "RUNNING",
        shard=run.data.tags.get(SHARD),
        parent=run.data.tags.get(PARENT),
        deleted=not active,
        has_baseline=any(key.endswith(BASELINE_SUFFIX) for key in run.data.metrics),
    )


def case_runs(
    client: MlflowClient, experiment_id: str, header: SessionHeader
) -> dict[str, KnownRun]:
    """Return the existing runs of the session's cases, by record id."""
    terms = {SESSION_ID: header.joint_id, KIND: "case"}
    if header.shard is not None:
        # Those that others have replaced are known too: they must not come back.
        terms = {SESSION_ID: header.joint_id, SHARD: header.session_id}
    # Of several with the same id the best one counts; see ``remove_repeated``.
    runs = sorted(runs_with(client, experiment_id, terms), key=_standing, reverse=True)
    return {run.data.tags[RECORD_ID]: known_run(run) for run in runs}


def _standing(run: Run) -> tuple[bool, bool, bool, bool, str]:
    """Return a key that sorts the runs of one record, the one that counts first."""
    info = run.info
    return (
        info.lifecycle_stage != "active",
        run.data.tags.get(KIND) == "superseded",
        info.status == "RUNNING",
        not _has_data(run),
        info.run_id,
    )


def _has_data(run: Run) -> bool:
    return bool(run.data.metrics or run.data.params)


def remove_repeated(
    client: MlflowClient, experiment_id: str, header: SessionHeader, run_id: str
) -> None:
    """Remove runs that were made twice, as by a gateway that repeats requests.

    Nobody has learned the ids of these: they are RUNNING still, after all others of the session
    but its own run, ``run_id``, have ended.
    """
    terms = {SESSION_ID: header.joint_id}
    if header.shard is not None:
        # Whatever else is RUNNING may be another shard's; those merge what they share.
        terms[SHARD] = header.session_id
    for run in list(runs_with(client, experiment_id, terms, status="RUNNING", deleted=False)):
        tags = run.data.tags
        if run.info.run_id == run_id or (RECORD_ID not in tags and tags.get(KIND) != "session"):
            continue
        kept_id = run_id
        if tags.get(KIND) != "session":
            same = runs_with(client, experiment_id, {RECORD_ID: tags[RECORD_ID]})
            kept_id = min(same, key=_standing).info.run_id
        if kept_id != run.info.run_id:
            _supersede(client, experiment_id, run, kept_id)


def sweep_runs(
    client: MlflowClient, experiment_id: str, header: SessionHeader, parent_id: str
) -> dict[str, Run]:
    """Return the runs of the session's sweeps by :func:`.sweeps.sweep_id`.

    Runs that two shards have opened are merged, and all are moved below ``parent_id``.
    """
    found: dict[str, list[Run]] = {}
    terms = {SESSION_ID: header.joint_id, KIND: "sweep"}
    for run in runs_with(client, experiment_id, terms):
        found.setdefault(run.data.tags[RECORD_ID], []).append(run)
    sweeps = {key: merge_duplicates(client, experiment_id, runs) for key, runs in found.items()}
    for run in sweeps.values():
        if run.info.lifecycle_stage == "active" and run.data.tags.get(PARENT) != parent_id:
            # It was made below a run of the session that was one too many.
            patiently(client.set_tag, run.info.run_id, PARENT, parent_id)
    return sweeps


_WORSE: Final[tuple[Status, ...]] = ("FINISHED", "FAILED", "KILLED")


def merge_duplicates(client: MlflowClient, experiment_id: str, runs: Sequence[Run]) -> Run:
    """Merge duplicate runs into one of them, and return that."""
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    chosen, *others = sorted(active or runs, key=lambda run: str(run.info.run_id))
    for other in others if active else ():
        known, states = (shard_states(run.data.tags) for run in (chosen, other))
        missing = {shard: states[shard] for shard in states.keys() - known.keys()}
        _set_tags(client, chosen.info.run_id, shard_tags(missing))
        _supersede(client, experiment_id, other, chosen.info.run_id)
    return chosen


def _supersede(client: MlflowClient, experiment_id: str, run: Run, kept_id: str) -> None:
    """End a run that another one replaces, and give that its children; delete it if it is empty."""
    run_id = run.info.run_id
    move_children(client, experiment_id, run_id, kept_id)
    with _done_by_others():
        mark_superseded(client, [run_id])
        if run.info.status == "RUNNING":
            patiently(client.set_terminated, run_id, "KILLED")
        # What a test itself has logged there, no journal has.
        if run.data.tags.get(KIND) == "session" or not _has_data(run):
            patiently(client.delete_run, run_id)


def _set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        patiently(client.set_tag, run_id, key, value)


def mark_superseded(client: MlflowClient, run_ids: Iterable[str]) -> None:
    """Tag runs as superseded by others."""
    for run_id in run_ids:
        patiently(client.set_tag, run_id, KIND, "superseded")


def move_children(client: MlflowClient, experiment_id: str, old_id: str, new_id: str) -> None:
    """Make the children of one run those of another."""
    for run in list(runs_with(client, experiment_id, {PARENT: old_id})):
        with _done_by_others():
            patiently(client.set_tag, run.info.run_id, PARENT, new_id)


def end_session(
    client: MlflowClient,
    run_id: str,
    held: str,
    header: SessionHeader,
    verdict: str,
    status: Status,
    end_time: int,
) -> None:
    """End a session's run, with the verdict behind its name, unless somebody has renamed it.

    ``held`` is the name that it has.
    """
    wanted, is_ours = name_with(verdict, header.name), clean_text(header.name)[:_OF_NAME]
    name = wanted if held != wanted and held.startswith(is_ours) else None
    end: Callable[..., None] = client.set_terminated
    if isinstance(client, StandIn):
        patiently(end, run_id, status, end_time, name)
        return
    if name is not None:
        patiently(client.update_run, run_id, name=name)
    patiently(end, run_id, status, end_time)


def unmerged_note(session_id: str) -> str:
    """Return the description of a run whose shards are not merged yet."""
    return (
        "Shards of one session. What they are as a whole is not known yet:\n\n"
        f"    pytest-mlflow merge --session {session_id}"
    )


def worse_status(status: Status, held: str) -> Status:
    """Return the worse of two statuses; ``held``, the run's own, counts only if it is final."""
    return max(status, held, key=_WORSE.index) if held in _WORSE else status


def tag_new_shard(client: MlflowClient, run_id: str, header: SessionHeader) -> None:
    """Tag the session's run with a running shard, unless it has the shard's tag already."""
    if header.session_id not in shard_states(patiently(client.get_run, run_id).data.tags):
        _set_tags(client, run_id, shard_tags({header.session_id: "running"}))


def end_shard(
    client: MlflowClient, run_id: str, header: SessionHeader, status: Status, end_time: int
) -> None:
    """Tag the session's run with the end of a shard; set the run's status and end so far."""
    state: ShardState = "broken off" if status == "KILLED" else "finished"
    tags = {**shard_tags({header.session_id: state}), **end_tags(None), VERDICT: UNMERGED}
    _set_tags(client, run_id, {**tags, NOTE: unmerged_note(header.joint_id)})
    # Read last, as other shards may have ended it meanwhile.
    info = patiently(client.get_run, run_id).info
    status, end_time = worse_status(status, info.status), max(end_time, info.end_time or 0)
    end_session(client, run_id, info.run_name or "", header, UNMERGED, status, end_time)


@contextlib.contextmanager
def _done_by_others() -> Iterator[None]:
    """Ignore errors of MLflow because another shard has done the same already."""
    try:
        yield
    except Exception as error:
        if code_of(error) is None or passes(error):
            raise
