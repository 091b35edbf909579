"""Stacked parametrize, a fixture with params, and several metrics in one test."""

import pytest
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Lasso, Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split


@pytest.fixture(params=[0.2, 0.3], ids=["20%", "30%"])
def data(request):
    return train_test_split(
        *load_diabetes(return_X_y=True), test_size=request.param, random_state=0
    )


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("model", [Ridge, Lasso])
def test_linear_model(model, alpha, data):
    X_train, X_test, y_train, y_test = data  # noqa: N806
    predicted = model(alpha=alpha).fit(X_train, y_train).predict(X_test)

    assert r2_score(y_test, predicted) > 0.3
    assert 40 < root_mean_squared_error(y_test, predicted) < 60
    assert mean_absolute_error(y_test, predicted) < 50


@pytest.mark.parametrize("seed", range(3))
def test_forest(seed):
    X_train, X_test, y_train, y_test = train_test_split(  # noqa: N806
        *load_diabetes(return_X_y=True), random_state=0
    )
    forest = RandomForestRegressor(n_estimators=50, max_depth=5, random_state=seed)
    scores = {"train": forest.fit(X_train, y_train).score(X_train, y_train)}
    scores["test"] = forest.score(X_test, y_test)

    assert scores["test"] == pytest.approx(0.2, abs=0.15)
    assert scores["train"] - scores["test"] < 0.7, "the forest learns its data by heart"
