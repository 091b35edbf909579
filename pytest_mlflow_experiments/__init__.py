"""Record what pytest cases measure as MLflow runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis import compare, load_cases, load_metrics, load_sessions
    from .capture.mlflow_case import MlflowCase

__all__ = [
    "MlflowCase",
    "__version__",
    "compare",
    "load_cases",
    "load_metrics",
    "load_sessions",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: pytest loads this package at every start."""
    if name == "MlflowCase":
        from .capture.mlflow_case import MlflowCase

        return MlflowCase
    if name in __all__:
        from . import analysis

        return getattr(analysis, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
