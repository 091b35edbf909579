"""The documentation tells the truth: its links lead somewhere, its commands and examples work."""

from __future__ import annotations

import ast
import configparser
import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
import yaml
from chromium import needs_chromium
from documented import DOCS, PAGES, PLAYED, ROOT, commands, comparable, fences, parts, play
from project import Project
from reference import leaves, render

from pytest_mlflow_experiments import __version__, cli
from pytest_mlflow_experiments.cli import skill
from pytest_mlflow_experiments.report.headline import GATE_FAILED
from pytest_mlflow_experiments.session.options import OPTIONS

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
UPDATE = bool(os.environ.get("PYTEST_GOLDEN_UPDATE"))
BESIDE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/**/README.md")]
SKILL = Path(skill.__file__).with_name("skill.md")
TEXTS = [*PAGES, *BESIDE, SKILL]
SCHEMAS = DOCS / "schemas"
PACKAGE = Path(cli.__file__).parents[1]
# Options of the plugins and commands that the pages name beside ours.
OTHERS = {"--splits", "--group", "--lf", "--junit-xml", "--benchmark-save", "--benchmark-autosave"}

name_of = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def check_or_update(path: Path, now: str) -> None:
    """Compare a generated text with the file, or write the file."""
    if UPDATE:
        path.write_text(now, encoding="utf-8")
    diff = difflib.unified_diff(read(path).splitlines(), now.splitlines(), path.name, "now", n=0)
    assert not list(diff), "PYTEST_GOLDEN_UPDATE=1 writes it again"


def test_the_reference_is_made_from_the_code() -> None:
    check_or_update(DOCS / "reference.md", render())


def test_the_text_for_agents_is_the_command_s() -> None:
    page = DOCS / "agents.md"
    head, mark, _ = read(page).partition("<!-- skill -->\n")
    _, _, text = read(SKILL).partition("\n---\n\n# ")
    check_or_update(page, f"{head}{mark}\n### {text.replace(chr(10) + '## ', chr(10) + '#### ')}")


def test_the_command_prints_the_skill(project: Project) -> None:
    assert project.cli("skill").stdout == read(SKILL)
    front = read(SKILL).split("---\n")[1]
    told = yaml.safe_load(front)
    assert told["name"] == "pytest-mlflow"
    assert len(told["description"]) < 1024


def prose(text: str) -> str:
    """Return a page without its fences and comments."""
    return re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as Markdown's table of contents makes them."""
    found: set[str] = set()
    for title in re.findall(r"(?m)^#+ (.+)$", prose(text)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        base = re.sub(r"[^\w\s-]", "", plain, flags=re.ASCII).strip().lower()
        base = re.sub(r"[-\s]+", "-", base)
        found.add(base)
    return found


@name_of
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(read(path))):
        if re.match(r"\w+:", link):
            assert link.startswith("https://"), link
            continue
        target, _, anchor = link.partition("#")
        to = (path.parent / target).resolve() if target else path
        assert to.exists(), link
        assert ROOT in to.parents, link
        if anchor:
            assert anchor in anchors(read(to)), link


@name_of
def test_fences_are_legal(path: Path) -> None:
    for part in parts(read(path)):
        text = part.text
        if part.language == "python":
            ast.parse(text)
        elif part.language == "toml":
            tomllib.loads(text)
        elif part.language in ("yaml", "yml"):
            yaml.safe_load(text)
        elif part.language == "json":
            json.loads(text)
        elif part.language == "ini":
            configparser.ConfigParser().read_string(text)
        else:
            known = ("text", "shell", "sh", "console", "groovy", "sql", "mermaid")
            assert part.language in known, part.language
        if part.note == "run":
            exec(text, {})
    assert len(re.findall(r"(?m)^ *```", read(path))) % 2 == 0


