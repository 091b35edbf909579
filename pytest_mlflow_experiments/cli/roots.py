"""Where the sessions on this machine are."""

from __future__ import annotations

from pathlib import Path

from ..directory import DIRECTORY_NAME, SessionDirectory
from .errors import UsageError


def sessions_root() -> Path:
    """Return the directory that keeps sessions: this one, or the next one above that does."""
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / DIRECTORY_NAME).is_dir()), here)


def default_store(root: Path) -> str:
    """Return the URI of the tracking store of a project that has named none."""
    return f"sqlite:///{root.as_posix()}/mlflow.db"


def session_directory(path: Path) -> SessionDirectory:
    """Return the session in a directory.

    Raises:
        UsageError: there is none.
    """
    directory = SessionDirectory(path)
    if not directory.journal.is_file():
        raise UsageError(f"{path} is not the directory of a session: it has no journal.jsonl")
    return directory
