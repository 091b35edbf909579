"""Write a comment on the pull request of a CI's job, by the API of GitHub or GitLab."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, final
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from ..analysis.location import UsageError
from ..records.ci import Environ, ci_job
from ..records.secrets import MASK
from ..tracker.errors import TrackerError

_TIMEOUT: Final = 30.0
_PAGES: Final = 1_000
_RETRIES: Final = 4
_PAUSE = 1.0

_Json = Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Thread:
    """The comments of one pull request, and whose token writes them.

    ``update`` returns the URL of a comment and the method that changes it, ``is_own`` tells whether
    a comment may be this token's, given the token's user, if that is known. ``help`` says what
    lets the token write. ``find`` is the URL of the list that has the pull request, if its number
    is not known, and ``commit`` its head; ``comments`` is to be completed then.
    """

    server: str
    comments: str
    user: str
    headers: Mapping[str, str]
    update: Callable[[_Json], tuple[str, str]]
    is_own: Callable[[_Json, _Json | None], bool]
    help: str
    secret: str = field(repr=False)
    find: str = ""
    commit: str = ""


def post_comment(body: str, marker: str, environ: Environ = os.environ) -> str:
    """Write the comment, or update the earlier one with this marker; return what was done.

    Raises:
        UsageError: there is no pull request, or no token.
        TrackerError: the server refuses, or can't be reached.
    """
    thread = _thread(environ)
    with requests.Session() as session:
        # A function is taken for authentication, in place of what ~/.netrc has for the server.
        session.auth = lambda request: _authenticated(request, thread.headers)
        # Not of what would make a second comment.
        retries = Retry(
            _RETRIES,
            connect=1,
            backoff_factor=_PAUSE,
            status_forcelist=(429, 502, 503, 504),
            allowed_methods=("GET", "PATCH", "PUT"),
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
        if thread.find:
            number = _number(session, thread)
            thread = replace(thread, comments=thread.comments.format(number))
        earlier = _earlier(session, thread, marker)
        if earlier is None:
            done = _call(session, thread, "POST", thread.comments, json={"body": body})
            verb = "written"
        else:
            url, method = thread.update(earlier)
            done = _call(session, thread, method, url, json={"body": body})
            verb = "updated"
    page = done.json()
    place = page.get("html_url") if isinstance(page, dict) else None
    return f"The comment is {verb}{f': {place}' if place else ''}"


def _thread(environ: Environ) -> _Thread:
    job = ci_job(environ)
    if job is None or job.provider not in ("github", "gitlab"):
        raise UsageError(
            "--post knows the pull requests of GitHub Actions and GitLab CI, and this is a job of "
            "neither; --comment without it prints the comment"
        )
    # Of pull requests from forks, GitHub tells the run that follows theirs no number.
    is_found = job.provider == "github" and job.kind == "pull request" and job.fork and job.source
    if job.number is None and not is_found:
        what = f"{job.kind} to {job.branch}" if job.branch else job.kind
        raise UsageError(
            f"--post: there is no pull request to comment on, this job tests a {what}; run it in "
            "jobs of pull requests only"
        )
    if job.provider == "github":
        token = environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN")
        if not token:
            raise UsageError(
                "--post needs a token: set GITHUB_TOKEN in the step's env to "
                "${{ github.token }}, and give the job 'permissions: pull-requests: write'"
            )
        api = environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
        repository = f"{api}/repos/{quote(job.repository or '')}"
        issues = f"{repository}/issues"
        head = quote(f"{(job.source or '').partition('/')[0]}:{job.branch or ''}", safe="")
        cause = (
            "the pull request comes from a fork, where the token may only read; post from a "
            "workflow on the event workflow_run, with 'permissions: pull-requests: write'"
            if job.fork
            else "does the job have 'permissions: pull-requests: write'? Of pull requests from "
            "forks the token may only read"
        )
        return _Thread(
            server="GitHub",
            comments=f"{issues}/{quote(job.number or '{}', safe='{}')}/comments",
            find="" if job.number else f"{repository}/pulls?per_page=100&head={head}",
            commit=job.commit or "",
            user=f"{api}/user",
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            update=lambda comment: (f"{issues}/comments/{comment['id']}", "PATCH"),
            is_own=_is_own_on_github,
            help=cause,
            secret=token,
        )
    if environ.get("CI_EXTERNAL_PULL_REQUEST_IID"):
        raise UsageError(
            "--post: the pull request of this GitLab pipeline is on GitHub; post from a job there"
        )
    token, job_token = environ.get("GITLAB_TOKEN"), environ.get("CI_JOB_TOKEN")
    if not token and not job_token:
        raise UsageError(
            "--post needs a token: make GITLAB_TOKEN a masked variable of the project, with an "
            "access token of the scope 'api'"
        )
    api = environ.get("CI_API_V4_URL", "https://gitlab.com/api/v4").rstrip("/")
    # A fork's pipeline may run in the project of the fork.
    project = environ.get("CI_MERGE_REQUEST_PROJECT_ID") or environ.get("CI_PROJECT_ID") or ""
    notes = (
        f"{api}/projects/{quote(project, safe='')}/merge_requests/{quote(job.number or '')}/notes"
    )
    return _Thread(
        server="GitLab",
        comments=notes,
        user=f"{api}/user",
        headers={"PRIVATE-TOKEN": token} if token else {"JOB-TOKEN": job_token or ""},
        update=lambda note: (f"{notes}/{note['id']}", "PUT"),
        is_own=lambda note, user: user is None or _at(note, "author", "id") == user.get("id"),
        help="does GITLAB_TOKEN have the scope 'api' and the role Reporter or higher? Pipelines of "
        "forks don't get it"
        if token
        else "on most servers CI_JOB_TOKEN may not write notes; make GITLAB_TOKEN a masked "
        "variable, with an access token of the scope 'api'",
        secret=token or job_token or "",
    )


def _number(session: requests.Session, thread: _Thread) -> str:
    """Return the number of the open pull request whose head the thread's commit is.

    Raises:
        UsageError: there is none, or not any more.
    """
    for pull in _listed(session, thread, thread.find):
        if _at(pull, "head", "sha") == thread.commit:
            return str(pull["number"])
    raise UsageError(
        f"--post: no open pull request ends with the commit {thread.commit[:7]} that was tested; "
        "it is closed, or has newer commits, which get a comment of their own"
    )


def _is_own_on_github(comment: _Json, user: _Json | None) -> bool:
    if user is not None:
        return bool(_at(comment, "user", "login") == user.get("login"))
    # The token of a job has no user that it may ask for: it is a bot's.
    return bool(_at(comment, "user", "type") == "Bot")


def _earlier(session: requests.Session, thread: _Thread, marker: str) -> _Json | None:
    """Return this token's own comment with the marker, or None: anybody can copy a marker."""
    marked = [
        comment
        for comment in _listed(session, thread, f"{thread.comments}?per_page=100")
        if str(comment.get("body") or "").startswith(marker)
    ]
    if not marked:
        return None
    user: _Json | None = None
    with suppress(TrackerError):
        found = _call(session, thread, "GET", thread.user).json()
        user = found if isinstance(found, dict) else None
    return next((one for one in marked if thread.is_own(one, user)), None)


