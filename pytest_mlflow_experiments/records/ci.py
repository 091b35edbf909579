"""Read from the environment what a CI system tells of the code that its job tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from . import tags as tag
from .secrets import without_credentials

Kind: TypeAlias = Literal["push", "pull request", "merge queue", "tag", "schedule", "manual"]
Environ: TypeAlias = Mapping[str, str]

PROPOSALS: Final = frozenset({"pull request", "merge queue"})
"""The kinds of jobs that test what is on no branch yet."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CiJob:
    """What a CI system tells of the tested code; None where it does not tell.

    ``branch`` has the change, ``commit`` is its head; what is checked out may be a temporary merge
    of it with the ``target`` branch. ``base_commit`` is behind it: one of the target or, of a push,
    where the branch was before.
    ``repository`` has the target, ``source`` the change if that comes from a ``fork``. ``number``
    is that of the pull request, ``attempt`` counts the runs of the same job, and ``workspace`` is
    the directory of the checkout.
    """

    provider: str
    kind: Kind = "push"
    branch: str | None = None
    commit: str | None = None
    target: str | None = None
    base_commit: str | None = None
    default_branch: str | None = None
    number: str | None = None
    repository: str | None = None
    source: str | None = None
    fork: bool = False
    attempt: str | None = None
    workspace: str | None = None

    @property
    def label(self) -> str | None:
        """The branch with the change; that of a fork has the name of its repository before it."""
        if self.fork and self.branch:
            return f"{self.source or 'fork'}:{self.branch}"
        return self.branch

    def tags(self) -> dict[str, str]:
        """Return the tags of the job's session."""
        found = {
            tag.CI_PROVIDER: self.provider,
            tag.CI_KIND: self.kind,
            tag.CI_REPOSITORY: self.repository,
            tag.CI_SOURCE: self.source if self.fork else None,
            tag.CI_PULL_REQUEST: self.number,
            tag.CI_TARGET: self.target,
            tag.CI_DEFAULT_BRANCH: self.default_branch,
            tag.CI_ATTEMPT: self.attempt,
        }
        return {key: text for key, text in found.items() if text}


def ci_job(environ: Environ) -> CiJob | None:
    """Return what the CI tells of its job, or None at a desk."""
    for names, read in _PROVIDERS.items():
        if any(environ.get(name) for name in names.split()):
            return read(environ)
    is_other = environ.get("CI", "").lower() not in ("", "0", "false")
    return CiJob(provider="unknown") if is_other else None


def _github(environ: Environ) -> CiJob:
    event = _event(environ.get("GITHUB_EVENT_PATH"))
    ref = environ.get("GITHUB_REF") or ""
    repository = environ.get("GITHUB_REPOSITORY") or _text(event, "repository.full_name")
    name = environ.get("GITHUB_EVENT_NAME") or ""
    common: dict[str, Any] = {
        "provider": "github",
        "default_branch": _text(event, "repository.default_branch"),
        "attempt": environ.get("GITHUB_RUN_ATTEMPT"),
        "workspace": environ.get("GITHUB_WORKSPACE"),
    }
    sha = environ.get("GITHUB_SHA") or None
    head = _text(event, "merge_group.head_ref") or ref
    if queue := re.fullmatch(r"refs/heads/gh-readonly-queue/(.+)/pr-(\d+)-.*", head):
        return CiJob(
            kind="merge queue",
            branch=_branch(head),
            commit=_text(event, "merge_group.head_sha") or sha,
            target=_branch(_text(event, "merge_group.base_ref")) or queue[1],
            base_commit=_text(event, "merge_group.base_sha"),
            number=queue[2],
            repository=repository,
            **common,
        )
    run = event.get("workflow_run")
    if isinstance(run, dict):
        # The job stands on the default branch, whatever the run that it follows was about.
        pull: object = next(iter(run.get("pull_requests") or ()), None)
        source = _text(run, "head_repository.full_name")
        follows_pull = str(run.get("event")).startswith("pull_request")
        return CiJob(
            kind="pull request" if follows_pull else "push",
            branch=_text(run, "head_branch"),
            commit=_text(run, "head_sha"),
            target=_text(pull, "base.ref") or (common["default_branch"] if follows_pull else None),
            number=_text(pull, "number"),
            repository=repository,
            source=source,
            fork=bool(source and source != repository),
            **common,
        )
    number = re.match(r"refs/pull/(\d+)/", ref)
    pull = event.get("pull_request")
    is_comment = bool(_at(event, "issue.pull_request"))
    ends = environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_BASE_REF")
    if isinstance(pull, dict) or is_comment or number or ends:
        known = isinstance(_at(event, "pull_request.head"), dict)
        source = _text(event, "pull_request.head.repo.full_name")
        return CiJob(
            kind="pull request",
            branch=environ.get("GITHUB_HEAD_REF") or _text(event, "pull_request.head.ref"),
            commit=_text(event, "pull_request.head.sha") or (None if is_comment else sha),
            target=environ.get("GITHUB_BASE_REF")
            or _text(event, "pull_request.base.ref")
            or common["default_branch"],
            number=_text(event, "pull_request.number")
            or _text(event, "issue.number")
            or (number[1] if number else None),
            repository=repository,
            source=source,
            # The repository of a fork may be gone.
            fork=known and source != repository,
            **common,
        )
    kinds: dict[str, Kind] = {"schedule": "schedule", "workflow_dispatch": "manual"}
    return _of_ref(
        ref or environ.get("GITHUB_REF_NAME"),
        is_tag=environ.get("GITHUB_REF_TYPE") == "tag",
        kind=kinds.get(name, "push"),
        commit=sha,
        base_commit=None if event.get("forced") else _sha(_text(event, "before")),
        repository=repository,
        **common,
    )


