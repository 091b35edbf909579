"""Judging a large session, and rendering its reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

from sessions import make_case, make_session

from pytest_mlflow_experiments.records import journal

from .bench import Bench
from .command import run
from .results import Table, duration

JUDGING = """
import json
import pathlib
import resource
import sys
import time

from pytest_mlflow_experiments.records import journal
from pytest_mlflow_experiments.regression.compare import compare_sessions
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.values import collect_values
from pytest_mlflow_experiments.session.builtin_hooks import REPORT_FORMATS

options = CompareOptions()
costs, sizes, memory = {}, {}, {}


def timed(name, action):
    start = time.process_time()
    result = action()
    costs[name] = costs.get(name, 0.0) + time.process_time() - start
    memory[name] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result


def read():
    paths = map(pathlib.Path, sys.argv[2:])
    return [collect_values(journal.read_slim(path), options.seed_params) for path in paths]


*old, new = timed("read", read)
for one in old[1:]:
    old[0].sessions.extend(one.sessions)
comparison = timed("judge", lambda: compare_sessions(new.sessions[-1], old[0], options))
del old, new
for known in REPORT_FORMATS:
    text = timed(known.suffix, lambda: known.pytest_mlflow_render(comparison, known.suffix))
    # Some formats are made while they are written.
    if not isinstance(text, str):
        sizes[known.suffix] = timed(known.suffix, lambda: sum(map(len, text)))
    else:
        sizes[known.suffix] = len(text)
pathlib.Path(sys.argv[1]).write_text(json.dumps([costs, sizes, memory]))
"""


_METRICS = ("accuracy", "f1", "loss", "rmse")


def _write_session(path: Path, number: int, cases: int) -> None:
    """Write the journal of a session whose cases have four metrics that scatter."""
    dice = Random(number)
    session = make_session()
    header = replace(session.header, start_time=number * 3_600_000)
    assert session.end is not None
    with path.open("w", encoding="ascii") as file:
        file.write(f"{journal.encode(header)}\n")
        for case in range(cases):
            metrics = {name: dice.gauss(0.8, 0.002) for name in _METRICS}
            record = make_case(f"test_fit[model{case % 40}-{case}]", metrics=metrics)
            file.write(f"{journal.encode(record)}\n")
        file.write(f"{journal.encode(session.end)}\n")


def judging(bench: Bench, cases: int = 20_000, sessions: int = 20) -> None:
    """Measure how long it takes to judge a session and to render its reports."""
    with bench.directory() as directory:
        journals = [directory / f"{number}.jsonl" for number in range(sessions + 1)]
        for number, path in enumerate(journals):
            _write_session(path, number, cases)
        directory.joinpath("judging.py").write_text(JUDGING, encoding="utf-8")
        output = directory / "judged.json"
        run(["judging.py", str(output), *map(str, journals)], directory)
        costs, sizes, memory = json.loads(output.read_bytes())
    names = {
        "read": f"reading {sessions + 1} sessions",
        "judge": f"judging {len(_METRICS)} metrics of each case",
    }
    rows = [
        (
            names.get(key, f"report{key}"),
            duration(cost),
            duration(cost / cases),
            f"{sizes[key] / 1e6:.1f} MB" if key in sizes else "",
            f"{memory[key] / 1e6:.0f} MB",
        )
        for key, cost in costs.items()
    ]
    what = f"{cases:,} cases of {len(_METRICS)} metrics against {sessions} sessions"
    reports = sum(cost for key, cost in costs.items() if key in sizes)
    bench.results.add(
        Table(
            title=f"Judging and rendering {what}",
            head=("", "CPU", "a case", "size", "peak memory so far"),
            rows=rows,
        ),
        bench.timed(f"judging {what}", costs["judge"], 6.0),
        bench.timed(f"the reports of {what}", reports, 4.0),
    )
