"""Sessions that MLflow has not got, and that nobody is sending."""

from __future__ import annotations

from pathlib import Path

from .directory import SessionDirectory, SessionState
from .processes import is_running


def backlog(root: Path, *, besides: str) -> str | None:
    """Return a line that tells how many sessions below ``root`` wait to be sent, if any do.

    ``besides`` is the id of one that does not count.
    """
    number = sum(
        directory.session_id != besides
        and not directory.is_blank
        and not _is_cared_for(SessionState.read(directory.state))
        for directory in SessionDirectory.find_all(root)
    )
    if not number:
        return None
    text = "1 earlier session is" if number == 1 else f"{number} earlier sessions are"
    return f"{text} not in MLflow yet; send what is left with: pytest-mlflow sync"


def _is_cared_for(state: SessionState | None) -> bool:
    """Tell whether MLflow has the session, or a tracker is at work on it."""
    if state is None or state.phase == "failed":
        return False
    return state.phase == "done" or (state.pid is not None and is_running(state.pid))
