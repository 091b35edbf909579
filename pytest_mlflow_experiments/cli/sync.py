"""``pytest-mlflow sync``: send kept sessions to MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.location import (
    UsageError,
    given_store,
    intended_store,
    session_directory,
    sessions_root,
)
from ..baseline.local import remember_store
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.journal import JournalError
from ..records.reader import read_header
from ..report.numbers import count
from .arguments import command, say


@command(
    "sync",
    {
        "sessions SESSION": (
            "directories of sessions; all below .pytest_mlflow when none is given",
            {"nargs": "*", "type": Path},
        ),
        "--tracking-uri URI": "where to send them; default: MLFLOW_TRACKING_URI, else where each "
        "was meant to go, if sessions of this project were sent there, else where its ini file "
        "says",
    },
)
def run(options: argparse.Namespace) -> int:
    """Send sessions to MLflow.

    Send sessions that MLflow doesn't have, or only in part. Sending twice is harmless.
    """
    directories = [session_directory(path) for path in options.sessions] or [
        directory
        for directory in SessionDirectory.find_all(sessions_root())
        if not directory.is_sent and not directory.is_blank
    ]
    if not directories:
        say(f"Nothing to send in {sessions_root() / DIRECTORY_NAME}.")
        return 0
    # Only here, for it loads mlflow, which takes seconds.
    from ..tracker.main import sync

    root, given = sessions_root(), given_store(options.tracking_uri)
    failures = 0
    for directory in directories:
        try:
            uri = given or _intended(root, directory)
            state = sync(directory, tracking_uri=uri)
            problem = state.error
        except (JournalError, UsageError) as error:
            problem = str(error)
        if problem is None:
            cases = count(state.sent, "case is", "cases are")
            say(f"{directory.session_id}: {cases} in experiment {state.experiment_name!r}")
        else:
            failures += 1
            say(f"{directory.session_id}: not sent: {problem}")
    if given is not None:
        remember_store(root, given)
    return 1 if failures else 0


def _intended(root: Path, directory: SessionDirectory) -> str:
    header = read_header(directory.journal)
    if header is None:
        raise JournalError(f"{directory.journal} has no header: it is empty")
    return intended_store(root, header, directory)
