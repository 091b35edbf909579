"""The sweeps of a session, and the one that a command works with."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ..analysis.location import UsageError
from ..records import CaseRecord
from ..records.reader import StoredSession
from ..regression.comparer import SEED_PARAMS, CompareOptions
from ..regression.comparison import Comparison
from ..regression.sweeps.build import sweep_builder
from ..regression.sweeps.model import Sweep

_LISTED = 20


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Declare the argument and the options that say which sweep, and how to rank it."""
    parser.add_argument(
        "test",
        nargs="?",
        metavar="TEST",
        help="a node id, or any part of it that fits one parametrized test; default: the only one",
    )
    parser.add_argument(
        "--metric", metavar="M", help="what to rank by; default: the objective of the marker, else "
        "the first metric that an assertion guards, else the first that was logged",
    )  # fmt: skip
    parser.add_argument(
        "--mode", choices=("min", "max"), help="which values are better; default: as the marker, "
        "the ini file, the metric's name or its assertions say",
    )  # fmt: skip
    parser.add_argument(
        "--seed-params",
        metavar="NAME[,NAME…]",
        type=lambda text: frozenset(filter(None, text.split(","))),
        help="params that only repeat a configuration; default: as in the session",
    )


def sweeps_of(
    session: StoredSession, comparison: Comparison | None, options: argparse.Namespace
) -> tuple[Sweep, ...]:
    """Return the sweeps of a session, ranked as the options say.

    Where they say nothing, it is as the session's own report has it: that knew the ini file.
    """
    told = comparison.sweeps if comparison is not None else ()
    if told and options.metric is options.mode is options.seed_params is None:
        return told
    seeds = options.seed_params
    if seeds is None:
        repeats = {name for sweep in told for name in sweep.repeats}
        params = {name for sweep in told for name in sweep.params}
        shard = session.header.shard
        seeds = (frozenset(shard.seed_params) if shard else SEED_PARAMS | repeats) - params
    return build(session.cases, seeds, options, {sweep.test: sweep for sweep in told})


def build(
    cases: Iterable[CaseRecord],
    seeds: Collection[str],
    options: argparse.Namespace,
    told: dict[str, Sweep],
) -> tuple[Sweep, ...]:
    """Make the sweeps of cases, with the metric and the mode that the options name.

    ``told`` are sweeps as the session had them, by test: they know of the objective what the ini
    file said.
    """
    cases = list(cases)
    named = {test: (sweep.objective, sweep.mode) for test, sweep in told.items()}
    if options.metric is None:
        first = _built(cases, seeds)
        named = {sweep.test: (sweep.objective, sweep.mode) for sweep in first} | named
    known: list[CaseRecord] = []
    for record in cases:
        objective, mode = named.get(record.sweep or "", (None, None))
        if options.metric not in (None, objective):
            objective, mode = options.metric, None
        mode = options.mode or mode
        if objective is not None:
            record = replace(record, objective=objective)
            if mode is not None:
                record = replace(record, directions={**record.directions, objective: mode})
        known.append(record)
    return _built(known, seeds)


def _built(cases: Iterable[CaseRecord], seeds: Collection[str]) -> tuple[Sweep, ...]:
    builder = sweep_builder(CompareOptions(seed_params=frozenset(seeds)))
    for record in cases:
        builder.add(record)
    return builder.build()


def choose_sweep(sweeps: Sequence[Sweep], test: str | None) -> Sweep:
    """Return the sweep that a text means, or the only one.

    Raises:
        UsageError: there is none, or more than one.
    """
    if not sweeps:
        raise UsageError("the session has no parametrized test that was kept")
    found = list(sweeps) if test is None else fitting(sweeps, test)
    if len(found) == 1:
        return found[0]
    if test is None:
        raise UsageError(f"the session has several sweeps; name one of them:{listed(found)}")
    if found:
        raise UsageError(f"{test!r} fits several sweeps; name one of them:{listed(found)}")
    raise UsageError(f"{test!r} fits no sweep of the session; there is:{listed(sweeps)}")


def fitting(sweeps: Iterable[Sweep], test: str) -> list[Sweep]:
    """Return the sweeps that a text means: the very one, that of a case, or those it is part of."""
    sweeps = list(sweeps)
    for exact in (
        [sweep for sweep in sweeps if sweep.test == test],
        [
            sweep
            for sweep in sweeps
            if any(test in configuration.nodeids for configuration in sweep.configurations)
        ],
    ):
        if exact:
            return exact
    return [sweep for sweep in sweeps if test in sweep.test]


def listed(sweeps: Sequence[Sweep]) -> str:
    """Return the tests of sweeps, each on a line of its own."""
    lines = [f"\n  {sweep.test}" for sweep in sweeps[:_LISTED]]
    if (rest := len(sweeps) - _LISTED) > 0:
        lines.append(f"\n  and {rest:,} more")
    return "".join(lines)
