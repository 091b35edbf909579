"""A rule of your own: a limit for the calibration error that no history can move.

Put it into your conftest.py.
"""

from dataclasses import replace

from pytest_mlflow_experiments.regression import judge

BUDGET = 0.05


def pytest_mlflow_rule(series):
    if series.metric != "calibration_error":
        return None  # left to the built-in rule
    verdict = judge(series.current, series.history, direction="min", options=series.options)
    if verdict.current is None or verdict.current <= BUDGET:
        return verdict
    reason = f"the calibration error must not exceed {BUDGET}"
    return replace(verdict, status="regressed", limit=BUDGET, reason=reason)
