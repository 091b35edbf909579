"""Find out quickly whether a tracking server is there at all.

MLflow's own clients retry for minutes on a port that nobody listens on.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

_TIMEOUT = 5.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


@final
@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why nothing can be reached, and whether that may pass by itself."""

    reason: str
    passing: bool


def unreachable(tracking_uri: str) -> Unreachable | None:
    """Return why nothing can be reached at the URI, or None where it can or can't be told.

    One connection is tried, for at most five seconds; nothing is sent.
    """
    try:
        parts = urlsplit(tracking_uri)
        port = parts.port
    except ValueError as error:
        return Unreachable(f"it is malformed ({error})", passing=False)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in _PORTS:
        return None
    if not parts.hostname:
        # A database may be reached through a socket in the file system instead.
        named = scheme not in ("http", "https")
        return None if named else Unreachable("it names no host", passing=False)
    if _behind_proxy(parts):
        return None
    address = parts.hostname, port or _PORTS[scheme]
    try:
        with socket.create_connection(address, timeout=_TIMEOUT):
            return None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        text = f"no connection to {address[0]}:{address[1]} ({reason})"
        return Unreachable(text, passing=isinstance(error, OSError))


def _behind_proxy(parts: SplitResult) -> bool:
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")
