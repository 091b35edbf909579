"""The end of a session at a terminal: how soon the prompt is back, and MLflow complete."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median

from .bench import Bench
from .command import Figures, run
from .peers import OURS, PLAIN, PLUGIN, PYTEST
from .results import Table, duration
from .stores import Place, sqlite
from .tracker import record, send

_HISTORY = 10
_TWICE = """
import subprocess
import sys

for _ in range(2):
    subprocess.run([sys.executable, *{command!r}], check=True)
"""


def prompt(bench: Bench, cases: int = 1_000) -> None:
    """Measure a session at a terminal that has ten earlier ones to be compared with."""
    plain = bench.compare([PLAIN], cases, None).median(PLAIN.name, lambda one: one.end_wall)
    with bench.directory() as directory:
        place = sqlite(bench.template).place(directory)
        for _ in range(_HISTORY):
            record(directory, cases)
        send(directory, place)
        found = []
        for number in range(1, 2 * bench.rounds):
            found.append(OURS.measure(directory, cases, place, terminal=True))
            OURS.check(place, (_HISTORY + number) * cases)
        twice = _two_at_once(directory, place)
        OURS.check(place, (_HISTORY + len(found) + 2) * cases)
    first = bench.compare([replace(OURS, name="first")], cases, sqlite(bench.template))
    waits = median(one.end_wall for one in found)
    bench.results.add(
        Table(
            title=f"The end of a session of {cases:,} cases, SQLite",
            head=("", "seconds"),
            rows=[
                ("plain pytest: from the last test's end to the prompt", duration(plain)),
                ("at a terminal, with 10 sessions to compare with: to the prompt", duration(waits)),
                (
                    "from there until MLflow has everything, in the background",
                    duration(median(one.background_wall for one in found)),
                ),
                (
                    "the same where a second session is started at once",
                    duration(twice.background_wall),
                ),
                (
                    "in CI, the first session: until MLflow has everything",
                    duration(first.median("first", lambda one: one.end_wall)),
                ),
            ],
        ),
        bench.timed("from the last test's end to the prompt, at a desk", waits, 0.5),
    )


def _two_at_once(directory: Path, place: Place) -> Figures:
    """Run two sessions at a terminal, the second one as soon as the first gives the prompt back."""
    command = [*PYTEST, *PLUGIN, "--mlflow"]
    script = directory / "twice.py"
    script.write_text(_TWICE.format(command=command), encoding="utf-8")
    return run([script.name], directory, env={"MLFLOW_TRACKING_URI": place.uri}, terminal=True)


JUDGING = """
import json
import pathlib
import sys
import time

from pytest_mlflow_experiments.records import journal
from pytest_mlflow_experiments.regression.compare import compare_sessions
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.values import collect_values
from pytest_mlflow_experiments.session.builtin_hooks import REPORT_FORMATS

options = CompareOptions()
costs, sizes = {}, {}


def timed(name, action):
    start = time.process_time()
    result = action()
    costs[name] = time.process_time() - start
    return result


def read():
    return [collect_values(journal.read(pathlib.Path(path)), frozenset()) for path in sys.argv[2:]]


*old, new = timed("read", read)
for one in old[1:]:
    old[0].sessions.extend(one.sessions)
comparison = timed("judge", lambda: compare_sessions(new.sessions[-1], old[0], options))
for known in REPORT_FORMATS:
    text = timed(known.suffix, lambda: known.pytest_mlflow_render(comparison, known.suffix))
    # Some formats are made while they are written.
    if not isinstance(text, str):
        text = timed(known.suffix, lambda: "".join(text))
    sizes[known.suffix] = len(text)
pathlib.Path(sys.argv[1]).write_text(json.dumps([costs, sizes]))
"""


def judging(bench: Bench, cases: int = 10_000) -> None:
    """Measure how long it takes to judge a session and to render its reports."""
    with bench.directory() as directory:
        for _ in range(4):
            record(directory, cases)
        journals = sorted(directory.glob(".pytest_mlflow/*/journal.jsonl"))
        directory.joinpath("judging.py").write_text(JUDGING, encoding="utf-8")
        output = directory / "judged.json"
        run(["judging.py", str(output), *map(str, journals)], directory)
        costs, sizes = json.loads(output.read_bytes())
    names = {"read": "reading 4 sessions", "judge": "judging 4 metrics of each case"}
    rows = [
        (
            names.get(key, f"report{key}"),
            duration(cost),
            duration(cost / cases),
            f"{sizes[key] / 1e6:.1f} MB" if key in sizes else "",
        )
        for key, cost in costs.items()
    ]
    bench.results.add(
        Table(
            title=f"Judging and rendering {cases:,} cases",
            head=("", "CPU", "a case", "size"),
            rows=rows,
        )
    )
