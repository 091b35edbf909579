"""The one session that a command works with: a directory, an id, or one that MLflow has."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..baseline import BaselineError, Catalog, Query
from ..records import CaseRecord, SessionEnd, SessionHeader, journal
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.journal import Entry
from ..regression.comparison import Comparison
from ..report.json import read_json
from .places import Place, UsageError, session_directory, sessions_root


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSession:
    """A session.

    ``directory`` is where this machine keeps it, None where it does not; ``is_fetched`` tells that
    it was read from MLflow.
    """

    header: SessionHeader
    cases: tuple[CaseRecord, ...]
    end: SessionEnd | None
    place: Place
    directory: SessionDirectory | None
    is_fetched: bool

    def local_comparison(self) -> Comparison | None:
        """Return the comparison that the session ended with, or None where it is not here.

        Raises:
            UsageError: it can't be read.
        """
        if self.directory is None or not self.directory.report.exists():
            return None
        path = self.directory.report
        return comparison_of(path.read_text(encoding="utf-8"), str(path))


def comparison_of(text: str | None, origin: str) -> Comparison | None:
    """Return the comparison that a report.json holds, or None where there is none.

    Raises:
        UsageError: it can't be understood.
    """
    try:
        return None if text is None else read_json(text)
    except ValueError as error:
        raise UsageError(f"{origin}: {error}") from None


def add_session_option(parser: argparse.ArgumentParser) -> None:
    """Declare the option that names the session."""
    parser.add_argument(
        "--session",
        metavar="SESSION",
        help="a session's directory or id, or a form of --mlflow-baseline, such as run:ID; "
        "default: the newest one",
    )


def find_session(options: argparse.Namespace) -> FoundSession:
    """Return the session that the options name; the newest one where they name none.

    Raises:
        UsageError: the options name none that there could be.
        BaselineError: there is no such session.
        JournalError: it can't be read.
    """
    if (directory := _directory(options)) is not None:
        entries = list(journal.read(directory.journal))
        return _found(entries, options, directory, is_file=True)
    place = Place.of(options)
    reference = options.session or f"session:{_newest(place)}"
    is_file = Path(reference.removeprefix("file:")).is_file()
    if not is_file and ":" not in reference and reference not in ("auto", "latest"):
        reference = f"session:{reference}"
    return _found(place.judged(reference), options, None, is_file=is_file)


def _directory(options: argparse.Namespace) -> SessionDirectory | None:
    """Return the directory on this machine that is meant, or None where none is."""
    root = sessions_root()
    if options.session is None:
        elsewhere = options.tracking_uri or options.experiment
        directories = [] if elsewhere else SessionDirectory.find_all(root)
        return directories[-1] if directories else None
    kept = SessionDirectory(root / DIRECTORY_NAME / options.session.removeprefix("session:"))
    if kept.journal.is_file():
        return kept
    path = Path(options.session)
    return session_directory(path) if path.is_dir() else None


def _newest(place: Place) -> str:
    def newest(catalog: Catalog) -> str | None:
        found = next(catalog.newest(Query()), None)
        return None if found is None else found.session_id

    return place.ask(newest, place.request("latest", 1))


def _found(
    entries: Iterable[Entry],
    options: argparse.Namespace,
    directory: SessionDirectory | None,
    *,
    is_file: bool,
) -> FoundSession:
    header: SessionHeader | None = None
    cases: list[CaseRecord] = []
    end: SessionEnd | None = None
    for entry in entries:
        if isinstance(entry, SessionHeader):
            # A file may hold several sessions, the newest at its end.
            header, cases, end = entry, [], None
        elif isinstance(entry, CaseRecord):
            cases.append(entry)
        elif isinstance(entry, SessionEnd):
            end = entry
    if header is None:
        raise BaselineError("there is no session in what was found")
    place = Place.of(options, header)
    if directory is None:
        kept = SessionDirectory(place.root / DIRECTORY_NAME / header.session_id)
        directory = kept if kept.journal.is_file() else None
    return FoundSession(
        header=header,
        cases=tuple(cases),
        end=end,
        place=place,
        directory=directory,
        is_fetched=directory is None and not is_file,
    )
