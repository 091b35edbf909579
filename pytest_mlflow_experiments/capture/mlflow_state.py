"""Save MLflow's state in the process of a test before ``mlflow_run``, and restore it after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

_ACTIVE_MODEL: Final = ("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")
_ENVIRONMENT: Final = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_ID"),
    *("MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", *_ACTIVE_MODEL),
)
_THREAD_LOCAL: Final = (
    *("_active_run_stack", "_last_active_run_id", "_last_logged_model_id", "_ACTIVE_MODEL_CONTEXT"),
)


def _autologging() -> dict[str, dict[str, Any]]:
    """Return MLflow's autologging settings by library; a library without any is off."""
    from mlflow.utils import autologging_utils

    return getattr(autologging_utils, "AUTOLOGGING_INTEGRATIONS", {})


def forget_active_model() -> None:
    """Reset the active model: a store without it refuses metrics that are linked to it."""
    from mlflow.tracking import fluent

    for name in _ACTIVE_MODEL:
        os.environ.pop(name, None)
    context: Any = fluent._ACTIVE_MODEL_CONTEXT
    context.set(fluent.ActiveModelContext())


@contextmanager
def environment(variables: Mapping[str, str], also: Iterable[str] = ()) -> Iterator[None]:
    """Set environment variables in the block, then restore them and those in ``also``."""
    before = {name: os.environ.get(name) for name in (*variables, *also)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text


@contextmanager
def own_mlflow_state() -> Iterator[None]:
    """Restore MLflow's global state and environment variables after the block."""
    import mlflow
    from mlflow.tracking import _model_registry, _tracking_service, fluent

    names = {_model_registry.utils: "_registry_uri", fluent: "_active_experiment_id"}
    attributes = [(module, name, getattr(module, name, None)) for module, name in names.items()]
    tracking_uri = getattr(_tracking_service.utils, "_tracking_uri", None)
    known: list[Any] = [getattr(fluent, name) for name in _THREAD_LOCAL if hasattr(fluent, name)]
    variables = [(variable, variable.get()) for variable in known]
    autologging = {name: dict(config) for name, config in _autologging().items()}
    with environment({}, _ENVIRONMENT):
        # A run id from the caller is meant for the first run that the tests open, and a run that is
        # open already for those who opened it: neither is what this test logs to, nests below or
        # ends.
        os.environ.pop("MLFLOW_RUN_ID", None)
        known[0].set([])
        try:
            yield
        finally:
            # Not the attribute alone: traces go where the last call has said.
            mlflow.set_tracking_uri(tracking_uri)  # type: ignore[arg-type]
            for module, name, value in attributes:
                setattr(module, name, value)
            for variable, value in variables:
                variable.set(value)
            # What a test switches on with mlflow.autolog() would log its neighbours' models.
            for name, config in _autologging().items():
                config.clear()
                config.update(autologging.get(name, {}))
