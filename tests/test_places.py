"""Values that an assertion saw several times: each is judged, at its place in the loop."""

from __future__ import annotations

import textwrap

import pytest
from project import Project

from pytest_mlflow_experiments.records import Metric
from pytest_mlflow_experiments.records.case import MAX_PLACES, placeless, values_by_place
from pytest_mlflow_experiments.regression.values import CaseValues

OFFLINE = ("--mlflow", "--mlflow-offline")
GATE = (*OFFLINE, "--mlflow-gate", "--mlflow-rerun=0")


def metric(value: float, place: str = "", key: str = "acc", step: int = 0) -> Metric:
    return Metric(key=key, value=value, step=step, timestamp=step, place=place)


def judged(project: Project, body: str, changed: str) -> list[str]:
    """Run a suite, then with another value for ``GOOD``; return the verdicts of the section."""
    source = textwrap.dedent(body)
    project.write(source.replace("GOOD", "0.9"))
    project.pytest(*OFFLINE)
    project.write(source.replace("GOOD", changed))
    section = project.pytest(*GATE, status=None).section()
    return [line.strip() for line in section if "0.9 →" in line]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(
            """
            def test_it():
                recall = {"cat": GOOD, "dog": 0.8}
                for name, found in recall.items():
                    assert recall[name] > 0.1
            """,
            "recall[cat]",
            id="items of a dict",
        ),
        pytest.param(
            """
            def test_it():
                for fold in range(5):
                    acc = 0.8 if fold else GOOD
                    assert acc > 0.1
            """,
            "acc[0]",
            id="numbers",
        ),
        pytest.param(
            """
            def test_it():
                for index, name in enumerate(["cat", "dog"]):
                    acc = 0.8 if index else GOOD
                    assert acc > 0.1
            """,
            "acc[cat]",
            id="enumerate",
        ),
        pytest.param(
            """
            def test_it():
                for name, accuracy in zip(["cat", "dog"], [GOOD, 0.8]):
                    assert accuracy > 0.1
            """,
            "accuracy[cat]",
            id="zip",
        ),
        pytest.param(
            """
            def test_it():
                for model in ["svm", "tree"]:
                    for fold in range(2):
                        acc = GOOD if (model, fold) == ("svm", 1) else 0.8
                        assert acc > 0.1
            """,
            "acc[svm, 1]",
            id="loops in loops",
        ),
        pytest.param(
            """
            def test_it():
                for score in [GOOD, 0.8, 0.8]:
                    assert score > 0.1
            """,
            "score[1 of 3]",
            id="values without names",
        ),
        pytest.param(
            """
            def check(acc):
                assert acc > 0.1

            def test_it():
                check(0.8)
                check(GOOD)
            """,
            "acc[2 of 2]",
            id="a helper",
        ),
        pytest.param(
            """
            def test_it():
                values = [GOOD, 0.8]
                while values:
                    acc = values.pop(0)
                    assert acc > 0.1
            """,
            "acc[1 of 2]",
            id="while",
        ),
        pytest.param(
            """
            def test_it():
                acc = GOOD
                assert acc > 0.1
                acc = 0.8
                assert acc > 0.1
            """,
            "acc[1 of 2]",
            id="two assertions",
        ),
        pytest.param(
            """
            import unittest

            class Test(unittest.TestCase):
                def test_it(self):
                    for name, acc in [("cat", GOOD), ("dog", 0.8)]:
                        with self.subTest(f"of {name}"):
                            assert acc > 0.1
            """,
            "acc[cat]",
            id="subTest",
        ),
        pytest.param(
            """
            def test_it(subtests):
                with subtests.test("cats"):
                    assert (acc := GOOD) > 0.1
                with subtests.test("dogs"):
                    assert (acc := 0.8) > 0.1
            """,
            "acc[cats]",
            id="subtests",
            marks=pytest.mark.skipif(
                not hasattr(pytest, "Subtests"), reason="this pytest has no subtests"
            ),
        ),
        pytest.param(
            """
            import enum

            class Region(enum.Enum):
                NORTH = 1
                SOUTH = 2

            def test_it():
                for region in Region:
                    acc = GOOD if region is Region.NORTH else 0.8
                    assert acc > 0.1
            """,
            "acc[NORTH]",
            id="enum",
        ),
        pytest.param(
            """
            def test_it(mlflow_case):
                for name, acc in {"cat": GOOD, "dog": 0.8}.items():
                    mlflow_case.log_metric("acc", acc)
                    assert acc > 0.1
            """,
            "acc[cat]",
            id="logged without steps",
        ),
        pytest.param(
            """
            def test_it():
                recall = {"cat": GOOD, "dog": 0.8}
                assert all(v > 0.1 for name, v in recall.items())
            """,
            "recall[cat]",
            id="all of the items of a dict",
        ),
        pytest.param(
            """
            import math

            def test_it():
                for model in ["svm", "tree"]:
                    scores = [0.8, GOOD if model == "svm" else 0.8]
                    assert all(math.isclose(s, 0.8, abs_tol=0.6) for i, s in enumerate(scores))
            """,
            "scores[svm, 1]",
            id="all in a loop",
        ),
        pytest.param(
            """
            import unittest

            def f1_score(name):
                return GOOD if name == "cat" else 0.8

            class Test(unittest.TestCase):
                def test_it(self):
                    for name in ["cat", "dog"]:
                        with self.subTest(name):
                            ret = f1_score(name)
                            self.assertGreater(ret, 0.1)
            """,
            "f1_score[cat]",
            id="a call of unittest, of a variable whose name says nothing",
        ),
    ],
)
def test_the_value_that_fell_is_found_at_its_place(project: Project, body: str, name: str) -> None:
    (verdict,) = judged(project, body, "0.3")
    assert f"regressed      {name} 0.9 → 0.3" in verdict


