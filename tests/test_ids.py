"""Cases keep their history where pytest's ids say less than the params, or something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from project import Project
from sessions import baseline, judged, make_case, make_check, make_session

from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.report.json import read_json

OFFLINE = ("--mlflow", "--mlflow-offline")
GATED = (*OFFLINE, "--mlflow-gate")

ADDRESSES = """
    import os
    from functools import partial
    from unittest.mock import Mock
    import pytest

    DROP = float(os.environ.get("DROP", "0"))

    def small(): return 0.90
    def large(): return 0.95

    def make(score):
        def inner(): return score
        return inner

    class Model:
        def __init__(self, score):
            self.score = score

    @pytest.mark.parametrize("make", [small, large], ids=str)
    def test_function(make):
        accuracy = make() - DROP
        assert accuracy > 0.5

    @pytest.mark.parametrize("model", [Model(0.9), Model(0.95)], ids=lambda m: str(m))
    @pytest.mark.parametrize("C", [1, 2])
    def test_object(model, C):
        accuracy = model.score - DROP
        assert accuracy > 0.5

    @pytest.mark.parametrize("made", [make(0.9), make(0.95), partial(small)], ids=repr)
    def test_closure(made):
        accuracy = made() - DROP
        assert accuracy > 0.5

    @pytest.mark.parametrize("model", [Mock(), Mock()], ids=repr)
    def test_mock(model, mlflow_seed):
        accuracy = 0.9 - DROP
        print("seed", mlflow_seed)
        assert accuracy > 0.5

    @pytest.mark.parametrize("model", [Model(0.9), Model(0.95)], ids=lambda m: f"m-{id(m)}")
    def test_number(model):
        accuracy = model.score - DROP
        assert accuracy > 0.5
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.real
def test_addresses_are_no_part_of_a_case(project: Project) -> None:
    project.write(ADDRESSES)
    for _ in range(3):
        project.pytest(*OFFLINE)
    first, *_, last = project.sessions()
    names = [case.case for case in last.cases]
    assert names == [case.case for case in first.cases]
    assert names == [
        "test_it.py::test_function[<function small>]",
        "test_it.py::test_function[<function large>]",
        "test_it.py::test_object[1-<test_it.Model object>0]",
        "test_it.py::test_object[1-<test_it.Model object>1]",
        "test_it.py::test_object[2-<test_it.Model object>0]",
        "test_it.py::test_object[2-<test_it.Model object>1]",
        "test_it.py::test_closure[<function make.<locals>.inner>0]",
        "test_it.py::test_closure[<function make.<locals>.inner>1]",
        "test_it.py::test_closure[functools.partial(<function small>)]",
        "test_it.py::test_mock[<Mock>0]",
        "test_it.py::test_mock[<Mock>1]",
        "test_it.py::test_number[m-0]",
        "test_it.py::test_number[m-1]",
    ]
    assert [case.name for case in last.cases] == [name.partition("::")[2] for name in names]
    assert last.case("test_object[1-<test_it.Model object>1]").params["model"] == (
        "<test_it.Model object>1"
    )
    result = project.pytest(*GATED)
    assert "gate passed" in result.stdout.lower()
    result = project.pytest(*GATED, "--mlflow-rerun=0", env={"DROP": "0.3"}, status=1)
    assert "13 metrics regressed" in result.stdout
    # What was left out is told by the same names.
    result = project.pytest(*GATED, "-k", "test_object and 1-", "--mlflow-rerun=0")
    assert "missing" not in result.stdout


def test_positions_do_not_depend_on_the_selection(project: Project) -> None:
    project.write(ADDRESSES)
    project.write(
        """
        def pytest_collection_modifyitems(items):
            items[:] = [item for item in items if item.name.startswith("test_object[2")][1:]
        """,
        "conftest.py",
    )
    project.pytest(*OFFLINE)
    (case,) = project.sessions()[0].cases
    assert case.name == "test_object[2-<test_it.Model object>1]"


def test_seed_is_the_same_with_and_without_the_flag(project: Project) -> None:
    project.write(ADDRESSES)
    outputs = [project.pytest("-s", "-k", "mock", *arguments).stdout for arguments in ((), OFFLINE)]
    with_and_without = [
        [line.rpartition("seed ")[2] for line in output.splitlines() if "seed " in line]
        for output in outputs
    ]
    assert with_and_without[0] == with_and_without[1]
    assert len({*with_and_without[0]}) == 2


