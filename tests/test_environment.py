from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_mlflow_experiments.records.git import default_branch
from pytest_mlflow_experiments.records.session_tags import environment_tags, packages_digest
from pytest_mlflow_experiments.session.header import session_name

COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
REPOSITORY = "mlflow.source.git.repoURL"
DIRTY = "git.dirty"
CHANGES = "git.changes"


class Repository:
    """A git repository that knows nothing of the user's configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments],
            cwd=self.path,
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
        return done.stdout.strip()

    def commit(self, text: str = "one") -> str:
        (self.path / "file.txt").write_text(text)
        self.git("add", "file.txt")
        self.git("commit", "-q", "-m", text)
        return self.git("rev-parse", "HEAD")

    def tags(self, **environ: str) -> dict[str, str]:
        tags = environment_tags(self.path, environ)
        return {key: value for key, value in tags.items() if "git" in key}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Return an empty repository on the branch "trunk"."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    # A repository around the temporary directory must not be found.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    path = tmp_path / "repository"
    path.mkdir()
    repository = Repository(path)
    repository.git("init", "-q")
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    return repository


def test_clean_repository(repository: Repository) -> None:
    commit = repository.commit()
    assert repository.tags() == {COMMIT: commit, BRANCH: "trunk", DIRTY: "false"}


def test_rootdir_may_be_below_the_repository(repository: Repository) -> None:
    commit = repository.commit()
    below = repository.path / "tests"
    below.mkdir()
    assert environment_tags(below, {})[COMMIT] == commit


def test_branch_may_have_slashes(repository: Repository) -> None:
    repository.commit()
    repository.git("checkout", "-q", "-b", "feature/é-1")
    assert repository.tags()[BRANCH] == "feature/é-1"


@pytest.mark.parametrize("staged", [False, True])
def test_changed_file_makes_it_dirty(repository: Repository, staged: bool) -> None:
    repository.commit()
    (repository.path / "file.txt").write_text("changed")
    if staged:
        repository.git("add", "file.txt")
    assert repository.tags()[DIRTY] == "true"


def test_new_file_does_not_make_it_dirty(repository: Repository) -> None:
    """The database and the session directory are such files."""
    repository.commit()
    (repository.path / "mlflow.db").write_text("")
    assert repository.tags()[DIRTY] == "false"


def test_changes_have_a_digest(repository: Repository) -> None:
    repository.commit()
    assert CHANGES not in repository.tags()
    found: list[str | None] = [None]
    for name, text in (
        ("new.py", "x = 1"),
        ("new.py", "x = 22"),
        ("file.txt", "a"),
        ("file.txt", "b"),
    ):
        (repository.path / name).write_text(text)
        found.append(repository.tags()[CHANGES])
        assert repository.tags()[CHANGES] == found[-1]
    assert len(set(found)) == 5
    (repository.path / "new.py").unlink()
    repository.git("checkout", "-q", "file.txt")
    assert CHANGES not in repository.tags()


def test_new_files_beside_the_tests_count(repository: Repository) -> None:
    repository.commit()
    (repository.path / "new.py").write_text("x = 1")
    below = repository.path / "tests"
    below.mkdir()
    assert CHANGES in environment_tags(below, {})


def test_what_sessions_write_is_no_change(repository: Repository) -> None:
    repository.commit()
    (repository.path / ".gitignore").write_text("ignored\n")
    repository.git("add", ".gitignore")
    repository.git("commit", "-q", "-m", "two")
    for name in ("mlflow.db", "mlruns/1/a", "__pycache__/a.pyc", "ignored", "runs.db-wal", "out/a"):
        path = repository.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    outputs = (repository.path / "runs.db", repository.path / "out")
    assert CHANGES not in environment_tags(repository.path, {}, outputs)
    (repository.path / "runs.database.py").write_text("")
    assert CHANGES in environment_tags(repository.path, {}, outputs)


def test_repository_without_a_commit_has_no_tags(repository: Repository) -> None:
    assert repository.tags() == {}


def test_no_repository_has_no_tags(repository: Repository, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tags = environment_tags(elsewhere, {"GITHUB_REF_NAME": "main"})
    assert not [key for key in tags if "git" in key]


def test_no_git_has_no_tags(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit()
    monkeypatch.setenv("PATH", "")
    assert repository.tags() == {}


def test_detached_head_has_no_branch(repository: Repository) -> None:
    commit = repository.commit()
    repository.git("checkout", "-q", "--detach")
    assert repository.tags() == {COMMIT: commit, DIRTY: "false"}


@pytest.mark.parametrize(
    ("environ", "branch"),
    [
        ({"GITHUB_REF_NAME": "main"}, "main"),
        ({"GITHUB_REF_NAME": "12/merge", "GITHUB_HEAD_REF": "feature"}, "feature"),
        ({"GITHUB_REF_NAME": "main", "GITHUB_HEAD_REF": ""}, "main"),
        ({"CI_COMMIT_REF_NAME": "feature"}, "feature"),
        ({"BRANCH_NAME": "feature"}, "feature"),
    ],
)
def test_ci_knows_the_branch_of_a_detached_head(
    repository: Repository, environ: dict[str, str], branch: str
) -> None:
    repository.commit()
    assert repository.tags(**environ)[BRANCH] == "trunk"
    repository.git("checkout", "-q", "--detach")
    assert repository.tags(**environ)[BRANCH] == branch


def test_remote_is_named_without_credentials(repository: Repository) -> None:
    repository.commit()
    repository.git("remote", "add", "origin", "https://user:t0ken@example.org/team/project.git")
    assert repository.tags()[REPOSITORY] == "https://example.org/team/project.git"


def test_remote_over_ssh_is_left_as_it_is(repository: Repository) -> None:
    repository.commit()
    repository.git("remote", "add", "origin", "git@example.org:team/project.git")
    assert repository.tags()[REPOSITORY] == "git@example.org:team/project.git"


def test_git_hook_of_another_repository_does_not_matter(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git sets variables for its hooks, and tests are run in hooks."""
    commit = repository.commit()
    other = tmp_path / "other"
    other.mkdir()
    Repository(other).git("init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert repository.tags() == {COMMIT: commit, BRANCH: "trunk", DIRTY: "false"}


def test_status_does_not_touch_the_repository(repository: Repository) -> None:
    repository.commit()
    os.utime(repository.path / "file.txt", (1, 1))
    index = repository.path / ".git" / "index"
    before = index.read_bytes()
    repository.tags()
    assert index.read_bytes() == before


def test_tags_are_texts_and_name_the_machine(tmp_path: Path) -> None:
    tags = environment_tags(tmp_path, {})
    assert {"python.version", "platform", "packages.count", "packages.digest"} <= tags.keys()
    assert "ci.job" not in tags
    assert all(type(value) is str and value for value in tags.values())
    assert int(tags["packages.count"]) > 1


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "team/project",
                "GITHUB_RUN_ID": "123",
            },
            "https://github.com/team/project/actions/runs/123",
        ),
        ({"CI_JOB_URL": "https://gitlab.com/job/1"}, "https://gitlab.com/job/1"),
        ({"BUILD_URL": "https://jenkins/1"}, "https://jenkins/1"),
        ({"CIRCLE_BUILD_URL": "https://circle/1"}, "https://circle/1"),
        ({"BUILDKITE_BUILD_URL": "https://buildkite/1"}, "https://buildkite/1"),
        ({"CI_JOB_URL": "", "BUILD_URL": "https://jenkins/1"}, "https://jenkins/1"),
        ({"CI": "true"}, None),
    ],
)
def test_ci_job(tmp_path: Path, environ: dict[str, str], job: str | None) -> None:
    assert environment_tags(tmp_path, environ).get("ci.job") == job


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({}, None),
        ({BRANCH: "main"}, None),
        ({COMMIT: "0123456789abcdef", BRANCH: "main", DIRTY: "false"}, "main@0123456"),
        ({COMMIT: "0123456789abcdef", BRANCH: "main", DIRTY: "true"}, "main@0123456*"),
        ({COMMIT: "0123456789abcdef"}, "detached@0123456"),
    ],
)
def test_session_name(tags: dict[str, str], name: str | None) -> None:
    assert session_name(tags) == name


