"""The data that a test logs, as MLflow names datasets: within its limits, and without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..records import DatasetInput
from .dataset import dataset_name, has_own_digest
from .dataset_schema import described
from .secrets import masked_input

_NAME_LENGTH: Final = 500
_DIGEST_LENGTH: Final = 36
_TYPE_LENGTH: Final = 36

MAX_TEXT: Final = 32_000
"""MLflow takes 65,535 characters and more, but each case has the text in its line."""

_WITH_FILES: Final = json.dumps({"holds_files": True})
"""The source, until the test stands in it, of data that are no file but have some within."""


def dataset_input(
    data: Any, digest: str, *, name: str | None = None, context: str | None = None
) -> tuple[DatasetInput, list[str]]:
    """Return data as a dataset, and notes of what had to be left out.

    Args:
        data: what has the digest.
        digest: the digest of the content.
        name: the dataset's name; else the one that it has itself, a file's name, or ``dataset``.
        context: what the data are used for.
    """
    own = _own_fields(data)
    own_name = data.name if isinstance(data, Path) and data.name else dataset_name(data)
    shown = _short(name or own_name, _NAME_LENGTH)
    notes: list[str] = []

    def kept(what: str, text: str | None) -> str | None:
        if text is not None and len(text) > MAX_TEXT:
            notes.append(
                f"dataset {shown!r}: its {what} is left out, for it has {len(text):,} characters"
            )
            return None
        return text

    if own is None:
        schema, profile = described(data)
        is_file = isinstance(data, Path)
        own = {
            "source_type": "local" if is_file else "code",
            "source": json.dumps({"uri": str(data)}) if is_file else _source_of(data),
            "schema": schema,
            "profile": profile,
        }
    source = kept("source", own.get("source"))
    return DatasetInput(
        name=shown,
        digest=_short(digest, _DIGEST_LENGTH),
        source_type=_short(own.get("source_type") or "code", _TYPE_LENGTH),
        source="{}" if source is None else source,
        schema=kept("schema", own.get("schema")),
        profile=kept("profile", own.get("profile")),
        context=None if context is None else _short(context, _NAME_LENGTH),
    ), notes


def finished_input(
    data: DatasetInput, nodeid: str, without_secrets: Callable[[str], str]
) -> DatasetInput:
    """Return a dataset whose source, where it has none of its own, is the test; without secrets."""
    source = data.source
    if source in ("", _WITH_FILES):
        test = {"mlflow.source.name": nodeid.partition("[")[0], "mlflow.source.type": "LOCAL"}
        source = json.dumps({"tags": test, **json.loads(source or "{}")})
    return masked_input(replace(data, source=source), without_secrets)


def holds_files(data: DatasetInput) -> bool:
    """Tell whether data are a list, tuple or dict that had files in it, read for the digest."""
    try:
        return data.source_type == "code" and "holds_files" in json.loads(data.source)
    except (ValueError, TypeError):
        return False


def _source_of(data: Any) -> str:
    return _WITH_FILES if _has_paths(data) else ""


def _has_paths(data: Any) -> bool:
    if isinstance(data, Mapping):
        data = [*data, *data.values()]
    elif not isinstance(data, (list, tuple)):
        return isinstance(data, Path)
    # Long lists mostly hold values of one kind.
    kinds = set(map(type, data))
    if not any(issubclass(kind, (Path, Mapping, list, tuple)) for kind in kinds):
        return False
    return any(map(_has_paths, data))


def _own_fields(data: Any) -> dict[str, str | None] | None:
    """Return what a dataset of MLflow's says of itself."""
    if not has_own_digest(data):
        return None
    try:
        fields = data.to_dict()
        return {name: text for name, text in fields.items() if isinstance(text, str)}
    except Exception:  # noqa: BLE001 - code of the dataset, for which no test fails
        return {"source": ""}


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
