"""Log the datasets of runs through MLflow's client."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from threading import Lock
from typing import Final, final

from mlflow import MlflowClient
from mlflow.entities import Dataset, InputTag
from mlflow.entities import DatasetInput as MlflowInput

from pytest_mlflow_experiments.records import DatasetInput

from .retries import cause_of, retried

CONTEXT: Final = "mlflow.data.context"
"""The tag of a run's input that holds what the data were used for."""

_RACES: Final = 5


@final
class InputLog:
    """Logs inputs, from several threads too: a dataset that several runs share is made once."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._made: set[tuple[str, str]] = set()
        self._one_at_a_time = Lock()

    def log(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Log the inputs of a run; those that it has already are left as they are."""
        if not inputs:
            return
        entities = [mlflow_input(data) for data in inputs]
        names = {(data.name, data.digest) for data in inputs}
        # MLflow looks for a dataset and then makes it: two at once would make it twice, which the
        # database refuses.
        with nullcontext() if names <= self._made else self._one_at_a_time:
            for race in range(_RACES):
                try:
                    retried(self._client.log_inputs, run_id, entities)
                    break
                except Exception as error:
                    # Another session may have made it at the same moment; then it is found now.
                    if race == _RACES - 1 or cause_of(error) != "data":
                        raise
            self._made |= names


def mlflow_input(data: DatasetInput) -> MlflowInput:
    """Return a dataset as MLflow's client takes it."""
    return MlflowInput(
        Dataset(
            name=data.name,
            digest=data.digest,
            source_type=data.source_type,
            source=data.source,
            schema=data.schema,
            profile=data.profile,
        ),
        [InputTag(CONTEXT, data.context)] if data.context else [],
    )
