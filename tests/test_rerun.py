"""Fresh runs of suspicious cases: at once, in place, and they alone decide."""

from __future__ import annotations

import pytest
from layers import real
from project import Project

from pytest_mlflow_experiments.capture.suspects import FreshTime

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
        mlflow_case.log_metrics({{"accuracy": value, "f1": 0.9}})

    def test_after(data):
        print(EVENTS)
        assert EVENTS.count("data") == 1
"""


RECORDED = [FLAKY.format(values=[value]) for value in (0.90, 0.91, 0.90, 0.89, 0.90)]


@pytest.mark.parametrize(
    "workers", [(), real(("-n", "2", "--dist=loadfile"))], ids=["alone", "xdist"]
)
def test_false_alarm_is_withdrawn(history: Project, workers: tuple[str, ...]) -> None:
    history.write(FLAKY.format(values=[0.80, 0.90, 0.91, 0.90, 0.91, 0.90]))
    history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=0", status=1)
    result = history.pytest(*OFFLINE, "--mlflow-gate", *workers)
    assert "= 2 passed in" in result.stdout
    record = history.sessions()[-1].case("test_model")
    # One after the other, until it is clear.
    assert 1 <= len(record.repeats) < 5
    assert record.repeats[0].metrics[0].value == 0.90
    assert record.metrics[0].value == 0.80


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist=loadfile")], ids=["alone", "xdist"])
def test_regression_is_confirmed(history: Project, workers: tuple[str, ...]) -> None:
    history.write(FLAKY.format(values=[0.80, 0.81, 0.81, 0.81, 0.81, 0.81]))
    result = history.pytest(*OFFLINE, "--mlflow-gate", *workers, status=1)
    assert "  regressed      accuracy 0.9 → 0.81" in "\n".join(result.section())
    assert 1 <= len(history.sessions()[-1].case("test_model").repeats) < 5
    assert "= 1 failed, 1 passed in" in result.stdout


PARAMS = """
    import pytest
    VALUES = iter({values})

    @pytest.mark.parametrize("lr", ["0.1"], ids=[{id}])
    {decorator}
    def test_fit({arguments}):
        assert (accuracy := next(VALUES)) > 0.5
"""


@pytest.mark.real
@pytest.mark.parametrize(
    ("id", "decorator", "arguments"),
    [
        ("None", "@pytest.mark.parametrize('depth', [10])", "lr, depth"),
        ("'slow'", "", "lr"),
    ],
    ids=["param", "id"],
)
def test_case_with_another_name_runs_again(
    project: Project, id: str, decorator: str, arguments: str
) -> None:
    for value in (0.90, 0.91, 0.90):
        fields = {"id": "None", "decorator": "", "arguments": "lr"}
        project.write(PARAMS.format(values=[value], **fields))
        project.pytest(*OFFLINE)
    values = [0.80, 0.90, 0.91, 0.90, 0.91, 0.90]
    project.write(PARAMS.format(values=values, id=id, decorator=decorator, arguments=arguments))
    result = project.pytest(*OFFLINE, "--mlflow-gate")
    assert "Gate passed: nothing got worse" in "\n".join(result.section())
    (case,) = project.sessions()[-1].cases
    assert case.repeats != ()


def test_fresh_runs_judge_only_what_was_suspicious(history: Project) -> None:
    source = FLAKY.format(values=[0.80, 0.90, 0.91, 0.90, 0.91, 0.90]).replace(
        '"f1": 0.9', '"f1": 1.7 - value'
    )
    history.write(source)
    result = history.pytest(*OFFLINE, "--mlflow-gate")
    assert "Gate passed: nothing got worse" in "\n".join(result.section())
    fresh, *_ = history.sessions()[-1].case("test_model").repeats
    assert [round(metric.value, 6) for metric in fresh.metrics] == [0.9, 0.8]


def test_fixtures_live_until_the_last_fresh_run(history: Project) -> None:
    history.write(
        """
        from pathlib import Path
        import pytest

        VALUES = iter([0.8, None, None, 0.9, 0.91, 0.9])
        EVENTS = []

        @pytest.fixture(scope="module")
        def data():
            EVENTS.append("data")
            yield
            print("the data go")
            EVENTS.append("no data")

        def test_model(data, mlflow_case):
            EVENTS.append(value := next(VALUES))
            if value is not None:
                mlflow_case.log_metrics({"accuracy": value, "f1": 0.9})
        """
    )
    history.write(
        """
        from test_it import EVENTS

        def test_after():
            assert EVENTS[:7] == ["data", 0.8, "no data", "data", None, None, 0.9]
            assert EVENTS.index("no data", 7) == len(EVENTS) - 1
            assert EVENTS.count("data") == 2
        """,
        "test_next.py",
    )
    result = history.pytest(*OFFLINE, "--mlflow-gate", "-v")
    assert "2 passed" in result.stdout
    assert "the data go" not in result.stdout


def test_no_time_is_left(history: Project) -> None:
    history.write(FLAKY.format(values=[0.80, 0.90]))
    result = history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun-time=0", status=1)
    assert "The time for fresh runs was used up" in "\n".join(result.section())
    session = history.sessions()[-1]
    record = session.case("test_model")
    assert (record.cut_short, record.repeats) == (True, ())
    report = session.directory.path.joinpath("report.json").read_text(encoding="utf-8")
    assert report.count("not run again: the time for that was used up") == 1


def test_time_passes_where_a_test_stops_the_clocks(history: Project) -> None:
    history.write(
        """
        import time

        RUNS = []

        def test_model(mlflow_case, monkeypatch):
            for name in ("time", "monotonic", "perf_counter"):
                setattr(time, name, lambda: 0.0)
            time.sleep(0.4)
            RUNS.append(1)
            if len(RUNS) == 1:
                mlflow_case.log_metric("accuracy", 0.8)
        """
    )
    history.pytest(*OFFLINE, "--mlflow-rerun=20", "--mlflow-rerun-time=1.5")
    record = history.sessions()[-1].case("test_model")
    assert 1 <= len(record.repeats) <= 3
    assert record.cut_short


def test_fresh_runs_take_as_long_as_the_session_and_a_minute_at_least() -> None:
    now = 0.0
    unlimited, limited = FreshTime(None, lambda: now), FreshTime(90, lambda: now)
    assert unlimited.is_enough(60)
    assert not unlimited.is_enough(61)
    now = 100.0
    assert unlimited.is_enough(100)
    assert not limited.is_enough(91)
    unlimited.spent = limited.spent = 50.0
    # Half of the time went to fresh runs.
    assert unlimited.is_enough(10)
    assert not unlimited.is_enough(11)
    assert limited.is_enough(40)


def test_what_is_not_suspicious_runs_once(history: Project) -> None:
    history.write(FLAKY.format(values=[0.905]))
    history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=3")
    assert history.sessions()[-1].case("test_model").repeats == ()


def test_fresh_run_that_fails_is_no_verdict(history: Project) -> None:
    history.write(FLAKY.format(values=[0.80]))
    result = history.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=2", status=1)
    assert "none of the fresh runs had it again" in "\n".join(result.section())
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
    assert project.sessions()[-1].case("test_model").repeats
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
    project.write(FLAKY.format(values=[0.50, 0.90, 0.91, 0.90, 0.91, 0.90]))
    project.pytest("--mlflow", "--mlflow-gate")
    assert project.session().case("test_model").repeats
