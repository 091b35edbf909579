"""Whose history a session is compared with: what CI tells, and the choice from it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from project import Project, read_session

from pytest_mlflow_experiments.baseline.choice import Candidate, Query, choose
from pytest_mlflow_experiments.baseline.specs import (
    BaselineError,
    BaselineRequest,
    of_session,
    parse_spec,
)
from pytest_mlflow_experiments.records.ci import CiJob, ci_job
from pytest_mlflow_experiments.records.directory import SessionDirectory
from pytest_mlflow_experiments.records.git import git_problem, git_tags
from pytest_mlflow_experiments.records.session_tags import environment_tags
from pytest_mlflow_experiments.records.tags import BRANCH, COMMIT, DIRTY

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "team/project",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_SHA": "5" * 40,
}
PROJECT = {"full_name": "team/project", "default_branch": "main"}


def pull(number: int, branch: str, repository: str | None, base: str = "main") -> dict[str, Any]:
    """Return what GitHub tells of a pull request."""
    source = None if repository is None else {"full_name": repository}
    return {
        "action": "synchronize",
        "number": number,
        "pull_request": {
            "number": number,
            "head": {"ref": branch, "sha": "a" * 40, "repo": source},
            "base": {"ref": base, "sha": "b" * 40, "repo": {"full_name": "team/project"}},
        },
        "repository": PROJECT,
    }


ON_GITHUB: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "push": (
        {"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/main"},
        {"ref": "refs/heads/main", "before": "4" * 40, "forced": False, "repository": PROJECT},
        {"kind": "push", "branch": "main", "commit": "5" * 40, "base_commit": "4" * 40},
    ),
    "push of a new branch": (
        {"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/new"},
        {"before": "0" * 40, "created": True, "repository": PROJECT},
        {"kind": "push", "branch": "new", "commit": "5" * 40},
    ),
    "push with force": (
        {"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/main"},
        {"before": "4" * 40, "forced": True, "repository": PROJECT},
        {"kind": "push", "branch": "main", "commit": "5" * 40},
    ),
    "pull request": (
        {
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_REF": "refs/pull/12/merge",
            "GITHUB_REF_NAME": "12/merge",
            "GITHUB_HEAD_REF": "feature/a",
            "GITHUB_BASE_REF": "main",
        },
        pull(12, "feature/a", "team/project"),
        {"kind": "pull request", "branch": "feature/a", "commit": "a" * 40, "target": "main",
         "number": "12", "source": "team/project"},
    ),
    "of a fork": (
        {
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_REF": "refs/pull/13/merge",
            "GITHUB_HEAD_REF": "main",
            "GITHUB_BASE_REF": "main",
        },
        pull(13, "main", "mallory/project"),
        {"kind": "pull request", "branch": "main", "commit": "a" * 40, "target": "main",
         "number": "13", "source": "mallory/project", "fork": True},
    ),
    "of a fork that is gone": (
        {
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_REF": "refs/pull/13/merge",
            "GITHUB_HEAD_REF": "main",
            "GITHUB_BASE_REF": "main",
        },
        pull(13, "main", None),
        {"kind": "pull request", "branch": "main", "commit": "a" * 40, "target": "main",
         "number": "13", "fork": True},
    ),
    "of a fork, with the base's rights": (
        {
            "GITHUB_EVENT_NAME": "pull_request_target",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_HEAD_REF": "main",
            "GITHUB_BASE_REF": "main",
        },
        pull(14, "main", "mallory/project"),
        {"kind": "pull request", "branch": "main", "commit": "a" * 40, "target": "main",
         "number": "14", "source": "mallory/project", "fork": True},
    ),
    "comment on a pull request": (
        {"GITHUB_EVENT_NAME": "issue_comment", "GITHUB_REF": "refs/heads/main"},
        {"issue": {"number": 15, "pull_request": {"url": "…"}}, "repository": PROJECT},
        {"kind": "pull request", "target": "main", "number": "15"},
    ),
    "after the workflow of a fork": (
        {"GITHUB_EVENT_NAME": "workflow_run", "GITHUB_REF": "refs/heads/main"},
        {
            "workflow_run": {
                "event": "pull_request",
                "head_branch": "main",
                "head_sha": "a" * 40,
                "head_repository": {"full_name": "mallory/project"},
                "pull_requests": [],
            },
            "repository": PROJECT,
        },
        {"kind": "pull request", "branch": "main", "commit": "a" * 40, "target": "main",
         "source": "mallory/project", "fork": True},
    ),
    "merge queue": (
        {
            "GITHUB_EVENT_NAME": "merge_group",
            "GITHUB_REF": f"refs/heads/gh-readonly-queue/release/1.0/pr-12-{'b' * 40}",
        },
        {
            "merge_group": {
                "head_sha": "5" * 40,
                "head_ref": f"refs/heads/gh-readonly-queue/release/1.0/pr-12-{'b' * 40}",
                "base_ref": "refs/heads/release/1.0",
                "base_sha": "b" * 40,
            },
            "repository": PROJECT,
        },
        {"kind": "merge queue", "branch": f"gh-readonly-queue/release/1.0/pr-12-{'b' * 40}",
         "commit": "5" * 40, "target": "release/1.0", "base_commit": "b" * 40, "number": "12"},
    ),
    "tag": (
        {"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/tags/v1", "GITHUB_REF_TYPE": "tag"},
        {"repository": PROJECT},
        {"kind": "tag", "commit": "5" * 40},
    ),
    "schedule": (
        {"GITHUB_EVENT_NAME": "schedule", "GITHUB_REF": "refs/heads/main"},
        {"repository": PROJECT},
        {"kind": "schedule", "branch": "main", "commit": "5" * 40},
    ),
    "by hand, again": (
        {
            "GITHUB_EVENT_NAME": "workflow_dispatch",
            "GITHUB_REF": "refs/heads/dev",
            "GITHUB_RUN_ATTEMPT": "2",
        },
        {"repository": PROJECT},
        {"kind": "manual", "branch": "dev", "commit": "5" * 40, "attempt": "2"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_GITHUB)
def test_jobs_on_github(name: str, tmp_path: Path) -> None:
    environ, event, expected = ON_GITHUB[name]
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event), encoding="utf-8")
    common = {"provider": "github", "repository": "team/project", "default_branch": "main"}
    told = {"attempt": "1", **common, **expected}
    assert ci_job({**GITHUB, **environ, "GITHUB_EVENT_PATH": str(path)}) == CiJob(**told)


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"pull_request": 1, "repository": []}'])
def test_event_that_can_not_be_read(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    job = ci_job({**GITHUB, **ON_GITHUB["pull request"][0], "GITHUB_EVENT_PATH": str(path)})
    assert job is not None
    assert (job.kind, job.number, job.target, job.label) == (
        "pull request", "12", "main", "feature/a",
    )  # fmt: skip


OTHERS: dict[str, tuple[str, CiJob]] = {
    "GitLab, push": (
        "GITLAB_CI=true CI_COMMIT_SHA=555 CI_COMMIT_REF_NAME=main CI_COMMIT_BRANCH=main "
        "CI_DEFAULT_BRANCH=main CI_PROJECT_PATH=team/project CI_PIPELINE_SOURCE=push",
        CiJob(provider="gitlab", branch="main", commit="555", default_branch="main",
              repository="team/project"),
    ),
    "GitLab, merge request of a fork": (
        "GITLAB_CI=true CI_COMMIT_SHA=555 CI_COMMIT_REF_NAME=main CI_MERGE_REQUEST_IID=7 "
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=main CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main "
        "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH=mallory/project CI_DEFAULT_BRANCH=main "
        "CI_MERGE_REQUEST_PROJECT_PATH=team/project CI_PROJECT_PATH=mallory/project "
        "CI_MERGE_REQUEST_DIFF_BASE_SHA=bbb CI_MERGE_REQUEST_EVENT_TYPE=detached",
        CiJob(provider="gitlab", kind="pull request", branch="main", commit="555", target="main",
              base_commit="bbb", default_branch="main", number="7", repository="team/project",
              source="mallory/project", fork=True),
    ),
    "GitLab, merge train": (
        "GITLAB_CI=true CI_COMMIT_SHA=555 CI_MERGE_REQUEST_IID=7 CI_COMMIT_REF_NAME=feature "
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=feature CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=aaa "
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main CI_MERGE_REQUEST_TARGET_BRANCH_SHA=bbb "
        "CI_MERGE_REQUEST_DIFF_BASE_SHA=ccc CI_MERGE_REQUEST_EVENT_TYPE=merge_train "
        "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH=t/p CI_MERGE_REQUEST_PROJECT_PATH=t/p",
        CiJob(provider="gitlab", kind="merge queue", branch="feature", commit="aaa", target="main",
              base_commit="bbb", number="7", repository="t/p", source="t/p"),
    ),
    "GitLab, tag": (
        "GITLAB_CI=true CI_COMMIT_SHA=555 CI_COMMIT_TAG=v1 CI_COMMIT_REF_NAME=v1 "
        "CI_DEFAULT_BRANCH=main",
        CiJob(provider="gitlab", kind="tag", commit="555", default_branch="main"),
    ),
    "GitLab, schedule": (
        "GITLAB_CI=true CI_COMMIT_SHA=555 CI_COMMIT_BRANCH=main CI_PIPELINE_SOURCE=schedule",
        CiJob(provider="gitlab", kind="schedule", branch="main", commit="555"),
    ),
    "GitLab, pull request on GitHub": (
        "GITLAB_CI=true CI_COMMIT_SHA=555 CI_COMMIT_REF_NAME=main "
        "CI_EXTERNAL_PULL_REQUEST_IID=3 CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY=mallory/p "
        "CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY=team/p "
        "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME=main "
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME=dev",
        CiJob(provider="gitlab", kind="pull request", branch="main", commit="555", target="dev",
              number="3", repository="team/p", source="mallory/p", fork=True),
    ),
    "Azure, push": (
        "TF_BUILD=True BUILD_SOURCEBRANCH=refs/heads/release/1.0 BUILD_SOURCEBRANCHNAME=1.0 "
        "BUILD_SOURCEVERSION=555 BUILD_REASON=IndividualCI BUILD_REPOSITORY_NAME=project "
        "SYSTEM_JOBATTEMPT=2",
        CiJob(provider="azure", branch="release/1.0", commit="555", repository="project",
              attempt="2"),
    ),
    "Azure, pull request of a fork": (
        "TF_BUILD=True BUILD_SOURCEBRANCH=refs/pull/9/merge BUILD_SOURCEVERSION=555 "
        "BUILD_REASON=PullRequest BUILD_REPOSITORY_NAME=team/project "
        "SYSTEM_PULLREQUEST_PULLREQUESTID=900 SYSTEM_PULLREQUEST_PULLREQUESTNUMBER=9 "
        "SYSTEM_PULLREQUEST_SOURCEBRANCH=refs/heads/main SYSTEM_PULLREQUEST_SOURCECOMMITID=aaa "
        "SYSTEM_PULLREQUEST_TARGETBRANCH=refs/heads/main SYSTEM_PULLREQUEST_ISFORK=True "
        "SYSTEM_PULLREQUEST_SOURCEREPOSITORYURI=https://github.com/mallory/project.git",
        CiJob(provider="azure", kind="pull request", branch="main", commit="aaa", target="main",
              number="9", repository="team/project", source="mallory/project", fork=True),
    ),
    "Azure, tag": (
        "TF_BUILD=True BUILD_SOURCEBRANCH=refs/tags/v1 BUILD_SOURCEVERSION=555",
        CiJob(provider="azure", kind="tag", commit="555"),
    ),
    "Bitbucket, push": (
        "BITBUCKET_BUILD_NUMBER=1 BITBUCKET_COMMIT=555 BITBUCKET_BRANCH=main "
        "BITBUCKET_REPO_FULL_NAME=team/project",
        CiJob(provider="bitbucket", branch="main", commit="555", repository="team/project"),
    ),
    "Bitbucket, pull request": (
        "BITBUCKET_BUILD_NUMBER=1 BITBUCKET_COMMIT=555 BITBUCKET_BRANCH=feature "
        "BITBUCKET_PR_ID=4 BITBUCKET_PR_DESTINATION_BRANCH=main "
        "BITBUCKET_REPO_FULL_NAME=team/project",
        CiJob(provider="bitbucket", kind="pull request", branch="feature", commit="555",
              target="main", number="4", repository="team/project"),
    ),
    "Jenkins, main": (
        "JENKINS_URL=https://j/ BRANCH_NAME=main GIT_COMMIT=555 BRANCH_IS_PRIMARY=true",
        CiJob(provider="jenkins", branch="main", commit="555", default_branch="main"),
    ),
    "Jenkins, pull request of a fork": (
        "JENKINS_URL=https://j/ BRANCH_NAME=PR-8 CHANGE_ID=8 CHANGE_BRANCH=main "
        "CHANGE_TARGET=main CHANGE_FORK=mallory GIT_COMMIT=555",
        CiJob(provider="jenkins", kind="pull request", branch="main", commit="555", target="main",
              number="8", source="mallory", fork=True),
    ),
    "Jenkins, one branch only": (
        "JENKINS_URL=https://j/ GIT_BRANCH=origin/dev GIT_COMMIT=555",
        CiJob(provider="jenkins", branch="dev", commit="555"),
    ),
    "CircleCI, fork": (
        "CIRCLECI=true CIRCLE_BRANCH=pull/5 CIRCLE_SHA1=555 CIRCLE_PR_NUMBER=5 "
        "CIRCLE_PR_USERNAME=mallory CIRCLE_PR_REPONAME=p CIRCLE_PROJECT_USERNAME=team "
        "CIRCLE_PROJECT_REPONAME=p",
        CiJob(provider="circleci", kind="pull request", branch="pull/5", commit="555", number="5",
              repository="team/p", source="mallory/p", fork=True),
    ),
    "Buildkite, fork": (
        "BUILDKITE=true BUILDKITE_BRANCH=mallory:main BUILDKITE_COMMIT=HEAD "
        "BUILDKITE_PULL_REQUEST=6 BUILDKITE_PULL_REQUEST_BASE_BRANCH=main "
        "BUILDKITE_REPO=git@github.com:team/p.git "
        "BUILDKITE_PULL_REQUEST_REPO=https://github.com/mallory/p.git "
        "BUILDKITE_PIPELINE_DEFAULT_BRANCH=main",
        CiJob(provider="buildkite", kind="pull request", branch="main", target="main",
              default_branch="main", number="6", repository="team/p", source="mallory/p",
              fork=True),
    ),
    "Buildkite, push": (
        "BUILDKITE=true BUILDKITE_BRANCH=dev BUILDKITE_PULL_REQUEST=false "
        "BUILDKITE_COMMIT=5555555",
        CiJob(provider="buildkite", branch="dev", commit="5555555"),
    ),
}  # fmt: skip


def environment(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


@pytest.mark.parametrize("name", OTHERS)
def test_jobs_elsewhere(name: str) -> None:
    text, expected = OTHERS[name]
    assert ci_job(environment(text)) == expected


def test_desk_is_no_job() -> None:
    assert ci_job({"PATH": "/bin", "CODESPACES": "true", "GITHUB_REPOSITORY": "t/p"}) is None
    assert ci_job({"CI": "false"}) is None
    assert ci_job({"CI": "true"}) == CiJob(provider="unknown")


# The choice. Each session of the shelf has a commit that is called as it is.


class Shelf:
    """Sessions in memory."""

    place = "a shelf"

    def __init__(self, *sessions: Candidate) -> None:
        self.sessions = sessions

    def newest(self, query: Query) -> Iterator[Candidate]:
        return iter(sorted(self.sessions, key=lambda entry: -entry.start_time))

    def session(self, session_id: str) -> Candidate:
        raise BaselineError(session_id)

    run = session

    def model(self, name: str, alias: str) -> Candidate:
        raise BaselineError(name + alias)

    def pinned(self) -> str | None:
        return None

    def journals(self, sessions: Sequence[Candidate], directory: Path) -> Iterator[Path | str]:
        raise NotImplementedError


def session(number: int, branch: str | None = "main", job: str = "", **tags: str) -> Candidate:
    """Return the session of a push or, if the job is given, of a CI's job of that kind."""
    told = {"ci.kind": job or "push", COMMIT: f"c{number}", DIRTY: "false"}
    if branch is not None:
        told[BRANCH] = branch
    told |= {name.replace("__", "."): text for name, text in tags.items()}
    return Candidate(
        session_id=f"s{number}",
        start_time=number,
        branch=branch,
        exit_status=0,
        tags={name: text for name, text in told.items() if text},
    )


