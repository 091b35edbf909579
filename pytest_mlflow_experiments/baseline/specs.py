"""Parse what users write for a baseline; the request for one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias, cast, final, get_args

from ..records import SessionHeader
from ..records import tags as tag
from ..records.ci import PROPOSALS, ci_job
from ..records.codec import decode, encode
from ..records.directory import SessionDirectory, write_private
from ..records.git import ancestry, branches, default_branch, merge_of

Kind: TypeAlias = Literal[
    "auto", "latest", "branch", "session", "run", "tag", "model", "file", "none"
]

FORMS = (
    "auto, latest, branch:NAME, session:ID, run:ID, tag:KEY=VALUE, model:NAME@ALIAS, "
    "file:PATH or none"
)
_WORDS = ("auto", "latest", "none")
"""The kinds without a value; the others need one."""


@final
@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed value of ``--mlflow-baseline``; ``value`` is the part after the colon, if any."""

    kind: Kind
    value: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """The key and the value of a tag, or the name and the alias of a model."""
        # An alias never holds the separator, a tag's value may.
        parts = self.value.rpartition("@") if self.kind == "model" else self.value.partition("=")
        return parts[0], parts[2]

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind


def parse_spec(text: str) -> Spec:
    """Parse a value of ``--mlflow-baseline``.

    Raises:
        ValueError: it has none of the legal forms; the message lists them.
    """
    word, colon, value = (part.strip() for part in text.partition(":"))
    spec = Spec(cast("Kind", word), value)
    is_legal = word in get_args(Kind) and bool(value) == bool(colon) == (word not in _WORDS)
    if not is_legal or (word in ("tag", "model") and not all(spec.pair)):
        raise ValueError(f"{text!r} is not a baseline; expected {FORMS}")
    return spec


def base_branch(environ: Mapping[str, str]) -> str | None:
    """Return the target branch of the tested pull or merge request, or None without one."""
    job = ci_job(environ)
    return job.target if job is not None else None


HISTORY = 20
"""The default maximum of sessions of a baseline."""


class BaselineError(Exception):
    """A baseline can't be found or read; the text is for the user."""


class UnknownSessionError(BaselineError):
    """There is no session of the name that the user gave."""


class NothingYetError(BaselineError):
    """There is no baseline yet, as before the first session; this is no error of the user."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRequest:
    """The request for a baseline, for one session or any.

    ``spec`` is the user's text, ``history`` the largest number of sessions. ``session_id`` and
    ``start_time`` (milliseconds since the epoch) are those of the session to be compared: neither
    it nor a later one is part of its baseline. Both are None for any session. Sessions with the
    same ``selection`` of tests on pytest's command line are preferred.

    ``job`` is the kind of the CI's job, None at a desk; ``proposal`` names the pull request or the
    entry of a merge queue that it tests, ``repository`` is that of the branches. ``commit`` is
    checked out, ``ancestors`` the commits before it; ``all_ancestors`` tells that there are no
    others, and is None where nobody has to tell, as outside of git. Where it is False, the CI
    knows that the base branch was at ``base_commit`` or that it is of the time ``merged_at``.
    ``lacking`` counts the commits of the base branch that are not behind the commit. ``here`` are
    the sessions in this checkout.
    """

    spec: str = "auto"
    history: int = HISTORY
    branch: str | None = None
    base_branch: str | None = None
    default_branch: str | None = None
    selection: tuple[str, ...] | None = None
    session_id: str | None = None
    start_time: int | None = None
    job: str | None = None
    proposal: str | None = None
    repository: str | None = None
    commit: str | None = None
    ancestors: tuple[str, ...] = ()
    all_ancestors: bool | None = None
    base_commit: str | None = None
    merged_at: int | None = None
    lacking: int | None = None
    here: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write the request to ``path``, before the tracker that answers it is started."""
        write_private(path, json.dumps(encode(self)))

    @classmethod
    def read(cls, path: Path) -> BaselineRequest | None:
        """Return the request at ``path``, or None if nothing is requested.

        Raises:
            BaselineError: the file is not a request.
        """
        try:
            # The constructor refuses unknown members, the codec what is of a wrong type.
            return decode(cls, encode(cls(**json.loads(path.read_bytes()))))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise BaselineError(f"not a request for a baseline: {error}") from error


