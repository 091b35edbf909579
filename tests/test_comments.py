"""``pytest-mlflow report``: the comment on a pull request, and the body of a check run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from comparisons import make_comparison, make_metric, make_session
from forge import TOKEN, Forge, open_forge
from project import Project, Result

from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.report.json import render_json

HEAD = "a" * 40


@pytest.fixture
def forge() -> Iterator[Forge]:
    with open_forge() as forge:
        yield forge


def keep(project: Project, comparison: Comparison, name: str = "20261123-120000-1") -> Path:
    """Keep a comparison as the newest session's."""
    directory = SessionDirectory.create(project.path, name)
    directory.journal.touch()
    directory.report.write_text(render_json(comparison), encoding="utf-8")
    return directory.path


def github(project: Project, forge: Forge, **pull: Any) -> dict[str, str]:
    """Return the environment of a job for the pull request 7."""
    path = project.path / "event.json"
    head = {"ref": "faster", "sha": HEAD, "repo": {"full_name": "me/models"}, **pull}
    event = {"pull_request": {"number": 7, "head": head, "base": {"ref": "main"}}}
    path.write_text(json.dumps(event), encoding="utf-8")
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(path),
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_SHA": "b" * 40,
        "GITHUB_REPOSITORY": "me/models",
        "GITHUB_API_URL": forge.url,
        "GITHUB_TOKEN": TOKEN,
    }


def gitlab(forge: Forge) -> dict[str, str]:
    """Return the environment of a job for the merge request 7."""
    return {
        "GITLAB_CI": "true",
        "CI_API_V4_URL": forge.url,
        "CI_PROJECT_ID": "34",  # of a fork
        "CI_MERGE_REQUEST_PROJECT_ID": "12",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "faster",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_COMMIT_SHA": HEAD,
        "GITLAB_TOKEN": TOKEN,
    }


def environment(where: str, project: Project, forge: Forge) -> dict[str, str]:
    return github(project, forge) if where == "github" else gitlab(forge)


def post(
    project: Project, env: Mapping[str, str], *arguments: str, status: int | None = 0
) -> Result:
    result = project.cli("report", "--comment", "--post", *arguments, env=env, status=status)
    assert TOKEN not in result.stdout + result.stderr
    return result


@pytest.mark.parametrize("user", [None, "ci"])
@pytest.mark.parametrize("where", ["github", "gitlab"])
def test_the_comment_is_written_once_and_then_updated(
    where: str, user: str | None, project: Project, forge: Forge
) -> None:
    env = environment(where, project, forge)
    forge.comments = {n: (f"of somebody else {n}", "ann") for n in range(1, 6)}
    forge.page, forge.user = 2, user
    keep(project, make_comparison(make_metric("regressed")))
    first = post(project, env)
    assert first.stdout == f"The comment is written: {forge.url}/comment-6\n"
    assert "Gate failed: 1 metric regressed" in forge.bodies[-1]
    forge.comments |= {n: (f"of somebody else {n}", "ann") for n in range(7, 12)}
    keep(project, make_comparison(make_metric()), "20261123-120000-2")
    second = post(project, env)
    assert second.stdout == f"The comment is updated: {forge.url}/comment-6\n"
    assert len(forge.comments) == 11
    assert "Gate passed: nothing got worse" in forge.bodies[5]
    assert all(body.startswith("of somebody else") for body in forge.bodies[:5] + forge.bodies[6:])


@pytest.mark.parametrize("where", ["github", "gitlab"])
def test_each_key_has_a_comment_of_its_own(where: str, project: Project, forge: Forge) -> None:
    env = environment(where, project, forge)
    keep(project, make_comparison(make_metric()))
    for _ in range(2):
        for key in ("models", "more models"):
            project.cli("report", "--comment", key, "--post", env=env)
    assert [body.splitlines()[0] for body in forge.bodies] == [
        "<!-- pytest-mlflow: models -->",
        "<!-- pytest-mlflow: more models -->",
    ]


