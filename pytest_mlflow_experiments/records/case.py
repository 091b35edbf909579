"""The record of one test case: metrics, checks, params, datasets, the outcome."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias, final

from .codec import ADDED, RARE, AnySize, Constraint, written_after
from .param_kinds import ParamKind, param_kind
from .secrets import MASK

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    # Frozen for type checkers alone: otherwise each field of the thousands takes a call to set.
    from dataclasses import dataclass as _dataclass

    def dataclass(*, frozen, **options):
        """Make a dataclass that nothing sets a field of, and that compares and hashes as such."""
        return _dataclass(unsafe_hash=frozen, **options)


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

    A test may log any ``step``; the tracker brings it into MLflow's range. ``place`` tells values
    apart that assertions saw in one case: the key of the loop (``cat``), or ``2 of 5``.
    """

    key: str
    value: float
    step: AnySize
    timestamp: int
    place: str = field(default="", metadata=RARE)


MAX_PLACES: Final = 100
"""The number of places at which the values of a metric are told apart within one case."""

ANY_PLACE: Final = "*"
"""The place of a value that is one of many, or of random examples: its place tells nothing."""

_POSITION: Final = re.compile(r"(?:.+, )?(?:\d+ of \d+|\*)")

SUMMARIES: Final = ("lowest", "highest", "mean")
"""What stands for the values at several places together."""


def name_at(key: str, place: str) -> str:
    """Return the name of a metric at a place: ``recall[cat]``."""
    return f"{key}[{place}]" if place else key


def is_key(place: str) -> bool:
    """Whether the code itself names the place, in a loop over names or numbers."""
    return _POSITION.fullmatch(place) is None


def is_on_line(place: str) -> bool:
    """Whether values at such places are drawn as a line: positions and numbers, but no names."""
    return place.isdigit() or not is_key(place)


def placeless(name: str) -> str:
    """Return the name of a metric without its place."""
    return name.partition("[")[0] if name.endswith("]") and name[0] != "[" else name


_PLACE: Final = attrgetter("place")


def values_by_place(metrics: Sequence[Metric]) -> dict[str, float]:
    """Return what is compared: the last value of a metric, or its values at their places.

    Values at several places come with their :data:`SUMMARIES`, for sessions in which the places
    are others.
    """
    if not any(map(_PLACE, metrics)):
        return last_values(metrics)
    placed: dict[str, list[Metric]] = {}
    for metric in metrics:
        placed.setdefault(metric.key, []).append(metric)
    values: dict[str, float] = {}
    for key, found in placed.items():
        if not all(metric.place for metric in found):
            values |= last_values(found)
            continue
        values |= {name_at(key, one.place): one.value for one in found if one.place != ANY_PLACE}
        numbers = [metric.value for metric in found]
        # A number that is none is lower and higher than all others.
        none = next((number for number in numbers if number != number), None)
        mean = sum(numbers) / len(numbers)
        summary = (min(numbers), max(numbers), mean) if none is None else (none, none, none)
        values |= {name_at(key, name): one for name, one in zip(SUMMARIES, summary, strict=True)}
    return values


def values_by_name(metrics: Sequence[Metric]) -> dict[str, float]:
    """Return one value of each metric: the last one, or the mean of those at several places."""
    values = values_by_place(metrics)
    for name in values:
        if name.endswith("[mean]"):
            break
    else:
        return values
    return {
        name: values.get(name_at(name, "mean"), last) for name, last in last_values(metrics).items()
    }


_MOMENT: Final = attrgetter("step", "timestamp")


