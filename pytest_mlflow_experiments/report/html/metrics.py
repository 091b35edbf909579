"""The metrics of the page: the group of each, what its row tells, and the data of its chart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isfinite, isnan
from shlex import quote
from typing import Any, Final, TypeAlias, final

from ...records import function_of
from ...records.codec import encode_float
from ...regression.compare import is_frozen
from ...regression.comparison import Comparison, MetricComparison, SessionInfo
from ...regression.findings import p_text
from ...regression.sweeps.model import Slice
from .. import numbers
from ..headline import BROKEN_OUTCOMES, accept_command, age, short_commit
from ..links import Links
from ..text import clean, cut

GROUPS: Final[Mapping[str, str]] = {
    "worse": "What got worse",
    "better": "What got better",
    "undecided": "Not decided",
    "unchanged": "Unchanged",
    "informational": "Informational",
}
"""The groups of metrics with their heads, in the page's order."""

CARDS, OPEN_CARDS = 20, 3
"""The number of metrics that got worse with cards, and of those that are open; others have rows."""

_WORSE: Final = frozenset({"regressed", "missing", "drifting"})
_BETTER: Final = frozenset({"improved", "accepted"})
_TEXT, _VALUES, _PARAMS = 600, 60, 40
_LEVELS: Final = 4_095


def group_of(metric: MetricComparison) -> str:
    """Return the group of a metric."""
    if metric.gates:
        return "worse"
    if metric.advisory:
        return "informational"
    if metric.status in _WORSE:
        return "worse"
    if metric.status in _BETTER:
        return "better"
    return "unchanged" if metric.status == "unchanged" else "undecided"


def is_plain(row: MetricComparison | Slice) -> bool:
    """Return whether there is nothing to tell of a metric or a slice: a page may lack it."""
    is_advisory = isinstance(row, MetricComparison) and row.advisory
    return not row.gates and (is_advisory or row.status == "unchanged")


Ranked: TypeAlias = dict[str, list[MetricComparison]]
"""Lists of metrics, those that matter most first."""


def grouped(comparison: Comparison) -> tuple[Ranked, Ranked]:
    """Return the metrics of each group that has any, and those that failed tests have lost.

    These are missing because their test failed, and told with it: they are by its node id.
    """
    found: Ranked = {group: [] for group in GROUPS}
    lost: Ranked = {}
    broken = {one.nodeid for one in comparison.unjudged if one.outcome in BROKEN_OUTCOMES}
    for metric in comparison.ranked():
        if metric.status == "missing" and metric.nodeid in broken:
            lost.setdefault(metric.nodeid, []).append(metric)
        else:
            found[group_of(metric)].append(metric)
    if comparison.baseline is None:
        # What comes closest to its assertion is what a first report can tell.
        found["undecided"].sort(key=_closeness)
    return {group: metrics for group, metrics in found.items() if metrics}, lost


def count_groups(metrics: Iterable[MetricComparison]) -> dict[str, int]:
    """Count metrics by status, the advisory ones together."""
    return dict(Counter("informational" if one.advisory else one.status for one in metrics))


def _closeness(metric: MetricComparison) -> float:
    if metric.margin is None:
        return float("inf")
    scale = metric.margin.tolerance or abs(metric.margin.limit) or abs(metric.current or 0.0) or 1.0
    share = metric.margin.margin / scale
    return share if share == share else float("-inf")


def tendency_of(metric: MetricComparison) -> str:
    """Return ``worse`` or ``better`` for a change; empty without one or without a direction."""
    change = metric.change
    if not change or isnan(change) or metric.direction is None or metric.status == "unchanged":
        return ""
    return "worse" if (change < 0) is (metric.direction == "max") else "better"


