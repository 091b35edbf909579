"""Write and read the comparison as JSON, with the schema ``comparison.schema.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..records.codec import decode, encode
from ..records.json_text import json_text
from ..regression.comparison import Comparison
from ..regression.sweeps.model import Sweep
from .headline import headline

SCHEMA_VERSION = 1
KIND = "comparison"

_dump = json.JSONEncoder(allow_nan=False).encode

_MEMBERS = (
    *("session", "baseline", "cases", "duration", "problem", "partial", "gated", "notes"),
    *("mistakes", "interrupted", "exit_status"),
)
_LISTS = ("metrics", "unjudged", "sweeps", "slices", "curves", "guards", "reliability")


def render_json(comparison: Comparison) -> str:
    """Return the comparison as ASCII JSON; each metric and case is a line.

    ``gate``, ``headline`` and ``counts`` are for other readers; :func:`read_json` ignores them.
    """
    return "".join(stream_json(comparison))


def stream_json(comparison: Comparison) -> Iterator[str]:
    """Yield the text of :func:`render_json` in small pieces."""
    verdict = headline(comparison)
    none: dict[str, Any] = dict.fromkeys(_LISTS, ())
    data = encode(replace(comparison, **none))
    members = {
        "schema": SCHEMA_VERSION,
        "kind": KIND,
        "gate": verdict.gate,
        "headline": verdict.text,
        "counts": comparison.counts(),
    }
    members |= {name: data[name] for name in _MEMBERS if name in data}
    lists = {name: map(_item, getattr(comparison, name)) for name in _LISTS}
    return _object(members, lists)


def _item(item: object) -> Iterator[str]:
    """Yield a line for one item of a list; a sweep, which may be large, in pieces."""
    if not isinstance(item, Sweep) or not item.configurations:
        yield _text(item)
        return
    # The only member of this name, for quotes within texts are escaped.
    name = '"configurations": ['
    before, _, after = _text(replace(item, configurations=())).partition(f"{name}]")
    yield f"{before}{name}"
    for number, one in enumerate(item.configurations):
        yield f"{', ' if number else ''}{_text(one)}"
    yield f"]{after}"


def _text(item: object) -> str:
    try:
        return json_text(item, " ")
    except (TypeError, AttributeError):
        # Something is not of its field's type, which may be JSON all the same.
        return _dump(encode(item))


def json_object(members: Mapping[str, object], lists: Mapping[str, Iterable[object]]) -> str:
    """Return an object as ASCII JSON, one line for each member and each item of a list."""
    dumped = {name: ((_dump(item),) for item in items) for name, items in lists.items()}
    return "".join(_object(members, dumped))


def _object(
    members: Mapping[str, object], lists: Mapping[str, Iterable[Iterable[str]]]
) -> Iterator[str]:
    yield "{\n" + ",\n".join(f'"{name}": {_dump(value)}' for name, value in members.items())
    for name, items in lists.items():
        yield f',\n"{name}": ['
        separator, end = "\n  ", ""
        for item in items:
            yield separator
            yield from item
            separator, end = ",\n  ", "\n"
        yield f"{end}]"
    yield "\n}\n"


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
