"""Sweeps of real sessions: the marker, the terminal, the reports, the journal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project import Project

from pytest_mlflow_experiments.records import SweepEnd
from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.report.json import read_json

SOURCE = """
    import pytest

    # By seed, so that the scatter is known: with four seeds it is 0.01 * sqrt(5 / 3).
    NOISE = [-0.015, -0.005, 0.005, 0.015]

    @pytest.mark.mlflow(objective="figure", mode="min")
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("kernel", ["rbf", "poly"])
    @pytest.mark.parametrize("C", [10.0, 0.1, 1.0])
    def test_digits(C, kernel, seed, mlflow_case):
        figure = {0.1: 0.5, 1.0: 0.2, 10.0: 0.9}[C]
        if kernel == "poly":
            figure += 0.001 * (seed - 1)
        accuracy = 1 - C / 100
        assert accuracy > 0.8
        mlflow_case.log_metric("figure", figure + NOISE[seed])

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_guarded(k):
        loss = 1 / k
        assert loss < 0.9

    @pytest.mark.parametrize("k", [1, 2])
    def test_undirected(k, mlflow_case):
        mlflow_case.log_metric("figure", k)

    def test_plain():
        accuracy = 0.9
        assert accuracy > 0.8
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """Return a project with one session, of two workers, and the lines of its section."""
    project = Project(tmp_path_factory.mktemp("swept"))
    project.write("[pytest]\n", "pytest.ini")
    project.write(SOURCE)
    result = project.pytest("--mlflow", "--mlflow-offline", "-n", "2", status=1)
    return project, result.section()


def reports(project: Project) -> Path:
    return project.session().directory.path


def compared(project: Project) -> Comparison:
    return read_json(reports(project).joinpath("report.json").read_bytes())


def test_terminal_tells_the_best_and_how_sure_that_is(
    swept: tuple[Project, list[str]],
) -> None:
    first = next(place for place, line in enumerate(swept[1]) if line.startswith("  sweeps "))
    lines = swept[1][first : first + 4]
    # Where it stands between two workers is a matter of chance.
    if "test_guarded" in lines[0]:
        lines = [*lines[2:], *lines[:2]]
    assert [line.removeprefix("  sweeps").strip() for line in lines] == [
        "test_digits: 6 points \N{MULTIPLICATION SIGN} 4 seeds",
        "best C = 1.0, kernel = rbf: figure 0.200 ± 0.013 (n = 4), "
        "no clear winner: 1 of 5 other points can't be told from the best",
        "test_guarded: 3 points; 1 of 3 cases did not pass",
        "best k = 3: loss 0.333333, "
        "no clear winner: one value a point can't tell a lead from noise",
    ]
    assert not any("test_undirected" in line for line in swept[1])


def test_reports_have_the_sweeps_though_there_is_no_baseline(
    swept: tuple[Project, list[str]],
) -> None:
    comparison = compared(swept[0])
    assert comparison.baseline is None
    sweeps = {sweep.name: sweep for sweep in comparison.sweeps}
    assert sorted(sweeps) == ["test_digits", "test_guarded", "test_undirected"]
    digits = sweeps["test_digits"]
    assert (digits.test, digits.objective, digits.mode) == (
        "test_it.py::test_digits",
        "figure",
        "min",
    )
    assert (sorted(digits.params), digits.repeats) == (["C", "kernel"], ("seed",))
    assert [level.value for level in digits.effects[0].levels] == ["0.1", "1.0", "10.0"]
    assert digits.best is not None
    assert digits.best.seeds == ("seed=0", "seed=1", "seed=2", "seed=3")
    assert {"accuracy", "duration_seconds"} <= digits.best.metrics.keys()
    guarded = sweeps["test_guarded"]
    assert [found.params["k"] for found in guarded.configurations] == ["3", "2", "1"]
    assert [found.failed for found in guarded.configurations] == [0, 0, 1]
    assert sweeps["test_undirected"].mode is None

    text = reports(swept[0]).joinpath("report.md").read_text(encoding="utf-8")
    assert "#### Sweep `test_digits`: 6 points" in text
    assert "| 1 | `C = 1.0, kernel = rbf` | 0.200 ± 0.013 | 4 |" in text
    assert "objective=... and mode" in text


def test_the_end_of_the_journal_has_what_the_runs_of_sweeps_get(
    swept: tuple[Project, list[str]],
) -> None:
    end = swept[0].session().end
    assert end is not None
    found: dict[str, SweepEnd] = {sweep.test: sweep for sweep in end.sweeps}
    digits = found["test_it.py::test_digits"]
    assert digits.params == {"best_C": "1.0", "best_kernel": "rbf"}
    assert digits.tags == {"pytest.objective": "figure", "pytest.mode": "min"}
    assert digits.metrics["best_figure"] == pytest.approx(0.2)
    assert digits.metrics["accuracy_of_best"] == pytest.approx(0.99)
    assert (digits.metrics["cases"], digits.metrics["configurations"]) == (24, 6)
    assert "| 6 | `C = 10.0, kernel = poly` |" in digits.summary
    assert "- `C` (100 %): `0.1` 0.50025, `1.0` 0.20025, `10.0` 0.90025" in digits.summary
    undirected = found["test_it.py::test_undirected"]
    assert undirected.params == {}
    assert undirected.metrics == {"cases": 2, "configurations": 2}
    assert "nobody knows which values are better" in undirected.summary


