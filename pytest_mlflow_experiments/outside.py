"""MLflow's environment as it was given to pytest, whatever the tests' own code says to MLflow.

``mlflow.set_tracking_uri`` and ``mlflow.set_experiment`` change the environment too. A conftest
that calls them, to give its tests a store of their own, means its tests and not the sessions here.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import pytest

_SET_BY_CALLS: Final = {
    "MLFLOW_TRACKING_URI": ("mlflow.tracking._tracking_service.utils", "_tracking_uri"),
    "MLFLOW_EXPERIMENT_ID": ("mlflow.tracking.fluent", "_active_experiment_id"),
}
_BEFORE: Final = pytest.StashKey[dict[str, str]]()


def remember_environment(config: pytest.Config) -> None:
    """Note what may change; to be called before the first conftest is imported."""
    config.stash[_BEFORE] = {name: os.environ[name] for name in _SET_BY_CALLS if name in os.environ}


def mlflow_variable(config: pytest.Config, name: str) -> str | None:
    """Return a variable of the environment, as it was before a call of MLflow's changed it."""
    value = os.environ.get(name) or None
    module, attribute = _SET_BY_CALLS.get(name, ("", ""))
    # What is loaded is looked at; nothing is loaded for it.
    if value is not None and value == getattr(sys.modules.get(module), attribute, None):
        return config.stash.get(_BEFORE, {}).get(name) or None
    return value
