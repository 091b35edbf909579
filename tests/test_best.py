"""``pytest-mlflow best`` on real sessions: which configuration, how sure, in which form."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from project import Project

OFFLINE = ("--mlflow", "--mlflow-offline")

SWEEPS = """
    import pytest

    @pytest.mark.parametrize("seed", [1, 2, 3])
    @pytest.mark.parametrize("depth", [2, 8])
    @pytest.mark.parametrize("kernel", ["rbf", "linear, odd"])
    def test_model(mlflow_case, depth, kernel, seed):
        accuracy = 0.8 + depth / 100 + (kernel == "rbf") / 1000 + seed / 500
        mlflow_case.log_metric("width", depth)
        mlflow_case.log_metric("loss", 1 - accuracy)
        assert accuracy >= 0.5

    @pytest.mark.parametrize("size", [1, 2])
    def test_other(mlflow_case, size):
        mlflow_case.log_metric("loss", size)
        assert size > 1

    @pytest.mark.parametrize("size", [1, 2])
    def test_hopeless(mlflow_case, size):
        mlflow_case.log_metric("loss", size)
        assert not size
"""
FIRST = SWEEPS.replace("depth / 100", "-depth / 100")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("swept"))
    project.write("[pytest]\n", "pytest.ini")
    for source in (FIRST, SWEEPS):
        project.write(source)
        project.pytest(*OFFLINE, status=1)
    return project


def test_text_answers_first(swept: Project) -> None:
    lines = swept.cli("best", "test_model").stdout.splitlines()
    assert lines[0] == (
        "accuracy is best with kernel = rbf, depth = 8: 0.8850 ± 0.002 (n = 3), "
        "the higher the better"
    )
    session = swept.sessions()[-1].header
    assert lines[1] == (
        f"test_it.py::test_model: 4 points, 12 cases, session {session.session_id}, {session.name}"
    )
    assert lines[3].split() == ["kernel", "depth", "accuracy", "n", "worse", "by"]
    assert lines[5].split()[-5:-1] == ["within", "noise,", "p", "="]
    assert lines[4].split()[:3] == ["1.", "rbf", "8"]
    assert [line.split()[0] for line in lines[4:8]] == ["1.", "2.", "3.", "4."]
    assert len({line.index("0.8") for line in lines[4:8]}) == 1
    assert "… and 3 more" in swept.cli("best", "test_model", "--top=1").stdout


def test_json_has_the_ranking(swept: Project) -> None:
    found = json.loads(swept.cli("best", "test_it.py::test_model", "--format=json").stdout)
    assert (found["objective"], found["mode"]) == ("accuracy", "max")
    assert (found["params"], found["repeats"]) == (["kernel", "depth"], ["seed"])
    best, *others = found["ranking"]
    assert found["best"] == best
    assert best["params"] == {"depth": "8", "kernel": "rbf"}
    assert best["mean"] == pytest.approx(0.885)
    assert best["values"] == [0.883, 0.885, 0.887]
    assert best["seeds"] == ["seed=1", "seed=2", "seed=3"]
    assert best["nodeids"] == [f"test_it.py::test_model[rbf-8-{seed}]" for seed in (1, 2, 3)]
    assert [one["within_noise"] for one in (best, *others)] == [None, True, False, False]
    assert [one["rank"] for one in others] == [2, 3, 4]


def test_csv_has_a_line_for_each_configuration(swept: Project) -> None:
    swept.cli("best", "test_model", "--format=csv", "--top=2", "-o", "best.csv")
    text = swept.path.joinpath("best.csv").read_text(encoding="utf-8")
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["rank"], first["params.depth"], first["params.kernel"]) == ("1", "8", "rbf")
    assert second["params.kernel"] == "linear, odd"
    assert float(second["distance"]) == pytest.approx(0.001)
    assert (second["n"], second["within_noise"], second["failed"]) == ("3", "true", "0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--metric=loss",), "loss is best with kernel = rbf, depth = 8: 0.1150"),
        (("--mode=min",), "accuracy is best with kernel = linear, odd, depth = 2"),
        (("--metric=width", "--mode=min"), "width is best with kernel = linear, odd, depth = 2"),
        (("--seed-params=kernel,seed",), "accuracy is best with depth = 8: 0.8845"),
    ],
    ids=["metric", "mode", "both", "seeds"],
)
def test_options_rank_otherwise(swept: Project, arguments: tuple[str, ...], words: str) -> None:
    assert swept.cli("best", "test_model", *arguments).stdout.startswith(words)


def test_sessions_can_be_named(swept: Project) -> None:
    first, second = (session.directory for session in swept.sessions())
    earlier = "accuracy is best with kernel = rbf, depth = 2"
    for name in (first.session_id, str(first.path), f"session:{first.session_id}"):
        assert swept.cli("best", "test_model", "--session", name).stdout.startswith(earlier)
    newer = swept.cli("best", "test_model", "--session", second.session_id[:-2]).stdout
    assert newer == swept.cli("best", "test_model").stdout
    results = swept.path / "results.jsonl"
    results.write_bytes(first.journal.read_bytes())
    named = swept.cli("best", "test_model", "--session=results.jsonl").stdout
    assert named.startswith(earlier)


def test_failed_configurations_come_last(swept: Project) -> None:
    lines = swept.cli("best", "test_other").stdout.splitlines()
    assert lines[0].startswith("loss is best with size = 2: 2, the lower the better")
    assert lines[1].startswith("test_it.py::test_other: 2 points, 2 cases, 1 failed, ")
    assert lines[5].endswith("1 of 1 failed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("test_hopeless",), "No point is called the best, for none passed"),
        (("test_model", "--metric=f1"), "No case has a value of f1."),
        (("test_model", "--metric=width"), "There is no best one, for nobody knows"),
    ],
    ids=["failed", "metric", "mode"],
)
def test_no_best_is_told(swept: Project, arguments: tuple[str, ...], words: str) -> None:
    assert swept.cli("best", *arguments, status=1).stdout.startswith(words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "several sweeps; name one of them:\n  test_it.py::test_model\n  test_it.py::test_o"),
        (("test_",), "'test_' fits several sweeps"),
        (("nothing",), "'nothing' fits no sweep of the session; there is:\n  test_it.py::test_m"),
        (("test_model", "--session=nothing"), "there is no session 'nothing'"),
        (("test_model", "--session=branch:"), "'branch:' is not a baseline"),
        (("test_model", "--top=0"), "'0'"),
        (("test_model", "-o", "pytest.ini/x"), "can't be written"),
    ],
    ids=["none", "part", "unknown", "session", "spec", "top", "output"],
)
def test_bad_input_is_told(swept: Project, arguments: tuple[str, ...], words: str) -> None:
    result = swept.cli("best", *arguments, status=None)
    assert result.status in (1, 2)
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_ini_file_of_the_session_counts(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        """
        [pytest]
        mlflow_direction = gap: max
        mlflow_seed_params = fold
        """,
        "pytest.ini",
    )
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("seed", [1, 2])
        @pytest.mark.parametrize("fold", [1, 2])
        def test_it(mlflow_case, fold, seed):
            mlflow_case.log_metric("gap", seed + fold / 10)
        """
    )
    project.pytest(*OFFLINE)
    assert project.cli("best").stdout.startswith("gap is best with seed = 2: 2.150 ± 0.071 (n = 2)")
    lower = project.cli("best", "--mode=min").stdout
    assert lower.startswith("gap is best with seed = 1: 1.150 ± 0.071 (n = 2)")


def test_no_sweep_at_all(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("[pytest]\n", "pytest.ini")
    project.write("def test_it(mlflow_case):\n    mlflow_case.log_metric('x', 1)\n")
    project.pytest(*OFFLINE)
    assert "no parametrized test" in project.cli("best", status=2).stderr
