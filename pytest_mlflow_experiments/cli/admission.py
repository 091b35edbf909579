"""Whether a candidate may become the champion: everything that speaks against it, with figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isfinite
from typing import TYPE_CHECKING, Final, final

from ..baseline.catalog import why_incomplete
from ..records import PASSED_OUTCOMES
from ..regression.comparison import Comparison, MetricComparison
from ..regression.tolerance import Tolerance, find
from ..report.numbers import relative as percent
from ..report.numbers import signed, value
from ..report.verdicts import describe_metric
from .candidate import Candidate
from .found import FoundSession

if TYPE_CHECKING:
    from ..tracker.promotion import Version

OBJECTIVE: Final = "pytest.objective"
OBJECTIVE_VALUE: Final = "pytest.objective.value"

_JITTER: Final = 1e-9
_SHOWN: Final = 10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The version that the alias stands for now, with its value of the candidate's objective.

    ``value`` is None where it can't be found out; ``origin`` then says why, and else where it is
    from.
    """

    version: Version
    value: float | None
    origin: str

    @classmethod
    def of(cls, version: Version, objective: str) -> Champion:
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
    session: FoundSession, comparison: Comparison | None, candidate: Candidate
) -> Iterator[str]:
    """Yield what speaks against the case within its own session."""
    record = candidate.record
    if record.outcome not in PASSED_OUTCOMES:
        yield f"its case did not pass: {record.nodeid} is {record.outcome}"
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


def worse_metrics(comparison: Comparison, test: str, words: str = "") -> Iterator[str]:
    """Yield what became worse in the cases of a test."""
    found = [metric for metric in comparison.gating() if _test_of(metric) == test]
    for metric in found[:_SHOWN]:
        yield f"{metric.name}{words}: {describe_metric(metric)}"
    if (rest := len(found) - _SHOWN) > 0:
        yield f"{rest:,} more metrics of its test{words}"


def against_champion(
    candidate: Candidate, champion: Champion, rules: Sequence[tuple[str, Tolerance]]
) -> Iterator[str]:
    """Yield why the candidate's objective is not good enough."""
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


def difference(new: float, old: float) -> str:
    """Return ``-0.021 (-2.3 %)``."""
    share = f" ({percent((new - old) / abs(old))})" if old and isfinite(new) else ""
    return f"{signed(new - old)}{share}"


def tags_of(
    session: FoundSession, candidate: Candidate, verdicts: str, refusals: Sequence[str]
) -> Mapping[str, str]:
    """Return the tags of a version that lead back to where it comes from."""
    record, header = candidate.record, session.header
    source = {
        "mlflow.source.git.commit": header.commit,
        "mlflow.source.git.branch": header.branch,
    }
    return {
        "pytest.session_id": header.joint_id,
        "pytest.nodeid": record.nodeid,
        "pytest.case": record.case,
        "pytest.record_id": record.id,
        OBJECTIVE: candidate.objective,
        OBJECTIVE_VALUE: repr(candidate.mean),
        "pytest.params": json.dumps(dict(record.params)),
        "pytest.gate": "refused" if refusals else "passed",
        "pytest.verdicts": verdicts,
        **{key: text for key, text in source.items() if text is not None},
    }


def _test_of(metric: MetricComparison) -> str:
    file, colons, rest = metric.nodeid.partition("::")
    return f"{file}{colons}{rest.partition('[')[0]}"
