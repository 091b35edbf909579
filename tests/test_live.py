"""The fixture ``mlflow_run``: MLflow's own API in the run of the case, and no trace elsewhere."""

from __future__ import annotations

import pytest
from layers import real
from mlflow_server import free_port
from project import Project

SUITE = """
    import os
    import mlflow
    import pytest

    BEFORE = dict(os.environ)

    @pytest.mark.parametrize("depth", [1, 2])
    def test_fluent(mlflow_run, mlflow_case, depth):
        assert mlflow.active_run().info.run_id == mlflow_run.info.run_id
        mlflow.log_param("solver", "lbfgs")
        for step in range(3):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_text("hello", "hello.txt")
        mlflow_case.log_metric("extra", 0.5)
        mlflow.set_tag("mine", "yes")
        accuracy = 0.75
        assert accuracy > 0.5

    def test_nested(mlflow_run):
        with mlflow.start_run(nested=True, run_name="inner"):
            mlflow.log_metric("inside", 1.0)
        mlflow.start_run(nested=True, run_name="left open")

    def test_fails(mlflow_run):
        mlflow.log_metric("loss", 0.25)
        assert 0.25 > 0.5

    def test_ends_it_itself(mlflow_run):
        mlflow.end_run()

    def test_neighbour():
        assert mlflow.active_run() is None
        changed = {
            name: value
            for name, value in os.environ.items()
            if BEFORE.get(name) != value and not name.startswith("PYTEST_")
        }
        assert changed == {}
"""


@pytest.mark.parametrize("options", [(), real(("-n", "2"))], ids=["alone", "workers"])
def test_what_mlflow_logs_is_in_the_run_of_the_case(
    project: Project, options: tuple[str, ...]
) -> None:
    project.write(SUITE)
    result = project.pytest("--mlflow", *options, status=1)
    assert "1 failed, 5 passed" in result.stdout
    runs = {run.info.run_name: run for run in project.runs()}
    assert len(runs) == len(project.runs()) == 9

    fluent = runs["test_fluent[2]"]
    assert fluent.data.params == {"depth": "2", "solver": "lbfgs"}
    assert fluent.data.metrics["accuracy"] == 0.75
    assert fluent.data.metrics["extra"] == 0.5
    assert [m.value for m in project.history(fluent, "loss")] == [1.0, 1 / 2, 1 / 3]
    assert fluent.data.tags["mine"] == "yes"
    assert fluent.data.tags["pytest.outcome"] == "passed"
    sweep = runs["test_fluent"]
    assert sweep.data.tags["pytest.kind"] == "sweep"
    assert sweep.data.tags["mlflow.parentRunId"] == project.session_run().info.run_id
    assert fluent.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    for name in ("inner", "left open"):
        assert runs[name].data.tags["mlflow.parentRunId"] == runs["test_nested"].info.run_id
        assert runs[name].info.status == "FINISHED"
    assert runs["test_fails"].info.status == "FAILED"
    assert runs["test_ends_it_itself"].info.status == "FINISHED"
    assert {run.info.status for run in runs.values()} == {"FINISHED", "FAILED"}


@pytest.mark.real
def test_runs_and_settings_of_the_tests_stay_theirs(project: Project) -> None:
    theirs = project.path / "theirs.db"
    theirs.write_bytes(project.path.joinpath("mlflow.db").read_bytes())
    project.write(
        f"""
        import os
        import mlflow
        import pytest

        THEIRS = "sqlite:///{theirs.as_posix()}"

        @pytest.fixture(scope="module", autouse=True)
        def their_run():
            mlflow.set_tracking_uri(THEIRS)
            mlflow.set_experiment("theirs")
            with mlflow.start_run(run_name="theirs") as run:
                yield run

        def check(their_run):
            assert mlflow.get_tracking_uri() == THEIRS
            assert mlflow.active_run().info.run_id == their_run.info.run_id
            assert os.environ["MLFLOW_RUN_ID"] == "from-outside"
            assert os.environ["MLFLOW_EXPERIMENT_ID"] == their_run.info.experiment_id

        def test_before(their_run, monkeypatch):
            os.environ["MLFLOW_RUN_ID"] = "from-outside"
            check(their_run)

        def test_ours(their_run, mlflow_run):
            assert mlflow.get_tracking_uri() != THEIRS
            assert mlflow.active_run().info.run_id == mlflow_run.info.run_id
            mlflow.log_metric("mine", 1.0)

        def test_after(their_run):
            check(their_run)
            mlflow.log_metric("mine", 2.0)
            del os.environ["MLFLOW_RUN_ID"]
        """
    )
    project.pytest("--mlflow")
    assert project.case_runs()["test_ours"].data.metrics["mine"] == 1.0
    (their_run,) = _at(project, "theirs.db").runs()
    assert their_run.data.metrics == {"mine": 2.0}