def pr(number: int, of: int, branch: str = "feature", target: str = "main") -> Candidate:
    return session(number, branch, "pull request", ci__pull_request=f"{of}", ci__target=target)


SHELF = (
    session(1),
    session(2),
    pr(3, 7, "bad"),
    session(4),
    pr(5, 8, "mallory/project:main"),
    pr(6, 9, "main", "release/1.0"),
    session(7, "gh-readonly-queue/main/pr-7-x", "merge queue", ci__pull_request="7"),
    session(8, "experiment"),
    session(9, None, "tag"),
    session(10, git__dirty="true", ci__kind=""),
    session(11, "release/0.9"),
    session(12, ci__repository="mallory/project"),
    pr(13, 7, "bad"),
)

ON_MAIN = "the last 3 passing sessions on main"

JOBS: dict[str, tuple[Candidate, dict[str, Any], str | None, str]] = {
    "a push to main": (session(20), {}, "s1 s2 s4", f"{ON_MAIN}, this branch"),
    "a nightly run": (session(20, job="schedule"), {}, "s1 s2 s4", f"{ON_MAIN}, this branch"),
    "a pull request": (pr(20, 10), {}, "s1 s2 s4", f"{ON_MAIN}, the base branch"),
    "a pull request, again": (pr(20, 7, "bad"), {}, "s1 s2 s4", f"{ON_MAIN}, the base branch"),
    "a fork's pull request from main": (
        pr(20, 8, "mallory/project:main"), {}, "s1 s2 s4", f"{ON_MAIN}, the base branch",
    ),
    "a pull request for a branch without sessions": (pr(20, 11, target="dev"), {}, None, ""),
    "a pull request for a new release branch": (
        session(20, "fix", "pull request", ci__pull_request="12", ci__target="release/1.0",
                ci__default_branch="main"),
        {}, "s1 s2 s4", f"{ON_MAIN}, the default branch",
    ),
    "its second push": (
        pr(20, 7, "bad", "dev"), {}, "s3 s13", "the last 2 passing sessions of this pull request",
    ),
    "a merge queue": (
        session(20, "gh-readonly-queue/main/pr-8-x", "merge queue", ci__pull_request="8",
                ci__target="main"),
        {}, "s1 s2 s4", f"{ON_MAIN}, the base branch",
    ),
    "a new release branch": (
        session(20, "release/1.0"), {}, "s1 s2 s4", f"{ON_MAIN}, the base branch",
    ),
    "a release branch with sessions": (
        session(20, "release/0.9"), {}, "s1 s2 s4 s11",
        f"the last passing session on release/0.9, this branch, and {ON_MAIN}, the base "
        "branch",
    ),
    "a tag": (
        session(20, None, "tag"), {}, "s1 s2 s4", f"{ON_MAIN}, the base branch",
    ),
    "the default branch has another name": (
        session(20, "new", ci__default_branch="release/0.9"), {}, "s11",
        "the last passing session on release/0.9, the base branch",
    ),
    "a desk on main": (
        session(20, ci__kind=""), {"here": ("s10",)}, "s1 s2 s4 s10",
        "the last 4 passing sessions on main, this branch",
    ),
    "another's desk": (
        session(20, ci__kind=""), {"here": ()}, "s1 s2 s4",
        f"{ON_MAIN}, this branch",
    ),
    "a desk on a branch, in a repository without main": (
        session(20, "try", ci__kind=""), {"here": ("s10",)}, "s1 s2 s4 s8 s9 s10 s11",
        "the last 7 complete sessions of any branch",
    ),
}  # fmt: skip


