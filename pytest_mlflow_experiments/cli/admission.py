"""Whether a candidate may become the champion: everything that speaks against it, with figures."""

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
from ..records import PASSED_OUTCOMES, function_of
from ..records.reader import StoredSession
from ..records.tags import (
    BRANCH,
    CASE,
    COMMIT,
    DATASETS,
    GATE,
    NODEID,
    OBJECTIVE,
    OBJECTIVE_VALUE,
    PARAMS,
    RECORD_ID,
    SESSION_ID,
    VERDICTS,
)
from ..regression.compare import compare, reported_options
from ..regression.comparison import Comparison
from ..regression.tolerance import Tolerance, find
from ..regression.values import collect_session, collect_values
from ..report.metric_lines import describe_metric
from ..report.numbers import count, signed, value
from ..report.numbers import relative as percent
from ..tracker.limits import VERSION_TAG_LENGTH, shorten
from .candidate import Candidate

if TYPE_CHECKING:
    from ..tracker.registry import RegisteredVersion

LASTING: Final = frozenset({OBJECTIVE, OBJECTIVE_VALUE, GATE, DATASETS})
"""The tags of a champion that another promotion of the same model does not write anew."""

_JITTER: Final = 1e-9
_SHOWN: Final = 10
_SHORTEST: Final = 80


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The version that the alias stands for now, with its value of the candidate's objective.

    ``value`` is None where it is not known; ``origin`` then says why, and else where it is
    from.
    """

    version: RegisteredVersion
    value: float | None
    origin: str

    @classmethod
    def of(cls, version: RegisteredVersion, objective: str) -> Champion:
        """Return what a version tells of the objective: its tag, else the metric of its run."""
        tags = version.tags
        if tags.get(OBJECTIVE) == objective and OBJECTIVE_VALUE in tags:
            try:
                number = float(tags[OBJECTIVE_VALUE])
            except ValueError:
                return cls(
                    version=version,
                    value=None,
                    origin=f"its tag {OBJECTIVE_VALUE} is {tags[OBJECTIVE_VALUE]!r}",
                )
            return cls(version=version, value=number, origin="the mean over its repeats")
        if objective in version.metrics:
            origin = f"the metric of its run {version.run_id}"
            return cls(version=version, value=version.metrics[objective], origin=origin)
        where = (
            f"its run {version.run_id} has no such metric" if version.run_id else "it has no run"
        )
        return cls(version=version, value=None, origin=f"{where}, and no tag tells of it")


def against_session(
    session: StoredSession, comparison: Comparison | None, candidate: Candidate
) -> Iterator[str]:
    """Yield what speaks against the case within its own session."""
    record = candidate.record
    if record.outcome not in PASSED_OUTCOMES:
        yield f"its case did not pass: {record.nodeid} is {record.outcome}"
    yield from against_repeats(candidate)
    if not isfinite(candidate.mean):
        yield f"{candidate.objective} is {value(candidate.mean)}"
    if reason := why_incomplete(session.header, session.end):
        yield f"its session is no baseline for others: {reason}"
    if comparison is None:
        yield "its session was not compared: there is no report.json of it"
    elif comparison.problem is not None:
        yield f"its session could not be compared: {comparison.problem}"
    else:
        yield from worse_metrics(comparison, candidate.test)


def against_repeats(candidate: Candidate) -> Iterator[str]:
    """Yield what speaks against the mean over the repeats."""
    configuration = candidate.configuration
    failed, cases, n = configuration.failed, configuration.cases, configuration.n
    if failed and cases > 1:
        yield f"{failed:,} of {cases:,} of its repeats did not pass"
    if n < candidate.usual:
        have = "has" if n == 1 else "have"
        yield f"only {n:,} of {count(candidate.usual, 'repeat')} {have} a value"


def worse_metrics(comparison: Comparison, test: str, words: str = "") -> Iterator[str]:
    """Yield what became worse in the cases of a test."""
    worse = [metric for metric in comparison.gating() if function_of(metric.nodeid) == test]
    for metric in worse[:_SHOWN]:
        yield f"{metric.name}{words}: {describe_metric(metric)}"
    if (rest := len(worse) - _SHOWN) > 0:
        yield f"{rest:,} more metrics of its test{words}"


def incomparable(comparison: Comparison, candidate: Candidate, words: str = "") -> Iterator[str]:
    """Yield where the objective was measured on other data or with other params than before."""
    unlike = [
        metric
        for metric in comparison.ranked()
        if metric.status == "not comparable"
        and metric.metric == candidate.objective
        and function_of(metric.nodeid) == candidate.test
    ]
    for metric in unlike[:_SHOWN]:
        yield f"{metric.name}{words}: {metric.metric} is not comparable: {metric.reason}"
    if (rest := len(unlike) - _SHOWN) > 0:
        yield f"{rest:,} more cases of its test{words} are not comparable"


def against_champion(
    candidate: Candidate, champion: Champion, rules: Sequence[tuple[str, Tolerance]]
) -> Iterator[str]:
    """Yield why the candidate's objective is not good enough, or tells nothing."""
    yield from other_measurement(candidate, champion.version)
    number, objective = champion.value, candidate.objective
    version = champion.version.number
    if number is None:
        yield f"nobody knows the {objective} of the champion, version {version}: {champion.origin}"
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


