"""Judging sessions, small and large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from .bench import Bench
from .results import Table, duration

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
    # Half never vary, as with frozen seeds; of the others some took a step, or fail at times.
    kind = number % 8
    accuracy = 0.7 + number % 29 / 100 + (kind > 3 and dice.gauss(0, 0.003))
    accuracy += 0.02 * (kind == 4 and day > 0.6 * count)
    accuracy -= 0.1 * (kind == 5 and dice.random() < 0.03)
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
    """Measure how long it takes to judge sessions, small and large."""
    rows = []
    for name, (param, cases, sessions, budget) in LARGE.items():
        cost = judge_many(param, cases, sessions)
        sizes = [f"{cost[key] / 1e6:.0f} MB" for key in ("memory", "held")]
        rows.append((name, duration(cost["cpu"]), duration(cost["cpu"] / cost["of"]), *sizes))
        bench.results.hold(bench.timed(f"CPU to judge {name}", cost["cpu"], budget))
    head = ("", "CPU", "of each metric", "the process grows by", "from")
    bench.results.add(Table(title="Judging", head=head, rows=rows))


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
