"""Sessions by their names, in lists, excluded from baselines, and two of them side by side."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow_server import Server
from project import Project, quiet_mlflow, search_runs

OFFLINE = ("--mlflow", "--mlflow-offline")
TEST = """
import pytest

@pytest.mark.parametrize("seed", [1, 2, 3])
def test_seeds(mlflow_case, seed):
    mlflow_case.log_metric("f1", {0} * 0.9 + seed / 1000)

def test_it(mlflow_case):
    mlflow_case.log_param("large", {0} > 0.8)
    mlflow_case.log_metric("accuracy", {0})
    mlflow_case.log_metric("constant", 3.5)
"""
RECORDED = [TEST.format(value) for value in (0.90, 0.91, 0.90, 0.70)]


def ids(project: Project) -> list[str]:
    return [session.directory.session_id for session in project.sessions()]


def listed(project: Project, *options: str) -> dict[str, tuple[bool, str]]:
    """Return of each session whether it counts, and why not."""
    sessions = json.loads(project.cli("sessions", "list", "--json", *options).stdout)
    return {one["session_id"]: (one["counts"], one["reason"] or "") for one in sessions}


def test_excluded_session_is_no_history(history: Project) -> None:
    first, bad, third, last = ids(history)
    printed = history.cli("baseline", "exclude", bad[:-2], "--reason", "bad\ndata").stdout
    here = f"Session {bad} is excluded on this machine; it is not in force for others"
    assert printed.startswith(here)
    assert printed.endswith(" `pytest-mlflow sync` sends it.\n")
    # In the list, with who and why.
    counts = listed(history)
    assert [counts[one][0] for one in (first, bad, third, last)] == [True, False, True, True]
    assert "excluded: bad data" in counts[bad][1]
    (told,) = (
        one["exclusion"]
        for one in json.loads(history.cli("sessions", "list", "--json").stdout)
        if one["session_id"] == bad
    )
    assert told["reason"] == "bad data"
    assert told["time"].startswith("20")
    assert f"does not count: {counts[bad][1]}" in history.cli("sessions", "list").stdout
    # At the desk, under the gate.
    result = history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=0", status=None)
    line = f"without what is excluded ({bad}: bad data)"
    assert f"the last 3 passing sessions outside of any branch, {line}" in result.stdout
    # Of compare, files and pins.
    assert line in history.cli("compare", "latest", last).stdout
    assert line in history.cli("baseline", "show").stdout
    history.cli("baseline", "export", "file.jsonl")
    text = history.path.joinpath("file.jsonl").read_text(encoding="utf-8")
    assert bad not in "".join(text.splitlines(keepends=True)[1:])
    for arguments in (
        ("baseline", "set", bad),
        ("baseline", "show", f"session:{bad}"),
        ("compare", bad, last, "--fail-on=regressed"),
        ("compare", f".pytest_mlflow/{bad}", last, "--fail-on=regressed"),
    ):
        assert "excluded: bad data" in history.cli(*arguments, status=1).stderr
    result = history.cli("compare", bad, last)
    assert "No verdicts: session" in result.stdout
    assert "accuracy" in result.stdout
    # And back.
    assert "is included again" in history.cli("baseline", "include", bad).stdout
    assert listed(history)[bad] == (True, "")
    assert "excluded" not in history.cli("baseline", "show").stdout


def test_pinned_session_that_is_excluded(history: Project) -> None:
    pinned = ids(history)[1]
    history.cli("baseline", "set", pinned)
    history.cli("baseline", "exclude", pinned, "--reason=no")
    result = history.pytest(*OFFLINE, "--mlflow-gate", status=None)
    assert result.status != 0
    assert "the pinned baseline can't be used" in result.stdout
    # The list says it too.
    found = listed(history)
    assert found.pop(pinned)[1].startswith("it is excluded: no")
    *_, newest = ids(history)
    assert found.pop(newest)[1] == "its gate failed"
    assert {why.partition(":")[0] for _, why in found.values()} == {
        "the pinned baseline can't be used"
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exclude", "latest"), "--reason"),
        (("exclude", "latest", "--reason= "), "--reason"),
        (("exclude", "nothing", "--reason=x"), "there is no session 'nothing'"),
        (("include", "nothing"), "there is no session 'nothing'"),
    ],
)
def test_mistakes_are_told(history: Project, arguments: tuple[str, ...], message: str) -> None:
    result = history.cli("baseline", *arguments, status=None)
    assert result.status in (1, 2)
    assert message in result.stderr


def excluded_tag(uri: str, session_id: str) -> dict[str, object]:
    """Return what the session's run says."""
    with quiet_mlflow():
        (run,) = (
            run
            for run in search_runs(uri)
            if run.data.tags.get("pytest.session_id") == session_id
            and run.data.tags["pytest.kind"] == "session"
        )
    found: dict[str, object] = json.loads(run.data.tags["pytest.excluded"])
    return found


