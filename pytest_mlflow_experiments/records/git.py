"""Ask git for the commit of a directory, and for a digest of its uncommitted changes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from .secrets import without_credentials
from .tags import BRANCH, COMMIT, DIRTY, REPOSITORY

_TIMEOUT: Final = 5.0

# Set while git runs a hook; they would tell of another repository, or of none of its files.
_LOCATION: Final = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"})


def git(directory: Path, *arguments: str) -> str | None:
    """Return git's output, or None without git, a repository or an answer in time."""
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=True,
            encoding="utf-8",
            errors="replace",
            env={name: text for name, text in os.environ.items() if name not in _LOCATION},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout


# CI checks out a commit, not a branch; these variables know the branch.
_CI_BRANCHES = (
    *("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "CIRCLE_BRANCH"),
    *("BUILDKITE_BRANCH", "BRANCH_NAME"),
)


def git_tags(rootdir: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the tags for the commit; none outside of git, or before the first commit."""
    status = git(rootdir, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return {}
    lines = status.splitlines()
    head = dict(line.split()[1:3] for line in lines if line.startswith("# branch."))
    tags = {COMMIT: head.get("branch.oid", "(initial)")}
    if tags[COMMIT] == "(initial)":
        return {}
    branch = head.get("branch.head", "(detached)")
    if branch == "(detached)":
        branch = next((environ[name] for name in _CI_BRANCHES if environ.get(name)), "")
    if branch:
        tags[BRANCH] = branch
    tags[DIRTY] = "false" if all(line.startswith("#") for line in lines) else "true"
    if url := git(rootdir, "config", "--get", "remote.origin.url"):
        tags[REPOSITORY] = without_credentials(url.strip())
    return tags


def author(directory: Path) -> str | None:
    """Return who git takes for the author of a commit, with the address; None if nobody."""
    ident = (git(directory, "var", "GIT_AUTHOR_IDENT") or "").strip()
    return ident[: ident.rfind(">") + 1] or None  # without the time


def changed_lines(path: Path, branch: str | None) -> tuple[int, int]:
    """Return how many lines of a file are new here, and gone, since this left a branch.

    Where git can't tell of the branch, only changes that are not committed count.
    """
    directory = path.parent
    names = (f"origin/{branch}", branch) if branch else ()
    bases = (git(directory, "merge-base", name, "HEAD") for name in names)
    base = next(filter(None, bases), "HEAD").strip()
    told = (git(directory, "diff", "--numstat", base, "--", path.name) or "").split()
    return (int(told[0]), int(told[1])) if told and told[0].isdigit() else (0, 0)


def default_branch(rootdir: Path) -> str | None:
    """Return the default branch: the remote's, else main or master."""
    names = ("refs/remotes/origin/HEAD", "refs/heads/main", "refs/heads/master")
    found = git(rootdir, "for-each-ref", "--format=%(refname) %(symref)", *names)
    lines = dict(line.split(" ", 1) for line in (found or "").splitlines())
    if remote := lines.get(names[0]):
        return remote.removeprefix("refs/remotes/origin/")
    return next((name.removeprefix("refs/heads/") for name in names[1:] if name in lines), None)


UNKNOWN: Final = "unknown"
"""The digest of changes if git does not answer."""

# What Python, pytest, Hypothesis and MLflow write beside the code.
_WRITTEN: Final = frozenset(
    {
        *("__pycache__", ".pytest_cache", ".pytest_mlflow", ".hypothesis", ".ipynb_checkpoints"),
        *("mlruns", "mlartifacts"),
    }
)
_SQLITE: Final = ("", "-journal", "-shm", "-wal")
_WRITTEN_NAMES: Final = frozenset(
    f"{name}{end}" for name in ("mlflow.db", ".coverage") for end in _SQLITE
)
_COVERAGE: Final = ".coverage."
"""The prefix of coverage's files of one process each."""

_MOST: Final = 20_000


def changes_digest(directory: Path, *, dirty: bool, outputs: Collection[Path] = ()) -> str | None:
    """Return a digest of the uncommitted changes, or None without any.

    ``dirty`` tells whether files that git knows have changed; ``outputs`` are files that sessions
    write, which don't count.
    """
    untracked = _untracked(directory, outputs)
    if untracked is None or len(untracked) > _MOST:
        return UNKNOWN
    if not dirty and not untracked:
        return None
    content = sha256()
    if dirty:
        # With the full index, binary files are told by the digest of their content.
        options = ("--full-index", "--submodule=diff", "--no-ext-diff", "--no-textconv")
        difference = git(directory, "diff", "HEAD", "--no-color", *options)
        if difference is None:
            return UNKNOWN
        content.update(difference.encode())
    for name in untracked:
        content.update(f"\0{name}".encode())
        with suppress(OSError):  # it has just gone
            status = (directory / name).lstat()
            content.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return content.hexdigest()[:16]


def changed_files(directory: Path, since: float, outputs: Collection[Path] = ()) -> list[str]:
    """Return the names of uncommitted files that were written after a time, the newest first.

    ``since`` is in seconds since the epoch; ``outputs`` are files that sessions write, which don't
    count.
    """
    known = _names(git(directory, "ls-files", "--modified", "-z", ":/")) or []
    times: dict[str, float] = {}
    for name in [*known, *(_untracked(directory, outputs) or ())]:
        with suppress(OSError):  # it was removed
            times[name] = (directory / name).lstat().st_mtime
    return sorted((name for name in times if times[name] >= since), key=lambda name: -times[name])


def _untracked(directory: Path, outputs: Collection[Path]) -> list[str] | None:
    """Return the untracked files that are not ignored, without those that sessions write."""
    # The code may stand beside the tests: all of the repository counts.
    names = _names(git(directory, "ls-files", "--others", "--exclude-standard", "-z", ":/"))
    if names is None:
        return None
    # SQLite has further files beside the one that is named.
    written = {f"{output}{end}" for output in outputs for end in _SQLITE}
    return [name for name in sorted(names) if not _is_written(directory, name, written)]


def _is_written(directory: Path, name: str, written: Collection[str]) -> bool:
    path = PurePosixPath(name)
    if not _WRITTEN.isdisjoint(path.parts):
        return True
    if path.name in _WRITTEN_NAMES or path.name.startswith(_COVERAGE):
        return True
    full = Path(os.path.normpath(directory / name))
    return any(str(one) in written for one in (full, *full.parents))


def _names(listing: str | None) -> list[str] | None:
    return None if listing is None else [name for name in listing.split("\0") if name]
