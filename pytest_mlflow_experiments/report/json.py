"""Write and read the comparison as JSON, with the schema ``comparison.schema.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

from ..records.codec import decode, encode
from ..regression.comparison import Comparison
from .headline import headline

SCHEMA_VERSION = 1
KIND = "comparison"

_dump = partial(json.dumps, allow_nan=False)

_MEMBERS = (
    *("session", "baseline", "cases", "duration", "problem", "partial", "gated", "notes"),
    *("mistakes", "interrupted", "exit_status"),
)
_LISTS = ("metrics", "unjudged", "sweeps", "slices", "curves", "guards")


def render_json(comparison: Comparison) -> str:
    """Return the comparison as ASCII JSON; each metric and case is a line.

    ``gate``, ``headline`` and ``counts`` are for other readers; :func:`read_json` ignores them.
    """
    verdict, data = headline(comparison), encode(comparison)
    members = {
        "schema": SCHEMA_VERSION,
        "kind": KIND,
        "gate": verdict.gate,
        "headline": verdict.text,
        "counts": comparison.counts(),
    }
    members |= {name: data[name] for name in _MEMBERS if name in data}
    return json_object(members, {name: data[name] for name in _LISTS})


def json_object(members: Mapping[str, object], lists: Mapping[str, Sequence[object]]) -> str:
    """Return an object as ASCII JSON, one line for each member and each item of a list."""
    lines = [f'"{name}": {_dump(value)}' for name, value in members.items()]
    for name, items in lists.items():
        rows = ",\n  ".join(map(_dump, items))
        lines.append(f'"{name}": [\n  {rows}\n]' if items else f'"{name}": []')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_json(text: str | bytes) -> Comparison:
    """Rebuild a comparison from :func:`render_json`.

    Raises:
        ValueError: the text is not a comparison, or has an unknown version of the schema.
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
