"""Suites that use MLflow themselves: nothing of theirs changes, neither here nor in their store."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from layers import real
from pair import OFFLINE, Pair
from project import Project, quiet_mlflow

CONFTEST = """
    import os
    import warnings

    import pytest

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/theirs.db")
    mlflow.set_experiment("by their conftest")

    def pytest_configure():
        mlflow.set_experiment("by their hook")

    @pytest.fixture(scope="session", autouse=True)
    def whole():
        mlflow.sklearn.autolog(log_models=False, log_datasets=False)
        with mlflow.start_run(run_name="whole") as run:
            yield run
"""

SUITE = """
    import os

    import mlflow
    import pytest
    from mlflow import MlflowClient
    from sklearn.tree import DecisionTreeRegressor

    def tell():
        names = sorted(name for name in os.environ if "MLFLOW" in name)
        run = mlflow.active_run()
        print(run.info.run_name, {name: os.environ[name] for name in names})

    def test_nested(whole):
        assert mlflow.active_run().info.run_id == whole.info.run_id
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_param("depth", 2)
            with mlflow.start_run(nested=True, run_name="grandchild"):
                mlflow.log_metrics({"accuracy": 0.5, "loss": 0.25}, step=3)
        tell()

    def test_client(whole):
        client = MlflowClient()
        run = client.create_run(whole.info.experiment_id, run_name="by a client")
        client.log_metric(run.info.run_id, "accuracy", 0.75)
        client.set_terminated(run.info.run_id)
        accuracy = client.get_run(run.info.run_id).data.metrics["accuracy"]
        assert accuracy > 0.5
        tell()

    def test_autolog():
        with mlflow.start_run(nested=True, run_name="autolog"):
            DecisionTreeRegressor(max_depth=2).fit([[0.0], [1.0]], [0.0, 1.0])

    @pytest.mark.parametrize("accuracy", [0.25, 0.75])
    def test_fails(accuracy):
        mlflow.log_metric("accuracy", accuracy)
        assert accuracy > 0.5

    def test_elsewhere(monkeypatch, tmp_path):
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "patched")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere.db")
        tell()
        mlflow.set_experiment("by a test")

    def test_left_open():
        mlflow.start_run(nested=True, run_name="left open")

    def test_last():
        tell()
        assert len(mlflow.search_experiments()) == 4
        assert len(mlflow.search_runs(search_all_experiments=True)) == 6
