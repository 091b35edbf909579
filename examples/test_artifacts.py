"""The fixture ``mlflow_case``: curves, tables, figures and tags beside the asserted metrics."""

import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import ConfusionMatrixDisplay, classification_report
from sklearn.model_selection import train_test_split


@pytest.mark.mlflow(case="digits-sgd", tags={"team": "vision"})
def test_digits(mlflow_case):
    X, y = load_digits(return_X_y=True)  # noqa: N806
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)  # noqa: N806
    model = SGDClassifier(loss="log_loss", random_state=0)
    mlflow_case.log_params({"loss": model.loss, "train_rows": len(X_train)})

    for epoch in range(10):
        model.partial_fit(X_train, y_train, classes=range(10))
        mlflow_case.log_metric("train_accuracy", model.score(X_train, y_train), step=epoch)

    predicted = model.predict(X_test)
    report = classification_report(y_test, predicted, output_dict=True)
    mlflow_case.log_table(
        {"digit": list(range(10)), "f1": [report[str(digit)]["f1-score"] for digit in range(10)]},
        "f1_by_digit.json",
    )
    figure = Figure()
    ConfusionMatrixDisplay.from_predictions(y_test, predicted, ax=figure.subplots())
    mlflow_case.log_figure(figure, "confusion_matrix.png")

    assert report["accuracy"] > 0.9