def proposal_of(tags: Mapping[str, str]) -> str | None:
    """Return a name for the pull request, or entry of a merge queue, that a session tested.

    It is None for all other sessions: those of branches and tags.
    """
    kind = tags.get(tag.CI_KIND)
    if kind not in PROPOSALS:
        return None
    return f"{kind} {tags.get(tag.CI_PULL_REQUEST) or tags.get(tag.BRANCH) or ''}"


def session_request(
    header: SessionHeader, spec: str, history: int, selection: Sequence[str], rootdir: Path
) -> BaselineRequest:
    """Return the request for a session that ran in the checkout of ``rootdir``."""
    request = BaselineRequest(
        spec=spec,
        history=history,
        selection=tuple(selection),
        session_id=header.session_id,
        start_time=header.start_time,
    )
    return in_checkout(request, header.tags, header.tested, rootdir)


def of_session(request: BaselineRequest, tags: Mapping[str, str]) -> BaselineRequest:
    """Add to a request what the tags of its session tell."""
    return replace(
        request,
        branch=tags.get(tag.BRANCH),
        base_branch=tags.get(tag.CI_TARGET) or tags.get(tag.CI_DEFAULT_BRANCH),
        default_branch=tags.get(tag.CI_DEFAULT_BRANCH),
        job=tags.get(tag.CI_KIND),
        proposal=proposal_of(tags),
        repository=tags.get(tag.CI_REPOSITORY),
    )


def in_checkout(
    request: BaselineRequest, tags: Mapping[str, str], commit: str | None, rootdir: Path
) -> BaselineRequest:
    """Add to a request what the tags of its session, git and the CI tell.

    ``commit`` is what is checked out in ``rootdir``, as far as the session knows.
    """
    request = of_session(request, tags)
    base = request.base_branch or default_branch(rootdir, request.branch)
    here = tuple([one.session_id for one in SessionDirectory.find_all(rootdir)])
    request = replace(request, base_branch=base, commit=commit, here=here)
    at_home = request.job is None and request.branch == base
    if at_home or not request.spec.startswith(("auto", "branch:")) or commit is None:
        return request
    job = ci_job(os.environ)
    base_commit, merged_at = job.base_commit if job is not None else None, None
    known = ancestry(rootdir, commit, base if base != request.branch else None)
    if known is None:
        is_mute = tag.DIRTY not in tags
        unknown = False if is_mute else None
        return replace(request, all_ancestors=unknown, base_commit=base_commit if is_mute else None)
    if request.proposal is not None and not known.complete:
        merged = merge_of(rootdir, commit, tags.get(tag.COMMIT))
        base_commit, merged_at = merged if merged is not None else (base_commit, None)
    return replace(
        request,
        ancestors=known.commits,
        all_ancestors=known.complete,
        base_commit=base_commit,
        merged_at=merged_at,
        lacking=known.lacking,
    )


def why_unknown(request: BaselineRequest, rootdir: Path) -> str | None:
    """Return why a request that nothing was found for looks like a mistake, or None.

    A branch that has no session yet is none.
    """
    kind, _, name = request.spec.partition(":")
    if kind == "tag":
        return f"no complete session has the tag {name}"
    if kind != "branch" or name in (request.branch, request.base_branch):
        return None
    known, certain = branches(rootdir, ask_remote=request.job is not None)
    if name in known:
        return None
    if alike := get_close_matches(name, sorted(known), 1):
        return f"there is no session on a branch {name!r}; did you mean branch:{alike[0]}?"
    if not certain:
        return f"there is no session on a branch {name!r}, and git can't tell whether it exists"
    return f"there is no branch {name!r}, and no session on it"
