"""Continue histories under new names: of metrics, and of cases that have other params now.

Nobody tells us of a renaming, so it is found in the sessions themselves: a name that is seen for
the last time, and one that is seen for the first time after it. Where exactly one old name fits
one new one, the older sessions are read as if they had the new one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final, TypeAlias, TypeVar, final

from ..records import function_of
from ..records.accepted import AcceptedStep
from ..records.case import placeless
from .direction import are_other_metrics, direction_by_name, is_cost
from .values import CaseValues, Lines, SessionValues

_TOLD: Final = 5
"""The number of sessions under the new name in which it is told."""

_Place: TypeAlias = tuple[str, str]
"""A case and a metric."""

_Old = TypeVar("_Old")


@final
@dataclass(frozen=True, slots=True)
class Continued:
    """Sessions of the past and accepted steps, with the names of today; ``notes`` tell of them."""

    past: list[SessionValues]
    accepted: Sequence[AcceptedStep] = ()
    notes: tuple[str, ...] = ()


def continued(
    past: Sequence[SessionValues],
    current: SessionValues | None = None,
    accepted: Sequence[AcceptedStep] = (),
    *,
    all_cases: bool = True,
) -> Continued:
    """Return the past with the names that its metrics and cases have now.

    Without ``all_cases``, the ``current`` session lacks cases: which one is another can't be told.
    """
    sessions = [*past, *([] if current is None else [current])]
    cases = _renamed_cases(sessions, len(sessions) if all_cases else len(past))
    metrics = _renamed_metrics(sessions, cases)
    if not cases and not metrics:
        return Continued([*past], accepted)
    moved = {
        (case, metric): place
        for session in past
        for case, values in session.cases.items()
        for metric in values.metrics
        if (place := _place(case, metric, cases, metrics)) != (case, metric)
    }
    return Continued(
        [_with_names(session, cases, moved) for session in past],
        [*_accepted(accepted, moved)],
        (*_case_notes(sessions, cases), *_metric_notes(sessions, cases, metrics)),
    )


def _place(
    case: str, metric: str, cases: Mapping[str, str], metrics: Mapping[_Place, str]
) -> _Place:
    case = cases.get(case, case)
    return case, metrics.get((case, metric), metric)


def _with_names(
    session: SessionValues, cases: Mapping[str, str], moved: Mapping[_Place, _Place]
) -> SessionValues:
    found: dict[str, CaseValues] = {}
    for case, values in session.cases.items():
        name = cases.get(case, case)
        names = {
            metric: place[1]
            for metric in values.metrics
            if (place := moved.get((case, metric))) is not None and place[1] != metric
        }
        if names:
            values = _with_metrics(values, name, names)
        elif name != case:
            values = replace(values, case=name)
        found[name] = values
    end = session.end
    if end is not None and end.levels:
        levels = []
        for level in end.levels:
            case, metric = moved.get((level.case, level.metric), (level.case, level.metric))
            levels.append(replace(level, case=case, metric=metric))
        end = replace(end, levels=tuple(levels))
    lines = Lines({moved.get(place, place): lines for place, lines in session.lines.items()})
    return replace(session, cases=found, lines=lines, end=end)


def _with_metrics(values: CaseValues, case: str, names: Mapping[str, str]) -> CaseValues:
    """Return a copy of the values with another name of the case, and of metrics."""
    names = {**{placeless(old): placeless(new) for old, new in names.items()}, **names}

    def renamed(by_metric: dict[str, _Old]) -> dict[str, _Old]:
        return by_metric and {
            names.get(metric, metric): value for metric, value in by_metric.items()
        }

    return replace(
        values,
        case=case,
        metrics=renamed(values.metrics),
        seeds=renamed(values.seeds),
        checks=renamed(values.checks),
        guards=renamed(values.guards),
        limits=renamed(values.limits),
        again=renamed(values.again),
        optional={names.get(metric, metric) for metric in values.optional},
        _places=None,
    )


def _accepted(
    steps: Iterable[AcceptedStep], moved: Mapping[_Place, _Place]
) -> Iterator[AcceptedStep]:
    """Yield the steps, and those for an old name once more for the new one."""
    for step in steps:
        yield step
        for old, new in moved.items():
            if step.matches(*old) and not step.matches(*new):
                levels = [
                    replace(level, case=new[0], metric=new[1])
                    for level in step.levels
                    if (level.case, level.metric) == old
                ]
                yield replace(step, case=new[0], metric=new[1], levels=tuple(levels))


# Cases


def _renamed_cases(sessions: Sequence[SessionValues], end: int) -> dict[str, str]:
    """Return the names of today by the former ones; cases of ``sessions[end:]`` have no other."""
    last: dict[str, CaseValues] = {}
    gone: dict[str, CaseValues] = {}
    pairs: dict[str, str] = {}
    if len({frozenset(session.cases) for session in sessions}) < 2:
        return pairs
    final_index = {case: n for n, session in enumerate(sessions) for case in session.cases}
    for number, session in enumerate(sessions[:end]):
        new = [values for case, values in session.cases.items() if case not in last]
        gone = {case: old for case, old in last.items() if final_index[case] < number}
        waiting = [old for case, old in gone.items() if case not in pairs]
        if new and waiting:
            pairs.update(_paired_cases(waiting, new))
        last.update(session.cases)
    return _chained(pairs)


def _chained(pairs: Mapping[_Old, _Old]) -> dict[_Old, _Old]:
    """Follow each old name to the newest one."""
    newest = dict(pairs)
    for old in pairs:
        while newest[old] in pairs:
            newest[old] = pairs[newest[old]]
    return newest


def _paired_cases(gone: Iterable[CaseValues], new: Iterable[CaseValues]) -> dict[str, str]:
    """Pair the cases of one test that have the same values of all params that they share."""
    groups: dict[str, tuple[list[CaseValues], list[CaseValues]]] = defaultdict(lambda: ([], []))
    for side, cases in enumerate((gone, new)):
        for case in cases:
            for group in dict.fromkeys((function_of(case.nodeid), _stem(case))):
                groups[group][side].append(case)
    found: dict[tuple[str, str], None] = {}
    for olds, news in groups.values():
        for before in dict.fromkeys(one.arguments for one in olds):
            for after in dict.fromkeys(one.arguments for one in news):
                shared = [name for name in before if name in after]
                if not shared and before and after:
                    continue
                left = [one for one in olds if one.arguments == before]
                right = [one for one in news if one.arguments == after]

                def params(case: CaseValues, shared: Sequence[str] = shared) -> Hashable:
                    return tuple([case.param(name) for name in shared])

                def exactly(case: CaseValues) -> Hashable:
                    return params(case), _results(case)

                for key in (params, exactly):
                    found.update(((a.case, b.case), None) for a, b in _unique(left, right, key))
    olds_of, news_of = Counter(new for _, new in found), Counter(old for old, _ in found)
    return {old: new for old, new in found if olds_of[new] == news_of[old] == 1}


def _stem(case: CaseValues) -> str:
    return case.case.partition("[")[0]


def _results(case: CaseValues) -> Hashable:
    """Return the values of a case that don't depend on the machine; several cases have none."""
    values = {name: values[-1] for name, values in case.metrics.items() if not is_cost(name)}
    return frozenset(values.items()) or case.case