def case(id: str, value: float = 0.9, **params: str) -> CaseRecord:
    params = {name.replace("__", "."): text for name, text in params.items()}
    return make_case(
        f"test_fit[{id}]",
        params=params,
        arguments=tuple(params),
        metrics={"accuracy": value},
        checks=(make_check("accuracy", value, 0.5),),
    )


def rows(current: list[CaseRecord], past: list[CaseRecord]) -> dict[str, Any]:
    found = judged(make_session(*current), baseline(*(make_session(*past) for _ in range(5))))
    return {
        row.case.partition("::")[2]: (row.status, row.baseline)
        for row in found.metrics
        if row.metric == "accuracy"
    }


RIDGE, LASSO = "Ridge(alpha=1)", "Lasso(alpha=1)"


@pytest.mark.parametrize(
    ("id", "params", "told"),
    [
        ("model0", {"model": RIDGE}, f"model={RIDGE}"),
        ("Ridge0", {"model": f"m.{RIDGE}"}, f"model=m.{RIDGE}"),
        ("make1", {"build": "test_it.make"}, "build=test_it.make"),
        ("make_2", {"build": "test_it.make"}, "build=test_it.make"),
        ("1-model2-rbf", {"C": "1", "model": RIDGE, "k": "rbf"}, f"1-model={RIDGE}-rbf"),
        ("X2-y2-0.5", {"X": "X2", "y": "[1, 2]", "s": "0.5"}, "X-y=[1, 2]-0.5"),
        ("c0-2", {"c__lr": "0.1", "c__n": "3", "d": "2"}, "c.lr=0.1, c.n=3-2"),
        ("<function small at 0x7f12>", {"make": "m.small"}, "make=m.small"),
        ("<lambda>1", {"make": "lambda: 0.9"}, "make=lambda: 0.9"),
        ("<m.Ridge object>1", {"model": RIDGE}, f"model={RIDGE}"),
        # Nothing is known of these that their ids don't say.
        ("<lambda>0", {"make": "<lambda>0"}, None),
        ("model0", {"model": "model0"}, None),
        ("n1", {"n": "1"}, None),
        ("0.1-3-rbf", {"C": "0.1", "n": "3", "k": "rbf"}, None),
        ("lr1-C0", {"name": "lr1", "lr": "Step(1)"}, None),
    ],
)
def test_objects_are_told_by_their_texts(id: str, params: dict[str, Any], told: str | None) -> None:
    assert [*rows([case(id, **params)], [])] == [f"test_fit[{told or id}]"]


def test_long_text_is_cut() -> None:
    models = [case(f"model{n}", model=f"Ridge({'x' * 500}{n})") for n in range(2)]
    first, second = rows(models, [])
    assert first != second
    assert max(map(len, (first, second))) < 200


def test_value_at_the_front_moves_nothing() -> None:
    past = [case("model0", 0.9, model=RIDGE), case("model1", 0.7, model=LASSO)]
    now = [
        case("model0", 0.5, model="Dummy()"),
        case("model1", 0.9, model=RIDGE),
        case("model2", 0.7, model=LASSO),
    ]
    assert rows(now, past) == {
        "test_fit[model=Dummy()]": ("new", None),
        f"test_fit[model={RIDGE}]": ("unchanged", pytest.approx(0.9)),
        f"test_fit[model={LASSO}]": ("unchanged", pytest.approx(0.7)),
    }
    now[2] = case("model2", 0.4, model=LASSO)
    assert rows(now, past)[f"test_fit[model={LASSO}]"][0] == "regressed"
    # And back: one that is gone is missing, by its own name.
    assert rows(past, now)["test_fit[model=Dummy()]"] == ("missing", pytest.approx(0.5))


def test_objects_with_the_same_text_keep_their_positions() -> None:
    alike = [case(f"model{n}", 0.9 - n / 10, model="Model()") for n in range(2)]
    expected = {
        "test_fit[model0]": ("unchanged", pytest.approx(0.9)),
        "test_fit[model1]": ("unchanged", pytest.approx(0.8)),
    }
    assert rows(alike, alike) == expected
    # Also where only one of them runs now.
    assert rows(alike[1:], alike)["test_fit[model1]"] == expected["test_fit[model1]"]


def test_other_value_at_the_same_place_is_told() -> None:
    past = [case("model0", model=RIDGE), case("model1", model=LASSO)]
    now = [case("model0", model="Ridge(alpha=2)"), case("model1", model=LASSO)]
    assert rows(now, past)["test_fit[model=Ridge(alpha=2)]"][0] == "not comparable"


