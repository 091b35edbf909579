"""The fixture ``mlflow_seed``: the same number in every session, new ones in fresh runs."""

from __future__ import annotations

from project import Project

OFFLINE = ("--mlflow", "--mlflow-offline")
MODEL = """
    VALUES = iter({})

    def test_model(mlflow_seed, mlflow_case):
        mlflow_case.log_param("seed", mlflow_seed)
        mlflow_case.log_metric("accuracy", next(VALUES))
"""
RECORDED = [MODEL.format([0.9])] * 5
SEEDS = """
    import os
    from pathlib import Path

    import pytest

    def note(item, seed):
        assert 0 <= seed < 2**31
        params = [*item.callspec.indices.values()] if hasattr(item, "callspec") else []
        with Path(os.environ["SEEDS"]).open("a") as file:
            file.write(f"{item.originalname.removesuffix('_new')} {params}: {seed}\\n")

    @pytest.mark.xdist_group("a group")
    @pytest.mark.parametrize("text", ["a", "b", "\\ud800"])
    def test_texts(request, mlflow_seed, text):
        note(request.node, mlflow_seed)

    @pytest.mark.parametrize("password", [os.environ.get("PASSWORD", "geheim")])
    def test_secret(request, mlflow_seed, password):
        note(request.node, mlflow_seed)

    @pytest.mark.mlflow(case="digits")
    def test_digits(request, mlflow_seed):
        note(request.node, mlflow_seed)
"""


def seeds(project: Project, *options: str, **env: str) -> dict[str, int]:
    """Return the seeds of a session by test and indices of params."""
    path = project.path / "seeds.txt"
    path.unlink(missing_ok=True)
    project.pytest(*options, env={"SEEDS": str(path), **env})
    pairs = [line.split(": ") for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: int(seed) for name, seed in pairs}


def test_each_case_has_one_number_for_ever(project: Project) -> None:
    project.write(SEEDS)
    first = seeds(project)
    # The number is that of the identity alone, on whatever machine.
    assert first["test_texts [0]"] == 614149113
    assert len({*first.values()}) == len(first) == 5
    assert seeds(project, *OFFLINE) == first
    workers = ("-n2", "--dist=loadgroup")
    assert seeds(project, *OFFLINE, *workers, PASSWORD="another") == first
    project.write(SEEDS.replace("def test_digits", "def test_digits_new"))
    assert seeds(project) == first


def test_fresh_runs_have_seeds_of_their_own(history: Project) -> None:
    found = []
    for _ in range(2):
        history.write(MODEL.format([0.8, *[0.91] * 5]))
        history.pytest(*OFFLINE, "--mlflow-gate")
        record = history.sessions()[-1].case("test_model")
        found.append([int(record.params["seed"]), *[run.seed for run in record.repeats]])
    assert found[0] == found[1]
    assert None not in found[0]
    assert len({*found[0]}) == len(found[0]) > 1


def test_fixture_is_one_of_ours(project: Project) -> None:
    project.write(
        """
        import pytest

        def test_it(mlflow_seed):
            pass

        def test_other():
            pass
        """
    )
    project.pytest(*OFFLINE, "--mlflow-track=marked")
    assert [case.name for case in project.session().cases] == ["test_it"]


def test_marker_that_is_wrong_matters_only_with_us(project: Project) -> None:
    project.write(
        """
        import pytest

        @pytest.mark.mlflow(name="digits")
        def test_it(mlflow_seed):
            assert mlflow_seed
        """
    )
    project.pytest()
    project.pytest(*OFFLINE, status=4)
