"""The hooks that users and plugins can implement, in a ``conftest.py`` or a plugin of their own.

The built-in baselines and reports are implementations of these hooks that come last.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..baseline.specs import BaselineRequest
    from ..regression import MetricSeries, Verdict
    from ..regression.comparison import Comparison


@pytest.hookspec(firstresult=True)
def pytest_mlflow_rule(series: MetricSeries) -> Verdict | None:
    """Judge one metric of one case.

    Called for every metric at the end of the session and, with ``--mlflow-rerun``, after the case
    in the process that ran it, and after each of its fresh runs. Return None to leave the metric to
    others, and in the end to the built-in rule, which judges all of these together.
    """


@pytest.hookspec(firstresult=True)
def pytest_mlflow_baseline(config: pytest.Config, request: BaselineRequest) -> Path | None:
    """Find the sessions to compare with.

    Called once, before the first test. Return a file of one or more sessions (``journal.jsonl``,
    ``results.jsonl`` or what ``pytest-mlflow baseline export`` writes), or None to leave it to
    others: to the files and the sessions on this machine, and to MLflow. An implementation may
    understand values of ``--mlflow-baseline`` of its own. An exception is a baseline that can't be
    read: it is told, and fails a gated session.
    """


@pytest.hookspec(firstresult=True)
def pytest_mlflow_render(
    config: pytest.Config, comparison: Comparison, suffix: str
) -> str | Iterable[str] | None:
    """Render a comparison in the format of files with ``suffix``, such as ``.html``.

    Return the text, whole or as pieces that need not be in memory together, or None for a format
    that is somebody else's. With an implementation for ``.csv``, ``--mlflow-report comparison.csv``
    works.
    """


@pytest.hookspec()
def pytest_mlflow_compared(config: pytest.Config, comparison: Comparison) -> None:
    """Do something with the finished comparison, before the reports are written.

    Called at the end of the session in the controller, also where there is no baseline.
    """