def install(site: Path, *distributions: str) -> list[str]:
    for distribution in distributions:
        (site / f"{distribution}.dist-info").mkdir(parents=True)
    return [str(site)]


def test_digest_changes_with_a_version(tmp_path: Path) -> None:
    one = packages_digest(install(tmp_path / "one", "numpy-2.0.0", "scipy-1.14.0"))
    same = packages_digest(install(tmp_path / "same", "scipy-1.14.0", "numpy-2.0.0"))
    other = packages_digest(install(tmp_path / "other", "numpy-2.0.1", "scipy-1.14.0"))
    more = packages_digest(install(tmp_path / "more", "numpy-2.0.0", "scipy-1.14.0", "rich-1"))
    assert one == same
    assert len({one, other, more}) == 3
    assert (one[0], more[0]) == (2, 3)


def test_digest_looks_at_distributions_only_and_counts_each_once(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "numpy-2.0.0")
    expected = packages_digest(site)
    (tmp_path / "site" / "numpy").mkdir()
    archive = tmp_path / "python.zip"
    archive.touch()
    assert packages_digest([*site, str(archive), str(tmp_path / "missing"), *site]) == expected


def test_empty_entry_of_the_path_is_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install(tmp_path / "site", "numpy-2.0.0")
    monkeypatch.chdir(site[0])
    assert packages_digest([""]) == packages_digest(site)


def test_default_branch_is_the_remotes_else_main_else_master(
    repository: Repository, tmp_path: Path
) -> None:
    assert default_branch(repository.path) is None
    repository.commit()
    assert default_branch(repository.path) is None
    for name in ("master", "main"):
        repository.git("branch", name)
        assert default_branch(repository.path) == name
    clone = tmp_path / "clone"
    repository.git("clone", "-q", str(repository.path), str(clone))
    assert default_branch(clone) == "trunk"
    assert default_branch(tmp_path) is None