def _at(project: Project, database: str) -> Project:
    other = Project(project.path)
    other.uri = f"sqlite:///{(project.path / database).as_posix()}"
    return other


@pytest.mark.real
def test_autolog_lands_in_the_run_and_ends_with_it(project: Project) -> None:
    project.write(
        """
        import mlflow
        from sklearn.datasets import load_iris
        from sklearn.tree import DecisionTreeClassifier

        def test_it(mlflow_run):
            mlflow.sklearn.autolog(log_models=False)
            model = DecisionTreeClassifier(max_depth=2).fit(*load_iris(return_X_y=True))
            assert model.score(*load_iris(return_X_y=True)) > 0.8

        def test_neighbour():
            DecisionTreeClassifier(max_depth=2).fit(*load_iris(return_X_y=True))
        """
    )
    project.pytest("--mlflow")
    assert len(project.runs()) == 2
    run = project.case_runs()["test_it"]
    assert run.data.params["max_depth"] == "2"
    assert "training_accuracy_score" in run.data.metrics
    assert run.data.metrics["model.score"] > 0.8


MONITORED = """
    import time
    import mlflow
    import pytest

    def wait():
        mlflow.log_metric("accuracy", 0.9)
        time.sleep(0.5)

    @pytest.mark.mlflow(log_system_metrics=True)
    def test_marked(mlflow_run):
        wait()

    @pytest.mark.mlflow(log_system_metrics=False)
    def test_marked_off(mlflow_run):
        wait()

    def test_plain(mlflow_run):
        wait()
"""


@pytest.mark.real
@pytest.mark.parametrize(
    ("options", "monitored"),
    [
        ((), {"test_marked"}),
        real(("--mlflow-system-metrics",), {"test_marked", "test_plain"}),
        real(("--override-ini=mlflow_system_metrics=true", "-n1"), {"test_marked", "test_plain"}),
    ],
    ids=["marker", "option", "ini, worker"],
)
def test_the_load_of_the_machine_is_in_the_run_and_no_result(
    project: Project, options: tuple[str, ...], monitored: set[str]
) -> None:
    project.write(MONITORED)
    project.pytest("--mlflow", *options, env={"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.1"})
    runs = project.case_runs()
    found = {
        name
        for name, run in runs.items()
        if any(metric.startswith("system/cpu") for metric in run.data.metrics)
    }
    assert found == monitored
    for record in project.session().cases:
        assert record.run_metrics == {"accuracy": 0.9}
        assert (record.run_history, record.notes) == ((), ())


@pytest.mark.real
@pytest.mark.parametrize(
    ("broken", "note"),
    [
        ("psutil", "the machine's load is not recorded: --mlflow-system-metrics needs psutil"),
        real(
            "mlflow.system_metrics.system_metrics_monitor",
            "the machine's load is not recorded: MLflow's monitor did not start",
        ),
    ],
)
def test_a_monitor_that_does_not_start_is_noted(project: Project, broken: str, note: str) -> None:
    project.write(f"import sys\nsys.modules[{broken!r}] = None", "conftest.py")
    project.write("def test_it(mlflow_run): pass")
    project.pytest("--mlflow", "--mlflow-system-metrics")
    (record,) = project.session().cases
    assert record.run_id == project.case_runs()["test_it"].info.run_id
    assert note in record.notes


STEPS = """
    import mlflow

    def test_it(mlflow_run, mlflow_case):
        for step in range(3):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_metric("twice", 1.0)
        mlflow.log_metric("twice", 2.0)
        mlflow.log_metric("late", 1.0, step=7)
        mlflow.log_metric("both", 1.0, step=0)
        mlflow.log_metric("both", 2.0, step=1)
        mlflow_case.log_metric("both", 3.0)
        values = [mlflow.entities.Metric("long", float(n), 1_000 + n, n) for n in range(1_500)]
        for part in (values[:1_000], values[1_000:]):
            mlflow.MlflowClient().log_batch(mlflow_run.info.run_id, part)

    def test_many(mlflow_run):
        for step in range(2):
            mlflow.log_metrics({f"loss {n:02}": float(step) for n in range(22)}, step=step)
"""


