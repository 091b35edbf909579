"""What a session ran on: commit, CI job, Python, platform, packages; as tags of its run."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from ..credentials import without_credentials
from .changes import changes_digest
from .git import git

# CI checks out a commit, not a branch; these variables know the branch.
_CI_BRANCHES = (
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
    "CIRCLE_BRANCH",
    "BUILDKITE_BRANCH",
    "BRANCH_NAME",
)

# CI systems by the variable that names the page of the running job.
_CI_JOB_URLS = ("CI_JOB_URL", "BUILD_URL", "CIRCLE_BUILD_URL", "BUILDKITE_BUILD_URL")


def environment_tags(
    rootdir: Path, environ: Mapping[str, str] = os.environ, outputs: Collection[Path] = ()
) -> dict[str, str]:
    """Return the tags, MLflow's own names where there are any.

    MLflow's detection of the commit looks at ``sys.argv[0]``, which is pytest's script in some
    virtual environment; so the repository is the one that holds ``rootdir``. ``outputs`` are files
    of which a change is none of the code.
    """
    count, digest = packages_digest(sys.path)
    tags = {
        "python.version": platform.python_version(),
        "platform": platform.platform(),
        "packages.count": str(count),
        "packages.digest": digest,
    }
    if known := git_tags(rootdir, environ):
        tags.update(known)
        dirty = known["git.dirty"] == "true"
        if changes := changes_digest(rootdir, dirty=dirty, outputs=outputs):
            tags["git.changes"] = changes
    if job := _ci_job(environ):
        tags["ci.job"] = job
    return tags


def default_branch(rootdir: Path) -> str | None:
    """Return the branch that others start from: the remote's default one, else main or master."""
    names = ("refs/remotes/origin/HEAD", "refs/heads/main", "refs/heads/master")
    found = git(rootdir, "for-each-ref", "--format=%(refname) %(symref)", *names)
    lines = dict(line.split(" ", 1) for line in (found or "").splitlines())
    if remote := lines.get(names[0]):
        return remote.removeprefix("refs/remotes/origin/")
    return next((name.removeprefix("refs/heads/") for name in names[1:] if name in lines), None)


def session_name(tags: Mapping[str, str]) -> str | None:
    """Return ``branch@commit``, with a star for uncommitted changes, or None outside of git."""
    commit = tags.get("mlflow.source.git.commit")
    if commit is None:
        return None
    branch = tags.get("mlflow.source.git.branch", "detached")
    return f"{branch}@{commit[:7]}{'*' if tags.get('git.dirty') == 'true' else ''}"


def packages_digest(path: list[str]) -> tuple[int, str]:
    """Return how many distributions are installed, and a digest of their names and versions.

    Only the names of the ``.dist-info`` directories are read, which hold both.
    """
    names: set[str] = set()
    for directory in path:
        try:
            entries = os.scandir(directory or ".")
        except OSError:
            continue
        with entries:
            names.update(
                entry.name.removesuffix(".dist-info")
                for entry in entries
                if entry.name.endswith(".dist-info")
            )
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
    return len(names), digest[:16]


def git_tags(rootdir: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the tags that tell of the commit; none outside of git, or before the first one."""
    status = git(rootdir, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return {}
    tags: dict[str, str] = {}
    for line in status.splitlines():
        if line.startswith("# branch.oid ") and "(initial)" not in line:
            tags["mlflow.source.git.commit"] = line.split()[-1]
        elif line.startswith("# branch.head ") and "(detached)" not in line:
            tags["mlflow.source.git.branch"] = line.split()[-1]
    if "mlflow.source.git.commit" not in tags:
        return {}
    if branch := next((environ[name] for name in _CI_BRANCHES if environ.get(name)), None):
        tags.setdefault("mlflow.source.git.branch", branch)
    dirty = any(not line.startswith("#") for line in status.splitlines())
    tags["git.dirty"] = "true" if dirty else "false"
    if url := git(rootdir, "config", "--get", "remote.origin.url"):
        tags["mlflow.source.git.repoURL"] = without_credentials(url.strip())
    return tags


def _ci_job(environ: Mapping[str, str]) -> str | None:
    if environ.get("GITHUB_ACTIONS") == "true":
        server, repository, run = (
            environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")
        )
        return f"{server}/{repository}/actions/runs/{run}"
    url = next((environ[name] for name in _CI_JOB_URLS if environ.get(name)), None)
    return None if url is None else without_credentials(url)
