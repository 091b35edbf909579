"""Begin a session: its header, the tags that say what it ran on, and its directory."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from ..records import SessionHeader
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.git import changes_digest, git_tags
from ..records.secrets import without_credentials
from .comparison_settings import ComparisonSettings
from .settings import Settings

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


def _ci_job(environ: Mapping[str, str]) -> str | None:
    if environ.get("GITHUB_ACTIONS") == "true":
        server, repository, run = (
            environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")
        )
        return f"{server}/{repository}/actions/runs/{run}"
    url = next((environ[name] for name in _CI_JOB_URLS if environ.get(name)), None)
    return None if url is None else without_credentials(url)


def make_header(settings: Settings, comparing: ComparisonSettings, now: int) -> SessionHeader:
    """Return the header of a session that starts ``now``, in milliseconds since the epoch."""
    outputs = written_files(settings, comparing)
    tags = {**environment_tags(settings.rootdir, outputs=outputs), **settings.tags}
    if settings.own_options is not None:
        tags["pytest.options"] = settings.own_options
    shard = None
    if settings.shard_of is not None:
        shard = comparing.for_whole(settings.shard_of, settings.rootdir)
    return SessionHeader(
        session_id=new_id(now),
        name=settings.run_name or session_name(tags) or f"pytest {_second(now)}",
        start_time=now,
        tracking_uri=without_credentials(settings.tracking_uri),
        experiment_name=settings.experiment_name,
        experiment_id=settings.experiment_id,
        tags=tags,
        accepted=tuple(step.id for step in comparing.accepted),
        shard=shard,
    )


def new_id(now: int) -> str:
    """Return an id for a session that starts ``now``; ids are sorted as their sessions are."""
    return f"{_second(now)}-{now % 1_000:03x}{secrets.token_hex(3)[:5]}"


def _second(now: int) -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(now / 1_000))


def written_files(settings: Settings, comparing: ComparisonSettings) -> tuple[Path, ...]:
    """Return the files that sessions write; they may stand among the code."""
    kind, _, path = settings.tracking_uri.partition(":///")
    store = path.partition("?")[0] if kind.startswith("sqlite") else settings.tracking_uri
    return (*([] if "://" in store or not store else [Path(store)]), *comparing.reports)


def make_directory(rootdir: Path, session_id: str) -> tuple[SessionDirectory, str | None]:
    """Make the session's directory; return also a note where it had to be made elsewhere."""
    try:
        return SessionDirectory.create(rootdir, session_id), None
    except OSError as error:
        temporary = Path(tempfile.mkdtemp(prefix="pytest-mlflow-"))
        directory = SessionDirectory.create(temporary, session_id)
        return directory, (
            f"{DIRECTORY_NAME} can't be used in the rootdir ({error.strerror}); the session is "
            f"kept in {directory.path}"
        )
