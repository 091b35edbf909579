"""Judging sessions, small and large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .bench import Bench
from .results import Table, duration

LARGE: Final = {
    "20,000 cases of 4 metrics against 20 sessions": ("number", 20_000, 20, 6.0),
    "1,000 repeats of 3 metrics against 10 sessions": ("seed", 1_000, 10, 0.055),
}
"""The param of the cases, their number, the sessions of the baseline, and the budget in seconds."""

MEMORY: Final = 300_000_000
"""The bytes that the process may take which judges many cases, with all that it has read."""

_MAKE = """
import json, random, sys
from pathlib import Path

from sessions import PROVENANCE, make_case, make_check, make_session

from pytest_mlflow_experiments.baseline.kept_values import keep_values
from pytest_mlflow_experiments.baseline.local_baseline import LocalBaseline
from pytest_mlflow_experiments.records import journal
from pytest_mlflow_experiments.records.codec import encode
from pytest_mlflow_experiments.records.directory import SessionDirectory

root, param, cases, count = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
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


journals = []
for day in range(count + 1):
    session, path = make_session(), SessionDirectory(root / str(day)).journal
    path.parent.mkdir()
    with path.open("w", encoding="ascii") as file:
        entries = (session.header, *(case(one, day) for one in range(cases)), session.end)
        file.writelines(journal.encode(entry) + "\\n" for entry in entries)
    if day < count:
        keep_values(path)
        journals.append(str(path))
own = SessionDirectory(path.parent)
past = LocalBaseline(provenance=PROVENANCE, journals=tuple(journals))
own.local_baseline.write_text(json.dumps(encode(past)))
print(own.path)
"""

_JUDGE = """
import json, resource, sys, time
from pathlib import Path

from pytest_mlflow_experiments.baseline.kept_values import ValuesReader
from pytest_mlflow_experiments.baseline.local_baseline import read_baseline
from pytest_mlflow_experiments.records import journal
from pytest_mlflow_experiments.records.directory import SessionDirectory
from pytest_mlflow_experiments.records.processes import without_collector
from pytest_mlflow_experiments.regression.compare import compare_sessions
from pytest_mlflow_experiments.regression.comparer import SEED_PARAMS, CompareOptions
from pytest_mlflow_experiments.regression.values import collect_session

own = SessionDirectory(Path(sys.argv[1]))
steps = {}


def measured(name, action):
    start = time.process_time()
    with without_collector():
        found = action()
    cpu = time.process_time() - start
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps[name] = {"cpu": cpu, "memory": memory}
    return found


measured("start", lambda: None)
past = measured("reading", lambda: read_baseline(own, ValuesReader(SEED_PARAMS)))
now = measured("collecting", lambda: collect_session(journal.read(own.journal), SEED_PARAMS))
found = measured("judging", lambda: compare_sessions(now, past, CompareOptions()))
print(json.dumps({"steps": steps, "of": len(found.metrics)}))
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """What it took to judge a session.

    ``cpu`` are the seconds of each step, ``memory`` the most bytes that the process took until its
    end; ``of`` is the number of metrics.
    """

    cpu: dict[str, float]
    memory: dict[str, float]
    of: int


def judging(bench: Bench) -> None:
    """Measure how long it takes to judge sessions, small and large, as they lie on the disk."""
    for name, (param, cases, sessions, budget) in LARGE.items():
        with bench.directory() as directory:
            found = judge_many(directory, param, cases, sessions)
        rows = [
            (step, duration(cpu), duration(cpu / found.of), f"{found.memory[step] / 1e6:.0f} MB")
            for step, cpu in found.cpu.items()
        ]
        head = ("", "CPU", "of each metric", "the process takes at most, until then")
        bench.results.add(
            Table(title=f"Judging {name}", head=head, rows=rows),
            bench.timed(f"CPU to judge {name}", found.cpu["judging"], budget),
            bench.sized(f"memory of the process with {name}", max(found.memory.values()), MEMORY),
        )


def judge_many(root: Path, param: str, cases: int, sessions: int) -> Judged:
    """Judge a session of many cases in a process of its own; return what it took."""
    own = _run(_MAKE, str(root), param, str(cases), str(sessions))
    found = json.loads(_run(_JUDGE, own))
    cpu, memory = (
        {name: cost[key] for name, cost in found["steps"].items()} for key in ("cpu", "memory")
    )
    return Judged(cpu, memory, found["of"])


def _run(script: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
