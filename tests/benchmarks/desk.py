"""Judging a large session, and rendering its reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

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


LARGE: Final = {
    "20,000 cases of 4 metrics against 20 sessions": ("number", 20_000, 20, 6.0),
    "1,000 repeats of 3 metrics against 10 sessions": ("seed", 1_000, 10, 0.055),
}
"""The param of the cases, their number, the sessions of the baseline, and the budget in seconds."""

_SESSIONS = """
import json, random, resource, sys, time

from sessions import baseline, make_case, make_check, make_session

from pytest_mlflow_experiments.regression.compare import compare_sessions
from pytest_mlflow_experiments.regression.comparer import CompareOptions

param, cases, count = sys.argv[1], *map(int, sys.argv[2:])
rss = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dice = random.Random(7)


def case(number, day):
    # One of four never varies, one took a step, one fails now and then, all others scatter.
    noise = (0.0, 0.003, 0.003, 0.01)[number % 4]
    accuracy = 0.7 + number % 29 / 100 + dice.gauss(0, noise)
    accuracy += 0.02 * (number % 4 == 1 and day > 0.6 * count)
    accuracy -= 0.1 * (number % 4 == 2 and dice.random() < 0.03)
    values = {"accuracy": accuracy, "f1": accuracy - 0.1, "loss": 1 - accuracy}
    return make_case(
        f"test_fit[{number}]",
        metrics=values,
        checks=[make_check(name, value, 0.01) for name, value in values.items()],
        durations={"call": dice.uniform(0.001, 0.002)},
        params={param: str(number)},
        arguments=(param,),
    )


*past, now = [make_session(*[case(one, day) for one in range(cases)]) for day in range(count + 1)]
past = baseline(*past)
before, start = rss(), time.process_time()
found = compare_sessions(now, past, CompareOptions())
cpu = time.process_time() - start
print(json.dumps({"cpu": cpu, "memory": rss() - before, "held": before, "of": len(found.metrics)}))
"""


def judging(bench: Bench) -> None:
    """Measure how long it takes to judge sessions, small and large, and to render their reports."""
    rows = []
    for name, (param, cases, sessions, budget) in LARGE.items():
        cost = judge_many(param, cases, sessions)
        sizes = [f"{cost[key] / 1e6:.0f} MB" for key in ("memory", "held")]
        rows.append((name, duration(cost["cpu"]), duration(cost["cpu"] / cost["of"]), *sizes))
        bench.results.hold(bench.timed(f"CPU to judge {name}", cost["cpu"], budget))
    head = ("", "CPU", "of each metric", "the process grows by", "from")
    bench.results.add(Table(title="Judging", head=head, rows=rows))
    _judging_and_rendering(bench)


def judge_many(param: str, cases: int, sessions: int) -> dict[str, float]:
    """Judge a session of many cases in a process of its own; return what it took.

    ``cpu`` is in seconds; ``memory`` is how many bytes the process grew by, ``held`` what it took
    before; ``of`` is the number of metrics that were judged.
    """
    printed = subprocess.run(
        [sys.executable, "-c", _SESSIONS, param, str(cases), str(sessions)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=True,
    ).stdout
    found: dict[str, float] = json.loads(printed)
    return found


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


def _judging_and_rendering(bench: Bench, cases: int = 20_000, sessions: int = 20) -> None:
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
