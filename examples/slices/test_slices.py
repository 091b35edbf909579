"""Slices and folds: one model, looked at by part of the data.

    pytest --mlflow examples/slices

A param that names a part of the data (``region``) makes a table of slices, the worst first. A loop
over folds or classes in one test does the same within the case: each value is judged at its place.
"""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import KFold, train_test_split

REGIONS = ["north", "east", "south", "west"]


@pytest.fixture(scope="module")
def split():
    X, y = load_digits(return_X_y=True)  # noqa: N806
    region = np.arange(len(y)) % len(REGIONS)  # where each image is from
    return train_test_split(X / 16, y, region, test_size=0.5, random_state=0)


@pytest.fixture(scope="module")
def model(split):
    X_train, _, y_train, *_ = split  # noqa: N806
    return LogisticRegression(max_iter=1000).fit(X_train, y_train)


@pytest.mark.parametrize("region", REGIONS)
def test_region(region, model, split):
    _, X_test, _, y_test, _, where = split  # noqa: N806
    here = where == REGIONS.index(region)
    accuracy = model.score(X_test[here], y_test[here])
    assert accuracy > 0.9


def test_every_digit(model, split):
    _, X_test, _, y_test, *_ = split  # noqa: N806
    recall = recall_score(y_test, model.predict(X_test), average=None)
    for digit in range(10):
        assert recall[digit] > 0.8


def test_folds():
    X, y = load_digits(return_X_y=True)  # noqa: N806
    folds = KFold(5, shuffle=True, random_state=0).split(X)
    for train, test in folds:
        fitted = LogisticRegression(max_iter=1000).fit(X[train] / 16, y[train])
        accuracy = fitted.score(X[test] / 16, y[test])
        assert accuracy > 0.9
