"""What teams live through, end to end: real sessions of pytest, one after the other."""

from __future__ import annotations

import pytest
from project import Project, Result

from pytest_mlflow_experiments.analysis.named_sessions import read_comparison

pytestmark = pytest.mark.real

OFFLINE = ("--mlflow", "--mlflow-offline")
STORIES = """
    import os

    RUN = int(os.environ.get("RUN", "{run}"))

    def about(value):
        # As if seeds and data differed a little each time.
        return value * (1 + (0, 2, -1, 1, -2)[RUN % 5] / 1_000)

    def test_improvement_that_got_lost(mlflow_case):
        accuracy = about(0.90 if RUN < 15 or RUN == 20 else 0.95)
        assert accuracy > 0.5

    def test_less_than_before_the_improvement(mlflow_case):
        accuracy = about(0.90 if RUN < 15 else 0.86 if RUN == 20 else 0.95)
        assert accuracy > 0.5

    def test_bad_merge_that_was_reverted(mlflow_case):
        if RUN >= 12:
            accuracy = about(0.60 if RUN in (18, 20) else 0.80)
            assert accuracy > 0.5

    def test_slow_decline(mlflow_case):
        accuracy = about(0.9 * (1 - 0.003 * max(0, RUN - 5)))
        assert accuracy > 0.5

    def test_twice_the_error(mlflow_case):
        accuracy = 1 - about(0.010 if RUN == 20 else 0.005)
        auc = 1 - about(0.008 if RUN == 20 else 0.001)
        assert accuracy > 0.5
        assert auc > 0.5

    def test_ungated_fall(mlflow_case):
        accuracy = about(0.90 if RUN < 8 else 0.80)
        assert accuracy > 0.5

    def test_as_ever(mlflow_case):
        accuracy = about(0.90)
        assert accuracy > 0.5
"""
RECORDED = [STORIES.format(run=run) for run in range(20)]


@pytest.fixture
def lived(history: Project) -> Project:
    history.write(STORIES.format(run=20))
    return history


def gated(project: Project, *options: str) -> dict[str, str]:
    """Run the gate, and return pytest's short summary by test."""
    result = project.pytest(*OFFLINE, "--mlflow-gate", *options, status=1)
    return {
        line.split(" ")[1].rpartition("::")[2]: line
        for line in result.stdout.splitlines()
        if line.startswith("FAILED ")
    }


def told(result: Result) -> str:
    return "\n".join(result.section())


@pytest.mark.parametrize("options", [("--mlflow-rerun=0",), ()], ids=["one shot", "fresh runs"])
def test_what_got_worse_is_found(lived: Project, options: tuple[str, ...]) -> None:
    failed = gated(lived, *options)
    expected = {
        "test_improvement_that_got_lost",
        "test_less_than_before_the_improvement",
        "test_twice_the_error",
        "test_ungated_fall",
    }
    # One bad run in the history can be the very fault that is back: fresh runs can tell.
    if not options:
        expected.add("test_bad_merge_that_was_reverted")
    assert failed.keys() == expected
    report = read_comparison(lived.sessions()[-1].directory.report)
    rows = {row.name: row for row in report.metrics if row.metric == "accuracy"}
    lost, masked = rows["test_improvement_that_got_lost"], rows["test_bad_merge_that_was_reverted"]
    assert lost.baseline == pytest.approx(0.95, rel=0.002)
    assert lost.n == 5
    assert lost.level_since is not None
    assert len(masked.exceptions) == 1
    if options:
        assert masked.status == "inconclusive"
        assert f"{masked.exceptions[0]} was an exception" in masked.reason
    assert rows["test_slow_decline"].status == "drifting"
    assert rows["test_as_ever"].status == "unchanged"
    assert rows["test_ungated_fall"].below_since is not None


def test_drift_gates_where_it_is_asked_for(lived: Project) -> None:
    assert "test_slow_decline" in gated(lived, "--mlflow-gate=drift", "--mlflow-rerun=0")


ACCEPTED = """
    import os

    def test_model():
        accuracy = float(os.environ["VALUE"])
        assert accuracy > 0.05
"""


def test_collapse_after_an_accepted_step(project: Project) -> None:
    project.write(ACCEPTED)

    def run(value: float, *options: str, status: int = 0) -> str:
        return told(project.pytest(*OFFLINE, *options, env={"VALUE": str(value)}, status=status))

    for value in (0.90, 0.903, 0.898, 0.901, 0.899):
        run(value)
    run(0.80, "--mlflow-gate", status=1)
    project.cli("accept", "--reason", "half the size")
    assert "accepted" in run(0.80, "--mlflow-gate")
    assert "Gate failed: 1 metric regressed" in run(0.10, "--mlflow-gate", status=1)
    assert "Gate passed" in run(0.801, "--mlflow-gate")
