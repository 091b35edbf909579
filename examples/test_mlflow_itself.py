"""The fixture ``mlflow_run``: MLflow's own API, in the run of this test case."""

import mlflow
import pytest
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier


@pytest.mark.parametrize("max_depth", [2, 4])
def test_wine(max_depth, mlflow_run):
    X_train, X_test, y_train, y_test = train_test_split(  # noqa: N806
        *load_wine(return_X_y=True), random_state=0
    )
    model = DecisionTreeClassifier(max_depth=max_depth, random_state=0).fit(X_train, y_train)
    mlflow.log_input(mlflow.data.from_numpy(X_train, targets=y_train, name="wine"), "train")
    mlflow.log_dict({"leaves": int(model.get_n_leaves())}, "tree.json")

    accuracy = model.score(X_test, y_test)
    assert accuracy > 0.8
