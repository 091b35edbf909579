"""Keep what runs within an assertion out of what others say of the lines that a test runs."""

from __future__ import annotations

from types import FunctionType
from typing import Final, TypeVar

_F = TypeVar("_F")

_FILE: Final = "<pytest_mlflow_experiments>"


def unseen(function: _F) -> _F:
    """Give the code of a function the name of no file, as generated code has.

    Hypothesis explains a failure by the lines that all failing examples have run and no other, and
    would name ours. It passes over code without a file, and so does coverage.
    """
    assert isinstance(function, FunctionType)
    function.__code__ = function.__code__.replace(co_filename=_FILE)
    return function
