"""Choose the sessions of a baseline, independently of where sessions are stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, final

from ..records import Exclusion, Provenance, SessionEnd, SessionHeader
from ..records.case import named_few
from ..records.tags import BASELINE_NEWEST, CI_JOB, CI_KIND, CI_REPOSITORY, COMMIT, DIRTY
from .specs import (
    BaselineError,
    BaselineRequest,
    Spec,
    UnknownSessionError,
    parse_spec,
    proposal_of,
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A session that may become part of a baseline: what is known without reading its cases.

    ``exit_status`` is None if it is not known. ``incomplete`` says why the session can't be a
    baseline, as the end of a sentence, and is None if it can; ``exclusion`` is what somebody
    decided on it. ``experiment_id`` is set if the catalog has several experiments; ``selection``
    and ``metrics`` are those of its :class:`~.records.SessionEnd`, ``selection`` None if it is not
    known.
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
    exclusion: Exclusion | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def proposal(self) -> str | None:
        """The pull request, or entry of a merge queue, that it tested, or None."""
        return proposal_of(self.tags)

    @property
    def is_excluded(self) -> bool:
        """Whether somebody took it out of all baselines."""
        return why_excluded(self.exclusion) is not None

    @property
    def why_unfit(self) -> str | None:
        """Why it can be part of no baseline, as the end of a sentence, or None if it can."""
        return why_excluded(self.exclusion) or self.incomplete


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The conditions for sessions; all sessions must be complete.

    ``branch`` counts only if ``any_branch`` is False; None then means sessions outside of any
    branch. ``proposal`` counts with it: sessions of pull requests are of no branch but their own;
    ``*`` is any. ``before`` is a start time: only earlier sessions match.
    """

    passing: bool = False
    any_branch: bool = True
    branch: str | None = None
    proposal: str | None = None
    tag: tuple[str, str] | None = None
    before: int | None = None
    experiment_id: str | None = None
    selection: tuple[str, ...] | None = None

    def why_not(self, candidate: Candidate) -> str | None:
        """Return why a session does not meet the conditions, or None if it does."""
        if (why := candidate.why_unfit) is not None:
            return why
        if self.passing and candidate.exit_status != 0:
            status = candidate.exit_status
            known = "is not known" if status is None else f"is {status}"
            return f"it did not pass: pytest's exit status {known}"
        if not self.is_on_branch(candidate):
            if candidate.proposal is not None:
                return f"it is of {candidate.proposal}"
            branch = candidate.branch
            return f"it is of another branch, {branch}" if branch else "it is of no branch"
        if self.tag is not None and candidate.tags.get(self.tag[0]) != self.tag[1]:
            return f"its tag {self.tag[0]} is not {self.tag[1]!r}"
        if self.selection is not None and candidate.selection != self.selection:
            return "it was asked for other tests"
        if self.before is not None and candidate.start_time >= self.before:
            return "it is newer than the end of the baseline"
        return None

    def matches(self, candidate: Candidate) -> bool:
        """Return whether a session meets the conditions."""
        return self.why_not(candidate) is None

    def is_on_branch(self, candidate: Candidate) -> bool:
        """Return whether a session is of the branch, or of its pull request."""
        if self.any_branch:
            return True
        proposal = candidate.proposal
        is_same = proposal is not None if self.proposal == "*" else proposal == self.proposal
        return is_same and candidate.branch == self.branch


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


