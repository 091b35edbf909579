"""What one test case leaves behind: metrics, checks, params, datasets, the outcome."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any, Literal, TypeAlias, final

from .secrets import MASK


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInput:
    """One dataset, by the fields of MLflow's ``mlflow.entities.Dataset``.

    ``source``, ``schema`` and ``profile`` are JSON texts: where the data come from, the types of
    their columns or their dtype and shape, and how much of them there is. ``context`` is what they
    were used for ("training", "evaluation"), where the test says so.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    context: str | None = None

    def to_builtins(self) -> dict[str, Any]:
        """Return the dataset as JSON builtins."""
        return {
            "name": self.name,
            "digest": self.digest,
            "source_type": self.source_type,
            "source": self.source,
            "schema": self.schema,
            "profile": self.profile,
            "context": self.context,
        }

    @classmethod
    def from_builtins(cls, data: dict[str, Any]) -> DatasetInput:
        """Rebuild a dataset from :meth:`to_builtins`."""
        return cls(
            name=data["name"],
            digest=data["digest"],
            source_type=data["source_type"],
            source=data["source"],
            schema=data.get("schema"),
            profile=data.get("profile"),
            context=data.get("context"),
        )


Builtins: TypeAlias = dict[str, Any]
Operator: TypeAlias = Literal["<", "<=", ">", ">=", "=="]
Outcome: TypeAlias = Literal[
    "passed", "failed", "error", "skipped", "xfailed", "xpassed", "interrupted"
]

FAILED_OUTCOMES: frozenset[str] = frozenset({"failed", "error"})
PASSED_OUTCOMES: frozenset[str] = frozenset({"passed", "xpassed"})

_HIDDEN = re.compile(rf"{re.escape(MASK)}\d+")


