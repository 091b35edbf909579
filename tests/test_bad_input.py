"""Values and settings that don't fit: a clear note or error, and nothing lost."""

from __future__ import annotations

import json

import pytest
from layers import real
from mlflow_server import free_port
from project import Project, quiet_mlflow

WEIRD = """
    import pytest

    def test_names(mlflow_case):
        mlflow_case.log_metric("f1 (macro) %", 0.5)
        mlflow_case.log_metric("../up", 0.25)
        mlflow_case.log_metric("x" * 300, 0.125)
        mlflow_case.set_tag("mlflow.parentRunId", "stolen")

    @pytest.mark.parametrize("text", ["a" * 100_000], ids=["long"])
    def test_long_param(text, mlflow_case):
        mlflow_case.set_tag("long", "b" * 100_000)

    def test_not_finite(mlflow_case):
        mlflow_case.log_metric("nan", float("nan"))
        mlflow_case.log_metric("inf", float("inf"))
        mlflow_case.log_metric("minus_inf", float("-inf"))

    def test_many(mlflow_case):
        mlflow_case.log_params({f"p{n}": n for n in range(300)})
        mlflow_case.log_metrics({f"m{n}": n / 7 for n in range(5_000)})

    @pytest.mark.parametrize("text", ["<script>alert(1)</script> | `x`", "\\x00\\ud800é"])
    def test_texts(text, mlflow_case):
        score = 0.75
        assert score > 0.5
"""


def test_what_does_not_fit_is_shortened_visibly(project: Project) -> None:
    project.write(WEIRD)
    project.track()
    runs = project.case_runs()

    names = runs["test_names"]
    costs = {"duration_seconds", *project.session().case("test_names").usage}
    values = sorted(v for k, v in names.data.metrics.items() if k not in costs)
    assert values == [0.125, 0.25, 0.5]
    assert names.data.tags["mlflow.parentRunId"] == project.session_run().info.run_id
    assert "f1 (macro) %" in names.data.tags["mlflow.note.content"]

    long = runs["test_long_param[long]"]
    assert "100000 characters" in long.data.params["text"]
    assert "100000 characters" in long.data.tags["long"]
    assert project.session().case("test_long_param[long]").params["text"] == "a" * 100_000

    finite = runs["test_not_finite"].data.metrics
    assert finite["nan"] != finite["nan"]
    assert finite["inf"] >= 1.7e308
    assert finite["minus_inf"] <= -1.7e308

    many = runs["test_many"]
    assert many.data.params == {f"p{n}": str(n) for n in range(300)}
    expected = {f"m{n}": n / 7 for n in range(5_000)}
    assert {k: v for k, v in many.data.metrics.items() if k in expected} == expected

    (script,) = (run for name, run in runs.items() if name.startswith("test_texts[<script>"))
    assert script.data.params["text"] == "<script>alert(1)</script> | `x`"
    assert "<script>" not in script.data.tags["mlflow.note.content"]
    assert len(runs) == 6


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        real("http://me:secret@127.0.0.1:{port}", "127.0.0.1:{port}"),
        real("nonsense://here", "nonsense"),
        real("sqlite:////dev/null/mlflow.db", "/dev/null/mlflow.db"),
        real("file:./mlruns", "MLFLOW_ALLOW_FILE_STORE"),
        real("./mlruns", "MLFLOW_ALLOW_FILE_STORE"),
    ],
)
def test_a_store_that_cannot_be_used(project: Project, uri: str, words: str) -> None:
    pytest.importorskip("mlflow")
    if "MLFLOW_ALLOW_FILE_STORE" in words:
        import mlflow.environment_variables as variables

        if not hasattr(variables, "MLFLOW_ALLOW_FILE_STORE"):
            pytest.skip("this MLflow accepts filesystem stores")
    port = str(free_port())
    project.write("def test_it():\n    score = 0.75\n    assert score > 0.5\n")
    uri = uri.replace("{port}", port)
    # Nobody answers at the closed port, and that is waited for; the others answer once MLflow is
    # loaded, which takes a busy machine longer.
    timeout = 6 if uri.startswith("http") else 60
    result = project.pytest("--mlflow", f"--mlflow-timeout={timeout}", "--mlflow-tracking-uri", uri)
    lines = result.section()
    (number,) = (
        n for n, line in enumerate(lines) if line.startswith("Not everything is in MLflow")
    )
    problem, remedy = lines[number : number + 2]
    assert words.replace("{port}", port) in problem
    assert remedy.startswith(
        "Kept on this machine; send it to MLflow with: pytest-mlflow sync .pytest_mlflow/"
    )
    texts = [result.stdout, *_texts(project)]
    assert not any("secret" in text for text in texts)

    sent = project.sync(remedy.rpartition(" ")[2], "--tracking-uri", project.uri)
    assert "1 case is in experiment 'project'" in sent.stdout
    assert project.case_runs()["test_it"].data.metrics["score"] == 0.75


def _texts(project: Project) -> list[str]:
    directory = project.session().directory.path
    return [path.read_text(encoding="utf-8") for path in directory.glob("*.*")]


@pytest.mark.real
def test_a_deleted_experiment(project: Project) -> None:
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(project.uri)
        client.delete_experiment(client.create_experiment("gone"))
    project.write("def test_it():\n    score = 0.75\n    assert score > 0.5\n")
    result = project.pytest("--mlflow", "--mlflow-experiment", "gone")
    problem = next(line for line in result.section() if line.startswith("Not everything"))
    assert "'gone'" in problem
    assert "deleted" in problem
    assert project.session().cases[0].metrics[0].value == 0.75
    assert json.loads(project.session().directory.state.read_text())["phase"] == "failed"


@pytest.mark.real
def test_an_experiment_by_id_from_the_environment(project: Project) -> None:
    with quiet_mlflow():
        from mlflow import MlflowClient

        experiment_id = MlflowClient(project.uri).create_experiment("by id")
    project.write("def test_it():\n    score = 0.75\n    assert score > 0.5\n")
    result = project.pytest(
        *("--mlflow", "-v"),
        env={"MLFLOW_EXPERIMENT_ID": experiment_id, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
    )
    assert "in experiment 'by id'" in result.section()[0]
    assert project.case_runs()["test_it"].info.experiment_id == experiment_id


def test_sync_sends_once(project: Project) -> None:
    project.write(WEIRD)
    project.pytest("--mlflow", "--mlflow-offline")
    first = project.sync("--tracking-uri", project.uri)
    assert "6 cases are in experiment 'project'" in first.stdout
    before = _as_texts(project)
    below = project.path / "below"
    below.mkdir()
    nothing = f"Nothing to send in {project.path / '.pytest_mlflow'}.\n"
    assert Project(below).sync().stdout == project.sync().stdout == nothing
    directory = str(project.session().directory.path)
    project.sync(directory, "--tracking-uri", project.uri)
    assert _as_texts(project) == before


def _as_texts(project: Project) -> dict[str, str]:
    """Return the runs by their ids, as texts: in these, one NaN is like another."""
    return {
        run.info.run_id: json.dumps(run.to_dictionary(), sort_keys=True) for run in project.runs()
    }


def test_sync_names_what_is_no_session(project: Project) -> None:
    result = project.sync("elsewhere", status=2)
    assert "elsewhere is not the directory of a session" in result.stderr