def why_excluded(exclusion: Exclusion | None) -> str | None:
    """Return why a session is part of no baseline by somebody's decision, or None if it may be."""
    return None if exclusion is None or exclusion.included else f"it is excluded: {exclusion}"


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
        raise UnknownSessionError(f"there is no session {session_id!r} in {place}")
    if len(found) > 1:
        few = named_few(sorted(found), 3)
        raise BaselineError(f"{session_id!r} is the start of several session ids in {place}: {few}")
    return next(iter(found))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The sessions of a baseline, at least one, the oldest first.

    ``ahead`` are newer ones of the same branch, whose commits the tested one lacks.
    """

    sessions: tuple[Candidate, ...]
    provenance: Provenance
    ahead: tuple[Candidate, ...] = ()


def choose(spec: Spec, request: BaselineRequest, catalog: Catalog) -> Choice | None:
    """Return the sessions that ``spec`` selects, or None if there are none yet.

    ``spec`` decides, not the request's own text.

    Raises:
        BaselineError: a named session does not exist, or can't be a baseline.
    """
    return _choose(_Search(spec, request, catalog))


def why_not_chosen(
    request: BaselineRequest, catalog: Catalog
) -> Iterator[tuple[Candidate, str | None]]:
    """Yield all sessions, the newest first, with why they are not part of the requested baseline.

    That is None for those that are. Where :func:`choose` raises an error, that is why.
    """
    search = _Search(parse_spec(request.spec), request, catalog)
    choice, problem = None, "the checked-out commit is not built on its commit"
    try:
        choice = _choose(search)
    except BaselineError as error:
        problem = str(error)
    chosen = [one.session_id for one in choice.sessions] if choice is not None else []
    oldest = choice.sessions[0].start_time if choice is not None else 0
    own = Query(passing=True, any_branch=False, branch=request.branch, proposal=request.proposal)
    for candidate in catalog.newest(Query()):
        if candidate.session_id in chosen:
            yield candidate, None
            continue
        # Of the last query, that of the branch that counts, unless another one is for it.
        queries = (search.queries if choice is not None else None) or [own]
        query = next((one for one in queries if one.is_on_branch(candidate)), queries[-1])
        why = search.why_not(query, candidate)
        if why is None and candidate.start_time < oldest:
            why = f"there are {len(chosen)} newer ones"
        yield candidate, why or problem


def _choose(search: _Search) -> Choice | None:
    spec, catalog = search.spec, search.catalog
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
        return search.on_branch(spec.value) or search.of_pull_requests(spec.value)
    if spec.kind == "tag":
        return search.last("complete", f" with the tag {spec.value}", Query(tag=spec.pair))
    if spec.kind == "auto":
        return search.auto()
    return search.of_any_branch()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The newest sessions for a query, the newest first.

    ``ahead`` are those of commits that the tested one lacks; ``doubt`` says what is not known.
    """

    newest: list[Candidate] = field(default_factory=list)
    ahead: list[Candidate] = field(default_factory=list)
    doubt: str = ""


_LOOKED_AT: Final = 100
_SHORT: Final = 100
_NAMED: Final = 3
"""The number of excluded sessions that a reason names."""


