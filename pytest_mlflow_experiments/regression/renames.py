"""Continue histories under new names: of metrics, and of cases that have other params now.

Nobody tells us of a renaming, so it is found in the sessions themselves: a name that is seen for
the last time, and one that is seen for the first time after it. Where exactly one old name fits
one new one, the older sessions are read as if they had the new one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from itertools import product
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar, final

from ..records import function_of
from ..records.accepted import AcceptedStep
from ..records.case import placeless
from .direction import are_other_metrics, direction_by_name, is_cost
from .values import ADDRESS, CaseValues, Lines, SessionValues

_TOLD: Final = 5
"""The number of sessions under the new name in which it is told."""

_Place: TypeAlias = tuple[str, str]
"""A case and a metric."""

_ByArguments: TypeAlias = dict[tuple[str, ...], list[CaseValues]]

_Old = TypeVar("_Old")


@final
@dataclass(frozen=True, slots=True)
class Continued:
    """Sessions and accepted steps with the names of today; ``notes`` tell of them.

    ``ambiguous`` are texts that do not tell a case, see :func:`_told_by_text`.
    """

    past: list[SessionValues]
    current: SessionValues | None
    accepted: Sequence[AcceptedStep]
    notes: tuple[str, ...]
    ambiguous: frozenset[str]


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
    every, ambiguous = _told_by_text([*past, *([] if current is None else [current])])
    sessions = every
    if current is not None:
        *before, current = every
        sessions = [*(_with_ids_of(current, session) for session in before), current]
    cases = _renamed_cases(sessions, len(sessions) if all_cases else len(past))
    metrics = _renamed_metrics(sessions, cases)
    found = sessions[: len(past)]
    notes = (*_case_notes(sessions, cases), *_metric_notes(sessions, cases, metrics))
    if cases or metrics:
        accepted = [*_accepted(accepted, found, cases, metrics)]
        found = [_with_names(session, cases, metrics, recorded=False) for session in found]
    return Continued(found, current, accepted, notes, ambiguous)


def _place(
    case: str, metric: str, cases: Mapping[str, str], metrics: Mapping[_Place, str]
) -> _Place:
    case = cases.get(case, case)
    return case, metrics.get((case, metric), metric)


def _with_names(
    session: SessionValues,
    cases: Mapping[str, str],
    metrics: Mapping[_Place, str] = MappingProxyType({}),
    *,
    recorded: bool = True,
) -> SessionValues:
    """Return a session with other names of cases, and of metrics by the new name of the case.

    ``recorded`` tells to keep the identity that a case was recorded with.
    """
    if not cases and not metrics:
        return session
    found: dict[str, CaseValues] = {}
    for case, values in session.cases.items():
        name = cases.get(case, case)
        if metrics and (
            names := {old: metrics[name, old] for old in values.metrics if (name, old) in metrics}
        ):
            values = _with_metrics(values, names)
        if name != case:
            former = values.recorded or (case if recorded else "")
            values = replace(values, case=name, recorded=former)
        found[name] = values
    end = session.end
    if end is not None and end.levels:
        levels = []
        for level in end.levels:
            case, metric = _place(level.case, level.metric, cases, metrics)
            levels.append(replace(level, case=case, metric=metric))
        end = replace(end, levels=tuple(levels))
    lines = {_place(*key, cases, metrics): lines for key, lines in session.lines.items()}
    failed = [(cases.get(case, case), record) for case, record in session.failed]
    return replace(session, cases=found, failed=failed, lines=Lines(lines), end=end)


def _with_metrics(values: CaseValues, names: Mapping[str, str]) -> CaseValues:
    """Return a copy of the values with other names of metrics."""
    names = {**{placeless(old): placeless(new) for old, new in names.items()}, **names}
    by_metric = ("metrics", "seeds", "checks", "guards", "limits", "again")
    found: dict[str, Any] = {
        field: {names.get(metric, metric): one for metric, one in getattr(values, field).items()}
        for field in by_metric
    }
    optional = {names.get(metric, metric) for metric in values.optional}
    return replace(values, optional=optional, _places=None, **found)


def _accepted(
    steps: Sequence[AcceptedStep],
    past: Iterable[SessionValues],
    cases: Mapping[str, str],
    metrics: Mapping[_Place, str],
) -> Iterator[AcceptedStep]:
    """Yield the steps, and those for an old name once more for the new one."""
    moved = {
        (case, metric): place
        for session in (past if steps else ())
        for case, values in session.cases.items()
        for metric in values.metrics
        if (place := _place(case, metric, cases, metrics)) != (case, metric)
    }
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


# Cases by their params or ids


def _told_by_text(
    sessions: Sequence[SessionValues],
) -> tuple[list[SessionValues], frozenset[str]]:
    """Tell cases by the texts of their params, where pytest's ids only have positions.

    A value more in a list of params moves all positions after it. Cases that have the same text in
    one of the sessions keep their ids; these texts are returned.
    """
    ambiguous: set[str] = set()
    names = [
        {case: values.told for case, values in session.cases.items() if values.told}
        for session in sessions
    ]
    for session, told in zip(sessions, names, strict=True):
        found = Counter(told.values())
        ambiguous.update(told for told, number in found.items() if number > 1)
        ambiguous |= found.keys() & session.cases.keys()
    if ambiguous:
        names = [
            {case: told for case, told in one.items() if told not in ambiguous} for one in names
        ]
    return [*map(_with_names, sessions, names)], frozenset(ambiguous)


def _with_ids_of(current: SessionValues, session: SessionValues) -> SessionValues:
    """Give cases that are not in the current session the names that they have there.

    Such are a case with the same params whose ids are made in another way, and then one with the
    same id, whose params may have changed.
    """
    if session.cases.keys() <= current.cases.keys():
        return session
    for key in (_by_params, _by_id):
        lost = [values for case, values in session.cases.items() if case not in current.cases]
        if lost:
            new = [values for case, values in current.cases.items() if case not in session.cases]
            pairs = _unique(lost, new, key)
            session = _with_names(session, {old.case: values.case for old, values in pairs})
    return session


def _by_params(values: CaseValues) -> Hashable:
    params = sorted(pair for pair in values.context.items() if pair[0].startswith("param "))
    return (function_of(values.case), *params) if params else values.case


def _by_id(values: CaseValues) -> Hashable:
    return ADDRESS.sub("", values.recorded or values.case)


def common_keys(values: CaseValues) -> list[Hashable]:
    """Return keys of which a case has one in common with itself under another name."""
    groups = {function_of(values.nodeid), _stem(values)}
    params: list[tuple[Hashable, ...]] = [(one, values.param(one)) for one in values.arguments]
    return [_by_id(values), *((group, *param) for group in groups for param in params or [()])]


# Cases with params that were added or removed


def _renamed_cases(sessions: Sequence[SessionValues], end: int) -> dict[str, str]:
    """Return the names of today by the former ones; cases of ``sessions[end:]`` have no other."""
    pairs: dict[str, str] = {}
    if len({frozenset(session.cases) for session in sessions}) < 2:
        return pairs
    last: dict[str, CaseValues] = {}  # without those that are paired
    final_index = {case: n for n, session in enumerate(sessions) for case in session.cases}
    for number, session in enumerate(sessions[:end]):
        new = [values for case, values in session.cases.items() if case not in last]
        gone = [old for case, old in last.items() if final_index[case] < number]
        if new and gone:
            found = _paired_cases(gone, new)
            pairs.update(found)
            last = {case: old for case, old in last.items() if case not in found}
        last.update(session.cases)
    return _chained(pairs)


def _chained(pairs: Mapping[_Old, _Old]) -> dict[_Old, _Old]:
    """Follow each old name to the newest one."""
    newest = dict(pairs)
    for old in reversed([*pairs]):  # what an old name became was paired after it
        newest[old] = newest.get(pairs[old], pairs[old])
    return newest


def _paired_cases(gone: Iterable[CaseValues], new: Iterable[CaseValues]) -> dict[str, str]:
    """Pair the cases of one test that have the same values of all params that they share."""
    groups: dict[str, tuple[_ByArguments, _ByArguments]] = defaultdict(
        lambda: (defaultdict(list), defaultdict(list))
    )
    for side, cases in enumerate((gone, new)):
        for case in cases:
            for group in dict.fromkeys((function_of(case.nodeid), _stem(case))):
                groups[group][side][case.arguments].append(case)
    found: dict[tuple[str, str], None] = {}
    for olds, news in groups.values():
        for (before, left), (after, right) in product(olds.items(), news.items()):
            shared = [name for name in before if name in after]
            if not shared and before and after:
                continue

            def params(case: CaseValues, shared: Sequence[str] = shared) -> Hashable:
                return tuple([case.param(name) for name in shared])

            pairs = _unique(left, right, params, _results)
            found.update(((old.case, values.case), None) for old, values in pairs)
    olds_of, news_of = Counter(new for _, new in found), Counter(old for old, _ in found)
    return {old: new for old, new in found if olds_of[new] == news_of[old] == 1}


def _stem(case: CaseValues) -> str:
    return case.case.partition("[")[0]


def _results(case: CaseValues) -> Hashable:
    """Return the values of a case that don't depend on the machine; several cases have none."""
    values = {name: values[-1] for name, values in case.metrics.items() if not is_cost(name)}
    return frozenset(values.items()) or case.case


