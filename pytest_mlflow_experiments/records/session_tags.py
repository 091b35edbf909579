"""The tags of a session's run in MLflow, in the order in which they are set."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from . import tags as tag
from .git import changes_digest, git_tags
from .secrets import without_credentials
from .session import SessionEnd, SessionHeader

# CI systems by the variable that names the page of the running job.
_CI_JOB_URLS = ("CI_JOB_URL", "BUILD_URL", "CIRCLE_BUILD_URL", "BUILDKITE_BUILD_URL")


def environment_tags(
    rootdir: Path, environ: Mapping[str, str] = os.environ, outputs: Collection[Path] = ()
) -> dict[str, str]:
    """Return the tags of the session's environment; the header has these and the user's tags.

    MLflow's detection of the commit looks at ``sys.argv[0]``, which is pytest's script in some
    virtual environment; so the repository is the one that holds ``rootdir``. ``outputs`` are files
    that sessions write: changes of them don't count.
    """
    count, digest = packages_digest(sys.path)
    tags = {
        tag.PYTHON: platform.python_version(),
        tag.PLATFORM: platform.platform(),
        tag.PACKAGES_COUNT: str(count),
        tag.PACKAGES_DIGEST: digest,
    }
    if known := git_tags(rootdir, environ):
        tags.update(known)
        # Without an answer of git's, nobody knows of changes.
        dirty = known.get(tag.DIRTY) == "true"
        if changes := changes_digest(rootdir, dirty=dirty, outputs=outputs):
            tags[tag.CHANGES] = changes
    if job := _ci_job(environ):
        tags[tag.CI_JOB] = job
    return tags


def packages_digest(path: list[str]) -> tuple[int, str]:
    """Return how many distributions are installed, and a digest of their names and versions.

    Only the names of the ``.dist-info`` directories are read, which hold both.
    """
    names: set[str] = set()
    for directory in path:
        with suppress(OSError):
            listed = os.listdir(directory or ".")  # noqa: PTH208 - it may be an archive
            names.update(name for name in listed if name.endswith(".dist-info"))
    lines = "\n".join(sorted(name.removesuffix(".dist-info") for name in names))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return len(names), digest[:16]


def _ci_job(environ: Mapping[str, str]) -> str | None:
    if environ.get("GITHUB_ACTIONS") == "true":
        server, repository, run = (
            environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")
        )
        return f"{server}/{repository}/actions/runs/{run}"
    url = next((environ[name] for name in _CI_JOB_URLS if environ.get(name)), None)
    return None if url is None else without_credentials(url)


def run_tags(header: SessionHeader, *, name: str, user: str) -> dict[str, str]:
    """Return the tags that the run is created with, beside those of the header."""
    return {
        tag.RUN_NAME: name,
        tag.USER: user,
        tag.SOURCE_TYPE: "LOCAL",
        tag.SOURCE_NAME: "pytest",
        tag.SESSION_ID: header.joint_id,
        tag.KIND: "session",
    }


FIXED_TAGS: Final = frozenset({tag.KIND, tag.PARENT, tag.RUN_NAME, tag.SESSION_ID, tag.USER})
"""The tags of the run since its creation, which no later tag may replace."""


def baseline_tags(reason: str, session_ids: Sequence[str] = ()) -> dict[str, str]:
    """Return the tags of the comparison; ``reason`` says why with these sessions, or with none."""
    tags = {tag.BASELINE: reason}
    if session_ids:
        tags |= {tag.BASELINE_SESSIONS: str(len(session_ids)), tag.BASELINE_NEWEST: session_ids[-1]}
    return tags


def end_tags(end: SessionEnd | None) -> dict[str, str]:
    """Return the tags set at the end, which say whether the session can be a baseline."""
    tags = {tag.COMPLETE: "true" if end is not None and end.complete else "false"}
    if end is not None:
        tags[tag.EXIT_STATUS] = str(end.exit_status)
        if end.partial is not None:
            tags[tag.PARTIAL] = end.partial
        if end.selection:
            tags[tag.SELECTION] = "\n".join(end.selection)
    return tags


ShardState: TypeAlias = Literal["running", "finished", "broken off", "merged"]

_SHARD_PREFIX: Final = f"{tag.SHARD}."


def shard_tags(states: Mapping[str, ShardState]) -> dict[str, str]:
    """Return the tags for the states of a session's shards, given by shard id."""
    return {f"{_SHARD_PREFIX}{shard_id}": state for shard_id, state in states.items()}


def shard_states(tags: Mapping[str, str]) -> dict[str, ShardState]:
    """Return the states of the shards by shard id; the inverse of :func:`shard_tags`."""
    return {
        key.removeprefix(_SHARD_PREFIX): cast(ShardState, state)
        for key, state in tags.items()
        if key.startswith(_SHARD_PREFIX)
    }


def merged_tags(header: SessionHeader) -> dict[str, str]:
    """Return the additional tags of a session that was merged from shards."""
    if not header.shards:
        return {}
    states = shard_tags(dict.fromkeys(header.shards, "merged"))
    return {tag.SHARD_COUNT: str(len(header.shards)), **states}
