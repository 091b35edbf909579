"""What the tracker costs for a case: a session that is sent, beside a script that sends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import probe, suites
from .bench import Bench
from .command import Figures, run
from .pairs import measure
from .peers import PLUGIN, PYTEST, SCRIPT
from .results import Table, duration
from .stores import Place, Store

_FEW = 100
# How many more, sent and scripted: a request takes longer than a row.
_MORE_ROWS = 4_000, 500
_MORE_REQUESTS = 1_000, 200
_SYNC = ("-c", "from pytest_mlflow_experiments.cli import main; main()", "sync")


def record(directory: Path, cases: int) -> None:
    """Run a session that is not sent."""
    suites.write(directory, suites.ASSERTIONS, cases)
    shutil.copy(probe.__file__, directory / "bench_probe.py")
    run([*PYTEST, *PLUGIN, "--mlflow", "--mlflow-offline"], directory)


def send(directory: Path, place: Place, code: tuple[str, ...] = _SYNC) -> Figures:
    """Send the sessions of a directory, and say what that cost."""
    return run(code, directory, env={"MLFLOW_TRACKING_URI": place.uri})


def each_case(bench: Bench, store: Store) -> None:
    """Measure one case more, of a session that is sent and of a script."""
    is_server = store.name.startswith("mlflow server")
    sent, scripted = _MORE_REQUESTS if is_server else _MORE_ROWS
    found = measure(
        ("sent", "scripted"),
        bench.rounds,
        lambda what, _: (
            _more(bench, store, _sent, sent)
            if what == "sent"
            else _more(bench, store, _scripted, scripted)
        ),
    )
    names = {"sent": "the tracker", "scripted": "three calls of MlflowClient in a row"}
    rows = [
        (
            name,
            duration(found.median(key, lambda one: one.wall)),
            duration(found.median(key, lambda one: one.cpu)),
        )
        for key, name in names.items()
    ]
    ratio = found.ratio("sent", "scripted", lambda one: one.wall)
    bench.results.add(
        Table(
            title=f"One case more in {store.name}",
            head=("", "wall", "CPU"),
            rows=rows,
            note=f"The tracker takes {ratio:.3f} times as long.",
        )
    )
    # A server on the same processors is busy with the three requests that both make of a case, and
    # all that several at a time can save is the way to it: the budget is one for a way.
    if store.name == "mlflow server, 50 ms away":
        name = f"the tracker, a case in {store.name}, to three calls of the client in a row"
        bench.results.hold(bench.budget(name, ratio, 1 / 3))
    elif not is_server:
        name = f"the tracker, a case in {store.name}"
        cost = found.median("sent", lambda one: one.wall)
        bench.results.hold(bench.timed(name, cost, 1e-3))


def sent_quickly(bench: Bench, store: Store) -> None:
    """Measure one case more of a session that is sent, without anything beside it."""
    found = measure(("sent",), bench.rounds, lambda *_: _more(bench, store, _sent, _MORE_ROWS[0]))
    cost = found.median("sent", lambda one: one.cpu)
    bench.results.hold(bench.timed(f"the tracker, a case in {store.name}", cost, 1e-3))


def _more(
    bench: Bench, store: Store, action: Callable[[Bench, Store, int], Figures], cases: int
) -> Figures:
    """Return what one case costs: the difference of a long and a short session has no start."""
    short, long = (action(bench, store, count) for count in (_FEW, _FEW + cases))
    return replace(long, wall=(long.wall - short.wall) / cases, cpu=(long.cpu - short.cpu) / cases)


def _sent(bench: Bench, store: Store, cases: int) -> Figures:
    with bench.directory() as directory:
        record(directory, cases)
        place = store.place(directory)
        before = place.count("runs")
        found = send(directory, place)
        assert place.count("runs") - before > cases
        return found


def _scripted(bench: Bench, store: Store, cases: int) -> Figures:
    with bench.directory() as directory:
        return SCRIPT.measure(directory, cases, store.place(directory))
