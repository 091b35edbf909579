"""Trivial cases with 3 params and 3 metrics, on every store: this plugin beside its peers."""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench
from .pairs import Rounds
from .peers import FLUENT, JSON_REPORT, MARKED, OURS, PLAIN, SCRIPT, Peer, installed
from .results import Table
from .stores import Store

_HEAD = ("", "wall", "CPU", "memory", "wall / plain pytest", "this plugin's wall / its wall")
_ALL = (PLAIN, JSON_REPORT, OURS, SCRIPT, FLUENT, MARKED)


def thousand(bench: Bench, store: Store) -> None:
    """Compare all peers at 1,000 cases."""
    rounds = bench.rounds if store.name == "SQLite" else max(1, bench.rounds - 1)
    found = _compare(bench, _ALL, 1_000, store, rounds)
    if store.name == "SQLite":
        bench.results.hold(
            bench.budget(
                "1,000 cases on SQLite, the whole command to the fluent fixture's",
                found.ratio(OURS.name, FLUENT.name, lambda one: one.wall),
                1 / 5,
            )
        )


def ten_thousand(bench: Bench, store: Store) -> None:
    """Compare at 10,000 cases: on SQLite with what people write by hand too, which takes long."""
    if store.name != "SQLite":
        _compare(bench, (PLAIN, OURS), 10_000, store, 1)
        return
    found = _compare(bench, (PLAIN, JSON_REPORT, OURS, FLUENT), 10_000, store, 1)
    bench.results.hold(
        bench.budget(
            "10,000 cases on SQLite, the whole command to the fluent fixture's",
            found.ratio(OURS.name, FLUENT.name, lambda one: one.wall),
            1 / 30,
        )
    )


def two_workers(bench: Bench, store: Store) -> None:
    """Compare at 1,000 cases with two workers of pytest-xdist."""
    options = ("-p", "xdist.plugin", "-n", "2")
    peers = (PLAIN, OURS, FLUENT) if store.name == "SQLite" else (PLAIN, OURS)
    _compare(bench, peers, 1_000, store, 1, *options)


def _compare(
    bench: Bench, peers: Sequence[Peer], cases: int, store: Store, rounds: int, *options: str
) -> Rounds[str]:
    peers = installed(peers)
    found = bench.compare(peers, cases, store, *options, rounds=rounds)
    workers = ", two workers" if options else ""
    bench.results.add(table(found, f"{cases:,} cases, {store.name}{workers}"))
    return found


def table(found: Rounds[str], title: str, own: str = OURS.name) -> Table:
    """Return what whole commands cost; ``own`` is the one that the others are compared with."""
    rows = [_row(found, name, own) for name in found.figures]
    return Table(title=title, head=_HEAD, rows=rows)


def _row(found: Rounds[str], name: str, own: str) -> tuple[str, ...]:
    background = found.median(name, lambda one: one.background_memory) / 1e6
    return (
        name,
        f"{found.median(name, lambda one: one.wall):.2f} s",
        f"{found.median(name, lambda one: one.cpu):.2f} s",
        f"{found.median(name, lambda one: one.memory) / 1e6:.0f} MB"
        + (f" + {background:.0f} MB" if background else ""),
        f"{found.ratio(name, PLAIN.name, lambda one: one.wall):.1f}",
        f"{found.ratio(own, name, lambda one: one.wall):.3f}",
    )
