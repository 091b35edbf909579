"""Data inputs: the session knows on which data a test ran.

    pytest --mlflow examples/inputs

Where the data change, the metrics are *not comparable* with those of before, instead of worse. In
MLflow they are a dataset of the run.
"""

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def test_wine(mlflow_case):
    X, y = load_wine(return_X_y=True, as_frame=True)  # noqa: N806
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)  # noqa: N806
    mlflow_case.log_input((X_train, y_train), "train", name="wine")
    mlflow_case.log_input((X_test, y_test), "test", name="wine")

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
    accuracy = model.score(X_test, y_test)
    assert accuracy > 0.9