def _unique(
    olds: Iterable[_Old], news: Iterable[_Old], key: Callable[[_Old], Hashable]
) -> Iterator[tuple[_Old, _Old]]:
    """Yield the pairs that nothing else has the key of."""
    sides: list[dict[Hashable, list[_Old]]] = [{}, {}]
    for by_key, items in zip(sides, (olds, news), strict=True):
        for item in items:
            by_key.setdefault(key(item), []).append(item)
    for value, found in sides[0].items():
        others = sides[1].get(value, ())
        if len(found) == len(others) == 1:
            yield found[0], others[0]


# Metrics


def _renamed_metrics(
    sessions: Sequence[SessionValues], cases: Mapping[str, str]
) -> dict[_Place, str]:
    """Return the metrics' names of today by the case's and the former one."""
    by_case: dict[str, list[CaseValues]] = {}
    for session in sessions:
        for case, values in session.cases.items():
            if values.passed:
                by_case.setdefault(cases.get(case, case), []).append(values)
    found: dict[_Place, str] = {}
    for case, history in by_case.items():
        names = history[-1].metrics.keys()
        if all(values.metrics.keys() == names for values in history):
            continue
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for number, values in enumerate(history):
            for metric in values.metrics:
                first.setdefault(metric, number)
                last[metric] = number
        pairs: dict[str, str] = {}
        for number in range(1, len(history)):
            gone = [name for name in history[number - 1].metrics if last[name] == number - 1]
            new = [name for name in history[number].metrics if first[name] == number]
            if gone and new:
                pairs.update(_paired_metrics(history[number - 1], gone, history[number], new))
        found.update({(case, old): new for old, new in _chained(pairs).items()})
    return found


