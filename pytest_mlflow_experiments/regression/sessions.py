"""Compare a session with its baseline: the one way from journal entries to a comparison."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from ..records import CaseRecord, SessionEnd, SessionHeader, function_of
from ..records.reader import FileEntry
from .compare import compare
from .comparer import CompareOptions
from .comparison import Comparison
from .sweeps.build import SweepBuilder
from .tolerance import Tolerance, mentions
from .values import Sessions, collect_values

_Said = TypeVar("_Said")


def compare_sessions(
    entries: Iterable[FileEntry[CaseRecord]],
    baseline: Sessions | None,
    options: CompareOptions,
    *,
    end: SessionEnd | None = None,
    not_run: Mapping[str, str] = MappingProxyType({}),
    passed: Collection[str] = (),
    problem: str | None = None,
    gated: bool = False,
    notes: Sequence[str] = (),
    sweeps: SweepBuilder | None = None,
) -> Comparison:
    """Compare a session with the sessions of its baseline, of which it is none itself.

    Args:
        entries: those of the session's journal; they are read once and not kept.
        baseline: the sessions to compare with; None where there are none.
        options: how to compare; of the accepted steps, those count that the session ran with.
        end: how the session ends, where its journal does not tell yet.
        not_run: the outcomes of what left no record; see :func:`.compare.compare`, also for
            ``passed``, ``problem``, ``gated`` and ``notes``.
        passed: see there.
        problem: see there.
        gated: see there.
        notes: see there.
        sweeps: gets the cases of the session, where its sweeps are wanted.
    """
    watched = entries if sweeps is None else sweeps.watch(entries)
    (current,) = collect_values(watched, options.seed_params).sessions
    current.end = end or current.end
    header = current.header
    if baseline is not None:
        others = [one for one in baseline.sessions if one.header.session_id != header.session_id]
        baseline = replace(baseline, sessions=others)
    accepted = [step for step in options.accepted if step.id in header.accepted]
    return compare(
        current,
        baseline,
        replace(options, accepted=accepted),
        not_run=not_run,
        passed=passed,
        partial=_why_partial(header, current.end),
        problem=problem,
        gated=gated,
        notes=notes,
    )


def _why_partial(header: SessionHeader, end: SessionEnd | None) -> str | None:
    return (end and (end.interrupted or end.partial)) or header.partial


def gate_problem(damaged: Sequence[str], required_by: str | None) -> str | None:
    """Return why a gate can't be passed without a baseline, or None where it can.

    Args:
        damaged: notes of sessions that might be the baseline and can't be read.
        required_by: the option that asks for a baseline, where it was given.
    """
    if damaged:
        # Nobody can tell whether it really is the first session.
        return f"no session that can be read is a baseline; {damaged[0]}"
    if required_by is not None:
        return f"there is no baseline yet, and {required_by} asks for one"
    return None


def reported_options(
    comparison: Comparison | None, test: str, tolerances: Sequence[tuple[str, Tolerance]]
) -> CompareOptions:
    """Return the directions and tolerances that a comparison was made with, as far as it tells.

    Args:
        comparison: the comparison; None tells nothing.
        test: the test whose metrics are meant.
        tolerances: these win over those of the comparison.
    """
    metrics = comparison.metrics if comparison is not None else ()
    mine = [metric for metric in metrics if function_of(metric.nodeid) == test]
    others = [metric for metric in mine if not mentions(metric.metric, tolerances)]
    directions = _agreed(
        (metric.metric, metric.direction)
        for metric in mine
        # To name the direction of a cost would make it gate.
        if metric.direction is not None and not metric.advisory
    )
    unknown = _agreed(
        (metric.metric, metric.direction)
        for metric in others
        if metric.direction is None and metric.advisory
    )
    texts = _agreed((metric.metric, metric.tolerance) for metric in others)
    told = [(name, Tolerance.parse(text)) for name, text in texts if text is not None]
    return CompareOptions(directions=[*unknown, *directions], tolerances=[*tolerances, *told])


def _agreed(pairs: Iterable[tuple[str, _Said]]) -> list[tuple[str, _Said]]:
    """Return what is said of metrics by name, of those of which one thing alone is said."""
    said: dict[str, set[_Said]] = {}
    for name, text in pairs:
        said.setdefault(name, set()).add(text)
    return [(name, values.pop()) for name, values in said.items() if len(values) == 1]
