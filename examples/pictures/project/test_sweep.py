"""The sweep of the pictures: 12 settings of a linear model, three seeds each."""

import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split


@pytest.mark.mlflow(objective="accuracy")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("eta0", [0.01, 0.1])
@pytest.mark.parametrize("alpha", [1e-4, 1e-3, 1e-2])
def test_linear(alpha, eta0, penalty, seed):
    X, y = load_digits(return_X_y=True)  # noqa: N806
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.4, random_state=seed)  # noqa: N806
    model = SGDClassifier(
        alpha=alpha, eta0=eta0, penalty=penalty, learning_rate="adaptive", random_state=seed
    )
    accuracy = model.fit(X, y).score(X_test, y_test)
    assert accuracy > 0.1
