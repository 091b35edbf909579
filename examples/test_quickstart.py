"""The first thing to try: plain pytest, nothing of MLflow in it."""

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@pytest.mark.parametrize("C", [0.01, 0.1, 1.0])
def test_breast_cancer(C):  # noqa: N803 - scikit-learn's name
    X, y = load_breast_cancer(return_X_y=True)  # noqa: N806
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C))
    accuracy = cross_val_score(model, X, y, cv=5).mean()
    assert accuracy >= 0.94
