"""The commands of pytest-mlflow that work with comparisons, on real sessions."""

from __future__ import annotations

import json
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock, patch
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from mlflow_server import serve
from project import Project, search_runs

import pytest_mlflow_experiments
from pytest_mlflow_experiments.cli import open as open_

OFFLINE = ("--mlflow", "--mlflow-offline")
GATE = (*OFFLINE, "--mlflow-gate")


CHECK = "def test_it(mlflow_case):\n    mlflow_case.log_metric('accuracy', {})\n"
RECORDED = [CHECK.format(value) for value in (0.90, 0.91, 0.90)]


def check(project: Project, accuracy: float | str, *options: str, status: int = 0) -> str:
    """Run a session with one metric, and return its id."""
    project.write(CHECK.format(accuracy))
    known = {session.directory.session_id for session in project.sessions()}
    project.pytest(*(options or OFFLINE), status=status)
    (new,) = {session.directory.session_id for session in project.sessions()} - known
    return new


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ((), 0),
        (("--fail-on=regressed",), 1),
        (("--fail-on=missing,new",), 0),
        (("--fail-on=regressed", "--tolerance=accuracy: 0.5"), 0),
    ],
    ids=["tell", "fail", "other statuses", "tolerance"],
)
def test_compare(history: Project, options: tuple[str, ...], status: int) -> None:
    worse = check(history, 0.7)
    result = history.cli("compare", "branch:x", f"session:{worse}", status=1)
    assert "no session" in result.stderr
    earlier = history.sessions()[2].directory.session_id
    result = history.cli("compare", f"session:{earlier}", "latest", *options, status=status)
    assert f"session {earlier} and 2 before it" in result.stdout
    found = "1 unchanged" if "--tolerance=accuracy: 0.5" in options else "accuracy 0.903333 → 0.7"
    assert found in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("baseline", "show"),
        ("compare", "latest", "latest"),
        ("compare", "nothing", "latest"),
        ("report", "-o", "x.doc"),
        ("accept", "nothing*", "--reason=x"),
    ],
    ids=" ".join,
)
def test_the_installed_program_does_the_same(history: Project, arguments: tuple[str, ...]) -> None:
    assert history.script(*arguments, status=None) == history.cli(*arguments, status=None)