def _gitlab(environ: Environ) -> CiJob:
    get = environ.get
    kinds: dict[str, Kind] = dict.fromkeys(("web", "api", "trigger", "pipeline"), "manual")
    common: dict[str, Any] = {
        "provider": "gitlab",
        "default_branch": get("CI_DEFAULT_BRANCH"),
        "workspace": get("CI_PROJECT_DIR"),
    }
    name = get("CI_COMMIT_REF_NAME") or ""
    request = re.match(r"refs/merge-requests/(\d+)/", get("CI_MERGE_REQUEST_REF_PATH") or name)
    # A pull request on GitHub, with its pipeline here, has names of its own.
    kind = "EXTERNAL_PULL_REQUEST" if get("CI_EXTERNAL_PULL_REQUEST_IID") else "MERGE_REQUEST"
    if request or get(f"CI_{kind}_IID") or get(f"CI_{kind}_TARGET_BRANCH_NAME"):
        external = kind.startswith("EXTERNAL")
        ends = ("SOURCE_REPOSITORY", "TARGET_REPOSITORY")
        source, target = (
            get(f"CI_{kind}_{end}")
            for end in (ends if external else ("SOURCE_PROJECT_PATH", "PROJECT_PATH"))
        )
        train = get("CI_MERGE_REQUEST_EVENT_TYPE") == "merge_train"
        return CiJob(
            kind="merge queue" if train else "pull request",
            branch=get(f"CI_{kind}_SOURCE_BRANCH_NAME"),
            commit=get(f"CI_{kind}_SOURCE_BRANCH_SHA") or get("CI_COMMIT_SHA"),
            target=get(f"CI_{kind}_TARGET_BRANCH_NAME") or common["default_branch"],
            # Only a pipeline of the merged result has a commit of the target.
            base_commit=get("CI_MERGE_REQUEST_TARGET_BRANCH_SHA")
            or get("CI_MERGE_REQUEST_DIFF_BASE_SHA"),
            number=get(f"CI_{kind}_IID") or (request[1] if request else None),
            repository=target or get("CI_PROJECT_PATH"),
            source=source,
            fork=bool(source and target and source != target),
            **common,
        )
    source_kind = get("CI_PIPELINE_SOURCE") or ""
    return _of_ref(
        get("CI_COMMIT_TAG") or get("CI_COMMIT_BRANCH") or name,
        is_tag=bool(get("CI_COMMIT_TAG")),
        kind="schedule" if source_kind == "schedule" else kinds.get(source_kind, "push"),
        commit=get("CI_COMMIT_SHA"),
        base_commit=_sha(get("CI_COMMIT_BEFORE_SHA")),
        repository=get("CI_PROJECT_PATH"),
        **common,
    )


