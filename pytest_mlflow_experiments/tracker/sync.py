"""Send a session later than its own tracker could."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pytest_mlflow_experiments.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.journal import JournalError, JournalTail, ends, is_being_written
from pytest_mlflow_experiments.records import SessionHeader

from .errors import SessionBusyError
from .main import project

_WINDOWS_PATH = re.compile(r"(sqlite(\+\w+)?:///|file:/*)?[A-Za-z]:[\\/]")


def sync(directory: SessionDirectory, *, tracking_uri: str | None = None) -> SessionState:
    """Bring a session into MLflow, at ``tracking_uri`` or where it was meant to go.

    A session that MLflow has in part is completed; doing it twice changes nothing. One that still
    runs, or that a tracker is still at work on, is left alone, and reported as failed.

    Raises:
        JournalError: the journal does not tell where the session was meant to go.
    """
    directory = SessionDirectory(directory.path.absolute())
    tracking_uri = tracking_uri or _intended_uri(directory)
    if is_being_written(directory.journal) and not ends(directory.journal):
        return SessionState(phase="failed", error="It still runs.")
    before = Path.cwd()
    # The session's own tracker ran here, and MLflow takes relative places of artifacts from here.
    os.chdir(directory.path.parents[1])
    try:
        return project(directory, tracking_uri=tracking_uri)
    except SessionBusyError as error:
        return SessionState(phase="failed", error=str(error))
    finally:
        os.chdir(before)


def _intended_uri(directory: SessionDirectory) -> str:
    tail = JournalTail(directory.journal)
    entries = tail.read_new(1)
    if entries and isinstance(entries[0], SessionHeader):
        uri = entries[0].tracking_uri
        if os.name != "nt" and _WINDOWS_PATH.match(uri):
            raise JournalError(f"{uri} is a place on Windows; say where to, with --tracking-uri")
        return uri
    damage = tail.damaged[0] if tail.damaged else "it is empty"
    raise JournalError(f"{directory.journal} has no header: {damage}")
