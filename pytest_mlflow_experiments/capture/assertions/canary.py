"""Try out at start-up whether the transformation still fits the pytest at hand."""

from __future__ import annotations

from types import CodeType
from typing import Any, Final

import pytest

from . import recorder
from .recorder import Observation, Observations
from .transform import transform

_SOURCE: Final = b"""
def check(acc, old, approx):
    assert acc > 0.5
    assert 0.5 < acc <= 1.0, "out of range"
    assert acc < 0.1 or (acc >= old and not acc < old)
    assert (loss := 1 - acc) < 0.5
    assert acc == approx(0.75)
"""

_EXPECTED: Final = [
    ("acc", ">", 0.75, 0.5, True),
    ("acc", ">", 0.75, 0.5, True),
    ("acc", "<=", 0.75, 1.0, True),
    ("acc", "<", 0.75, 0.1, False),
    ("acc", ">=", 0.75, 0.25, True),
    ("acc", ">=", 0.75, 0.25, True),
    ("loss", "<", 0.25, 0.5, True),
    ("acc", "==", 0.75, 0.75, True),
]


class _Sink:
    def __init__(self) -> None:
        self.observations = Observations()
        self.dropped = 0


def mismatch(config: pytest.Config) -> str | None:
    """Return how pytest's rewriting differs from what the transformation expects, or None."""
    pytest_version = f"pytest {pytest.__version__}"
    try:
        code, tagged, injected = transform(_SOURCE, "<canary>", config, every_comparison=False)
        if not tagged == injected == len(_EXPECTED):
            return f"{pytest_version} rewrites assertions in a way that is not known yet"
        observations = _run(code)
    except Exception as error:  # noqa: BLE001 - whatever a future pytest raises
        return f"{pytest_version} rewrites assertions in a way that is not known yet ({error!r})"
    found = [(o.name, o.operator, o.value, o.limit, o.passed) for o in observations]
    if found != _EXPECTED:
        return f"{pytest_version} evaluates rewritten assertions in a way that is not known yet"
    return None


def _run(code: CodeType) -> list[Observation]:
    namespace: dict[str, Any] = {"__name__": "canary"}
    exec(code, namespace)
    sink = _Sink()
    outer, recorder.current = recorder.current, sink
    try:
        namespace["check"](0.75, 0.25, pytest.approx)
    finally:
        recorder.current = outer
    return list(sink.observations)
