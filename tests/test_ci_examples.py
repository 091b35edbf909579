"""The jobs for CI: they are legal, and use only options and commands that there are."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from project import Project

CI: Final = Path(__file__).parent.parent / "examples" / "ci"
JOBS: Final = sorted(CI.glob("*.yml"))

MAJORS: Final = {
    "actions/checkout": 7,
    "actions/setup-python": 7,
    "actions/upload-artifact": 7,
    "actions/download-artifact": 8,
}


def loaded(path: Path) -> dict[str, Any]:
    # The key "on" is no truth value.
    jobs = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert isinstance(jobs, dict)
    return jobs


def typed(path: Path) -> dict[str, Any]:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): value for key, value in jobs.items()}


def scripts(data: Any) -> Iterator[str]:
    """Yield all texts of a file that a shell runs."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in ("run", "script", "after_script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)
    elif isinstance(data, list):
        for value in data:
            yield from scripts(value)


def commands(path: Path) -> list[list[str]]:
    """Return the lines of pytest and pytest-mlflow, as words."""
    text = "\n".join(scripts(loaded(path)))
    text = re.sub(r"\$\{\{.*?\}\}", "X", text)
    lines = (line for one in text.splitlines() for line in re.split(r"&&|;|\bthen\b", one))
    words = (shlex.split(line.partition(">")[0]) for line in lines)
    return [line for line in words if line and line[0] in ("pytest", "pytest-mlflow")]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_jobs_fit_their_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    package = pytest.importorskip("check_jsonschema")
    name = "gitlab-ci" if path.stem.startswith("gitlab") else "github-workflows"
    schema = files(package) / "builtin_schemas" / "vendor" / f"{name}.json"
    validator = jsonschema.Draft7Validator(json.loads(schema.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(typed(path))] == []
    assert [*validator.iter_errors({**typed(path), "jobs": {"x": {"steps": 1}}})]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_jobs_use_what_there_is(path: Path, project: Project) -> None:
    used = commands(path)
    known = set(re.findall(r"--[\w-]+", project.pytest("--help").stdout))
    known |= {"--splits", "--group"}  # pytest-split's
    assert any("--mlflow" in line for line in used)
    for program, *words in used:
        told = known
        if program == "pytest-mlflow":
            told = set(re.findall(r"--[\w-]+", project.cli(words[0], "--help").stdout))
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        assert set(options) <= told, options
    # Also those in variables and comments.
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"--mlflow[\w-]*", text)) <= known


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_jobs_run_nothing_that_lies_here_only(path: Path) -> None:
    text = "\n".join(scripts(loaded(path)))
    assert "examples/" not in text
    assert not re.search(r"\bpython3? ", text)
    for action, major in re.findall(r"uses: (\S+)@v(\d+)\n", path.read_text(encoding="utf-8")):
        assert MAJORS[action] == int(major)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_no_gate_passes_for_want_of_secrets(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in [*map(" ".join, commands(path)), *re.findall(r"GATE: .*", text)]:
        if "-gate" in line:
            assert "-require-baseline" in line


def test_a_comment_is_posted_where_the_whole_is_known() -> None:
    for path in JOBS:
        assert any("--post" in line for line in commands(path))
    steps = loaded(CI / "github-shards.yml")["jobs"]["models"]["steps"]
    runs = [step.get("run", "") for step in steps]
    merged = max(number for number, run in enumerate(runs) if "pytest-mlflow merge" in run)
    assert "--comment --post" in runs[-1]
    assert merged < len(runs) - 1


def test_there_are_jobs_with_and_without_a_server() -> None:
    names = ["github-file.yml", "github-server.yml", "github-shards.yml", "gitlab.yml"]
    assert [path.name for path in JOBS] == names
    assert all("--mlflow-offline" in path.read_text(encoding="utf-8") for path in JOBS)
