"""Keep what runs within an assertion out of what others say of the lines that a test runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_FILE: Final = "<pytest_mlflow_experiments>"


def unseen(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return the function with the name of no file, as generated code has it.

    Hypothesis explains a failure by the lines that all failing examples have run and no other, and
    would name ours. It passes over code without a file, and so does coverage.
    """
    assert isinstance(function, FunctionType)
    copy: Callable[_P, _R] = FunctionType(
        function.__code__.replace(co_filename=_FILE),
        function.__globals__,
        function.__name__,
        function.__defaults__,
    )
    return update_wrapper(copy, function)
