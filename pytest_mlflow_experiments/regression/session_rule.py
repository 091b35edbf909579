"""Judge the metrics of a whole session together: many metrics, repeats over seeds, examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import fsum, isfinite, ldexp
from typing import TypeAlias, final

from ..records.accepted import AcceptedValue
from ..records.case import dataclass
from .distributions import f_p
from .evidence import MATURE, Scatter
from .examples import Examples, judge_examples
from .findings import Direction, RuleOptions
from .levels import RECENT, Known
from .rule import Verdict, decide
from .statistics import ROUNDING, average, exponent_of, finite_mean, is_safe, squares

Repeats: TypeAlias = tuple[float, ...]
"""The values of one session of a case that is repeated over seeds, in the order of the seeds."""

_FALSE_DISCOVERIES = 0.025
"""The share of false alarms among the regressions of a session, by Benjamini and Hochberg."""

_ENOUGH = 5
"""With fewer history values, the metrics of a session are judged each by itself."""

_TOO_SOON = 8
"""What alpha is divided by while only the seeds tell about the scatter."""

_SUSPICIOUS = 0.25
"""The p-value of a scatter between sessions that is greater than that of seeds."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSeries:
    """The current values and the history of one metric of one case, which a rule judges.

    ``current`` holds one value, or one for each fresh run; ``history`` one for each comparable
    session of the baseline, the oldest first. Where the case is repeated over seeds, each of them
    is a tuple of values, in the order of the seeds. ``accepted`` is the level that somebody has
    accepted and that ``history`` follows; ``level`` is the one that the newest session of the
    baseline was judged against, where the history has lost it, and ``level_until`` the name of the
    first session that missed it. ``names`` are those of the history's sessions, for reasons.
    ``reseeded`` tells that ``current`` are fresh runs with seeds of their own, ``pinned`` that
    somebody named the last session of the history as the one to compare with: then each shift in it
    is a new level.
    """

    case: str
    metric: str
    current: tuple[float, ...] | tuple[Repeats, ...]
    history: tuple[float, ...] | tuple[Repeats, ...]
    direction: Direction | None
    options: RuleOptions
    accepted: AcceptedValue | None = None
    level: AcceptedValue | None = None
    level_until: str | None = None
    names: tuple[str, ...] = ()
    reseeded: bool = False
    pinned: bool = False

    @property
    def in_family(self) -> bool:
        """Whether the session's error rate counts this metric: it can gate, and by its test."""
        options = self.options
        return self.direction is not None and not options.cost and options.tolerance is None


def judge_session(series: Iterable[MetricSeries], *, fresh: bool = False) -> list[Verdict]:
    """Judge the metrics of one session, each as :func:`.judge` does and all of them together.

    - Of a session's regressions at most 2.5 % are expected to be false alarms, by the procedure of
      Benjamini and Hochberg (1995) over its metrics with five history values or more. What it takes
      back is *inconclusive*.
    - A metric that is 0 or 1 in each case of a parametrized test is not judged case by case: all
      the cases get the verdict of their rate, see :func:`.examples.judge_examples`.
    - Repeats over seeds (tuples) tell how much the metric scatters from the first session on. See
      :func:`judge_repeats`.
    - *Accepted* is a value as good as the one that somebody has accepted, when it is the first.

    Args:
        series: the metrics.
        fresh: whether they hold fresh runs of metrics that were suspect. Each of these is judged by
            itself. ``suspect`` then says that another fresh run is needed.

    Returns:
        The verdicts, in the same order.
    """
    rows = [*series]
    return judge_grouped(rows, () if fresh else groups_of_examples(rows), fresh=fresh)