def _listed(session: requests.Session, thread: _Thread, url: str) -> Iterator[_Json]:
    """Yield the items of a list, page by page."""
    for _ in range(_PAGES):
        answer = _call(session, thread, "GET", url)
        found = answer.json()
        if not isinstance(found, list):
            raise TrackerError(f"{thread.server} answers with something that is no list")
        yield from (one for one in found if isinstance(one, dict))
        url = answer.links.get("next", {}).get("url", "")
        if not url:
            return
        if urlsplit(url)[:2] != urlsplit(thread.comments)[:2]:
            raise TrackerError(f"{thread.server} names a next page on another server")


def _call(
    session: requests.Session, thread: _Thread, method: str, url: str, **options: Any
) -> requests.Response:
    try:
        # Redirected, some headers would go to whatever server is named.
        answer = session.request(method, url, timeout=_TIMEOUT, allow_redirects=False, **options)
        told = answer.json() if answer.status_code != HTTPStatus.NO_CONTENT else None
    except requests.JSONDecodeError:
        told = None
    except requests.RequestException as error:
        raise TrackerError(
            _masked(f"{thread.server} can't be reached: {error}", thread.secret)
        ) from None
    if answer.status_code < HTTPStatus.MULTIPLE_CHOICES and told is not None:
        return answer
    message = told.get("message") or told.get("error") if isinstance(told, dict) else None
    reason = f"{answer.status_code}: {message or answer.reason or 'no reason given'}"
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
        text = f"{thread.server} refuses the comment ({reason}): {thread.help}"
    else:
        text = f"{thread.server} did not take the comment ({reason})"
    raise TrackerError(_masked(text, thread.secret))


def _authenticated(
    request: requests.PreparedRequest, headers: Mapping[str, str]
) -> requests.PreparedRequest:
    request.headers.update(headers)
    return request


def _masked(text: str, secret: str) -> str:
    return " ".join(text.replace(secret, MASK).split())


def _at(data: _Json, *names: str) -> object:
    found: Any = data
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found
