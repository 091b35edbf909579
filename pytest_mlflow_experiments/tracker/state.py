"""Report a session's progress, without credentials; retry after temporary failures."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from threading import RLock
from typing import Final, Literal, TextIO, final

from ..records.directory import SessionState
from ..records.journal import has_end
from ..records.processes import wait_until
from ..records.secrets import (
    MASK,
    SECRET_IN_QUERY,
    environment_secrets,
    mask_of,
    secrets_of,
    without_urls_credentials,
)
from .errors import TrackerError, pause_asked

_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")


@final
@dataclass(frozen=True, slots=True)
class Redactor:
    """Masks known secrets, and whatever looks like credentials in a URI."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, tracking_uri: str) -> Redactor:
        """Return the redactor for a tracking URI and the environment's credentials."""
        known = (*environment_secrets(), *secrets_of(tracking_uri))
        found = {*known, *(os.environ.get(name, "") for name in _SECRET_VARIABLES)}
        return cls(tuple(sorted(found)))

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        text = without_urls_credentials(mask_of(self.secrets)(text))
        return SECRET_IN_QUERY.sub(rf"\g<1>{MASK}", text)


@final
class RedactedStream(TextIOBase):
    """A text stream that redacts what is written to it."""

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


_INTERVAL = 0.2
_LOGGER = logging.getLogger(__name__)


@final
@dataclass(slots=True)
class Reporter:
    """Keeps a session's state, and writes changes of it, but not too often."""

    path: Path
    state: SessionState
    redact: Redactor
    on_state: Callable[[SessionState], None] | None = None
    _written: SessionState | None = field(default=None, init=False)
    _written_at: float = field(default=0.0, init=False)
    _delay: str | None = field(default=None, init=False)
    # Reentrant, for a signal may come while the state is being written.
    _one_at_a_time: RLock = field(default_factory=RLock, init=False)

    def change(self, **changes: object) -> None:
        """Change fields of the state."""
        with self._one_at_a_time:
            self.state = self.state.update(**changes)
            self._delay = None

    def delay(self, reason: str) -> None:
        """Tell, from any thread, why requests are being repeated until the next change."""
        self._delay = self.redact(reason)
        self.flush()

    @property
    def shown(self) -> SessionState:
        """The state; its error is the reason of a delay if there is no other."""
        if self.state.phase in ("done", "failed"):
            return self.state
        return self.state.update(error=self.state.error or self._delay)

    def count(self, **more: int) -> None:
        """Add to fields of the state that count something; several threads may do so."""
        with self._one_at_a_time:
            self.change(**{name: getattr(self.state, name) + more[name] for name in more})
            self.flush()

    def note(self, *notes: str) -> None:
        """Add notes to the state, without duplicates."""
        with self._one_at_a_time:
            self.change(notes=tuple(dict.fromkeys((*self.state.notes, *map(self.redact, notes)))))

    def trouble(self, phase: Literal["waiting", "failed"], reason: str) -> None:
        """Report why MLflow is unavailable, temporarily or permanently."""
        self.change(phase=phase, error=self.redact(reason))
        self.flush(now=True)

    def flush(self, *, now: bool = False) -> None:
        """Write the state if it changed and ``now`` is set or the last write is long ago."""
        with self._one_at_a_time:
            clock, shown = time.monotonic(), self.shown
            if shown == self._written or not (now or clock - self._written_at >= _INTERVAL):
                return
            try:
                shown.write(self.path)
            except OSError:
                # A full disk, or a directory that somebody has removed: MLflow gets the cases.
                _LOGGER.warning("The session's state can't be written.", exc_info=True)
                return
            self._written, self._written_at = shown, clock
            if self.on_state is not None:
                self.on_state(shown)


RETRY_LISTENERS: Final[list[Callable[[Exception], None]]] = []
"""Called, from any thread, with each error that leads to a retry."""


@contextmanager
def told_retries(tell: Callable[[Exception], None]) -> Iterator[None]:
    """Call ``tell`` with each error that leads to a retry, until the end of the block."""
    RETRY_LISTENERS.append(tell)
    try:
        yield
    finally:
        RETRY_LISTENERS.remove(tell)


_PAUSE = 3.0
_PAUSE_AT_END = 1.0
_LONGEST_PAUSE = 60.0
_POLL = 0.1


def send_repeatedly(
    send: Callable[[Callable[[], bool]], None],
    journal: Path,
    follow: Callable[[], bool],
    reporter: Reporter,
    timeout: float = 0.0,
) -> None:
    """Call ``send``, which sends a session from its beginning, until it succeeds.

    While the session runs, temporary errors lead to retries; once it has ended, they do so until
    ``timeout`` seconds have passed in which MLflow got nothing more. ``follow`` tells whether the
    ``journal`` may still grow; ``send`` gets a function that tells whether the session goes on.

    Raises:
        TrackerError: the session can't be sent.
    """

    def goes_on() -> bool:
        return follow() and not has_end(journal)

    furthest = arrived = 0
    progress_at = time.monotonic()
    while True:
        may_wait = goes_on()
        try:
            return send(goes_on)
        except TrackerError as error:
            reached = reporter.state.sent
            reporter.change(sent=max(reached, furthest))
            asked = pause_asked(str(error)) or 0.0
            now = time.monotonic()
            got = reached + reporter.state.files
            if may_wait or got > arrived:
                progress_at = now
            elif now + asked >= progress_at + timeout:
                raise
            if not error.passing:
                raise
            if asked > max(timeout, _LONGEST_PAUSE) and not goes_on():
                raise
            furthest, arrived = max(reached, furthest), max(got, arrived)
            reporter.trouble("waiting", str(error))
            if goes_on():
                wait_until(lambda: not goes_on(), timeout=max(asked, _PAUSE), poll=_POLL)
                asked = max(0.0, now + asked - time.monotonic())
                if asked > timeout:
                    raise
            else:
                asked = max(asked, _PAUSE_AT_END)
            time.sleep(asked)
        # What MLflow has got already counts again: it is passed over, one by one. Whoever waits
        # looks at the sum.
        passed = reporter.state.sent + reporter.state.files
        beats = reporter.state.beats + passed
        reporter.change(sent=0, files=0, all_files=0, beats=beats)
