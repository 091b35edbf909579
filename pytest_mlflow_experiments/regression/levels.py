"""Find the level that a history stands at: where it shifted, and which runs were exceptions.

All values here have signs such that greater is worse, and are within [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import fsum, inf, log, sqrt
from operator import mul, sub
from statistics import median
from typing import NamedTuple

from .distributions import student_p, student_t
from .statistics import ROUNDING, finite_mean, squares

RECENT = 3
"""The number of values that make a level, and of the newest ones that a change must exceed."""

_CUT = 0.001
"""The p-value of a shift between two levels, for all places where it might be together."""

_EXCEPTION = 0.2
_EXCEPTION_OF_FEW = 0.02
"""The p-value of a run that is an exception, for all runs that might be one together."""

_FEW = 10
"""With fewer runs, leaving one out says too little of the scatter."""

_LINE = 6.0
"""How much better a shift must explain a history than a straight line does, in -2 ln L."""

_PENALTY = 12.0
"""How much a further level must explain, in units of the variance, to be looked at."""

_APART = 2
"""The same for runs that belong to no level, in relation to a further level."""

_MOST_APART = 5
"""One in so many runs may be an exception; more of them are the scatter."""

_STRUCTURED = 0.5
"""Half the mean squared difference of neighbours estimates the variance of independent values.

A history where it is less than this share of the variance has levels or a trend.
"""

TINY = 1e-300
"""Added to sums of squares that may be 0."""

_LONGEST = 60
"""The number of newest values in which levels are looked for."""


class Known(NamedTuple):
    """A level from before the history: its value, and the scatter around it.

    ``weight`` is the number of values that ``value`` counts as, ``scatter`` the standard deviation
    with ``freedom`` degrees of freedom.
    """

    value: float
    weight: float
    scatter: float
    freedom: int

    @property
    def squares(self) -> float:
        """The sum of the squared deviations."""
        return self.scatter * self.scatter * self.freedom


class Level(NamedTuple):
    """The level that a history stands at.

    ``mean`` is its value, ``weight`` how many values that counts as, ``n`` how many of the history
    are at it, ``start`` the index of the first of these. ``squares`` are the squared
    deviations of all values from the levels they belong to, ``freedom`` their degrees of freedom.
    ``recent`` and ``recent_best`` are the worst and the best of its last values. ``below`` is the
    index since when the history is worse than this level, None if it is not.
    """

    mean: float
    weight: float
    n: int
    start: int
    squares: float
    freedom: int
    recent: float
    recent_best: float
    below: int | None = None


class Levels(NamedTuple):
    """A level, and the same without the runs that stand alone, whose indices are ``exceptions``."""

    level: Level
    without: Level
    exceptions: tuple[int, ...]


def find_level(
    values: Sequence[float],
    *,
    effect: float,
    floor: float,
    now: float,
    mean: float,
    ends: tuple[float, float],
    directed: bool = True,
    known: Known | None = None,
) -> Levels:
    """Return the level of a history that is compared with the value ``now``.

    A shift for the better is a new level. One for the worse is not, for nobody has accepted it: the
    level before it stays. Without a direction (``directed``), each shift is a new level. ``effect``
    is the smallest change that counts, ``floor`` the lower bound of the scatter, ``mean`` that of
    the values, ``ends`` are the least and the greatest of them. A ``known`` level comes before the
    history: then no ends are needed. Exceptions are looked for where ``now`` is worse without them.
    """
    n = len(values)
    if known is not None and not n:
        return _only(known)
    least, most = ends
    if known is None and least == most:
        constant = Level(mean, n, n, 0, 0.0, n - 1, most, least)
        return Levels(constant, constant, ())
    apart = [value - mean for value in values]
    total = fsum(map(mul, apart, apart))
    structure = _LEVELS
    if known is None:
        structure = _NONE
        if n > RECENT and most - least >= effect:
            structure = _structure(values, now, mean, ends, apart, total, effect, floor)
    whole = None
    if structure != _LEVELS:
        last = values[-RECENT:]
        whole = Level(mean, n, n, 0, total, n - 1, max(last), min(last))
        if structure == _NONE:
            return Levels(whole, whole, ())
    history = _History(values, effect, floor, directed, known, shifts=structure == _LEVELS)
    clean = history.standard(())
    if whole is None:
        whole = history.standard(history.exceptions) if history.exceptions else clean
    return Levels(whole, clean, history.exceptions)


def _only(known: Known) -> Levels:
    """Return a known level that no history follows."""
    level = Level(
        mean=known.value,
        weight=known.weight,
        n=0,
        start=0,
        squares=known.squares,
        freedom=known.freedom,
        recent=known.value,
        recent_best=known.value,
    )
    return Levels(level, level, ())


@lru_cache(maxsize=4_096)
def quantile(p: float, freedom: int) -> float:
    """Return the value that Student's t distribution exceeds with probability ``p``."""
    return student_t(p, freedom)


