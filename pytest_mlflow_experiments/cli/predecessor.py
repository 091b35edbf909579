"""The session that the champion comes from, as the baseline of the candidate's."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ..accepted import ACCEPTED_FILE, AcceptedError, read_accepted
from ..baseline import BaselineError, BaselineRequest, Catalog
from ..baseline import Candidate as BaselineSession
from ..regression.compare import compare
from ..regression.comparer import SEED_PARAMS, CompareOptions
from ..regression.comparison import Comparison
from ..regression.tolerance import Tolerance
from ..regression.values import Sessions, read_sessions
from .admission import worse_metrics
from .candidate import Candidate
from .errors import UsageError
from .found import FoundSession


def was_baseline(comparison: Comparison | None, session_id: str | None) -> bool:
    """Tell whether the session was compared with that one already, as its newest baseline."""
    baseline = comparison.baseline if comparison is not None else None
    return baseline is not None and baseline.sessions[-1].session_id == session_id


def against_its_session(
    session: FoundSession,
    candidate: Candidate,
    champion_session: str | None,
    rules: Sequence[tuple[str, Tolerance]],
    options: argparse.Namespace,
) -> Iterator[str]:
    """Yield what is worse in the promoted test than in the champion's session."""
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
    comparison = _compared(session, read_sessions(entries, _seeds(options)), rules, options)
    yield from worse_metrics(comparison, candidate.test, ", against the champion's session")


def _compared(
    session: FoundSession,
    baseline: Sessions,
    rules: Sequence[tuple[str, Tolerance]],
    options: argparse.Namespace,
) -> Comparison:
    header, seeds = session.header, _seeds(options)
    (current,) = read_sessions(
        (header, *session.cases, *([session.end] if session.end else [])), seeds
    ).sessions
    try:
        accepted = read_accepted(session.place.root / ACCEPTED_FILE)
    except AcceptedError as error:
        raise UsageError(str(error)) from None
    return compare(
        current,
        baseline,
        CompareOptions(
            seed_params=seeds,
            window=options.history,
            tolerances=rules,
            accepted=[step for step in accepted if step.id in header.accepted],
        ),
    )


def _seeds(options: argparse.Namespace) -> frozenset[str]:
    return SEED_PARAMS if options.seed_params is None else options.seed_params
