"""The datasets of a case, within MLflow's limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_mlflow_experiments.records import DatasetInput

from .limits import clean_text, shorten

_NAME = 500
_DIGEST = 36
_SOURCE_TYPE = 36
_SOURCE = 65_535
_DESCRIPTION = 1_000_000
_CONTEXT = 500


def fit_inputs(inputs: Iterable[DatasetInput], notes: list[str]) -> tuple[DatasetInput, ...]:
    """Return each dataset once; what is too long to be cut is left out, and noted.

    MLflow knows a dataset by its name and digest.
    """
    fitted: dict[tuple[str, str], DatasetInput] = {}
    for data in inputs:
        one = replace(
            data,
            name=shorten(clean_text(data.name), _NAME),
            digest=clean_text(data.digest)[:_DIGEST],
            source_type=shorten(clean_text(data.source_type), _SOURCE_TYPE),
            source=_whole("source", data, data.source, _SOURCE, notes) or "{}",
            schema=_whole("schema", data, data.schema, _DESCRIPTION, notes),
            profile=_whole("profile", data, data.profile, _DESCRIPTION, notes),
            context=shorten(clean_text(data.context), _CONTEXT) if data.context else None,
        )
        fitted.setdefault((one.name, one.digest), one)
    return tuple(fitted.values())


def _whole(
    what: str, data: DatasetInput, text: str | None, limit: int, notes: list[str]
) -> str | None:
    """Return a JSON text, or None where it is too long: half of one can't be read."""
    if text is None or len(text) <= limit:
        return None if text is None else clean_text(text)
    name = shorten(data.name, 100)
    notes.append(f"the {what} of dataset {name!r} is left out, for its {len(text)} characters")
    return None
