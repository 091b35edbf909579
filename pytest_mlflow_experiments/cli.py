"""The command ``pytest-mlflow``: what can be done with sessions outside of a pytest run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .directory import DIRECTORY_NAME, SessionDirectory
from .journal import JournalError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 where something could not be done, 2 misuse."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except UsageError as error:
        print(f"pytest-mlflow: {error}", file=sys.stderr)  # noqa: T201
        return 2


class UsageError(Exception):
    """The command can't be carried out as given; the message says why and what would be right."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-mlflow", description="Work with the sessions that pytest --mlflow kept."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    sync = commands.add_parser(
        "sync",
        help="send kept sessions to MLflow",
        description="Send sessions that MLflow has not, or not wholly. Sending twice is harmless.",
    )
    sync.add_argument(
        "sessions",
        nargs="*",
        type=Path,
        metavar="SESSION",
        help="directories of sessions; all below .pytest_mlflow when none is given",
    )
    sync.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="where to send them; default: MLFLOW_TRACKING_URI, else where each was meant to go",
    )
    sync.set_defaults(command=_sync)
    return parser


def _sync(options: argparse.Namespace) -> int:
    directories = [_session(path) for path in options.sessions] or [
        directory for directory in SessionDirectory.find_all(_root()) if not directory.is_sent
    ]
    if not directories:
        _say(f"Nothing to send in {_root() / DIRECTORY_NAME}.")
        return 0
    # Only here, for it loads mlflow, which takes seconds.
    from .tracker.sync import sync

    uri = options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    failures = 0
    for directory in directories:
        try:
            state = sync(directory, tracking_uri=uri)
            problem = state.error
        except JournalError as error:
            problem = str(error)
        if problem is None:
            cases = "1 case is" if state.sent == 1 else f"{state.sent} cases are"
            _say(f"{directory.session_id}: {cases} in experiment {state.experiment_name!r}")
        else:
            failures += 1
            _say(f"{directory.session_id}: not sent: {problem}")
    return 1 if failures else 0


def _root() -> Path:
    """Return the directory that keeps sessions: this one, or the next one above that does."""
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / DIRECTORY_NAME).is_dir()), here)


def _session(path: Path) -> SessionDirectory:
    directory = SessionDirectory(path)
    if not directory.journal.is_file():
        raise UsageError(f"{path} is not the directory of a session: it has no journal.jsonl")
    return directory


def _say(text: str) -> None:
    print(text)  # noqa: T201
