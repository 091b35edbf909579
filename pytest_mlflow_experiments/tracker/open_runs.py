"""The runs that tests opened in MLflow themselves, and did not live to end."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pytest_mlflow_experiments.records import SessionHeader

from .projection import KIND, PARENT, SESSION_ID, SHARD
from .retries import retried

_MOST = 1_000


def open_runs(client: MlflowClient, experiment_id: str, header: SessionHeader) -> list[Run]:
    """Return the unfinished runs of a session's cases, and those that tests nested below them."""
    since = max(0, header.start_time)
    found = retried(
        client.search_runs,
        [experiment_id],
        filter_string=f"attributes.status = 'RUNNING' and attributes.start_time >= {since}",
        max_results=_MOST,
    )
    known: dict[str, bool] = {}
    return [
        run
        for run in found
        if run.data.tags.get(KIND) != "session" and _belongs(client, run, header, known)
    ]


def _belongs(
    client: MlflowClient, run: Run | None, header: SessionHeader, known: dict[str, bool]
) -> bool:
    """Tell whether a run, or one that it is nested below, is the session's."""
    above: list[str] = []
    verdict = False
    while run is not None and run.info.run_id not in above:
        run_id = run.info.run_id
        above.append(run_id)
        tags = run.data.tags
        if run_id in known or header.session_id in (tags.get(SESSION_ID), tags.get(SHARD)):
            verdict = known.get(run_id, True)
            break
        run = _parent(client, run)
    known.update(dict.fromkeys(above, verdict))
    return verdict


def _parent(client: MlflowClient, run: Run) -> Run | None:
    parent_id = run.data.tags.get(PARENT)
    if not parent_id:
        return None
    try:
        return retried(client.get_run, parent_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