def _unique(
    olds: Iterable[_Old], news: Iterable[_Old], *keys: Callable[[_Old], Hashable]
) -> Iterator[tuple[_Old, _Old]]:
    """Yield the pairs that nothing else has the first key of; of several, further keys tell."""
    key, *others = keys
    sides: list[dict[Hashable, list[_Old]]] = [{}, {}]
    for by_key, items in zip(sides, (olds, news), strict=True):
        for item in items:
            by_key.setdefault(key(item), []).append(item)
    several = []
    for value, left in sides[0].items():
        right = sides[1].get(value, [])
        if len(left) == len(right) == 1:
            yield left[0], right[0]
        elif right and others:
            several.append((left, right))
    for left, right in several:
        yield from _unique(left, right, *others)


# Metrics


def _renamed_metrics(
    sessions: Sequence[SessionValues], cases: Mapping[str, str]
) -> dict[_Place, str]:
    """Return the metrics' names of today by the case's and the former one."""
    named: dict[str, Mapping[str, object]] = {}
    changed: dict[str, list[CaseValues]] = {}
    for session in sessions:
        for case, values in session.cases.items():
            if values.passed:
                # Each metric has its seeds, and sessions that were kept share them.
                names, case = values.seeds, cases.get(case, case)
                known = named.setdefault(case, names)
                if known is not names and known.keys() != names.keys():
                    changed[case] = []
    for session in sessions if changed else ():
        for case, values in session.cases.items():
            if values.passed and (case := cases.get(case, case)) in changed:
                changed[case].append(values)
    found: dict[_Place, str] = {}
    for case, history in changed.items():
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
