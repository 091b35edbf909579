"""Sessions to choose from: what is known of one, and the seam to the places that keep them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, final

from ..records import SessionEnd, SessionHeader
from .request import BaselineError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A session that may become part of a baseline, as far as it is known without its cases.

    ``exit_status`` is None where it is not known. ``incomplete`` says why the session can't be a
    baseline, as the end of a sentence, and is None where it can. ``experiment_id`` is set where the
    place keeps several experiments; ``selection`` is that of its
    :class:`~.records.SessionEnd`, or None where it is not known.
    """

    session_id: str
    start_time: int
    branch: str | None
    exit_status: int | None
    incomplete: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    experiment_id: str | None = None
    selection: tuple[str, ...] | None = None

    @property
    def complete(self) -> bool:
        """Whether all tests ran that should."""
        return self.incomplete is None

    @property
    def passing(self) -> bool:
        """Whether all tests ran that should, and pytest was content."""
        return self.complete and self.exit_status == 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which sessions are wanted; all of them must be complete.

    ``branch`` counts only where ``any_branch`` is False, and None is then the sessions outside of
    any branch. ``before`` is a start time that is later than all that are wanted.
    """

    passing: bool = False
    any_branch: bool = True
    branch: str | None = None
    tag: tuple[str, str] | None = None
    before: int | None = None
    experiment_id: str | None = None
    selection: tuple[str, ...] | None = None

    def matches(self, candidate: Candidate) -> bool:
        """Tell whether a session is one of those that are wanted."""
        return (
            (candidate.passing if self.passing else candidate.complete)
            and (self.any_branch or candidate.branch == self.branch)
            and (self.tag is None or candidate.tags.get(self.tag[0]) == self.tag[1])
            and (self.selection is None or candidate.selection == self.selection)
            and (self.before is None or candidate.start_time < self.before)
        )


class Catalog(Protocol):
    """A place that keeps sessions.

    What looks up one session raises :class:`.BaselineError` where there is none.
    """

    @property
    def place(self) -> str:
        """The place for people, without credentials."""

    def newest(self, query: Query) -> Iterator[Candidate]:
        """Yield sessions, the newest first, and read no more than is taken.

        All that match the query must be among them; others may be too.
        """

    def session(self, session_id: str) -> Candidate:
        """Return the session with this id, or the only one whose id starts so."""

    def run(self, run_id: str) -> Candidate:
        """Return the session of an MLflow run, its own or that of one of its cases."""

    def model(self, name: str, alias: str) -> Candidate:
        """Return the session behind the alias of a registered model."""

    def pinned(self) -> str | None:
        """Return the id of the session that is pinned as the baseline, or None."""

    def journals(self, sessions: Sequence[Candidate], directory: Path) -> Iterator[Path | str]:
        """Yield the journal of each session, or a text that says why it can't be had.

        ``directory`` is an empty one for what has to be fetched.
        """


def why_incomplete(header: SessionHeader, end: SessionEnd | None) -> str | None:
    """Return why a session can't be a baseline, or None where it can."""
    if end is None:
        return "it did not run to its end"
    if header.partial is not None:
        return header.partial
    if end.interrupted is not None:
        return f"it was cut short ({end.interrupted})"
    if end.rejected:
        return "its gate failed"
    return None if end.partial is None else f"only some of its tests ran ({end.partial})"


def only_one(session_id: str, found: Collection[str], place: str) -> str:
    """Return the one id among ``found``, which start with ``session_id`` all, or that very id.

    Raises:
        BaselineError: there is none, or more than one.
    """
    if session_id in found:
        return session_id
    if not found:
        raise BaselineError(f"there is no session {session_id!r} in {place}")
    if len(found) > 1:
        few = ", ".join(sorted(found)[:3])
        raise BaselineError(f"{session_id!r} is the start of several session ids in {place}: {few}")
    return next(iter(found))
