"""What the tracker says when it can't go on."""

from __future__ import annotations

from .limits import shorten

_REASON_LENGTH = 1_000


class TrackerError(Exception):
    """A session can't be brought into MLflow; the text is one sentence for the user."""


class SessionBusyError(TrackerError):
    """Another process is bringing this session into MLflow right now."""


def reason_of(error: BaseException) -> str:
    """Return what an error says, on one line and without a full stop."""
    # A database's own words are clearer than SQLAlchemy's, which repeat the whole statement.
    text = " ".join(str(getattr(error, "orig", None) or error).split()).removesuffix(".")
    return shorten(text, _REASON_LENGTH) or type(error).__name__
