"""Rank the sweeps of a session as the user wants, and find the one that a text names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ...records import CaseRecord
from ...records.case import function_of
from ...records.reader import StoredSession
from ..comparer import SEED_PARAMS, CompareOptions
from .build import SweepBuilder
from .model import Mode, Sweep

_LISTED: Final = 20


class SweepError(ValueError):
    """A text names no sweep, or several; the message lists the sweeps."""


def sweeps_of(
    session: StoredSession,
    reported: Sequence[Sweep],
    *,
    metric: str | None,
    mode: Mode | None,
    seed_params: Collection[str] | None,
) -> tuple[Sweep, ...]:
    """Return the sweeps of a session, ranked as requested.

    Without a request, they are ranked as in the session's own report, which knew the ini file.

    ``reported`` are the sweeps of that report; ``metric`` is what to rank by, ``mode`` which of its
    values are better, ``seed_params`` are params that only repeat a configuration.
    """
    if reported and metric is mode is seed_params is None:
        return tuple(reported)
    if seed_params is None:
        repeats = {name for sweep in reported for name in sweep.repeats}
        params = {name for sweep in reported for name in sweep.params}
        shard = session.header.shard
        seed_params = (frozenset(shard.seed_params) if shard else SEED_PARAMS | repeats) - params
    told = {sweep.test: sweep for sweep in reported}
    return build_sweeps(session.cases, seed_params, metric=metric, mode=mode, reported=told)


def build_sweeps(
    cases: Sequence[CaseRecord],
    seed_params: Collection[str],
    *,
    metric: str | None,
    mode: Mode | None,
    reported: Mapping[str, Sweep] = MappingProxyType({}),
) -> tuple[Sweep, ...]:
    """Build the sweeps of cases, ranked by a metric and in a mode if these are given.

    ``reported`` are the session's own sweeps by test, which knew the objectives of the ini file.
    """
    objectives = {test: (sweep.objective, sweep.mode) for test, sweep in reported.items()}
    inferred = _built(cases, seed_params)
    swept = {one.test for one in inferred} | reported.keys()
    if metric is None:
        objectives = {one.test: (one.objective, one.mode) for one in inferred} | objectives
    known: list[CaseRecord] = []
    for record in cases:
        # Whatever they are ranked by, they are the same sweeps.
        test = function_of(record.nodeid)
        record = replace(record, swept=test in swept)
        objective, direction = objectives.get(test, (None, None))
        if metric not in (None, objective):
            objective, direction = metric, None
        direction = mode or direction
        if objective is not None:
            record = replace(record, objective=objective)
            if direction is not None:
                directions = {**record.directions, objective: direction}
                record = replace(record, directions=directions)
        known.append(record)
    return _built(known, seed_params)


def _built(cases: Iterable[CaseRecord], seed_params: Collection[str]) -> tuple[Sweep, ...]:
    builder = SweepBuilder(CompareOptions(seed_params=frozenset(seed_params)))
    for record in cases:
        builder.add(record)
    return builder.build()


def choose_sweep(sweeps: Sequence[Sweep], test: str | None) -> Sweep:
    """Return the sweep that a text names, or the only one.

    Raises:
        SweepError: there is none, or more than one.
    """
    if not sweeps:
        raise SweepError(
            "the session has no sweep: no parametrized test whose params look like settings was "
            "kept; @pytest.mark.mlflow(sweep=True) or objective=... makes a test a sweep"
        )
    matching = list(sweeps) if test is None else fitting(sweeps, test)
    if len(matching) == 1:
        return matching[0]
    if test is None:
        raise SweepError(f"the session has several sweeps; name one of them:{listed(matching)}")
    if matching:
        raise SweepError(f"{test!r} fits several sweeps; name one of them:{listed(matching)}")
    raise SweepError(f"{test!r} fits no sweep of the session; there is:{listed(sweeps)}")


def fitting(sweeps: Sequence[Sweep], test: str) -> list[Sweep]:
    """Return the sweeps that a text names: by node id, by a case, or by a part of the id."""
    exact = [sweep for sweep in sweeps if sweep.test == test]
    of_case = [one for one in sweeps if any(test in found.nodeids for found in one.configurations)]
    return exact or of_case or [sweep for sweep in sweeps if test in sweep.test]


def listed(sweeps: Sequence[Sweep]) -> str:
    """Format the tests of sweeps, one a line."""
    lines = [f"\n  {sweep.test}" for sweep in sweeps[:_LISTED]]
    if (rest := len(sweeps) - _LISTED) > 0:
        lines.append(f"\n  and {rest:,} more")
    return "".join(lines)