def test_compare_files_and_directories(history: Project) -> None:
    first, second = (session.directory for session in history.sessions()[:2])
    second.journal.rename(history.path / "results.jsonl")
    result = history.cli(
        "compare", str(first.path), "results.jsonl", "--report=found.html", "--report=found.json"
    )
    assert f"B: {second.session_id}" in result.stdout
    assert "inconclusive" not in result.stdout
    found = json.loads(history.path.joinpath("found.json").read_text(encoding="utf-8"))
    assert found["session"]["session_id"] == second.session_id
    assert history.path.joinpath("found.html").read_text(encoding="utf-8").startswith("<!")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "nothing", "latest"), "no session 'nothing'"),
        (("compare", "nothing:x", "latest"), "'nothing:x' is not a baseline"),
        (("compare", "session:x", "latest"), "no session"),
        (("compare", "latest", "latest", "--fail-on=bad"), "'bad'"),
        (("compare", "latest", "latest", "--history=0"), "'0'"),
        (("compare", "latest", "latest", "--tolerance=x"), "--tolerance"),
        (("compare", "latest", "latest", "--report=x.doc"), ".html"),
        (("baseline", "export", "x.jsonl", "branch:none"), "no session"),
        (("baseline", "show", "tag:x"), "'tag:x' is not a baseline"),
        (("accept", "*", "--reason= "), "reason"),
        (("accept", "nothing*", "--reason=x"), "no metric '*' of a case 'nothing*'"),
        (("report", "elsewhere"), "no session 'elsewhere'"),
        (("report", "."), "not the directory of a session"),
        (("report", "-o", "x.doc"), ".html"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_told(history: Project, arguments: tuple[str, ...], message: str) -> None:
    result = history.cli(*arguments, status=None)
    assert result.status in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_session_is_not_compared_with_itself(history: Project) -> None:
    last = str(history.sessions()[-1].directory.path)
    assert "are the same session" in history.cli("compare", last, last, status=2).stderr
    assert "the last 2 complete sessions" in history.cli("compare", "latest", last).stdout


def test_export_and_use_elsewhere(history: Project, make_project: Callable[[str], Project]) -> None:
    printed = history.cli("baseline", "export", "baseline.jsonl").stdout
    assert "the last 3 passing sessions" in printed
    other = make_project("other")
    history.path.joinpath("baseline.jsonl").rename(other.path / "b.jsonl")
    check(other, 0.7, *GATE, "--mlflow-baseline=file:b.jsonl", status=1)
    check(other, 0.9, *GATE, "--mlflow-baseline=file:b.jsonl")


@pytest.mark.real
def test_pinned_session_is_the_baseline(history: Project) -> None:
    pinned = history.sessions()[-1].directory.session_id
    for _ in range(3):
        check(history, 0.99)
    assert pinned in history.cli("baseline", "set", f"session:{pinned}").stdout
    shown = history.cli("baseline", "show").stdout
    assert f"pinned session {pinned} and 2 before it" in shown
    assert len(shown.splitlines()) == 4
    check(history, 0.9, *GATE)
    history.cli("baseline", "clear")
    assert "pinned" not in history.cli("baseline", "show").stdout


@pytest.mark.real
def test_accepted_regression_passes_the_gate(history: Project) -> None:
    check(history, 0.7, *GATE, status=1)
    printed = history.cli("accept", "--reason", "a model half the size").stdout
    assert "accepted: accuracy of test_it.py::test_it" in printed
    accepted = history.path.joinpath("mlflow-accepted.jsonl").read_text(encoding="utf-8")
    assert "a model half the size" in accepted
    check(history, 0.7, *GATE)
    check(history, 0.7, *GATE)
    check(history, 0.3, *GATE, status=1)


@pytest.mark.real
def test_accepted_value_is_judged_against_from_the_first_session_on(history: Project) -> None:
    for value in (0.90, 0.90):
        check(history, value)
    check(history, 0.8, *GATE, status=1)
    history.cli("accept", "*::test_it", "acc*", "--reason=half the size")
    file = history.path / "mlflow-accepted.jsonl"
    (known,) = json.loads(file.read_text(encoding="utf-8"))["levels"]
    assert (known["case"], known["metric"]) == ("test_it.py::test_it", "accuracy")
    assert (known["level"]["value"], known["level"]["n"]) == (0.8, 5)
    assert 0.001 < known["level"]["scatter"] < 0.01
    for value, status in ((0.8, "accepted"), (0.79, "unchanged"), (0.1, "regressed")):
        check(history, value, *GATE, status=int(value < 0.5))
        assert f"1 {status}" in history.cli("report").stdout


@pytest.mark.real
def test_accepted_step_tells_what_when_and_by_whom(history: Project) -> None:
    for command in (
        ("git", "init", "-q"),
        ("git", "config", "user.name", "Zoë"),
        ("git", "config", "user.email", "z@example.org"),
        ("git", "add", "test_it.py"),
        ("git", "commit", "-q", "-m", "a smaller model"),
    ):
        history.run(*command)
    check(history, 0.7, *GATE, status=1)
    printed = history.cli("accept", "--reason=half the size").stdout
    assert "accepted: accuracy of test_it.py::test_it, 0.903333 → 0.7, -0.203 (-22.5 %)" in printed
    step = json.loads((history.path / "mlflow-accepted.jsonl").read_text(encoding="utf-8"))
    assert step["author"] == "Zoë <z@example.org>"
    assert step["commit"] == history.run("git", "rev-parse", "HEAD").stdout.strip()
    assert step["levels"][0]["before"] == pytest.approx(0.9033, abs=1e-4)
    history.write(CHECK.format(0.7))
    shown = history.pytest(*GATE, "-v").stdout
    assert "Gate passed: 1 metric is accepted, nothing else got worse" in shown
    assert "accepted       accuracy 0.903333 → 0.7  -0.203 (-22.5 %)  test_it" in shown
    assert "accepted: half the size" in shown
    assert "accuracy of test_it: accepted, 0.903333 → 0.7: half the size, by Zoë" in shown
    report = history.cli("report").stdout
    assert "| `accuracy` | 0.903333&nbsp;→&nbsp;0.7 | -22.5&nbsp;% |" in report
    # The same pull request falls further.
    for directory in (one.directory for one in history.sessions()[-1:]):
        directory.remove()
    check(history, 0.3, *GATE, status=1)


@pytest.mark.real
def test_one_metric_or_one_test_is_accepted(project: Project) -> None:
    source = """
        import os
        import pytest

        @pytest.mark.parametrize("size", ["small", "large"])
        def test_it(mlflow_case, size):
            for name in ("accuracy", "recall"):
                mlflow_case.log_metric(name, float(os.environ["V"]))
    """
    project.write(source)
    for value, options in ((0.9, OFFLINE), (0.91, OFFLINE), (0.9, OFFLINE), (0.5, GATE)):
        project.pytest(*options, env={"V": str(value)}, status=int(options is GATE))

    def accepted(*arguments: str) -> list[str]:
        lines = project.cli("accept", *arguments, "--reason=why").stdout.splitlines()
        return [line.split(", ")[0] for line in lines[:-1]]

    large = "test_it.py::test_it[large]"
    assert accepted(large, "recall") == [f"accepted: recall of {large}"]
    assert sorted(accepted("*", "recall")) == [
        f"accepted already: recall of {large}",
        "accepted: recall of test_it.py::test_it[small]",
    ]
    # A test is all its cases.
    assert len(accepted("test_it.py::test_it")) == 4
    project.pytest(*GATE, env={"V": "0.5"})


@pytest.mark.real
def test_session_of_another_machine_is_accepted(
    history: Project, make_project: Callable[[str], Project]
) -> None:
    worse = check(history, 0.7, *GATE, status=1)
    history.sync("--tracking-uri", history.uri)
    header = history.sessions()[-1].header
    desk = make_project("desk")
    desk.write("[pytest]\n", "pytest.ini")
    below = desk.path / "below"
    below.mkdir()
    there = ("--tracking-uri", history.uri, "--experiment", str(header.experiment_name))
    shown = Project(below).cli("accept", "--session", worse, *there, "--reason=why").stdout
    assert "accepted: accuracy of test_it.py::test_it, 0.903333 → 0.7" in shown
    accepted = desk.path / "mlflow-accepted.jsonl"
    assert json.loads(accepted.read_text(encoding="utf-8"))["levels"][0]["level"]["value"] == 0.7
    accepted.rename(history.path / accepted.name)
    check(history, 0.7, *GATE)


@pytest.mark.real
def test_nan_is_accepted(history: Project) -> None:
    check(history, "float('nan')", *GATE, status=1)
    history.cli("accept", "--reason=not measured any more")
    for _ in range(2):
        check(history, "float('nan')", *GATE)
    assert "NaN" in history.cli("report").stdout
    check(history, 0.9, *GATE)


EXAMPLES = """
    import os
    import pytest

    @pytest.mark.parametrize("number", range(20))
    def test_example(mlflow_case, number):
        mlflow_case.log_metric("correct", float(number >= int(os.environ["WRONG"])))
"""


@pytest.mark.real
def test_rate_of_examples_is_accepted(project: Project) -> None:
    project.write(EXAMPLES)
    for wrong, options, status in ((0, OFFLINE, 0), (0, OFFLINE, 0), (10, GATE, 1)):
        project.pytest(*options, env={"WRONG": str(wrong)}, status=status)
    assert "10 worse (0, 1, 2, 3, 4 and 5 more)" in project.cli("report").stdout
    printed = project.cli("accept", "--reason=cheaper").stdout
    assert "accepted: correct of test_it.py::test_example[*" in printed
    project.pytest(*GATE, env={"WRONG": "20"}, status=1)
    assert "with the rate that was accepted: p = " in project.cli("report").stdout
    for wrong, status in ((10, 0), (10, 0), (20, 1)):
        project.pytest(*GATE, env={"WRONG": str(wrong)}, status=status)


def test_file_of_an_older_release_has_no_values(history: Project) -> None:
    check(history, 0.7, *GATE, status=1)
    history.cli("accept", "--reason=why")
    file = history.path / "mlflow-accepted.jsonl"
    step = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**step, "levels": []}), encoding="utf-8")
    check(history, 0.1, *GATE)
    assert "1 new" in history.cli("report").stdout


