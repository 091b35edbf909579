"""Fresh runs of suspicious cases: at once, in place, and they alone decide."""

from __future__ import annotations

import pytest
from layers import real
from project import Project

OFFLINE = ("--mlflow", "--mlflow-offline")
FLAKY = """
    import itertools
    import pytest

    VALUES = iter({values})
    EVENTS = []

    @pytest.fixture(scope="module")
    def data():
        EVENTS.append("data")
        yield
        EVENTS.append("no data")

    @pytest.fixture
    def value(data):
        EVENTS.append("value")
        return next(VALUES)

    def test_model(value, mlflow_case):
        mlflow_case.log_metric("accuracy", value)

    def test_after(data):
        print(EVENTS)
        assert EVENTS.count("data") == 1
"""


RECORDED = [FLAKY.format(values=[value]) for value in (0.90, 0.91, 0.90, 0.89, 0.90)]


@pytest.mark.parametrize(
    "workers", [(), real(("-n", "2", "--dist=loadfile"))], ids=["alone", "xdist"]
)
def test_false_alarm_is_withdrawn(history: Project, workers: tuple[str, ...]) -> None:
    history.write(FLAKY.format(values=[0.80, 0.90, 0.91, 0.90]))
    history.pytest(*OFFLINE, "--mlflow-gate", status=1)
    result = history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=3", *workers)
    assert "= 2 passed in" in result.stdout.replace("2 passed in", "2 passed in")
    record = history.sessions()[-1].case("test_model")
    assert [attempt.metrics[0].value for attempt in record.repeats] == [0.90, 0.91, 0.90]
    assert record.metrics[0].value == 0.80


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist=loadfile")], ids=["alone", "xdist"])
def test_regression_is_confirmed(history: Project, workers: tuple[str, ...]) -> None:
    history.write(FLAKY.format(values=[0.80, 0.81, 0.79, 0.80]))
    result = history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=3", *workers, status=1)
    assert "  regressed      accuracy 0.9 → 0.8" in "\n".join(result.section())
    assert "3 fresh runs" in "\n".join(result.section())
    assert "= 1 failed, 1 passed in" in result.stdout


def test_what_is_not_suspicious_runs_once(history: Project) -> None:
    history.write(FLAKY.format(values=[0.905]))
    history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=3")
    assert history.sessions()[-1].case("test_model").repeats == ()


def test_fresh_run_that_fails_is_no_verdict(history: Project) -> None:
    history.write(FLAKY.format(values=[0.80]))
    result = history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=2", status=1)
    assert "none of the fresh runs yielded it again" in "\n".join(result.section())
    record = history.sessions()[-1].case("test_model")
    assert [attempt.outcome for attempt in record.repeats] == ["error", "error"]


def test_one_session_of_history_is_enough_for_fresh_runs(project: Project) -> None:
    project.write(FLAKY.format(values=[0.90]))
    project.pytest(*OFFLINE)
    project.write(FLAKY.format(values=[0.80, 0.801, 0.80, 0.799]))
    project.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=3", status=1)


def test_interrupted_fresh_run_keeps_the_case(history: Project) -> None:
    history.write(
        """
        RUNS = []

        def test_model(mlflow_case):
            RUNS.append(1)
            mlflow_case.log_metric("accuracy", 0.8)
            if len(RUNS) == 2:
                raise KeyboardInterrupt
        """
    )
    history.pytest(*OFFLINE, "--mlflow-rerun=3", status=2)
    assert history.sessions()[-1].case("test_model").metrics[0].value == 0.8


@pytest.mark.real
def test_fresh_runs_leave_no_runs_in_mlflow(project: Project) -> None:
    source = """
        import mlflow

        VALUES = iter({})

        def test_model(mlflow_run):
            mlflow.log_metric("accuracy", next(VALUES))
        """
    for value in (0.90, 0.91, 0.90):
        project.write(source.format([value]))
        project.pytest("--mlflow", "--mlflow-offline")
    project.write(source.format([0.5, 0.90, 0.91]))
    project.pytest("--mlflow", "--mlflow-gate", "--mlflow-rerun=2")
    assert len(project.sessions()[-1].case("test_model").repeats) == 2
    (run,) = project.case_runs().values()
    assert run.data.metrics["accuracy"] == 0.5
    assert {run.info.status for run in project.runs()} == {"FINISHED"}


@pytest.mark.real
def test_baseline_of_a_server_is_waited_for(project: Project) -> None:
    for values in ([0.9], [0.91], [0.9]):
        project.write(FLAKY.format(values=values))
        project.pytest("--mlflow", "--mlflow-offline")
    project.sync()
    for session in project.sessions():
        session.directory.remove()
    project.write(FLAKY.format(values=[0.50, 0.90, 0.91, 0.90]))
    project.pytest("--mlflow", "--mlflow-gate", "--mlflow-rerun=3")
    assert len(project.session().case("test_model").repeats) == 3
