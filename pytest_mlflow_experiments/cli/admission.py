"""Check whether a candidate may become the champion: reasons against it, with figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose, isfinite
from typing import TYPE_CHECKING, Final, final

from ..analysis.named_sessions import ChosenSession, baseline_entries
from ..baseline.choice import why_incomplete
from ..baseline.specs import BaselineError, BaselineRequest
from ..records import PASSED_OUTCOMES, function_of, tags
from ..records.reader import StoredSession
from ..regression.compare import compare_sessions, reported_options
from ..regression.comparison import Comparison
from ..regression.sweeps.build import SweepBuilder
from ..regression.tolerance import Tolerance, find
from ..regression.values import changed, collect_session, collect_values
from ..report.metric_lines import describe_metric
from ..report.numbers import count, signed, value
from ..report.numbers import relative as percent
from ..tracker.limits import VERSION_TAG_LENGTH, shorten
from .candidate import PromotionCandidate

if TYPE_CHECKING:
    from ..tracker.registry import RegisteredVersion

LASTING: Final = frozenset({tags.OBJECTIVE, tags.OBJECTIVE_VALUE, tags.GATE, tags.DATASETS})
"""The tags of a champion that a further promotion of the same model does not replace."""

_JITTER: Final = 1e-9
_SHOWN: Final = 10
_SHORTEST: Final = 80


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The version that the alias points to, with its value of the candidate's objective.

    ``value`` is None if unknown; ``origin`` says why, or where the value is from.
    """

    version: RegisteredVersion
    value: float | None
    origin: str

    @classmethod
    def of(cls, version: RegisteredVersion, objective: str) -> Champion:
        """Read the objective's value of a version: from its tag, else the metric of its run."""
        number, run, text = None, version.run_id, version.tags.get(tags.OBJECTIVE_VALUE)
        if text is not None and version.tags.get(tags.OBJECTIVE) == objective:
            try:
                number, origin = float(text), "the mean over its repeats"
            except ValueError:
                origin = f"its tag {tags.OBJECTIVE_VALUE} is {text!r}"
        elif objective in version.metrics:
            number, origin = version.metrics[objective], f"the metric of its run {run}"
        else:
            where = f"its run {run} has no such metric" if run else "it has no run"
            origin = f"{where}, and no tag tells of it"
        return cls(version=version, value=number, origin=origin)


def against_session(
    session: StoredSession,
    comparison: Comparison | None,
    candidate: PromotionCandidate,
    excluded: str | None,
) -> Iterator[str]:
    """Yield the reasons against the case from its own session; ``excluded`` is one, if any."""
    record = candidate.record
    if record.outcome not in PASSED_OUTCOMES:
        yield f"its case did not pass: {record.nodeid} is {record.outcome}"
    yield from against_repeats(candidate)
    if not isfinite(candidate.mean):
        yield f"{candidate.objective} is {value(candidate.mean)}"
    if reason := excluded or why_incomplete(session.header, session.end):
        yield f"its session is no baseline for others: {reason}"
    if comparison is None:
        yield "its session was not compared: there is no report.json of it"
    elif comparison.problem is not None:
        yield f"its session could not be compared: {comparison.problem}"
    else:
        yield from worse_metrics(comparison, candidate.test)


def against_repeats(candidate: PromotionCandidate) -> Iterator[str]:
    """Yield the reasons against using the mean over the repeats."""
    configuration = candidate.configuration
    failed, cases, n = configuration.failed, configuration.cases, configuration.n
    if failed and cases > 1:
        yield f"{failed:,} of {cases:,} of its repeats did not pass"
    if n < candidate.usual:
        have = "has" if n == 1 else "have"
        yield f"only {n:,} of {count(candidate.usual, 'repeat')} {have} a value"


def worse_metrics(comparison: Comparison, test: str, words: str = "") -> Sequence[str]:
    """Return the regressions in the cases of a test."""
    worse = [
        f"{metric.name}{words}: {describe_metric(metric)}"
        for metric in comparison.gating()
        if function_of(metric.nodeid) == test
    ]
    return _first(worse, f"more metrics of its test{words}")


def incomparable(
    comparison: Comparison, candidate: PromotionCandidate, words: str = ""
) -> Sequence[str]:
    """Return the cases whose objective is not comparable: other data or params than before."""
    unlike = [
        f"{metric.name}{words}: {metric.metric} is not comparable: {metric.reason}"
        for metric in comparison.ranked()
        if (metric.status, metric.metric) == ("not comparable", candidate.objective)
        and function_of(metric.nodeid) == candidate.test
    ]
    return _first(unlike, f"more cases of its test{words} are not comparable")


def _first(lines: Sequence[str], others: str) -> Sequence[str]:
    rest = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"{rest:,} {others}"] if rest > 0 else lines


