"""Baselines of sessions on this machine, which are read where they are."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..records import Provenance, journal
from ..records.codec import decode, encode
from ..records.directory import SessionDirectory, write_private
from ..records.journal import JournalError
from ..records.processes import without_collector
from ..regression.values import Sessions, collect_values
from .choice import Catalog, choose
from .files import take_sessions
from .kept_values import ValuesReader
from .specs import BaselineRequest, parse_spec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBaseline:
    """A baseline of sessions on this machine, which are read where they are.

    ``journals`` are the paths of their journals, the oldest first, those ahead of all others.
    """

    provenance: Provenance
    journals: tuple[str, ...]


def choose_local(
    request: BaselineRequest, catalog: Catalog, path: Path, seed_params: AbstractSet[str]
) -> bool:
    """Choose the requested sessions and write which they are to ``path``; return False without any.

    Raises:
        BaselineError: there is no such session, or none of the journals can be read.
        ValueError: the request's text is no legal one.
        OSError: the file can't be written.
    """
    choice = choose(parse_spec(request.spec), request, catalog)
    if choice is None:
        return False
    reader = ValuesReader(seed_params)
    journals: list[str] = []

    def take(source: Path, _: bool) -> str | None:
        if not reader.has(source):
            try:
                reader.read(source)
            except (OSError, JournalError) as error:
                return str(error)
        journals.append(str(source))
        return None

    made = take_sessions(choice, catalog, take)
    local = LocalBaseline(provenance=made.provenance, journals=tuple(journals))
    write_private(path, json.dumps(encode(local)))
    return True


def read_baseline(directory: SessionDirectory, reader: ValuesReader) -> Sessions:
    """Return the values of the baseline of a session.

    Raises:
        JournalError: it can't be understood.
        OSError: it can't be read.
    """
    try:
        local = decode(LocalBaseline, json.loads(directory.local_baseline.read_bytes()))
    except FileNotFoundError:
        return collect_values(journal.read_slim(directory.baseline), reader.seed_params)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"{directory.local_baseline}: {error}") from error
    found = Sessions(provenance=local.provenance)
    with without_collector():
        for path in local.journals:
            try:
                session = reader.read(Path(path), curves=path == local.journals[-1])
            except JournalError as error:
                raise JournalError(f"{path}: {error}") from error
            is_ahead = session.header.session_id in local.provenance.ahead
            (found.ahead if is_ahead else found.sessions).append(session)
    return found
