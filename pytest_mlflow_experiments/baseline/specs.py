"""Parse what users write for a baseline; the request for one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast, final, get_args

from ..records import SessionHeader
from ..records.codec import decode, encode
from ..records.git import default_branch

Kind: TypeAlias = Literal[
    "auto", "latest", "branch", "session", "run", "tag", "model", "file", "none"
]

FORMS = (
    "auto, latest, branch:NAME, session:ID, run:ID, tag:KEY=VALUE, model:NAME@ALIAS, "
    "file:PATH or none"
)
_WORDS = ("auto", "latest", "none")
"""The kinds without a value; the others need one."""

# Set by CI systems while they test a pull or merge request: GitHub, GitLab, Bitbucket, Jenkins,
# Azure, Buildkite.
_BASE_BRANCHES = (
    *("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "BITBUCKET_PR_DESTINATION_BRANCH"),
    *("CHANGE_TARGET", "SYSTEM_PULLREQUEST_TARGETBRANCH", "BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
)


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
    found = next((environ[name] for name in _BASE_BRANCHES if environ.get(name)), "")
    return found.removeprefix("refs/heads/") or None


HISTORY = 20
"""The default maximum of sessions of a baseline."""


class BaselineError(Exception):
    """A baseline can't be found or read; the text is for the user."""


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
    """

    spec: str = "auto"
    history: int = HISTORY
    branch: str | None = None
    base_branch: str | None = None
    selection: tuple[str, ...] | None = None
    session_id: str | None = None
    start_time: int | None = None

    def write(self, path: Path) -> None:
        """Write the request to ``path``, before the tracker that answers it is started."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(encode(self)), encoding="utf-8")

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


def session_request(
    header: SessionHeader, spec: str, history: int, selection: Sequence[str], rootdir: Path
) -> BaselineRequest:
    """Return the request for a session that ran in the checkout of ``rootdir``."""
    return BaselineRequest(
        spec=spec,
        history=history,
        branch=header.branch,
        base_branch=base_branch(os.environ) or default_branch(rootdir),
        selection=tuple(selection),
        session_id=header.session_id,
        start_time=header.start_time,
    )
