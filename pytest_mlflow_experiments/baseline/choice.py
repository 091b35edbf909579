"""Choose the sessions of a baseline: pure, whatever the place is that keeps them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import final

from ..records import Provenance
from .catalog import Candidate, Catalog, Query
from .request import BaselineError, BaselineRequest
from .specs import Spec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The sessions of a baseline, at least one, the oldest first."""

    sessions: tuple[Candidate, ...]
    provenance: Provenance


def choose(spec: Spec, request: BaselineRequest, catalog: Catalog) -> Choice | None:
    """Return the sessions that ``spec`` stands for, or None where there are none yet.

    ``spec`` decides; the request's own text is not looked at.

    Raises:
        BaselineError: a session is named that there is not, or that can't be a baseline.
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
        return search.last("complete", f" with the tag {spec.value}", tag=spec.pair)
    if spec.kind == "auto":
        return search.auto()
    return search.of_any_branch()


@final
@dataclass(frozen=True, slots=True)
class _Search:
    """One choice while it is made."""

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
        return self.last("passing", f" {where}", any_branch=False, branch=branch)

    def of_any_branch(self) -> Choice | None:
        return self.last("complete", " of any branch")

    def last(
        self,
        kind: str,
        words: str,
        *,
        any_branch: bool = True,
        branch: str | None = None,
        tag: tuple[str, str] | None = None,
    ) -> Choice | None:
        """Return the newest sessions, or None."""
        query = Query(
            passing=kind == "passing",
            any_branch=any_branch,
            branch=branch,
            tag=tag,
            before=self.request.start_time,
        )
        newest: list[Candidate] = []
        if self.request.selection is not None:
            alike = replace(query, selection=self.request.selection)
            newest = self._newest(alike, self.request.history)
        newest = newest or self._newest(query, self.request.history)
        if not newest:
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
        return self._choice([session, *before], reason)

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

    def _choice(self, newest: list[Candidate], reason: str) -> Choice:
        provenance = Provenance(spec=str(self.spec), place=self.catalog.place, reason=reason)
        return Choice(sessions=tuple(reversed(newest)), provenance=provenance)
