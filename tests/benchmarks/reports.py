"""What reports of very large sessions cost: CPU, their sizes, and the memory to write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .bench import Bench
from .results import Table, duration

MANY_CASES = "20,000 cases of 4"
LARGE = {"100 cases of 2,000 metrics": (100, 2_000, 10), MANY_CASES: (20_000, 4, 20)}
"""Cases, metrics of each, sessions of the baseline."""

MEMORY = 100_000_000
SIZE = 5_000_000
WHOLE_MEMORY = 300_000_000
CPU = 4.0
"""Seconds that all reports of many cases may take, on the machine of the budgets."""

_SCRIPT = """
import json, pathlib, resource, sys, time, tracemalloc
from dataclasses import replace

from comparisons import make_metric, make_comparison, make_reliability, make_unjudged
from sweep_values import classifier, make_sweep

from pytest_mlflow_experiments.records.directory import write_report
from pytest_mlflow_experiments.report import github, metric_lines
from pytest_mlflow_experiments.session.builtin_hooks import REPORT_FORMATS

directory, cases, metrics, sessions, traced = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])
rss = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
models = {status: make_metric(status) for status in ("regressed", "missing", "new", "unchanged")}
rows = []
for case in range(cases):
    name = f"test_fit[model{case % 40}-{case}-0.05]"
    for number in range(metrics):
        odd = (case * metrics + number) % 2_500
        model = models[("regressed", "missing", "new")[odd] if odd < 3 else "unchanged"]
        base = 1.0 + number / 7
        rows.append(replace(
            model, case=f"tests/test_it.py::{name}", name=name, nodeid=f"tests/test_it.py::{name}",
            metric=f"metric_{number}", values=(base,), n=sessions,
            history=tuple(base + day / 1_000 for day in range(sessions)),
        ))
choices = [{"model": str(one % 40), "seed": str(one), "rate": f"{one / 977:.6f}"}
           for one in range(cases)]
sweep = replace(make_sweep(choices[:50], classifier), effects=())
like = sweep.configurations
sweep = replace(sweep, configurations=tuple(
    replace(like[place % 50], params=choice) for place, choice in enumerate(choices)))
comparison = make_comparison(
    *rows,
    sweeps=(sweep,),
    unjudged=tuple(
        make_unjudged("failed", f"tests/test_it.py::test_bad[{one}]") for one in range(cases // 50)
    ),
    reliability=tuple(map(make_reliability, dict.fromkeys(row.nodeid for row in rows))),
)
del rows, choices
if traced:
    tracemalloc.start()
before = rss()
costs = {}


def timed(name, action):
    start = time.process_time()
    action()
    costs[name] = time.process_time() - start


def write(known):
    text = known.pytest_mlflow_render(comparison, known.suffix)
    write_report(directory / f"report{known.suffix}", text)


for known in REPORT_FORMATS:
    timed(f"report{known.suffix}", lambda: write(known))
timed("step summary", lambda: github.add_to_step_summary(comparison))
timed("annotations", lambda: list(github.workflow_commands(comparison, directory)))
timed("terminal", lambda: [
    *metric_lines.change_lines(comparison, verbose=True),
    *metric_lines.verdict_lines(comparison, verbose=True),
])
memory = tracemalloc.get_traced_memory()[1] if traced else rss() - before
print(json.dumps({
    "memory": memory, "held": before, "costs": costs,
    "sizes": {one.suffix: (directory / f"report{one.suffix}").stat().st_size
              for one in REPORT_FORMATS},
}))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What all reports cost.

    Attributes:
        memory: bytes beyond ``held``, which the process takes with the comparison.
        sizes: bytes of each report.
        costs: seconds of CPU for each of them, and for what is printed.
    """

    memory: int
    held: int
    sizes: dict[str, int]
    costs: dict[str, float]


def write_all(directory: Path, cases: int, metrics: int, sessions: int, *, traced: bool) -> Cost:
    """Write all reports of a large comparison in a process of its own, and say what it took.

    ``traced`` measures what Python allocates, which is slow, instead of what the process takes.
    """
    numbers = map(str, (cases, metrics, sessions, int(traced)))
    printed = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(directory), *numbers],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(directory / "summary.md"),
        },
        capture_output=True,
        check=True,
    ).stdout
    return Cost(**json.loads(printed))


def bounds(bench: Bench) -> None:
    """Measure the reports of very large sessions."""
    for name, numbers in LARGE.items():
        with bench.directory() as directory:
            cost = write_all(directory, *numbers, traced=False)
            allocated = write_all(directory, *numbers, traced=True).memory
        total = sum(cost.costs.values())
        rows = [
            (part, duration(seconds), _size(cost.sizes.get(part.removeprefix("report"))))
            for part, seconds in cost.costs.items()
        ]
        bench.results.add(
            Table(
                title=f"Reports of a session of {name}",
                head=("", "CPU", "size"),
                rows=[*rows, ("all", duration(total), "")],
                note=f"Allocated {_size(allocated)}; the process grows by {_size(cost.memory)} "
                f"from {_size(cost.held)}.",
            ),
            bench.sized(f"memory for the reports of {name}", max(allocated, cost.memory), MEMORY),
            bench.sized(f"the HTML report of {name}", cost.sizes[".html"], SIZE),
        )
        if name == MANY_CASES:
            bench.results.hold(
                bench.timed(f"CPU for the reports of {name}", total, CPU),
                bench.sized(
                    f"memory of the process with {name}", cost.held + cost.memory, WHOLE_MEMORY
                ),
            )


def _size(number: int | None) -> str:
    return "" if number is None else f"{number / 1e6:.1f} MB"