def other_measurement(candidate: Candidate, champion: RegisteredVersion) -> Iterator[str]:
    """Yield why the candidate's values were not measured as the champion's were."""
    nodeid, text = champion.tags.get(NODEID), champion.tags.get(DATASETS)
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
        yield f"nobody knows the data of the champion: its tag {DATASETS} is {text!r}"
        return
    different = [
        f"dataset {name!r} was {theirs.get(name, 'not there')} and is {mine.get(name, 'not there')}"
        for name in (theirs | mine if theirs else ())
        if theirs.get(name) != mine.get(name)
    ]
    if different:
        yield (
            f"the champion, version {champion.number}, was measured on other data: "
            f"{'; '.join(different)}"
        )


def difference(new: float, old: float) -> str:
    """Return ``-0.021 (-2.3 %)``."""
    share = f" ({percent((new - old) / abs(old))})" if old and isfinite(new) else ""
    return f"{signed(new - old)}{share}"


def tags_of(
    session: StoredSession, candidate: Candidate, verdicts: str, refusals: Sequence[str]
) -> Mapping[str, str]:
    """Return the tags of a version that lead back to where it comes from."""
    record, header = candidate.record, session.header
    source = {COMMIT: header.commit, BRANCH: header.branch}
    return {
        SESSION_ID: header.joint_id,
        NODEID: record.nodeid,
        CASE: record.case,
        RECORD_ID: record.id,
        OBJECTIVE: candidate.objective,
        OBJECTIVE_VALUE: repr(candidate.mean),
        PARAMS: as_json(record.params),
        **({DATASETS: as_json(candidate.datasets)} if candidate.datasets else {}),
        GATE: "refused" if refusals else "passed",
        VERDICTS: verdicts,
        **{key: text for key, text in source.items() if text is not None},
    }


def as_json(texts: Mapping[str, str]) -> str:
    """Return an object of JSON that fits into a tag; long texts are cut, and the last left out."""
    limit = VERSION_TAG_LENGTH
    while len(text := json.dumps({key: shorten(one, limit) for key, one in texts.items()})) > (
        VERSION_TAG_LENGTH
    ):
        if limit > _SHORTEST:
            limit //= 2
        else:
            texts = dict(list(texts.items())[:-1])
    return text


def was_baseline(comparison: Comparison | None, session_id: str | None) -> bool:
    """Tell whether the session was compared with that one already, as its newest baseline."""
    baseline = comparison.baseline if comparison is not None else None
    return baseline is not None and baseline.sessions[-1].session_id == session_id


def against_its_session(
    session: ChosenSession,
    own: Comparison | None,
    candidate: Candidate,
    champion_session: str | None,
    rules: Sequence[tuple[str, Tolerance]],
    options: argparse.Namespace,
) -> Iterator[str]:
    """Yield what is worse in the promoted test than in the champion's session.

    ``own`` is the comparison that the session ended with: it knew the ini file.
    """
    header, location = session.stored.header, session.location
    if champion_session in (None, header.joint_id):
        # Of a version that was registered by hand there is the objective, and nothing else.
        return
    spec = f"model:{options.name}@{options.alias}"
    request = BaselineRequest(spec=spec, history=1)
    try:
        theirs = location.ask(lambda catalog: catalog.model(options.name, options.alias), request)
        if theirs.start_time >= header.start_time:
            # What came later is no baseline; the objective alone decides.
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
    current = collect_session(session.stored.entries(), seeds)
    comparison = compare(current, past, settings)
    words = ", against the champion's session"
    yield from worse_metrics(comparison, candidate.test, words)
    yield from incomparable(comparison, candidate, words)
