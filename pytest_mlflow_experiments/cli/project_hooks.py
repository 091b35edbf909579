"""The hooks that commands call: the built-in ones, and the project's if needed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, final

import pluggy
import pytest
from _pytest.config import ConftestImportFailure, _prepareconfig

from ..analysis.location import UsageError, sessions_root
from ..session import hookspecs
from ..session.builtin_hooks import REPORT_FORMATS, SUFFIXES, other_formats
from .arguments import write_report

if TYPE_CHECKING:
    from ..regression import MetricSeries, Verdict
    from ..regression.comparison import Comparison


@final
class CommandHooks:
    """Renders and judges with the same hooks as pytest in this project.

    Its plugins and conftest.py files are loaded, which may take seconds, only if a report's format
    is not built in or a conftest.py implements a hook of this package. ``option`` says where to
    write ``reports``; ``judges`` tells whether the command judges metrics.

    Raises:
        UsageError: no hook renders one of the reports, or the project's plugins can't be loaded.
    """

    def __init__(self, option: str, reports: Sequence[Path], *, judges: bool = True) -> None:
        self._option = option
        self._config: pytest.Config | None = None
        unknown = [path for path in reports if path.suffix not in SUFFIXES]
        root = sessions_root()
        if unknown or ((reports or judges) and _mentions_hooks(root)):
            self._config = _load_project(root)
            manager: pluggy.PluginManager = self._config.pluginmanager
        else:
            manager = pluggy.PluginManager("pytest")
        for plugin in REPORT_FORMATS:
            manager.register(plugin)
        self._hook = manager.hook
        if not self._hook.pytest_mlflow_render.has_spec():
            # Pytest has not loaded our plugin: never, or as PYTEST_DISABLE_PLUGIN_AUTOLOAD says.
            manager.add_hookspecs(hookspecs)
        if unknown and not other_formats(self._hook):
            raise UsageError(f"{option} {unknown[0]}: expected one of {', '.join(SUFFIXES)}")

    def render(self, comparison: Comparison, path: Path) -> str | Iterable[str]:
        """Render the comparison in the format of a file, whole or piece by piece."""
        try:
            text: str | Iterable[str] | None = self._hook.pytest_mlflow_render(
                config=self._config, comparison=comparison, suffix=path.suffix
            )
        except Exception as error:
            raise UsageError(
                f"{path}: pytest_mlflow_render failed: {type(error).__name__}: {error}"
            ) from error
        if text is None:
            known = ", ".join((*SUFFIXES, *other_formats(self._hook)))
            raise UsageError(f"{self._option} {path}: expected one of {known}")
        return text

    def write(self, comparison: Comparison, paths: Sequence[Path]) -> None:
        """Write the comparison to files, each rendered in its format."""
        for path in paths:
            write_report(path, self.render(comparison, path))

    def rule(self, series: MetricSeries) -> Verdict | None:
        """Judge a metric by the project's rule; None without any."""
        verdict: Verdict | None = self._hook.pytest_mlflow_rule(series=series)
        return verdict


def _mentions_hooks(root: Path) -> bool:
    """Return whether an initial conftest.py contains the name of a hook of this package."""
    files = [*root.glob("conftest.py"), *root.glob("test*/conftest.py")]
    return any(b"pytest_mlflow_" in file.read_bytes() for file in files if file.is_file())


@final
class _KeepCoverage:
    """Prevents pytest-cov from deleting the data of the last test run."""

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Generator[None]:
        early_config.known_args_namespace.cov_source = None
        yield


def _load_project(root: Path) -> pytest.Config:
    """Load the project's plugins and conftest.py files as pytest does before collection."""
    # Without capturing, which would write to the command's own output what it has captured.
    arguments = ["-s"] if Path.cwd() == root else ["-s", str(root)]
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = _prepareconfig(arguments, [_KeepCoverage()])
    except (ConftestImportFailure, pytest.UsageError) as error:
        raise UsageError(f"the project's hooks can't be loaded: {error}") from error
    # Nothing is going to run: plugins put back what they replaced when they were loaded.
    config._ensure_unconfigure()
    return config