def when(metric: MetricComparison, comparison: Comparison) -> str:
    """Say since which session a metric is worse, and what is known of that session."""
    if metric.status == "drifting":
        return f"slowly, over {numbers.count(len(metric.history), 'session')}"
    past = comparison.baseline.sessions if comparison.baseline is not None else ()
    if metric.below_since is not None:
        first = next((one for one in past if _name(one) == metric.below_since), None)
        return f"since {metric.below_since if first is None else _told(first, comparison)}"
    newest = past[metric.sessions[-1]] if metric.sessions else past[-1] if past else None
    how = "missing" if metric.status == "missing" else "seen"
    here = f"first {how} in this session ({_name(comparison.session)})"
    if newest is None:
        return here
    last = "last measured at" if metric.status == "missing" else "the last good one is"
    return f"{here}; {last} {_told(newest, comparison)}"


def sure(metric: MetricComparison) -> str:
    """Say how likely it is that a regression is chance."""
    if metric.status not in ("regressed", "drifting") or metric.tolerance is not None:
        return ""
    told = []
    frozen = is_frozen(metric)
    if metric.fresh and not frozen:
        told.append(f"{numbers.count(metric.fresh, 'fresh run')} confirmed it")
    p = metric.p_value
    if p is not None and 0 <= p < 0.5:
        times = "less than 1 of 10,000" if p < 1e-4 else f"1 of {round(1 / p):,}"
        told.append(f"without any change, {times} sessions would look so bad ({p_text(p)})")
    if frozen:
        knows = ", and p knows nothing of other seeds" if told else ""
        told.append(f"the seed is fixed: a fresh run only repeats the value{knows}")
    return "; ".join(told)