"""


def give_store(pair: Pair, database: Path) -> None:
    """Give both projects a migrated ``theirs.db``, and the tracked one a store of ours."""
    for project in (pair.plain, pair.tracked):
        shutil.copyfile(database, project.path / "theirs.db")
    shutil.copyfile(database, pair.tracked.path / "mlflow.db")


def contents(project: Project, database: str = "theirs.db") -> list[Any]:
    """Return what the suite has put into a store, but for what differs each time."""
    with quiet_mlflow():
        from mlflow import MlflowClient
        from mlflow.entities import ViewType

        client = MlflowClient(f"sqlite:///{(project.path / database).as_posix()}")
        experiments = {
            entry.experiment_id: entry.name for entry in client.search_experiments(ViewType.ALL)
        }
        runs = [
            run
            for run in client.search_runs(list(experiments), run_view_type=ViewType.ALL)
            if "pytest.kind" not in run.data.tags
        ]
    names = {run.info.run_id: run.info.run_name for run in runs}
    return [
        sorted(experiments.values()),
        sorted(
            (
                experiments[run.info.experiment_id],
                names[run.info.run_id] if names[run.info.run_id].count("-") < 2 else "random",
                names.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
                run.info.status,
                sorted(run.data.params.items()),
                sorted(run.data.metrics.items()),
                sorted(key for key in run.data.tags if not key.startswith("mlflow.source.git")),
            )
            for run in runs
        ),
    ]


@pytest.mark.real
@pytest.mark.parametrize(
    "flags",
    [OFFLINE, real(("--mlflow",))],
    ids=["offline", "beside a tracker"],
)
def test_their_store_is_as_without_us(
    pair: Pair, migrated_database: Path, flags: tuple[str, ...]
) -> None:
    give_store(pair, migrated_database)
    pair.write(CONFTEST, "conftest.py")
    pair.write(SUITE)
    pair.check("-rA", status=1, flags=flags)
    theirs = contents(pair.tracked)
    assert theirs == contents(pair.plain)
    assert theirs[0] == ["Default", "by a test", "by their conftest", "by their hook"]
    assert len(theirs[1]) == 6
    assert not any(tag.startswith("pytest.") for run in theirs[1] for tag in run[-1])
    # What their conftest says to MLflow is no word on where sessions go.
    header = pair.session().header
    assert header.tracking_uri == pair.tracked.uri
    assert (header.experiment_name, header.experiment_id) == ("project", None)
    if "--mlflow-offline" not in flags:
        assert set(pair.tracked.case_runs()) == {
            "test_client",
            "test_fails[0.25]",
            "test_fails[0.75]",
        }


@pytest.mark.real
def test_a_run_from_outside_is_resumed_by_their_code_alone(
    pair: Pair, migrated_database: Path
) -> None:
    database = pair.plain.path / "theirs.db"
    shutil.copyfile(migrated_database, database)
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{database.as_posix()}")
        run = client.create_run(client.create_experiment("job"), run_name="outer")
        client._tracking_client.store.engine.dispose()
    shutil.copyfile(database, pair.tracked.path / "theirs.db")
    pair.write(
        f"""
        import mlflow

        def test_first():
            with mlflow.start_run() as run:
                assert run.info.run_id == "{run.info.run_id}"
                mlflow.log_metric("loss", 0.25)
                assert 0.25 < 0.5

        def test_second():
            with mlflow.start_run(run_name="second"):
                loss = 0.25
                assert loss < 0.5
        """
    )
    env = {
        "MLFLOW_TRACKING_URI": "sqlite:///theirs.db",
        "MLFLOW_EXPERIMENT_NAME": "job",
        "MLFLOW_RUN_ID": run.info.run_id,
    }
    pair.check(env=env, flags=("--mlflow",))
    theirs = contents(pair.tracked)
    assert theirs == contents(pair.plain)
    assert [one[1] for one in theirs[1]] == ["outer", "second"]
    # The same store and experiment, and runs of our own in it.
    pair.tracked.uri = f"sqlite:///{(pair.tracked.path / 'theirs.db').as_posix()}"
    assert set(pair.tracked.case_runs()) == {"test_second"}
    session = pair.tracked.session_run()
    assert session.info.run_id != run.info.run_id
    assert "mlflow.parentRunId" not in session.data.tags


@pytest.mark.real
@pytest.mark.parametrize("options", [real(()), ("--mlflow",)], ids=["without", "with"])
def test_mlflow_run_leaves_open_runs_alone(
    project: Project, migrated_database: Path, options: tuple[str, ...]
) -> None:
    for name in ("theirs.db", "other.db"):
        shutil.copyfile(migrated_database, project.path / name)
    project.write(CONFTEST, "conftest.py")
    project.write(
        """
        import os

        import mlflow
        import pytest
        from mlflow.tracking import fluent

        def state():
            last = mlflow.last_active_run()
            return {
                "active": mlflow.active_run().info.run_id,
                "last": last and last.info.run_id,
                "uris": (mlflow.get_tracking_uri(), mlflow.get_registry_uri()),
                "experiment": fluent._get_experiment_id(),
                "environ": {k: v for k, v in os.environ.items() if "MLFLOW" in k},
            }

        def traces(run):
            ids = [run.info.experiment_id]
            found = mlflow.search_traces(experiment_ids=ids, return_type="list")
            return sorted(trace.data.spans[0].name for trace in found)

        @pytest.fixture(scope="module")
        def before(whole):
            with mlflow.start_span("before"):
                pass
            os.environ["MLFLOW_RUN_ID"] = "of a job"
            mlflow.set_tag("mine", "yes")
            yield {**state(), "traces": traces(whole)}
            del os.environ["MLFLOW_RUN_ID"]

        def test_before(before):
            assert state().items() <= before.items()

        def test_ends_all_runs(before, mlflow_run):
            assert mlflow.active_run().info.run_id == mlflow_run.info.run_id
            mlflow.log_metric("mine", 1.0)
            while mlflow.active_run():
                mlflow.end_run()
            with mlflow.start_run(run_name="another of the test"):
                pass

        def test_goes_elsewhere(before, mlflow_run):
            mlflow.log_metric("mine", 2.0)
            mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/other.db")
            mlflow.set_experiment("other")
            mlflow.start_run(nested=True, run_name="left open")

        def test_traces(before, mlflow_run):
            with mlflow.start_span("of the case"):
                pass

        def test_after(before, whole):
            assert state().items() <= before.items()
            with mlflow.start_span("of the suite"):
                pass
            # Some releases of MLflow keep no trace at all with later ones of what they need.
            new = ["of the suite"] if before["traces"] else []
            assert traces(whole) == [*before["traces"], *new]
        """
    )
    result = project.pytest(*options, env={"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"})
    assert "5 passed" in result.stdout
    (whole,) = contents(project)[1]
    assert whole[:4] == ("by their hook", "whole", "", "FINISHED")
    (left_open,) = contents(project, "other.db")[1]
    assert (left_open[1], left_open[3]) == ("left open", "FINISHED")
    if options:
        runs = project.case_runs()
        assert {name: run.data.metrics.get("mine") for name, run in runs.items()} == {
            "test_ends_all_runs": 1.0,
            "test_goes_elsewhere": 2.0,
            "test_traces": None,
        }
        assert {run.info.status for run in project.runs()} == {"FINISHED"}


@pytest.mark.real
def test_throwaway_store_has_no_active_model(project: Project) -> None:
    project.write(
        """
        import os

        import mlflow

        def test_it(mlflow_run):
            mlflow.log_metric("loss", 0.25)

        def test_after():
            assert os.environ["MLFLOW_ACTIVE_MODEL_ID"] == "m-elsewhere"
        """
    )
    project.pytest(env={"MLFLOW_ACTIVE_MODEL_ID": "m-elsewhere"})


@pytest.mark.real
@pytest.mark.skipif(
    importlib.util.find_spec("mlflow.pytest") is None,
    reason="this release of MLflow has no plugin for pytest",
)
def test_mlflow_s_own_plugin(pair: Pair, migrated_database: Path) -> None:
    give_store(pair, migrated_database)
    pair.write(
        """
        import os

        pytest_plugins = ["mlflow.pytest.plugin"]
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{os.getcwd()}/theirs.db"
        """,
        "conftest.py",
    )
    pair.write(
        """
        import mlflow
        import pytest

        @mlflow.test
        @pytest.mark.mlflow(tags={"team": "vision"})
        @pytest.mark.parametrize("accuracy", [0.25, 0.75])
        def test_theirs(accuracy):
            mlflow.log_metric("accuracy", accuracy)
            assert accuracy > 0.5

        @mlflow.test
        def test_skipped():
            pytest.skip("today")

        def test_plain():
            accuracy = 0.75
            assert accuracy > 0.5
        """
    )
    env = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    flags = ("--mlflow", "--mlflow-tracking-uri", pair.tracked.uri)
    pair.check("-rA", status=1, flags=flags, env=env)
    assert contents(pair.tracked) == contents(pair.plain)
    ((_, _, _, status, _, metrics, _),) = contents(pair.tracked)[1]
    assert (status, metrics) == ("FAILED", [("accuracy", 0.75)])
    assert set(pair.tracked.case_runs()) == {
        "test_theirs[0.25]",
        "test_theirs[0.75]",
        "test_plain",
    }


@pytest.mark.real
def test_what_goes_to_the_default_experiment_is_told_once(project: Project) -> None:
    project.write(
        """
        import mlflow
        import pytest

        def test_own():
            with mlflow.start_run():
                mlflow.log_metric("loss", 0.5)
                with mlflow.start_run(nested=True):
                    pass
            accuracy = 0.75
            assert accuracy > 0.5

        @pytest.mark.parametrize("n", range(2))
        def test_traced(n):
            with mlflow.start_span("step"):
                pass
            mlflow.flush_trace_async_logging()

        def test_ours(mlflow_run):
            mlflow.log_metric("loss", 0.25)
        """
    )
    told = "1 run and 2 traces went to the experiment 'Default'"
    output = project.pytest("--mlflow").stdout
    assert output.count(told) == 1
    assert "mlflow_run" in output
    output = project.pytest("--mlflow", "-k", "ours").stdout
    assert "to the experiment 'Default'" not in output
