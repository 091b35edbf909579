"""Find the runs of a session that are in MLflow already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from mlflow import MlflowClient
from mlflow.entities import Run

from ...records import SessionHeader
from ...records.tags import KIND, PARENT, RECORD_ID, SESSION_ID, SHARD
from ..retries import patiently, runs_with
from .shards import unite


@final
@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run of this session that MLflow had before; ``open`` means that it is unfinished.

    ``shard`` is the id of the shard that sent it, ``parent`` the id of the run above it.
    """

    run_id: str
    open: bool
    shard: str | None = None
    parent: str | None = None
    deleted: bool = False


def known_run(run: Run) -> KnownRun:
    """Return what is to be known of a run that MLflow has."""
    active = run.info.lifecycle_stage == "active"
    return KnownRun(
        run.info.run_id,
        open=active and run.info.status == "RUNNING",
        shard=run.data.tags.get(SHARD),
        parent=run.data.tags.get(PARENT),
        deleted=not active,
    )


def case_runs(
    client: MlflowClient, experiment_id: str, header: SessionHeader
) -> dict[str, KnownRun]:
    """Return the runs of the session's cases that MLflow has already, by record id."""
    terms = {SESSION_ID: header.joint_id, KIND: "case"}
    if header.shard is not None:
        # Those that others have replaced are known too: they must not come back.
        terms = {SESSION_ID: header.joint_id, SHARD: header.session_id}
    return {
        run.data.tags[RECORD_ID]: known_run(run) for run in runs_with(client, experiment_id, terms)
    }


def sweep_runs(
    client: MlflowClient, experiment_id: str, header: SessionHeader, parent_id: str
) -> dict[str, Run]:
    """Return the runs of the session's sweeps, by the ids that they have in place of a record's.

    Of those that shards have opened twice, one stays, and all stand below ``parent_id``.
    """
    found: dict[str, list[Run]] = {}
    terms = {SESSION_ID: header.joint_id, KIND: "sweep"}
    for run in runs_with(client, experiment_id, terms):
        found.setdefault(run.data.tags[RECORD_ID], []).append(run)
    sweeps = {key: unite(client, experiment_id, runs) for key, runs in found.items()}
    for run in sweeps.values():
        if run.info.lifecycle_stage == "active" and run.data.tags.get(PARENT) != parent_id:
            # It was made below a run of the session that was one too many.
            patiently(client.set_tag, run.info.run_id, PARENT, parent_id)
    return sweeps
