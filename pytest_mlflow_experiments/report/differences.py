"""The differences between two sessions, the largest first, decided by a rule or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, inf, isfinite, isnan, sqrt
from typing import Final, final

from ..records import tags as tag
from ..records.case import named_few
from ..regression.compare import session_info
from ..regression.comparison import Comparison
from ..regression.direction import is_cost
from ..regression.renames import continued
from ..regression.statistics import average, deviation
from ..regression.values import (
    CaseValues,
    SessionValues,
    values_of,
)
from .headline import UNDECIDED, describe_session
from .numbers import NOTHING, count, moment, relative, signed, value
from .text import one_line

_SHOWN: Final = 50
_NAMED: Final = 5
_LARGE: Final = 10
_UNKNOWN: Final = 0.01
"""What stands for the scatter where none is known, as a share of the value: it orders the rows."""

_OF_PLACE: Final = frozenset({tag.BRANCH, tag.COMMIT, tag.TESTED, tag.REPOSITORY, tag.CHANGES})
_UNTOLD: Final = ("ci.", "pytest.", "mlflow.note", "mlflow.user")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of one case in two sessions.

    ``scatter`` is the standard deviation of one value, None where nothing tells it, and ``origin``
    says what does. ``status`` is the verdict of the rule where that decides, else empty.
    """

    case: str
    metric: str
    old: float
    new: float
    scatter: float | None
    origin: str
    cost: bool
    status: str

    @property
    def change(self) -> float:
        """The new value minus the old one; 0 where both are the same, such as NaN."""
        same = self.old == self.new or (isnan(self.old) and isnan(self.new))
        return 0.0 if same else self.new - self.old

    @property
    def share(self) -> float | None:
        """The change as a share of the old value, or None where that says nothing."""
        finite = isfinite(self.change) and isfinite(self.old) and self.old
        return self.change / abs(self.old) if finite else None

    @property
    def times(self) -> float | None:
        """How many times the scatter the change is, or None where the scatter is not known."""
        if self.scatter is None or not isfinite(self.scatter):
            return None
        if not isfinite(self.change):
            return inf
        return abs(self.change) / self.scatter if self.scatter else inf if self.change else 0.0

    @property
    def size(self) -> float:
        """What the rows are ordered by."""
        if self.times is not None:
            return self.times
        if not isfinite(self.change):
            return inf
        return inf if self.share is None and self.change else abs(self.share or 0.0) / _UNKNOWN


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What two sessions differ by; texts are lines for people."""

    old: SessionValues
    new: SessionValues
    rows: tuple[Difference, ...]
    texts: tuple[str, ...]


def differences(
    old: SessionValues,
    new: SessionValues,
    window: Sequence[SessionValues],
    comparison: Comparison,
) -> Differences:
    """Return what differs between two sessions; ``window`` are others around the old one."""
    # Cases and metrics that have other names now are compared under these.
    is_whole = new.end is not None and not (new.end.interrupted or new.end.partial)
    past = sorted([*window, old], key=lambda one: one.header.start_time)
    place = next(n for n, one in enumerate(past) if one is old)
    renamed = continued(past, new, [], all_cases=is_whole)
    past, old = renamed.past, renamed.past[place]
    new = renamed.current or new
    before, now = _measured(old), _measured(new)
    judged = {(row.case, row.metric): row for row in comparison.metrics}
    rows = []
    for key in [key for key in before if key in now]:
        row = judged.get(key)
        cost = is_cost(key[1]) if row is None else row.cost
        scatter, origin = _scatter(key, old, new, past, before[key], now[key])
        found = Difference(
            case=new.cases[key[0]].name,
            metric=key[1],
            old=average(before[key], cost=cost),
            new=average(now[key], cost=cost),
            scatter=scatter,
            origin=origin,
            cost=cost,
            status=row.status if row is not None and row.status not in UNDECIDED else "",
        )
        rows.append(found)
    # To six digits: rounding errors, which differ between Pythons, order nothing.
    rows.sort(key=lambda row: (row.cost, -float(f"{row.size:.6g}"), row.case, row.metric))
    texts = [*_only("A", old, new, before, now), *_only("B", new, old, now, before)]
    texts += [*_contexts(old, new), *_environment(old, new)]
    return Differences(old=old, new=new, rows=tuple(rows), texts=tuple(texts))


_Key = tuple[str, str]
_Values = dict[_Key, list[float]]


def _measured(session: SessionValues) -> _Values:
    """Return the values of each metric of each case: of its repeats, and of its fresh runs."""
    found: _Values = {}
    for case, values in session.cases.items():
        for metric, numbers in values.metrics.items():
            found[case, metric] = [*numbers, *values.again.get(metric, ())]
    for case, record in session.failed:
        # What a failed test measured is no history, and what somebody wants to see here.
        for metric, number in values_of(record).items():
            found.setdefault((case, metric), [number])
    return found


def _scatter(
    key: _Key,
    old: SessionValues,
    new: SessionValues,
    window: Sequence[SessionValues],
    before: Sequence[float],
    now: Sequence[float],
) -> tuple[float | None, str]:
    """Return the scatter of one value, and where it is known from."""
    case, metric = key
    groups = [numbers for numbers in (before, now) if len(numbers) > 1]
    told = None
    if groups:
        squares = fsum((len(one) - 1) * (deviation(one) or 0.0) ** 2 for one in groups)
        scatter = sqrt(squares / sum(len(one) - 1 for one in groups))
        sides = [one.cases[case] for one in (old, new) if case in one.cases]
        told = scatter, f"{_kind(sides, metric)} ({len(before)} in A, {len(now)} in B)"
        # With frozen seeds a repeat is the same again, which says nothing of sessions.
        if scatter > 0 and isfinite(scatter):
            return told
    levels = [
        level
        for one in window
        if case in one.cases and metric in one.cases[case].metrics
        if isfinite(level := average(one.cases[case].metrics[metric]))
    ]
    steps = [b - a for a, b in pairwise(levels)]
    if not steps and told is not None and isfinite(told[0]):
        return told
    if not steps:
        return None, "nothing: no repeats, no seeds, no sessions around A"
    # From one session to the next, for the level may have moved meanwhile.
    scatter = sqrt(fsum(step * step for step in steps) / (2 * len(steps)))
    return scatter, f"{len(levels)} sessions around A"


def _kind(sides: Sequence[CaseValues], metric: str) -> str:
    if any(case.again.get(metric) for case in sides):
        return "fresh runs"
    return "seeds" if any(any(case.seeds.get(metric, ())) for case in sides) else "repeats"


def _only(
    name: str, session: SessionValues, others: SessionValues, mine: _Values, theirs: _Values
) -> Iterator[str]:
    other = {case for case, _ in theirs}
    cases = dict.fromkeys(case for case, _ in mine if case not in other)
    if cases:
        outcomes = {case: ", ".join(values.outcomes) for case, values in others.cases.items()}
        names = [
            f"{session.cases[case].name} ({outcomes[case]} in the other one, without a metric)"
            if case in outcomes
            else session.cases[case].name
            for case in cases
        ]
        yield f"only in {name}: {count(len(cases), 'case')}: {_few(names)}"
    metrics = [key for key in mine if key not in theirs and key[0] in other]
    if metrics:
        names = [
            f"{metric} of {session.cases[case].name} ({value(average(mine[case, metric]))})"
            for case, metric in metrics
        ]
        yield f"only in {name}: {count(len(metrics), 'metric')}: {_few(names)}"


def _contexts(old: SessionValues, new: SessionValues) -> Iterator[str]:
    """Yield the differences of params and datasets, those of several cases once."""
    found: dict[str, list[str]] = {}
    for name, case in new.cases.items():
        if (before := old.cases.get(name)) is None or not (before.passed and case.passed):
            continue
        for key in dict.fromkeys((*before.context, *case.context)):
            texts = [one.context.get(key, "not there") for one in (before, case)]
            if texts[0] != texts[1]:
                found.setdefault(f"{key}: {texts[0]} → {texts[1]}", []).append(case.name)
    for text, names in found.items():
        yield f"{text} ({_few(names)})"


def _environment(old: SessionValues, new: SessionValues) -> Iterator[str]:
    told = (old.header.tags, new.header.tags)
    for key in dict.fromkeys((*told[0], *told[1])):
        texts = [tags.get(key, "not there") for tags in told]
        if texts[0] != texts[1] and key not in _OF_PLACE and not key.startswith(_UNTOLD):
            yield f"{key}: {texts[0]} → {texts[1]}"
    rules = [set(one.header.rules or ()) for one in (old, new)]
    if None not in (old.header.rules, new.header.rules) and rules[0] != rules[1]:
        yield f"settings: {_few(sorted(rules[0] - rules[1]))} → {_few(sorted(rules[1] - rules[0]))}"


def _few(names: Sequence[str]) -> str:
    return named_few(names, _NAMED) or "none"


def difference_lines(found: Differences) -> Iterator[str]:
    """Yield the lines of the table, and of what else differs."""
    for name, session in (("A", found.old), ("B", found.new)):
        header = session.header
        told = describe_session(session_info(header))
        yield one_line(f"{name}: {header.session_id}, {told}, {moment(header.start_time)}")
    rows = [row for row in found.rows if row.change]
    equal = len(found.rows) - len(rows)
    if found.rows:
        same = f"; {equal:,} {'is' if equal == 1 else 'are'} the same" if equal else ""
        yield f"{len(rows):,} of {count(len(found.rows), 'metric')} differ{same}"
    else:
        yield "A and B have no metric in common"
    shown = rows[:_SHOWN]
    if shown:
        head = (
            "metric",
            "case",
            "A",
            "B",
            "difference",
            "scatter",
            "size",
            "verdict",
            "scatter from",
        )
        table = [head, *map(_cells, shown)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for cells in table:
            padded = (text.ljust(width) for text, width in zip(cells, widths, strict=True))
            yield f"  {'  '.join(padded).rstrip()}"
    if len(rows) > len(shown):
        yield f"  … and {len(rows) - len(shown):,} smaller ones; --report PATH has all metrics"
    yield from map(one_line, found.texts)


def _cells(row: Difference) -> tuple[str, ...]:
    share = f" ({relative(row.share)})" if row.share is not None else ""
    times = row.times
    size = NOTHING if times is None else f"{times:.2g}x" if times < _LARGE else f"{times:,.0f}x"
    return (
        one_line(row.metric),
        one_line(row.case),
        value(row.old),
        value(row.new),
        f"{signed(row.change)}{share}",
        NOTHING if row.scatter is None else value(float(f"{row.scatter:.3g}")),
        size.replace("infx", "∞"),
        row.status or NOTHING,
        row.origin,
    )
