"""The tracker's errors, and their texts for the user."""

from __future__ import annotations

import re

from .limits import shorten

_REASON_LENGTH = 1_000

# What MLflow says of an answer that it can't use, or does not get, is a paragraph with the whole
# page in it; these are the words of it that matter.
_HTTP = "API request to "
_PLAINLY = (
    (r"too many (\d+) error responses", r"it answers with status \1"),
    (
        r"failed with error code (\d+) != 200\. Response body: '([^<]{1,120}).*",
        r"it answers with status \1: \2",
    ),
    (r"failed with error code (\d+) != 200", r"it answers with status \1"),
    (r"response body was not in a valid JSON format", "its answer is not JSON"),
    (r"\bread timeout=([\d.]+)", r"no answer within \1 seconds"),
    (r"\bconnect timeout=([\d.]+)", r"no connection within \1 seconds"),
    (r"BadStatusLine", "its answer is not HTTP"),
    (r"Connection refused", "Connection refused"),
    (r"RemoteDisconnected|Connection reset by peer", "it closed the connection without an answer"),
)


class TrackerError(Exception):
    """A session can't be sent to MLflow; the text is one sentence for the user.

    ``passing`` tells whether the error may be temporary, so that a retry is worthwhile.
    """

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


class NoDatabaseError(TrackerError):
    """The tracking store is a database file that does not exist yet."""


class SessionBusyError(TrackerError):
    """Another process is sending this session to MLflow right now."""


class MergeError(Exception):
    """Shards can't be merged into one session; the text is for the user."""


def reason_of(error: BaseException) -> str:
    """Return the text of an error, on one line and without a full stop."""
    # A database's own words are clearer than SQLAlchemy's, which repeat the whole statement.
    said = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
    text = " ".join(str(said).split()).removesuffix(".")
    if text.startswith(_HTTP):
        for pattern, plain in _PLAINLY:
            if found := re.search(pattern, text):
                text = found.expand(plain).rstrip("'\" ").removesuffix(".")
                break
    return shorten(text, _REASON_LENGTH) or type(error).__name__
