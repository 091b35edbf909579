"""Recognise secrets by their names, and remove them from texts and URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, final
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


def secrets_of(url: str) -> Iterator[str]:
    """Yield the secrets of a URL, each percent-encoded and decoded.

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


SHOWN_NODEID: Final = "mlflow_nodeid"
"""The attribute of a report with our node id, if pytest's has a secret or lacks the file."""

SHORTEST: Final = 4
"""The minimum length of a secret: a shorter one would mask ordinary words."""

SHORTEST_IN_ENVIRONMENT: Final = 8

# Pytest cuts long texts, and compares them piece by piece.
_PIECE: Final = 12

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRETS = (
    *("password", "passwords", "passwd", "passphrase", "secret", "secrets", "credential"),
    *("credentials", "authorization", "apikey", "apikeys", "accesskey", "privatekey"),
    *("secretkey", "authtoken", "accesstoken", "apitoken", "refreshtoken", "bearertoken"),
)
_KEYS = frozenset({"api", "access", "private", "secret", "auth", "account", "signing"})
_TOKENS = frozenset({"access", "api", "auth", "bearer", "refresh", "session"})
_COUNTS = frozenset({"n", "num", "number", "max", "min", "per", "total"})
# What machine learning calls a token: a piece of text.
_PIECES_OF_TEXT = _COUNTS | {
    *("pad", "bos", "eos", "unk", "sep", "cls", "mask", "oov", "blank", "special", "start", "end"),
    *("stop", "first", "next", "last", "word", "text", "image", "audio", "video", "prompt"),
    *("target",),
}


@final
@dataclass(frozen=True, slots=True)
class SecretNames:
    """Tells by its name whether a value is a secret.

    Names end with a word such as ``password``, ``token`` or ``api_key``, however the words are
    joined. ``patterns`` are further names, ``exceptions`` names that are none, both in lower case;
    they are patterns of :mod:`fnmatch`, and match a name as it is, its last part after a dot, and
    its words joined by underscores.
    """

    patterns: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> SecretNames:
        """Read names or patterns; those that begin with ``!`` are exceptions.

        Raises:
            ValueError: an exception names nothing.
        """
        patterns: list[str] = []
        exceptions: list[str] = []
        for text in texts:
            pattern = text.removeprefix("!").strip().lower()
            if not pattern:
                raise ValueError(f"expected names or patterns such as *_pin, got {text!r}")
            (exceptions if text.startswith("!") else patterns).append(pattern)
        return cls(tuple(patterns), tuple(exceptions))

    def __call__(self, name: str) -> bool:
        """Return whether ``name`` is that of a secret."""
        return _is_secret(name, self.patterns, self.exceptions)


# A suite has few names, and asks for them in each of its cases.
@lru_cache(maxsize=4_096)
def _is_secret(name: str, patterns: tuple[str, ...], exceptions: tuple[str, ...]) -> bool:
    words: list[str] = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    forms = {name.lower(), name.lower().rpartition(".")[2], "_".join(words)}
    if any(fnmatchcase(form, pattern) for pattern in exceptions for form in forms):
        return False
    if any(fnmatchcase(form, pattern) for pattern in patterns for form in forms):
        return True
    before, last = ["", "", *words][-2:]
    if last in ("key", "keys"):
        return before in _KEYS
    if last == "token":
        return before not in _PIECES_OF_TEXT
    if last == "tokens":
        return before in _TOKENS
    if last == "pwd":
        # By itself it is the working directory.
        return before != ""
    return last.endswith(_SECRETS) and before not in _COUNTS


def environment_secrets(
    names: SecretNames | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return the values of the environment variables whose names are those of secrets.

    The path of an existing file is not a secret itself.
    """
    is_secret = names or SecretNames()
    found = {
        value: None
        for name, value in (os.environ if environ is None else environ).items()
        if len(value) >= SHORTEST_IN_ENVIRONMENT
        and is_secret(name)
        and not (os.path.isabs(value) and os.path.exists(value))  # noqa: PTH110, PTH117
    }
    return tuple(sorted(found, key=len, reverse=True))


def without_environment(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` without the environment's secrets, and the credentials of URLs in it."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    if "://" not in text:
        return text
    return _QUERY_IN_TEXT.sub(rf"\g<1>{MASK}", _USER_IN_TEXT.sub(f"{MASK}@", text))


def forms_of(secret: str) -> Iterator[str]:
    """Yield the spellings of a secret in a text: as it is, as a repr, escaped, line by line."""
    yield secret
    yield repr(secret)[1:-1]
    yield secret.encode("unicode_escape").decode("ascii")
    if "\n" in secret:
        yield from (line for line in secret.splitlines() if len(line) >= _PIECE)


@final
class Mask:
    """Takes known secrets out of texts.

    Args:
        secrets: those too short to distinguish from other text are ignored.
        own: a text that may contain them as ordinary words; one that it contains is masked only
            where no letter is next to it.
        pieces: whether to mask pieces of a secret too, as in a text that was cut.
    """

    def __init__(self, secrets: Iterable[str], *, own: str = "", pieces: bool = False) -> None:
        forms = {form: None for secret in secrets for form in forms_of(secret)}
        known = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        self._whole = [form for form in known if form not in own]
        self._words = [
            re.compile(rf"(?<!\w){re.escape(form)}(?!\w)") for form in known if form in own
        ]
        self._long = [form for form in self._whole if len(form) > _PIECE] if pieces else []

    def __call__(self, text: str) -> str:
        """Return ``text`` without the secrets."""
        for form in self._whole:
            text = text.replace(form, MASK)
        for pattern in self._words:
            text = pattern.sub(MASK, text)
        for form in self._long:
            text = _without_pieces(text, form)
        return text


def _without_pieces(text: str, secret: str) -> str:
    """Return ``text`` without pieces of a secret that are long enough to be no coincidence."""
    start = 0
    while start + _PIECE <= len(secret):
        at = text.find(secret[start : start + _PIECE])
        if at < 0:
            start += 1
            continue
        length = _PIECE
        while text[at : at + length + 1] == secret[start : start + length + 1] and (
            start + length < len(secret)
        ):
            length += 1
        text = f"{text[:at]}{MASK}{text[at + length :]}"
    return text
