"""Offline and sent later, or live: MLflow has the same, so that tests may take the faster way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from project import Project, quiet_mlflow

SUITE = """
    import pytest

    @pytest.mark.parametrize("alpha", [0.1, 0.2])
    def test_fits(alpha, mlflow_case):
        mlflow_case.log_metrics({"loss": 1 - alpha}, step=3)
        mlflow_case.log_text("hello", "notes/hello.txt")
        mlflow_case.log_input([[1.0, 2.0]], "two")
        mlflow_case.set_tag("team", "vision")
        accuracy = 0.75 + alpha
        assert accuracy >= 0.5

    def test_fails(mlflow_case):
        mlflow_case.log_param("password", "hunter2")
        accuracy = 0.25
        assert accuracy >= 0.5

    @pytest.mark.mlflow
    def test_skipped():
        pytest.skip("not today")
"""

# What differs between any two sessions, or tells how long something took.
OWN = {
    *("duration_seconds", "cpu_seconds", "peak_memory_mb", "mlflow.note.content"),
    *("pytest.record_id", "pytest.session_id", "mlflow.parentRunId"),
}


def left(project: Project) -> dict[str, object]:
    """Return what MLflow has of all runs, by their names."""
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(project.uri)
        return {
            f"{run.data.tags['pytest.kind']} {run.info.run_name}": {
                "status": run.info.status,
                "params": run.data.params,
                "tags": without_own(run.data.tags),
                "metrics": without_own(run.data.metrics),
                "loss": [(m.step, m.value) for m in project.history(run, "loss")],
                "inputs": str(run.inputs and [i.dataset.name for i in run.inputs.dataset_inputs]),
                "files": [file.path for file in client.list_artifacts(run.info.run_id)],
            }
            for run in project.runs()
        }


def without_own(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value for name, value in fields.items() if name.removesuffix("_of_best") not in OWN
    }


def test_what_is_sent_later_is_what_a_live_session_leaves(
    make_project: Callable[[str], Project],
) -> None:
    live, later = make_project("live"), make_project("later")
    options = ("--mlflow-experiment=it", "--mlflow-run-name=nightly")
    for project in (live, later):
        project.write(SUITE)
    live.pytest("--mlflow", *options, status=1)
    later.track(*options, status=1)
    assert left(live) == left(later)
    assert len(left(live)) == 6
