"""Sessions as DataFrames: the same from files and from MLflow, with the same columns always."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from layers import real
from mlflow_server import serve
from project import Project, quiet_mlflow

import pytest_mlflow_experiments
from pytest_mlflow_experiments import compare, load_cases, load_metrics, load_sessions
from pytest_mlflow_experiments.analysis.loading import undisturbed
from pytest_mlflow_experiments.baseline.specs import BaselineError
from pytest_mlflow_experiments.records.directory import DIRECTORY_NAME
from pytest_mlflow_experiments.records.journal import JournalError

if TYPE_CHECKING:
    import pandas as pd

Load: TypeAlias = "Callable[..., pd.DataFrame]"

SOURCE = """
    import pytest

    @pytest.mark.parametrize("seed", [0, 1])
    def test_forest(seed):
        accuracy = {accuracy} + seed / 100
        assert 0.5 < accuracy <= 1.5

    @pytest.mark.mlflow(tags={{"team": "vision"}})
    def test_log(mlflow_case):
        for step, loss in enumerate([0.5, float("nan"), 0.25]):
            mlflow_case.log_metric("loss", loss, step)
        r2, ratio = 0.5, 2.0
        assert r2 == pytest.approx(0.5, abs=0.25)
        assert ratio < 4 or ratio < 3
        mlflow_case.log_param("text", "half a pair: \\ud83d")
        assert {accuracy} != 0.75, "three quarters"
"""
ACCURACIES = (0.9, 0.75, 0.91)
LOADERS = (load_sessions, load_cases, load_metrics)

pytestmark = pytest.mark.usefixtures("restored_environment")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with three sessions, in the second of which a test failed."""
    project = Project(tmp_path_factory.mktemp("recorded"))
    project.write("[pytest]\nmlflow_experiment = project\n", "pytest.ini")
    for accuracy in ACCURACIES:
        project.write(SOURCE.format(accuracy=accuracy))
        project.pytest("--mlflow", "--mlflow-offline", status=None)
    return project


@pytest.fixture(scope="module", params=["sqlite", real("server")])
def stored(
    request: pytest.FixtureRequest,
    recorded: Project,
    migrated_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Project, str]]:
    """Return a project whose sessions MLflow has too, and where that is."""
    path = tmp_path_factory.mktemp(request.param)
    shutil.copyfile(migrated_database, path / "mlflow.db")
    project = Project(path)
    project.take_sessions(recorded)
    with ExitStack() as stack:
        uri = project.uri
        if request.param == "server":
            uri = stack.enter_context(serve(path, uri)).uri
        with quiet_mlflow(), undisturbed():
            from pytest_mlflow_experiments.tracker.main import sync

            states = [sync(one.directory, tracking_uri=uri) for one in project.sessions()]
        assert [state.error for state in states] == [None] * len(ACCURACIES)
        yield project, uri


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    from pandas.testing import assert_frame_equal

    assert_frame_equal(found, expected)


@pytest.mark.parametrize("load", LOADERS)
def test_mlflow_has_the_same(stored: tuple[Project, str], load: Load) -> None:
    project, uri = stored
    before = dict(os.environ)
    with quiet_mlflow():
        found = load(tracking_uri=uri, experiment="project")
        newest = load(tracking_uri=uri, experiment="project", last=1)
        none = load(tracking_uri=uri, experiment="project", branch="nowhere")
    assert dict(os.environ) == before
    same(found, load(project.path))
    same(newest, load(project.path, last=1))
    same(none, load(project.path, branch="nowhere"))