def commands(metric: MetricComparison, comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Yield the commands that help with a metric that got worse."""
    # Of repeats, and of examples that are judged together, all are meant.
    is_one = "[" in metric.name or metric.nodeid.endswith(metric.name)
    nodeid = metric.nodeid if is_one else function_of(metric.nodeid)
    yield "Repeat it 5 times", f"pytest --mlflow --mlflow-rerun 5 {quote(nodeid)}"
    past = comparison.baseline.sessions if comparison.baseline is not None else ()
    names = [_name(one) for one in past]
    end = names.index(metric.below_since) if metric.below_since in names else len(past)
    bad = past[end] if end < len(past) else comparison.session
    before = past[:1] if metric.status == "drifting" else past[:end]
    good = next((one for one in reversed(before) if one.commit), None)
    if good is not None and bad.commit:
        changes = f"log --oneline {short_commit(good)}..{short_commit(bad)}"
        same = good.commit == bad.commit
        yield "What changed", f"git {f'diff {short_commit(good)}' if same else changes}"
    if metric.gates and metric.status in _WORSE and len(comparison.gating()) > 1:
        yield "On purpose?", accept_command(comparison.session, metric.case, metric.metric)


def _name(session: SessionInfo) -> str:
    return short_commit(session) or session.name


def _told(session: SessionInfo, comparison: Comparison) -> str:
    author = f" by {session.author}" if session.author else ""
    return f"{_name(session)}{author}, {age(comparison, session)}"


@final
@dataclass
class Data:
    """The data of the page's script: what each row has, and what rows have in common.

    ``left`` are the bytes of common data that there is room for.
    """

    comparison: Comparison
    left: int
    _cases: dict[str, int] = field(default_factory=dict)
    _described: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        past = self.comparison.baseline.sessions if self.comparison.baseline is not None else ()
        self._past = past
        self._names = [_name(one) for one in past]

    def row(self, metric: MetricComparison) -> str:
        """Return what the chart and the details of a metric need, as JSON for an attribute."""
        places: Sequence[int] = metric.sessions
        if not places and len(metric.history) == len(self._past):
            places = range(len(self._past))
        history = metric.history[-_VALUES * 5 :]
        data = {
            "c": self._case(metric),
            "w": cut(clean(metric.reason), _TEXT),
            "h": _coded(history) if is_plain(metric) else _exact(history),
            "s": list(metric.sessions)[-_VALUES * 5 :],
            "k": self._place(metric.level_since, places),
            "q": len(self._past)
            if metric.status == "regressed" and metric.below_since is None
            else self._place(metric.below_since, places),
            "v": _exact(metric.values[:_VALUES]),
            "b": _number(metric.baseline),
            "l": _number(metric.limit),
            "g": "" if metric.margin is None else numbers.assertion(metric.margin),
            "f": metric.fresh or None,
            "d": {
                cut(name, 60): _exact(values)
                for name, values in list(metric.seeds.items())[:_VALUES]
            },
            "o": list(_others(metric)),
        }
        return _attribute({name: value for name, value in data.items() if value not in _EMPTY})

    def common(self) -> str:
        """Return what rows have in common, as JSON for an attribute: cases, sessions, a link."""
        sessions = [
            [
                cut(clean(one.name), 80),
                short_commit(one),
                cut(clean(one.branch or ""), 60),
                cut(clean(one.author or ""), 60),
                numbers.moment(one.start_time),
                one.verdict,
            ]
            for one in (*self._past, self.comparison.session)
        ]
        link = Links.of(self.comparison.session).case("CASE").split("CASE")
        return _attribute(
            {"cases": self._described, "sessions": sessions, "link": link if link != [""] else []}
        )

    def _case(self, metric: MetricComparison) -> int:
        """Return the number of a case; -1 where the page has no room for more."""
        if metric.case not in self._cases:
            params = {
                cut(clean(name), 60): cut(clean(text), 200)
                for name, text in list(metric.params.items())[:_PARAMS]
            }
            case = [cut(clean(metric.nodeid), _TEXT), params]
            if metric.case != metric.nodeid:
                case.append(cut(clean(metric.case), _TEXT))
            self.left -= len(_attribute(case).encode())
            if self.left < 0:
                return -1
            self._cases[metric.case] = len(self._described)
            self._described.append(case)
        return self._cases[metric.case]

    def _place(self, name: str | None, places: Sequence[int]) -> int | None:
        return next((place for place in places if self._names[place] == name), None)


_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})


def _others(metric: MetricComparison) -> Iterator[tuple[str, str]]:
    """Yield what else there is to tell of a metric."""
    if metric.checks:
        yield "All assertions", cut(metric.checks, _TEXT)
    if metric.tolerance is not None:
        yield "Tolerance", metric.tolerance
    if standing := numbers.standing(metric):
        yield "Baseline", "; ".join(standing)
    if metric.exceptions:
        yield "Exceptions", ", ".join(metric.exceptions)
    if metric.accepted is not None:
        yield "Accepted", cut(clean(metric.accepted.reason), _TEXT)
    if metric.direction is None:
        yield "Better", "not known: say it with direction= in the marker"


def _number(number: float | None) -> float | str | None:
    return None if number is None else encode_float(float(f"{number:.6g}"))


def _exact(values: Iterable[float]) -> list[float | str | None]:
    return [_number(value) for value in values]


def _coded(values: Sequence[float]) -> list[Any]:
    """Return values in two characters each, as steps between the least and the greatest."""
    finite = [value for value in values if isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    half, least = high / 2 - low / 2, low / 2
    if len(values) < 3 or not isfinite(2 * half) or not half:
        return _exact(values)
    codes = _codes()
    texts = [
        codes[round((value / 2 - least) / half * _LEVELS)]
        if isfinite(value)
        else f"!{'n' if isnan(value) else '+' if value > 0 else '-'}"
        for value in values
    ]
    return [_number(low), _number(high), "".join(texts)]


@cache
def _codes() -> list[str]:
    characters = [chr(63 + place) for place in range(64)]
    return [first + second for first in characters for second in characters]


_dump: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_ESCAPES: Final = {character: f"\\u{ord(character):04x}" for character in "<>&'"}


def _attribute(data: Any) -> str:
    """Return JSON that is safe within an attribute in single quotes."""
    text = _dump(data)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text
