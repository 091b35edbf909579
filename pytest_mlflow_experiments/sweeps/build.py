"""Collect the cases of a session, one by one, and make its sweeps of them.

A caller that has a journal makes both of what it reads in one pass::

    builder = sweep_builder(options)  # of regression.sweeps, which knows which way is better
    for entry in builder.watch(journal.read(path)):
        ...  # or hand the iterator to read_sessions
    sweeps = builder.build()
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TypeVar, final

from ..records import PASSED_OUTCOMES, CaseRecord, last_values
from .effects import effects
from .model import Mode, Sweep
from .objective import Objective
from .ranking import Case, Group, folded, ranked

_Entry = TypeVar("_Entry")

_DURATION = "duration_seconds"


@final
class SweepBuilder:
    """Collects cases, and makes the sweeps of them: the parametrized tests.

    What is kept of a case is a few hundred bytes, so that there may be many thousands of them.

    Args:
        seed_params: names of params that only repeat a configuration.
        direction_of: tells which values of a metric are better, from its name, the operators of
            the assertions that guard it, and what the marker says of metrics, by pattern.
        is_cost: tells whether a metric is a time, money or the like, by its name. Such a metric is
            what cases are ranked by only where the marker says so.
    """

    def __init__(
        self,
        seed_params: AbstractSet[str],
        direction_of: Callable[[str, Collection[str], Mapping[str, str]], Mode | None],
        *,
        is_cost: Callable[[str], bool] = lambda metric: False,
    ) -> None:
        self._seed_params = seed_params
        self._direction_of = direction_of
        self._is_cost = is_cost
        self._tests: dict[str, _Test] = {}

    def add(self, record: CaseRecord) -> None:
        """Add a case; one that is not parametrized is passed over.

        Where a case comes twice, its last record counts.
        """
        sweep = record.sweep
        if sweep is None:
            return
        test = self._tests.get(sweep)
        if test is None:
            name = record.name.removesuffix(record.nodeid.removeprefix(sweep))
            test = self._tests[sweep] = _Test(sweep, name)
        test.add(record, self._seed_params)

    def watch(self, entries: Iterable[_Entry]) -> Iterator[_Entry]:
        """Yield the entries of a journal as they come, and add the cases among them."""
        for entry in entries:
            if isinstance(entry, CaseRecord):
                self.add(entry)
            yield entry

    def build(self) -> tuple[Sweep, ...]:
        """Return the sweeps of what was added so far, in the order in which they started."""
        return tuple(test.build(self._direction_of, self._is_cost) for test in self._tests.values())


@final
class _Test:
    """The cases of one parametrized test; texts that they share are kept once."""

    def __init__(self, test: str, name: str) -> None:
        self._test = test
        self._name = name
        self._params: dict[str, None] = {}
        self._repeats: dict[str, None] = {}
        self._cases: dict[str, Case] = {}
        self._objective = Objective()
        self._texts: dict[str, str] = {}
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, record: CaseRecord, seed_params: AbstractSet[str]) -> None:
        """Add a case of this test."""
        self._objective.add(record)
        texts = record.distinct_params
        params = {name: text for name, text in texts.items() if name not in seed_params}
        seeds = {name: text for name, text in texts.items() if name in seed_params}
        self._params.update(dict.fromkeys(params))
        self._repeats.update(dict.fromkeys(seeds))
        values = _values(record)
        self._cases[record.nodeid] = Case(
            nodeid=record.nodeid,
            names=self._shared(params),
            texts=self._shared(params.values()),
            seeds=self._shared(f"{name}={text}" for name, text in seeds.items()),
            passed=record.outcome in PASSED_OUTCOMES or record.outcome == "skipped",
            metrics=self._shared(values),
            values=array("d", values.values()),
        )

    def build(
        self,
        direction_of: Callable[[str, Collection[str], Mapping[str, str]], Mode | None],
        is_cost: Callable[[str], bool],
    ) -> Sweep:
        """Return the sweep of the cases so far."""
        objective, mode, notes = self._objective.choose(direction_of, is_cost)
        groups = _groups(self._cases.values())
        configurations = [folded(group, objective) for group in groups]
        return Sweep(
            test=self._test,
            name=self._name,
            params=tuple(self._params),
            repeats=tuple(self._repeats),
            objective=objective,
            mode=mode,
            configurations=ranked(configurations, mode),
            effects=effects(configurations, tuple(self._params)),
            cases=len(self._cases),
            failed=sum(not case.passed for case in self._cases.values()),
            notes=(*notes, *_alike(groups)),
        )

    def _shared(self, texts: Iterable[str]) -> tuple[str, ...]:
        found = tuple(self._texts.setdefault(text, text) for text in texts)
        return self._tuples.setdefault(found, found)


def _values(record: CaseRecord) -> dict[str, float]:
    """Return the last value of each metric, with what the case cost."""
    costs = dict(record.usage)
    if (duration := record.durations.get("call")) is not None:
        costs[_DURATION] = duration
    return {**costs, **record.run_metrics, **last_values(record.metrics)}


def _groups(cases: Iterable[Case]) -> list[Group]:
    """Return the cases by configuration, in the order in which these came.

    Cases with the same params are repeats where their seeds differ. Objects that only look the same
    make configurations of their own: then one seed comes twice, and the ids tell them apart.
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
    """Return a note where configurations look the same."""
    kinds = {(group[0].names, group[0].texts) for group in groups}
    if len(kinds) == len(groups):
        return []
    return ["Some configurations have the same params and differ in the ids of their cases only"]
