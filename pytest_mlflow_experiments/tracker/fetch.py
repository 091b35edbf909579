"""Fetch the shards of a session from MLflow, to put them together."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pytest_mlflow_experiments.shards import MergeError

from .connection import open_store
from .errors import TrackerError, reason_of
from .joint import SHARDS, states
from .projection import KIND, SESSION_ID
from .redaction import Redactor
from .retries import retried

_ENDED: Final = frozenset({"finished", "broken off", "merged"})


def fetch_shards(
    tracking_uri: str,
    session_id: str,
    directory: Path,
    *,
    experiment_name: str | None,
    experiment_id: str | None,
) -> list[Path]:
    """Download the journals of a session's shards into ``directory``, and return their paths.

    Raises:
        MergeError: MLflow can't be reached, has no such session, or one of its shards has not
            ended yet.
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
        raise MergeError(f"there is no {place} yet")
    client = store.client
    try:
        runs = retried(
            client.search_runs,
            [experiment.experiment_id],
            filter_string=f"tags.`{SESSION_ID}` = '{session_id}' and tags.`{KIND}` = 'session'",
        )
        found = {
            shard: (run, state) for run in runs for shard, state in states(run.data.tags).items()
        }
        if not found:
            raise MergeError(f"there is no shard of session {session_id!r} in {place}")
        if running := [shard for shard, (_, state) in found.items() if state not in _ENDED]:
            raise MergeError(
                f"shard {running[0]} of session {session_id!r} has not ended yet, or not sent "
                "everything; wait for it, or send what it kept with `pytest-mlflow sync`"
            )
        return [
            Path(
                retried(
                    client.download_artifacts,
                    run.info.run_id,
                    f"{SHARDS}/{shard}.jsonl",
                    str(directory),
                )
            )
            for shard, (run, _) in found.items()
        ]
    except MergeError:
        raise
    except Exception as error:
        raise MergeError(
            f"no answer from {store.shown_uri} for the shards of {session_id!r}: "
            f"{redact(reason_of(error))}"
        ) from error
