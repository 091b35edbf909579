"""Without ``--mlflow`` nearly nothing of us is there, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from project import Project

HEAVY = {"mlflow", "pandas", "numpy", "scipy", "sqlalchemy"}
OURS = "pytest_mlflow_experiments"
STARTED = {
    "pytest_mlflow_experiments",
    "pytest_mlflow_experiments.session",
    "pytest_mlflow_experiments.session.hookspecs",
    "pytest_mlflow_experiments.session.options",
    "pytest_mlflow_experiments.plugin",
}

SHOW_MODULES = """
    import atexit
    import sys

    def show():
        with open("modules.txt", "w", encoding="utf-8") as file:
            file.write("\\n".join(sys.modules))

    atexit.register(show)
"""

SUITE = """
    import pytest

    def test_passes():
        accuracy = 0.75
        assert accuracy > 0.5

    @pytest.mark.mlflow(case="named", tags={"team": "vision"})
    def test_marked():
        pass
"""

USES_THE_FIXTURE = """
    import pytest

    @pytest.mark.parametrize("alpha", [0.1, 0.2])
    def test_logs(mlflow_case, alpha, tmp_path):
        mlflow_case.log_metric("accuracy", 0.75)
        mlflow_case.log_metrics({"loss": 0.25}, step=1)
        mlflow_case.log_param("beta", alpha)
        mlflow_case.set_tag("team", "vision")
        mlflow_case.log_text("hello", "notes/hello.txt")
        mlflow_case.log_dict({"a": 1}, "a.json")
        mlflow_case.log_table({"a": [1, 2]}, "table.json")
        tmp_path.joinpath("file").touch()
        mlflow_case.log_artifact(tmp_path / "file")
"""


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """Return a project without a database, that tells which modules it had loaded in the end."""
    path = tmp_path / "bare"
    path.mkdir()
    project = Project(path)
    project.write("[pytest]\n", "pytest.ini")
    project.write(SHOW_MODULES, "conftest.py")
    return project


def run(project: Project, *options: str) -> set[str]:
    """Run pytest, alone but for us; return the names of the modules that are loaded at the end."""
    temporary = project.path.parent / "temporary"
    temporary.mkdir()
    before = set(project.path.iterdir())
    project.pytest(
        *("-p", "pytest_mlflow_experiments.plugin", "-p", "no:cacheprovider", *options),
        env={
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(temporary),
        },
    )
    left = {path.name for path in set(project.path.iterdir()) - before}
    assert left == {"modules.txt"}
    left = {path.name for path in temporary.iterdir() if not path.name.startswith("pytest-of-")}
    assert left == set()
    return set(project.path.joinpath("modules.txt").read_text(encoding="utf-8").split())


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] in HEAVY}


@pytest.mark.parametrize(
    "options",
    [(), ("--help",), ("--markers",), ("--fixtures",), ("--collect-only",), ("--strict-markers",)],
    ids=" ".join,
)
def test_only_the_entry_point_is_loaded(bare: Project, options: tuple[str, ...]) -> None:
    bare.write(SUITE, "test_it.py")
    modules = run(bare, *options)
    assert heavy(modules) == set()
    assert {name for name in modules if name.startswith(OURS)} == STARTED


@pytest.mark.parametrize(
    "options",
    [("--collect-only",), ("--collect-only", "-q"), ("--help",), ("--markers",)],
    ids=" ".join,
)
def test_nothing_heavy_is_loaded_where_no_test_runs(
    bare: Project, options: tuple[str, ...]
) -> None:
    bare.write(SUITE, "test_it.py")
    modules = run(bare, "--mlflow", *options)
    assert heavy(modules) == set()


def test_nothing_heavy_is_loaded_to_judge(bare: Project) -> None:
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = ("-p", "pytest_mlflow_experiments.plugin", "--mlflow", "--mlflow-offline")
    for accuracy in (0.91, 0.93, 0.92, 0.7):
        bare.write(f"def test_it():\n    accuracy = {accuracy}\n    assert accuracy > 0.5\n")
        result = bare.pytest(*options, env=alone)
    assert "1 metric regressed" in result.stdout
    modules = set(bare.path.joinpath("modules.txt").read_text(encoding="utf-8").split())
    assert "pytest_mlflow_experiments.regression.rule" in modules
    assert heavy(modules) == set()


def test_the_fixture_keeps_nothing(bare: Project) -> None:
    bare.write(USES_THE_FIXTURE, "test_it.py")
    modules = run(bare)
    assert heavy(modules) == set()
    ours = {name.removeprefix("pytest_mlflow_experiments.") for name in modules}
    assert not any(name == "session.plugin" or name.startswith("tracker") for name in ours)


@pytest.mark.parametrize(
    ("options", "told"),
    [((), False), (("--mlflow-offline",), True), (("--mlflow-experiment=x",), True)],
)
def test_options_of_what_is_off_are_answered(
    project: Project, options: tuple[str, ...], told: bool
) -> None:
    project.write("def test_it():\n    pass\n")
    line = "mlflow: off; --mlflow switches it on"
    assert (line in project.pytest(*options).stdout) == told