def test_mlflow_as_the_commands_find_it(
    stored: tuple[Project, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, uri = stored
    monkeypatch.chdir(project.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with quiet_mlflow():
        same(load_sessions("mlflow"), load_sessions())
        ids = load_sessions()["session_id"]
        found = compare(f"session:{ids[2]}", f"session:{ids[0]}", experiment="project")
        with pytest.raises(BaselineError, match="there is no experiment 'other' at"):
            load_cases(tracking_uri=uri, experiment="other")
    same(found, compare(f"session:{ids[2]}", f"session:{ids[0]}"))


def test_session_without_a_journal_is_told(stored: tuple[Project, str]) -> None:
    project, uri = stored
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("project")
        tags = {"pytest.kind": "session", "pytest.session_id": "running"}
        assert experiment is not None
        run = client.create_run(experiment.experiment_id, tags=tags)
        client.set_terminated(run.info.run_id, "RUNNING")
    with pytest.warns(UserWarning, match="session running is left out: its run has no artifact"):
        found = load_sessions(tracking_uri=uri, experiment="project")
    client.delete_run(run.info.run_id)
    same(found, load_sessions(project.path))


def test_sessions(recorded: Project) -> None:
    found = load_sessions(recorded.path)
    first, second = (found.loc[number] for number in (0, 1))
    headers = [session.header for session in recorded.sessions()]
    assert list(found["session_id"]) == [header.session_id for header in headers]
    assert first["start_time"].timestamp() * 1000 == headers[0].start_time
    assert first["duration_seconds"] > 0
    assert (first["tests"], first["cases"], first["passed"], first["failed"]) == (3, 3, 3, 0)
    assert (second["passed"], second["failed"], second["exit_status"]) == (2, 1, 1)
    assert list(found["complete"]) == [True] * 3
    assert list(found["experiment"]) == ["project"] * 3
    assert found["incomplete"].isna().all()
    assert found["run_id"].isna().all()
    assert found["tags.python.version"].notna().all()


def test_cases(recorded: Project) -> None:
    found = load_cases(recorded.path).set_index(["session_id", "name"])
    first, second, _ = load_sessions(recorded.path)["session_id"]
    forest, log = found.loc[(first, "test_forest[1]")], found.loc[(second, "test_log")]
    assert (forest["test"], forest["params.seed"]) == ("test_it.py::test_forest", "1")
    assert (forest["outcome"], forest["metrics.accuracy"]) == ("passed", 0.91)
    assert (log["outcome"], log["metrics.loss"], log["tags.team"]) == ("failed", 0.25, "vision")
    assert "three quarters" in log["failure"]
    assert log["params.text"] == "half a pair: \ud83d"
    assert forest[["params.text", "tags.team", "metrics.loss", "failure", "run_id"]].isna().all()
    assert found["metrics.duration_seconds"].gt(0).all()


def test_metrics(recorded: Project) -> None:
    found = load_metrics(recorded.path, last=1)
    loss = found[found["metric"] == "loss"]
    assert list(loss["step"]) == [0, 1, 2]
    assert list(loss["value"].isna()) == [False, True, False]
    assert loss[["lower", "upper"]].isna().all(axis=None)
    accuracy = load_metrics(recorded.path, metric="accuracy", last=1)
    assert list(accuracy["value"]) == [0.91, 0.92]
    assert list(accuracy["lower"]) == [0.5, 0.5]
    assert list(accuracy["upper"]) == [1.5, 1.5]
    cases = load_cases(recorded.path)[["record_id", "metrics.accuracy"]]
    joined = accuracy.merge(cases, on="record_id")
    assert list(joined["value"]) == list(joined["metrics.accuracy"])


def test_limits_of_assertions(recorded: Project) -> None:
    found = load_metrics(recorded.path, last=1).set_index("metric")[["lower", "upper"]]
    assert tuple(found.loc["r2"]) == (0.25, 0.75)
    # An assertion that can hold without it sets no limit.
    assert found.loc["ratio"].isna().all(axis=None)


@pytest.mark.parametrize("load", [*LOADERS, compare])
def test_docstring_tells_of_every_column_and_dtype(
    recorded: Project, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recorded.path)
    told = documented(load)
    found = load("latest") if load is compare else load()
    dtypes = {str(name): str(dtype) for name, dtype in found.dtypes.items()}
    assert dtypes
    for name, dtype in dtypes.items():
        group = re.sub(r"^(tags|params|metrics)\..*", r"\1.<name>", name)
        assert dtype == told[group], name
    if load is not compare:
        empty = load(branch="nowhere")
        named = {name: dtype for name, dtype in dtypes.items() if "." not in name}
        assert empty.empty
        assert {str(name): str(dtype) for name, dtype in empty.dtypes.items()} == named


def documented(load: Load) -> dict[str, str]:
    """Return the dtypes of columns as the docstring has them."""
    columns = (inspect.getdoc(load) or "").partition("\n\nColumns:\n")[2].partition("\n\n")[0]
    rows = re.findall(r"(?m)^    (\S[^()]*) \(([^()]+)\)", columns)
    return {name: dtype for names, dtype in rows for name in names.split(", ")}


def test_compare(recorded: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recorded.path)
    ids = list(load_sessions()["session_id"])
    path = recorded.sessions()[1].directory.path
    found = compare(path, f"session:{ids[0]}", tolerance=["accuracy: 0.01"])
    row = found.loc[0]
    assert (row["metric"], row["status"], row["gates"]) == ("accuracy", "regressed", True)
    assert (row["case"], row["n"]) == ("test_it.py::test_forest", 1)
    assert (row["values"], row["history"]) == ((0.75, 0.76), (pytest.approx(0.905),))
    assert row["change"] == pytest.approx(-0.15)
    assert row["tolerance"] == "0.01"
    assert found.attrs["session"] == ids[1]
    assert found.attrs["baseline_sessions"] == ids[:1]
    apart = compare(path, f"session:{ids[0]}", seed_params=[])
    assert set(apart["case"]) == {"test_it.py::test_forest[0]", "test_it.py::test_forest[1]"}


def test_sources(recorded: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = recorded.path / "deep" / "below"
    below.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(below)
    everything = load_sessions()
    assert len(everything) == 3
    kept = recorded.path / DIRECTORY_NAME
    same(load_sessions(kept), everything)
    shutil.copytree(kept, tmp_path / "artifacts" / "of a job")
    same(load_sessions(tmp_path / "artifacts"), everything)
    directories = [session.directory for session in recorded.sessions()]
    same(load_sessions(str(directories[2].path)), load_sessions(last=1))
    # Whatever is named twice counts once, and the order is that of time.
    same(load_sessions([directories[2].journal, kept, directories[0].path]), everything)
    exported = tmp_path / "baseline.jsonl"
    recorded.cli("baseline", "export", str(exported), "latest")
    slim = load_cases(exported)
    assert list(slim["session_id"].unique()) == list(everything["session_id"])
    assert load_sessions(exported)["tracking_uri"].isna().all()
    assert len(load_sessions(experiment="project")) == 3
    assert len(load_sessions(experiment="other")) == 0


def test_session_that_broke_off(recorded: Project, tmp_path: Path) -> None:
    lines = recorded.sessions()[0].directory.journal.read_bytes().splitlines(keepends=True)
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    row = load_sessions(tmp_path).loc[0]
    assert not row["complete"]
    assert row["incomplete"] == "it did not run to its end"
    assert row["cases"] == 1
    assert (row.isna()[["exit_status", "tests", "duration_seconds"]]).all()
    journal.write_bytes(lines[0][:20])
    assert load_cases(tmp_path).empty


def test_shards_give_way_to_their_whole(recorded: Project, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(SOURCE.format(accuracy=0.9))
    shard = ("--mlflow", "--mlflow-offline", "--mlflow-session=whole")
    project.pytest(*shard, "-k", "forest")
    (alone,) = load_sessions(tmp_path).to_dict("records")
    assert alone["incomplete"] == "it is a shard of session whole"
    project.pytest(*shard, "-k", "log")
    project.cli("merge", "--session=whole", "--offline", str(tmp_path / DIRECTORY_NAME))
    assert list(load_sessions(tmp_path)["session_id"]) == ["whole"]
    assert len(load_cases(tmp_path)) == 3


def test_damaged_and_newer_journals(recorded: Project, tmp_path: Path) -> None:
    text = recorded.sessions()[0].directory.journal.read_text(encoding="ascii")
    journal = tmp_path / "journal.jsonl"
    lines = text.splitlines(keepends=True)
    for damaged, message in (
        (text.replace('"schema":1', '"schema":2'), r"line 1: .*schema version 2 is not known"),
        ("".join([*lines[:2], "{\n", *lines[2:]]), r"line 3: "),
        ("".join(lines[1:]), "it has no header"),
        (text + text, "holds 2 sessions"),
    ):
        journal.write_text(damaged, encoding="ascii")
        with pytest.raises(JournalError, match=message) as caught:
            load_cases(tmp_path)
        assert str(journal) in str(caught.value)


def test_mistakes_are_told(
    recorded: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no \.pytest_mlflow in"):
        load_sessions()
    with pytest.raises(FileNotFoundError, match="there is no session in"):
        load_sessions(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_sessions("nothing")
    tmp_path.joinpath("empty.jsonl").touch()
    with pytest.raises(JournalError, match="holds no session"):
        load_sessions("empty.jsonl")
    with pytest.raises(ValueError, match=r"last: .*got 0"):
        load_sessions(recorded.path, last=0)
    with pytest.raises(ValueError, match="together with a tracking_uri"):
        load_sessions(recorded.path, tracking_uri="sqlite:///x.db")
    with quiet_mlflow(), pytest.raises(BaselineError, match=r"no database .*x\.db"):
        load_sessions(tracking_uri="sqlite:///x.db")
    assert not tmp_path.joinpath("x.db").exists()
    monkeypatch.chdir(recorded.path)
    for arguments, message in (
        ({"tolerance": "accuracy: 0.1"}, "tolerance: expected a list"),
        ({"tolerance": ["accuracy"]}, "tolerance: "),
        ({"direction": ["accuracy: up"]}, "direction: "),
        ({"history": 0}, "history: "),
        ({"baseline": "nothing:else"}, "'nothing:else' is not a baseline"),
    ):
        with pytest.raises(ValueError, match=message):
            compare("latest", **arguments)
    with pytest.raises(BaselineError, match="there is no session 'nothing'"):
        compare("latest", "nothing")
    with pytest.raises(BaselineError, match="no session"):
        compare("session:none")


def test_public_names_are_there() -> None:
    for name in pytest_mlflow_experiments.__all__:
        assert getattr(pytest_mlflow_experiments, name)
    with pytest.raises(AttributeError, match="no attribute 'load_nothing'"):
        getattr(pytest_mlflow_experiments, "load_" + "nothing")


EXAMPLE = """
from pytest_mlflow_experiments import compare, load_cases, load_metrics

cases = load_cases(last=20)
print(cases.groupby(["session_id", "params.seed"])["metrics.accuracy"].mean())

losses = load_metrics(metric="loss", last=1)
print(losses.pivot_table(index="step", columns="name", values="value"))

found = compare("latest")
print(found.loc[found["gates"], ["name", "metric", "baseline", "current"]])
"""


def test_example_of_the_documentation(recorded: Project) -> None:
    recorded.write(EXAMPLE, "example.py")
    printed = recorded.run(sys.executable, "-W", "error", "example.py").stdout
    assert re.search(r" 1 +0\.92\n", printed)
    assert re.search(r"\n2 +0\.25\n", printed)
    assert "Empty DataFrame" in printed
