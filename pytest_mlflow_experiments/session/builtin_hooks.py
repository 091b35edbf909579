"""The built-in baselines and reports, as implementations of this package's hooks."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import pluggy
import pytest

from ..baseline.local import LocalCatalog, is_local_store, local_pin
from ..baseline.local_baseline import choose_local
from ..baseline.specs import BaselineError, BaselineRequest, parse_spec
from ..records import SessionHeader
from ..records.directory import SessionDirectory
from .settings import Settings

if TYPE_CHECKING:
    from ..regression.comparison import Comparison


@final
# Without slots: pluggy looks at all attributes, and Python 3.10 leaves one that raises.
@dataclass(frozen=True, eq=False)
class ReportFormat:
    """A format of reports as a plugin.

    ``suffix`` is that of its files, ``renderer`` the module and function that return the text or
    its pieces, and ``standard`` tells whether every session gets a report in this format.
    """

    suffix: str
    renderer: str
    standard: bool = True

    @pytest.hookimpl(trylast=True)
    def pytest_mlflow_render(
        self, comparison: Comparison, suffix: str
    ) -> str | Iterable[str] | None:
        """Render a comparison for a file with this format's suffix."""
        if suffix != self.suffix:
            return None
        # Imported here, for few sessions need all formats.
        module, _, function = self.renderer.partition(":")
        render = getattr(import_module(module, __package__), function)
        text: str | Iterable[str] = render(comparison)
        return text


REPORT_FORMATS: Final = (
    ReportFormat(".html", "..report.html.page:render_html"),
    ReportFormat(".md", "..report.markdown:render_markdown"),
    ReportFormat(".json", "..report.json:stream_json"),
    ReportFormat(".xml", "..report.junit:stream_junit", standard=False),
)
"""The formats described in the README."""

SUFFIXES: Final = tuple(known.suffix for known in REPORT_FORMATS)
STANDARD_SUFFIXES: Final = tuple(known.suffix for known in REPORT_FORMATS if known.standard)


def other_formats(hook: pluggy.HookRelay) -> list[str]:
    """Return the names of other plugins (for a conftest.py, its path) that render reports.

    Their suffixes are unknown until they are called.
    """
    return [
        implementation.plugin_name
        for implementation in hook.pytest_mlflow_render.get_hookimpls()
        if not isinstance(implementation.plugin, ReportFormat)
    ]


@final
@dataclass(frozen=True, eq=False)
class DefaultBaselines:
    """The baselines in files and on this machine; the tracker asks MLflow for others."""

    settings: Settings
    header: SessionHeader
    directory: SessionDirectory
    seed_params: AbstractSet[str]

    @pytest.hookimpl(trylast=True)
    def pytest_mlflow_baseline(self, request: BaselineRequest) -> Path | None:
        """Find the baseline in a file or on this machine.

        Raises:
            BaselineError: there is no such baseline, and MLflow can't be asked.
        """
        spec, target = parse_spec(request.spec), self.directory.local_baseline
        if spec.kind == "file":
            return Path(spec.value)
        offline = self.settings.offline
        if not offline and not is_local_store(self.settings.tracking_uri):
            return None
        catalog = LocalCatalog(
            self.settings.rootdir,
            tracking_uri=self.header.tracking_uri,
            experiment_name=self.header.experiment_name,
            experiment_id=self.header.experiment_id,
        )
        try:
            return target if choose_local(request, catalog, target, self.seed_params) else None
        except BaselineError:
            pinned = spec.kind == "auto" and local_pin(self.settings.rootdir) is not None
            if offline or pinned:
                raise
            return None
