"""Choose the sessions of a baseline, independently of where sessions are stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, final

from ..records import Provenance, SessionEnd, SessionHeader
from .specs import BaselineError, BaselineRequest, Spec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A session that may become part of a baseline: what is known without reading its cases.

    ``exit_status`` is None if it is not known. ``incomplete`` says why the session can't be a
    baseline, as the end of a sentence, and is None if it can. ``experiment_id`` is set if the
    catalog has several experiments; ``selection`` is that of its :class:`~.records.SessionEnd`, or
    None if it is not known.
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
        """Whether all tests ran that should, and pytest's exit status was good."""
        return self.complete and self.exit_status == 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The conditions for sessions; all sessions must be complete.

    ``branch`` counts only if ``any_branch`` is False; None then means sessions outside of any
    branch. ``before`` is a start time: only earlier sessions match.
    """

    passing: bool = False
    any_branch: bool = True
    branch: str | None = None
    tag: tuple[str, str] | None = None
    before: int | None = None
    experiment_id: str | None = None
    selection: tuple[str, ...] | None = None

    def matches(self, candidate: Candidate) -> bool:
        """Return whether a session meets the conditions."""
        return (
            (candidate.passing if self.passing else candidate.complete)
            and (self.any_branch or candidate.branch == self.branch)
            and (self.tag is None or candidate.tags.get(self.tag[0]) == self.tag[1])
            and (self.selection is None or candidate.selection == self.selection)
            and (self.before is None or candidate.start_time < self.before)
        )


class Catalog(Protocol):
    """A store of sessions: this machine or MLflow.

    Methods that look up one session raise :class:`.BaselineError` if there is none.
    """

    @property
    def place(self) -> str:
        """The name of the store for messages, without credentials."""

    def newest(self, query: Query) -> Iterator[Candidate]:
        """Yield sessions lazily, the newest first.

        All that match the query must be among them; others may be, too.
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
        """Yield the journal of each session, or a text that says why it is unavailable.

        ``directory`` is empty and takes downloads.
        """


def why_incomplete(header: SessionHeader, end: SessionEnd | None) -> str | None:
    """Return why a session can't be a baseline, or None if it can."""
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
    """Return ``session_id`` if it is in ``found``, else the only id there; it is their prefix.

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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The sessions of a baseline, at least one, the oldest first."""

    sessions: tuple[Candidate, ...]
    provenance: Provenance


def choose(spec: Spec, request: BaselineRequest, catalog: Catalog) -> Choice | None:
    """Return the sessions that ``spec`` selects, or None if there are none yet.

    ``spec`` decides, not the request's own text.

    Raises:
        BaselineError: a named session does not exist, or can't be a baseline.
    """
    search = _Search(spec, request, catalog)
    if spec.kind == "none":
        return None
    if spec.kind == "file":
        raise BaselineError(f"{spec} is a file, and not to be looked for in {catalog.place}")
    if spec.kind == "session":
        return search.ending_at(catalog.session(spec.value))
    if spec.kind == "run":
        return search.ending_at(catalog.run(spec.value), f" (run {spec.value})")
    if spec.kind == "model":
        return search.ending_at(catalog.model(*spec.pair), f" (model {spec.value})")
    if spec.kind == "branch":
        return search.on_branch(spec.value)
    if spec.kind == "tag":
        return search.last("complete", f" with the tag {spec.value}", Query(tag=spec.pair))
    if spec.kind == "auto":
        return search.auto()
    return search.of_any_branch()


@final
@dataclass(frozen=True, slots=True)
class _Search:
    """The state of one call of :func:`choose`."""

    spec: Spec
    request: BaselineRequest
    catalog: Catalog

    def auto(self) -> Choice | None:
        found = self.pinned()
        if found is None and (base := self.request.base_branch):
            found = self.on_branch(base, ", the base branch")
        return found or self.on_branch(self.request.branch, ", this branch") or self.of_any_branch()

    def on_branch(self, branch: str | None, words: str = "") -> Choice | None:
        where = f"on {branch}{words}" if branch else "outside of any branch"
        return self.last("passing", f" {where}", Query(any_branch=False, branch=branch))

    def of_any_branch(self) -> Choice | None:
        return self.last("complete", " of any branch", Query())

    def last(self, kind: str, words: str, query: Query) -> Choice | None:
        """Return the newest sessions of the ``kind`` complete or passing, or None."""
        query = replace(query, passing=kind == "passing", before=self.request.start_time)
        newest: list[Candidate] = []
        if self.request.selection is not None:
            alike = replace(query, selection=self.request.selection)
            newest = self._newest(alike, self.request.history)
        if not (newest := newest or self._newest(query, self.request.history)):
            return None
        count = f"{len(newest)} {kind} sessions" if len(newest) > 1 else f"{kind} session"
        return self._choice(newest, f"the last {count}{words}")

    def pinned(self) -> Choice | None:
        """Return the baseline that ends at the pinned session, or None without a pin."""
        pin = self.catalog.pinned()
        if pin is None:
            return None
        try:
            session = self.catalog.session(pin)
            # Sent again, a session finds the baseline that it had: later pins are not for it.
            if self._too_late(session):
                return None
            return self.ending_at(session, pinned=True)
        except BaselineError as error:
            raise BaselineError(
                f"the pinned baseline can't be used: {error}; pin another one with "
                "`pytest-mlflow baseline set SPEC`"
            ) from error

    def ending_at(self, session: Candidate, words: str = "", *, pinned: bool = False) -> Choice:
        """Return a session and the passing ones before it on its branch."""
        if session.incomplete is not None:
            raise BaselineError(
                f"session {session.session_id} can't be a baseline: {session.incomplete}"
            )
        if self._too_late(session):
            raise BaselineError(
                f"session {session.session_id} can't be the baseline of one that started earlier"
            )
        query = Query(
            passing=True,
            any_branch=False,
            branch=session.branch,
            before=session.start_time,
            experiment_id=session.experiment_id,
        )
        before = self._newest(query, self.request.history - 1)
        reason = f"{'pinned ' if pinned else ''}session {session.session_id}{words}"
        if before:
            branch = f" on {session.branch}" if session.branch else ""
            reason += f" and {len(before)} before it{branch}"
        return self._choice([session, *before], reason, pinned=True)

    def _too_late(self, session: Candidate) -> bool:
        limit = self.request.start_time
        return session.session_id == self.request.session_id or (
            limit is not None and session.start_time >= limit
        )

    def _newest(self, query: Query, count: int) -> list[Candidate]:
        own = self.request.session_id
        wanted = (
            candidate
            for candidate in self.catalog.newest(query)
            if query.matches(candidate) and candidate.session_id != own
        )
        return list(islice(wanted, max(0, count)))

    def _choice(self, newest: list[Candidate], reason: str, *, pinned: bool = False) -> Choice:
        place = self.catalog.place
        provenance = Provenance(spec=str(self.spec), place=place, reason=reason, pinned=pinned)
        return Choice(sessions=tuple(reversed(newest)), provenance=provenance)