def last_values(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return the value of each metric as MLflow's tables show it: that of the highest step."""
    ordered = sorted(metrics, key=_MOMENT)
    return {metric.key: metric.value for metric in ordered}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One comparison that an assertion made, normalised to read ``value operator limit``.

    ``operator`` ``"=="`` is a comparison with :func:`pytest.approx`; ``tolerance`` is then the
    absolute distance it allows, and None otherwise. ``passed`` tells whether the comparison held;
    ``alternative`` that the assertion could hold without it, as in ``a < b or c``; ``expression``
    that the value is calculated from what the metric's name names, as in ``train - test < 0.3``;
    ``logged`` that the test logged the metric, too; ``twin`` that the limit is another name of the
    same number, which is no limit to judge by. ``place`` is the metric's.
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
    twin: bool = field(default=False, metadata=RARE)
    place: str = field(default="", metadata=RARE)

    @property
    @written_after("tolerance")
    def margin(self) -> float:
        """How far ``value`` is on the good side of ``limit``, in the metric's unit."""
        return self.margin_of(self.value)

    def margin_of(self, value: float) -> float:
        """Return the margin that another value would have."""
        if self.operator in (">", ">="):
            return value - self.limit
        if self.operator in ("<", "<="):
            return self.limit - value
        return (self.tolerance or 0.0) - abs(value - self.limit)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt of a case that was run again, or a fresh run of a suspicious one.

    ``usage`` is as in :class:`CaseRecord`. ``seed`` is the number that the fixture ``mlflow_seed``
    gave a fresh run, None where the test did not ask for one. ``best`` is as in the case's record.
    """

    outcome: Outcome
    duration: float
    metrics: tuple[Metric, ...] = ()
    checks: tuple[Check, ...] = ()
    failure: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict, metadata=RARE)
    seed: int | None = field(default=None, metadata=RARE)
    best: Mapping[str, float] = field(default_factory=dict, metadata=RARE)


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

    ``objective`` is the marker's metric for ranking the cases of the test, ``swept`` its ``sweep``;
    ``best`` are the values of those metrics whose best step counts, not their last.
    ``inputs`` are the datasets themselves. ``usage`` maps metric names to what the call cost (CPU
    seconds, memory). If the case was resumed and did not run, ``resumed_from`` is the id of the
    session that it ran in, and ``resumed_run`` the test's own MLflow run there. Copies without
    checks have ``guards`` instead, as :func:`guard_texts` makes them. A ``tentative`` record is
    kept only if the baseline has the case: the test failed before its first metric.
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
    best: Mapping[str, float] = field(default_factory=dict, metadata=RARE)
    inputs: tuple[DatasetInput, ...] = field(default=(), metadata=RARE)
    usage: Mapping[str, float] = field(default_factory=dict, metadata=RARE)
    resumed_from: str | None = field(default=None, metadata=RARE)
    resumed_run: str | None = field(default=None, metadata=RARE)
    guards: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    tentative: bool = field(default=False, metadata=RARE)

    @property
    def sweep(self) -> str | None:
        """The node id of the test function, if its params look like those of a sweep; else None.

        It is what one case can tell, as its run in MLflow is written before the others have ended:
        a marker that says so, or settings (:func:`.param_kind`) and no data. Reports, which know
        all cases and the ini file's ``mlflow_seed_params``, call some of these tests no sweep.
        """
        kinds = {param_kind(name, self.params.get(name, "")) for name in self.arguments}
        return function_of(self.nodeid) if self.is_sweep(kinds) else None

    def is_sweep(self, kinds: AbstractSet[ParamKind]) -> bool:
        """Whether the params, which are of these kinds, look like those of a :attr:`sweep`."""
        if not self.arguments or self.swept is False:
            return False
        return self.is_marked_sweep or (
            "data" not in kinds and ("setting" in kinds or len(kinds) > 1)
        )

    @property
    def is_marked_sweep(self) -> bool:
        """Whether the marker makes the test a sweep, whatever its params are."""
        return self.swept if self.swept is not None else self.objective is not None

    @property
    def distinct_params(self) -> dict[str, str]:
        """The texts of the parametrized arguments; a secret is a numbered mask."""
        params = self.params
        texts = {name: params.get(name, "") for name in self.arguments}
        if MASK not in params.values():
            return texts
        # A param that is a secret is told by the index in the id alone.
        hidden = iter(_HIDDEN.findall(self.nodeid.partition("[")[2]))
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


def guard_texts(
    checks: Iterable[tuple[str, int, str, float | str, float | str | None]],
) -> dict[str, str]:
    """Return the guards of the last value of each metric, such as ``"> 0.5, == 0.9 ± 0.1"``.

    Of a check they are metric, step, operator, limit and tolerance.
    """
    last: dict[str, tuple[int, dict[str, None]]] = {}
    for metric, step, operator, limit, tolerance in checks:
        newest = last.get(metric)
        if newest is None or step > newest[0]:
            newest = last[metric] = step, {}
        if step == newest[0]:
            around = "" if tolerance is None else f" ± {float(tolerance)!r}"
            newest[1][f"{operator} {float(limit)!r}{around}"] = None
    return {metric: ", ".join(guards) for metric, (_, guards) in last.items()}


def named_few(names: Collection[str], most: int, *, separator: str = ", ") -> str:
    """Name the first few, and count the others: ``a, b and 1,204 more``."""
    shown = separator.join([*names][:most])
    rest = len(names) - most
    return f"{shown}{separator.rstrip(', ')} and {rest:,} more" if rest > 0 else shown


def function_of(nodeid: str) -> str:
    """Return the node id of a case's test function."""
    file, colons, rest = nodeid.partition("::")
    return f"{file}{colons}{rest.partition('[')[0]}"