_NONE, _EXCEPTIONS, _LEVELS = range(3)
_NEARLY = 0.8


_SURELY = 0.99
"""Less than this share of a change, and less than rounding errors, is less than the change."""


def _structure(
    values: Sequence[float],
    now: float,
    mean: float,
    ends: tuple[float, float],
    apart: Sequence[float],
    total: float,
    effect: float,
    floor: float,
) -> int:
    """Return what a history may have beside its scatter, after a cheap first look.

    ``apart`` is how far its values are from their mean, ``total`` the sum of the squares of that.
    """
    if _may_shift(values, floor, apart, total):
        return _LEVELS
    n, (least, most) = len(values), ends
    count = max(1, n // _MOST_APART)
    # Without as many of the worst as may stand apart, the mean of the rest is no better than this:
    # most values now are not worse than that by what counts, whatever stands apart.
    rest = (n * mean - count * most) / (n - count)
    if now - rest < _SURELY * effect - n * ROUNDING * max(most, -least):
        return _NONE
    # As many as may stand apart, all equal, would be so many standard deviations away.
    far = _NEARLY * sqrt(total * (n - count) / (n * count))
    if mean - least < far and most - mean < far:
        return _NONE
    ordered = sorted(values)
    for extremes in (ordered[:count], ordered[: -count - 1 : -1]):
        if abs(extremes[0] - mean) >= far:
            alone, rest = _count_apart(extremes, n, mean, total, effect, floor)
            if alone and now - rest >= effect:
                return _EXCEPTIONS
    return _NONE


def _may_shift(values: Sequence[float], floor: float, apart: Sequence[float], total: float) -> bool:
    """Return whether values may have shifted, by a cheap first look."""
    n = len(values)
    if n <= RECENT:
        return False
    steps = [*map(sub, values, values[1:])]
    differences = sum(map(mul, steps, steps))
    if differences * n < 2 * _STRUCTURED * total * (n - 1):
        return True
    # The greatest two-sample t of all places where the history may be cut in two.
    sums = [*accumulate(apart[:-RECENT])]
    between = max(map(mul, map(mul, sums, sums), _cuts(n)))
    within = max(sqrt(max(total - between, 0.0) / (n - 2)), floor)
    return sqrt(between) > within * quantile(_CUT, n - 2)


@lru_cache(maxsize=1_024)
def _cuts(n: int) -> tuple[float, ...]:
    """Return the weight of the squared sum of what is before each place that values may be cut."""
    return tuple([n / (count * (n - count)) for count in range(1, n - RECENT + 1)])


def _exceptions(values: Sequence[float], effect: float, floor: float) -> list[int]:
    """Return the places of the values that stand apart from the others, on either side.

    That is the test of several outliers by Rosner (1983), one-sided.
    """
    n = len(values)
    mean = finite_mean(values)
    total = squares(values, mean)
    order = sorted(range(n), key=values.__getitem__)
    found = []
    for side in (order, order[::-1]):
        ordered = [values[place] for place in side[: max(1, n // _MOST_APART)]]
        found += side[: _count_apart(ordered, n, mean, total, effect, floor)[0]]
    return found


def _count_apart(
    extremes: Sequence[float], n: int, mean: float, total: float, effect: float, floor: float
) -> tuple[int, float]:
    """Return how many of the extreme values stand apart from the rest of ``n``, and its mean."""
    apart, left, middle = 0, n, mean
    for number, (value, bound) in enumerate(zip(extremes, _exception_bounds(n), strict=False), 1):
        rest = (left * mean - value) / (left - 1)
        total = max(0.0, total - (value - mean) * (value - rest))
        mean, left = rest, left - 1
        distance = abs(value - mean)
        if distance >= effect and distance > max(sqrt(total / (left - 1)), floor) * bound:
            apart, middle = number, mean
    return apart, middle


@lru_cache(maxsize=1_024)
def _exception_bounds(n: int) -> tuple[float, ...]:
    """Return how many standard deviations of the rest an exception is from it, one after another.

    A rest has ``RECENT`` runs or more.
    """
    return tuple(
        [
            sqrt(1 + 1 / left) * quantile(_exception_p(n), left - 1)
            for left in range(n - 1, RECENT - 1, -1)
        ]
    )


def _exception_p(n: int) -> float:
    """Return the p-value of one exception among ``n`` runs."""
    return (_EXCEPTION if n >= _FEW else _EXCEPTION_OF_FEW) / n


class _History:
    """A history with some structure: its parts at one level each, and its exceptions."""

    def __init__(
        self,
        values: Sequence[float],
        effect: float,
        floor: float,
        directed: bool,
        known: Known | None,
        *,
        shifts: bool,
    ) -> None:
        self._values = values
        self._effect = effect
        self._floor = floor
        self._directed = directed
        self._known = known
        self._known_parts: dict[tuple[int, ...], tuple[float, float]] = {}
        first = max(0, len(values) - _LONGEST)
        indices = [*range(first, len(values))]
        parts, apart = self._divided(indices) if shifts else ([indices], set())
        if len(parts) == 1:
            apart = {first + place for place in _exceptions(values[first:], effect, floor)}
            rest = [index for index in indices if index not in apart]
            parts = [rest]
            # An exception may have hidden a shift.
            if not shifts and self._may_shift(rest):
                parts, others = self._divided(rest)
                apart |= others
        parts = self._confirmed(parts)
        if len(parts) > 1 and directed and self._is_line(parts):
            parts, apart = [indices], set()
        self._parts = parts
        self.exceptions = tuple(sorted(self._still_apart(apart)))

    def _may_shift(self, part: Sequence[int]) -> bool:
        values, mean = [self._values[index] for index in part], self._mean(part)
        apart = [value - mean for value in values]
        return _may_shift(values, self._floor, apart, self._squares(part))

    def _mean(self, part: Sequence[int]) -> float:
        return self._moments(part)[0]

    def _squares(self, part: Sequence[int]) -> float:
        return self._moments(part)[1]

    def _moments(self, part: Sequence[int]) -> tuple[float, float]:
        key = tuple(part)
        if (found := self._known_parts.get(key)) is None:
            values = [self._values[index] for index in part]
            mean = finite_mean(values)
            found = self._known_parts[key] = mean, squares(values, mean)
        return found

    def _scatter(self, parts: Sequence[Sequence[int]]) -> tuple[float, int, float]:
        """Return the standard deviation around the means of parts, and its degrees of freedom.

        The last number is the sum of squares without those of the known level.
        """
        total = around = fsum(map(self._squares, parts))
        freedom = sum(map(len, parts)) - len(parts)
        if self._known is not None:
            total, freedom = total + self._known.squares, freedom + self._known.freedom
        return max(sqrt(total / max(freedom, 1)), self._floor), max(freedom, 1), around

    def _divided(self, indices: list[int]) -> tuple[list[list[int]], set[int]]:
        """Divide runs into the parts that explain them best, and runs that belong to none.

        A part has ``RECENT`` runs or more; only the first may be shorter. Optimal partitioning by
        Jackson and others (2005).
        """
        n = len(indices)
        if n <= RECENT:
            return [indices], set()
        values = [self._values[index] for index in indices]
        steps = [abs(step) for step in map(sub, values, values[1:])]
        noise = max(median(steps) / (0.6745 * sqrt(2)), self._floor)
        sums = [0.0, *accumulate(values)]
        squared = [0.0, *accumulate([value * value for value in values])]
        penalty = _PENALTY * noise * noise
        starts = [0] * (n + 1)
        # The least cost of what comes before each start, and that of one more level, or of runs
        # alone where what follows is too short for a level.
        before, level = [penalty], [penalty]
        for stop in range(1, n + 1):
            total, square, length = sums[stop], squared[stop], stop + 1.0
            costs = [
                square - other - (sum_of := total - some) * sum_of / (length := length - 1.0) + own
                for some, other, own in zip(sums, squared, before, strict=False)
            ]
            best = min(costs)
            starts[stop] = costs.index(best)
            level.append(best + penalty)
            before.append(best + penalty * _APART)
            if (long := stop + 1 - RECENT) > 0:
                before[long] = level[long]
        parts: list[list[int]] = []
        apart: set[int] = set()
        while n:
            part = indices[starts[n] : n]
            if starts[n] and len(part) < RECENT:
                apart.update(part)
            else:
                parts.append(part)
            n = starts[n]
        if len(apart) > max(1, len(indices) // _MOST_APART):
            return [indices], set()
        return parts[::-1], apart

    def _confirmed(self, parts: list[list[int]]) -> list[list[int]]:
        """Join neighbours that don't differ significantly, until all that are left do."""
        while len(parts) > 1:
            scatter, freedom, _ = self._scatter(parts)
            cuts = sum(map(len, parts)) - RECENT
            least, where = inf, 0
            for number, (one, two) in enumerate(pairwise(parts)):
                shift = abs(self._mean(one) - self._mean(two))
                t = shift / (scatter * sqrt(1 / len(one) + 1 / len(two)))
                t = t if shift >= self._effect else 0.0
                if t < least:
                    least, where = t, number
            if least > quantile(_CUT / 2 / cuts, freedom):
                break
            parts[where : where + 2] = [parts[where] + parts[where + 1]]
        return parts

    def _is_line(self, parts: list[list[int]]) -> bool:
        """Return whether a line towards worse explains the history as well as the shifts do."""
        indices = [index for part in parts for index in part]
        slope, rest = fit_line(indices, [self._values[index] for index in indices])
        n = len(indices)
        least = max(n * self._floor**2, TINY)
        shifts = fsum(map(self._squares, parts)) + least
        return slope > 0 and n * log((rest + least) / shifts) < _LINE * (len(parts) - 1)

    def _still_apart(self, apart: set[int]) -> set[int]:
        """Return the exceptions that fit neither of the parts around them; others join one."""
        left = set()
        for index in sorted(apart):
            before = [part for part in self._parts if part[0] < index]
            around = [*before[-1:], *[part for part in self._parts if part[-1] > index][:1]]
            scatter, freedom, _ = self._scatter(self._parts)
            p = _exception_p(len(self._values))
            far = max(scatter * quantile(p, freedom), self._effect)
            near = [part for part in around if abs(self._values[index] - self._mean(part)) < far]
            if near:
                near[0].append(index)
                near[0].sort()
            else:
                left.add(index)
        return left

    def standard(self, exceptions: Sequence[int]) -> Level:
        """Return the level that further runs are compared with; it includes some exceptions."""
        scatter, freedom, around = self._scatter(self._parts)
        known = self._known
        level: list[int] = []
        mean, weight = (known.value, known.weight) if known is not None else (0.0, 0.0)
        start, below = 0, None
        for part in self._parts:
            value, size = self._mean(part), len(part)
            shift = value - mean
            apart = weight > 0 and abs(shift) >= self._effect
            if apart and len(self._parts) + (known is not None) > 1:
                t = abs(shift) / (scatter * sqrt(1 / weight + 1 / size))
                apart = t > quantile(_CUT / 2, freedom)
            if not apart:
                level += part
                mean = (mean * weight + value * size) / (weight + size)
                weight, below = weight + size, None
            elif self._directed and shift > 0 and weight > 1:
                below = part[0] if below is None else below
            elif size >= RECENT:
                level, mean, weight, start, below = [*part], value, size, part[0], None
        extra = [index for index in exceptions if self._belongs(index, level)]
        if extra:
            total = fsum([self._values[index] for index in extra])
            together = (mean * weight + total) / (weight + len(extra))
            around += fsum([(self._values[index] - mean) ** 2 for index in extra])
            around -= (weight + len(extra)) * (mean - together) ** 2
            mean, weight, freedom = together, weight + len(extra), freedom + len(extra)
            level = sorted(level + extra)
        if known is not None:
            around += known.squares
        last = [self._values[index] for index in level[-RECENT:]] or [mean]
        return Level(
            mean=mean,
            weight=weight,
            n=len(level),
            start=level[0] if level else start,
            squares=max(0.0, around),
            freedom=freedom,
            recent=max(last),
            recent_best=min(last),
            below=below,
        )

    def _belongs(self, index: int, level: Sequence[int]) -> bool:
        """Return whether an exception happened while the history was at a level."""
        part = next((part for part in self._parts if part[-1] > index), self._parts[-1])
        return part[0] in level


def fit_line(places: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Return the slope of the line of least squares, and the sum of squares around it."""
    middle, mean = finite_mean(places), finite_mean(values)
    xs, ys = [place - middle for place in places], [value - mean for value in values]
    slope = fsum(map(mul, xs, ys)) / fsum(map(mul, xs, xs))
    rest = fsum([(y - slope * x) ** 2 for x, y in zip(xs, ys, strict=True)])
    return slope, rest


class Drift(NamedTuple):
    """How much worse a metric became in all, along a line, and how likely that is chance."""

    change: float
    p_value: float


_DRIFT = 0.0004
_DRIFT_LEAST = 2  # times the smallest change that counts


def find_drift(
    values: Sequence[float], now: float, *, mean: float, effect: float, floor: float
) -> Drift | None:
    """Return the drift towards worse of a history with the value now, None if there is none.

    A drift is a slope with a p of at most 0.0004 that comes to twice ``effect`` or more. ``mean``
    is that of the values.
    """
    n = len(values)
    if n < 2 * RECENT - 1:
        return None
    half = n // 2
    if sum(values[-half:]) - sum(values[:half]) < half * effect / 2:
        return None
    # A value that is worse than the line foretells is no evidence against it.
    middle = (n - 1) / 2
    slope, _ = fit_line(range(n), values)
    now = min(now, mean + slope * (n - middle)) if slope > 0 else now
    slope, rest = fit_line(range(n + 1), [*values, now])
    if slope <= 0 or slope * n < _DRIFT_LEAST * effect:
        return None
    spread = (n + 1) * n * (n + 2) / 12
    scatter = max(sqrt(rest / (n - 1)), floor)
    p = student_p(slope * sqrt(spread) / scatter, n - 1)
    return Drift(slope * n, p) if p <= _DRIFT else None
