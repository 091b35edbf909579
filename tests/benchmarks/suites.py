"""The suites that are run: the same work, written as the users of each peer would write it."""

from __future__ import annotations

from pathlib import Path

ASSERTIONS = """
import pytest

@pytest.mark.parametrize("seed", range({count}))
@pytest.mark.parametrize(("alpha", "kind"), [(0.1, "ridge")])
def test_case(seed, alpha, kind):
    accuracy = 0.9 + seed * 1e-6
    f1 = accuracy - 0.1
    loss = 1 - accuracy
    assert f1 >= 0.4
    assert loss <= 0.5
    assert accuracy >= 0.5
"""
"""Trivial cases with 3 params and 3 metrics, as plain pytest and this plugin run them."""

FLUENT = """
import pytest

@pytest.mark.parametrize("seed", range({count}))
@pytest.mark.parametrize(("alpha", "kind"), [(0.1, "ridge")])
def test_case(seed, alpha, kind, log_metric):
    accuracy = 0.9 + seed * 1e-6
    log_metric("f1", accuracy - 0.1)
    log_metric("loss", 1 - accuracy)
    log_metric("accuracy", accuracy)
    assert accuracy >= 0.5
"""
"""The same with the fixture that people write by hand."""

FLUENT_CONFTEST = """
import mlflow
import pytest


@pytest.fixture(scope="session")
def session_run():
    mlflow.set_experiment("bench")
    with mlflow.start_run(run_name="session") as run:
        yield run


@pytest.fixture
def log_metric(request, session_run):
    with mlflow.start_run(run_name=request.node.name, nested=True):
        mlflow.log_params(request.node.callspec.params)
        yield mlflow.log_metric
"""

MARKED = """
import mlflow
import pytest

@pytest.mark.parametrize("seed", range({count}))
@pytest.mark.parametrize(("alpha", "kind"), [(0.1, "ridge")])
@mlflow.test
def test_case(seed, alpha, kind):
    accuracy = 0.9 + seed * 1e-6
    mlflow.log_metrics({"f1": accuracy - 0.1, "loss": 1 - accuracy, "accuracy": accuracy}, seed)
    assert accuracy >= 0.5
"""
"""The same for MLflow's own plugin, which makes one run of a session and keeps no params."""

SCRIPT = """
import time

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

client = MlflowClient()
experiment = client.get_experiment_by_name("bench")
experiment_id = experiment.experiment_id if experiment else client.create_experiment("bench")
session = client.create_run(experiment_id, run_name="session")
for seed in range({count}):
    accuracy = 0.9 + seed * 1e-6
    run = client.create_run(
        experiment_id,
        tags={"mlflow.parentRunId": session.info.run_id},
        run_name=f"test_case[0.1-ridge-{seed}]",
    )
    params = {"seed": seed, "alpha": 0.1, "kind": "ridge"}
    metrics = {"f1": accuracy - 0.1, "loss": 1 - accuracy, "accuracy": accuracy}
    now = int(time.time() * 1000)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value, now, 0) for key, value in metrics.items()],
        params=[Param(key, str(value)) for key, value in params.items()],
    )
    client.set_terminated(run.info.run_id)
client.set_terminated(session.info.run_id)
"""
"""The same runs without pytest: three calls of MLflow's client for each, one after the other."""

NO_METRIC = """
import pytest


@pytest.mark.parametrize("number", range({count}))
def test_case(number):
    assert str(number).isdigit()
"""
"""Tests that measure nothing."""

SLOW = """
import time

import pytest


@pytest.mark.parametrize("seed", range({count}))
def test_case(seed):
    time.sleep(0.05)
    accuracy = 0.9 + seed * 1e-6
    assert accuracy >= 0.5
"""
"""Cases that take 50 ms each."""

STEPS = """
def test_case(mlflow_case):
    for step in range({count}):
        mlflow_case.log_metric("loss", 1 / (step + 1), step=step)
    assert step > 0
"""
"""One case that logs a metric at many steps."""

FLUENT_STEPS = """
def test_case(log_metric):
    for step in range({count}):
        log_metric("loss", 1 / (step + 1), step=step)
    assert step > 0
"""
"""The same with the fixture that people write by hand."""

FLUENT_STEPS_CONFTEST = """
import mlflow
import pytest


@pytest.fixture
def log_metric(request):
    mlflow.set_experiment("bench")
    with mlflow.start_run(run_name=request.node.name):
        yield mlflow.log_metric
"""

CHECKS = """
def test_case():
    accuracy = 0.9
    for _ in range({count}):
        assert accuracy >= 0.5
"""
"""One assertion, often."""


def write(directory: Path, text: str, count: int, *, conftest: str = "") -> None:
    """Write a suite of ``count`` cases into an empty directory."""
    directory.joinpath("test_suite.py").write_text(filled(text, count), encoding="utf-8")
    directory.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    if conftest:
        directory.joinpath("conftest.py").write_text(conftest, encoding="utf-8")


def filled(text: str, count: int) -> str:
    """Return a suite's text with its number of cases."""
    return text.replace("{count}", str(count))
