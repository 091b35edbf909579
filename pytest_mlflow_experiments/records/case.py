"""The record of one test case: metrics, checks, params, datasets, the outcome."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal, TypeAlias, final

from .codec import ADDED, RARE, AnySize, Constraint, written_after
from .param_kinds import param_kind
from .secrets import MASK

Operator: TypeAlias = Literal["<", "<=", ">", ">=", "=="]
Outcome: TypeAlias = Literal[
    "passed", "failed", "error", "skipped", "xfailed", "xpassed", "interrupted"
]

FAILED_OUTCOMES: frozenset[str] = frozenset({"failed", "error"})
PASSED_OUTCOMES: frozenset[str] = frozenset({"passed", "xpassed"})

CASE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""The legal ids of a case's record: it is the name of a directory."""

_HIDDEN = re.compile(rf"{re.escape(MASK)}\d+")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One value of one metric; ``timestamp`` is in milliseconds since the epoch.

    A test may log any ``step``; the tracker brings it into MLflow's range.
    """

    key: str
    value: float
    step: AnySize
    timestamp: int


def last_values(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return the value of each metric as MLflow's tables show it: that of the highest step."""
    ordered = sorted(metrics, key=lambda metric: (metric.step, metric.timestamp))
    return {metric.key: metric.value for metric in ordered}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One comparison that an assertion made, normalised to read ``value operator limit``.

    ``operator`` ``"=="`` is a comparison with :func:`pytest.approx`; ``tolerance`` is then the
    absolute distance it allows, and None otherwise. ``passed`` tells whether the comparison held;
    ``alternative`` that the assertion could hold without it, as in ``a < b or c``; ``expression``
    that the value is calculated from what the metric's name names, as in ``train - test < 0.3``;
    ``logged`` that the test logged the metric, too.
    """

    metric: str
    step: AnySize
    operator: Operator
    value: float
    limit: float
    tolerance: float | None
    passed: bool
    line: int
    alternative: bool = False
    expression: bool = field(default=False, metadata=RARE)
    logged: bool = field(default=False, metadata=RARE)

    @property
    @written_after("tolerance")
    def margin(self) -> float:
        """How far ``value`` is on the good side of ``limit``, in the metric's unit."""
        if self.operator in (">", ">="):
            return self.value - self.limit
        if self.operator in ("<", "<="):
            return self.limit - self.value
        return (self.tolerance or 0.0) - abs(self.value - self.limit)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt of a case that was run again, or a fresh run of a suspicious one.

    ``usage`` is as in :class:`CaseRecord`. ``seed`` is the number that the fixture ``mlflow_seed``
    gave a fresh run, None where the test did not ask for one.
    """

    outcome: Outcome
    duration: float
    metrics: tuple[Metric, ...] = ()
    checks: tuple[Check, ...] = ()
    failure: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict, metadata=RARE)
    seed: int | None = field(default=None, metadata=RARE)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInput:
    """Data that a case was run on, by the fields of MLflow's ``mlflow.entities.Dataset``.

    ``source``, ``schema`` and ``profile`` are JSON texts: where the data come from, the types of
    their columns or their dtype and shape, and how much of them there is. ``context`` is what they
    were used for ("training", "evaluation"), if the test says so.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = field(default=None, metadata=ADDED)
    profile: str | None = field(default=None, metadata=ADDED)
    context: str | None = field(default=None, metadata=ADDED)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """The record of one finished test case.

    ``id`` is 32 hexadecimal digits, made once when the case starts; a record that is sent twice is
    recognised by it. ``case`` is the identity across sessions, ``name`` the short name to show.
    Times are milliseconds since the epoch, ``durations`` seconds by phase (``setup``, ``call``,
    ``teardown``). ``artifacts`` are paths below the session's ``artifacts/<id>/``, with forward
    slashes. ``run_id`` is set if the test has an MLflow run of its own (``mlflow_run``). ``notes``
    tell what was shortened, renamed or left out.

    ``arguments`` names the params that are part of the identity (those of ``parametrize`` and of
    fixtures). ``datasets`` are digests of the data by their names. ``tolerances``,
    ``directions`` and ``min_effects`` are the marker's, by metric pattern. ``repeats`` are the
    fresh runs that followed a suspicious value; ``cut_short`` tells that the time for more was used
    up. ``run_metrics`` are the last values of metrics that the test logged only to its own MLflow
    run, and ``run_history`` all values of those with several steps.

    ``objective`` is the marker's metric for ranking the cases of the test, ``swept`` its ``sweep``.
    ``inputs`` are the datasets themselves. ``usage`` maps metric names to what the call cost (CPU
    seconds, memory). If the case was resumed and did not run, ``resumed_from`` is the id of the
    session that it ran in, and ``resumed_run`` the test's own MLflow run there.
    """

    id: Annotated[str, Constraint(CASE_ID.fullmatch, "letters and digits")]
    nodeid: str
    case: str
    name: str
    outcome: Outcome
    start_time: int
    end_time: int
    durations: Mapping[str, float]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    checks: tuple[Check, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    failure: str | None = None
    run_id: str | None = None
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = field(default=(), metadata=RARE)
    datasets: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    tolerances: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    directions: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    min_effects: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    repeats: tuple[Attempt, ...] = field(default=(), metadata=RARE)
    cut_short: bool = field(default=False, metadata=RARE)
    run_metrics: Mapping[str, float] = field(default_factory=dict, metadata=RARE)
    run_history: tuple[Metric, ...] = field(default=(), metadata=RARE)
    objective: str | None = field(default=None, metadata=RARE)
    swept: bool | None = field(default=None, metadata=RARE)
    inputs: tuple[DatasetInput, ...] = field(default=(), metadata=RARE)
    usage: Mapping[str, float] = field(default_factory=dict, metadata=RARE)
    resumed_from: str | None = field(default=None, metadata=RARE)
    resumed_run: str | None = field(default=None, metadata=RARE)

    @property
    def sweep(self) -> str | None:
        """The node id of the test function, if its params look like those of a sweep; else None.

        It is what one case can tell, as its run in MLflow is written before the others have ended:
        a marker that says so, or settings (:func:`.param_kind`) and no data. Reports, which know
        all cases and the ini file's ``mlflow_seed_params``, call some of these tests no sweep.
        """
        if not self.arguments or self.swept is False:
            return None
        kinds = {param_kind(name, self.params.get(name, "")) for name in self.arguments}
        if self.is_marked_sweep or ("data" not in kinds and ("setting" in kinds or len(kinds) > 1)):
            return function_of(self.nodeid)
        return None

    @property
    def is_marked_sweep(self) -> bool:
        """Whether the marker makes the test a sweep, whatever its params are."""
        return self.swept if self.swept is not None else self.objective is not None

    @property
    def distinct_params(self) -> dict[str, str]:
        """The texts of the parametrized arguments; a secret is a numbered mask."""
        # A param that is a secret is told by the index in the id alone.
        hidden = iter(_HIDDEN.findall(self.nodeid.partition("[")[2]))
        texts = {name: self.params.get(name, "") for name in self.arguments}
        return {
            # A field of a value is not in the id.
            name: next(hidden, MASK) if text == MASK and "." not in name else text
            for name, text in texts.items()
        }

    @property
    def duration(self) -> float:
        """Seconds of the call phase, or of the setup where the call was never reached."""
        return self.durations.get("call", self.durations.get("setup", 0.0))

    def as_attempt(self) -> Attempt:
        """Return the record as an earlier attempt of a case that was run again."""
        # Only fresh runs have a seed.
        names = [one.name for one in fields(Attempt) if one.name != "seed"]
        return Attempt(**{name: getattr(self, name) for name in names})


def function_of(nodeid: str) -> str:
    """Return the node id of a case's test function."""
    file, colons, rest = nodeid.partition("::")
    return f"{file}{colons}{rest.partition('[')[0]}"
