"""Keep credentials out of everything that the tracker writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import TextIOBase
from typing import TextIO, final

from pytest_mlflow_experiments.credentials import MASK, SECRET_IN_QUERY, secrets_of
from pytest_mlflow_experiments.redaction import SHORTEST, environment_secrets

_USERINFO = re.compile(r"(?<=://)[^/?#@\s'\"]+@")
_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")


@final
@dataclass(frozen=True, slots=True)
class Redactor:
    """Replaces the secrets it knows, and whatever looks like credentials within a URI."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, tracking_uri: str) -> Redactor:
        """Return the redactor for a tracking URI and the environment's credentials."""
        return cls(tuple(sorted(_secrets(tracking_uri), key=len, reverse=True)))

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        text = _USERINFO.sub(f"{MASK}@", text)
        return SECRET_IN_QUERY.sub(rf"\g<1>{MASK}", text)


@final
class RedactedStream(TextIOBase):
    """A text stream that redacts what is written to it, before it reaches the real one."""

    def __init__(self, stream: TextIO, redact: Redactor) -> None:
        self._stream = stream
        self._redact = redact

    def write(self, text: str) -> int:
        """Write ``text`` without secrets."""
        self._stream.write(self._redact(text))
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True

    def flush(self) -> None:
        """Flush the real stream."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the real stream's file descriptor."""
        return self._stream.fileno()


def _secrets(tracking_uri: str) -> Iterable[str]:
    for name in _SECRET_VARIABLES:
        if len(secret := os.environ.get(name, "")) >= SHORTEST:
            yield secret
    yield from environment_secrets()
    yield from (secret for secret in secrets_of(tracking_uri) if len(secret) >= SHORTEST)
