"""The results of a comparison, as frozen values: everything that a report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from math import isfinite
from typing import Final, Literal, TypeAlias, final, get_args

from ..records import FAILED_OUTCOMES, Operator, Outcome, Provenance
from ..records.accepted import AcceptedValue
from ..records.case import dataclass
from ..records.codec import ADDED, RARE, AnySize
from .findings import Direction, Status
from .sweeps.model import SliceTable, Sweep


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session as reports name it; ``start_time`` is in milliseconds since the epoch.

    ``tracking_uri`` and ``experiment_name`` are known where these are no files of one machine,
    ``experiment_id`` and ``run_id`` where MLflow has the session already. ``author`` is the
    commit's, where git knows the commit; ``verdict`` says how an earlier session ended.
    """

    session_id: str
    name: str
    start_time: int
    branch: str | None = None
    commit: str | None = None
    tracking_uri: str = field(default="", metadata=RARE)
    experiment_name: str | None = field(default=None, metadata=RARE)
    experiment_id: str | None = field(default=None, metadata=RARE)
    run_id: str | None = field(default=None, metadata=RARE)
    author: str | None = field(default=None, metadata=RARE)
    verdict: str = field(default="", metadata=RARE)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The assertion that guards a metric: how far it is from failing, now and in the baseline.

    ``margin`` is that of the current value, in the metric's unit, ``baseline_margin`` that of the
    baseline's mean, with the limit that the baseline had. ``line`` is that of the assertion, in
    whatever file.
    """

    operator: Operator
    limit: float
    tolerance: float | None
    margin: float
    baseline_margin: float | None
    line: int = field(default=0, metadata=RARE)

    @property
    def shrank(self) -> bool:
        """Whether the metric came closer to its limit."""
        return self.baseline_margin is not None and self.margin < self.baseline_margin


ACCEPTS_ALL: Final = "accepts everything"
"""Words of a mistake: an accepted step that would switch the gate off."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What somebody has accepted: the step's id and reason, the value, and the one before it."""

    id: str
    reason: str
    value: float | None = None
    before: float | None = None