def test_checks_stand_at_the_places_of_their_values(project: Project) -> None:
    """Values that are logged without a step share step 0."""
    project.write(
        """
        def test_it(mlflow_case):
            for name, acc, least in [("cat", 0.9, 0.2), ("dog", 0.8, 0.3)]:
                mlflow_case.log_metric("acc", acc)
                assert acc > least
        """
    )
    project.pytest(*OFFLINE)
    checks = project.session().case("test_it").checks
    assert [(one.place, one.limit) for one in checks] == [("cat", 0.2), ("dog", 0.3)]


def test_names_tell_places_whatever_the_order_and_number(project: Project) -> None:
    body = """
    def test_it():
        for name, accuracy in {}.items():
            assert accuracy > 0.1
    """
    project.write(body.format({"cat": 0.9, "dog": 0.7}))
    project.pytest(*OFFLINE)
    project.write(body.format({"ape": 0.5, "dog": 0.7, "cat": 0.9}))
    section = "\n".join(project.pytest(*GATE).section())
    assert "Gate passed" in section
    project.write(body.format({"dog": 0.7}))
    section = "\n".join(project.pytest(*GATE, status=1).section())
    assert "missing        accuracy" in section


@pytest.mark.real
def test_other_numbers_of_places_are_judged_by_worst_and_mean(project: Project) -> None:
    body = """
    def test_it():
        for accuracy in {}:
            assert accuracy > 0.1
    """
    for values in ([0.9, 0.8], [0.9, 0.8, 0.85], [0.9, 0.8, 0.8, 0.9]):
        project.write(body.format(values))
        project.pytest(*OFFLINE)
    project.write(body.format([0.2, 0.8, 0.95, 0.9, 0.9]))
    section = "\n".join(project.pytest(*GATE, status=1).section())
    assert "regressed      accuracy[lowest] 0.8 → 0.2" in section
    assert "accuracy[highest]" not in section
    assert "accuracy[1 of 5]" not in section


