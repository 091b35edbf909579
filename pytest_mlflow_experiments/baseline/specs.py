"""How users name a baseline, and which branch a change is to be merged into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

Kind: TypeAlias = Literal[
    "auto", "latest", "branch", "session", "run", "tag", "model", "file", "none"
]

FORMS = (
    "auto, latest, branch:NAME, session:ID, run:ID, tag:KEY=VALUE, model:NAME@ALIAS, "
    "file:PATH or none"
)
_WORDS: dict[str, Kind] = {"auto": "auto", "latest": "latest", "none": "none"}
_NAMED: dict[str, Kind] = {
    "branch": "branch",
    "session": "session",
    "run": "run",
    "tag": "tag",
    "model": "model",
    "file": "file",
}

# Set by CI systems while they test a pull or merge request: GitHub, GitLab, Bitbucket, Jenkins,
# Azure, Buildkite.
_BASE_BRANCHES = (
    "GITHUB_BASE_REF",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "BITBUCKET_PR_DESTINATION_BRANCH",
    "CHANGE_TARGET",
    "SYSTEM_PULLREQUEST_TARGETBRANCH",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
)


@final
@dataclass(frozen=True, slots=True)
class Spec:
    """Where a baseline is to be taken from; ``value`` is what stands after the colon, if any."""

    kind: Kind
    value: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """The key and the value of a tag, or the name and the alias of a model."""
        # An alias never holds the separator, a tag's value may.
        if self.kind == "model":
            name, _, alias = self.value.rpartition("@")
            return name, alias
        key, _, value = self.value.partition("=")
        return key, value

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind


def parse_spec(text: str) -> Spec:
    """Read what a user wrote.

    Raises:
        ValueError: it is none of the legal forms; the message lists them.
    """
    word, colon, value = (part.strip() for part in text.partition(":"))
    if colon:
        kind = _NAMED.get(word)
        spec = Spec(kind, value) if kind and value else None
        if spec is not None and kind in ("tag", "model") and not all(spec.pair):
            spec = None
    else:
        spec = Spec(_WORDS[word]) if word in _WORDS else None
    if spec is None:
        raise ValueError(f"{text!r} is not a baseline; expected {FORMS}")
    return spec


def base_branch(environ: Mapping[str, str]) -> str | None:
    """Return the branch that the tested pull or merge request goes into, or None without one."""
    found = next((environ[name] for name in _BASE_BRANCHES if environ.get(name)), "")
    return found.removeprefix("refs/heads/") or None
