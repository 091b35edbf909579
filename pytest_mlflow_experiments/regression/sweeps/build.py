"""Collect the cases of a session, one by one, and build its sweeps."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from math import inf, isnan
from operator import attrgetter
from typing import Final, TypeVar, final

from ...records import PASSED_OUTCOMES, CaseRecord, Check
from ...records.case import function_of, values_by_name
from ...records.param_kinds import param_kind, repeats_among
from ..comparer import CompareOptions, known_direction
from ..comparison import MetricComparison
from ..guards import Guard, Meaning, is_guarded_cost
from ..values import DURATION
from .effects import effects
from .model import Configuration, Mode, Slice, SliceTable, Sweep
from .ranking import Case, Group, folded, pareto_front, ranked

_GUARD: Final = attrgetter("metric", "operator", "limit", "expression", "logged")


@final
class Objective:
    """Collects what the cases of one test say about their objective, the metric to rank by."""

    def __init__(self) -> None:
        self._named: dict[str, None] = {}
        self._asserted: dict[str, set[Guard]] = {}
        self._logged: dict[str, None] = {}
        self._costs: dict[str, None] = {}
        self._directions: dict[str, str] = {}
        self._guards: dict[str, set[frozenset[tuple[str, float]]]] = {}
        self._known: set[tuple[object, ...]] = set()

    def add(self, record: CaseRecord) -> None:
        """Add one case."""
        if record.objective is not None:
            self._named.setdefault(record.objective)
        # Most cases of a test have the same.
        checks = (*map(_GUARD, record.checks),)
        if checks not in self._known:
            self._known.add(checks)
            self._add_guards(record.checks)
        for metric in record.metrics:
            self._logged[metric.key] = None
        for name in record.run_metrics:
            self._logged[name] = None
        for name in record.usage:
            self._costs[name] = None
        self._directions.update(record.directions)

    def _add_guards(self, checks: Sequence[Check]) -> None:
        guards: dict[str, set[tuple[str, float]]] = {}
        for check in checks:
            self._asserted.setdefault(check.metric, set()).add(Guard.of(check))
            guards.setdefault(check.metric, set()).add((check.operator, check.limit))
        for name, found in guards.items():
            self._guards.setdefault(name, set()).add(frozenset(found))

    def choose(
        self, directions: Sequence[tuple[str, Mode | None]]
    ) -> tuple[str | None, Mode | None, list[str]]:
        """Choose the objective; return its name, its mode (which is better) and notes for users.

        It is the one that the marker names; else the first that an assertion guards, else the first
        that was logged; of both, metrics with a known direction come first. Costs are never chosen.
        ``directions`` are those of the ini file, by pattern.
        """

        def guards(metric: str) -> Collection[Guard]:
            return self._asserted.get(metric, ())

        def meaning(metric: str) -> Meaning:
            return known_direction(metric, guards(metric), self._directions, directions)[0]

        def mode_of(metric: str) -> Mode | None:
            return meaning(metric).direction

        chosen = next(iter(self._named), None)
        for metrics in (self._asserted, self._logged):
            if chosen is None:
                usable = [one for one in metrics if not is_guarded_cost(one, guards(one))]
                if metrics is self._asserted:
                    usable = [metric for metric in usable if not meaning(metric).is_range]
                chosen = next(filter(mode_of, usable), next(iter(usable), None))
        if chosen is not None:
            mode = mode_of(chosen)
            return chosen, mode, self._notes(chosen, mode)
        if not self._logged:
            return None, None, []
        costs = ", ".join(self._logged)
        note = f"Nothing but costs was measured ({costs}): the marker's objective=... names one"
        return None, None, [note]

    def choose_second(
        self, objective: str, found: Sequence[Configuration], options: CompareOptions
    ) -> tuple[str | None, Mode | None]:
        """Choose the metric, beside the objective, that the test wants to be good; and its mode.

        It is the first asserted one, else the first logged one, with a known direction and several
        values. Costs count, but for those that are measured of each case anyway.
        """
        measured = self._costs.keys() | {DURATION, objective}
        for metric in dict.fromkeys((*self._asserted, *self._logged)):
            if metric in measured or len({one.metrics.get(metric) for one in found}) < 2:
                continue
            guards = self._asserted.get(metric, ())
            meaning = known_direction(metric, guards, self._directions, options.directions)[0]
            if meaning.direction is not None and not meaning.is_range:
                return metric, meaning.direction
        return None, None

    def has_one_guard(self, metric: str) -> bool:
        """Return whether the assertions of all cases hold a metric against the same limits.

        A case that failed may lack some.
        """
        guards = self._guards.get(metric, set())
        return all(found <= max(guards, key=len) for found in guards)

    def _notes(self, chosen: str, mode: Mode | None) -> list[str]:
        notes = []
        known = self._logged.keys() | self._costs.keys() | {DURATION}
        if chosen not in known:
            metrics = ", ".join(self._logged) or "no metric at all"
            notes.append(f"No case has a value of the objective {chosen!r}; there is {metrics}")
        if len(self._named) > 1:
            others = ", ".join(name for name in self._named if name != chosen)
            notes.append(f"The cases name other objectives too ({others}); the first one counts")
        if mode is None:
            notes.append(
                f"Whether greater or smaller values of {chosen!r} are better is not known: the "
                "marker's objective=... and mode='min' or 'max' tell"
            )
        return notes


_Entry = TypeVar("_Entry")


@final
class SweepBuilder:
    """Collects cases, and builds a sweep for each parametrized test that is one.

    It is one if its marker says so. Otherwise what :attr:`.CaseRecord.sweep` sees in a case must be
    true of all of them; and together they must be several configurations, of which no param names
    parts of the data, with one guard for the objective, and other values than 0 and 1 (such are
    the questions of an evaluation).

    What is kept of a case is a few hundred bytes, so that there may be many thousands of them. The
    options name the params that only repeat a configuration, and the directions.
    """

    def __init__(self, options: CompareOptions) -> None:
        self._options = options
        self._tests: dict[str, _Test | None] = {}
        self._slices: dict[str, dict[str, dict[str, str]]] = {}
        self._built: tuple[Sweep, ...] | None = None

    def add(self, record: CaseRecord) -> None:
        """Add a case; if it is added twice, its last record counts."""
        if not record.arguments:
            return
        self._built = None
        function = function_of(record.nodeid)
        params = record.distinct_params
        repeats = repeats_among(record.arguments, params, self._options.seed_params)
        kinds = {*map(param_kind, params, params.values())}
        seeds = {name: params.pop(name) for name in repeats}
        if "slice" in kinds and not record.is_marked_sweep:
            self._slices.setdefault(function, {})[record.nodeid] = params
        if not record.is_sweep(kinds):
            self._tests[function] = None
        elif function not in self._tests:
            name = record.name.removesuffix(record.nodeid.removeprefix(function))
            self._tests[function] = _Test(function, name)
        if (test := self._tests[function]) is not None:
            test.add(record, params, seeds)

    def watch(self, entries: Iterable[_Entry]) -> Iterator[_Entry]:
        """Pass the entries of a journal through, and add the cases among them."""
        for entry in entries:
            if isinstance(entry, CaseRecord):
                self.add(entry)
            yield entry

    def build(self) -> tuple[Sweep, ...]:
        """Return the sweeps of what was added so far, in the order in which they started."""
        if self._built is None:
            built = (test.build(self._options) for test in self._tests.values() if test is not None)
            self._built = tuple(sweep for sweep in built if sweep is not None)
        return self._built

    def slices(self, metrics: Iterable[MetricComparison]) -> tuple[SliceTable, ...]:
        """Return a table for each metric of the tests whose params name parts of the data.

        ``metrics`` are those of the whole session. Costs have none.
        """
        found: dict[tuple[str, str], list[MetricComparison]] = {}
        for row in metrics:
            test = function_of(row.nodeid)
            if test in self._slices and not row.cost:
                found.setdefault((test, row.metric), []).append(row)
        tables = [
            slice_table(test, rows, self._slices[test])
            for (test, _), rows in found.items()
            if len(rows) > 1
        ]
        tables.sort(key=lambda table: not table.slices[0].is_worse)
        return tuple(tables)


def slice_table(
    test: str, rows: Sequence[MetricComparison], params: Mapping[str, Mapping[str, str]]
) -> SliceTable:
    """Return the table of one metric; ``params`` are those of the cases, by node id."""
    texts = {row.nodeid: params.get(row.nodeid) or _of_id(row) for row in rows}
    names = dict.fromkeys(name for found in texts.values() for name in found)
    varying = [name for name in names if len({found.get(name) for found in texts.values()}) > 1]
    mode = rows[0].direction
    slices = [
        Slice(
            params={name: text for name, text in texts[row.nodeid].items() if name in varying},
            **{one.name: getattr(row, one.name) for one in fields(Slice) if one.name != "params"},
        )
        for row in rows
    ]

    def badness(part: Slice) -> tuple[bool, bool, float]:
        value = part.current if part.current is not None else part.baseline
        if value is None or isnan(value) or mode is None:
            return not part.gates, not part.is_worse, 0.0 if mode is None else -inf
        return not part.gates, not part.is_worse, value if mode == "max" else -value

    return SliceTable(
        test=test,
        name=rows[0].name.partition("[")[0],
        metric=rows[0].metric,
        mode=mode,
        slices=tuple(sorted(slices, key=badness)),
    )


def _of_id(row: MetricComparison) -> dict[str, str]:
    """Return the id of a case that is missing, whose params are not known."""
    return {"id": row.name.partition("[")[2].removesuffix("]")}


@final
class _Test:
    """The cases of one parametrized test; texts that they share are stored once."""

    def __init__(self, test: str, name: str) -> None:
        self._test = test
        self._name = name
        self._params: dict[str, None] = {}
        self._repeats: dict[str, None] = {}
        self._cases: dict[str, Case] = {}
        self._objective = Objective()
        self._is_marked = False
        self._texts: dict[str, str] = {}
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, record: CaseRecord, params: Mapping[str, str], seeds: Mapping[str, str]) -> None:
        """Add a case of this test; ``seeds`` are those of its params that only repeat it."""
        self._objective.add(record)
        self._is_marked |= record.is_marked_sweep
        for name in params:
            self._params[name] = None
        for name in seeds:
            self._repeats[name] = None
        values = _values(record)
        self._cases[record.nodeid] = Case(
            record.nodeid,
            self._shared(params),
            self._shared(params.values()),
            self._shared([f"{name}={text}" for name, text in seeds.items()]),
            record.outcome in PASSED_OUTCOMES or record.outcome == "skipped",
            self._shared(values),
            array("d", [*values.values()]),
        )

    def build(self, options: CompareOptions) -> Sweep | None:
        """Return the sweep of the cases so far; None if they are none."""
        objective, mode, notes = self._objective.choose(options.directions)
        groups = _groups(self._cases.values())
        configurations = [folded(group, objective) for group in groups]
        if not self._is_marked and not self._looks_swept(objective, configurations):
            return None
        second, second_mode, front = None, None, set[int]()
        found = ranked(configurations, mode)
        if objective is not None and mode is not None:
            second, second_mode = self._objective.choose_second(objective, found, options)
            if second is not None and second_mode is not None:
                front = pareto_front(found, second, (mode, second_mode))
        return Sweep(
            test=self._test,
            name=self._name,
            params=tuple(self._params),
            repeats=tuple(self._repeats),
            objective=objective,
            mode=mode,
            configurations=tuple(
                replace(one, on_front=True) if place in front else one
                for place, one in enumerate(found)
            ),
            effects=effects(configurations, tuple(self._params), mode),
            cases=len(self._cases),
            failed=sum(not case.passed for case in self._cases.values()),
            notes=(*notes, *_alike(groups)),
            second=second,
            second_mode=second_mode,
        )

    def _looks_swept(self, objective: str | None, found: Sequence[Configuration]) -> bool:
        values = {value for one in found for value in one.values}
        return (
            objective is not None
            and len(found) > 1
            and not values <= {0.0, 1.0}
            and self._objective.has_one_guard(objective)
            and not any(param_kind(param, "") == "slice" for param in self._params)
        )

    def _shared(self, texts: Iterable[str]) -> tuple[str, ...]:
        found = tuple(texts)
        if (known := self._tuples.get(found)) is None:
            known = tuple([self._texts.setdefault(text, text) for text in found])
            self._tuples[known] = known
        return known


def _values(record: CaseRecord) -> dict[str, float]:
    """Return one value of each metric, the costs of the case included."""
    values = {**record.usage}
    if (duration := record.durations.get("call")) is not None:
        values[DURATION] = duration
    values |= record.run_metrics
    values |= values_by_name(record.metrics)
    values |= record.best
    return values


def _groups(cases: Iterable[Case]) -> list[Group]:
    """Group the cases by configuration, in the order of their first cases.

    Cases with the same params are repeats where their seeds differ. Different objects with the same
    text are different configurations: then a seed occurs twice, and the ids tell them apart.
    """
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], Group] = {}
    for case in cases:
        found.setdefault((case.names, case.texts), []).append(case)
    return [part for group in found.values() for part in _split(group)]


def _split(group: Group) -> Iterable[Group]:
    if _differ(group):
        return [group]
    parts: dict[tuple[str, ...], Group] = {}
    for case in group:
        parts.setdefault(_id_without_seeds(case), []).append(case)
    return [
        part
        for found in parts.values()
        for part in ([found] if _differ(found) else [[case] for case in found])
    ]


def _differ(group: Group) -> bool:
    return len({case.seeds for case in group}) == len(group)


def _id_without_seeds(case: Case) -> tuple[str, ...]:
    tokens = case.nodeid.partition("[")[2].removesuffix("]").split("-")
    for seed in case.seeds:
        text = seed.partition("=")[2]
        if text in tokens:
            tokens.remove(text)
    return tuple(tokens)


def _alike(groups: Collection[Group]) -> list[str]:
    """Return a note if different configurations have the same texts."""
    kinds = {(group[0].names, group[0].texts) for group in groups}
    if len(kinds) == len(groups):
        return []
    return ["Some configurations have the same params and differ in the ids of their cases only"]