@pytest.mark.real
def test_offline_and_sync(project: Project) -> None:
    """What was excluded offline is known to all after sync; before and after the session is."""
    for value in (0.90, 0.91):
        project.write(TEST.format(value))
        project.pytest(*OFFLINE)
    first, second = ids(project)
    project.cli("baseline", "exclude", first, "--reason=unsent")
    project.sync()
    assert excluded_tag(project.uri, first)["reason"] == "unsent"
    assert "Nothing to send" in project.sync().stdout
    # Sent already: the database is away when it is decided.
    away = project.path / "away.db"
    (project.path / "mlflow.db").rename(away)
    printed = project.cli("baseline", "exclude", second, "--reason=sent").stdout
    assert "is excluded on this machine; it is not in force for others" in printed
    away.rename(project.path / "mlflow.db")
    assert second in project.sync().stdout
    assert excluded_tag(project.uri, second)["reason"] == "sent"
    # From MLflow alone, as others see it.
    shutil.rmtree(project.path / ".pytest_mlflow")
    arguments = ("--tracking-uri", project.uri, "--experiment", "project")
    assert [one[0] for one in listed(project, *arguments).values()] == [False, False]
    assert "for everybody" in project.cli("baseline", "include", first, *arguments).stdout
    assert listed(project, *arguments)[first][0]


@pytest.mark.real
def test_excluded_elsewhere(project: Project, make_project: Callable[[str], Project]) -> None:
    """Another checkout with the same database excludes a session of this one."""
    for value in (0.90, 0.91):
        project.write(TEST.format(value))
        project.track()
    other = make_project("other")
    first = ids(project)[0]
    store = ("--tracking-uri", project.uri, "--experiment", "project")
    assert "for everybody" in other.cli("baseline", "exclude", first, "--reason=x", *store).stdout
    assert "excluded: x" in listed(project)[first][1]
    assert f"{first}: x" in project.pytest("--mlflow").stdout


