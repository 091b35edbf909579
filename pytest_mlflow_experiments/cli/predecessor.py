"""The session that the champion comes from, as the baseline of the candidate's."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from ..accepted import ACCEPTED_FILE, AcceptedError, read_accepted
from ..baseline import BaselineError, BaselineRequest, Catalog
from ..baseline import Candidate as BaselineSession
from ..records import function_of
from ..regression.compare import compare
from ..regression.comparer import CompareOptions
from ..regression.comparison import Comparison
from ..regression.tolerance import Tolerance, mentions
from ..regression.values import Sessions, read_sessions
from .admission import incomparable, worse_metrics
from .candidate import Candidate
from .errors import UsageError
from .found import FoundSession

_Said = TypeVar("_Said")


def was_baseline(comparison: Comparison | None, session_id: str | None) -> bool:
    """Tell whether the session was compared with that one already, as its newest baseline."""
    baseline = comparison.baseline if comparison is not None else None
    return baseline is not None and baseline.sessions[-1].session_id == session_id


def against_its_session(
    session: FoundSession,
    own: Comparison | None,
    candidate: Candidate,
    champion_session: str | None,
    rules: Sequence[tuple[str, Tolerance]],
    options: argparse.Namespace,
) -> Iterator[str]:
    """Yield what is worse in the promoted test than in the champion's session.

    ``own`` is the comparison that the session ended with: it knew the ini file.
    """
    header = session.header
    if champion_session in (None, header.joint_id):
        # Of a version that was registered by hand there is the objective, and nothing else.
        return
    spec = f"model:{options.name}@{options.alias}"
    request = BaselineRequest(spec=spec, history=1)

    def behind(catalog: Catalog) -> BaselineSession:
        return catalog.model(options.name, options.alias)

    try:
        if session.place.ask(behind, request).start_time >= header.start_time:
            # What came later is no baseline; the objective alone decides.
            return
        entries = session.place.entries(spec, options.history, header)
    except BaselineError as error:
        yield f"the champion's session can't be compared with: {error}"
        return
    seeds = candidate.seeds if options.seed_params is None else options.seed_params
    settings = settings_of(own, candidate, rules)
    settings = replace(settings, seed_params=seeds, window=options.history)
    comparison = _compared(session, read_sessions(entries, seeds), settings)
    words = ", against the champion's session"
    yield from worse_metrics(comparison, candidate.test, words)
    yield from incomparable(comparison, candidate, words)


def settings_of(
    own: Comparison | None, candidate: Candidate, rules: Sequence[tuple[str, Tolerance]]
) -> CompareOptions:
    """Return the directions and tolerances of the session's own comparison; ``rules`` win."""
    metrics = own.metrics if own is not None else ()
    mine = [metric for metric in metrics if function_of(metric.nodeid) == candidate.test]
    others = [metric for metric in mine if not mentions(metric.metric, rules)]
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
    tolerances = _agreed((metric.metric, metric.tolerance) for metric in others)
    return CompareOptions(
        directions=[*unknown, *directions],
        tolerances=[
            *rules,
            *((name, Tolerance.parse(text)) for name, text in tolerances if text is not None),
        ],
    )


def _agreed(pairs: Iterable[tuple[str, _Said]]) -> list[tuple[str, _Said]]:
    """Return what is said of metrics by name, of those of which one thing alone is said."""
    said: dict[str, set[_Said]] = {}
    for name, value in pairs:
        said.setdefault(name, set()).add(value)
    return [(name, values.pop()) for name, values in said.items() if len(values) == 1]


def _compared(session: FoundSession, baseline: Sessions, settings: CompareOptions) -> Comparison:
    header = session.header
    (current,) = read_sessions(
        (header, *session.cases, *([session.end] if session.end else [])), settings.seed_params
    ).sessions
    try:
        accepted = read_accepted(session.place.root / ACCEPTED_FILE)
    except AcceptedError as error:
        raise UsageError(str(error)) from None
    steps = [step for step in accepted if step.id in header.accepted]
    return compare(current, baseline, replace(settings, accepted=steps))
