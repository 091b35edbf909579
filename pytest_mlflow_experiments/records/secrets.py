"""Find secrets in URLs and the environment, and remove them from texts."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final, final
from urllib.parse import quote, quote_plus, unquote

from .secret_names import SecretNames as SecretNames

MASK = "***"

SHOWN_NODEID: Final = "mlflow_nodeid"
"""The attribute of a report with our node id, if pytest's has a secret or lacks the file."""

SHORTEST: Final = 4
"""The minimum length of a secret: a shorter one would mask ordinary words."""

SHORTEST_IN_ENVIRONMENT: Final = 8

# Pytest cuts long texts, and compares them piece by piece.
_PIECE: Final = 12

_QUERY_NAME = (
    r"(?:[\w.-]*[_.-])?(?:password|passwd|pwd|token|secret|api[_-]?key|access[_-]?key|"
    r"credential|sig|signature|odbc_connect)"
)
SECRET_IN_QUERY = re.compile(
    rf"(?i)([?&](?:{_QUERY_NAME}|[^=&\s]*(?:password|passwd|pwd|token|secret)[^=&\s]*)=)([^&#\s]+)"
)

_USER_AND_PASSWORD = r"(?<=://)[^/?#@:\s'\"<>]*:[^/?#\s'\"<>]*@"
# Only of web pages: in the URL of a database or of git it is a name.
_USER_ALONE = r"(?:(?<=http://)|(?<=https://))[^/?#@:\s'\"<>]+@"
# The same within a text of any kind, where more is no URL than is.
_USER_IN_TEXT = re.compile(rf"(?i){_USER_AND_PASSWORD}|{_USER_ALONE}")
_QUERY_IN_TEXT = re.compile(rf"(?i)([?&]{_QUERY_NAME}=)([^&#\s'\"<>]+)")
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>,]+")

_WEB = ("http://", "https://", "git://", "ssh://", "git+ssh://")
_WEB_USER = re.compile(r"(?<=://)([^/?#]*)@")
# SQLAlchemy takes a password as it stands, with what would end the host of a web page's address.
_DATABASE_USER = re.compile(r"(?<=://)([^/?#]*|[^/?#@:]*:[^@]*(?:@[^/?#]*)?)@")
_USER_NAME = re.compile(r"[A-Za-z]{1,12}(?:[._-][A-Za-z]{1,12}){0,2}[0-9]{0,4}(?:%40[\w.-]+)?")


def without_credentials(url: str) -> str:
    """Return the URL without a user and password before its host, or secrets in its query."""
    return SECRET_IN_QUERY.sub(rf"\g<1>{MASK}", _user_pattern(url).sub("", url))


def secrets_of(url: str) -> Iterator[str]:
    """Yield the secrets of a URL, each percent-encoded and decoded.

    They are the password before the host, the user of a web page without a password unless it is a
    plain name, and the secrets in the query. A password that is the user's name, or that of the
    database's kind, is none: it would mask ordinary words.
    """
    user = _user_pattern(url).search(url)
    found = [match[2] for match in SECRET_IN_QUERY.finditer(url)]
    if user is not None:
        name, colon, password = user[1].partition(":")
        scheme = url.partition("://")[0].lower()
        if colon and password.lower() not in (name.lower(), *re.split(r"\W", scheme)):
            found.append(password)
        elif not colon and scheme in ("http", "https") and not _is_user_name(name):
            found.append(name)
    for secret in found:
        yield secret
        yield unquote(secret)


def _user_pattern(url: str) -> re.Pattern[str]:
    return _WEB_USER if url.lower().startswith(_WEB) else _DATABASE_USER


def _is_user_name(text: str) -> bool:
    return _USER_NAME.fullmatch(text) is not None and not SecretNames()(text)


def without_urls_credentials(text: str) -> str:
    """Return ``text`` without the credentials of URLs in it."""
    if "://" not in text:
        return text
    return _QUERY_IN_TEXT.sub(rf"\g<1>{MASK}", _USER_IN_TEXT.sub(_shown_user, text))


def _shown_user(match: re.Match[str]) -> str:
    user = match[0][:-1]
    return match[0] if ":" not in user and _is_user_name(user) else f"{MASK}@"


