"""What a session asks for when it wants to be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..records import decode, encode

HISTORY = 20
"""How many sessions a baseline has at most, where nothing else is said."""


class BaselineError(Exception):
    """A baseline can't be had; the text is for the user."""


class NothingYetError(BaselineError):
    """There is no baseline yet, as before the first session; nothing is wrong."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRequest:
    """Which baseline is wanted, and for which session.

    ``spec`` is the user's text, ``history`` the largest number of sessions. ``session_id`` and
    ``start_time`` (milliseconds since the epoch) are those of the session to be compared, which
    never is part of its own baseline, and neither are later ones; both are None where any session
    will do. ``selection`` is what was asked for on pytest's command line: sessions with the same
    are preferred, for theirs are the same cases.
    """

    spec: str = "auto"
    history: int = HISTORY
    branch: str | None = None
    base_branch: str | None = None
    selection: tuple[str, ...] | None = None
    session_id: str | None = None
    start_time: int | None = None

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(encode(self))

    @classmethod
    def from_json(cls, text: str) -> BaselineRequest:
        """Rebuild a request from :meth:`to_json`.

        Raises:
            BaselineError: the text is no request.
        """
        try:
            # The constructor refuses unknown members, the codec what is of a wrong type.
            return decode(cls, encode(cls(**json.loads(text))))
        except (ValueError, TypeError) as error:
            raise BaselineError(f"not a request for a baseline: {error}") from error

    def write(self, path: Path) -> None:
        """Put the request at ``path``, before a tracker is started that is to answer it."""
        path.touch(mode=0o600)
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> BaselineRequest | None:
        """Return the request at ``path``, or None where nothing is requested.

        Raises:
            BaselineError: the file is no request.
        """
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
