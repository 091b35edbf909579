"""Send a session later than its own tracker could."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_mlflow_experiments.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.journal import JournalError, JournalTail
from pytest_mlflow_experiments.records import SessionHeader

from .errors import SessionBusyError
from .main import project


def sync(directory: SessionDirectory, *, tracking_uri: str | None = None) -> SessionState:
    """Bring a session into MLflow, at ``tracking_uri`` or where it was meant to go.

    A session that MLflow has in part is completed; doing it twice changes nothing. A tracker that
    is still at work is left alone, and its session reported as failed.

    Raises:
        JournalError: the journal does not tell where the session was meant to go.
    """
    directory = SessionDirectory(directory.path.absolute())
    tracking_uri = tracking_uri or _intended_uri(directory)
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
        return entries[0].tracking_uri
    damage = tail.damaged[0] if tail.damaged else "it is empty"
    raise JournalError(f"{directory.journal} has no header: {damage}")
