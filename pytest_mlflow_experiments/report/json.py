"""The comparison as JSON with a versioned schema: ``comparison.schema.json`` describes it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..records.codec import decode, encode, encode_float
from ..regression.comparison import Comparison
from .headline import headline

SCHEMA_VERSION = 1
KIND = "comparison"


def render_json(comparison: Comparison) -> str:
    """Return the comparison as ASCII JSON; each metric and case is a line.

    ``gate``, ``headline`` and ``counts`` are there for those who only look; reading the comparison
    back makes nothing of them.
    """
    verdict = headline(comparison)
    baseline = comparison.baseline
    lines = [
        f'"schema": {SCHEMA_VERSION}',
        f'"kind": {_dump(KIND)}',
        f'"gate": {_dump(verdict.gate)}',
        f'"headline": {_dump(verdict.text)}',
        f'"counts": {_dump(comparison.counts())}',
        f'"session": {_dump(encode(comparison.session))}',
        f'"baseline": {"null" if baseline is None else _dump(encode(baseline))}',
        f'"cases": {comparison.cases}',
        f'"duration": {_dump(encode_float(comparison.duration))}',
        f'"problem": {_dump(comparison.problem)}',
        f'"partial": {_dump(comparison.partial)}',
        f'"gated": {_dump(comparison.gated)}',
        f'"notes": {_dump(comparison.notes)}',
        f'"metrics": {_dump_lines(comparison.metrics)}',
        f'"unjudged": {_dump_lines(comparison.unjudged)}',
        f'"sweeps": {_dump_lines(comparison.sweeps)}',
        f'"curves": {_dump_lines(comparison.curves)}',
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_json(text: str | bytes) -> Comparison:
    """Rebuild a comparison from :func:`render_json`.

    Raises:
        ValueError: the text is no comparison, or follows a schema that this version does not know.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a comparison: not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ValueError(f'not a comparison: a JSON object with "kind": "{KIND}" is expected')
    if data.get("schema") != SCHEMA_VERSION:
        raise ValueError(
            f"schema version {data.get('schema')!r} of a comparison is not known; this version of "
            f"pytest-mlflow-experiments reads version {SCHEMA_VERSION}"
        )
    try:
        return decode(Comparison, data)
    except ValueError as error:
        raise ValueError(f"not a comparison: {error}") from error


def _dump(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _dump_lines(items: Iterable[object]) -> str:
    lines = ",\n  ".join(_dump(encode(item)) for item in items)
    return f"[\n  {lines}\n]" if lines else "[]"