def choice(own: Candidate, facts: Mapping[str, Any], spec: str = "auto") -> Any:
    request = BaselineRequest(spec=spec, session_id=own.session_id, start_time=own.start_time)
    request = of_session(request, {"ci.repository": "team/project", **own.tags})
    return choose(parse_spec(spec), replace(request, **facts), Shelf(*SHELF))


@pytest.mark.parametrize("name", JOBS)
def test_what_a_job_is_compared_with(name: str) -> None:
    own, facts, ids, reason = JOBS[name]
    found = choice(own, facts)
    if ids is None:
        assert found is None
        return
    assert (" ".join(one.session_id for one in found.sessions), found.provenance.reason) == (
        ids, reason,
    )  # fmt: skip


SHALLOW = " (whether this commit is built on theirs, git can't tell in a shallow clone)"

KNOWN: dict[str, tuple[Candidate, dict[str, Any], str, str, str]] = {
    "git knows all": (
        pr(20, 10), {"ancestors": ("x", "c2", "c1"), "all_ancestors": True, "lacking": 5},
        "s1 s2", "s4", "5 commits of main",
    ),
    "up to date": (
        pr(20, 10), {"ancestors": ("x", "c4", "c2", "c1"), "all_ancestors": True, "lacking": 0},
        "s1 s2 s4", "", "",
    ),
    "a commit between was never tested": (
        pr(20, 10), {"ancestors": ("x", "y", "c2"), "all_ancestors": True},
        "s2", "s4", "at least 1 commit of main",
    ),
    "no common history": (
        pr(20, 10), {"ancestors": ("x",), "all_ancestors": True},
        "s1 s2 s4", "", "(none of them is of a commit that this one is built on)",
    ),
    "shallow, and the merge's parent is known": (
        pr(20, 10), {"ancestors": ("x",), "all_ancestors": False, "base_commit": "c2"},
        "s1 s2", "s4", "at least 1 commit of main",
    ),
    "shallow, and the time of the merge is known": (
        pr(20, 10), {"ancestors": ("x",), "all_ancestors": False, "base_commit": "z",
                     "merged_at": 3},
        "s1 s2", "s4", "at least 1 commit of main",
    ),
    "shallow, and nothing tells": (
        pr(20, 10), {"ancestors": ("x",), "all_ancestors": False}, "s1 s2 s4", "", SHALLOW,
    ),
    "git refuses": (
        pr(20, 10), {"all_ancestors": False},
        "s1 s2 s4", "", "(whether this commit is built on theirs, git does not tell)",
    ),
    "an old push to main, again": (
        session(20), {"ancestors": ("c2",), "all_ancestors": False, "commit": "c2"},
        "s1 s2", "", "",
    ),
    "an old push to main, again, whose parent is known": (
        session(20), {"ancestors": ("x",), "all_ancestors": False, "base_commit": "c1"},
        "s1", "", "",
    ),
    "main was pushed with force": (
        session(20), {"ancestors": ("x", "c4", "c1"), "all_ancestors": True}, "s1 s4", "", "",
    ),
    "the first push to main at depth 1": (
        session(20), {"ancestors": ("x",), "all_ancestors": False}, "s1 s2 s4", "", "",
    ),
    "a CI that nobody knows, and no branch": (
        session(20, None), {"ancestors": ("x", "c9"), "all_ancestors": True, "base_branch": "dev"},
        "s9", "", "",
    ),
    "a release branch cut before the newest of main": (
        session(20, "release/1.0"), {"ancestors": ("x", "c2", "c1"), "all_ancestors": True},
        "s1 s2", "s4", "at least 1 commit of main",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_sessions_behind_the_commit_are_preferred(name: str) -> None:
    own, facts, ids, ahead, words = KNOWN[name]
    found = choice(own, {"base_branch": "main", **facts})
    assert " ".join(one.session_id for one in found.sessions) == ids
    assert " ".join(one.session_id for one in found.ahead) == ahead
    assert found.provenance.ahead == tuple(ahead.split())
    if ahead:
        assert found.provenance.lacks == words
    else:
        assert found.provenance.reason.endswith(words)
    assert ("(" in found.provenance.reason) == words.strip().startswith("(")


def test_named_branches_and_latest() -> None:
    own = session(20, "new")
    assert [one.session_id for one in choice(own, {}, "branch:main").sessions] == ["s1", "s2", "s4"]
    found = choice(own, {}, "branch:bad")
    assert [one.session_id for one in found.sessions] == ["s3", "s13"]
    assert found.provenance.reason == "the last 2 passing sessions of pull requests from bad"
    found = choice(own, {}, "latest")
    assert [one.session_id for one in found.sessions] == ["s1", "s2", "s4", "s8", "s9", "s11"]


# What git and the CI tell together.


class Repository:
    """A git repository that knows nothing of the user's configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q")
        self.git("symbolic-ref", "HEAD", "refs/heads/main")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        command = ["git", *who, "-c", "protocol.file.allow=always", *arguments]
        done = subprocess.run(
            command, cwd=self.path, check=True, capture_output=True, encoding="utf-8"
        )
        return done.stdout.strip()

    def commit(self, text: str, name: str = "model.py") -> str:
        (self.path / name).write_text(text, encoding="utf-8")
        self.git("add", name)
        self.git("commit", "-q", "--allow-empty", "-m", text)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def plain_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def repository(tmp_path: Path, plain_git: None) -> Repository:
    return Repository(tmp_path / "repository")


def test_pull_request_has_its_head_commit(repository: Repository, tmp_path: Path) -> None:
    repository.commit("one")
    repository.git("checkout", "-q", "-b", "main-of-fork")
    head = repository.commit("two")
    repository.git("checkout", "-q", "main")
    repository.commit("three", "other.py")
    repository.git("checkout", "-q", "--detach")
    repository.git("merge", "-q", "-m", "merge", "main-of-fork")
    merge = repository.git("rev-parse", "HEAD")
    event = pull(13, "main", "mallory/project")
    event["pull_request"]["head"]["sha"] = head
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event), encoding="utf-8")
    environ = {**GITHUB, **ON_GITHUB["of a fork"][0], "GITHUB_EVENT_PATH": str(path)}
    clone = tmp_path / "clone"
    source = repository.path.as_uri()
    for depth in ([], ["--depth=1"]):
        shutil.rmtree(clone, ignore_errors=True)
        other = Repository(clone)
        other.git("fetch", "-q", *depth, source, merge)
        other.git("checkout", "-q", merge)
        tags = git_tags(clone, {**environ, "GITHUB_SHA": merge})
        assert tags[COMMIT] == head
        assert tags["git.tested"] == merge
        assert tags[BRANCH] == "mallory/project:main"
        assert (tags["ci.kind"], tags["ci.pull_request"]) == ("pull request", "13")
        assert tags["ci.source"] == "mallory/project"
    # A fork that is checked out as it is has a branch called main, too.
    other.git("checkout", "-q", "-B", "main")
    assert git_tags(clone, environ)[BRANCH] == "mallory/project:main"


def test_azure_checks_out_no_branch(repository: Repository) -> None:
    commit = repository.commit("one")
    repository.git("checkout", "-q", "--detach")
    text = f"TF_BUILD=True BUILD_SOURCEBRANCH=refs/heads/main BUILD_SOURCEVERSION={commit}"
    assert git_tags(repository.path, environment(text))[BRANCH] == "main"
    other = "TF_BUILD=True BUILD_SOURCEBRANCH=refs/heads/main BUILD_SOURCEVERSION=1234567"
    assert BRANCH not in git_tags(repository.path, environment(other))


def test_git_that_refuses(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = repository.commit("one")
    environ = {**GITHUB, "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": commit}
    assert git_problem(repository.path) is None
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert git_tags(repository.path, {}) == {}
    tags = git_tags(repository.path, environ)
    assert (tags[COMMIT], tags[BRANCH], tags["ci.kind"]) == (commit, "main", "push")
    assert DIRTY not in tags
    assert environment_tags(repository.path, environ)["git.changes"] == "unknown"
    assert git_problem(repository.path) == (
        "git refuses this checkout, which belongs to another user",
        f"git config --global --add safe.directory {repository.path}",
    )
    monkeypatch.setenv("PATH", "")
    assert git_tags(repository.path, environ)[COMMIT] == commit
    assert git_problem(repository.path) == (
        "git is not installed", "install git where the tests run",
    )  # fmt: skip


def test_directory_that_is_not_the_checkout_of_the_job(plain_git: None, tmp_path: Path) -> None:
    environ = {**GITHUB, "GITHUB_REF": "refs/heads/main"}
    assert git_tags(tmp_path, environ)[COMMIT] == "5" * 40  # an image without .git
    assert git_tags(tmp_path, {**environ, "GITHUB_WORKSPACE": "/somewhere/else"}) == {}
    assert git_problem(tmp_path) is None


# Real sessions.

TEST = """
    from model import ACCURACY

    def test_model():
        accuracy = ACCURACY
        assert accuracy > 0.1
"""
INI = "[pytest]\nmlflow_offline = true\nmlflow_experiment = life\n"


class Life(Repository):
    """A repository whose CI runs ``pytest`` in fresh checkouts, and keeps the sessions.

    ``jobs`` are the lines of a table: the job, what it was compared with, its gate.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path / "origin")
        self.sessions = path / "sessions"
        self.sessions.mkdir()
        self.count = 0
        self.names: dict[str, str] = {}
        self.jobs: list[tuple[str, str, str]] = []
        self.reasons: list[str] = []
        project = Project(self.path)
        project.write(INI, "pytest.ini")
        project.write(TEST, "test_model.py")
        project.write(".pytest_mlflow\n__pycache__\n", ".gitignore")
        self.git("add", ".")
        self.model(0.9, "first")

    def model(self, accuracy: float, text: str) -> str:
        return self.commit(f"ACCURACY = {accuracy}  # {text}\n")

    def job(
        self,
        name: str,
        commit: str,
        *arguments: str,
        depth: int = 0,
        branch: str | None = None,
        event: Mapping[str, Any] | None = None,
        status: int | None = None,
        **environ: str,
    ) -> str:
        """Run the tests of a commit as CI does; return what pytest printed."""
        self.count += 1
        checkout = Repository(self.sessions.parent / f"job-{self.count}")
        shallow = [f"--depth={depth}"] if depth else []
        refs = [commit] if depth else [commit, "+refs/heads/*:refs/remotes/origin/*"]
        checkout.git("remote", "add", "origin", self.path.as_uri())
        checkout.git("fetch", "-q", *shallow, "origin", *refs)
        checkout.git("checkout", "-q", *(["-B", branch] if branch else []), commit)
        kept = checkout.path / ".pytest_mlflow"
        kept.symlink_to(self.sessions, target_is_directory=True)
        told = self.sessions.parent / "event.json"
        told.write_text(json.dumps(event or {"repository": PROJECT}), encoding="utf-8")
        uri = f"sqlite:///{self.sessions.parent / 'mlflow.db'}"
        env = {"GITHUB_SHA": commit, "GITHUB_EVENT_PATH": str(told), **environ}
        env = {"MLFLOW_TRACKING_URI": uri, **env}
        project = Project(checkout.path)
        before = {one.header.session_id for one in project.sessions()}
        flags = ("--mlflow", "--mlflow-gate", "--mlflow-rerun=0", *arguments)
        result = project.pytest(*flags, env=env, status=status)
        (new,) = [one for one in project.sessions() if one.header.session_id not in before]
        self.names[new.header.session_id] = name
        report = json.loads((new.directory.path / "report.json").read_text(encoding="utf-8"))
        baseline = report["baseline"] or {"provenance": {"reason": "the first"}}
        self.reasons.append(baseline["provenance"]["reason"])
        known = [
            self.names[one["session_id"]] for one in (report["baseline"] or {}).get("sessions", ())
        ]
        self.jobs.append((name, ", ".join(known) or "nothing", report["gate"]))
        return result.stdout

    def push(self, name: str, branch: str, commit: str, **options: Any) -> str:
        env = {**GITHUB, "GITHUB_EVENT_NAME": "push", "GITHUB_REF": f"refs/heads/{branch}"}
        return self.job(name, commit, branch=branch, **{**env, **options})

    def pull(
        self, name: str, number: int, branch: str, head: str, source: str = "team/project",
        base: str = "main", **options: Any,
    ) -> str:  # fmt: skip
        """Run the job of a pull request, which tests a merge with the base branch."""
        self.git("checkout", "-q", "--detach", base)
        self.git("merge", "-q", "--no-ff", "-m", f"merge {number}", head)
        merge = self.git("rev-parse", "HEAD")
        # As GitHub does, keep a reference for what no branch has.
        self.git("update-ref", f"refs/pull/{number}/merge", merge)
        event = pull(number, branch, source, base)
        event["pull_request"]["head"]["sha"] = head
        env = {
            **GITHUB,
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_REF": f"refs/pull/{number}/merge",
            "GITHUB_HEAD_REF": branch,
            "GITHUB_BASE_REF": base,
        }
        return self.job(name, merge, event=event, **{**env, **options})

    def session(self, name: str) -> Any:
        """Return the last session of that name."""
        ids = [one for one, known in self.names.items() if known == name]
        return read_session(SessionDirectory(self.sessions / ids[-1]))

    def branch(self, name: str, start: str, accuracy: float | None = None) -> str:
        """Make a branch with one commit; without an accuracy, of another file."""
        self.git("checkout", "-q", "-B", name, start)
        if accuracy is None:
            return self.commit(name, "notes.txt")
        return self.model(accuracy, name)


@pytest.fixture
def life(tmp_path: Path, plain_git: None) -> Life:
    return Life(tmp_path)


@pytest.mark.real
def test_pull_requests_are_not_history_of_main(life: Life) -> None:
    first = life.git("rev-parse", "HEAD")
    second = life.commit("more", "notes.txt")
    # At a desk, with work in progress.
    desk = Project(life.path)
    (life.path / ".pytest_mlflow").symlink_to(life.sessions, target_is_directory=True)
    (life.path / "model.py").write_text("ACCURACY = 0.3 + 0.3\n", encoding="utf-8")
    uri = f"sqlite:///{life.path.parent / 'mlflow.db'}"
    desk.pytest("--mlflow", "--mlflow-baseline=none", env={"MLFLOW_TRACKING_URI": uri})
    (dirty,) = desk.sessions()
    assert dirty.header.name == f"main@{second[:7]}*"
    life.names[dirty.header.session_id] = "desk"
    life.git("checkout", "-q", "model.py")

    life.push("push 1", "main", first, depth=1)
    life.pull("fork", 4, "main", life.branch("of-a-fork", "main"), "mallory/project", depth=1)
    life.push("push 2", "main", second, depth=1)
    bad = life.branch("bad", "main", 0.2)
    life.pull("bad", 5, "bad", bad, depth=1)
    life.push("bad", "bad", bad)
    assert life.jobs == [
        ("push 1", "nothing", "passed"),
        ("fork", "push 1", "passed"),
        ("push 2", "push 1", "passed"),
        ("bad", "push 1, push 2", "failed"),
        ("bad", "push 1, push 2", "failed"),
    ]
    one, fork = life.session("push 1"), life.session("fork")
    assert (one.header.branch, one.header.commit) == ("main", first)
    assert fork.header.name.startswith("mallory/project:main@")
    assert fork.header.commit == life.git("rev-parse", "of-a-fork")


def test_git_that_refuses_is_told_of(life: Life) -> None:
    refuse = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    commit = life.git("rev-parse", "HEAD")
    said = life.push("push", "main", commit, **refuse)
    assert (
        "Git refuses this checkout, which belongs to another user. Commit and branch are taken "
        "from the CI's variables. What helps: git config --global --add safe.directory "
    ) in said
    pulls = [life.branch(name, "main", value) for name, value in (("a", 0.2), ("b", 0.19))]
    for name, head in zip("aab", (pulls[0], pulls[0], pulls[1]), strict=True):
        life.pull(f"pull request {name}", ord(name), name, head, **refuse)
    assert [job[1:] for job in life.jobs] == [("nothing", "passed"), *[("push", "failed")] * 3]
    assert life.session("pull request b").header.commit == pulls[1]


@pytest.mark.parametrize(
    ("ini", "arguments", "text"),
    [
        ("", ["--mlflow-baseline=branch:mian"],
         "there is no session on a branch 'mian'; did you mean branch:main?"),
        ("", ["--mlflow-baseline=branch:nothing-like-it"],
         "there is no branch 'nothing-like-it', and no session on it"),
        ("", ["--mlflow-baseline=tag:release=1"], "no complete session has the tag release=1"),
        ("mlflow_direction = acuracy: max", [],
         "The direction of 'acuracy' is for no metric of this session; did you mean 'accuracy'?"),
    ],
)  # fmt: skip
def test_names_that_match_nothing(
    repository: Repository, ini: str, arguments: list[str], text: str
) -> None:
    project = Project(repository.path)
    project.write(f"{INI}{ini}\n", "pytest.ini")
    project.write(TEST, "test_model.py")
    repository.commit("ACCURACY = 0.9\n")
    repository.git("branch", "other")
    if ini:
        assert text in project.pytest("--mlflow").stdout
    failed = project.pytest("--mlflow", "--mlflow-gate", *arguments, status=1).stdout
    assert "Gate failed" in failed
    assert (
        f"FAILED mlflow gate - {text[:20]}" in failed or f"there is no baseline: {text}" in failed
    )


def test_branch_without_a_session_is_no_mistake(repository: Repository) -> None:
    project = Project(repository.path)
    project.write(INI, "pytest.ini")
    project.write(TEST, "test_model.py")
    repository.commit("ACCURACY = 0.9\n")
    repository.git("branch", "other")
    said = project.pytest("--mlflow", "--mlflow-gate", "--mlflow-baseline=branch:other").stdout
    assert "Gate passed (first run)" in said


@pytest.mark.real
def test_life_of_a_repository(life: Life) -> None:
    """Every job is compared with what is behind it on its branch, or on the one it goes into."""
    shas = [life.git("rev-parse", "HEAD")]
    life.git("config", "uploadpack.allowAnySHA1InWant", "true")
    shas += [life.model(0.9 + number % 2 / 1_000, f"push {number}") for number in range(2, 7)]
    for number, sha in enumerate(shas, 1):
        life.push(f"push {number}", "main", sha, depth=1)
    six = ", ".join(f"push {number}" for number in range(1, 7))

    harmless = life.branch("harmless", "main")
    life.pull("harmless", 1, "harmless", harmless, depth=1)
    worse = life.branch("worse", "main", 0.6)
    for attempt in ("1", "2"):
        life.pull(f"worse {attempt}", 2, "worse", worse, depth=1, GITHUB_RUN_ATTEMPT=attempt)
    same = life.branch("as-bad", "main", 0.601)
    life.pull("as bad", 3, "as bad", same, depth=1)
    life.pull("fork", 4, "main", life.branch("of-a-fork", "main", 0.61), "mallory/project")

    life.git("checkout", "-q", "main")
    better = life.branch("better", "main", 0.95)
    life.pull("better", 5, "better", better, depth=1)
    behind = life.branch("behind", shas[-1])
    life.git("checkout", "-q", "main")
    life.git("merge", "-q", "--ff-only", "better")
    life.commit("more", "notes.md")
    merged = life.git("rev-parse", "HEAD")
    life.push("push 7", "main", merged)

    # GitLab tests a branch as it is, without what its target has got by now.
    gitlab: dict[str, Any] = {
        "GITLAB_CI": "true",
        "CI_COMMIT_SHA": behind,
        "CI_COMMIT_REF_NAME": "behind",
        "CI_MERGE_REQUEST_IID": "6",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "behind",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": shas[-1],
        "CI_DEFAULT_BRANCH": "main",
    }
    for name, depth in (("behind", 0), ("behind, shallow", 1)):
        said = life.job(name, behind, depth=depth, **gitlab)
        commits = "at least 1 commit" if depth else "2 commits"
        assert f"This branch lacks {commits} of main; main improved at {merged[:7]}" in said

    life.git("checkout", "-q", "main")
    bad = life.model(0.7, "bad merge")
    life.push("bad merge", "main", bad)
    reverted = life.model(0.95, "revert")
    life.push("revert", "main", reverted)
    release = life.branch("release/1.0", shas[3])
    life.push("release", "release/1.0", release)
    fix = life.commit("fix", "fix.txt")
    life.push("release again", "release/1.0", fix, depth=2)
    life.git("checkout", "-q", "main")
    queued = life.branch("queued", "main")
    queue = f"gh-readonly-queue/main/pr-9-{reverted}"
    event = {
        "merge_group": {
            "head_sha": queued,
            "head_ref": f"refs/heads/{queue}",
            "base_ref": "refs/heads/main",
            "base_sha": reverted,
        },
        "repository": PROJECT,
    }
    life.push("merge queue", queue, queued, event=event, GITHUB_EVENT_NAME="merge_group", depth=1)

    before = [", ".join(f"push {one}" for one in range(1, number)) for number in range(1, 8)]
    expected = [
        *((f"push {number}", before[number - 1] or "nothing", "passed") for number in range(1, 7)),
        ("harmless", six, "passed"),
        ("worse 1", six, "failed"),
        ("worse 2", six, "failed"),
        ("as bad", six, "failed"),
        ("fork", six, "failed"),
        ("better", six, "passed"),
        ("push 7", six, "passed"),
        ("behind", six, "passed"),
        ("behind, shallow", six, "passed"),
        ("bad merge", f"{six}, push 7", "failed"),
        ("revert", f"{six}, push 7", "passed"),
        ("release", "push 1, push 2, push 3, push 4", "passed"),
        ("release again", "push 1, push 2, push 3, push 4, release", "passed"),
        ("merge queue", f"{six}, push 7, revert", "passed"),
    ]
    assert life.jobs == expected
    assert life.reasons == [
        "the first",
        "the last passing session on main, this branch",
        *(f"the last {count} passing sessions on main, this branch" for count in range(2, 6)),
        *["the last 6 passing sessions on main, the base branch"] * 6,
        "the last 6 passing sessions on main, this branch",
        *["the last 6 passing sessions on main, the base branch"] * 2,
        *["the last 7 passing sessions on main, this branch"] * 2,
        "the last 4 passing sessions on main, the base branch",
        "the last passing session on release/1.0, this branch, and the last 4 passing sessions on "
        "main, the base branch",
        "the last 8 passing sessions on main, the base branch",
    ]
