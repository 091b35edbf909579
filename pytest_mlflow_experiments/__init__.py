"""Keep what pytest cases measure: every case an MLflow run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .capture.fixture import MlflowCase

__all__ = ["MlflowCase", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: pytest loads this package at every start."""
    if name == "MlflowCase":
        from .capture.fixture import MlflowCase

        return MlflowCase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
