"""The tests of the pictures. ``DEPTH`` is what a change makes worse."""

import os

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import f1_score, root_mean_squared_error
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

DEPTH = int(os.environ.get("DEPTH", "0")) or None
REGIONS = ["north", "east", "south", "west"]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)  # noqa: N806
    return train_test_split(X / 16, y, np.arange(len(y)) % 4, test_size=0.4)


def test_digits(digits):
    X_train, X_test, y_train, y_test, *_ = digits  # noqa: N806
    forest = RandomForestClassifier(15, max_depth=DEPTH).fit(X_train, y_train)
    predicted = forest.predict(X_test)
    accuracy = (predicted == y_test).mean()
    assert accuracy >= 0.75
    f1 = f1_score(y_test, predicted, average="macro")
    assert f1 >= 0.75


@pytest.mark.parametrize("region", REGIONS)
def test_region(region, digits):
    X_train, X_test, y_train, y_test, _, where = digits  # noqa: N806
    forest = RandomForestClassifier(15, max_depth=DEPTH and 6).fit(X_train, y_train)
    here = where == REGIONS.index(region)
    accuracy = forest.score(X_test[here], y_test[here])
    assert accuracy >= 0.75


@pytest.mark.mlflow(sweep=False)
@pytest.mark.parametrize("C", [0.01, 0.1, 1.0])
def test_breast_cancer(C):  # noqa: N803
    X, y = load_breast_cancer(return_X_y=True)  # noqa: N806
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C))
    accuracy = cross_val_score(model, X, y, cv=KFold(5, shuffle=True)).mean()
    assert accuracy >= 0.9


def test_diabetes():
    X_train, X_test, y_train, y_test = train_test_split(  # noqa: N806
        *load_diabetes(return_X_y=True), test_size=0.5
    )
    model = Ridge(0.01 if DEPTH is None else 0.001).fit(X_train, y_train)
    rmse = root_mean_squared_error(y_test, model.predict(X_test))
    assert rmse < 70


def test_training(digits, mlflow_case):
    X_train, X_test, y_train, y_test, *_ = digits  # noqa: N806
    model = SGDClassifier(loss="log_loss", alpha=1e-3)
    for epoch in range(15):
        model.partial_fit(X_train, y_train, classes=range(10))
        mlflow_case.log_metric("val_accuracy", model.score(X_test, y_test), step=epoch)
