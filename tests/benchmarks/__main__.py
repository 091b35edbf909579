"""Measure, and say which budgets hold; the exit status is 1 where one does not."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import cases, desk, history, ideas, reports, tests_process, tracker
from .bench import Bench
from .command import CommandError
from .machine import describe
from .stores import Store, distant, fresh_sqlite, migrated, postgresql, server, sqlite

_PARTS = (
    *("process", "desk", "history", "judging", "reports"),
    *("tracker", "cases", "many", "workers", "ideas"),
)
_WITH_STORES = {"tracker", "cases", "many", "workers", "ideas"}
_STORES = ("sqlite", "server", "postgresql")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pytest-mlflow-bench-")))
        bench = Bench(
            root=root,
            template=migrated(root),
            rounds=2 if options.short else options.rounds,
            slack=3.0 if options.short else 1.0,
        )
        print(describe(), flush=True)
        bench.calibrate(500 if options.short else 2_000)
        print(f"{bench.unit:.2f} times as slow as the machine of the budgets", flush=True)
        if options.short:
            _short(bench)
        else:
            _whole(bench, set(options.parts or _PARTS), set(options.store or _STORES), stack)
    failed = [budget for budget in bench.results.budgets if not budget.holds]
    print(f"\nBudgets: {len(bench.results.budgets) - len(failed)} hold, {len(failed)} fail")
    for budget in bench.results.budgets:
        print(budget)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", type=_part, metavar="PART", help=f"of {', '.join(_PARTS)}; all"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often; default: %(default)s")
    parser.add_argument(
        "--store",
        action="append",
        choices=_STORES,
        help="measure on this one alone (repeatable); default: on all",
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="a minute's worth, for CI: three times each budget is allowed, and no peer needed",
    )
    return parser


def _part(text: str) -> str:
    # Before Python 3.12 `choices` refuses that there is none.
    if text not in _PARTS:
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r}, not of {', '.join(_PARTS)}")
    return text


def _short(bench: Bench) -> None:
    tests_process.start(bench)
    tests_process.each_test(bench, 500)
    tracker.sent_quickly(bench, sqlite(bench.template))
    history.prompt(bench, 300)


def _whole(bench: Bench, parts: set[str], names: set[str], stack: ExitStack) -> None:
    stores, http = _stores(bench, names, stack) if parts & _WITH_STORES else ([], None)
    if "process" in parts:
        tests_process.start(bench)
        tests_process.each_test(bench)
        tests_process.each_assertion(bench)
        tests_process.slow_tests(bench)
        tests_process.growth(bench)
    if "desk" in parts:
        history.prompt(bench)
    if "history" in parts:
        history.whole_commands(bench, 1_000, bench.rounds)
    if "judging" in parts:
        desk.judging(bench)
    if "reports" in parts:
        reports.bounds(bench)
    for store in stores:
        if "tracker" in parts:
            tracker.each_case(bench, store)
            if store is http:
                with distant(store) as far:
                    tracker.each_case(bench, far)
        if "cases" in parts:
            cases.thousand(bench, store)
        if "workers" in parts:
            cases.two_workers(bench, store)
    if "cases" in parts and "sqlite" in names:
        cases.thousand(bench, fresh_sqlite())
    if "many" in parts and "sqlite" in names:
        history.whole_commands(bench, 10_000, 1)
    if "many" in parts:
        for store in stores:
            cases.ten_thousand(bench, store)
    if "ideas" in parts:
        ideas.measure(bench, http)


def _stores(bench: Bench, names: set[str], stack: ExitStack) -> tuple[list[Store], Store | None]:
    """Return the stores to measure on, and the server among them."""
    stores: list[Store] = []
    http: Store | None = None
    if "sqlite" in names:
        stores.append(sqlite(bench.template))
    if "server" in names:
        http = stack.enter_context(server(bench.template, bench.root / "server"))
        stores.append(http)
    if "postgresql" in names:
        database = stack.enter_context(postgresql(bench.root / "postgres"))
        if database is None:
            print("PostgreSQL is not installed: nothing is measured on it", flush=True)
        else:
            stores.append(database)
    return stores, http


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandError as error:
        sys.exit(str(error))