@pytest.mark.parametrize(("where", "user"), [("github", None), ("github", "ci"), ("gitlab", "ci")])
def test_whoever_copies_the_marker_is_left_alone(
    where: str, user: str | None, project: Project, forge: Forge
) -> None:
    forge.user = user
    forge.comments[1] = ("<!-- pytest-mlflow: comparison -->\nall is well", "mallory")
    keep(project, make_comparison(make_metric("regressed")))
    for _ in range(2):
        post(project, environment(where, project, forge))
    assert forge.comments[1][0].endswith("all is well")
    assert len(forge.comments) == 2


def test_the_token_goes_where_it_belongs(project: Project, forge: Forge) -> None:
    keep(project, make_comparison(make_metric()))
    (project.path / ".netrc").write_text("machine 127.0.0.1\nlogin me\npassword x\n")
    home = {"HOME": str(project.path), "NETRC": str(project.path / ".netrc")}
    post(project, {**github(project, forge), **home})
    assert all(sent["Authorization"] == f"Bearer {TOKEN}" for _, _, sent in forge.requests)
    forge.requests.clear()
    post(project, {**gitlab(forge), "CI_JOB_TOKEN": "other", **home})
    assert all(sent["PRIVATE-TOKEN"] == TOKEN for _, _, sent in forge.requests)
    forge.requests.clear()
    env = {**gitlab(forge), "GITLAB_TOKEN": "", "CI_JOB_TOKEN": TOKEN}
    post(project, {**env, **home})
    assert all(sent["JOB-TOKEN"] == TOKEN for _, _, sent in forge.requests)
    assert not any("Authorization" in sent for _, _, sent in forge.requests)