def _azure(environ: Environ) -> CiJob:
    get = environ.get
    ref = get("BUILD_SOURCEBRANCH") or ""
    common: dict[str, Any] = {
        "provider": "azure",
        "attempt": get("SYSTEM_JOBATTEMPT"),
        "workspace": get("BUILD_SOURCESDIRECTORY"),
    }
    repository = get("BUILD_REPOSITORY_NAME")
    target = get("SYSTEM_PULLREQUEST_TARGETBRANCH") or get("SYSTEM_PULLREQUEST_TARGETBRANCHNAME")
    number = re.match(r"refs/pull/(\d+)/", ref)
    if target or number:
        fork = (get("SYSTEM_PULLREQUEST_ISFORK") or "").lower() == "true"
        source = without_credentials(get("SYSTEM_PULLREQUEST_SOURCEREPOSITORYURI") or "")
        source = re.sub(r"^\w+://[^/]+/|\.git$", "", source)
        return CiJob(
            kind="pull request",
            branch=_branch(get("SYSTEM_PULLREQUEST_SOURCEBRANCH")),
            commit=get("SYSTEM_PULLREQUEST_SOURCECOMMITID") or get("BUILD_SOURCEVERSION"),
            target=_branch(target),
            number=get("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER")
            or get("SYSTEM_PULLREQUEST_PULLREQUESTID")
            or (number[1] if number else None),
            repository=repository,
            source=source or None,
            fork=fork,
            **common,
        )
    kinds: dict[str, Kind] = {"Schedule": "schedule", "Manual": "manual"}
    return _of_ref(
        ref,
        kind=kinds.get(get("BUILD_REASON") or "", "push"),
        commit=get("BUILD_SOURCEVERSION"),
        repository=repository,
        **common,
    )


def _bitbucket(environ: Environ) -> CiJob:
    get = environ.get
    pull = get("BITBUCKET_PR_ID") or get("BITBUCKET_PR_DESTINATION_BRANCH")
    return _of_ref(
        get("BITBUCKET_TAG") or get("BITBUCKET_BRANCH"),
        is_tag=bool(get("BITBUCKET_TAG")),
        kind="pull request" if pull else "push",
        provider="bitbucket",
        commit=get("BITBUCKET_COMMIT"),
        target=get("BITBUCKET_PR_DESTINATION_BRANCH"),
        number=get("BITBUCKET_PR_ID"),
        repository=get("BITBUCKET_REPO_FULL_NAME"),
        attempt=get("BITBUCKET_STEP_RUN_NUMBER"),
        workspace=get("BITBUCKET_CLONE_DIR"),
    )


def _circle(environ: Environ) -> CiJob:
    get = environ.get
    here = "/".join(filter(None, map(get, ("CIRCLE_PROJECT_USERNAME", "CIRCLE_PROJECT_REPONAME"))))
    branch = get("CIRCLE_BRANCH")
    # Others' pull requests are told by these; those of the repository itself are pushes.
    fork = bool(get("CIRCLE_PR_USERNAME") or (branch or "").startswith("pull/"))
    number = get("CIRCLE_PR_NUMBER") or ((branch or "").removeprefix("pull/") if fork else None)
    source = "/".join(filter(None, map(get, ("CIRCLE_PR_USERNAME", "CIRCLE_PR_REPONAME"))))
    return _of_ref(
        get("CIRCLE_TAG") or branch,
        is_tag=bool(get("CIRCLE_TAG")),
        kind="pull request" if fork else "push",
        provider="circleci",
        commit=get("CIRCLE_SHA1"),
        number=number,
        repository=here or None,
        source=source or None,
        fork=fork,
    )


