"""The command ``pytest-mlflow``: what can be done with sessions without a pytest run.

There is one module for each command. Which case ``promote`` takes (``candidate``) and what speaks
against it (``admission``) stand here too: nothing else asks that, and it takes kept sessions,
MLflow's registry and the words of reports together.
"""

from .main import main

__all__ = ["main"]