def against_champion(
    candidate: PromotionCandidate, champion: Champion, rules: Sequence[tuple[str, Tolerance]]
) -> Iterator[str]:
    """Yield why the candidate's objective is not good enough, or not comparable."""
    yield from other_measurement(candidate, champion.version)
    number, objective = champion.value, candidate.objective
    version = champion.version.number
    if number is None:
        yield f"the {objective} of the champion is not known, version {version}: {champion.origin}"
        return
    if not isfinite(number):
        yield f"the {objective} of the champion, version {version}, is {value(number)}"
        return
    tolerance = find(objective, rules)
    allowed = 0.0
    if tolerance is not None:
        allowed = tolerance.amount * (abs(number) if tolerance.relative else 1.0)
    change = candidate.mean - number
    worse = -change if candidate.mode == "max" else change
    # What is no more than the jitter of floating point is no change.
    if worse > allowed and not isclose(worse, allowed, abs_tol=_JITTER * abs(number)):
        beyond = f", more than the tolerance of {tolerance}" if tolerance is not None else ""
        yield (
            f"{objective} {value(candidate.mean)} is worse than {value(number)} of the champion, "
            f"version {version}: {difference(candidate.mean, number)}{beyond}"
        )


def other_measurement(candidate: PromotionCandidate, champion: RegisteredVersion) -> Iterator[str]:
    """Yield how the measurement of the candidate's values differs from the champion's."""
    nodeid, text = champion.tags.get(tags.NODEID), champion.tags.get(tags.DATASETS)
    if nodeid is not None and function_of(nodeid) != candidate.test:
        yield f"the champion, version {champion.number}, is of another test: {function_of(nodeid)}"
    mine = json.loads(as_json(candidate.datasets))
    if text is None or not mine:
        return
    try:
        theirs = json.loads(text)
    except ValueError:
        theirs = None
    if not isinstance(theirs, dict):
        yield f"the data of the champion are not known: its tag {tags.DATASETS} is {text!r}"
        return
    different = "; ".join(
        changed(f"dataset {name!r}", *(str(one.get(name, "not there")) for one in (theirs, mine)))
        for name in (theirs | mine if theirs else ())
        if theirs.get(name) != mine.get(name)
    )
    if different:
        yield f"the champion, version {champion.number}, was measured on other data: {different}"


def difference(new: float, old: float) -> str:
    """Format a difference: ``-0.021 (-2.3 %)``."""
    share = f" ({percent((new - old) / abs(old))})" if old and isfinite(new) else ""
    return f"{signed(new - old)}{share}"


def tags_of(
    session: StoredSession, candidate: PromotionCandidate, verdicts: str, refusals: Sequence[str]
) -> Mapping[str, str]:
    """Return the tags of a version that name its session, case and verdicts."""
    record, header = candidate.record, session.header
    texts = {
        tags.SESSION_ID: header.joint_id,
        tags.NODEID: record.nodeid,
        tags.CASE: record.case,
        tags.RECORD_ID: record.id,
        tags.OBJECTIVE: candidate.objective,
        tags.OBJECTIVE_VALUE: repr(candidate.mean),
        tags.PARAMS: as_json(record.params),
        tags.DATASETS: as_json(candidate.datasets) if candidate.datasets else None,
        tags.GATE: "refused" if refusals else "passed",
        tags.VERDICTS: verdicts,
        tags.COMMIT: header.commit,
        tags.BRANCH: header.branch,
    }
    return {key: text for key, text in texts.items() if text is not None}


def as_json(texts: Mapping[str, str]) -> str:
    """Return a JSON object that fits into a tag; long texts are cut, and the last ones left out."""
    limit = VERSION_TAG_LENGTH
    while True:
        text = json.dumps({key: shorten(one, limit) for key, one in texts.items()})
        if len(text) <= VERSION_TAG_LENGTH:
            return text
        if limit > _SHORTEST:
            limit //= 2
        else:
            texts = dict(list(texts.items())[:-1])


def against_its_session(
    session: ChosenSession,
    own: Comparison | None,
    candidate: PromotionCandidate,
    champion_session: str | None,
    rules: Sequence[tuple[str, Tolerance]],
    options: argparse.Namespace,
) -> Iterator[str]:
    """Yield the regressions of the promoted test against the champion's session.

    ``own`` is the comparison at the session's end, which knew the ini file.
    """
    if own and own.baseline and own.baseline.sessions[-1].session_id == champion_session:
        # The session was compared with that one already, as its newest baseline.
        yield from incomparable(own, candidate)
        return
    header, location = session.stored.header, session.location
    if champion_session in (None, header.joint_id):
        # Of a version that was registered by hand there is the objective, and nothing else.
        return
    spec = f"model:{options.name}@{options.alias}"
    request = BaselineRequest(spec=spec, history=1)
    try:
        theirs = location.ask(lambda catalog: catalog.model(options.name, options.alias), request)
        if theirs.start_time >= header.start_time or theirs.is_excluded:
            # What came later, or is excluded, is no baseline; the objective alone decides.
            return
        entries = baseline_entries(location, spec, options.history, header)
    except BaselineError as error:
        yield f"the champion's session can't be compared with: {error}"
        return
    seeds = candidate.seeds if options.seed_params is None else options.seed_params
    settings = replace(
        reported_options(own, candidate.test, rules),
        seed_params=seeds,
        window=options.history,
        accepted=location.accepted_steps(),
    )
    past = collect_values(entries, seeds)
    sweeps = SweepBuilder(settings)
    current = collect_session(sweeps.watch(session.stored.entries()), seeds)
    comparison = compare_sessions(current, past, settings, sweeps=sweeps.build())
    words = ", against the champion's session"
    yield from worse_metrics(comparison, candidate.test, words)
    yield from incomparable(comparison, candidate, words)