def used(text: str) -> Iterator[list[str]]:
    """Yield the lines of pytest and pytest-mlflow, as words."""
    for part in fences(text, "shell", "console", "yaml", "groovy"):
        if part.language in ("yaml", "groovy"):
            found = re.findall(
                r"(?<![\w-])((?:pytest|pytest-mlflow) [^'\n]*(?:\n {10}--[^\n]*)*)", part.text
            )
            lines = [" ".join(line.split()) for line in found]
        else:
            lines = commands(part)
        for line in lines:
            for one in re.split(r"&&|;|\||\bdo\b|\bthen\b", line):
                words = shlex.split(one.partition(" #")[0].partition(">")[0])
                if words and words[0] in ("pytest", "pytest-mlflow"):
                    yield words
    for one in re.findall(r"`((?:pytest|pytest-mlflow) [^`]+)`", prose(text).replace("\n", " ")):
        yield one.split()


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Return the options of each command, and those of pytest."""
    found = {
        path: {name for action in one._actions for name in action.option_strings}
        for path, one in leaves(cli._parser())
    }
    ours = {one.flag for one in OPTIONS.values() if one.place != "ini"}
    return {**found, "": ours | OTHERS}


@name_of
def test_commands_and_options_exist(path: Path, known: dict[str, set[str]]) -> None:
    text = read(path)
    for program, *words in used(text):
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        options -= {"--help", "--version"}
        if program == "pytest":
            assert options <= known[""], words
            continue
        names = [" ".join(words[:number]) for number in (2, 1)]
        name = next((one for one in names if one in known), None)
        group = any(one.startswith(f"{words[0]} ") for one in known)
        assert name is not None or group or words[0].startswith("--"), words
        if name is not None:
            assert options <= known[name], words
    mentioned = set(re.findall(r"--(?:no-)?mlflow(?:-[\w-]+)?", text))
    assert mentioned <= known[""] | known.get("open", set()), path
    ini = set(re.findall(r"`(mlflow_\w+)[` ]", prose(text)))
    fixtures = {"mlflow_case", "mlflow_run", "mlflow_seed"}
    assert ini <= {one.name for one in OPTIONS.values() if one.place != "option"} | fixtures


def test_failing_outputs_name_a_page_that_there_is() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    assert f"{project['urls']['Documentation']}/en/latest/gate-failed/" == GATE_FAILED
    assert (DOCS / "gate-failed.md").is_file()


def test_every_page_has_its_place() -> None:
    names = {path.name for path in PAGES}
    nav = set(re.findall(r": ([\w-]+\.md)$", read(ROOT / "mkdocs.yml"), re.MULTILINE))
    assert nav == names | {"CHANGELOG.md", "CONTRIBUTING.md"}
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", read(DOCS / "llms.txt")))
    assert listed == names - {"index.md"}


def test_every_example_is_in_the_gallery() -> None:
    page = read(DOCS / "examples.md")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("examples/**/*")
        if path.suffix in (".py", ".yml", ".md") and not {"__pycache__", "project"} & {*path.parts}
    ]
    missing = [
        name for name in found if name not in page and str(Path(name).parent) + ")" not in page
    ]
    assert missing == []
    for line in [one for part in fences(page, "shell") for one in commands(part)]:
        for word in shlex.split(line, comments=True):
            if word.startswith("examples/"):
                assert list(ROOT.glob(word)), word


def test_pictures_are_there_and_small() -> None:
    shown = {
        (path.parent / name).resolve()
        for path in TEXTS
        for name in re.findall(r"[(\"]([\w./-]+\.png)[)#\"]", read(path))
    }
    assert all(path.is_file() for path in shown), shown
    made = set((DOCS / "pictures").glob("*.png"))
    assert made <= shown, "pictures that no page shows"
    assert all(path.stat().st_size < 300_000 for path in made)


@pytest.mark.parametrize("name", ["report", "best", "sessions", "check"])
def test_examples_of_json_fit_their_schemas(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(read(SCHEMAS / f"{name}.schema.json"))
    validator = jsonschema.Draft202012Validator(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    example = json.loads(read(SCHEMAS / f"{name}.example.json"))
    assert [error.message for error in validator.iter_errors(example)] == []
    assert [*validator.iter_errors({"kind": "something else"})]


def test_the_schema_of_reports_is_the_package_s() -> None:
    check_or_update(
        SCHEMAS / "report.schema.json", read(PACKAGE / "report" / "comparison.schema.json")
    )


def test_members_named_in_the_skill_exist() -> None:
    schema = json.loads(read(SCHEMAS / "report.schema.json"))
    kinds = [schema["$defs"][one]["properties"] for one in ("metric", "unjudged", "missed")]
    _, _, text = read(SKILL).partition("In `report.json`:")
    told = re.findall(r"`(\w+)`", text.partition("\n## ")[0])
    known = {*schema["properties"]}.union(*kinds)
    assert set(told) <= known | {"passed", "failed", "off"}


def schema_errors(data: Any, name: str) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    package = pytest.importorskip("check_jsonschema")
    path = files(package) / "builtin_schemas" / "vendor" / f"{name}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [error.message for error in validator.iter_errors(data)]


def test_the_workflow_runs_what_every_change_has_to_pass() -> None:
    text = read(ROOT / ".github" / "workflows" / "tests.yml")
    told = {"on" if key is True else key: value for key, value in yaml.safe_load(text).items()}
    assert schema_errors(told, "github-workflows") == []
    job = told["jobs"]["tests"]
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == pythons
    runs = [step.get("run") for step in job["steps"]]
    assert "bash .ci/run" in runs
    assert "PYTEST_MLFLOW_REAL" in read(ROOT / ".ci" / "run")
    assert job["steps"][-1]["env"].keys() == {"PYTEST_MLFLOW_REAL"}


def test_commits_are_checked_as_lint_does() -> None:
    told = yaml.safe_load(read(ROOT / ".pre-commit-config.yaml"))
    _, _, lint = read(ROOT / "tox.ini").partition("[testenv:lint]")
    for hook in (hook for repo in told["repos"] for hook in repo["hooks"]):
        program = hook["entry"].removesuffix(" --fix")
        assert re.search(rf"(?m)^    {program}", lint), program


def test_issues_have_forms() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        told = yaml.safe_load(read(path))
        if path.stem != "config":
            assert schema_errors(told, "github-issue-forms") == []


def test_jobs_of_the_pages_fit_their_schemas() -> None:
    kinds = ["github-workflows", "gitlab-ci", "azure-pipelines"]
    for part, kind in zip(fences(read(DOCS / "ci.md"), "yaml"), kinds, strict=True):
        told = yaml.safe_load(part.text)
        told = {"on" if key is True else key: value for key, value in told.items()}
        assert schema_errors(told, kind) == []
    assert schema_errors(yaml.safe_load(read(ROOT / ".readthedocs.yaml")), "readthedocs") == []


def test_the_changelog_knows_the_version() -> None:
    text = read(ROOT / "CHANGELOG.md")
    versions = re.findall(r"(?m)^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text)
    assert versions[:1] == [__version__]
    assert re.findall(r"(?m)^## .*", text)[0] == "## [Unreleased]"
    kinds = set(re.findall(r"(?m)^### (.*)", text))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


FOREIGN = """
    import pytest

    @pytest.mark.parametrize(("C", "seed"), [(0.1, 0), (1.0, 1)])
    def test_model(C, seed, mlflow_case):
        mlflow_case.log_metric("loss", 1 / C)
        accuracy = 0.9 + C / 100
        assert accuracy > 0.5
