from __future__ import annotations

import pytest

from pytest_mlflow_experiments.records.param_kinds import ParamKind, param_kind

PIPELINE = "Pipeline(steps=[('scale', StandardScaler()),\n    ('clf', LogisticRegression(C=0.1))])"


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (
            "setting",
            {
                "learning_rate": "0.001",
                "bootstrap": "True",
                "max_features": "None",
                "kernel": "rbf",
                "model": PIPELINE,
                "estimator": "sklearn.linear_model._logistic.LogisticRegression",
                "clf": "clf0",
                "hidden_sizes": "(64, 64)",
                "config": "{'depth': 3, 'eta': 0.1, 'objective': 'binary:logistic'}",
                "checkpoint": "distilbert/distilbert-base-uncased",
                "data_fraction": "0.5",
                "input_size": "32",
                "max_iter": "100",
                "class_weight": "balanced",
                "api_key": "***",
            },
        ),
        (
            "data",
            {
                "expected_gmean": "0.9",
                "y_true": "1",
                "X": "X0",
                "y": "[0, 1]",
                "x": "3.5",
                "data": "iris",
                "train_data": "iris",
                "dataset_path": "iris.csv",
                "source": "iris.csv",
                "question": "Paris",
                "city": "What is the capital of France?",
                "passage": "It was the best of times, it was the worst of times",
                "dtype": "float32",
                "kind": "numpy.float32",
                "container": "pandas.DataFrame",
                "weights": "weights1",
                "confusion": "[[5, 1], [2, 4]]",
                "scores": "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]",
            },
        ),
        (
            "slice",
            {"region": "north", "fold": "3", "class_name": "cat", "lang": "de", "Group": "a"},
        ),
        ("repeat", {"seed": "1", "random_state": "2"}),
    ],
)
def test_kind(kind: ParamKind, params: dict[str, str]) -> None:
    assert {name: param_kind(name, text) for name, text in params.items()} == dict.fromkeys(
        params, kind
    )