def encode_float(value: float) -> float | str:
    """Return a float as JSON has it: NaN and the infinities, which it does not know, are texts."""
    if isfinite(value):
        return value
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One value of one metric; ``timestamp`` is in milliseconds since the epoch."""

    key: str
    value: float
    step: int
    timestamp: int

    def to_builtins(self) -> Builtins:
        """Return the metric as JSON builtins."""
        return {
            "key": self.key,
            "value": encode_float(self.value),
            "step": self.step,
            "timestamp": self.timestamp,
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> Metric:
        """Rebuild a metric from :meth:`to_builtins`."""
        return cls(
            key=data["key"],
            value=float(data["value"]),
            step=data["step"],
            timestamp=data["timestamp"],
        )


def last_values(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return the value of each metric as MLflow's tables show it: that of the highest step."""
    ordered = sorted(metrics, key=lambda metric: (metric.step, metric.timestamp))
    return {metric.key: metric.value for metric in ordered}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One comparison that an assertion made, turned so that it reads ``value operator limit``.

    ``operator`` ``"=="`` is a comparison with :func:`pytest.approx`; ``tolerance`` is then the
    absolute distance it allows, and None otherwise. ``passed`` tells whether the comparison held;
    ``alternative`` that the assertion could hold without it, as in ``a < b or c``.
    """

    metric: str
    step: int
    operator: Operator
    value: float
    limit: float
    tolerance: float | None
    passed: bool
    line: int
    alternative: bool = False

    @property
    def margin(self) -> float:
        """How far ``value`` is on the good side of ``limit``, in the metric's unit."""
        if self.operator in (">", ">="):
            return self.value - self.limit
        if self.operator in ("<", "<="):
            return self.limit - self.value
        return (self.tolerance or 0.0) - abs(self.value - self.limit)

    def to_builtins(self) -> Builtins:
        """Return the check as JSON builtins; ``margin`` is included for readers."""
        return {
            "metric": self.metric,
            "step": self.step,
            "operator": self.operator,
            "value": encode_float(self.value),
            "limit": encode_float(self.limit),
            "tolerance": None if self.tolerance is None else encode_float(self.tolerance),
            "margin": encode_float(self.margin),
            "passed": self.passed,
            "line": self.line,
            "alternative": self.alternative,
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> Check:
        """Rebuild a check from :meth:`to_builtins`."""
        tolerance = data["tolerance"]
        return cls(
            metric=data["metric"],
            step=data["step"],
            operator=data["operator"],
            value=float(data["value"]),
            limit=float(data["limit"]),
            tolerance=None if tolerance is None else float(tolerance),
            passed=data["passed"],
            line=data["line"],
            alternative=data["alternative"],
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt of a case that was run again; the case itself holds the last one.

    ``usage`` is what its call cost besides its time, as for the case.
    """

    outcome: Outcome
    duration: float
    metrics: tuple[Metric, ...] = ()
    checks: tuple[Check, ...] = ()
    failure: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict)

    def to_builtins(self) -> Builtins:
        """Return the attempt as JSON builtins."""
        usage = _encode_floats(self.usage)
        return {
            "outcome": self.outcome,
            "duration": self.duration,
            "metrics": [metric.to_builtins() for metric in self.metrics],
            "checks": [check.to_builtins() for check in self.checks],
            "failure": self.failure,
            **({"usage": usage} if usage else {}),
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> Attempt:
        """Rebuild an attempt from :meth:`to_builtins`."""
        return cls(
            outcome=data["outcome"],
            duration=data["duration"],
            metrics=tuple(map(Metric.from_builtins, data["metrics"])),
            checks=tuple(map(Check.from_builtins, data["checks"])),
            failure=data["failure"],
            usage={name: float(value) for name, value in data.get("usage", {}).items()},
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """Everything that one finished test case leaves behind.

    ``id`` is 32 hexadecimal digits, made once when the case starts: sending the same record twice
    is recognised by it. ``case`` is the identity across sessions, ``name`` the short name to show.
    Times are milliseconds since the epoch, ``durations`` seconds by phase (``setup``, ``call``,
    ``teardown``). ``artifacts`` are paths below the session's ``artifacts/<id>/``, with forward
    slashes. ``run_id`` is set where the test itself holds an MLflow run. ``notes`` tell what was
    shortened, renamed or left out.

    ``arguments`` names the params that are part of the identity (those of ``parametrize`` and of
    fixtures). ``datasets`` are digests of the data by their names. ``tolerances`` and
    ``directions`` are what the marker says of metrics, by pattern. ``repeats`` are the fresh runs
    that a suspicious value was followed by. ``run_metrics`` are the last values of metrics that
    stand in the run which the test itself held, and nowhere else here, and ``run_history`` all
    values of those of them that have several steps.

    ``objective`` is the metric by which the marker wants the cases of the test to be ranked.
    ``inputs`` are the datasets themselves. ``usage`` is what the call cost besides its time, by
    the name of a metric. Where the case did not run but was taken over, ``resumed_from`` is the id
    of the session that it ran in, and ``resumed_run`` the run that the test itself held there.
    """

    id: str
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
    arguments: tuple[str, ...] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)
    tolerances: Mapping[str, str] = field(default_factory=dict)
    directions: Mapping[str, str] = field(default_factory=dict)
    repeats: tuple[Attempt, ...] = ()
    run_metrics: Mapping[str, float] = field(default_factory=dict)
    run_history: tuple[Metric, ...] = ()
    objective: str | None = None
    inputs: tuple[DatasetInput, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    resumed_from: str | None = None
    resumed_run: str | None = None

    @property
    def sweep(self) -> str | None:
        """The node id of the test function whose cases this is one of; None without params."""
        return function_of(self.nodeid) if self.arguments else None

    @property
    def distinct_params(self) -> dict[str, str]:
        """The texts of the parametrized arguments; of a secret, the mask with its number."""
        # A param that is a secret is told by the index in the id alone.
        hidden = iter(_HIDDEN.findall(self.nodeid.partition("[")[2]))
        return {
            name: next(hidden, MASK) if (text := self.params.get(name, "")) == MASK else text
            for name in self.arguments
        }

    @property
    def duration(self) -> float:
        """Seconds of the call phase, or of the setup where the call was never reached."""
        return self.durations.get("call", self.durations.get("setup", 0.0))

    def as_attempt(self) -> Attempt:
        """Return what is kept of the record where it is an earlier attempt of another one."""
        return Attempt(
            outcome=self.outcome,
            duration=self.duration,
            metrics=self.metrics,
            checks=self.checks,
            failure=self.failure,
            usage=self.usage,
        )

    def to_builtins(self) -> Builtins:
        """Return the record as JSON builtins."""
        return {
            "id": self.id,
            "nodeid": self.nodeid,
            "case": self.case,
            "name": self.name,
            "outcome": self.outcome,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "durations": dict(self.durations),
            "params": dict(self.params),
            "metrics": [metric.to_builtins() for metric in self.metrics],
            "checks": [check.to_builtins() for check in self.checks],
            "tags": dict(self.tags),
            "artifacts": list(self.artifacts),
            "failure": self.failure,
            "run_id": self.run_id,
            "attempts": [attempt.to_builtins() for attempt in self.attempts],
            "notes": list(self.notes),
            **self._rare_builtins(),
        }

    def _rare_builtins(self) -> Builtins:
        """Return what most cases have none of: it is left out of their lines."""
        return {
            name: to_builtins(value)
            for name, to_builtins in _RARE.items()
            if (value := getattr(self, name))
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> CaseRecord:
        """Rebuild a record from :meth:`to_builtins`."""
        return cls(
            id=data["id"],
            nodeid=data["nodeid"],
            case=data["case"],
            name=data["name"],
            outcome=data["outcome"],
            start_time=data["start_time"],
            end_time=data["end_time"],
            durations=data["durations"],
            params=data["params"],
            metrics=tuple(map(Metric.from_builtins, data["metrics"])),
            checks=tuple(map(Check.from_builtins, data["checks"])),
            tags=data["tags"],
            artifacts=tuple(data["artifacts"]),
            failure=data["failure"],
            run_id=data["run_id"],
            attempts=tuple(map(Attempt.from_builtins, data["attempts"])),
            notes=tuple(data["notes"]),
            arguments=tuple(data.get("arguments", ())),
            datasets=data.get("datasets", {}),
            tolerances=data.get("tolerances", {}),
            directions=data.get("directions", {}),
            repeats=tuple(map(Attempt.from_builtins, data.get("repeats", ()))),
            run_metrics={name: float(value) for name, value in data.get("run_metrics", {}).items()},
            run_history=tuple(map(Metric.from_builtins, data.get("run_history", ()))),
            objective=data.get("objective"),
            inputs=tuple(map(DatasetInput.from_builtins, data.get("inputs", ()))),
            usage={name: float(value) for name, value in data.get("usage", {}).items()},
            resumed_from=data.get("resumed_from"),
            resumed_run=data.get("resumed_run"),
        )


def _each_to_builtins(values: Iterable[Attempt | DatasetInput | Metric]) -> list[Builtins]:
    return [value.to_builtins() for value in values]


def _encode_floats(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: encode_float(value) for name, value in values.items()}


_RARE: dict[str, Callable[[Any], object]] = {
    "arguments": list,
    "datasets": dict,
    "tolerances": dict,
    "directions": dict,
    "repeats": _each_to_builtins,
    "run_metrics": _encode_floats,
    "run_history": _each_to_builtins,
    "objective": str,
    "inputs": _each_to_builtins,
    "usage": _encode_floats,
    "resumed_from": str,
    "resumed_run": str,
}
"""How the fields that most cases leave empty become JSON builtins."""


def function_of(nodeid: str) -> str:
    """Return the node id of a case's test function."""
    file, colons, rest = nodeid.partition("::")
    return f"{file}{colons}{rest.partition('[')[0]}"