@pytest.mark.real
def test_steps_of_metrics_are_kept_within_bounds(project: Project) -> None:
    project.write(STEPS)
    project.pytest("--mlflow")
    record = project.session().case("test_it")
    assert record.run_metrics == {"loss": 1 / 3, "twice": 2.0, "late": 1.0, "long": 1_499.0}
    history = [(m.key, m.step, m.value) for m in record.run_history]
    # The case's own value comes after the last step of the run's.
    run = project.case_runs()["test_it"]
    assert [(m.step, m.value) for m in project.history(run, "both")] == [
        (0, 1.0),
        (1, 2.0),
        (2, 3.0),
    ]
    assert [entry for entry in history if entry[0] != "long"] == [
        ("both", 0, 1.0),
        ("both", 1, 2.0),
        ("loss", 0, 1.0),
        ("loss", 1, 1 / 2),
        ("loss", 2, 1 / 3),
    ]
    known = {m.step: m.timestamp for m in project.history(run, "loss")}
    assert {m.step: m.timestamp for m in record.run_history if m.key == "loss"} == known
    long = [(step, value) for key, step, value in history if key == "long"]
    assert (len(long), long[0], long[-1]) == (1_000, (0, 0.0), (1_499, 1_499.0))
    many = project.session().case("test_many")
    assert len({m.key for m in many.run_history}) == 20
    assert many.notes == ("the steps of 2 more metrics are in the run of MLflow alone",)


@pytest.mark.real
@pytest.mark.parametrize(
    "options",
    [("--mlflow-offline",), real(("--mlflow-tracking-uri", f"http://127.0.0.1:{free_port()}"))],
    ids=["offline", "no server"],
)
def test_without_a_store_the_record_keeps_what_mlflow_got(
    project: Project, options: tuple[str, ...]
) -> None:
    project.write(SUITE)
    options = ("--mlflow", "--mlflow-timeout=10", *options)
    result = project.pytest(*options, "-k", "fluent or neighbour")
    assert "3 passed" in result.stdout
    record = project.session().case("test_fluent[1]")
    assert dict(record.params) == {"depth": "1", "solver": "lbfgs"}
    assert [(m.key, m.value, m.step) for m in record.metrics if m.key == "loss"] == [
        ("loss", 1.0, 0),
        ("loss", 1 / 2, 1),
        ("loss", 1 / 3, 2),
    ]
    assert {m.key for m in record.metrics} == {"loss", "extra", "accuracy"}
    assert record.tags["mine"] == "yes"
    assert record.artifacts == ("hello.txt",)
    assert record.run_id is None
    assert any("a database on this machine" in note for note in record.notes)
    project.sync("--tracking-uri", project.uri)
    run = project.case_runs()["test_fluent[1]"]
    assert [m.value for m in project.history(run, "loss")] == [1.0, 1 / 2, 1 / 3]


@pytest.mark.real
def test_without_the_flag_nothing_is_left_behind(project: Project) -> None:
    project.write(SUITE)
    temp = project.path.parent / "temp"
    temp.mkdir()
    result = project.pytest("-p", "no:cacheprovider", env={"TMPDIR": str(temp)}, status=1)
    assert "1 failed, 5 passed" in result.stdout
    assert project.runs() == []
    assert {path.name for path in project.path.iterdir()} <= {
        "__pycache__",
        "mlflow.db",
        "pytest.ini",
        "test_it.py",
    }
    assert [path for path in temp.iterdir() if not path.name.startswith("pytest-of")] == []


