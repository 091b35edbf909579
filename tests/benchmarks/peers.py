"""The peers: what keeps the results of tests, and how each is run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from . import probe, suites
from .command import Figures, run
from .stores import Place

PYTEST: Final = ("-m", "pytest", "-q", "-p", "bench_probe")
PLUGIN: Final = ("-p", "pytest_mlflow_experiments.plugin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way to do the work.

    ``runs`` and ``metrics`` are how many rows there must be in the store afterwards, of each case
    and of each session: nobody is quick by leaving something out.
    """

    name: str
    suite: str
    conftest: str = ""
    options: tuple[str, ...] = ()
    needs: str | None = None
    is_script: bool = False
    runs: int = 0
    metrics: int = 0
    env: dict[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Whether what it needs can be imported."""
        return self.needs is None or find_spec(self.needs) is not None

    def measure(
        self,
        directory: Path,
        count: int,
        place: Place | None,
        *options: str,
        terminal: bool = False,
    ) -> Figures:
        """Do the work in an empty directory, once, and say what it cost."""
        directory.mkdir(parents=True, exist_ok=True)
        env = dict(self.env)
        if place is not None:
            env["MLFLOW_TRACKING_URI"] = place.uri
        runs, metrics = _rows(place) if place is not None and self.metrics else (0, 0)
        if self.is_script:
            directory.joinpath("script.py").write_text(
                suites.filled(self.suite, count), encoding="utf-8"
            )
            figures = run(["script.py"], directory, env=env)
        else:
            suites.write(directory, self.suite, count, conftest=self.conftest)
            shutil.copy(probe.__file__, directory / "bench_probe.py")
            command = [*PYTEST, *self.options, *options]
            figures = run(command, directory, env=env, terminal=terminal)
        if place is not None and self.metrics and not terminal:
            self.check(place, count, runs, metrics)
        return figures

    def check(self, place: Place, count: int, runs: int = 0, metrics: int = 0) -> None:
        """Make sure that the store has it all.

        Raises:
            AssertionError: it has not.
        """
        found, wanted = _rows(place), (runs + self.runs * count, metrics + self.metrics * count)
        assert found[0] >= wanted[0], f"{self.name}: {found[0]} runs, not {wanted[0]}"
        assert found[1] >= wanted[1], f"{self.name}: {found[1]} metrics, not {wanted[1]}"


def _rows(place: Place) -> tuple[int, int]:
    return place.count("runs"), place.count("metrics")


PLAIN: Final = Peer(name="plain pytest", suite=suites.ASSERTIONS)
OURS: Final = Peer(
    name="pytest --mlflow",
    suite=suites.ASSERTIONS,
    options=(*PLUGIN, "--mlflow"),
    runs=1,
    metrics=4,
)
FLUENT: Final = Peer(
    name="fluent fixture",
    suite=suites.FLUENT,
    conftest=suites.FLUENT_CONFTEST,
    runs=1,
    metrics=3,
)
SCRIPT: Final = Peer(
    name="MlflowClient script", suite=suites.SCRIPT, is_script=True, runs=1, metrics=3
)
MARKED: Final = Peer(
    name="MLflow's own plugin",
    suite=suites.MARKED,
    options=("-p", "mlflow.pytest.plugin"),
    needs="mlflow.pytest",
    metrics=3,
)
JSON_REPORT: Final = Peer(
    name="pytest-json-report",
    suite=suites.ASSERTIONS,
    options=("-p", "pytest_jsonreport.plugin", "--json-report"),
    needs="pytest_jsonreport",
)


def installed(peers: Sequence[Peer]) -> list[Peer]:
    """Return those of the peers that are there."""
    return [peer for peer in peers if peer.is_installed]
