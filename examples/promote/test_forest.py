"""Log a model in each case, and register the best one.

    pytest --mlflow examples/promote
    pytest-mlflow best
    pytest-mlflow promote wine

MLflow 3.17 saves models of scikit-learn with skops, which loads no type that it was not told to
trust. A forest has some of its own: without ``skops_trusted_types`` the first try fails, with an
error that lists them. Older releases of MLflow have no such argument.
"""

import inspect

import mlflow
import pytest
import sklearn
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

# What the model needs; without it, MLflow finds out by loading each model once more.
OPTIONS = {"pip_requirements": [f"scikit-learn=={sklearn.__version__}"]}
TRUSTED = ["sklearn.tree._tree.Tree", "numpy.dtype"]
if "skops_trusted_types" in inspect.signature(mlflow.sklearn.log_model).parameters:
    OPTIONS["skops_trusted_types"] = TRUSTED


@pytest.mark.mlflow(objective="accuracy")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("max_depth", [1, 2, 4])
def test_forest(max_depth, seed, mlflow_run):
    X_train, X_test, y_train, y_test = train_test_split(  # noqa: N806
        *load_wine(return_X_y=True), test_size=0.5, random_state=0
    )
    forest = RandomForestClassifier(20, max_depth=max_depth, random_state=seed)
    forest.fit(X_train, y_train)
    mlflow.sklearn.log_model(forest, name="model", **OPTIONS)

    accuracy = forest.score(X_test, y_test)
    assert accuracy > 0.5
