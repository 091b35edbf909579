"""Small suites after the manner of public projects: what of their assertions is judged."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from project import Project

from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.journal import read_slim
from pytest_mlflow_experiments.regression.compare import compare_sessions
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.regression.values import Sessions, collect_session

COMMON = """
    import os

    NOISE = float(os.environ["NOISE"])


    def log_loss(y, p):
        return 0.11 + NOISE / 10

    def accuracy_score(y, p):
        return 0.93 + NOISE

    def roc_auc_score(y, p):
        return 0.88 + NOISE

    def mean_squared_error(y, p):
        return 6.2 + NOISE

    def ndcg(y, p):
        return 0.61 + NOISE
"""
"""What the suites measure with; each value moves a little from session to session."""

KINDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "boosting with a record of evaluations": (
        """
        import pytest
        from common import *

        def test_binary():
            evals_result = {"valid_0": {"binary_logloss": [0.4, 0.11 + NOISE / 10]}}
            ret = log_loss(None, None)
            assert ret < 0.14
            assert len(evals_result["valid_0"]["binary_logloss"]) == 2
            assert evals_result["valid_0"]["binary_logloss"][-1] == pytest.approx(ret)

        def test_regression():
            ret = mean_squared_error(None, None)
            assert ret < 7

        def test_missing_values_are_zero():
            pred, pred_zero = [0.5, 0.25], [0.5, 0.25]
            for a, b in zip(pred, pred_zero):
                assert abs(a - b) < 1e-6

        def test_importances():
            importances = [0.25, 0.75]
            assert min(importances) >= 0
            assert sum(importances) == pytest.approx(1)
        """,
        {"log_loss": "min", "mean_squared_error": "min"},
    ),
    "boosting with parameters": (
        """
        import pytest
        from common import *

        class Booster:
            best_iteration = 7
            best_score = 0.05 - NOISE / 10

        @pytest.mark.parametrize("tree_method", ["hist", "exact"])
        def test_error(tree_method):
            res = {"eval": {"error": [0.3, 0.06 - NOISE / 10], "auc": [0.7, 0.91 + NOISE]}}
            assert res["eval"]["error"][-1] < 0.1
            assert res["eval"]["auc"][-1] > 0.8
            assert 0 <= res["eval"]["auc"][0] <= 1

        def test_early_stopping():
            assert Booster.best_iteration < 10
            assert Booster.best_score < 0.1

        def test_labels():
            preds, labels = [1, 0, 1, 1], [1, 0, 1, 0]
            err = sum(1 for p, y in zip(preds, labels) if p != y) / len(preds)
            assert err < 0.3
        """,
        {"res.eval.error.last": "min", "res.eval.auc.last": "max", "err": "min"},
    ),
    "resampling": (
        """
        import pytest
        from common import *

        @pytest.mark.parametrize(
            ("average", "expected_gmean"), [("multiclass", 0.78), ("macro", 0.67)]
        )
        def test_geometric_mean(average, expected_gmean):
            gmean = expected_gmean + 1e-9
            assert gmean == pytest.approx(expected_gmean, rel=1e-3)

        def test_balanced():
            balanced_accuracy = 0.83 + NOISE
            assert balanced_accuracy > 0.7
            counts = {"majority": 40, "minority": 40}
            assert counts["majority"] == counts["minority"]
        """,
        {"balanced_accuracy": "max"},
    ),
    "detectors tested with unittest": (
        """
        import unittest
        import numpy as np
        from common import *

        class TestDetector(unittest.TestCase):
            roc_floor = 0.8

            def test_roc(self):
                self.assertGreaterEqual(roc_auc_score(None, None), self.roc_floor)

            def test_probabilities(self):
                proba = np.array([0.1, 0.9])
                assert proba.min() >= 0
                assert proba.max() <= 1

            def test_scores(self):
                scores = np.array([0.5, 0.25])
                np.testing.assert_allclose(scores.sum(), 0.75)

            def test_precision(self):
                precision_n_scores = 0.7 + NOISE
                self.assertGreater(precision_n_scores, 0.5)
        """,
        {"roc_auc_score": "max", "precision_n_scores": "max"},
    ),
    "networks with callbacks": (
        """
        import math
        from common import *

        class Net:
            history = {"train_loss": [0.9, 0.4], "valid_loss": [0.8, 0.41 - NOISE / 10]}

            def score(self, X, y):
                return 0.9 + NOISE

        def test_score():
            assert Net().score(None, None) > 0.8

        def test_loss_falls():
            assert Net.history["valid_loss"][-1] < 0.6

        def test_learning_rate():
            lr = 0.1 * 0.5 ** 2
            assert math.isclose(lr, 0.025)

        def test_probabilities_sum_to_one():
            for row in ([0.5, 0.5], [0.25, 0.75]):
                assert abs(sum(row) - 1) < 1e-6
        """,
        {"Net.score": "max", "Net.history.valid_loss.last": "min"},
    ),
    "recommenders": (
        """
        import numpy as np
        import pytest
        from common import *

        EXPECTED_MRR = 0.02

        def mrr_score(model):
            return np.array([0.03, 0.05]) + NOISE / 100

        @pytest.mark.parametrize("l2", [0.0, 1e-4])
        def test_pointwise(l2):
            mrr = mrr_score(None).mean()
            assert mrr > EXPECTED_MRR

        def test_ranking():
            precision, recall = 0.2 + NOISE / 10, 0.3 + NOISE / 10
            assert precision > 0.1 and recall > 0.1
            assert ndcg(None, None) >= 0.5
        """,
        {"mrr": "max", "precision": "max", "recall": "max", "ndcg": "max"},
    ),
    "scores of texts": (
        """
        import pytest
        from common import *

        EPSILON = 1e-8
        CASES = [("a b", "a b", 100.0), ("a c", "a b", 50.0)]

        @pytest.mark.parametrize("hypothesis, reference, expected_score", CASES)
        def test_chrf(hypothesis, reference, expected_score):
            score = expected_score + 1e-12
            assert abs(score - expected_score) < EPSILON

        def test_corpus():
            bleu = 31.4 + 10 * NOISE
            assert bleu > 30
            wer = 0.21 - NOISE / 10
            assert wer < 0.3
        """,
        {"bleu": "max", "wer": "min"},
    ),
    "fairness": (
        """
        import numpy as np
        import pytest
        from common import *

        def test_by_group():
            by_group = {"a": 0.9 + NOISE, "b": 0.85 + NOISE}
            for group, accuracy in by_group.items():
                assert accuracy > 0.7

        def test_difference():
            difference = 0.05 + NOISE / 10
            assert difference == pytest.approx(0.05, abs=0.05)
            assert 0 <= difference <= 1

        def test_constraint_is_kept():
            violation = 3e-9 * (1 + NOISE)
            assert violation < 1e-3

        def test_selection_rate():
            assert np.isclose(np.float64(0.5), 0.5)
        """,
        {"accuracy[a]": "max", "accuracy[b]": "max"},
    ),
    "optimisers": (
        """
        import pytest
        from common import *

        class Study:
            best_value = 0.02 - NOISE / 10
            best_params = {"x": 0.1}

        def test_best():
            assert Study.best_value < 0.1

        @pytest.mark.parametrize("low, high", [(0, 1), (-5, 5)])
        def test_suggestions(low, high):
            for value in (low, (low + high) / 2, high):
                assert low <= value <= high

        def test_weights():
            weights = [0.2, 0.3, 0.5]
            assert all(0 <= w <= 1 for w in weights)
            assert sum(weights) == pytest.approx(1.0)
        """,
        {"Study.best_value": "min"},
    ),
    "metrics that are logged": (
        """
        import pytest
        from common import *

        def test_run(mlflow_case):
            metrics = {"train/accuracy": 0.97 + NOISE, "val/accuracy": 0.91 + NOISE}
            mlflow_case.log_metrics(metrics)
            assert metrics["val/accuracy"] > 0.8
            assert metrics["train/accuracy"] - metrics["val/accuracy"] < 0.3

        def test_history(mlflow_case):
            for step, loss in enumerate([1.0, 0.5, 0.25 + NOISE / 10]):
                mlflow_case.log_metric("loss", loss, step=step)
            assert loss < 0.5
        """,
        {"train/accuracy": "max", "val/accuracy": "max", "loss": "min"},
    ),
    "a template with thresholds and slices": (
        """
        import time
        import pytest
        from common import *

        THRESHOLDS = {"f1": 0.6, "rmse": 7.0}

        @pytest.mark.parametrize("region", ["north", "south"])
        def test_region(region):
            f1 = {"north": 0.8, "south": 0.7}[region] + NOISE
            assert f1 >= THRESHOLDS["f1"]

        def test_rmse():
            result = {"rmse": 5.5 + NOISE}
            assert result["rmse"] <= THRESHOLDS["rmse"]

        def test_row_order_does_not_matter():
            assert accuracy_score(1, 2) == accuracy_score(2, 1)

        def test_prediction_is_quick():
            start = time.perf_counter()
            assert time.perf_counter() - start < 60
        """,
        {"f1": "max", "result.rmse": "min"},
    ),
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, list[CaseRecord]]:
    """Run the suites in five sessions; return the comparison of the last, and its cases."""
    project = Project(tmp_path_factory.mktemp("kinds"))
    project.write("[pytest]\n", "pytest.ini")
    project.write(COMMON, "common.py")
    for number, (source, _) in enumerate(KINDS.values()):
        project.write(textwrap.dedent(source), f"test_{number}.py")
    plain = project.pytest(env={"NOISE": "0"})
    for noise in ("0", "0.002", "-0.001", "0.001", "-0.002"):
        result = project.pytest("--mlflow", "--mlflow-offline", env={"NOISE": noise})
        assert _outcomes(result.without_section()) == _outcomes(plain.stdout)
    *past, current = [
        collect_session(read_slim(session.directory.journal), CompareOptions().seed_params)
        for session in project.sessions()
    ]
    comparison = compare_sessions(current, Sessions(sessions=past), CompareOptions())
    return comparison, project.sessions()[-1].cases


def _outcomes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("test_")]


@pytest.mark.parametrize("kind", KINDS)
def test_model_metrics_are_judged(compared: tuple[Comparison, list[CaseRecord]], kind: str) -> None:
    comparison, _ = compared
    file = f"test_{[*KINDS].index(kind)}.py"
    rows = {row.metric: row for row in comparison.metrics if row.nodeid.startswith(f"{file}::")}
    wanted = KINDS[kind][1]
    assert {name: rows[name].direction for name in wanted if name in rows} == wanted
    assert all(rows[name].status == "unchanged" for name in wanted)
    assert not [name for name in wanted if rows[name].advisory]


def test_what_is_judged_are_metrics(compared: tuple[Comparison, list[CaseRecord]]) -> None:
    """Residuals, ranges, settings and the like don't gate: nine tenths of what does is a metric."""
    comparison, _ = compared
    judged = [row for row in comparison.metrics if not row.advisory and not row.cost]
    wanted = {
        (f"test_{number}.py", name)
        for number, (_, metrics) in enumerate(KINDS.values())
        for name in metrics
    }
    others = [
        row for row in judged if (Path(row.nodeid.split("::")[0]).name, row.metric) not in wanted
    ]
    assert len(others) <= len(judged) / 10, [(r.nodeid, r.metric, r.current) for r in others]


def test_nothing_of_noise_got_worse(compared: tuple[Comparison, list[CaseRecord]]) -> None:
    comparison, _ = compared
    assert [row.metric for row in comparison.metrics if row.gates] == []