def test_history_of_the_id_is_found_where_the_texts_are_made_in_another_way() -> None:
    past = [case("config0", config="{'lr': 0.1}"), case("config1", 0.7, config="{'lr': 0.2}")]
    now = [case("config0", config__lr="0.1"), case("config1", 0.7, config__lr="0.2")]
    assert [status for status, _ in rows(now, past).values()] == ["unchanged", "unchanged"]
    # Lambdas had no text.
    past = [case("<lambda>0", make="<lambda>0"), case("<lambda>1", 0.7, make="<lambda>1")]
    now = [case("<lambda>0", make="lambda: 1"), case("<lambda>1", 0.7, make="lambda: 2")]
    assert [status for status, _ in rows(now, past).values()] == ["unchanged", "unchanged"]
    # Other ids of the same params.
    past = [case("<function small at 0x7f>", make="m.small")]
    assert rows([case("<function small>", make="m.small")], past) == {
        "test_fit[<function small>]": ("unchanged", pytest.approx(0.9))
    }


@pytest.mark.real
def test_accepted_step_follows_its_object(project: Project) -> None:
    source = """
        import pytest
        class Model:
            def __init__(self, score, kind):
                self.score, self.kind = score, kind
            def __repr__(self):
                return f"Model({self.kind})"
        @pytest.mark.parametrize("model", [FRONTModel(SCORE, "a"), Model(0.8, "b")])
        def test_fit(model):
            accuracy = model.score
            assert accuracy > 0.5
    """

    def write(score: float, front: str = "") -> None:
        project.write(source.replace("SCORE", str(score)).replace("FRONT", front))

    write(0.9)
    for _ in range(5):
        project.pytest(*OFFLINE)
    write(0.7)
    project.pytest(*GATED, status=1)
    project.cli("accept", "test_it.py::test_fit[model0]", "accuracy", "--reason", "smaller")
    project.pytest(*GATED)
    write(0.7, 'Model(0.6, "new"), ')
    project.pytest(*GATED)
    write(0.55, 'Model(0.6, "new"), ')
    result = project.pytest(*GATED, status=1)
    assert "test_fit[model1]" in result.stdout


REPEATED = """
    import os
    import pytest

    def pytest_addoption(parser):
        parser.addoption("--count", type=int, default=1)

    # As pytest-repeat does it.
    @pytest.fixture
    def __pytest_repeat_step_number(request):
        return request.param

    def pytest_generate_tests(metafunc):
        count = metafunc.config.option.count
        if count > 1:
            metafunc.fixturenames.append("__pytest_repeat_step_number")
            metafunc.parametrize(
                "__pytest_repeat_step_number",
                range(count),
                indirect=True,
                ids=lambda i: f"{i + 1}-{count}",
                scope="function",
            )
"""


@pytest.mark.real
@pytest.mark.parametrize("seeds", ["", "mlflow_seed_params = seed\n"], ids=["default", "own"])
def test_counts_of_runs_repeat_a_case(project: Project, seeds: str) -> None:
    project.write(f"[pytest]\n{seeds}", "pytest.ini")
    project.write(REPEATED, "conftest.py")
    project.write(
        """
        import os, random, pytest
        DROP = float(os.environ.get("DROP", "0"))
        @pytest.mark.parametrize("C", [1, 10])
        def test_fit(C):
            accuracy = 0.9 + random.random() / 100 - DROP
            assert accuracy > 0.5
        @pytest.mark.parametrize("_", range(3))
        def test_again(_):
            accuracy = 0.9 + random.random() / 100 - DROP
            assert accuracy > 0.5
        """
    )
    for count in (1, 3, 3, 3, 3):
        project.pytest(*OFFLINE, f"--count={count}")
    result = project.pytest(*GATED, "--count=5")
    assert "missing" not in result.stdout
    comparison = read_json((project.sessions()[-1].directory.path / "report.json").read_text())
    (sweep,) = comparison.sweeps
    assert (len(sweep.configurations), sweep.cases, sweep.params) == (2, 10, ("C",))
    metrics = {row.case: row for row in comparison.metrics if row.metric == "accuracy"}
    assert {case: row.n for case, row in metrics.items()} == {
        "test_it.py::test_fit[C=1]": 5,
        "test_it.py::test_fit[C=10]": 5,
        "test_it.py::test_again": 5,
    }
    project.pytest(*GATED, "--count=5", env={"DROP": "0.3"}, status=1)
    # Fewer, and none at all.
    for count in (2, 1):
        assert "missing" not in project.pytest(*GATED, f"--count={count}").stdout
