"""Fetch the shards of a session from MLflow, to put them together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from pytest_mlflow_experiments.shards import MergeError

from .connection import open_store
from .errors import TrackerError, reason_of
from .joint import SHARDS, states
from .projection import KIND, SESSION_ID
from .redaction import Redactor
from .retries import retried

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
                Path(retried(download, run.info.run_id, f"{SHARDS}/{shard}.jsonl", str(directory)))
                for shard, run in ended.items()
            ),
            running=tuple(found.keys() - ended.keys()),
        )
    except MergeError:
        raise
    except Exception as error:
        raise MergeError(
            f"no answer from {store.shown_uri} for the shards of {session_id!r}: "
            f"{redact(reason_of(error))}"
        ) from error
