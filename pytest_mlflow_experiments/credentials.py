"""Credentials within URLs: what they are, and the URL without them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

MASK = "***"

SECRET_IN_QUERY = re.compile(
    r"(?i)([?&][^=&\s]*(?:password|passwd|pwd|token|secret|odbc_connect)[^=&\s]*=)([^&#\s]+)"
)

_WEB = ("http://", "https://", "git://", "ssh://", "git+ssh://")
_WEB_USER = re.compile(r"(?<=://)([^/?#]*)@")
# SQLAlchemy takes a password as it stands, with what would end the host of a web page's address.
_DATABASE_USER = re.compile(r"(?<=://)([^/?#]*|[^/?#@:]*:[^@]*(?:@[^/?#]*)?)@")


def without_credentials(url: str) -> str:
    """Return the URL without a user and password before its host, or secrets in its query."""
    return SECRET_IN_QUERY.sub(rf"\g<1>{MASK}", _user_pattern(url).sub("", url))


def secrets_of(url: str) -> Iterator[str]:
    """Yield the secrets of a URL, each as it is written and as it is meant.

    They are the password before the host, or the user where there is no password, and the secrets
    in the query.
    """
    user = _user_pattern(url).search(url)
    found = [match[2] for match in SECRET_IN_QUERY.finditer(url)]
    if user is not None:
        name, colon, password = user[1].partition(":")
        found.append(password if colon else name)
    for secret in found:
        yield secret
        yield unquote(secret)


def _user_pattern(url: str) -> re.Pattern[str]:
    return _WEB_USER if url.lower().startswith(_WEB) else _DATABASE_USER
