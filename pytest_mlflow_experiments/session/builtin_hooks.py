"""What comes with the plugin: the rule, the baselines and the reports, as ordinary hooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

import pytest

from ..baseline import (
    BaselineError,
    BaselineRequest,
    LocalCatalog,
    is_local_store,
    local_pin,
    make_baseline,
    parse_spec,
)
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
class DefaultReports:
    """The formats that the README tells of."""

    @pytest.hookimpl(trylast=True)
    def pytest_mlflow_render(self, comparison: Comparison, suffix: str) -> str | None:
        """Render a comparison."""
        from ..report.formats import render

        return render(comparison, suffix)


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