@final
@dataclass(frozen=True, slots=True)
class _Search:
    """The state of one call of :func:`choose`.

    ``queries`` are those that found the sessions, ``excluded`` what the last one has passed over,
    ``others`` what it has passed over that was asked for other tests.
    """

    spec: Spec
    request: BaselineRequest
    catalog: Catalog
    queries: list[Query] = field(default_factory=list)
    excluded: dict[str, Candidate] = field(default_factory=dict)
    others: dict[str, Candidate] = field(default_factory=dict)

    def auto(self) -> Choice | None:
        request = self.request
        if (found := self.pinned()) is not None:
            return found
        bases = self._bases()
        if request.job is None:
            found = self._first_on(bases)
            return found or self.on_branch(request.branch, ", this branch") or self.of_any_branch()
        # Sessions of other branches are foreign to a CI's job.
        if request.proposal is not None:
            return self._first_on(bases) or self.last(
                "passing",
                f" of this {request.job}",
                Query(any_branch=False, branch=request.branch, proposal=request.proposal),
            )
        own = self.on_branch(request.branch, ", this branch") if request.branch else None
        if own is not None and (request.branch in bases or len(own.sessions) >= request.history):
            return own
        found = self._with_base(own, bases)
        return found if found or request.branch else self.on_branch(None)

    def _bases(self) -> list[str]:
        """Return the branches that the tested one goes into, or is likely to be cut from."""
        told = filter(None, (self.request.base_branch, self.request.default_branch))
        # In CI, git often knows no branch at all.
        usual = ["main", "master"] if self.request.job is not None else []
        return [*dict.fromkeys(told)] or usual

    def _first_on(self, branches: Sequence[str]) -> Choice | None:
        for branch in branches:
            kind = "default" if branch != branches[0] else "base"
            if (found := self.on_branch(branch, f", the {kind} branch")) is not None:
                return found
        return None

    def _with_base(self, own: Choice | None, bases: Sequence[str]) -> Choice | None:
        """Return the sessions on this branch, and those on the one that it was cut from."""
        if own is None:
            return self._first_on(bases)
        first, known = own.sessions[0], self.request.all_ancestors
        request = replace(
            self.request,
            history=self.request.history - len(own.sessions),
            # Where git knows, those that were merged in since then count, too.
            start_time=self.request.start_time if known else first.start_time,
        )
        if known is False and (newest := first.tags.get(BASELINE_NEWEST)):
            # Where the branch was cut off may have been known when it was new.
            with suppress(BaselineError):
                start = self.catalog.session(newest).start_time
                request = replace(request, start_time=start + 1, all_ancestors=None)
        rest = replace(self, request=request)._first_on(bases)
        if rest is None:
            return own
        both = f"{own.provenance.reason}, and {rest.provenance.reason}"
        provenance = replace(own.provenance, reason=both)
        sessions = sorted((*rest.sessions, *own.sessions), key=lambda one: one.start_time)
        return Choice(sessions=tuple(sessions), provenance=provenance)

    def on_branch(self, branch: str | None, words: str = "") -> Choice | None:
        where = f"on {branch}{words}" if branch else "outside of any branch"
        return self.last("passing", f" {where}", Query(any_branch=False, branch=branch))

    def of_pull_requests(self, branch: str) -> Choice | None:
        query = Query(any_branch=False, branch=branch, proposal="*")
        return self.last("passing", f" of pull requests from {branch}", query)

    def of_any_branch(self) -> Choice | None:
        return self.last("complete", " of any branch", Query())

    def last(self, kind: str, words: str, query: Query) -> Choice | None:
        """Return the newest sessions of the ``kind`` complete or passing, or None."""
        query = replace(query, passing=kind == "passing", before=self.request.start_time)
        self.excluded.clear()
        self.others.clear()
        found, others = _Found(), ""
        if self.request.selection is not None:
            found = self._find(replace(query, selection=self.request.selection))
            others = self._count_others(query, found)
        if not found.newest and not (found := self._find(query)).newest:
            return None
        newest = found.newest
        self.queries.append(query)
        count = f"{len(newest)} {kind} sessions" if len(newest) > 1 else f"{kind} session"
        choice = self._choice(newest, f"the last {count}{words}{found.doubt}{others}")
        if not found.ahead:
            return choice
        tested = {one.tags.get(COMMIT) for one in found.ahead}
        lacking = self.request.lacking if query.branch == self.request.base_branch else None
        number = max(lacking or 0, len(tested))
        least = "at least " if lacking is None else ""
        lacks = f"{least}{number} commit{'' if number == 1 else 's'} of {query.branch}"
        ahead = tuple(reversed(found.ahead))
        ids = tuple(one.session_id for one in ahead)
        provenance = replace(choice.provenance, ahead=ids, lacks=lacks)
        return replace(choice, ahead=ahead, provenance=provenance)

    def _count_others(self, query: Query, found: _Found) -> str:
        """Say how many sessions would count too, had they been asked for the same tests."""
        others = [*self.others.values()]
        if self._is_by_commit(query):
            others = self._behind(others)
        if not others or not 0 < len(found.newest) < self.request.history:
            return ""
        return f", without {len(others)} that had other paths or another -m"

    def _is_by_commit(self, query: Query) -> bool:
        """Return whether only sessions count whose commits are behind the tested one."""
        request = self.request
        at_desk = query.branch == request.branch and request.job is None
        is_related = query.branch in (request.branch, *self._bases())
        is_open = query.any_branch or at_desk or not is_related
        return not is_open and request.all_ancestors is not None

    def _find(self, query: Query) -> _Found:
        """Return the newest sessions for a query; on branches those behind the tested commit."""
        request, count = self.request, self.request.history
        is_own = query.branch == request.branch
        if not self._is_by_commit(query):
            return _Found(newest=self._newest(query, count))
        seen: list[Candidate] = []
        behind: list[Candidate] = []
        # A branch may be far ahead, but who asks a server for all of it waits.
        for most in (count, max(_LOOKED_AT, count)):
            if not request.all_ancestors or len(behind) < min(count, most):
                seen = self._newest(query, most)
                behind = self._behind(seen)
        if behind:
            newest = [one for one in seen if one.start_time <= behind[0].start_time]
            newest = [one for one in newest if one in behind or COMMIT not in one.tags]
            ahead = [one for one in seen if one.start_time > behind[0].start_time]
            return _Found(newest=newest[:count], ahead=[] if is_own else ahead[:count])
        doubt = ""
        if request.all_ancestors:
            doubt = " (none of them is of a commit that this one is built on)"
        elif not is_own or query.branch is None:
            doubt = " (whether this commit is built on theirs, git can't tell in a shallow clone)"
            if not request.ancestors:
                doubt = " (whether this commit is built on theirs, git does not tell)"
        return _Found(newest=seen[:count], doubt=doubt)

    def _behind(self, seen: Sequence[Candidate]) -> list[Candidate]:
        """Return those of the sessions on a branch whose commits are behind the tested one."""
        request = self.request
        known = {*request.ancestors, request.base_commit, request.commit} - {None}
        exact = [one for one in seen if one.tags.get(COMMIT) in known]
        if request.all_ancestors:
            return exact
        # A branch goes on from commit to commit: what was tested there before is behind, too.
        first = {one.tags[COMMIT]: one.start_time for one in exact}
        limit = max(first.values(), default=None)
        if limit is None and request.merged_at is not None:
            limit = request.merged_at
        return [one for one in seen if one in exact or (limit and one.start_time <= limit)]

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
        if (why := session.why_unfit) is not None:
            raise BaselineError(f"session {session.session_id} can't be a baseline: {why}")
        if self._too_late(session):
            raise BaselineError(
                f"session {session.session_id} can't be the baseline of one that started earlier"
            )
        query = Query(
            passing=True,
            any_branch=False,
            branch=session.branch,
            proposal=session.proposal,
            before=session.start_time,
            experiment_id=session.experiment_id,
        )
        self.excluded.clear()
        self.queries.append(query)
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
        found: list[Candidate] = []
        if count < 1:
            return found
        for candidate in self.catalog.newest(query):
            if self.why_not(query, candidate) is None:
                found.append(candidate)
                if len(found) == count:
                    break
                continue
            if query.selection is not None:
                alike = replace(query, selection=None)
                if self.why_not(alike, candidate) is None:
                    self.others[candidate.session_id] = candidate
            if candidate.is_excluded:
                included = replace(candidate, exclusion=None)
                if self.why_not(query, included) is None:
                    self.excluded[candidate.session_id] = candidate
        return found

    def why_not(self, query: Query, session: Candidate) -> str | None:
        """Return why a session is no history of the one that the baseline is for, or None."""
        request = self.request
        if session.session_id == request.session_id:
            return "it is the session itself"
        if (why := query.why_not(session)) is not None:
            return why
        if query.tag is not None or (query.any_branch and request.session_id is None):
            # Named by the user, or just the last ones.
            return None
        if query.any_branch and session.proposal not in (None, request.proposal):
            return f"it is of {session.proposal}"
        mine, its = request.repository, session.tags.get(CI_REPOSITORY)
        if mine and its and mine != its:
            return f"it is of another repository, {its}"
        # In CI it is the build that changes files; at a desk that is somebody's work in progress.
        is_work = session.tags.get(DIRTY) == "true" and not session.tags.keys() & {CI_KIND, CI_JOB}
        if is_work and (request.job is not None or session.session_id not in request.here):
            return "its changes were not committed"
        return None

    def _choice(self, newest: list[Candidate], reason: str, *, pinned: bool = False) -> Choice:
        place = self.catalog.place
        told = {name: one.exclusion.reason for name, one in self.excluded.items() if one.exclusion}
        if left := [f"{name}: {why[:_SHORT]}" for name, why in told.items()]:
            few = named_few(left, _NAMED, separator="; ")
            reason = f"{reason}, without what is excluded ({few})"
        provenance = Provenance(spec=str(self.spec), place=place, reason=reason, pinned=pinned)
        return Choice(sessions=tuple(reversed(newest)), provenance=provenance)
