"""Recognise by their names what is a secret: params, keys, variables of the environment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, Literal, TypeAlias, final

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRETS: Final = (
    *("password", "passwords", "passwd", "passphrase", "passcode", "secret", "secrets"),
    *("credential", "credentials", "authorization", "apikey", "apikeys", "accesskey"),
    *("privatekey", "secretkey", "accesstoken", "jwt", "cookie", "cookies", "creds"),
)
_HINTS: Final = (
    *("passw", "passphrase", "passcode", "secret", "credential", "authorization", "key", "token"),
    *("jwt", "cookie", "creds", "pwd", "_pat", "-pat", "ghpat", "hubpat", "labpat"),
)
_KEYS = {
    *("api", "access", "private", "secret", "auth", "account", "signing", "master", "encryption"),
    *("fernet", "ssh", "deploy", "app", "client", "storage", "service", "sa", "openai", "kaggle"),
    *("jwt", "hmac", "aes", "rsa", "ssl", "tls", "encrypt", "decrypt", "decryption", "unseal"),
    *("wandb", "license"),
}
_TOKENS = {"access", "api", "auth", "bearer", "refresh", "session"}
_HOSTS_OF_TOKENS = {"gh", "github", "gitlab", "devops", "ext"}
_COUNTS = {"n", "num", "number", "max", "min", "per", "total"}
# What machine learning calls a token: a piece of text.
_PIECES_OF_TEXT = _COUNTS | {
    *("pad", "bos", "eos", "unk", "sep", "cls", "mask", "oov", "blank", "special", "start", "end"),
    *("stop", "first", "next", "last", "word", "text", "image", "audio", "video", "prompt"),
    *("target", "sub", "multi", "class", "dist", "visual", "vision", "speech", "eot", "fim"),
    *("think", "separator", "prefix", "suffix", "input", "output", "cached", "draft"),
}
_NOT_OF_KEYS = {
    *("primary", "foreign", "sort", "partition", "join", "group", "cache", "target", "label"),
    *("feature", "features", "column", "object", "row", "image", "public", "index", "data"),
    *("metric", "param", "batch", "merge", "order", "lookup", "id", "host", "routing", "map"),
    *("hot", "dict", "json", "state", "input", "output", "text", "time", "user", "item"),
    "gpg",
}
# Which of several secrets it is, or how it is written.
_WHICH = {
    *("prod", "production", "staging", "stage", "dev", "development", "test", "testing", "qa"),
    *("uat", "ci", "live", "value", "primary", "secondary", "old", "new", "current", "previous"),
    *("backup", "main", "eu", "us", "b64", "base64", "json", "pem", "raw", "content", "contents"),
}
# Where a secret is, or whose it is: OPENAI_API_KEY_PROJECT.
_OWNERS = {
    *("project", "bucket", "namespace", "role", "server", "cluster", "network", "registry"),
    *("repo", "repository", "zone"),
}
# What is told about a secret, or where it is.
_ABOUT = _OWNERS | {
    *("url", "uri", "host", "hostname", "port", "path", "paths", "file", "files", "dir", "name"),
    *("names", "id", "ids", "arn", "type", "types", "kind", "method", "mode", "format", "length"),
    *("size", "count", "counts", "limit", "limits", "budget", "rate", "ttl", "expiry", "expires"),
    *("expiration", "age", "timeout", "retries", "enabled", "disabled", "required", "version"),
    *("algorithm", "algorithms", "issuer", "audience", "scope", "scopes", "policy", "provider"),
    *("manager", "store", "backend", "endpoint", "domain", "region", "user", "username", "header"),
    *("prefix", "suffix", "column", "field", "helper", "sock", "model", "dropout", "dim", "level"),
    *("embedding", "embeddings", "pooling", "merging", "classification", "weight", "weights"),
    *("strategy", "parallelism", "cache", "index", "rotation", "days", "seconds", "minutes"),
    *("secure", "samesite", "httponly", "iterations", "rounds", "hint", "table", "subnet", "ip"),
    "address",
}
_NOT_OF_PASSES = _COUNTS | {
    *("forward", "backward", "first", "second", "single", "two", "all", "by", "high", "low"),
    *("band", "data", "training", "test", "is", "must"),
}

_PASSWORDS = {"sshpass", "pgpass", "dbpass", "userpass", "rootpass", "smtppass"}
_OPAQUE = {"pat", "sas", "auth", "bearer", "otp", "totp", "salt", "passkey", "session", "rsa"}
_URLS = {"url", "uri", "endpoint"}

Held: TypeAlias = Literal["nothing", "opaque", "secret", "connection", "webhook"]
"""What a variable of the environment holds by its name; ``opaque`` is a secret if it looks so."""


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
        """Return whether ``name`` is that of a secret, as a param or a key."""
        return _is_secret(name, self.patterns, self.exceptions)

    @property
    def hints(self) -> tuple[str, ...]:
        """Texts of which each name of a secret has one, in lower case."""
        longest = (max(re.findall("[a-z0-9]+", one), key=len, default="") for one in self.patterns)
        return (*_HINTS, *longest)

    def held_by(self, variable: str) -> Held:
        """Return what a variable of the environment holds.

        Params are what tests are about: they may be called ``token_ids``. Variables are settings of
        the machine, and secret words may stand anywhere in their names.
        """
        return _held_by(variable, self.patterns, self.exceptions)


# A suite has few names, and asks for them in each of its cases.
@lru_cache(maxsize=4_096)
def _is_secret(name: str, patterns: tuple[str, ...], exceptions: tuple[str, ...]) -> bool:
    words = _words(name)
    given = _is_given(name, words, patterns, exceptions)
    return _ends_secret(_without_which(words)) if given is None else given


@lru_cache(maxsize=4_096)
def _held_by(name: str, patterns: tuple[str, ...], exceptions: tuple[str, ...]) -> Held:
    words = _words(name)
    given = _is_given(name, words, patterns, exceptions)
    if given is not None:
        return "secret" if given else "nothing"
    words = _without_which(words)
    before, last = ["", "", *words][-2:]
    is_told_of = last in _ABOUT
    if before in ("hook", "hooks") and last in _URLS:
        return "webhook"
    if any(word.startswith("webhook") for word in words) and (not is_told_of or last in _URLS):
        return "secret" if last.endswith(_SECRETS) else "webhook"
    if is_told_of:
        # The one that Vault asks for is a secret.
        may_be = (before, last) == ("secret", "id") or (
            last in _OWNERS and _ends_secret(words[:-1])
        )
        return "opaque" if may_be else "nothing"
    joined = "".join(words[-2:])
    if joined.endswith(("connectionstring", "connstring", "connstr")):
        return "connection"
    if _ends_secret(words) or last in _PASSWORDS or joined == "basicauth":
        return "secret"
    if last in ("pass", "pw", "psw") and before:
        return "nothing" if before in _NOT_OF_PASSES else "secret"
    if last in ("key", "keys"):
        # COSMOS_PRIMARY_KEY is a key, PRIMARY_KEY a column.
        is_column = before in _NOT_OF_KEYS and (before != "primary" or len(words) == 2)
        return "nothing" if is_column else "opaque"
    if any(_ends_secret(words[: end + 1]) for end in range(len(words) - 1)):
        # SECRET_OF_THE_BOT; but what ends like a count or a setting was told of above.
        return "secret"
    return "opaque" if "private" in words or last in _OPAQUE else "nothing"


def _words(name: str) -> list[str]:
    words: list[str] = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    return words


def _is_given(
    name: str, words: list[str], patterns: tuple[str, ...], exceptions: tuple[str, ...]
) -> bool | None:
    """Return what the user says of a name, None if nothing."""
    if not patterns and not exceptions:
        return None
    forms = {name.lower(), name.lower().rpartition(".")[2], "_".join(words)}
    if any(fnmatchcase(form, pattern) for pattern in exceptions for form in forms):
        return False
    return any(fnmatchcase(form, pattern) for pattern in patterns for form in forms) or None


def _without_which(words: list[str]) -> list[str]:
    end = len(words)
    while end > 1 and (words[end - 1] in _WHICH or words[end - 1].isdigit()):
        end -= 1
    return words[:end]


def _ends_secret(words: list[str]) -> bool:
    before, last = ["", "", *words][-2:]
    if last in ("key", "keys"):
        return before in _KEYS
    if last.endswith("token"):
        return (last.removesuffix("token") or before) not in _PIECES_OF_TEXT
    if last == "tokens":
        return before in _TOKENS
    if last == "pat":
        return before in _HOSTS_OF_TOKENS
    if last == "pwd":
        # By itself it is the working directory.
        return before != ""
    return last.endswith(_SECRETS) and before not in _COUNTS
