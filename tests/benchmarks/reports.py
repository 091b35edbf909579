"""What reports of very large sessions cost: their sizes, and the memory to write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .bench import Bench
from .results import Table

LARGE = {"100 cases of 2,000 metrics": (100, 2_000, 10), "20,000 cases of 4": (20_000, 4, 20)}
"""Cases, metrics of each, sessions of the baseline."""

MEMORY = 100_000_000
SIZE = 5_000_000

_SCRIPT = """
import json, pathlib, resource, sys, tracemalloc
from dataclasses import replace

from comparisons import make_metric, make_comparison, make_unjudged
from sweep_values import classifier, make_sweep

from pytest_mlflow_experiments.records.directory import write_report
from pytest_mlflow_experiments.report import github
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
comparison = make_comparison(*rows, sweeps=(sweep,), unjudged=tuple(
    make_unjudged("failed", f"tests/test_it.py::test_bad[{one}]") for one in range(cases // 50)))
del rows, choices
if traced:
    tracemalloc.start()
before = rss()
for known in REPORT_FORMATS:
    write_report(
        directory / f"report{known.suffix}", known.pytest_mlflow_render(comparison, known.suffix)
    )
github.add_to_step_summary(comparison)
github.workflow_commands(comparison, directory)
memory = tracemalloc.get_traced_memory()[1] if traced else rss() - before
print(json.dumps({
    "memory": memory, "held": before,
    "sizes": {one.suffix: (directory / f"report{one.suffix}").stat().st_size
              for one in REPORT_FORMATS},
}))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes: of memory beyond ``held``, the process with the comparison, and of each report."""

    memory: int
    held: int
    sizes: dict[str, int]


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
    rows: list[tuple[str, ...]] = []
    for name, numbers in LARGE.items():
        with bench.directory() as directory:
            cost = write_all(directory, *numbers, traced=False)
            allocated = write_all(directory, *numbers, traced=True).memory
        figures = (allocated, cost.memory, cost.held, *cost.sizes.values())
        rows.append((name, *(f"{figure / 1e6:.1f} MB" for figure in figures)))
        bench.results.hold(
            bench.sized(f"memory for the reports of {name}", max(allocated, cost.memory), MEMORY),
            bench.sized(f"the HTML report of {name}", cost.sizes[".html"], SIZE),
        )
    head = ("", "allocated", "process grows by", "from", *(f"report{one}" for one in cost.sizes))
    bench.results.add(Table(title="Reports of large sessions", head=head, rows=rows))