def _buildkite(environ: Environ) -> CiJob:
    get = environ.get
    number = get("BUILDKITE_PULL_REQUEST")
    number = None if number in (None, "", "false") else number
    queue = get("BUILDKITE_MERGE_QUEUE_BASE_BRANCH")
    here, source = (
        without_credentials(get(name) or "").removesuffix(".git") or None
        for name in ("BUILDKITE_REPO", "BUILDKITE_PULL_REQUEST_REPO")
    )
    fork = bool(number and here and source and _path(here) != _path(source))
    branch = get("BUILDKITE_BRANCH")
    return _of_ref(
        get("BUILDKITE_TAG") or (branch.rpartition(":")[2] if fork and branch else branch),
        is_tag=bool(get("BUILDKITE_TAG")),
        kind="merge queue" if queue else "pull request" if number else "push",
        provider="buildkite",
        commit=_sha(get("BUILDKITE_COMMIT")),
        target=queue or get("BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
        base_commit=get("BUILDKITE_MERGE_QUEUE_BASE_COMMIT"),
        default_branch=get("BUILDKITE_PIPELINE_DEFAULT_BRANCH"),
        number=number,
        repository=_path(here),
        source=_path(source),
        fork=fork,
        attempt=get("BUILDKITE_RETRY_COUNT"),
        workspace=get("BUILDKITE_BUILD_CHECKOUT_PATH"),
    )


def _jenkins(environ: Environ) -> CiJob:
    get = environ.get
    branch = get("BRANCH_NAME") or (get("GIT_BRANCH") or "").removeprefix("origin/")
    pull = get("CHANGE_ID") or get("CHANGE_TARGET")
    fork = get("CHANGE_FORK")
    return _of_ref(
        get("TAG_NAME") or (get("CHANGE_BRANCH") if pull else None) or branch,
        is_tag=bool(get("TAG_NAME")) and not pull,
        kind="pull request" if pull else "push",
        provider="jenkins",
        commit=get("GIT_COMMIT"),
        target=get("CHANGE_TARGET"),
        default_branch=branch if get("BRANCH_IS_PRIMARY") == "true" and not pull else None,
        number=get("CHANGE_ID"),
        source=fork,
        fork=bool(fork),
        workspace=get("WORKSPACE"),
    )


_PROVIDERS: Final[Mapping[str, Callable[[Environ], CiJob]]] = {
    "GITHUB_ACTIONS GITHUB_REF GITHUB_REF_NAME GITHUB_HEAD_REF GITHUB_BASE_REF": _github,
    "GITLAB_CI CI_COMMIT_REF_NAME CI_MERGE_REQUEST_TARGET_BRANCH_NAME": _gitlab,
    "TF_BUILD BUILD_SOURCEBRANCH SYSTEM_PULLREQUEST_TARGETBRANCH": _azure,
    "BITBUCKET_BUILD_NUMBER BITBUCKET_COMMIT BITBUCKET_PR_DESTINATION_BRANCH": _bitbucket,
    "CIRCLECI CIRCLE_BRANCH CIRCLE_TAG": _circle,
    "BUILDKITE BUILDKITE_BRANCH BUILDKITE_PULL_REQUEST_BASE_BRANCH": _buildkite,
    "JENKINS_URL CHANGE_ID CHANGE_TARGET BRANCH_NAME": _jenkins,
}
"""How to read each system's variables, by those that only it sets."""


def _of_ref(ref: str | None, *, kind: Kind = "push", is_tag: bool = False, **told: Any) -> CiJob:
    """Return the job of a branch or, if the reference is one, of a tag, which is on no branch."""
    if is_tag or (ref or "").startswith("refs/tags/"):
        return CiJob(kind="tag", **told)
    return CiJob(kind=kind, branch=_branch(ref), **told)


def _branch(ref: str | None) -> str | None:
    return (ref or "").removeprefix("refs/heads/") or None


def _sha(text: str | None) -> str | None:
    """Return a commit; systems may name one as ``HEAD``, and none by zeros."""
    return text if text and re.fullmatch("(?!0+$)[0-9a-f]{7,64}", text) else None


def _path(url: str | None) -> str | None:
    """Return the path of a repository's URL, in either notation."""
    return re.sub(r"^\w+://[^/]+/|^[^/]*@[^:/]+:", "", url) if url else None


def _event(path: str | None) -> dict[str, Any]:
    """Return GitHub's description of what has happened; empty if there is none to read."""
    try:
        event = json.loads(Path(path).read_bytes()) if path else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _at(data: object, path: str) -> object:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _text(data: object, path: str) -> str | None:
    """Return the text or number at a dotted path, or None if there is none."""
    found = _at(data, path)
    return str(found) if isinstance(found, str | int) and found != "" else None