def test_random_examples_have_no_places(project: Project) -> None:
    project.write(
        """
        from hypothesis import given, settings, strategies as st

        @settings(max_examples=5, database=None)
        @given(st.floats(0.5, 0.9))
        def test_it(accuracy):
            assert accuracy > 0.1
        """
    )
    project.pytest(*OFFLINE)
    record = project.session().case("test_it")
    assert {one.place for one in record.metrics} == {"*"}
    assert {*values_by_place(record.metrics)} == {
        "accuracy[lowest]",
        "accuracy[highest]",
        "accuracy[mean]",
    }


def test_options_by_name_are_for_all_places(project: Project) -> None:
    project.write(
        """
        import pytest

        @pytest.mark.mlflow(tolerance={"quality": 0.7}, direction={"quality": "max"})
        def test_it():
            for name, quality in {"a": GOOD, "b": 0.8}.items():
                assert quality > 0.1
        """
    )
    body = (project.path / "test_it.py").read_text()
    assert judged(project, body, "0.3") == []


def test_curves_count_with_their_last_or_best_step(project: Project) -> None:
    body = """
    import pytest

    @pytest.mark.mlflow(best="val_accuracy")
    def test_best(mlflow_case):
        for step, value in enumerate([0.1, GOOD, 0.2]):
            mlflow_case.log_metric("val_accuracy", value, step=step)

    def test_last(mlflow_case):
        for step, value in enumerate([0.1, GOOD, 0.2]):
            mlflow_case.log_metric("val_accuracy", value, step=step)
    """
    (verdict,) = judged(project, body, "0.3")
    assert "regressed      val_accuracy 0.9 → 0.3" in verdict


@pytest.mark.parametrize("best", ["'length'", "['loss', 'length']", "7", "['']"])
def test_best_needs_names_and_directions(project: Project, best: str) -> None:
    project.write(
        f"""
        import pytest

        @pytest.mark.mlflow(best={best})
        def test_it():
            pass
        """
    )
    result = project.pytest(*OFFLINE, status=4)
    assert "@pytest.mark.mlflow(best=" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("metrics", "values"),
    [
        ([metric(0.9), metric(0.8, step=1)], {"acc": 0.8}),
        (
            [metric(0.9, "a"), metric(0.7, "b", step=1), metric(1.0, key="f1")],
            {
                "acc[a]": 0.9,
                "acc[b]": 0.7,
                "acc[lowest]": 0.7,
                "acc[highest]": 0.9,
                "acc[mean]": 0.8,
                "f1": 1.0,
            },
        ),
        (
            [metric(0.25, "*"), metric(0.75, "*", step=1)],
            {"acc[lowest]": 0.25, "acc[highest]": 0.75, "acc[mean]": 0.5},
        ),
    ],
)
def test_values_by_place(metrics: list[Metric], values: dict[str, float]) -> None:
    assert values_by_place(metrics) == pytest.approx(values)


def test_nan_at_one_place_is_nan_of_all(project: Project) -> None:
    values = values_by_place([metric(0.9, "a"), metric(float("nan"), "b"), metric(0.1, "c")])
    assert all(value != value for name, value in values.items() if name not in ("acc[a]", "acc[c]"))


@pytest.mark.parametrize(
    ("name", "key"), [("acc[a]", "acc"), ("acc", "acc"), ("a.b[1 of 2]", "a.b"), ("[x]", "[x]")]
)
def test_placeless(name: str, key: str) -> None:
    assert placeless(name) == key


def test_many_places_are_one_crowd(project: Project) -> None:
    project.write(
        f"""
        def test_it():
            for index in range({MAX_PLACES + 1}):
                acc = 0.9
                assert acc > 0.1
        """
    )
    project.pytest(*OFFLINE)
    assert {one.place for one in project.session().case("test_it").metrics} == {"*"}


def test_keyed_values_are_metrics_in_mlflow(project: Project) -> None:
    project.write(
        """
        def test_it():
            for name, recall in {"cat": 0.9, "dog": 0.8}.items():
                assert recall > 0.1
            for acc in (0.5, 0.6):
                assert acc > 0.1
        """
    )
    project.track()
    run = project.case_runs()["test_it"]
    values = {name: value for name, value in run.data.metrics.items() if "_" not in name}
    assert values == {"recall": 0.8, "recall.cat": 0.9, "recall.dog": 0.8, "acc": 0.6}
    assert [one.value for one in project.history(run, "recall")] == [0.9, 0.8]


