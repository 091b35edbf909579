"""Sessions as people have them: with ten earlier ones of the same suite in the directory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from .bench import Bench
from .cases import table
from .command import Figures, run
from .pairs import measure
from .peers import FLUENT, OURS, PLAIN, PLUGIN, PYTEST, Peer
from .results import Table, duration
from .stores import Place, sqlite
from .tracker import record, send

SESSIONS: Final = 10
_CI: Final = replace(OURS, name="pytest --mlflow, in CI", env={"CI": "1"})
_DESK: Final = replace(OURS, name="pytest --mlflow, at a terminal")
_TWICE: Final = """
import subprocess
import sys

for _ in range(2):
    subprocess.run([sys.executable, *{command!r}], check=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A directory with earlier sessions of so many cases, all of them in MLflow."""

    directory: Path
    place: Place
    cases: int

    def session(self, peer: Peer) -> Figures:
        """Run one more session, say what it cost, and forget it here, but not in MLflow."""
        earlier, before = set(self._sessions()), self.place.count("runs")
        found = peer.measure(self.directory, self.cases, self.place, terminal=peer is _DESK)
        OURS.check(self.place, self.cases, before)
        for new in set(self._sessions()) - earlier:
            shutil.rmtree(new)
        return found

    def _sessions(self) -> Iterator[Path]:
        return (one.parent for one in self.directory.glob(".pytest_mlflow/*/journal.jsonl"))


@contextmanager
def history(bench: Bench, cases: int) -> Iterator[History]:
    """Make a directory with earlier sessions, and MLflow's database with their runs."""
    with bench.directory() as directory:
        place = sqlite(bench.template).place(directory)
        for _ in range(SESSIONS):
            record(directory, cases)
        send(directory, place)
        past = History(directory=directory, place=place, cases=cases)
        # What the first of them makes for all later ones is no cost of theirs.
        past.session(_CI)
        yield past


def whole_commands(bench: Bench, cases: int, rounds: int) -> None:
    """Compare sessions that have a history with plain pytest and what people write by hand."""
    peers = {peer.name: peer for peer in (PLAIN, _CI, _DESK, FLUENT)}
    with history(bench, cases) as past:

        def once(name: str, _: int) -> Figures:
            if (peer := peers[name]) in (_CI, _DESK):
                return past.session(peer)
            with bench.directory() as directory:
                return peer.measure(directory, cases, sqlite(bench.template).place(directory))

        found = measure(list(peers), rounds, once)
    what = f"{cases:,} cases, SQLite, {SESSIONS} sessions of history"
    bench.results.add(table(found, what, _CI.name))
    to_plain, to_fluent = (
        found.ratio(_CI.name, name, lambda one: one.wall) for name in (PLAIN.name, FLUENT.name)
    )
    waits = found.median(_DESK.name, lambda one: one.end_wall)
    if cases == 1_000:
        bench.results.hold(
            bench.budget(f"{what}, in CI, to plain pytest", to_plain, 2.5),
            bench.budget(f"{what}, in CI, to the fluent fixture", to_fluent, 1 / 10),
            bench.timed(f"{what}, at a desk: from the last test to the prompt", waits, 0.4),
        )
    else:
        bench.results.hold(bench.budget(f"{what}, in CI, to the fluent fixture", to_fluent, 1 / 30))


def prompt(bench: Bench, cases: int = 1_000) -> None:
    """Measure how soon the prompt is back at a terminal, and MLflow complete."""
    plain = bench.compare([PLAIN], cases, None).median(PLAIN.name, lambda one: one.end_wall)
    with history(bench, cases) as past:
        found = [past.session(_DESK) for _ in range(2 * bench.rounds - 1)]
        before = past.place.count("runs")
        twice = _two_at_once(past.directory, past.place)
        OURS.check(past.place, 2 * cases, before)
    waits = median(one.end_wall for one in found)
    bench.results.add(
        Table(
            title=f"The end of a session of {cases:,} cases, SQLite, {SESSIONS} of history",
            head=("", "seconds"),
            rows=[
                ("plain pytest: from the last test's end to the prompt", duration(plain)),
                ("at a terminal: to the prompt", duration(waits)),
                (
                    "from there until MLflow has everything, in the background",
                    duration(median(one.background_wall for one in found)),
                ),
                (
                    "the same where a second session is started at once",
                    duration(twice.background_wall),
                ),
            ],
        ),
        bench.timed("from the last test's end to the prompt, at a desk", waits, 0.4),
    )


def _two_at_once(directory: Path, place: Place) -> Figures:
    """Run two sessions at a terminal, the second one as soon as the first gives the prompt back."""
    command = [*PYTEST, *PLUGIN, "--mlflow"]
    script = directory / "twice.py"
    script.write_text(_TWICE.format(command=command), encoding="utf-8")
    return run([script.name], directory, env={"MLFLOW_TRACKING_URI": place.uri}, terminal=True)
