"""The example that draws a metric's history, on the commits of a small repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from project import Project

SCRIPT = Path(__file__).parent.parent / "examples" / "analysis" / "metric_history.py"

MODEL = """
    import random
    import pytest

    QUALITY = {quality}

    @pytest.mark.parametrize("seed", range(4))
    def test_forest(seed):
        accuracy = QUALITY + random.Random(f"{{seed}} {{QUALITY}}").gauss(0, 0.006)
        assert accuracy >= {limit}

    @pytest.mark.parametrize("C", [0.1, 1.0])
    def test_linear(C, mlflow_case):
        for epoch in range(3):
            mlflow_case.log_metric("accuracy", QUALITY - 0.1 + 0.02 * C + 0.01 * epoch, epoch)
"""
# The branch, the quality of the model, and the limit that it is held to.
COMMITS = [
    ("main", 0.90, 0.85),
    ("main", 0.91, 0.88),
    ("shallow", 0.87, 0.88),
    ("shallow", 0.90, 0.88),
    ("main", 0.94, 0.9),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a repository of which each commit was tested."""
    project = Project(tmp_path_factory.mktemp("repository"))
    project.write("[pytest]\n", "pytest.ini")
    project.write(".pytest_mlflow/\n.pytest_cache/\n__pycache__/\n", ".gitignore")
    git(project, "init", "-q")
    git(project, "symbolic-ref", "HEAD", "refs/heads/main")
    for branch, quality, limit in COMMITS:
        if branch != "main":
            git(project, "checkout", "-q", "-B", branch)
        project.write(MODEL.format(quality=quality, limit=limit))
        git(project, "add", ".")
        git(project, "commit", "-q", "-m", f"{quality}")
        project.pytest("--mlflow", "--mlflow-offline", status=None)
        if branch != "main":
            git(project, "checkout", "-q", "main")
    return project


def git(project: Project, *arguments: str) -> str:
    name = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ("git", *name, "-c", "core.hooksPath=/nowhere", *arguments)
    done = subprocess.run(command, cwd=project.path, capture_output=True, check=True, text=True)
    return done.stdout


def draw(project: Project, *arguments: str, status: int = 0) -> str:
    result = project.run(sys.executable, str(SCRIPT), *arguments, status=status)
    return result.stdout if status == 0 else result.stderr


@pytest.mark.real
def test_picture_of_a_history(repository: Project) -> None:
    assert draw(repository, "accuracy") == "history.png: 5 sessions, 6 cases\n"
    assert repository.path.joinpath("history.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.real
def test_picture_names_the_commits_and_the_tests(repository: Project) -> None:
    repository.write("svg.fonttype: none\n", "matplotlibrc")
    told = draw(repository, "accuracy", "--case=*forest*", "--branch=main", "-o", "main.svg")
    assert told == "main.svg: 3 sessions, 4 cases\n"
    text = repository.path.joinpath("main.svg").read_text(encoding="utf-8")
    for commit in git(repository, "log", "--format=%h", "--abbrev=7", "main").split():
        assert commit in text
    assert "test_it.py::test_forest" in text
    assert "test_linear" not in text
    assert "shallow" not in text


@pytest.mark.real
def test_nothing_to_draw(repository: Project) -> None:
    told = draw(repository, "rmse", status=1)
    assert told == "no case '*' of these sessions has the metric 'rmse'\n"
