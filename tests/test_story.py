"""The story that the tutorial tells: five sessions on main, and then a change to the model."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from project import Project, Result

pytestmark = pytest.mark.real

CHECK = """
    import os

    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    SEED = int(os.environ["SEED"])
    MODELS = {
        "forest": RandomForestClassifier(10, random_state=SEED),
        "shallow forest": RandomForestClassifier(10, max_depth=5, random_state=SEED),
        "support vectors": SVC(),
    }


    def test_digits():
        X, y = load_digits(return_X_y=True)
        folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
        accuracy = cross_val_score(MODELS[os.environ["MODEL"]], X, y, cv=folds).mean()
        assert accuracy >= 0.85
"""


def git(path: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=path, check=True, capture_output=True)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Project:
    """Return a project with five sessions on main, and a branch that was just made from it."""
    project = Project(tmp_path_factory.mktemp("digits"))
    shutil.copyfile(migrated_database, project.path / "mlflow.db")
    project.write("[pytest]\n", "pytest.ini")
    project.write(CHECK, "test_digits.py")
    git(project.path, "init", "--initial-branch=main")
    git(project.path, "add", "test_digits.py")
    git(project.path, "commit", "--message=The check")
    for seed in range(5):
        run(project, "forest", seed, "--mlflow-offline", base="")
    git(project.path, "checkout", "-b", "change")
    return project


def run(
    project: Project, model: str, seed: int, *options: str, status: int = 0, base: str = "main"
) -> Result:
    environment = {"MODEL": model, "SEED": str(seed), "GITHUB_BASE_REF": base}
    return project.pytest("--mlflow", *options, env=environment, status=status)


def test_worse_model_fails_the_gate(story: Project) -> None:
    result = run(story, "shallow forest", 5, "--mlflow-gate", "--junitxml=junit.xml", status=1)

    told = "\n".join(result.section())
    assert "the last 5 passing sessions on main, the base branch" in told
    lines = result.section()
    number = next(n for n, line in enumerate(lines) if line.startswith("  regressed"))
    for part in ("accuracy 0.94", "→ 0.88", " %)", "test_digits"):
        assert part in lines[number]
    for part in ("worse below 0.89", "5 sessions", "above the assertion's 0.85"):
        assert part in lines[number + 1]
    assert "FAILED test_digits.py::test_digits - accuracy regressed" in result.stdout
    assert "= 1 failed in" in result.stdout

    report = (story.sessions()[-1].directory.path / "report.md").read_text(encoding="utf-8")
    for part in ("regressed", "test_digits", "accuracy"):
        assert part in report
    junit = (story.path / "junit.xml").read_text(encoding="utf-8")
    assert 'failures="1"' in junit
    assert "accuracy regressed" in junit
    again = story.pytest("--lf", "--collect-only", env={"MODEL": "forest", "SEED": "5"})
    assert "rerun previous 1 failure" in again.stdout

    session_id = story.sessions()[-1].directory.session_id
    (of_session,) = (
        found
        for found in story.runs()
        if found.data.tags["pytest.session_id"] == session_id
        and found.data.tags["pytest.kind"] == "session"
    )
    assert of_session.info.status == "FAILED"
    assert of_session.data.metrics["regressed"] == 1
    tags = of_session.data.tags
    assert tags["pytest.baseline"] == "the last 5 passing sessions on main, the base branch"
    assert "accuracy" in tags["mlflow.note.content"]


def test_better_model_has_improved(story: Project) -> None:
    result = run(story, "support vectors", 5, "--mlflow-gate", "--mlflow-report=found.json")
    (line,) = (line for line in result.section() if line.startswith("  improved"))
    assert "accuracy 0.94" in line
    assert "→ 0.98" in line
    found = json.loads((story.path / "found.json").read_text(encoding="utf-8"))
    statuses = {metric["metric"]: metric["status"] for metric in found["metrics"]}
    assert statuses["accuracy"] == "improved"


def test_same_model_is_unchanged(story: Project) -> None:
    result = run(story, "forest", 5, "--mlflow-gate", "--mlflow-offline")
    assert "1 unchanged" in "\n".join(result.section())
    assert "Gate passed" in "\n".join(result.section())
    assert "= 1 passed in" in result.stdout