_NUMBER = re.compile(r"[-+]?\d{1,15}(?:\.\d*)?(?:[eE][-+]?\d+)?|[-+]?\d?\.\d+")
_PIECES_OF_WORDS = r"(?:[A-Z]?[a-z]+|[A-Z]+|[a-z]{2,}(?:[A-Z][a-z]+){1,2})"
_WORDS = re.compile(rf"{_PIECES_OF_WORDS}(?:[\s_./:,-]+{_PIECES_OF_WORDS})*[\s_-]?\d{{0,3}}")
_ISSUED = re.compile(
    r"(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|hf_|sk-|[sr]k_live_|pypi-|npm_|dapi|dckr_pat_|"
    r"AIza|SG\.|dop_v1_|eyJ)[\w.-]{16,}"
)


# Docker's configuration has a name and a password for each registry, in base64.
_REGISTRY_AUTH = re.compile(r'"auth"\s*:\s*"([\w+/=-]+)"')

# Passwords that many have, and that are words of other texts.
_EVERYBODYS: Final = ("password", "postgres")


def looks_random(text: str) -> bool:
    """Return whether a text consists of more than words and a number: tokens and keys do."""
    return "://" not in text and not _WORDS.fullmatch(text) and not _NUMBER.fullmatch(text)


def environment_secrets(
    names: SecretNames | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return the secrets in environment variables, the longest first.

    They are the values of those whose names are those of secrets, and what is in the values of
    others: passwords in URLs and connection strings, keys in JSON. Numbers, and paths of existing
    files, are not secrets themselves; nor is a word of the variable's own name, nor a password that
    many have.
    """
    names = names or SecretNames()
    items = (os.environ if environ is None else environ).items()
    found = {
        secret: None
        for name, value in items
        if len(value) >= SHORTEST_IN_ENVIRONMENT
        for secret in _secrets_in(name, value, names)
    }
    return tuple(sorted(found, key=len, reverse=True))


@lru_cache(maxsize=4_096)
def _secrets_in(name: str, value: str, names: SecretNames) -> tuple[str, ...]:
    held = names.held_by(name)
    found: list[str] = []
    is_url = "://" in value
    if (
        held == "secret"
        or (held == "connection" and not is_url)
        or (held == "opaque" and looks_random(value))
        or (_ISSUED.fullmatch(value) and looks_random(value))
    ):
        found.append(value)
    elif held == "webhook" and (is_url or looks_random(value)):
        # The path too, as errors of connections have it without the host.
        found += value, f"/{value.partition('://')[2].partition('/')[2]}"
    for url in [value] if _URL.match(value) else _URL.findall(value):
        found += secrets_of(url)
    found += (value[start:end] for start, end in named_values(value, names))
    for code in _REGISTRY_AUTH.findall(value):
        found += code, _decoded(code).partition(":")[2]
    words = re.split(r"[\W_]", name.lower())
    return tuple(
        secret
        for secret in dict.fromkeys(found)
        if len(secret) >= SHORTEST_IN_ENVIRONMENT
        and not _NUMBER.fullmatch(secret)
        and secret.lower() not in (*words, *_EVERYBODYS)
        and not _is_path(secret)
    )


def _decoded(code: str) -> str:
    with suppress(ValueError):
        return base64.b64decode(code).decode()
    return ""


def _is_path(text: str) -> bool:
    # A single word may be a password, and a directory as well.
    path = os.path.expanduser(text)  # noqa: PTH111
    return ("/" in path or os.sep in path) and os.path.exists(path)  # noqa: PTH110


def without_environment(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` without the environment's secrets, and the credentials of URLs in it."""
    return without_urls_credentials(mask_of(tuple(secrets))(text))


_NAME = re.compile(
    r"""
    (?:(?P<pair>\(\s*\\*["']|(?<![\w.-])--)|(?<![\w.-])(?:\\[nrt])*-*)
    (?P<name>[A-Za-z_][\w.-]*)\\*["']?\]?
    (?:
        (?P<equals>[ \t]*(?:=>|:?=(?!=)))
      | (?P<colon>[ \t]*:(?![:=/]))
      | (?P<comma>,(?=[ \t]*\\*["'])|[ ](?=[\w"']))
    )[ \t]*
    """,
    re.VERBOSE,
)
_TEXT = (
    r"[bBrRuUfF]{0,2}(?P<quote>\\*(?:'''|\"\"\"))(?P<long>[\s\S]*?)(?:(?P=quote)|(?=\n[E>\n])|\Z)"
)
_LITERAL = re.compile(
    rf"{_TEXT}|[bBrRuUfF]{{0,2}}(?P<mark>\\*['\"])(?P<short>[^\n]*?)(?:(?<!\\)(?P=mark)|$)",
    re.MULTILINE,
)
_BARE = re.compile(r"[^\s'\"`,;&(){}\[\]<>\\]+")
_HEADER = re.compile(r"(?i)(?:.*[.-])?(?:set-cookie2?|cookie|(?:proxy-)?authorization)")
_REST = re.compile(r"[^\n'\"\\]+")
_ANNOTATION = re.compile(r"[A-Za-z_][\w.\[\]| ]*[ \t]=[ \t]+(?!=)")
_IN_BRACKETS = re.compile(r"\\*(['\"])([^\n]*?)(?<!\\)\\*\1(\s*:)?")
_BRACKET_OR_TEXT = re.compile(r"[\[({]|[\])}]|'[^'\n]*'|\"[^\"\n]*\"")
_LONGEST: Final = 2_000
# What is longer, and no word, is masked wherever it stands.
_ALONE: Final = 5
_BRACKETS = re.compile(r"[\w.]*[\[({]")
# Other calls of code take what the secret is asked for with.
_WRAPPED = re.compile(r"(?:[\w.]*(?i:secret)\w*|str|bytes|bytearray)?[\[({]")
_CODE = re.compile(r"[> ] {3}")
_WHERE = re.compile(r"\bwhere (?P<value>'[^\n]*?'|\"[^\n]*?\") = (?P<name>[^\n]*)")
_BEARER = re.compile(r"\b(?:[Bb]earer|[Bb]asic|BEARER|BASIC) +((?=\S*\d)[\w.~+/=-]{8,})")
_NOTHING = frozenset({"None", "True", "False", "true", "false", "null", "NULL", MASK})
_NAMED_NUMBER = re.compile(r"\d{4,}\b(?!\.)")


def named_values(text: str, names: SecretNames) -> Iterator[tuple[int, int]]:
    """Yield where in a text the values after names of secrets stand, and which tokens are sent.

    These are local variables, keyword arguments, keys of dicts and of JSON, fields of dataclasses,
    headers, parts of connection strings, options. Of code, as it stands in a traceback, only what
    it has literally.
    """
    lower = text.lower()
    hints = [hint for hint in names.hints if hint in lower]
    if "bearer " in lower or "basic " in lower:
        for match in _BEARER.finditer(text):
            yield match.span(1)
    end = -1
    for line in text.split("\n") if hints else ():
        start, end = end + 1, end + 1 + len(line)
        lower = line.lower()
        if not any(hint in lower for hint in hints):
            continue
        for match in _NAME.finditer(text, start, end):
            name = match["name"]
            # By itself PWD is a directory, in a connection string it is not.
            is_secret = names(name) or (name.lower() == "pwd" and "uid=" in lower)
            if is_secret and (match["pair"] or not match["comma"]):
                yield from _values_at(text, match)
        for match in _WHERE.finditer(text, start, end):
            name = match["name"].rstrip()
            # An attribute or a key, or a function.
            ends = re.findall(r"[\w-]+(?=\W*$)|[\w-]+(?=\([^()]*\)$)", name)
            if any(map(names, ends)):
                yield match.start("value") + 1, match.end("value") - 1


def _values_at(text: str, name: re.Match[str]) -> Iterator[tuple[int, int]]:
    at = name.end()
    if name["colon"] and (annotation := _ANNOTATION.match(text, at)):
        at = annotation.end()
    if literal := _LITERAL.match(text, at):
        yield literal.span("long" if literal["long"] is not None else "short")
        return
    start = text.rfind("\n", 0, at) + 1
    line = text[start:at]
    is_code = _CODE.match(line) and not (line.count("'") % 2 or line.count('"') % 2)
    if brackets := (_WRAPPED if is_code else _BRACKETS).match(text, at):
        for inner in _IN_BRACKETS.finditer(text, at, _end_of_brackets(text, brackets.end() - 1)):
            if inner[3] is None:
                yield inner.span(2)
    elif number := _NAMED_NUMBER.match(text, at):
        yield number.span()
    elif is_code:
        return
    elif _HEADER.fullmatch(name["name"]) and name["colon"]:
        # A header, unless it is a sentence about one.
        if (rest := _REST.match(text, at)) and re.search(r"[\d=]|^\S+$", rest[0]):
            yield rest.span()
    elif (bare := _BARE.match(text, at)) and bare[0] not in _NOTHING:
        # After a colon may be a sentence, too.
        is_alone = text[bare.end() : bare.end() + 1] in ("", "\n") and not line[
            : name.start() - start
        ].strip("E >")
        if not name["colon"] or looks_random(bare[0]) or is_alone:
            yield bare.span()


def _end_of_brackets(text: str, start: int) -> int:
    """Return where the bracket at ``start`` is closed, or its line ends if it was cut."""
    depth = 0
    for match in _BRACKET_OR_TEXT.finditer(text, start, start + _LONGEST):
        depth += (match[0] in "[({") - (match[0] in "])}")
        if depth == 0:
            return match.start()
    return text.find("\n", start) % (len(text) + 1)


def without_named(text: str, names: SecretNames) -> str:
    """Return ``text`` without the values of :func:`named_values`, wherever it has them."""
    # Other libraries mask, too.
    spans = sorted({span for span in named_values(text, names) if text[slice(*span)].strip("*")})
    if not spans:
        return text
    values = {text[start:end] for start, end in spans} - {MASK}
    text = _replaced(text, spans)
    for value in sorted(values, key=len, reverse=True):
        if len(value) > _ALONE and looks_random(value) and not value.isspace():
            text = text.replace(value, MASK)
        elif len(value) > SHORTEST and "\n" not in value:
            # A word: other texts may have it for another reason.
            text = re.sub(rf"(?<=['\"]){re.escape(value)}(?=\\*['\"])", MASK, text)
    return text


def _replaced(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return ``text`` with the mask instead of each span; spans that overlap become one."""
    parts: list[str] = []
    done = 0
    for start, end in spans:
        if start > done or not parts:
            parts += text[done:start], MASK
        done = max(done, end)
    return "".join([*parts, text[done:]])


@lru_cache(maxsize=1_000)
def spellings_of(secret: str) -> tuple[str, ...]:
    """Return the spellings of a secret: as it is, as a repr, escaped, line by line."""
    lines = [line for line in secret.splitlines() if len(line) >= _PIECE] if "\n" in secret else ()
    escaped = secret.encode("unicode_escape").decode("ascii")
    return tuple(dict.fromkeys((secret, repr(secret)[1:-1], escaped, *lines)))


@lru_cache(maxsize=1_000)
def forms_of(secret: str) -> tuple[str, ...]:
    """Return the spellings of a secret, and what it becomes in JSON, URLs, HTML, base64 and hex."""
    data = secret.encode("utf-8", "surrogatepass")
    forms = [*spellings_of(secret), json.dumps(secret)[1:-1], html.escape(secret)]
    forms += json.dumps(secret, ensure_ascii=False)[1:-1], quote_plus(data), quote(data)
    percent = quote(data, safe="")
    forms += percent, re.sub("%..", lambda match: match[0].lower(), percent)
    if len(data) >= _ENCODED:
        forms += data.hex(), data.hex().upper(), *_base64(data)
    return tuple(dict.fromkeys(forms))


# The minimum of bytes: what base64 makes of less is too short to be told from other text.
_ENCODED: Final = 7


def _base64(data: bytes) -> Iterator[str]:
    """Yield what is in each base64 text of data that contain these, wherever they begin."""
    for before in range(3):
        bits = 8 * before, 8 * (before + len(data))
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(before) + data).decode("ascii")
            # Only characters that none of the neighbours has a part in.
            yield text[-(-bits[0] // 6) : bits[1] // 6]


_GRAM: Final = 6


@final
class Mask:
    """Takes known secrets out of texts, however they are encoded.

    Args:
        secrets: those too short to distinguish from other text are ignored.
        own: a text that may contain them as ordinary words; one that it contains is masked only
            where no letter is next to it.
        pieces: whether to mask pieces of a secret too, as in a text that was cut.
        words: whether to mask short words, such as ``postgres``, only where no letter or number is
            next to them.
    """

    def __init__(
        self, secrets: Iterable[str], *, own: str = "", pieces: bool = False, words: bool = False
    ) -> None:
        forms = {form: None for secret in secrets for form in forms_of(secret)}
        known = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        alone = {form for form in known if form in own or (words and _is_word(form))}
        self._whole = [form for form in known if form not in alone]
        self._words = {
            form: re.compile(rf"(?<!{letter}){re.escape(form)}(?!{letter})")
            for form in known
            if form in alone
            for letter in (r"\w" if form in own else r"[^\W_]",)
        }
        # Each text with a secret has one of these parts at each place that is looked at.
        self._shortest = len(known[-1]) if known else 0
        self._parts = frozenset(
            form[at : at + SHORTEST] for form in known for at in range(len(form) - SHORTEST + 1)
        )
        self._pieces: dict[str, list[tuple[str, int]]] = {}
        for form in self._whole if pieces else ():
            # Of a URL the beginning is that of others.
            if len(form) > _PIECE and "://" not in form:
                for at in range(len(form) - _GRAM + 1):
                    self._pieces.setdefault(form[at : at + _GRAM], []).append((form, at))

    def finds(self, text: str) -> bool:
        """Return whether ``text`` may have a secret in it: a quick look, which may be mistaken."""
        size = len(text)
        if size < self._shortest or not self._parts:
            return False
        step = self._shortest - SHORTEST + 1
        return not self._parts.isdisjoint(
            [text[at : at + SHORTEST] for at in range(0, size - SHORTEST + 1, step)]
        )

    def found_in(self, text: str) -> tuple[str, ...]:
        """Return the spellings of secrets that ``text`` has."""
        if not self.finds(text):
            return ()
        words = (form for form, pattern in self._words.items() if pattern.search(text))
        return (*(form for form in self._whole if form in text), *words)

    def __call__(self, text: str) -> str:
        """Return ``text`` without the secrets."""
        if len(text) >= self._shortest and self.finds(text):
            for form in self._whole:
                text = text.replace(form, MASK)
            for pattern in self._words.values():
                text = pattern.sub(MASK, text)
        return self._without_pieces(text) if self._pieces else text

    def _without_pieces(self, text: str) -> str:
        """Return ``text`` without pieces of secrets that are long enough to be no coincidence."""
        spans: list[tuple[int, int]] = []
        for start in range(0, len(text) - _GRAM + 1, _PIECE - _GRAM + 1):
            for form, at in self._pieces.get(text[start : start + _GRAM], ()):
                before = after = 0
                while before < min(at, start) and text[start - before - 1] == form[at - before - 1]:
                    before += 1
                here, there = text[start + _GRAM :][: len(form)], form[at + _GRAM :]
                while after < min(len(here), len(there)) and here[after] == there[after]:
                    after += 1
                if before + _GRAM + after >= _PIECE:
                    spans.append((start - before, start + _GRAM + after))
        return _replaced(text, sorted(spans)) if spans else text


def _is_word(text: str) -> bool:
    return len(text) <= _PIECE and text.isalpha() and text[1:].islower()


# The cases of a test have the same secrets, as all have those of the environment.
@lru_cache(maxsize=16)
def mask_of(
    secrets: tuple[str, ...], *, own: str = "", pieces: bool = False, words: bool = True
) -> Mask:
    """Return the :class:`Mask` of secrets, by default of those in the environment."""
    return Mask(secrets, own=own, pieces=pieces, words=words)
