"""Fit keys, values and requests into MLflow's limits, visibly."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..records import Metric

if TYPE_CHECKING:
    from mlflow.entities import Metric as MlflowMetric
    from mlflow.entities import Param, RunTag

KEY_LENGTH = 250
NAME_LENGTH = 250
PARAM_LENGTH = 6_000
TAG_LENGTH = 8_000
VERSION_TAG_LENGTH = 5_000
ENTITIES_PER_BATCH = 1_000
PARAMS_OR_TAGS_PER_BATCH = 100

# The colon is legal on POSIX servers only, so it is left out: a name must not depend on where the
# server runs.
_ILLEGAL_IN_KEY = re.compile(r"[^/\w.\- ]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LARGEST_INTEGER = 2**63 - 1


def clean_text(text: str) -> str:
    """Replace what databases refuse: the null character and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text).replace("\0", "\N{SYMBOL FOR NULL}")


def clean_integer(number: int) -> int:
    """Clamp a step or a timestamp to the range of a 64-bit integer."""
    return max(-_LARGEST_INTEGER, min(number, _LARGEST_INTEGER))


def shorten(text: str, limit: int) -> str:
    """Cut ``text`` to ``limit`` characters; a cut text ends with its original length."""
    if len(text) <= limit:
        return text
    mark = f"… [{len(text)} characters]"
    return text[: limit - len(mark)] + mark


# A session repeats a few keys in every case.
@lru_cache(maxsize=4_096)
def legal_key(key: str) -> str:
    """Return a legal key for ``key``: the same if it is legal already.

    MLflow treats keys as paths, so one that is not a normalised path is illegal too.
    """
    key = _ILLEGAL_IN_KEY.sub("_", clean_text(key))
    if len(key) > KEY_LENGTH:
        mark = f"... {len(key)} characters"
        key = key[: KEY_LENGTH - len(mark)] + mark
    normal = posixpath.normpath(key)
    if normal == key and key != "." and not key.startswith(("..", "/")):
        return key
    parts = ["_" * len(part) if part in (".", "..") else part for part in key.split("/") if part]
    key = "/".join(parts) or "_"
    return f"__{key[2:]}" if key.startswith("..") else key


def legal_keys(
    kind: str, keys: Iterable[str], notes: list[str], *, taken: Iterable[str] = ()
) -> dict[str, str]:
    """Map keys to legal, unique keys.

    A legal key stays as it is; a changed one that would collide with another gets a number. Changes
    are added to the notes; ``kind`` ("param", ...) is for these.
    """
    wanted = {key: legal_key(key) for key in keys}
    used = {*taken, *(key for key, legal in wanted.items() if key == legal)}
    for key, legal in wanted.items():
        if key == legal:
            continue
        name, number = legal, 1
        while name in used:
            number += 1
            suffix = f"_{number}"
            name = legal[: KEY_LENGTH - len(suffix)] + suffix
        used.add(name)
        wanted[key] = name
        notes.append(f"{kind} {shorten(clean_text(key), 100)!r} is stored as {name!r}")
    return wanted


T = TypeVar("T")
Batch: TypeAlias = "tuple[Sequence[Metric], Mapping[str, str], Mapping[str, str]]"
MlflowBatch: TypeAlias = "tuple[Sequence[MlflowMetric], Sequence[Param], Sequence[RunTag]]"

# A server refuses a request of a million bytes. Each of the three parts of one stays well below
# a third of it.
_BYTES = 250_000
_METRICS = ENTITIES_PER_BATCH - 2 * PARAMS_OR_TAGS_PER_BATCH
_BYTES_AROUND = 100


def batches(
    metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]
) -> Iterator[Batch]:
    """Yield the metrics, params and tags of the requests that log everything, in order."""
    none: list[Any] = []
    for some in zip_longest(
        _chunks(((one, one.key) for one in metrics), _METRICS),
        _chunks(((item, item) for item in params.items()), PARAMS_OR_TAGS_PER_BATCH),
        _chunks(((item, item) for item in tags.items()), PARAMS_OR_TAGS_PER_BATCH),
        fillvalue=none,
    ):
        yield some[0], dict(some[1]), dict(some[2])


def entities(
    metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]
) -> MlflowBatch:
    """Return the same for MLflow's client."""
    from mlflow.entities import Metric as MlflowMetric
    from mlflow.entities import Param, RunTag

    return (
        [MlflowMetric(one.key, one.value, one.timestamp, one.step) for one in metrics],
        [Param(*item) for item in params.items()],
        [RunTag(*item) for item in tags.items()],
    )


def _chunks(values: Iterable[tuple[T, object]], limit: int) -> Iterator[list[T]]:
    """Yield lists of at most ``limit`` values and ``_BYTES`` bytes; each comes with its text."""
    chunk: list[T] = []
    size = 0
    for value, text in values:
        length = len(json.dumps(text)) + _BYTES_AROUND
        if chunk and (len(chunk) == limit or size + length > _BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(value)
        size += length
    if chunk:
        yield chunk
