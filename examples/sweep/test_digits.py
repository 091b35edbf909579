"""A sweep: three hyperparameters of a small network, each choice with five seeds.

    pytest --mlflow -n 2 examples/sweep

The cases that differ in ``seed`` alone are repeats of one configuration: the report ranks the
configurations by the mean of their accuracy, and says which of them are no worse than the best as
far as five seeds can tell.
"""

from __future__ import annotations

import warnings

import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

EPOCHS = 30


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.mark.mlflow(objective="accuracy", mode="max")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weight_decay", [1e-4, 10.0])
@pytest.mark.parametrize("hidden", [16, 64])
@pytest.mark.parametrize("learning_rate", [1e-3, 3e-3, 1e-2, 3e-2])
def test_digits(digits, mlflow_case, learning_rate, hidden, weight_decay, seed):
    mlflow_case.log_input(digits, "digits")
    x, x_test, y, y_test = train_test_split(*digits, test_size=0.25, random_state=seed)
    scaler = StandardScaler().fit(x)
    x, x_test = scaler.transform(x), scaler.transform(x_test)
    model = MLPClassifier(
        hidden_layer_sizes=(hidden,),
        learning_rate_init=learning_rate,
        alpha=weight_decay,
        random_state=seed,
        warm_start=True,
        max_iter=1,
    )
    for epoch in range(EPOCHS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one epoch is never enough to converge
            model.fit(x, y)
        mlflow_case.log_metric("loss", model.loss_, step=epoch)
    accuracy = model.score(x_test, y_test)
    assert accuracy > 0.5