def test_nothing_is_accepted_twice(history: Project) -> None:
    check(history, 0.7, *GATE, status=1)
    history.cli("accept", "--reason=once")
    assert "accepted already" in history.cli("accept", "--reason=twice").stdout
    accepted = history.path / "mlflow-accepted.jsonl"
    assert len(accepted.read_text(encoding="utf-8").splitlines()) == 1
    check(history, 0.7)
    accepted.write_text("damaged\n", encoding="utf-8")
    assert (
        "line 1"
        in history.cli("accept", "*::test_it", "accuracy", "--reason=more", status=2).stderr
    )


def test_session_that_failed_its_gate_can_be_judged(history: Project) -> None:
    worse = check(history, 0.5, *GATE, status=1)
    result = history.cli("compare", "latest", f"session:{worse}", "--fail-on=regressed", status=1)
    assert "accuracy 0.903333 → 0.5" in result.stdout
    assert "its gate failed" in history.cli("baseline", "set", f"session:{worse}", status=1).stderr


def test_reader_may_stop_reading(history: Project) -> None:
    check(history, 0.9)
    command = f"{Path(sys.executable).parent / 'pytest-mlflow'} report | head -n 1"
    result = history.run("sh", "-c", command)
    assert result.stdout.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_nothing_to_accept(history: Project) -> None:
    check(history, 0.9)
    assert "nothing to accept" in history.cli("accept", "--reason=x").stdout
    assert not history.path.joinpath("mlflow-accepted.jsonl").exists()


