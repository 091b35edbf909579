"""The examples, as a new user runs them on a fresh checkout, read back through MLflow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from documented import comparable, fences
from project import Project, quiet_mlflow

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = ("test_quickstart.py", "test_regression.py", "test_artifacts.py", "test_mlflow_itself.py")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a checkout on which the examples have run, on a database that did not exist."""
    path = tmp_path_factory.mktemp("checkout")
    shutil.copytree(EXAMPLES, path / "examples", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    path.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    project = Project(path)
    assert {file.name for file in EXAMPLES.glob("test_*.py")} == set(FILES)
    files = [f"examples/{name}" for name in sorted(FILES)]
    result = project.pytest("--mlflow", *files, autoload=True)
    assert not any("Not everything" in line for line in result.section()), result.stdout
    project.write("\n".join(result.section()), "section.txt")
    return project


@pytest.fixture(autouse=True)
def _the_checkout_is_mlflows_default(checkout: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", checkout.uri)


def test_the_readme_shows_what_is_printed(checkout: Project) -> None:
    (told,) = fences((EXAMPLES.parent / "README.md").read_text(encoding="utf-8"), "text")
    printed = (checkout.path / "section.txt").read_text(encoding="utf-8")
    texts = (told.text.partition("\n")[2], printed)
    before, now = (re.sub(r"\S*mlflow ui|sqlite:\S+", "", comparable(text)) for text in texts)
    assert now.split() == before.split()


def test_search_runs_finds_every_case(checkout: Project) -> None:
    with quiet_mlflow():
        import mlflow

        runs = mlflow.search_runs(search_all_experiments=True)
    (parent,) = runs[runs["tags.pytest.kind"] == "session"].to_dict("records")
    cases = runs[runs["tags.pytest.kind"] == "case"]

    records = {record.id: record for record in checkout.session().cases}
    assert len(records) == 17
    assert set(cases["tags.pytest.record_id"]) == set(records)
    sweeps = runs[runs["tags.pytest.kind"] == "sweep"]
    assert set(sweeps["tags.mlflow.parentRunId"]) == {parent["run_id"]}
    above = dict(zip(sweeps["tags.pytest.nodeid"], sweeps["run_id"], strict=True))
    for run in cases.to_dict("records"):
        sweep = records[run["tags.pytest.record_id"]].sweep
        expected = above[sweep] if sweep is not None else parent["run_id"]
        assert run["tags.mlflow.parentRunId"] == expected
    assert set(cases["status"]) == {"FINISHED"}
    assert parent["status"] == "FINISHED"
    assert parent["metrics.cases"] == 17
    assert parent["tags.pytest.session_id"] == checkout.session().header.session_id

    for run in cases.to_dict("records"):
        record = records[run["tags.pytest.record_id"]]
        params = {
            name.removeprefix("params."): value
            for name, value in run.items()
            if name.startswith("params.") and value is not None and value == value
        }
        assert params == dict(record.params)
        last = {metric.key: metric.value for metric in record.metrics}
        for key, value in last.items():
            assert run[f"metrics.{key}"].hex() == value.hex()
        assert run["metrics.duration_seconds"] == record.duration
        assert run["tags.pytest.nodeid"] == record.nodeid
        assert run["tags.pytest.outcome"] == "passed"
        assert run["tags.mlflow.runName"] == record.name


def test_the_values_are_those_that_the_tests_computed(checkout: Project) -> None:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    accuracy = cross_val_score(model, *load_breast_cancer(return_X_y=True), cv=5).mean()
    run = checkout.case_runs()["test_breast_cancer[0.1]"]
    assert run.data.metrics["accuracy"] == accuracy


def test_curves_keep_their_steps(checkout: Project) -> None:
    history = checkout.history(checkout.case_runs()["digits-sgd"], "train_accuracy")
    assert [metric.step for metric in history] == list(range(10))


def test_artifacts_arrive(checkout: Project) -> None:
    runs = checkout.case_runs()
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(checkout.uri)

        def artifacts(name: str) -> set[str]:
            return {file.path for file in client.list_artifacts(runs[name].info.run_id)}

        assert artifacts("digits-sgd") == {"confusion_matrix.png", "f1_by_digit.json"}
        assert artifacts("test_wine[2]") == {"tree.json"}
        assert artifacts("test_breast_cancer[0.1]") == set()
        table = client.load_table(
            runs["digits-sgd"].info.experiment_id,
            "f1_by_digit.json",
            run_ids=[runs["digits-sgd"].info.run_id],
        )
    assert list(table["digit"]) == list(range(10))


def test_mlflow_itself_logs_to_the_case(checkout: Project) -> None:
    run = checkout.case_runs()["test_wine[4]"]
    (record,) = (r for r in checkout.session().cases if r.name == "test_wine[4]")
    assert run.info.run_id == record.run_id
    assert run.inputs is not None
    assert [item.dataset.name for item in run.inputs.dataset_inputs] == ["wine"]
    assert run.data.params == {"max_depth": "4"}
    assert run.data.metrics["accuracy"] == record.metrics[0].value
    sweep = checkout.sweep_runs()[str(record.sweep)]
    assert run.data.tags["mlflow.parentRunId"] == sweep.info.run_id


@pytest.mark.real
def test_without_the_flag_they_pass_and_leave_nothing(
    make_project: Callable[[str], Project],
) -> None:
    project = make_project("plain")
    shutil.copytree(EXAMPLES, project.path, dirs_exist_ok=True)
    before = {path.name for path in project.path.iterdir()}
    temp = project.path.parent / "temp"
    temp.mkdir()
    project.pytest(*FILES, "-p", "no:cacheprovider", env={"TMPDIR": str(temp)})
    after = {path.name for path in project.path.iterdir()}
    assert after - before <= {"__pycache__"}
    assert [path for path in temp.iterdir() if not path.name.startswith("pytest-of")] == []


@pytest.mark.real
def test_the_gallery(make_project: Callable[[str], Project]) -> None:
    project = make_project("gallery")
    shutil.copytree(EXAMPLES, project.path / "examples")
    names = [f"examples/{name}" for name in ("slices", "inputs", "genai", "promote")]
    result = project.pytest("--mlflow", *names)
    assert "= 17 passed in" in result.stdout
    records = {record.name: record for record in project.session().cases}
    assert [one.name for one in records["test_wine"].inputs] == ["wine", "wine"]
    assert {metric.key for metric in records["test_every_digit"].metrics} >= {"recall"}
    runs = project.case_runs()
    with quiet_mlflow():
        from mlflow import MlflowClient

        (experiment,) = {run.info.experiment_id for run in runs.values()}
        traces = MlflowClient(project.uri).search_traces([experiment])
    assert len(traces) == 4
    promoted = project.cli("promote", "wine")
    assert "wine@champion is version 1" in promoted.stdout
