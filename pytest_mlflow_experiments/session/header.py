"""Begin a session: make its header, its name and its directory."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ..records import SessionHeader
from ..records.directory import DIRECTORY_NAME, SessionDirectory, private
from ..records.git import git_problem
from ..records.secrets import without_credentials
from ..records.session_tags import environment_tags
from ..records.tags import BRANCH, COMMIT, DIRTY, OPTIONS
from .comparison_settings import ComparisonSettings
from .settings import Settings


def session_name(tags: Mapping[str, str]) -> str | None:
    """Return ``branch@commit``, with a ``*`` for uncommitted changes, or None without git."""
    commit = tags.get(COMMIT)
    if commit is None:
        return None
    branch = tags.get(BRANCH, "detached")
    return f"{branch}@{commit[:7]}{'*' if tags.get(DIRTY) == 'true' else ''}"


def git_note(header: SessionHeader, rootdir: Path) -> str | None:
    """Return a note if git refuses to tell of the commit, with what helps; else None."""
    if DIRTY in header.tags or (problem := git_problem(rootdir)) is None:
        return None
    what, helps = problem
    told = "Commit and branch are unknown: sessions of all branches are one history"
    if header.commit is not None:
        told = "Commit and branch are taken from the CI's variables"
    return f"{what[0].upper()}{what[1:]}. {told}. What helps: {helps}"


def make_header(settings: Settings, comparing: ComparisonSettings, now: int) -> SessionHeader:
    """Return the header of a session that starts ``now``, in milliseconds since the epoch."""
    outputs = written_files(settings, comparing)
    tags = {**environment_tags(settings.rootdir, outputs=outputs), **settings.tags}
    if settings.own_options is not None:
        tags[OPTIONS] = settings.own_options
    joint = settings.shard_of
    return SessionHeader(
        session_id=new_id(now),
        name=settings.run_name or session_name(tags) or f"pytest {_second(now)}",
        start_time=now,
        tracking_uri=without_credentials(settings.tracking_uri),
        experiment_name=settings.experiment_name,
        experiment_id=settings.experiment_id,
        tags=tags,
        accepted=tuple(step.id for step in comparing.options.accepted),
        shard=comparing.for_shard(joint, settings.rootdir) if joint is not None else None,
        rules=comparing.rules(),
    )


def new_id(now: int) -> str:
    """Return an id for a session that starts ``now``; ids are sorted as their sessions are."""
    return f"{_second(now)}-{now % 1_000:03x}{secrets.token_hex(3)[:5]}"


def _second(now: int) -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(now / 1_000))


def written_files(settings: Settings, comparing: ComparisonSettings) -> tuple[Path, ...]:
    """Return the files that sessions write, which may be in the repository."""
    kind, _, path = settings.tracking_uri.partition(":///")
    store = path.partition("?")[0] if kind.startswith("sqlite") else settings.tracking_uri
    return (*([] if "://" in store or not store else [Path(store)]), *comparing.reports)


def make_directory(rootdir: Path, session_id: str) -> tuple[SessionDirectory, str | None]:
    """Create the session's directory; also return a note if it is not in the rootdir.

    Raises:
        OSError: it can't be created in the system's temporary directory either.
    """
    try:
        return _made(rootdir, session_id), None
    except OSError as error:
        directory = _made(Path(tempfile.mkdtemp(prefix="pytest-mlflow-")), session_id)
        return directory, (
            f"{DIRECTORY_NAME} can't be used in the rootdir ({error.strerror}); the session is "
            f"kept in {directory.path}"
        )


def _made(root: Path, session_id: str) -> SessionDirectory:
    directory = SessionDirectory.create(root, session_id)
    # Here, for the disk may have no inode left.
    os.close(private(directory.journal, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    return directory