@pytest.mark.parametrize(
    ("body", "metrics", "checks"),
    [
        pytest.param(
            """
            def test_it(mlflow_case):
                acc = 0.91
                mlflow_case.log_metric("val_accuracy", acc)
                assert acc > 0.5
            """,
            {"val_accuracy": [0.91]},
            1,
            id="a variable that is logged",
        ),
        pytest.param(
            """
            def test_it(mlflow_case):
                class result:
                    metrics = {"exact/mean": 0.75}
                mlflow_case.log_metrics(result.metrics)
                assert result.metrics["exact/mean"] >= 0.5
            """,
            {"exact/mean": [0.75]},
            1,
            id="the text of a result",
        ),
        pytest.param(
            """
            import pytest

            def test_it():
                evals_result = {"l2": [0.5, 0.25]}
                loss = 0.25 * (1 + 1e-12)
                assert loss < 7
                assert evals_result["l2"][-1] == pytest.approx(loss)
            """,
            {"loss": [0.25 * (1 + 1e-12)]},
            2,
            id="two names of one number",
        ),
        pytest.param(
            """
            def test_it(mlflow_case):
                mlflow_case.log_metric("precision", 1.0)
                recall = 1.0
                assert recall > 0.5
            """,
            {"precision": [1.0], "recall": [1.0]},
            1,
            id="two numbers that are equal by chance",
        ),
        pytest.param(
            """
            import pytest

            def test_it():
                on_gpu, on_cpu = 0.91, 0.9
                assert on_cpu > 0.5
                assert on_gpu == pytest.approx(on_cpu, abs=0.05)
            """,
            {"on_cpu": [0.9], "on_gpu": [0.91]},
            2,
            id="two numbers that are close",
        ),
    ],
)
def test_one_number_is_one_metric(
    project: Project, body: str, metrics: dict[str, list[float]], checks: int
) -> None:
    project.write(body)
    project.pytest(*OFFLINE)
    record = project.session().case("test_it")
    found: dict[str, list[float]] = {}
    for one in record.metrics:
        found.setdefault(one.key, []).append(one.value)
    assert found == metrics
    assert len(record.checks) == checks


def test_a_number_is_no_limit_of_itself(project: Project) -> None:
    body = """
    import pytest

    def test_it():
        ret = GOOD
        assert ret < 7
        assert {"l2": ret}["l2"] == pytest.approx(ret)
    """
    (verdict,) = judged(project, body, "1.9")
    assert "regressed      ret 0.9 → 1.9" in verdict
    values = CaseValues.of(project.sessions()[-1].case("test_it"), frozenset())
    assert values.checks["ret"].limit == 7


@pytest.mark.real
def test_an_asserted_value_comes_after_the_steps_of_the_run(project: Project) -> None:
    project.write(
        """
        import mlflow

        def test_same(mlflow_run):
            for step, acc in enumerate([0.9, 0.55]):
                mlflow.log_metric("accuracy", acc, step=step)
            accuracy = 0.55
            assert accuracy > 0.5

        def test_other(mlflow_run):
            for step, acc in enumerate([0.9, 0.8]):
                mlflow.log_metric("accuracy", acc, step=step)
            accuracy = 0.55
            assert accuracy > 0.5
        """
    )
    project.track()
    runs = project.case_runs()
    assert runs["test_same"].data.metrics["accuracy"] == 0.55
    assert runs["test_other"].data.metrics["accuracy"] == 0.55
    history = project.history(runs["test_other"], "accuracy")
    assert [(one.step, one.value) for one in history] == [(0, 0.9), (1, 0.8), (2, 0.55)]
    assert len(project.history(runs["test_same"], "accuracy")) == 2