def judge_grouped(
    rows: Sequence[MetricSeries], groups: Iterable[Sequence[int]], *, fresh: bool = False
) -> list[Verdict]:
    """Do what :func:`judge_session` does with the groups of examples that there are."""
    verdicts: list[Verdict | None] = [None] * len(rows)
    for places in groups:
        verdict = judge_examples([rows[place] for place in places])
        for place in places:
            verdicts[place] = verdict
    found = [
        verdict or judge_alone(row, fresh=fresh)
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    return found if fresh else _without_false_discoveries(rows, found)


def judge_alone(series: MetricSeries, *, fresh: bool = False) -> Verdict:
    """Judge one metric by itself; see :func:`judge_session`."""
    current, history = series.current, series.history
    if (current and isinstance(current[0], tuple)) or (history and isinstance(history[0], tuple)):
        return judge_repeats(series)
    fresh = fresh or len(current) > 1
    return _decided(series, _reseeded(series) if series.reseeded else None, fresh=fresh)


def _decided(
    series: MetricSeries,
    scatter: Scatter | None,
    *,
    fresh: bool = False,
    strictness: float = 1.0,
) -> Verdict:
    """Judge a metric without repeats; see :func:`.decide`."""
    return decide(
        series.current,  # type: ignore[arg-type] # no tuples
        series.history,  # type: ignore[arg-type]
        series.direction,
        series.options,
        fresh=fresh,
        known=_known(series),
        is_accepted=series.accepted is not None,
        scatter=scatter,
        strictness=strictness,
        names=series.names,
        until=series.level_until,
        pinned=series.pinned,
    )


def _known(series: MetricSeries) -> Known | None:
    """Return the level from before the history."""
    level = series.accepted or series.level
    if level is None or not isfinite(level.value):
        return None
    # The scatter of a few values that were accepted is that of the history before them, if any.
    freedom = level.n - 1 if level.n >= RECENT else 2 * MATURE if level.scatter else 0
    if not isfinite(level.scatter):
        freedom = 0
    # An accepted value may be that of one run, whatever its scatter was found from.
    weight = 1.0 if series.accepted is not None else float(max(1, level.n))
    return Known(level.value, weight, level.scatter, freedom)


def _reseeded(series: MetricSeries) -> Scatter | None:
    """Return what replaces the scatter of a history from a frozen seed: nothing is known of it."""
    values = [value for value in series.history if isinstance(value, float) and isfinite(value)]
    if values and max(values) - min(values) <= ROUNDING * max(map(abs, values)):
        return Scatter(squares=0.0, freedom=0, alone=True)
    return None


def judge_repeats(series: MetricSeries) -> Verdict:
    """Judge a metric whose values are tuples, one value for each seed.

    Sessions are compared by their means over the seeds they have in common. How much the seeds
    scatter is known from the first session on: with fewer than three sessions it decides alone, at
    an eighth of alpha; from the third on together with the scatter between sessions, unless that
    looks greater. Where each session repeated the values of the one before, seeds are frozen, and
    their scatter is that of a change of all of them at once.
    """
    now = [_repeats(one) for one in series.current]
    past = [_repeats(one) for one in series.history][-series.options.window :]
    finite = all(all(map(isfinite, one)) for one in (*now, *past))
    size = min(map(len, (*now, *past)))
    means = replace(
        series,
        current=tuple(average(one[:size]) for one in now) if past else tuple(map(average, now)),
        history=tuple(average(one[:size]) for one in past),
    )
    if not past or not now or size < 2 or not finite or series.options.tolerance is not None:
        return judge_alone(means)
    n = len(past)
    is_frozen = n > 1 and all(
        before[:size] == after[:size]
        or all(
            abs(one - two) <= ROUNDING * max(abs(one), abs(two), 1e-300)
            for one, two in zip(before[:size], after[:size], strict=True)
        )
        for before, after in pairwise(past)
    )
    rows, exponent = _in_range([one[:size] for one in (*past, *now)])
    if n == 1 or is_frozen:
        # What is frozen was drawn once.
        rows = rows[-1 - len(now) :]
        total, freedom = fsum(map(squares, rows)), (size - 1) * len(rows)
    else:
        total, freedom = _interaction(rows), (size - 1) * (len(rows) - 1)
    of_mean = total / size
    scatter: Scatter | None = Scatter(
        squares=of_mean, freedom=freedom, alone=is_frozen, exponent=exponent
    )
    strictness = 1.0
    if n < RECENT:
        strictness = _TOO_SOON
        paired = _interaction(rows) / size
        if n == 1 and size >= RECENT and 0 < paired / (size - 1) < of_mean / freedom / 2:
            # Each seed is like itself: compared with itself it scatters less.
            scatter = Scatter(squares=paired, freedom=size - 1, exponent=exponent)
    elif not is_frozen:
        between = squares([average(row) for row in rows[:n]]) / (n - 1)
        if _is_much(between, n - 1, of_mean / freedom, freedom):
            scatter = None
    return _decided(means, scatter, strictness=strictness)


def _in_range(rows: Sequence[Repeats]) -> tuple[Sequence[Repeats], int]:
    """Return values whose squares neither overflow nor vanish, and the exponent of their unit."""
    exponent = exponent_of([value for row in rows for value in row])
    if is_safe(exponent):
        return rows, 0
    return [tuple([ldexp(value, -exponent) for value in row]) for row in rows], exponent


def _repeats(values: float | Repeats) -> Repeats:
    return values if isinstance(values, tuple) else (values,)


def _is_much(between: float, freedom: int, of_seeds: float, freedom_of_seeds: int) -> bool:
    """Return whether a variance between sessions is more than that of seeds explains, by its F."""
    if not of_seeds:
        return between > 0
    return f_p(between / of_seeds, freedom, freedom_of_seeds) < _SUSPICIOUS


def _interaction(rows: Sequence[Repeats]) -> float:
    """Return the squares around the means of sessions and seeds, each seed paired with itself."""
    means = [finite_mean(row) for row in rows]
    middle = finite_mean(means)
    seeds = [finite_mean(column) - middle for column in zip(*rows, strict=True)]
    return fsum(
        [
            (value - mean - seed) ** 2
            for row, mean in zip(rows, means, strict=True)
            for value, seed in zip(row, seeds, strict=True)
        ]
    )


def groups_of_examples(rows: Sequence[MetricSeries]) -> list[list[int]]:
    """Return the places of the metrics that are 0 or 1 in each case of a test, by test."""
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        test, bracket, _ = row.case.partition("[")
        if bracket:
            groups[test, row.metric].append(place)
    return [
        places
        for places in groups.values()
        if len(places) > 1 and Examples.are([rows[place] for place in places])
    ]


def _without_false_discoveries(
    rows: Sequence[MetricSeries], verdicts: list[Verdict]
) -> list[Verdict]:
    """Take back regressions that are to be expected by chance among so many metrics."""
    places = [
        place
        for place, (row, verdict) in enumerate(zip(rows, verdicts, strict=True))
        if row.in_family and verdict.p_value is not None and len(row.history) >= _ENOUGH
    ]
    p_values = sorted(verdicts[place].p_value or 0.0 for place in places)
    count = len(p_values)
    allowed = 0.0
    for rank, p in enumerate(p_values, 1):
        if p > 0.5:
            break
        if p <= _FALSE_DISCOVERIES * rank / count:
            allowed = p
    for place in places:
        verdict = verdicts[place]
        if verdict.status == "regressed" and (verdict.p_value or 0.0) > allowed:
            reason = (
                f"{verdict.reason}, which can be chance among {count:,} metrics: fresh runs "
                "decide, with --mlflow-rerun"
            )
            verdicts[place] = replace(verdict, status="inconclusive", reason=reason, suspect=True)
    return verdicts
