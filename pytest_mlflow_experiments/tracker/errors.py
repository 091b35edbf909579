"""The tracker's errors, and their texts for the user."""

from __future__ import annotations

import re
from typing import Any, Final

from .limits import shorten

_REASON_LENGTH = 1_000

LOGIN: Final = "is there a login in front of the server?"
ASKED_PAUSE: Final = "a pause of {} seconds"
_ASKED_PAUSE = re.compile(ASKED_PAUSE.format(r"(\d+)"))

_FULL = re.compile(
    r"No space left on device|database or disk is full|Disk quota exceeded|Insufficient Storage"
    r"|StorageFull|QuotaExceeded|\bENOSPC\b|\bDiskFull\b|the table '\S+' is full",
    re.IGNORECASE,
)
_CODED = re.compile(r"[A-Z]+(?:_[A-Z]+)+: (?=it |its |the answer |the server's )")

# What MLflow says of an answer that it can't use, or does not get, is a paragraph with the whole
# page in it; these are the words of it that matter.
_HTTP = "API request to "
_PLAINLY = (
    (r"not in a valid JSON format\. Response body: '\s*<", f"the answer is a web page: {LOGIN}"),
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


class StoreError(Exception):
    """A database refuses something; ``error_code`` is what MLflow's own error would have."""

    def __init__(self, text: str, error_code: str) -> None:
        super().__init__(text)
        self.error_code = error_code


def code_of(error: BaseException) -> str | None:
    """Return MLflow's code of an error; None if it is not one of MLflow's."""
    code = getattr(error, "error_code", None)
    return code if isinstance(code, str) else None


class MergeError(Exception):
    """Shards can't be merged into one session; the text is for the user."""


def pause_asked(text: str) -> float | None:
    """Return the seconds that a server has asked to wait, as an error tells; None if it did not."""
    found = _ASKED_PAUSE.search(text)
    return float(found[1]) if found else None


def reason_of(error: BaseException) -> str:
    """Return the text of an error, on one line and without a full stop."""
    # A database's own words are clearer than SQLAlchemy's, which repeat the whole statement.
    said = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
    text = " ".join(str(said).split()).removesuffix(".")
    response = getattr(error, "response", None)
    if hasattr(response, "status_code"):
        text = _answered(response)
    elif text.startswith(_HTTP):
        for pattern, plain in _PLAINLY:
            if found := re.search(pattern, text):
                text = found.expand(plain).rstrip("'\" ").removesuffix(".")
                break
    text = _CODED.sub("", text, count=1)
    # A value that MLflow refuses may speak of anything.
    is_refused = code_of(error) == "INVALID_PARAMETER_VALUE"
    if not is_refused and "make room" not in text and (full := _FULL.search(text)):
        file = getattr(error, "filename", None)
        place = "that MLflow writes to" if file is None else f"of {file}"
        text = f"the disk {place} is full ({full[0]}): make room there"
    return shorten(text, _REASON_LENGTH) or type(error).__name__


def _answered(response: Any) -> str:
    """Return the words of a server for an error of requests."""
    try:
        return " ".join(str(response.json()["message"]).split()).removesuffix(".")
    except (ValueError, KeyError, TypeError):
        said = " ".join(response.text.split())
        text = f"it answers with status {response.status_code}"
        return text if said.startswith("<") or not said else f"{text}: {said[:120]}"