def test_report_of_the_last_session(history: Project) -> None:
    check(history, 0.7)
    assert "accuracy" in history.cli("report").stdout
    history.cli("report", "-o", "found.xml", "-o", "found.md", "--comment=other")
    assert history.path.joinpath("found.md").read_text(encoding="utf-8").startswith("<!-- ")
    assert history.path.joinpath("found.xml").exists()
    comment = history.cli("report", "--comment").stdout.splitlines()
    again = history.cli("report", "--comment").stdout.splitlines()
    assert comment[0].startswith("<!-- ")
    assert comment[0] == again[0]
    assert comment[0] != history.cli("report", "--comment=other").stdout.splitlines()[0]


def test_nothing_to_report(project: Project) -> None:
    assert "there is no session here" in project.cli("report", status=2).stderr
    check(project, 0.9, *OFFLINE, "--mlflow-baseline=none")
    assert "was not compared" in project.cli("report", status=2).stderr


@pytest.mark.real
def test_on_a_server(project: Project, tmp_path: Path) -> None:
    with serve(tmp_path, project.uri) as server:
        uri = server.uri
        online = ("--mlflow", f"--mlflow-tracking-uri={uri}")
        ids = [check(project, value, *online) for value in (0.90, 0.91, 0.90)]
        for session in project.sessions():
            session.directory.remove()
        env = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "project"}
        project.cli("baseline", "export", "b.jsonl", env=env)
        assert project.path.joinpath("b.jsonl").read_bytes().count(b'"kind":"session"') == 3
        project.cli("baseline", "set", f"session:{ids[1]}", env=env)
        gated = project.pytest(*online, "--mlflow-gate")
        assert f"pinned session {ids[1]} and 1 before it" in "\n".join(gated.section())
        (run,) = (
            run
            for run in search_runs(uri)
            if run.data.tags.get("pytest.session_id") == ids[0]
            and run.data.tags["pytest.kind"] == "case"
        )
        compared = project.cli("compare", f"run:{run.info.run_id}", f"session:{ids[2]}", env=env)
        assert f"A: {ids[0]}" in compared.stdout


