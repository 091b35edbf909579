"""Cut what is to be logged into requests that a tracking server takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias, TypeVar

from mlflow.entities import Metric as MlflowMetric
from mlflow.entities import Param, RunTag

from pytest_mlflow_experiments.records import Metric

from .limits import ENTITIES_PER_BATCH, PARAMS_OR_TAGS_PER_BATCH

T = TypeVar("T")
Batch: TypeAlias = tuple[Sequence[MlflowMetric], Sequence[Param], Sequence[RunTag]]

# A server refuses a request of a million bytes. Each of the three parts of one stays well below
# a third of it.
_BYTES = 250_000
_METRICS = ENTITIES_PER_BATCH - 2 * PARAMS_OR_TAGS_PER_BATCH
_BYTES_AROUND = 100


def batches(
    metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]
) -> Iterator[Batch]:
    """Yield the arguments of the ``log_batch`` calls that log everything, in order."""
    none: list[Any] = []
    yield from zip_longest(
        _chunks(
            (
                (MlflowMetric(metric.key, metric.value, metric.timestamp, metric.step), metric.key)
                for metric in metrics
            ),
            _METRICS,
        ),
        _chunks(((Param(*item), item) for item in params.items()), PARAMS_OR_TAGS_PER_BATCH),
        _chunks(((RunTag(*item), item) for item in tags.items()), PARAMS_OR_TAGS_PER_BATCH),
        fillvalue=none,
    )


def _chunks(entities: Iterable[tuple[T, object]], limit: int) -> Iterator[list[T]]:
    """Yield lists of at most ``limit`` entities, and of few enough bytes; each has its text."""
    chunk: list[T] = []
    size = 0
    for entity, text in entities:
        length = len(json.dumps(text)) + _BYTES_AROUND
        if chunk and (len(chunk) == limit or size + length > _BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entity)
        size += length
    if chunk:
        yield chunk