GuardKind: TypeAlias = Literal["limit", "rule", "test", "accepted", "setting"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GuardChange:
    """A change of what guards metrics: the limit of an assertion, a tolerance, a test and so on.

    ``case`` and ``metric`` are what an accepted step has to name; ``name`` is short, ``nodeid``
    that of a test, or empty. ``accepted`` is the reason of a step that is as new as the change;
    ``gates`` tells that there is none, and that guards are strict.
    """

    kind: GuardKind
    case: str
    metric: str
    name: str
    nodeid: str
    text: str
    accepted: str | None = None
    gates: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """One metric of one case (or of its repeats over seeds), now and in the baseline.

    ``case`` is the identity across sessions, ``name`` the short name, ``nodeid`` that of a test to
    run it again. ``gates`` tells whether this fails a gated session; ``advisory`` that it never
    does, because the metric is a cost or has no known direction. ``values`` are the values of this
    session that were used (several for repeats or fresh runs), ``history`` one for each session of
    the baseline, the oldest first; ``fresh`` counts the fresh runs that followed a suspicious
    value. ``level_since`` names the session since when the baseline stands at its level,
    ``below_since`` the one since when the metric is worse than it, ``exceptions`` those that stand
    alone. Of an accepted metric, ``baseline`` is the value before, and ``accepted`` tells of the
    step. ``sessions`` are the places in the baseline of those that ``history`` is of, empty where
    it is of all. ``seeds`` has the value of each repeat, and the one before of those that are
    compared in pairs. ``params`` are those of the case and its data; ``checks`` are all assertions
    about the metric where there are several. The other numbers are those of
    :class:`~pytest_mlflow_experiments.regression.Verdict`.
    """

    case: str
    name: str
    nodeid: str
    metric: str
    status: Status
    gates: bool
    advisory: bool
    cost: bool
    direction: Direction | None
    values: tuple[float, ...]
    history: tuple[float, ...]
    current: float | None
    baseline: float | None
    change: float | None
    relative: float | None
    limit: float | None
    p_value: float | None
    n: int
    tolerance: str | None
    margin: Margin | None
    fresh: int
    reason: str
    level_since: str | None = field(default=None, metadata=ADDED)
    below_since: str | None = field(default=None, metadata=ADDED)
    exceptions: tuple[str, ...] = field(default=(), metadata=ADDED)
    scatter: float | None = field(default=None, metadata=ADDED)
    accepted: Acceptance | None = field(default=None, metadata=RARE)
    sessions: tuple[int, ...] = field(default=(), metadata=RARE)
    seeds: Mapping[str, tuple[float, ...]] = field(default_factory=dict, metadata=RARE)
    params: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    checks: str = field(default="", metadata=RARE)

    @property
    def margin_shrank(self) -> bool:
        """Whether the metric came closer to its assertion's limit, by more than noise."""
        return self.status != "unchanged" and self.margin is not None and self.margin.shrank

    def level_at(self, value: float | None) -> AcceptedValue | None:
        """Return a value with the scatter that is known, as a level for later sessions."""
        if value is None or not isfinite(value):
            return None
        return AcceptedValue(value=value, scatter=self.scatter or 0.0, n=max(1, self.n))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MissedLimit:
    """The limit of an assertion that a failed case missed, in a metric that is not judged.

    ``baseline`` is the level of the metric in the baseline, None without one.
    """

    metric: str
    value: float
    operator: Operator
    limit: float
    tolerance: float | None = field(default=None, metadata=RARE)
    baseline: float | None = field(default=None, metadata=RARE)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UnjudgedCase:
    """A case that is not judged because it did not pass; ``failure`` is pytest's own text.

    ``known`` tells that the baseline has it; ``missed`` are the limits for which it failed.
    """

    case: str
    name: str
    nodeid: str
    outcome: Outcome
    failure: str | None = None
    known: bool = field(default=False, metadata=RARE)
    missed: tuple[MissedLimit, ...] = field(default=(), metadata=RARE)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The sessions that a session was compared with, the oldest first."""

    provenance: Provenance
    sessions: tuple[SessionInfo, ...]


Line: TypeAlias = tuple[tuple[AnySize, float], ...]
"""The values of a metric with their steps, in ascending order."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A metric with several steps: a line for each repeat, now and in one earlier session.

    ``baseline`` are the lines of the session named ``baseline_session``, the newest one of the
    baseline that has any; both may be empty.
    """

    case: str
    name: str
    nodeid: str
    metric: str
    current: tuple[Line, ...]
    baseline: tuple[Line, ...] = ()
    baseline_session: str | None = None


LETTERS: Final[Mapping[str, str]] = {
    "passed": ".",
    "failed": "F",
    "error": "E",
    "skipped": "s",
    "xfailed": "x",
    "xpassed": "X",
    "interrupted": "-",
}
"""pytest's letters for the outcomes of tests."""

RERUN: Final = "R"
"""The letter of a test that passed when it was run again."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How a test fared in the sessions that are known.

    ``outcomes`` has a letter for each of them, the oldest first: those of :data:`LETTERS`,
    :data:`RERUN`, and a space where the test did not run. Of ``runs``, without skips, ``passed``
    passed in the end; their share lies between ``low`` and ``high`` (Wilson's interval at 95 %).
    ``flaky`` counts the commits with several outcomes and the sessions with reruns. ``seconds`` is
    the median time of a call, ``trend`` its relative change from the older half to the newer.
    """

    nodeid: str
    outcomes: str
    runs: int
    passed: int
    low: float
    high: float
    flaky: int
    seconds: float
    trend: float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One session compared with its baseline.

    ``baseline`` is None if there is none yet; ``problem`` says why the comparison could not be made
    although it was asked for, and ``partial`` why only some of the tests ran. ``metrics`` are in no
    special order; :meth:`ranked` gives the order to show them in. ``notes`` are for people;
    ``mistakes``, which fail a gated session, are settings that match nothing, or everything.
    ``sweeps`` are those of this session alone, ``slices`` tables of tests over parts of the data.
    ``guards`` are the changes of what guards the metrics, ``reliability`` tells of each test in all
    sessions at hand, the least reliable first. ``interrupted`` says why not everything
    ran that was meant to (then it is ``partial``, too), ``exit_status`` is the one without the
    gate.
    """

    session: SessionInfo
    baseline: Baseline | None
    metrics: tuple[MetricComparison, ...] = ()
    unjudged: tuple[UnjudgedCase, ...] = ()
    cases: int = 0
    duration: float = 0.0
    problem: str | None = None
    partial: str | None = None
    gated: bool = False
    notes: tuple[str, ...] = ()
    sweeps: tuple[Sweep, ...] = field(default=(), metadata=ADDED)
    curves: tuple[Curve, ...] = field(default=(), metadata=ADDED)
    slices: tuple[SliceTable, ...] = field(default=(), metadata=ADDED)
    guards: tuple[GuardChange, ...] = field(default=(), metadata=ADDED)
    reliability: tuple[Reliability, ...] = field(default=(), metadata=ADDED)
    mistakes: tuple[str, ...] = field(default=(), metadata=RARE)
    interrupted: str | None = field(default=None, metadata=RARE)
    exit_status: int = field(default=0, metadata=RARE)

    @property
    def rejected(self) -> bool:
        """Whether a gate fails: by a metric, a guard, a failed case with a history, a mistake."""
        return (
            self.problem is not None
            or bool(self.mistakes)
            or any(metric.gates for metric in self.metrics)
            or any(guard.gates for guard in self.guards)
            or any(case.known and case.outcome in FAILED_OUTCOMES for case in self.unjudged)
        )

    def counts(self) -> dict[Status, int]:
        """Count the metrics by status, without the advisory ones."""
        counts = Counter(metric.status for metric in self.metrics if not metric.advisory)
        return {status: counts[status] for status in get_args(Status)}

    def gating(self) -> list[MetricComparison]:
        """Return the metrics that fail a gated session, in the order of :meth:`ranked`."""
        return sorted((metric for metric in self.metrics if metric.gates), key=_rank)

    def ranked(self) -> list[MetricComparison]:
        """Sort the metrics for display: gating first, then by status and relative change.

        Advisory metrics come last. Within a status, the largest relative change is first.
        """
        return sorted(self.metrics, key=_rank)


_ORDER = {status: number for number, status in enumerate(get_args(Status))}


def _rank(metric: MetricComparison) -> tuple[bool, bool, int, float, str, str]:
    size = abs(metric.relative) if metric.relative is not None else 0.0
    # To six digits: rounding errors, which differ between Pythons, order nothing.
    size = float(f"{size:.6g}")
    return (
        not metric.gates,
        metric.advisory,
        _ORDER[metric.status],
        -size if size == size else float("-inf"),
        metric.name,
        metric.metric,
    )
