"""What the process of the tests pays: for the start, a test, an assertion, a step; and memory."""

from __future__ import annotations

from dataclasses import replace

from . import pairs, suites
from .bench import REFERENCE, Bench
from .command import Figures, run
from .installed import pytest_alone, with_plugin
from .pairs import Rounds
from .peers import FLUENT, JSON_REPORT, OURS, PLAIN, installed
from .results import Table, duration
from .stores import sqlite

_OFFLINE = replace(OURS, options=(*OURS.options, "--mlflow-offline"), runs=0, metrics=0)
_HEAD = ("", "plain pytest", "pytest --mlflow", "added")


def start(bench: Bench) -> None:
    """Measure what the plugin costs where nobody asks for it."""
    with bench.directory() as directory:
        alone = pytest_alone(directory / "alone")
        paths = {
            "alone": alone,
            "installed": with_plugin(directory / "installed", alone),
            "unlisted": with_plugin(directory / "unlisted", alone, is_listed=False),
        }
        suite = directory / "suite"
        suite.mkdir()
        suites.write(suite, suites.NO_METRIC, 1)

        def measure(key: str, _: int) -> Figures:
            env = {"PYTHONPATH": str(paths[key]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
            return run(["-S", "-m", "pytest", "-q"], suite, env=env)

        found = pairs.measure(list(paths), max(15, 8 * bench.rounds), measure)
        output = suite.joinpath("output.txt").read_text(encoding="utf-8")
        assert "1 passed" in output, output
    whole = found.median("alone", lambda one: one.cpu)
    cost, own = (
        found.difference(key, "alone", lambda one: one.cpu) for key in ("installed", "unlisted")
    )
    bench.results.add(
        Table(
            title="pytest without --mlflow",
            head=("", "not installed", "installed", "added"),
            rows=[
                ("CPU of one test", f"{whole:.3f} s", f"{whole + cost:.3f} s", duration(cost)),
                (
                    "without the list of files that pytest reads of each plugin",
                    "",
                    "",
                    duration(own),
                ),
            ],
        ),
        bench.timed("pytest without --mlflow, its start", cost, 5e-3),
    )


def each_test(bench: Bench, cases: int = 1_000) -> None:
    """Measure what a test with 3 params and 3 metrics costs, and one that measures nothing."""
    # The process of the tests does the same where no tracker is at work beside it; two processes
    # that share a core slow each other down, whatever they do.
    alone = replace(_OFFLINE, name="offline")
    peers = installed([PLAIN, JSON_REPORT, alone])
    tested = bench.compare(peers, cases, None, rounds=2 * bench.rounds + 1)
    beside = bench.compare([PLAIN, OURS], cases, sqlite(bench.template))
    plain = replace(PLAIN, suite=suites.NO_METRIC)
    auto = replace(
        OURS, suite=suites.NO_METRIC, options=(*OURS.options, "--mlflow-track=auto"), metrics=0
    )
    idle = bench.compare([plain, auto], 2 * cases, sqlite(bench.template))
    # In units of plain pytest's own test within each round, however busy the machine was then.
    times = tested.ratio(alone.name, PLAIN.name, lambda one: one.tests_cpu)
    bench.results.add(
        Table(
            title="CPU of one test, in its process",
            head=_HEAD,
            rows=[
                _tests_row("with 3 params and 3 metrics", tested, alone.name, cases),
                _tests_row("the same while the tracker is at work", beside, OURS.name, cases),
                *(
                    _tests_row(f"the same with {peer.name}", tested, peer.name, cases)
                    for peer in installed([JSON_REPORT])
                ),
                _tests_row("without a metric, --mlflow-track=auto", idle, auto.name, 2 * cases),
            ],
        ),
        bench.timed(
            "a test with 3 params and 3 metrics, in its process",
            (times - 1) * REFERENCE * bench.unit,
            150e-6,
        ),
    )


def each_assertion(bench: Bench) -> None:
    """Measure what one assertion costs that is captured again and again, and one metric's step."""
    count = 100_000
    plain = replace(PLAIN, suite=suites.CHECKS)
    ours = replace(_OFFLINE, suite=suites.CHECKS)
    found = bench.compare([plain, ours], count, None)
    cost = found.difference(ours.name, plain.name, lambda one: one.calls) / count
    steps = 10_000
    logged = replace(OURS, suite=suites.STEPS, runs=0, metrics=1)
    fluent = replace(
        FLUENT,
        suite=suites.FLUENT_STEPS,
        conftest=suites.FLUENT_STEPS_CONFTEST,
        runs=0,
        metrics=1,
    )
    long = bench.compare([logged, fluent], steps, sqlite(bench.template), rounds=1)
    bench.results.add(
        Table(
            title="Within a test",
            head=("", "by hand", "pytest --mlflow"),
            rows=[
                (
                    "an assertion, 100,000 times",
                    duration(found.median(plain.name, lambda one: one.calls) / count),
                    duration(cost) + " more",
                ),
                *(
                    (
                        f"10,000 steps of a metric: {what}",
                        duration(long.median(fluent.name, of)),
                        duration(long.median(logged.name, of)),
                    )
                    for what, of in (
                        ("the test", lambda one: one.calls),
                        ("the whole command", lambda one: one.wall),
                    )
                ),
            ],
        )
    )


def slow_tests(bench: Bench) -> None:
    """Measure 200 cases of 50 ms."""
    plain = replace(PLAIN, suite=suites.SLOW)
    ours = replace(OURS, suite=suites.SLOW, metrics=2)
    found = bench.compare([plain, ours], 200, sqlite(bench.template))
    bench.results.add(
        Table(
            title="200 cases of 50 ms, SQLite",
            head=_HEAD,
            rows=[
                (
                    what,
                    f"{found.median(plain.name, of):.2f} s",
                    f"{found.median(ours.name, of):.2f} s",
                    duration(found.difference(ours.name, plain.name, of)),
                )
                for what, of in (
                    ("the tests", lambda one: one.tests_wall),
                    ("the end, until MLflow has everything", lambda one: one.end_wall),
                    ("the whole command", lambda one: one.wall),
                )
            ],
        )
    )


def growth(bench: Bench) -> None:
    """Measure how memory and CPU grow with the number of cases."""
    few, many = 1_000, 10_000
    small = bench.compare([PLAIN, _OFFLINE], few, None)
    large = bench.compare([PLAIN, _OFFLINE], many, None, rounds=max(1, bench.rounds - 1))

    def grows(name: str) -> float:
        found = (rounds.median(name, lambda one: one.memory) for rounds in (large, small))
        return (next(found) - next(found)) / (many - few)

    added = grows(OURS.name) - grows(PLAIN.name)
    bench.results.add(
        Table(
            title="From 1,000 to 10,000 cases",
            head=_HEAD,
            rows=[
                (
                    "memory a case",
                    f"{grows(PLAIN.name):,.0f} bytes",
                    f"{grows(OURS.name):,.0f} bytes",
                    f"{added:,.0f} bytes",
                ),
                _tests_row("CPU of a case of 1,000", small, OURS.name, few),
                _tests_row("CPU of a case of 10,000", large, OURS.name, many),
            ],
        ),
        bench.sized("memory of the process of the tests, a case", added, 2_048),
    )


def _added(found: Rounds[str], name: str) -> float:
    return found.difference(name, PLAIN.name, lambda one: one.tests_cpu)


def _tests_row(what: str, found: Rounds[str], name: str, cases: int) -> tuple[str, ...]:
    of = [found.median(key, lambda one: one.tests_cpu) / cases for key in (PLAIN.name, name)]
    return (what, *map(duration, of), duration(_added(found, name) / cases))
