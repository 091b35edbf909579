"""The command ``pytest-mlflow``: what can be done with sessions outside of a pytest run."""

from .main import main

__all__ = ["main"]
