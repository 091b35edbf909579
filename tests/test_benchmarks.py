"""The benchmark's own arithmetic; what it measures is run by ``tox -e bench``."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import __main__, suites
from benchmarks.bench import REFERENCE, Bench
from benchmarks.command import CommandError, Figures, run
from benchmarks.desk import judge_many
from benchmarks.pairs import measure
from benchmarks.peers import OURS, PLAIN
from benchmarks.results import Budget, Results, Table, duration
from benchmarks.stores import Place

NOTHING = Figures(
    wall=0.0, cpu=0.0, memory=0, background_cpu=0.0, background_memory=0, background_wall=0.0
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="orphans are waited for on Linux alone")


def test_order_alternates_and_ratios_are_within_rounds() -> None:
    seen: list[str] = []
    # The machine gets slower and slower, as the fifth time would take five times as long.
    cost = {"quick": 1.0, "slow": 3.0}

    def action(name: str, number: int) -> Figures:
        seen.append(name)
        return replace(NOTHING, wall=cost[name] * (number + 1))

    found = measure(["quick", "slow"], 3, action)
    assert seen == ["quick", "slow", "slow", "quick", "quick", "slow"]
    assert found.ratio("slow", "quick", lambda one: one.wall) == 3.0
    assert found.difference("slow", "quick", lambda one: one.wall) == 4.0
    assert found.median("slow", lambda one: one.wall) == 6.0


def test_a_budget_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    results = Results()
    results.add(Table(title="Cost", head=("", "s"), rows=[("a test", "1")]))
    results.hold(Budget(name="a", found=1.0, limit=1.0, unit="s"))
    results.hold(Budget(name="b", found=1.1, limit=1.0, unit="s"))
    assert [budget.holds for budget in results.budgets] == [True, False]
    printed = capsys.readouterr().out
    assert "**Cost**\n\n|  | s |\n| --- | ---: |\n| a test | 1 |" in printed
    assert "holds  a: 1 s, at most 1" in printed
    assert "FAILS  b: 1.1 s, at most 1" in printed


def test_times_are_told_for_the_machine_of_the_budgets(tmp_path: Path) -> None:
    bench = Bench(root=tmp_path, template=tmp_path, rounds=1, unit=2.0)
    budget = bench.timed("a test", 200e-6, 150e-6)
    assert (round(budget.found, 9), budget.limit, budget.unit) == (100.0, 150.0, "µs")
    assert budget.holds
    assert not replace(bench, unit=1.0).timed("a test", 200e-6, 150e-6).holds
    assert replace(bench, unit=1.0, slack=2.0).timed("a test", 200e-6, 150e-6).holds
    assert 1e-4 < REFERENCE < 1e-3


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.56e-5, "45.6 µs"), (0.0, "0 ns")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("param", "metrics"), [("number", 48), ("seed", 4)])
def test_what_judging_takes_is_counted(tmp_path: Path, param: str, metrics: int) -> None:
    cost = judge_many(tmp_path, param, 12, 5)
    assert cost.of == metrics
    assert [*cost.cpu] == [*cost.memory] == ["start", "reading", "collecting", "judging"]
    assert min(cost.cpu["reading"], cost.cpu["collecting"], cost.cpu["judging"]) > 0
    assert [*cost.memory.values()] == sorted(cost.memory.values())


def test_suites_are_python() -> None:
    texts = {name: text for name, text in vars(suites).items() if name.isupper()}
    assert len(texts) > 8
    for text in texts.values():
        ast.parse(suites.filled(text, 10))


@linux
def test_what_a_command_leaves_behind_is_counted(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    end = time.process_time() + 0.2\n"
        "    while time.process_time() < end: pass\n"
    )
    found = run(["-c", code], tmp_path)
    assert found.background_cpu >= 0.2
    assert found.background_wall > 0
    assert found.cpu >= found.background_cpu
    assert found.memory > 1e6


@linux
def test_a_peer_is_measured(tmp_path: Path) -> None:
    found = PLAIN.measure(tmp_path, 20, None)
    assert 0 < found.calls < found.tests_wall < found.wall
    assert 0 < found.end_wall < found.wall


@linux
def test_a_command_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="ended with 3:\nno luck"):
        run(["-c", "print('no luck'); raise SystemExit(3)"], tmp_path)


def test_nobody_is_quick_by_leaving_something_out(tmp_path: Path, migrated_database: Path) -> None:
    uri = f"sqlite:///{migrated_database}"
    with pytest.raises(AssertionError, match="0 runs, not 5"):
        OURS.check(Place(uri=uri, database=uri), 5)
    nowhere = f"sqlite:///{tmp_path / 'none.db'}"
    assert Place(uri=nowhere, database=nowhere).count("runs") == 0
    assert not (tmp_path / "none.db").exists()


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        __main__.main(["everything"])
    assert "invalid choice: 'everything'" in capsys.readouterr().err


def test_all_parts_are_measured_where_none_is_named() -> None:
    assert __main__._parser().parse_args([]).parts == []
