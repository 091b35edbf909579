"""What comes with the plugin: the rule, the baselines and the reports, as ordinary hooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import pluggy
import pytest

from ..baseline.files import make_baseline
from ..baseline.local import LocalCatalog, is_local_store, local_pin
from ..baseline.specs import BaselineError, BaselineRequest, parse_spec
from ..records import SessionHeader
from ..records.directory import SessionDirectory
from .settings import Settings

if TYPE_CHECKING:
    from ..regression import Verdict
    from ..regression.comparer import MetricSeries
    from ..regression.comparison import Comparison


@final
class DefaultRule:
    """The rule that the README tells of."""

    @pytest.hookimpl(trylast=True)
    def pytest_mlflow_rule(self, series: MetricSeries) -> Verdict | None:
        """Judge a metric."""
        from ..regression.comparer import default_rule

        return default_rule(series)


@final
class ReportFormat:
    """A format of reports as a plugin.

    Args:
        suffix: of the files in this format.
        render: makes the text; it imports what it needs itself, for few sessions need all formats.
        standard: whether every session gets a report in this format.
    """

    def __init__(
        self, suffix: str, render: Callable[[Comparison], str], *, standard: bool = True
    ) -> None:
        self.suffix = suffix
        self.standard = standard
        self._render = render

    @pytest.hookimpl(trylast=True)
    def pytest_mlflow_render(self, comparison: Comparison, suffix: str) -> str | None:
        """Render a comparison for a file with this format's suffix."""
        return self._render(comparison) if suffix == self.suffix else None


def _html(comparison: Comparison) -> str:
    from ..report.html.page import render_html

    return render_html(comparison)


def _markdown(comparison: Comparison) -> str:
    from ..report.markdown import render_markdown

    return render_markdown(comparison)


def _json(comparison: Comparison) -> str:
    from ..report.json import render_json

    return render_json(comparison)


def _junit(comparison: Comparison) -> str:
    from ..report.junit import render_junit

    return render_junit(comparison)


REPORT_FORMATS: Final = (
    ReportFormat(".html", _html),
    ReportFormat(".md", _markdown),
    ReportFormat(".json", _json),
    ReportFormat(".xml", _junit, standard=False),
)
"""The formats that the README tells of."""

SUFFIXES: Final = tuple(known.suffix for known in REPORT_FORMATS)
STANDARD_SUFFIXES: Final = tuple(known.suffix for known in REPORT_FORMATS if known.standard)


def other_formats(hook: pluggy.HookRelay) -> list[str]:
    """Return the names of the plugins, a conftest.py's path included, that render other formats.

    Which suffixes they know shows when they are asked to render.
    """
    return [
        implementation.plugin_name
        for implementation in hook.pytest_mlflow_render.get_hookimpls()
        if not isinstance(implementation.plugin, ReportFormat)
    ]


@final
class DefaultBaselines:
    """Files, and the sessions on this machine; for what they have not, the tracker asks MLflow."""

    def __init__(
        self, settings: Settings, header: SessionHeader, directory: SessionDirectory
    ) -> None:
        self._settings = settings
        self._header = header
        self._directory = directory

    @pytest.hookimpl(trylast=True)
    def pytest_mlflow_baseline(self, request: BaselineRequest) -> Path | None:
        """Find the baseline in a file or on this machine.

        Raises:
            BaselineError: there is no such baseline, and nobody else to ask.
        """
        spec, target = parse_spec(request.spec), self._directory.baseline
        if spec.kind == "file":
            return Path(spec.value)
        offline = self._settings.offline
        if not offline and not is_local_store(self._settings.tracking_uri):
            return None
        catalog = LocalCatalog(
            self._settings.rootdir,
            tracking_uri=self._header.tracking_uri,
            experiment_name=self._header.experiment_name,
            experiment_id=self._header.experiment_id,
        )
        try:
            made = make_baseline(request, catalog, target)
        except BaselineError:
            pinned = spec.kind == "auto" and local_pin(self._settings.rootdir) is not None
            if offline or pinned:
                raise
            made = None
        return target if made is not None else None
