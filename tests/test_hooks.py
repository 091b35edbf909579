"""The hooks that users can implement: each example works as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from project import Project

HOOKS = Path(__file__).parent.parent / "examples" / "hooks"
OFFLINE = ("--mlflow", "--mlflow-offline")


@pytest.fixture
def hooked(project: Project, request: pytest.FixtureRequest) -> Project:
    """Return a project with an example as its conftest.py, and a check of two metrics."""
    source = (HOOKS / f"{request.param}.py").read_text(encoding="utf-8")
    project.path.joinpath("conftest.py").write_text(source, encoding="utf-8")
    check(project, accuracy=0.9, calibration_error=0.01)
    return project


def check(project: Project, **metrics: float) -> None:
    project.write(f"def test_it(mlflow_case):\n    mlflow_case.log_metrics({metrics})\n")


@pytest.mark.parametrize("hooked", ["own_rule"], indirect=True)
def test_rule(hooked: Project) -> None:
    hooked.pytest(*OFFLINE, "--mlflow-gate")
    check(hooked, accuracy=0.9, calibration_error=0.06)
    result = hooked.pytest(*OFFLINE, "--mlflow-gate", status=1)
    told = "\n".join(result.section())
    assert "  regressed      calibration_error 0.01 → 0.06" in told
    assert "worse above 0.05" in told


@pytest.mark.parametrize("hooked", ["own_baseline"], indirect=True)
def test_baseline(hooked: Project) -> None:
    hooked.pytest(*OFFLINE)
    hooked.cli("baseline", "export", "latest.jsonl")
    releases = hooked.path / "baselines"
    releases.mkdir()
    hooked.path.joinpath("latest.jsonl").rename(releases / "1.2.jsonl")
    check(hooked, accuracy=0.4, calibration_error=0.01)
    own = "--mlflow-baseline=release:1.2"
    result = hooked.pytest(*OFFLINE, "--mlflow-gate", own, status=1)
    assert "accuracy regressed" in result.stdout
    missing = hooked.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-baseline=release:9", status=1)
    assert "the baseline 'release:9' can't be read" in missing.stdout


@pytest.mark.parametrize("hooked", ["own_report"], indirect=True)
def test_report(hooked: Project) -> None:
    hooked.pytest(*OFFLINE, "--mlflow-report=found.csv")
    lines = hooked.path.joinpath("found.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "status,case,metric,baseline,now"
    assert "new,test_it.py::test_it,accuracy,,0.9" in lines
    assert hooked.session().directory.path.joinpath("report.csv").exists()


@pytest.mark.parametrize("hooked", ["tell_somebody"], indirect=True)
def test_finished_comparison(hooked: Project) -> None:
    hooked.pytest(*OFFLINE)
    assert not hooked.path.joinpath("worse.txt").exists()
    check(hooked, accuracy=0.4, calibration_error=0.01)
    hooked.pytest(*OFFLINE)
    told = hooked.path.joinpath("worse.txt").read_text(encoding="utf-8")
    assert "test_it: accuracy regressed" in told


def test_hooks_are_known_without_the_flag(project: Project) -> None:
    source = (HOOKS / "own_report.py").read_text(encoding="utf-8")
    project.path.joinpath("conftest.py").write_text(source, encoding="utf-8")
    project.write("def test_it():\n    pass\n")
    project.pytest()


@pytest.mark.parametrize(
    "hook",
    [
        "pytest_mlflow_compared(comparison)",
        "pytest_mlflow_render(comparison, suffix)",
        "pytest_mlflow_baseline(request)",
    ],
)
def test_hook_that_raises_costs_no_test(project: Project, hook: str) -> None:
    project.write(f"def {hook}:\n    raise RuntimeError('a broken hook')\n", "conftest.py")
    check(project, accuracy=0.9)
    result = project.pytest(*OFFLINE)
    assert "a broken hook" in "\n".join(result.section())
    assert project.session().case("test_it").outcome == "passed"


@pytest.mark.real
@pytest.mark.parametrize("hooked", ["own_report"], indirect=True)
def test_commands_render_what_the_project_renders(hooked: Project) -> None:
    hooked.path.joinpath("tests").mkdir()
    hooked.path.joinpath("conftest.py").rename(hooked.path / "tests" / "conftest.py")
    hooked.pytest(*OFFLINE)
    hooked.pytest(*OFFLINE, "--mlflow-session=joint")
    one, other = (str(session.directory.path) for session in hooked.sessions())
    hooked.script("compare", one, other, "--report=compare.csv")
    hooked.script("merge", "--session=joint", "--offline", "--report=new/merge.csv")
    hooked.script("report", "--output=report.csv", "--output=report.xml")
    for name in ("new/merge", "compare", "report"):
        text = hooked.path.joinpath(f"{name}.csv").read_text(encoding="utf-8")
        assert text.startswith("status,case,metric,baseline,now\n")
    result = hooked.script("report", "--output=x.doc", status=2)
    assert "--output x.doc: expected one of .html, .md, .json, .xml, " in result.stderr
    assert str(Path("tests", "conftest.py")) in result.stderr


@pytest.mark.parametrize("hooked", ["own_rule"], indirect=True)
def test_commands_judge_by_the_projects_rule(hooked: Project) -> None:
    hooked.pytest(*OFFLINE)
    check(hooked, accuracy=0.9, calibration_error=0.06)
    hooked.pytest(*OFFLINE)
    first, second = (str(session.directory.path) for session in hooked.sessions())
    assert "worse above 0.05" in hooked.script("compare", first, second).stdout


@pytest.mark.real
def test_project_whose_hooks_cannot_be_loaded(project: Project) -> None:
    check(project, accuracy=0.9)
    project.pytest(*OFFLINE)
    conftest = project.write("import nothing_there\n", "conftest.py")
    project.script("report", "--output=x.html")
    result = project.script("report", "--output=x.csv", status=2)
    assert f"No module named 'nothing_there' (from {conftest})" in result.stderr
    conftest.write_text("print('no part of the output')\n", encoding="utf-8")
    result = project.script("report", "--output=x.csv", status=2)
    assert "expected one of .html, .md, .json, .xml" in result.stderr
    conftest.write_text(
        "print('no part of the output')\n"
        "def pytest_mlflow_render(suffix):\n    return {'.csv': 'it', '.md': 1 / 0}.get(suffix)",
        encoding="utf-8",
    )
    result = project.script("report", "--output=x.csv", status=2)
    assert "x.csv: pytest_mlflow_render failed: ZeroDivisionError" in result.stderr
    assert "no part" not in result.stdout