def _paired_metrics(
    before: CaseValues, gone: Collection[str], after: CaseValues, new: Collection[str]
) -> dict[str, str]:
    """Pair metrics by guard and value, then by the guard alone, then by the value alone."""
    pairs: dict[str, str] = {}
    for by_guard, by_value in ((True, True), (True, False), (False, True)):
        fits = [
            (old, name)
            for old in gone
            for name in new
            if old not in pairs and name not in pairs.values()
            if _place_in(old) == _place_in(name)
            if not by_guard or _is_guarded_alike(before, old, after, name)
            if not by_value or before.metrics[old][-1] == after.metrics[name][-1]
            if not _disagree(placeless(old), placeless(name))
            if (by_guard and by_value)
            or (by_guard and not are_other_metrics(placeless(old), placeless(name)))
            or (not by_guard and _may_be_by_value(old, name, after.metrics[name][-1]))
        ]
        olds, news = Counter(old for old, _ in fits), Counter(name for _, name in fits)
        pairs.update({old: name for old, name in fits if olds[old] == news[name] == 1})
    return pairs


def _is_guarded_alike(before: CaseValues, old: str, after: CaseValues, new: str) -> bool:
    guard = before.limits.get(placeless(old))
    return guard is not None and guard == after.limits.get(placeless(new))


def _place_in(metric: str) -> str:
    return metric.removeprefix(placeless(metric))


def _may_be_by_value(old: str, new: str, value: float) -> bool:
    """Whether the same value tells that two names are one metric's: of 0 and 1 it doesn't."""
    others = are_other_metrics(placeless(old), placeless(new))
    return isfinite(value) and (others is False or (others is None and value not in (0, 1)))


def _disagree(old: str, new: str) -> bool:
    """Whether two names can't be those of one metric, as ``accuracy`` and ``loss``."""
    said = direction_by_name(old), direction_by_name(new)
    return None not in said and (said[0] != said[1] or is_cost(old) != is_cost(new))


# Notes


def _case_notes(sessions: Sequence[SessionValues], cases: Mapping[str, str]) -> Iterator[str]:
    now = {case: values for session in sessions for case, values in session.cases.items()}
    told: dict[object, list[str]] = {}
    for old, new in cases.items():
        if sum(new in session.cases for session in sessions) > _TOLD:
            continue
        before, after = now[old], now[new]
        added = [name for name in after.arguments if name not in before.arguments]
        lost = [name for name in before.arguments if name not in after.arguments]
        changes = [
            f"{verb} the param{'s' if names[1:] else ''} {', '.join(map(repr, names))}"
            for verb, names in (("got", added), ("lost", lost))
            if names
        ]
        why = f"before its test {' and '.join(changes)}" if changes else "before"
        text = f"{after.name} was called {before.name} {why}; its history is continued"
        told.setdefault((function_of(after.nodeid), *changes), []).append(text)
    for texts in told.values():
        yield texts[0] + (f" (like {len(texts) - 1:,} more)" if texts[1:] else "")


def _metric_notes(
    sessions: Sequence[SessionValues], cases: Mapping[str, str], metrics: Mapping[_Place, str]
) -> Iterator[str]:
    told: Counter[_Place] = Counter()
    names: dict[str, list[str]] = {}
    for old, new in cases.items():
        names.setdefault(new, []).append(old)
    for (case, old), new in metrics.items():
        every = (case, *names.get(case, ()))
        found = [one.cases[name] for one in sessions for name in every if name in one.cases]
        if sum(new in values.metrics for values in found) <= _TOLD:
            told[old, new] += 1
    for (old, new), number in told.items():
        where = f" (in {number:,} cases)" if number > 1 else ""
        yield f"{new} was called {old} before; its history is continued{where}"
