"""Find the runs of an experiment by their tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from .retries import retried

_PAGE: Final = 500


def runs_with(
    client: MlflowClient, experiment_id: str, tags: Mapping[str, str], *, view: int = ViewType.ALL
) -> Iterator[Run]:
    """Yield the runs that have these tags; those that somebody has deleted too, by default."""
    filter_string = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    token: str | None = None
    while True:
        page = retried(
            client.search_runs,
            [experiment_id],
            filter_string=filter_string,
            run_view_type=view,
            max_results=_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return
