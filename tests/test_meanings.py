"""Which way is better, in real sessions: expressions, contradictions, ranges and residuals."""

from __future__ import annotations

import pytest
from project import Project, Result

OFFLINE = ("--mlflow", "--mlflow-offline")
CASES = """
    import os

    NOW = os.environ.get("NOW", "")


    def value(name, otherwise):
        return dict(one.split("=") for one in NOW.split()).get(name, otherwise)


    def test_gap():
        train_acc, test_acc = 0.95, 0.95 - float(value("gap", 0.05))
        assert train_acc - test_acc < 0.30


    def test_percent():
        accuracy = float(value("percent", 0.95))
        assert accuracy * 100 > 80


    def test_contradiction():
        d2_log_loss = float(value("contradiction", 0.85))
        log_loss = d2_log_loss
        assert log_loss >= 0.3


    def test_range():
        proba = low = float(value("range", 0.4))
        assert 0 <= proba <= 1
        assert low >= 0


    def test_logged(mlflow_case):
        accuracy = float(value("logged", 0.9))
        mlflow_case.log_metric("accuracy", accuracy)
        assert 0 <= accuracy <= 1


    def test_residual():
        a, b = 1.0, 1.0 + float(value("residual", 4e-14))
        assert abs(a - b) < 1e-6
"""


RECORDED = [CASES] * 3


def gated(history: Project, now: str, status: int) -> Result:
    return history.pytest(*OFFLINE, "--mlflow-gate", env={"NOW": now}, status=status)


def test_worse_expressions_and_residuals_near_their_limits_fail(history: Project) -> None:
    result = gated(history, "gap=0.15 percent=0.82 residual=5e-7 logged=0.7", status=1)
    metrics = ("train_acc_minus_test_acc", "accuracy_times_100", "a_minus_b.abs", "accuracy")
    for metric in metrics:
        assert f"{metric} regressed" in result.stdout


@pytest.mark.parametrize("contradiction", [0.49, 0.99])
def test_what_is_no_worse_passes(history: Project, contradiction: float) -> None:
    now = f"gap=0.01 percent=0.99 range=0.9 residual=4.5e-14 contradiction={contradiction}"
    section = "\n".join(gated(history, now, status=0).section())
    assert "Gate passed" in section
    assert "1 improved, 2 unchanged" in section
    changed = section.partition("changed    ")[2]
    assert changed.lstrip().startswith("log_loss")
    assert "its name suggests that smaller values are better, and its assertion" in changed
    assert "direction=" in changed
    case = next(one for one in history.sessions()[-1].cases if "range" in one.nodeid)
    assert {check.metric: check.value for check in case.checks} == {"proba": 0.9, "low": 0.9}
