"""Note which tests were selected, deselected, skipped and failed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Sequence, Set
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, final

import pytest

from ..capture.params import with_file
from ..records.secrets import SHOWN_NODEID

_DESELECTED: Final = "mlflow_deselected"
_LEFT_OUT: Final = "mlflow_left_out"

# Options that pick tests, or parts of them, for the moment; what they leave out is not gone.
_PARTIAL_OPTIONS: Final = {"keyword": "-k", "lf": "--lf", "stepwise": "--stepwise"}
# Options that show something and run no test.
_SHOWING_OPTIONS: Final = (
    "collectonly",
    "setuponly",
    "setupplan",
    "showfixtures",
    "show_fixtures_per_test",
    "cacheshow",
)
# Options that may stand in every call of a project: what they choose is a selection of its own.
_SELECTION_OPTIONS: Final = {
    "markexpr": "-m",
    "deselect": "--deselect",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
}


@final
class Selection:
    """Follows, in every process, which tests were deselected, and which did not pass.

    ``not_run`` maps their node ids, or those of modules, to the outcome or "deselected"; ``passed``
    holds the node ids of the others. ``partial`` is the reason why a session is incomplete, and
    ``chosen`` the selection on the command line: sessions with the same one should have the same
    cases; ``whole`` tells that it seems to be all tests, ``has_begun`` that tests were to run. If
    pytest's node id contains a secret, all of them have the masked one; ``nodeids`` maps masked
    ones to pytest's own.

    ``shown`` returns the masked node id of a test.
    """

    def __init__(
        self, config: pytest.Config, shown: Callable[[pytest.Item], str] = attrgetter("nodeid")
    ) -> None:
        self._config = config
        self._shown = shown
        self.nodeids: dict[str, str] = {}
        self.not_run: dict[str, str] = {}
        self.passed: set[str] = set()
        self.chosen = _chosen(config)
        usual = {".", "test", "tests", *config.getini("testpaths")}
        if config.args_source.name == "TESTPATHS":
            usual |= {_relative(argument, config) for argument in config.args}
        self.whole = usual.issuperset(self.chosen)
        self.has_begun = False
        self._collected: list[pytest.Item] = []
        self._left_out = 0
        picked = [
            text for name, text in _PARTIAL_OPTIONS.items() if getattr(config.option, name, None)
        ]
        self.partial = picked[0] if picked else None

    def besides(self, recorded: Set[str]) -> dict[str, str]:
        """Return the outcomes of the tests that ran or were skipped, without the ``recorded``."""
        passed = dict.fromkeys(sorted(self.passed - recorded), "passed")
        return passed | {
            nodeid: outcome
            for nodeid, outcome in self.not_run.items()
            if outcome != "deselected" and nodeid not in recorded
        }

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Remember the tests that were collected, before anybody changes them."""
        self._collected = [*items]
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Note the tests that somebody took from the collection without pytest's own hook."""
        self.has_begun = True
        result = yield
        if self._collected and len(session.items) < len(self._collected):
            self._compare_with_collected(session)
        self._collected = []
        return result

    def _compare_with_collected(self, session: pytest.Session) -> None:
        left = {key for item in session.items for key in (item, item.nodeid)}
        gone = [
            item
            for item in self._collected
            if left.isdisjoint((item, item.nodeid)) and self._shown(item) not in self.not_run
        ]
        self.pytest_deselected(gone)
        self._left_out = len(gone)

    @property
    def shortened(self) -> str | None:
        """Say that somebody took tests from the collection and did not tell pytest, or None."""
        if not self._left_out:
            return None
        tests = "1 test was" if self._left_out == 1 else f"{self._left_out:,} tests were"
        return (
            f"{tests} left out by a plugin or conftest.py that did not call the hook "
            "pytest_deselected, which tells pytest of it"
        )

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note the tests that were deselected."""
        for item in items:
            self.not_run[self._shown(item)] = "deselected"

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Let the report tell the file, if its node id does not."""
        report = yield
        in_file = any(isinstance(node, pytest.File) for node in collector.listchain())
        if in_file and not report.passed:
            setattr(report, SHOWN_NODEID, with_file(collector, report.nodeid))
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note the modules and classes that were skipped or failed in collection."""
        nodeid = getattr(report, SHOWN_NODEID, report.nodeid)
        if not report.passed and nodeid:
            self.not_run[nodeid] = "skipped" if report.skipped else "error"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the tests that did not pass."""
        nodeid = plain_nodeid(report.nodeid)
        if (shown := getattr(report, SHOWN_NODEID, None)) is not None:
            if not hasattr(self._config, "workerinput"):
                # From a pytest-xdist worker it still has to travel.
                delattr(report, SHOWN_NODEID)
            self.nodeids[shown] = nodeid
            nodeid = shown
        if report.passed:
            if report.when == "call":
                self.passed.add(nodeid)
        elif report.skipped:
            self.not_run.setdefault(nodeid, "xfailed" if hasattr(report, "wasxfail") else "skipped")
        elif report.failed:
            # Neither a setup nor a teardown is the crash of a worker; pytest counts a failure.
            in_fixture = report.when in ("setup", "teardown")
            self.not_run[nodeid] = "error" if in_fixture else "failed"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Add what a pytest-xdist worker deselected, and note a crash."""
        output = getattr(node, "workeroutput", {})
        for nodeid in output.get(_DESELECTED, ()):
            self.not_run.setdefault(nodeid, "deselected")
        self._left_out = max(self._left_out, output.get(_LEFT_OUT, 0))
        if error:
            self.partial = f"worker {node.gateway.id} crashed"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Send what this worker deselected to the controller."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_LEFT_OUT] = self._left_out
            output[_DESELECTED] = sorted(
                nodeid for nodeid, outcome in self.not_run.items() if outcome == "deselected"
            )


def runs_no_test(config: pytest.Config) -> bool:
    """Return whether pytest was asked to show something instead of running tests."""
    return any(getattr(config.option, name, None) for name in _SHOWING_OPTIONS)


def plain_nodeid(nodeid: str) -> str:
    """Return a node id without the group suffix that pytest-xdist may add."""
    head, at, group = nodeid.rpartition("@")
    return head if at and "::" in head and "/" not in group else nodeid


def _chosen(config: pytest.Config) -> tuple[str, ...]:
    """Return the selection: paths relative to the rootdir, ``-m`` and the like."""
    chosen = [_relative(argument, config) for argument in config.args]
    for name, option in _SELECTION_OPTIONS.items():
        value = getattr(config.option, name, None) or []
        values = [value] if isinstance(value, str) else value
        chosen += [
            f"{option} {text if name == 'markexpr' else _relative(str(text), config)}"
            for text in values
        ]
    return tuple(sorted(set(chosen)))


def _relative(argument: str, config: pytest.Config) -> str:
    path, colons, test = argument.partition("::")
    with suppress(ValueError):  # it may be on another drive
        path = os.path.relpath(config.invocation_params.dir / path, config.rootpath)
    name, bracket, params = test.partition("[")
    if bracket:
        # The params may be secrets. Which of them are is known only when the tests are collected,
        # which is too late; and nobody reads them here, they are just compared.
        digest = hashlib.sha256(f"[{params}".encode("utf-8", "surrogatepass")).hexdigest()
        test = f"{name}[{digest[:12]}]"
    return f"{Path(path).as_posix()}{colons}{test}"