@pytest.mark.real
def test_on_a_server(project: Project, mlflow_server: Server) -> None:
    uri = mlflow_server.uri
    env = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "excluded"}
    for value in (0.90, 0.91, 0.90):
        project.write(TEST.format(value))
        project.pytest("--mlflow", env=env)
    project.pytest("--mlflow", "-k", "seeds", env=env)
    first, bad, _, some = ids(project)
    shutil.rmtree(project.path / ".pytest_mlflow")
    printed = project.cli("baseline", "exclude", bad, "--reason=broken sensor", env=env).stdout
    assert f"Session {bad} is excluded for everybody." in printed
    text = project.cli("sessions", "list", env=env).stdout
    assert "experiment 'excluded' at" in text
    assert "excluded: broken sensor" in text
    assert "only some of its tests ran" in text
    (line,) = (line for line in text.splitlines() if some in line)
    assert "does not count" in line
    result = project.pytest("--mlflow", "--mlflow-gate", "--mlflow-rerun=0", env=env)
    assert f"({bad}: broken sensor)" in result.stdout
    # One way to name them, on the server too.
    runs = {
        one["session_id"]: one["run_id"]
        for one in json.loads(project.cli("sessions", "list", "--json", env=env).stdout)
    }
    shutil.rmtree(project.path / ".pytest_mlflow")
    for name in (first, first[:-3], runs[first], f"run:{runs[first]}"):
        assert first in project.cli("compare", name, "latest", env=env).stdout
    newest = next(iter(runs))
    for name in ("latest", newest, runs[newest]):
        assert "accuracy" in project.cli("report", name, env=env).stdout
    missing = project.cli("report", "2020", env=env, status=1).stderr
    assert f"experiment 'excluded' at {uri}: 5 sessions" in missing
    wrong = {**env, "MLFLOW_EXPERIMENT_NAME": "exclude"}
    assert "'excluded'" in project.cli("sessions", "list", env=wrong, status=1).stderr


def git(path: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *who, *arguments], cwd=path, check=True, capture_output=True)


@pytest.mark.real
def test_list_says_why_not(history: Project) -> None:
    """Each kind of session that does not count says why; branch, commit and verdict stand there."""
    history.path.joinpath(".gitignore").write_text("*\n!test_it.py\n!.gitignore\n")
    git(history.path, "init", "-q", "-b", "main")
    git(history.path, "add", ".")
    git(history.path, "commit", "-q", "-m", "one")
    shutil.rmtree(history.path / ".pytest_mlflow")
    pull = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF": "refs/pull/12/merge",
        "GITHUB_HEAD_REF": "feature",
        "GITHUB_BASE_REF": "main",
    }
    history.pytest(*OFFLINE, "-p", "no:cacheprovider")
    history.pytest(*OFFLINE, "-k", "seeds")
    git(history.path, "checkout", "-q", "--detach")
    history.pytest(*OFFLINE, env=pull)
    git(history.path, "checkout", "-q", "-b", "other")
    history.pytest(*OFFLINE)
    git(history.path, "checkout", "-q", "main")
    history.write(TEST.format(0.2))
    history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=0", status=None)
    full, part, request, other, rejected = ids(history)
    found = listed(history)
    assert found[full] == (True, "")
    assert "only some of its tests ran" in found[part][1]
    assert "pull request 12" in found[request][1]
    assert "another branch, other" in found[other][1]
    assert found[rejected][1] == "its gate failed"
    lines = history.cli("sessions", "list", "--last", "4").stdout.splitlines()
    told = "5 sessions of experiment 'project' in .pytest_mlflow; 1 of them counts for baselines"
    assert lines[0] == told
    assert len(lines) == 5
    (line,) = (line for line in lines if request in line)
    assert "feature (pull request 12)" in line
    (line,) = (line for line in lines if rejected in line)
    assert "regressed" in line
    # The newest of a branch, whatever came of it.
    assert f"B: {rejected}" in history.cli("compare", full, "branch:main").stdout
    assert "the nearest: main" in history.cli("report", "branch:mian", status=1).stderr


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "{}", "latest"),
        ("compare", "latest", "{}"),
        ("report", "{}"),
        ("best", "--session", "{}"),
        ("promote", "model", "--session", "{}"),
        ("accept", "--reason=x", "--session", "{}"),
        ("baseline", "set", "{}"),
        ("baseline", "show", "{}"),
        ("baseline", "export", "x.jsonl", "{}"),
        ("baseline", "exclude", "--reason=x", "{}"),
        ("baseline", "include", "{}"),
    ],
    ids=" ".join,
)
def test_what_was_looked_at(history: Project, command: tuple[str, ...]) -> None:
    wrong = f"{ids(history)[1][:-1]}x"
    result = history.cli(*(part.format(wrong) for part in command), status=1)
    assert f"there is no session '{wrong}'" in result.stderr
    assert f"looked at {history.path / '.pytest_mlflow'}" in result.stderr
    assert "experiment 'project' in .pytest_mlflow: 4 sessions" in result.stderr
    assert f"the nearest: {ids(history)[1]}" in result.stderr
    assert "pytest-mlflow sessions list" in result.stderr
    assert "there is no database" in result.stderr