def test_a_failed_comparison_has_the_sweeps(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("[pytest]\nmlflow_baseline = file:broken.jsonl\n", "pytest.ini")
    project.write("{}\n", "broken.jsonl")
    project.write(SOURCE)
    result = project.pytest("--mlflow", "--mlflow-offline", "-k", "test_guarded", status=1)
    assert "The comparison could not be made" in result.stdout
    comparison = compared(project)
    assert comparison.problem is not None
    assert [sweep.name for sweep in comparison.sweeps] == ["test_guarded"]


def test_not_every_parametrized_test_is_a_sweep(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("[pytest]\n", "pytest.ini")
    project.write(
        """
        import numpy as np
        import pytest

        mlflow, parametrize = pytest.mark.mlflow, pytest.mark.parametrize

        @parametrize("model, rate", [("svc", 0.1), ("svc", 0.2), ("tree", 0.1), ("tree", 0.2)])
        def test_grid(model, rate):
            accuracy = 0.8 + rate
            assert accuracy > 0.5

        @parametrize("alpha, expected_gmean", [(0.1, 0.81), (0.2, 0.82)])
        def test_regression(alpha, expected_gmean):
            gmean = 0.8 + alpha / 10
            assert gmean == pytest.approx(expected_gmean)

        @parametrize("alpha, bound", [(0.1, 0.7), (0.2, 0.8)])
        def test_own_limits(alpha, bound):
            accuracy = 0.8 + alpha
            assert accuracy > bound

        @parametrize("X, y, expected", [(np.ones(k), np.zeros(k), k / 10) for k in (3, 4)])
        def test_data(X, y, expected):
            accuracy = len(X) / 10
            assert accuracy >= 0.3

        @parametrize("kind", [np.float32, np.float64])
        def test_dtypes(kind):
            accuracy = kind(1).nbytes / 10
            assert accuracy > 0.1

        @parametrize("seed", range(3))
        def test_seeds(seed):
            accuracy = 0.9 + seed / 100
            assert accuracy > 0.5

        @parametrize("question, answer", [("Of France?", "Paris"), ("Of Italy?", "Rome")])
        def test_evaluation(question, answer, mlflow_case):
            mlflow_case.log_metric("correct", answer == "Paris")

        @parametrize("region", ["north", "south"])
        def test_regions(region):
            accuracy = 0.8 + (region == "north") / 10
            assert accuracy > 0.5

        @mlflow(sweep=True)
        @parametrize("dtype", ["float16", "float32"])
        def test_said(dtype):
            accuracy = 0.9 if dtype == "float32" else 0.8
            assert accuracy > 0.5

        @mlflow(sweep=False)
        @parametrize("rate", [0.1, 0.2])
        def test_denied(rate):
            accuracy = 0.8 + rate
            assert accuracy > 0.5
        """
    )
    result = project.pytest("--mlflow", "--mlflow-offline")
    assert [sweep.name for sweep in compared(project).sweeps] == ["test_grid", "test_said"]
    assert "test_grid: 4 points" in result.stdout
    end = project.session().end
    assert end is not None
    assert [sweep.test for sweep in end.sweeps] == [
        "test_it.py::test_grid",
        "test_it.py::test_said",
    ]
    # In MLflow what one case can tell decides: neither the limits nor the values of the others.
    swept = {record.sweep for record in project.session().cases} - {None}
    assert swept == {f"test_it.py::test_{name}" for name in ("grid", "own_limits", "said")}
    assert (
        "name one of them:\n  test_it.py::test_grid\n  test_it.py::test_said\n"
        in project.cli("best", "--metric=accuracy", status=2).stderr
    )
    assert "fits no sweep" in project.cli("best", "test_denied", status=2).stderr


def test_merged_shards_have_the_sweep_of_all_cases(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("[pytest]\n", "pytest.ini")
    project.write(SOURCE)
    for kernel in ("rbf", "poly"):
        # Within one directory, as shards of one machine.
        project.pytest(
            *("--mlflow", "--mlflow-offline", "--mlflow-session", "whole"),
            *("-k", f"test_digits and {kernel}"),
        )
    result = project.cli("merge", "--offline", "--session", "whole")
    assert "test_digits: 6 points \N{MULTIPLICATION SIGN} 4 seeds" in result.stdout
    path = project.path / ".pytest_mlflow" / "whole" / "report.json"
    (sweep,) = read_json(path.read_bytes()).sweeps
    assert (sweep.cases, sweep.mode) == (24, "min")
    end = json.loads(path.with_name("journal.jsonl").read_text().splitlines()[-1])
    assert end["sweeps"][0]["params"] == {"best_C": "1.0", "best_kernel": "rbf"}


GRID = """
    import pytest

    @pytest.mark.parametrize("C", {grid})
    @pytest.mark.parametrize("seed", range(2))
    def test_fit(C, seed):
        accuracy = 0.9 - abs(C - {peak}) / 100 + seed / 1_000
        assert accuracy > 0.5
"""


@pytest.mark.real
def test_gate_where_the_grid_is_another(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("[pytest]\nmlflow_experiment = it\n", "pytest.ini")
    gate = ("--mlflow", "--mlflow-offline", "--mlflow-gate")
    for grid, told in (
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], "first run"),
        ([2.5, 3, 3.5], "8 points are gone: test_fit[C=1], test_fit[C=2], test_fit[C=4]"),
        ([2.5, 3.5], "1 point is gone: test_fit[C=3]"),
    ):
        project.write(GRID.format(grid=grid, peak=3.5))
        text = "\n".join(project.pytest(*gate).section())
        assert told in text
        assert "missing" not in text
    # The best point went, and what stands in its place is worse.
    project.write(GRID.format(grid=[2.5, 9], peak=3.5))
    worse = project.pytest(*gate, "--mlflow-tolerance=accuracy: 0.005", status=1).stdout
    assert "FAILED test_it.py::test_fit - accuracy[best] regressed" in worse
