"""The example of a sweep: what it answers, and what the documentation shows of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from project import Project

from pytest_mlflow_experiments.records.directory import SessionDirectory
from pytest_mlflow_experiments.regression.sweeps.model import Sweep
from pytest_mlflow_experiments.regression.sweeps.ranking import marks
from pytest_mlflow_experiments.report.json import read_json

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "sweep" / "test_digits.py"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    path = tmp_path_factory.mktemp("sweep")
    shutil.copy(EXAMPLE, path)
    path.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    project = Project(path)
    result = project.pytest("--mlflow", "-n", "2", "--mlflow-offline")
    assert "80 passed" in result.stdout
    assert sum("test_digits: 16 points" in line for line in result.section()) == 1
    return project


@pytest.fixture(scope="module")
def sweep(swept: Project) -> Sweep:
    (directory,) = SessionDirectory.find_all(swept.path)
    (found,) = read_json(directory.report.read_text(encoding="utf-8")).sweeps
    return found


@pytest.mark.real
def test_it_says_which_configuration_and_how_sure(sweep: Sweep) -> None:
    assert (sweep.objective, sweep.mode, sweep.cases, sweep.failed) == ("accuracy", "max", 80, 0)
    assert len(sweep.configurations) == 16
    assert {found.n for found in sweep.configurations} == {5}
    assert sweep.best is not None
    assert sweep.best.params["hidden"] == "64"
    assert sweep.best.mean is not None
    assert sweep.best.mean > 0.96
    assert 0 < marks(sweep).count("near") < 15


@pytest.mark.real
def test_it_says_what_mattered(sweep: Sweep) -> None:
    assert {effect.param for effect in sweep.effects} == set(sweep.params)
    assert sweep.effects[0].param == "learning_rate"
    assert [level.value for level in sweep.effects[0].levels] == ["0.001", "0.003", "0.01", "0.03"]


@pytest.mark.real
def test_the_training_curves_are_there(swept: Project) -> None:
    (directory,) = SessionDirectory.find_all(swept.path)
    curves = read_json(directory.report.read_text(encoding="utf-8")).curves
    assert {curve.metric for curve in curves} == {"loss"}
    assert {len(curve.current) for curve in curves} == {5}
    assert {len(line) for curve in curves for line in curve.current} == {30}


def test_the_page_on_sweeps_shows_its_head() -> None:
    code = EXAMPLE.read_text(encoding="utf-8")
    head = code[code.index("@pytest.mark.mlflow") :].partition("\n    ")[0]
    assert f"```python\n{head}\n" in ROOT.joinpath("docs", "sweeps.md").read_text(encoding="utf-8")
