"""The entry point: options, the marker and the fixtures; everything else only under ``--mlflow``.

Pytest imports this module at every start, so it imports nothing but pytest and what pytest has
loaded already.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from .session import hookspecs
from .session.options import MARKER, add_options, has_other_options, is_enabled

if TYPE_CHECKING:
    from mlflow import ActiveRun

    from .capture.mlflow_case import MlflowCase


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our options."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others can implement, also without ``--mlflow``."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start to watch assertions before the first conftest is imported."""
    if is_enabled(early_config, early_config.known_args_namespace):
        from .capture.plugin import watch_assertions
        from .session.settings import assertions_setting, remember_environment

        remember_environment(early_config)
        watch_assertions(early_config, assertions_setting(early_config))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and, under ``--mlflow``, the plugins that do the work."""
    config.addinivalue_line("markers", MARKER)
    if is_enabled(config):
        from .session.plugin import register

        register(config)
    elif config.option.mlflow is not False and (
        config.option.mlflow_gate or config.option.mlflow_require_baseline
    ):
        raise pytest.UsageError("--mlflow-gate: there is nothing to judge without --mlflow")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say in the header that mlflow options need --mlflow."""
    if config.option.mlflow is None and not is_enabled(config) and has_other_options(config):
        return "mlflow: off; --mlflow switches it on"
    return None


@pytest.fixture
def mlflow_case(request: pytest.FixtureRequest) -> MlflowCase:
    """Log params, metrics, tags and artifacts of this test case, by MLflow's own names.

    Costs microseconds and never contacts MLflow. Without --mlflow it accepts everything and keeps
    nothing.
    """
    from .capture.mlflow_case import case_of

    return case_of(request.node)


@pytest.fixture
def mlflow_seed(request: pytest.FixtureRequest) -> int:
    """Return a number for this test case to seed with: the same one in every session.

    Where --mlflow-rerun runs the case again, each fresh run has a new one, so that what chance does
    is told from what the code does.
    """
    from .capture.mlflow_case import seed_of

    return seed_of(request.node)


@pytest.fixture
def mlflow_run(request: pytest.FixtureRequest) -> Generator[ActiveRun, None, None]:
    """Open this test case's run in MLflow itself, active in this process, and yield it.

    mlflow.log_*, mlflow.autolog(), log_model and the like land in it. Without --mlflow the run
    lives in a throwaway store.
    """
    from .capture.mlflow_run import active_run

    with active_run(request) as run:
        yield run
