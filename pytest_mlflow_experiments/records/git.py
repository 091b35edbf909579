"""Ask git for the commit of a directory, and for a digest of its uncommitted changes."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from .ci import PROPOSALS, CiJob, ci_job
from .secrets import without_credentials
from .tags import BRANCH, COMMIT, DIRTY, REPOSITORY, TESTED

_TIMEOUT: Final = 5.0

# Set while git runs a hook; they would tell of another repository, or of none of its files.
_LOCATION: Final = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"})


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str] | str:
    """Return what git did, or why it could not be run."""
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    environ = {name: text for name, text in os.environ.items() if name not in _LOCATION}
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
            encoding="utf-8",
            errors="replace",
            env={**environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError:
        return "git is not installed"
    except (OSError, subprocess.SubprocessError):
        return "git does not answer"


def git(directory: Path, *arguments: str) -> str | None:
    """Return git's output, or None without git, a repository or an answer in time."""
    done = _run(directory, *arguments)
    return None if isinstance(done, str) or done.returncode else done.stdout


def git_tags(rootdir: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the tags for the commit; none outside of git, or before the first commit.

    A CI's variables tell what git does not know, or refuses to tell: CI checks out a commit and not
    a branch, and of a pull request its merge with the target.
    """
    job = ci_job(environ)
    status = git(rootdir, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return _told_by(job) if job is not None and _is_checkout(rootdir, job) else {}
    lines = status.splitlines()
    head = dict(line.split()[1:3] for line in lines if line.startswith("# branch."))
    commit = head.get("branch.oid", "(initial)")
    if commit == "(initial)":
        return {}
    tags = {COMMIT: commit}
    branch: str | None = head.get("branch.head", "(detached)")
    if job is not None and job.kind in PROPOSALS:
        if job.commit is not None and job.commit in parents(rootdir, commit):
            tags |= {COMMIT: job.commit, TESTED: commit}
        # A job may look at the target, too.
        branch = job.label if branch in ("(detached)", job.branch) else branch
    elif branch == "(detached)":
        # Of another commit than the CI's the CI does not know the branch.
        branch = job.label if job is not None and job.commit in (None, commit) else None
    if branch:
        tags[BRANCH] = branch
    tags[DIRTY] = "false" if all(line.startswith("#") for line in lines) else "true"
    if url := git(rootdir, "config", "--get", "remote.origin.url"):
        tags[REPOSITORY] = without_credentials(url.strip())
    return tags | (job.tags() if job is not None else {})


def authors(directory: Path, commits: Collection[str]) -> dict[str, str]:
    """Return the names of the authors of commits, as far as git knows these."""
    legal = [commit for commit in dict.fromkeys(commits) if re.fullmatch("[0-9a-f]{7,64}", commit)]
    options = ("log", "--no-walk=unsorted", "--ignore-missing", "--format=%H%x09%an")
    told = git(directory, *options, *legal, "--") if legal else None
    return dict(line.split("\t", 1) for line in (told or "").splitlines() if "\t" in line)


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


def _told_by(job: CiJob) -> dict[str, str]:
    tags = {COMMIT: job.commit, BRANCH: job.label} if job.commit else {}
    return {key: text for key, text in tags.items() if text} | (job.tags() if tags else {})


def _is_checkout(rootdir: Path, job: CiJob) -> bool:
    """Return whether a directory is likely to be what a CI's variables tell of."""
    return _in_repository(rootdir) or not job.workspace or rootdir.is_relative_to(job.workspace)


def _in_repository(rootdir: Path) -> bool:
    return any((path / ".git").exists() for path in (rootdir, *rootdir.parents))


def path_in_repository(directory: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Return the path from the root of the checkout to a directory, empty for the root itself.

    Where git does not tell, the CI's variable for the checkout does.
    """
    prefix = git(directory, "rev-parse", "--show-prefix")
    if prefix is not None:
        return prefix.rstrip("\n")
    job = ci_job(environ)
    path, root = directory.resolve(), Path((job and job.workspace) or directory).resolve()
    return f"{path.relative_to(root).as_posix()}/" if path.is_relative_to(root) else ""


def git_problem(rootdir: Path) -> tuple[str, str] | None:
    """Return why git tells nothing of a repository and what helps; None where that is right."""
    if not _in_repository(rootdir):
        return None
    done = _run(rootdir, "rev-parse", "--git-dir")
    if isinstance(done, str):
        return done, "install git where the tests run" if "installed" in done else "try again"
    if not done.returncode:
        return None
    if command := re.search(r"git config --global --add safe\.directory .+", done.stderr):
        return "git refuses this checkout, which belongs to another user", command[0]
    text = (done.stderr.strip().splitlines() or ["no reason given"])[0].removeprefix("fatal: ")
    return f"git refuses this checkout ({text})", f"git -C {rootdir} status"


def parents(rootdir: Path, commit: str) -> list[str]:
    """Return the parents of a commit, also those that a shallow clone has not got."""
    return [line[7:] for line in _commit_header(rootdir, commit) if line.startswith("parent ")]


def merge_of(rootdir: Path, commit: str, head: str | None) -> tuple[str, int] | None:
    """Return what a temporary merge added to ``head``, and its time in milliseconds, or None.

    The time is the end of the second that git knows.
    """
    if commit == head:
        return None
    others = [parent for parent in parents(rootdir, commit) if parent != head]
    times = [line for line in _commit_header(rootdir, commit) if line.startswith("committer ")]
    return (
        (others[0], 1_000 * int(times[0].split()[-2]) + 999) if len(others) == 1 and times else None
    )


def _commit_header(rootdir: Path, commit: str) -> list[str]:
    text = git(rootdir, "cat-file", "commit", commit) or ""
    return text.partition("\n\n")[0].splitlines()


_ANCESTORS: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestry:
    """What git knows of the commits before the one that is checked out.

    ``commits`` are the newest of them and the commit itself; ``complete`` tells that there are no
    others. ``lacking`` counts the commits of another branch that are not among them, as far as it
    is known here.
    """

    commits: tuple[str, ...] = ()
    complete: bool = False
    lacking: int | None = None


def ancestry(rootdir: Path, commit: str | None, base: str | None) -> Ancestry | None:
    """Return the ancestry of ``commit``; None if it is not what is checked out, or git is mute."""
    listed = git(rootdir, "rev-list", f"--max-count={_ANCESTORS}", "HEAD")
    commits = tuple((listed or "").split())
    if not commits or commits[0] != commit:
        return None
    shallow = git(rootdir, "rev-parse", "--is-shallow-repository")
    if shallow is None or shallow.strip() != "false":
        return Ancestry(commits=commits)
    lacking = None
    for place in ("remotes/origin", "heads") if base else ():
        ahead = git(rootdir, "rev-list", "--count", f"HEAD..refs/{place}/{base}", "--")
        if ahead is not None:
            lacking = int(ahead)
            break
    return Ancestry(commits=commits, complete=len(commits) < _ANCESTORS, lacking=lacking)


def default_branch(rootdir: Path, branch: str | None = None) -> str | None:
    """Return the branch that others are cut from: the remote's default, else main or master.

    A ``branch`` that follows another one is cut from that.
    """
    names = ["refs/remotes/origin/HEAD"]
    names += [f"refs/{place}/{name}" for place in _PLACES for name in ("main", "master")]
    own = f"refs/heads/{branch}"
    found = git(rootdir, "for-each-ref", "--format=%(refname) %(symref) %(upstream)", *names, own)
    lines = dict(line.split(" ", 1) for line in (found or "").splitlines())
    symref, upstream = ({name: text.split(" ")[n] for name, text in lines.items()} for n in (0, 1))
    cut = re.sub("^refs/(heads|remotes/[^/]+)/", "", upstream.get(own, ""))
    if cut and cut != branch:
        return cut
    if remote := symref.get(names[0]):
        return remote.removeprefix("refs/remotes/origin/")
    return next((name.rpartition("/")[2] for name in names[1:] if name in lines), None)


_PLACES: Final = ("heads", "remotes/origin")


def branches(rootdir: Path, *, ask_remote: bool) -> tuple[set[str], bool]:
    """Return the known branches, and whether there are no others.

    The remote is asked only in CI: whoever clones at a desk has all of its branches.
    """
    places = ("refs/heads", "refs/remotes/origin")
    listed = git(rootdir, "for-each-ref", "--format=%(refname)", *places)
    names, remote = (listed or "").split(), None
    if listed is not None and ask_remote:
        remote = git(rootdir, "ls-remote", "--heads", "origin")
        names += (remote or "").split()[1::2]
    found = {re.sub("^refs/(heads|remotes/origin)/", "", name) for name in names}
    return found, (remote if ask_remote else listed) is not None


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
