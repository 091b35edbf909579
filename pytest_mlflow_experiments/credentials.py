"""Credentials within URLs: what they are, and the URL without them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

MASK = "***"

SECRET_IN_QUERY = re.compile(
    r"(?i)([?&][^=&\s]*(?:password|passwd|pwd|token|secret|odbc_connect)[^=&\s]*=)([^&#\s]+)"
)

# The same within a text of any kind, where more is no URL than is.
_USER_IN_TEXT = re.compile(
    r"(?i)(?<=://)[^/?#@:\s'\"<>]*:[^/?#\s'\"<>]*@"
    r"|(?:(?<=http://)|(?<=https://))[^/?#@:\s'\"<>]+@"
)
_QUERY_IN_TEXT = re.compile(
    r"(?i)([?&](?:[\w.-]*[_.-])?(?:password|passwd|pwd|token|secret|api[_-]?key|access[_-]?key|"
    r"credential|sig|signature|odbc_connect)=)([^&#\s'\"<>]+)"
)

_WEB = ("http://", "https://", "git://", "ssh://", "git+ssh://")
_WEB_USER = re.compile(r"(?<=://)([^/?#]*)@")
# SQLAlchemy takes a password as it stands, with what would end the host of a web page's address.
_DATABASE_USER = re.compile(r"(?<=://)([^/?#]*|[^/?#@:]*:[^@]*(?:@[^/?#]*)?)@")


def without_credentials(url: str) -> str:
    """Return the URL without a user and password before its host, or secrets in its query."""
    return SECRET_IN_QUERY.sub(rf"\g<1>{MASK}", _user_pattern(url).sub("", url))


def without_credentials_in_text(text: str) -> str:
    """Return a text with a mask for the credentials of the URLs in it."""
    return _QUERY_IN_TEXT.sub(rf"\g<1>{MASK}", _USER_IN_TEXT.sub(f"{MASK}@", text))


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