@pytest.mark.parametrize("form", ["id", "start", "directory", "session:", "latest"])
@pytest.mark.parametrize(
    "command",
    [
        ("compare", "{first}", "{}"),
        ("report", "{}"),
        ("baseline", "show", "{}"),
        ("baseline", "exclude", "--reason=x", "{}"),
        ("accept", "--reason=x", "--session", "{}"),
    ],
    ids=" ".join,
)
def test_names(history: Project, command: tuple[str, ...], form: str) -> None:
    first, *_, last = ids(history)
    name = {
        "id": last,
        "start": last[:-2],
        "directory": f".pytest_mlflow/{last}",
        "session:": f"session:{last}",
        "latest": "latest",
    }[form]
    done = history.cli(*(part.format(name, first=first) for part in command))
    if command[0] != "accept":
        # A report has the session's name alone, which begins so.
        assert (last[:15] if command[0] == "report" else last) in done.stdout


def test_names_are_documented_once(history: Project) -> None:
    text = history.cli("--help").stdout
    for name in ("latest", "branch:NAME", "run:", "directory"):
        assert name in text
    for command in ("compare", "report", "accept", "merge", "best", "promote"):
        assert "pytest-mlflow --help" in " ".join(history.cli(command, "--help").stdout.split())


def test_nothing_here(project: Project) -> None:
    result = project.cli("sessions", "list", "--json", status=1)
    assert json.loads(result.stdout) == []
    assert f"looked at {project.path}" in result.stderr
    assert "experiment 'project' at sqlite" in result.stderr


def test_two_sessions_side_by_side(history: Project) -> None:
    first, second, _, worse = ids(history)
    result = history.cli("compare", second, worse)
    assert f"A: {second}" in result.stdout
    assert f"B: {worse}" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if " test_" in line]
    rows = [row for row in rows if row[0] in ("f1", "accuracy", "constant")]
    # By the scatter: that of seeds is small, that of sessions is larger.
    assert [row[:4] for row in rows][:2] == [
        ["f1", "test_seeds", "0.821", "0.632"],
        ["accuracy", "test_it", "0.91", "0.7"],
    ]
    assert "seeds (3 in A, 3 in B)" in result.stdout
    assert "3 sessions around A" in result.stdout
    assert "param 'large': True → False (test_it)" in result.stdout
    for word in ("undecided", "inconclusive", "could be judged"):
        assert word not in result.stdout
    # The other way round there are no verdicts, and the same table.
    result = history.cli("compare", worse, second)
    assert "+0.21 (+30.0 %)" in result.stdout
    assert "No verdicts" in result.stdout
    history.cli("compare", worse, second, "--fail-on=regressed", status=1)
    history.cli(
        "compare", first, worse, "--fail-on=regressed", "--tolerance=accuracy:-0.1", status=1
    )
    assert "are the same session" in history.cli("compare", worse, worse, status=2).stderr


def test_latest_is_no_session_that_still_runs(history: Project) -> None:
    *_, earlier, last = ids(history)
    kept = history.path / ".pytest_mlflow"
    running = kept / f"99999999{last[8:]}"
    shutil.copytree(kept / last, running)
    journal = running / "journal.jsonl"
    header, *cases, _ = journal.read_text(encoding="utf-8").splitlines()
    begun = json.loads(header) | {"session_id": running.name, "start_time": 10**13}
    journal.write_text("\n".join([json.dumps(begun), *cases, ""]), encoding="utf-8")
    assert f"B: {last}" in history.cli("compare", earlier, "latest").stdout