@pytest.mark.parametrize(
    ("where", "changes", "words"),
    [
        ("github", {"GITHUB_TOKEN": ""}, "set GITHUB_TOKEN in the step's env"),
        ("gitlab", {"GITLAB_TOKEN": ""}, "make GITLAB_TOKEN a masked variable"),
        (
            "github",
            {"GITHUB_EVENT_PATH": "", "GITHUB_REF": "refs/heads/main"},
            "there is no pull request to comment on, this job tests a push to main",
        ),
        (
            "gitlab",
            {"CI_MERGE_REQUEST_IID": "", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": ""},
            "there is no pull request to comment on",
        ),
        ("github", {"GITHUB_ACTIONS": "", "GITHUB_REF": ""}, "a job of neither"),
    ],
)
def test_what_is_lacking_is_said(
    where: str, changes: dict[str, str], words: str, project: Project, forge: Forge
) -> None:
    keep(project, make_comparison(make_metric()))
    env = {**environment(where, project, forge), **changes}
    result = post(project, env, status=2)
    assert words in result.stderr
    assert not forge.requests


@pytest.mark.parametrize(
    ("where", "answers", "words"),
    [
        (
            "github",
            {"POST": (403, {"message": "Resource not accessible by integration"})},
            "GitHub refuses the comment (403: Resource not accessible by integration): does the "
            "job have 'permissions: pull-requests: write'?",
        ),
        ("gitlab", {"POST": (403, {"message": "403 Forbidden"})}, "the scope 'api'"),
        ("gitlab", {"GET": (401, {"error": "insufficient_scope"})}, "401: insufficient_scope"),
        ("github", {"GET": (200, {"no": "list"})}, "something that is no list"),
        ("github", {"GET": (200, b"<html>a proxy</html>")}, "did not take the comment (200"),
        ("github", {"POST": (422, {"message": f"too long {TOKEN}"})}, "422: too long ***"),
        ("github", {"GET": (302, {})}, "302"),
        ("github", {"POST": (502, b"")}, "502"),
    ],
)
def test_refusals_are_told(
    where: str,
    answers: dict[str, tuple[int, Any]],
    words: str,
    project: Project,
    forge: Forge,
) -> None:
    keep(project, make_comparison(make_metric()))
    forge.answers = answers
    result = post(project, environment(where, project, forge), status=1)
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not forge.comments


def test_a_fork_s_token_may_only_read(project: Project, forge: Forge) -> None:
    keep(project, make_comparison(make_metric()))
    forge.answers = {"POST": (403, {"message": "Resource not accessible by integration"})}
    env = github(project, forge, repo={"full_name": "mallory/models"})
    assert "comes from a fork, where the token may only read" in post(project, env, status=1).stderr


def test_pull_request_of_a_fork_is_found_from_the_run_that_follows_it(
    project: Project, forge: Forge
) -> None:
    keep(project, make_comparison(make_metric()))
    env = {**github(project, forge), "GITHUB_EVENT_NAME": "workflow_run"}
    env["GITHUB_REF"] = "refs/heads/main"
    run = {
        "event": "pull_request",
        "head_branch": "faster",
        "head_sha": HEAD,
        "head_repository": {"full_name": "mallory/models"},
        "pull_requests": [],
    }
    Path(env["GITHUB_EVENT_PATH"]).write_text(json.dumps({"workflow_run": run}), encoding="utf-8")
    forge.pulls = [{"number": 6, "head": {"sha": "c" * 40}}, {"number": 7, "head": {"sha": HEAD}}]
    assert "The comment is written" in post(project, env).stdout
    assert len(forge.bodies) == 1
    forge.pulls.pop()
    text = "no open pull request ends with the commit aaaaaaa"
    assert text in post(project, env, status=2).stderr


def test_busy_server_is_asked_again_but_writes_one_comment(
    project: Project, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_mlflow_experiments.cli.comments._PAUSE", 0.01)
    keep(project, make_comparison(make_metric()))
    forge.busy = 2
    post(project, github(project, forge))
    assert [method for method, *_ in forge.requests] == ["GET", "GET", "GET", "POST"]
    forge.requests.clear()
    forge.comments.clear()
    forge.busy = 0
    forge.answers["POST"] = (503, {"message": "Unavailable"})
    post(project, github(project, forge), status=1)
    assert [method for method, *_ in forge.requests] == ["GET", "POST"]


def test_no_token_is_sent_to_another_server(project: Project, forge: Forge) -> None:
    keep(project, make_comparison(make_metric()))
    forge.comments = dict.fromkeys(range(1, 4), ("x", "ann"))
    forge.page = 2
    with open_forge() as other:
        forge.next_server = other.url
        assert "on another server" in post(project, github(project, forge), status=1).stderr
        assert not other.requests


def test_a_server_that_is_gone(project: Project, forge: Forge) -> None:
    keep(project, make_comparison(make_metric()))
    env = {**github(project, forge), "GITHUB_API_URL": "http://127.0.0.1:1"}
    assert "GitHub can't be reached" in post(project, env, status=1).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--post",), "--post needs --comment"),
        (("--comment", "--check"), "take one of them"),
    ],
)
def test_what_does_not_go_together(
    arguments: tuple[str, ...], words: str, project: Project
) -> None:
    keep(project, make_comparison(make_metric()))
    assert words in project.cli("report", *arguments, status=2).stderr


def test_check_names_the_head_and_not_the_temporary_merge(project: Project, forge: Forge) -> None:
    keep(project, make_comparison(make_metric("regressed")))
    printed = project.cli("report", "--check", env=github(project, forge)).stdout
    body = json.loads(printed)
    assert (body["name"], body["head_sha"]) == ("pytest-mlflow", HEAD)
    assert body["conclusion"] == "failure"
    # At a desk it is the session's commit.
    body = json.loads(project.cli("report", "--check", "models").stdout)
    assert (body["name"], body["head_sha"]) == ("models", make_session("pr-42").commit)


def test_comment_links_to_the_run_and_the_artifact(project: Project) -> None:
    session = make_session("x", tracking_uri="https://ml.example")
    path = keep(project, make_comparison(make_metric("regressed"), session=session))
    SessionState(phase="done", experiment_id="3", run_id="abc").write(path / "session.json")
    url = "https://github.com/me/models/actions/runs/1/artifacts/2"
    text = project.cli("report", "--comment", "--artifact-url", url).stdout
    page = "https://ml.example/#/experiments/3/runs/abc?workflowType=machine_learning"
    assert f"[session in MLflow]({page}) · [HTML report]({url})" in text
    assert re.search(
        r"\[`test_model\[ridge-0.1\]`\]\(https://ml.example/#/experiments/3/runs\?", text
    )
