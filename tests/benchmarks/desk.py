"""Judging a session, and rendering its reports."""

from __future__ import annotations

import json

from .bench import Bench
from .command import run
from .results import Table, duration
from .tracker import record

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