def test_version(project: Project) -> None:
    printed = project.cli("--version").stdout
    assert printed == f"pytest-mlflow {pytest_mlflow_experiments.__version__}\n"


def test_what_a_failed_test_lacks_is_not_accepted(history: Project) -> None:
    history.write("def test_it(mlflow_case):\n    assert not 'a reason'\n")
    history.pytest(*GATE, status=1)
    printed = history.cli("accept", "--reason=why not", status=1).stdout
    assert "nothing to accept in the session yet:\n  test_it failed: mend it" in printed
    assert not history.path.joinpath("mlflow-accepted.jsonl").exists()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that a browser was asked for."""
    addresses: list[str] = []

    def browse(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    return addresses


@pytest.mark.parametrize("named", ["nothing", "latest", "id", "start of the id", "directory"])
def test_open_a_report(history: Project, opened: list[str], named: str) -> None:
    directory = history.sessions()[-1].directory
    name = {
        "nothing": [],
        "latest": ["latest"],
        "id": [directory.session_id],
        "start of the id": [directory.session_id[:-1]],
        "directory": [str(directory.path)],
    }[named]
    page = directory.path / "report.html"
    assert history.cli("open", *name).stdout == f"Opened {page}\n"
    assert opened == [page.as_uri()]


def test_open_a_report_that_is_missing(history: Project, opened: list[str]) -> None:
    page = history.sessions()[-1].directory.path / "report.html"
    text = page.read_text(encoding="utf-8")
    page.unlink()
    history.cli("open")
    assert opened == [page.as_uri()]
    assert page.read_text(encoding="utf-8") == text


def test_open_a_report_without_a_browser(history: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    page = history.sessions()[-1].directory.path / "report.html"
    for broken in (lambda _: False, Mock(side_effect=webbrowser.Error("none"))):
        monkeypatch.setattr(webbrowser, "open", broken)
        told = f"No browser can be opened here. The report is {page}\n"
        assert history.cli("open").stdout == told


def test_open_what_is_not_there(history: Project, opened: list[str]) -> None:
    assert "no session" in history.cli("open", "20200101-nothing", status=1).stderr
    told = history.cli("open", "--mlflow", status=2).stderr
    assert "is not in MLflow yet; `pytest-mlflow sync` sends it" in told
    assert opened == []


def test_open_what_mlflow_has(project: Project, opened: list[str]) -> None:
    project.write(CHECK.format(0.9))
    project.track()
    session_id = project.session().directory.session_id
    run = project.session_run()
    page = f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    page = f"{page}?workflowType=machine_learning"
    told = project.cli("open", "--mlflow").stdout.splitlines()
    assert told[0].endswith(f"ui --backend-store-uri {project.uri}")
    assert told[1] == f"and open  http://127.0.0.1:5000{page}"
    assert opened == []
    with patch.object(open_, "_serves", return_value=True):
        project.cli("open", "--mlflow")
        assert opened.pop() == f"http://127.0.0.1:5000{page}"
    project.cli("open", "--mlflow", session_id, "--tracking-uri=http://me:secret@host:80/x/")
    assert opened.pop() == f"http://host:80/x{page}"
    # Elsewhere there is nothing but MLflow.
    project.session().directory.remove()
    place = (f"--tracking-uri={project.uri}", "--experiment=project")
    assert page in project.cli("open", "--mlflow", session_id, *place).stdout
    project.cli("open", session_id[:-1], *place)
    path = Path(url2pathname(urlsplit(opened.pop()).path))
    assert "test_it" in path.read_text(encoding="utf-8")
    path.unlink()
    path.parent.rmdir()