THREADED = """
    import asyncio
    import threading
    from concurrent.futures import ThreadPoolExecutor

    import joblib
    import mlflow
    import pytest
    from mlflow.tracking import fluent

    LASTING = ThreadPoolExecutor(2)

    def log(name):
        mlflow.log_metric(name, 0.5)
        mlflow.log_param(name, "x")
        return mlflow.active_run().info.run_id

    def in_thread(function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        thread.join()

    def test_pool(mlflow_run):
        with ThreadPoolExecutor(4) as pool:
            ids = set(pool.map(log, [f"m{number}" for number in range(8)]))
        assert ids == {mlflow_run.info.run_id}

    def test_thread(mlflow_run):
        in_thread(log, "a")

    def test_joblib(mlflow_run):
        joblib.Parallel(2, backend="threading")(joblib.delayed(log)(name) for name in "ab")

    def test_asyncio(mlflow_run):
        async def both():
            await asyncio.gather(asyncio.to_thread(log, "a"), asyncio.to_thread(log, "b"))
        asyncio.run(both())

    @pytest.mark.parametrize("n", [1, 2])
    def test_lasting_pool(mlflow_run, n):
        assert LASTING.submit(log, f"lasting{n}").result() == mlflow_run.info.run_id

    def test_end_in_thread(mlflow_run):
        in_thread(mlflow.end_run)
        client = mlflow.MlflowClient()
        assert client.get_run(mlflow_run.info.run_id).info.status == "RUNNING"

    def test_own_runs(mlflow_run):
        def own(name, **how):
            with mlflow.start_run(run_name=name, **how):
                mlflow.log_metric("inside", 1.0)
            log(name)
        with mlflow.start_run(nested=True, run_name="deeper") as deeper:
            in_thread(own, "top")
            in_thread(lambda: own("below", nested=True))
            in_thread(lambda: own("below deeper", nested=True, parent_run_id=deeper.info.run_id))

    def test_left_open(mlflow_run):
        for number in range(3):
            in_thread(lambda: mlflow.start_run(run_name=f"left{number}"))
            in_thread(lambda: mlflow.start_run(run_name=f"left nested{number}", nested=True))

    def test_without(capsys):
        assert "get" not in vars(fluent._active_run_stack)
        seen = []
        in_thread(lambda: seen.append(mlflow.active_run()))
        seen.append(LASTING.submit(mlflow.active_run).result())
        assert seen == [None, None]
"""


@pytest.mark.real
def test_threads_of_a_test_log_to_its_run(project: Project) -> None:
    project.write(THREADED)
    project.pytest("--mlflow")
    runs = {run.info.run_name: run for run in project.runs()}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    logged = {name: sorted(run.data.params) for name, run in runs.items()}
    assert logged["test_pool"] == [f"m{number}" for number in range(8)]
    assert logged["test_thread"] == ["a"]
    assert logged["test_joblib"] == logged["test_asyncio"] == ["a", "b"]
    assert logged["test_lasting_pool[1]"] == ["lasting1", "n"]
    assert logged["test_lasting_pool[2]"] == ["lasting2", "n"]
    assert logged["test_own_runs"] == ["below", "below deeper", "top"]
    assert runs["test_pool"].data.metrics["m7"] == 0.5
    left = [f"left{number}" for number in range(3)]
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert [parents[name] for name in ("top", *left)] == [None] * 4
    assert parents["below"] == parents["deeper"] == runs["test_own_runs"].info.run_id
    assert parents["below deeper"] == runs["deeper"].info.run_id
    for number in range(3):
        assert parents[f"left nested{number}"] == runs["test_left_open"].info.run_id
    (record,) = (case for case in project.session().cases if case.name == "test_pool")
    assert record.run_metrics["m7"] == 0.5


@real
def test_threads_of_another_test_are_left_alone(project: Project) -> None:
    project.write(
        """
        import threading
        import mlflow

        GO, DONE = threading.Event(), threading.Event()

        def late():
            mlflow.log_metric("early", 0.5)
            GO.wait()
            mlflow.log_metric("late", 0.5)
            DONE.set()

        def test_first(mlflow_run):
            threading.Thread(target=late, daemon=True).start()

        def test_second(mlflow_run):
            GO.set()
            assert DONE.wait(60)
        """
    )
    project.pytest("--mlflow")
    runs = project.case_runs()
    assert "late" not in runs["test_second"].data.metrics
    assert {run.info.status for run in project.runs()} == {"FINISHED"}


@real
def test_other_ways_of_mlflow_to_keep_runs_are_left_alone(project: Project) -> None:
    project.write(
        """
        import threading
        from contextvars import ContextVar

        import mlflow
        import pytest
        from mlflow.tracking import fluent

        @pytest.fixture
        def other(monkeypatch):
            class Stack:
                __slots__ = ("variable",)
                def __init__(self): self.variable = ContextVar("stack")
                def get(self):
                    if self.variable.get(None) is None:
                        self.variable.set([])
                    return self.variable.get()
                def set(self, value): self.variable.set(value)
            monkeypatch.setattr(fluent, "_active_run_stack", Stack())

        def test_it(other, mlflow_run):
            mlflow.log_metric("m", 0.5)
            seen = []
            thread = threading.Thread(target=lambda: seen.append(mlflow.active_run()))
            thread.start()
            thread.join()
            assert seen == [None]
        """
    )
    project.pytest("--mlflow")
    assert project.case_runs()["test_it"].data.metrics["m"] == 0.5