"""


def test_recipes_hand_frames_on(project: Project) -> None:
    project.write(FOREIGN)
    for _ in range(2):
        project.pytest("--mlflow", "--mlflow-offline")
    shutil.copy(project.sessions()[-1].directory.path / "report.json", project.path)
    text = "".join(read(DOCS / name) for name in ("coming-from.md", "analysis.md", "json.md"))
    recipes = [part.text for part in fences(text, "python") if re.search(r"load_|loads", part.text)]
    assert len(recipes) == 6
    with project.inside():
        for recipe in recipes:
            others = {name: MagicMock() for name in ("wandb", "neptune")}
            plot = patch("pandas.DataFrame.plot", MagicMock())
            with patch.dict(sys.modules, others), plot:
                exec(recipe, {})
            calls = others["wandb"].init.call_args_list
            if "import wandb" in recipe:
                assert [call.kwargs["config"] for call in calls] == [
                    {"C": "0.1", "seed": "0"},
                    {"C": "1.0", "seed": "1"},
                ]
                logged = others["wandb"].init.return_value.__enter__.return_value.log
                assert logged.call_args.args[0]["accuracy"] == 0.91
            if "import neptune" in recipe:
                run = others["neptune"].init_run.return_value.__enter__.return_value
                keys = [call.args[0] for call in run.__getitem__.call_args_list]
                assert keys.count("accuracy") == 2


@pytest.mark.real
@pytest.mark.parametrize("name", PLAYED)
def test_outputs_are_what_the_commands_print(
    name: str, tmp_path: Path, migrated_database: Path
) -> None:
    path = tmp_path / PLAYED[name]
    path.mkdir()
    shutil.copyfile(migrated_database, path / "mlflow.db")
    page = DOCS / name
    before = read(page)
    now = play(before, Project(path))
    if UPDATE and comparable(now) != comparable(before):
        page.write_text(now, encoding="utf-8")
        before = now
    diff = difflib.unified_diff(
        comparable(before).splitlines(), comparable(now).splitlines(), name, "now", n=0
    )
    assert not list(diff), "PYTEST_GOLDEN_UPDATE=1 writes it again"


@pytest.mark.real
@needs_chromium
def test_the_pictures_can_be_made(tmp_path: Path) -> None:
    pytest.importorskip("markdown_it")
    script = ROOT / "examples" / "pictures" / "make.py"
    command = [sys.executable, str(script), "--sessions=3", "--no-gallery", f"--output={tmp_path}"]
    subprocess.run(command, check=True, timeout=900)
    made = {path.name: path.stat().st_size for path in tmp_path.glob("*.png")}
    assert len(made) == 14
    assert made.keys() <= {path.name for path in (DOCS / "pictures").glob("*.png")}
    assert all(10_000 < size < 300_000 for size in made.values())


@pytest.mark.real
def test_examples_of_json_are_what_the_commands_print(project: Project) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for number in range(4):
        project.write(SWEPT.format(drop=0.1 * (number == 3)))
        project.pytest("--mlflow", "--mlflow-offline")
    printed = {
        "report": (project.sessions()[-1].directory.path / "report.json").read_text("utf-8"),
        "best": project.cli("best", "--format", "json").stdout,
        "sessions": project.cli("sessions", "list", "--json").stdout,
        "check": project.cli("report", "--check", env=GITHUB).stdout,
    }
    for name, text in printed.items():
        found: Any = json.loads(text)
        schema = json.loads(read(SCHEMAS / f"{name}.schema.json"))
        validator = jsonschema.Draft202012Validator(schema)
        assert [error.message for error in validator.iter_errors(found)] == []
        path = SCHEMAS / f"{name}.example.json"
        if UPDATE:
            path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        assert members(json.loads(read(path))) == members(found)


def members(data: Any) -> Any:
    """Return the shape of an example: its names, without its values."""
    if isinstance(data, dict):
        return {key: members(value) for key, value in data.items()}
    return [members(one) for one in data][:1] if isinstance(data, list) else None


GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "c0ffee" * 6}
SWEPT = """
    import pytest

    @pytest.mark.mlflow(objective="accuracy")
    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize("depth", [2, 4])
    def test_forest(depth, seed):
        accuracy = 0.8 + depth / 40 + seed / 1000 - {drop}
        assert accuracy > 0.5
"""
