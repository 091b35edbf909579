"""The current values of one metric and its history, as the numbers that the rule uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, inf, ldexp, sqrt
from operator import neg
from typing import final

from .distributions import student_p
from .levels import RECENT, Drift, Known, Level, find_drift, find_level, quantile
from .statistics import ROUNDING, exponent_of, finite_mean, is_safe

MATURE = 4
"""The degrees of freedom of the scatter from which on the test alone decides."""

MOST_FRESH = 5
"""The number of fresh runs after which no further one is asked for."""

_ZERO = 1e-5
"""A history that touches zero has no percentages; smaller changes are rounding.

That is 100 units in the last place of 32-bit floats.
"""

_FRESH = 3
"""What alpha is divided by for fresh runs, as these are looked at again after each of them."""

_APART = 30
"""What alpha is divided by for fresh runs where exceptions are left out of the history."""

_LEAST = 1e-150
"""A scatter whose square is no zero."""

_FROZEN = 1 / 20
"""Fresh values with less than this share of the history's scatter are one value, repeated."""

_FAR = 0.25
_FAR_ALONE = 0.5  # for one value of history
_FAR_ALONE_UP = 1.0
_FAR_COST = 1.0
_FAR_COST_DOWN = 0.5  # half the throughput is what twice the time is
_FAR_ALPHA = 0.01
_YOUNG = 1.5  # times alpha with three or four values: hardly anything scatters so little
_YOUNG_FRESH = 4.0  # times alpha: few values of history are seldom enough for a suspicion
_LOOKS_WORSE = 0.05  # in relation to which a change is suspect with few values
_CLEARED = 0.2  # fresh values with a greater p are as good as ever


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Scatter that is known beside the history's own: its squares and degrees of freedom.

    ``alone`` tells that the history's own says nothing, because what made it is frozen. The squares
    are in units of ``4**exponent``.
    """

    squares: float
    freedom: int
    alone: bool = False
    exponent: int = 0


@final
@dataclass(slots=True, kw_only=True, eq=False)  # frozen ones take longer to make
class Evidence:
    """Current values and the level of a history, all finite, greater ones being worse.

    All numbers are in units of ``2**exponent``, so that squares of huge or tiny values neither
    overflow nor vanish; :meth:`plain` turns them back. Of others ``exponent`` is 0.

    ``now`` is the mean of the ``k`` independent values now, ``change`` how much worse than the
    level it is, ``squares_now`` the sum of their squared deviations. ``alpha`` is the p that is
    significant, ``effect`` the smallest change that counts, ``floor`` the lower bound of the
    scatter, ``slack`` the tolerance for rounding, ``scatter`` the pooled standard deviation, at
    least ``floor``, or None if nothing is known of it, and ``spread`` that of ``change``. ``zero``
    is what counts as zero if the history touches it, else 0; ``absolute`` tells that ``effect`` is
    no share of the level. ``count`` is the number of finite values in the history; ``fresh`` tells
    that the values now are fresh runs.
    """

    exponent: int
    sign: float
    now: float
    change: float
    k: int
    squares_now: float
    level: Level
    count: int
    alpha: float
    effect: float
    floor: float
    slack: float
    zero: float
    absolute: bool
    fresh: bool
    cost: bool
    scatter: float | None
    spread: float | None
    drift: Drift | None = None

    @property
    def freedom(self) -> int:
        """The degrees of freedom of the pooled scatter."""
        return self.level.freedom + self.k - 1

    @property
    def is_young(self) -> bool:
        """Whether the scatter of the history is hardly known."""
        return self.level.freedom < MATURE

    def plain(self, number: float) -> float | None:
        """Return a number of this evidence in the metric's own unit; None if too large."""
        if not self.exponent:
            return self.sign * number
        try:
            return ldexp(self.sign * number, self.exponent)
        except OverflowError:
            return None

    def size(self, number: float) -> float | None:
        """Return a difference in the metric's own unit, as it is, whatever is worse."""
        return None if (plain := self.plain(number)) is None else abs(plain)

    def mirrored(self) -> Evidence:
        """Return the same evidence for the opposite direction."""
        level = self.level
        turned = level._replace(
            mean=-level.mean,
            recent=-level.recent_best,
            recent_best=-level.recent,
            below=None,
        )
        now, change = -self.now, level.mean - self.now
        return replace(self, sign=-self.sign, now=now, change=change, level=turned, drift=None)

    def p_value(self) -> float | None:
        """Return the one-sided p-value of the pooled two-sample t-test, None without any scatter.

        Without shifts of the level it is that of ``scipy.stats.ttest_ind(now, history,
        equal_var=True)``, except that the scatter is never taken below ``floor``.
        """
        if self.spread is None:
            return None
        return student_p(self.change / self.spread, self.freedom)

    def worst(self) -> float:
        """Return the value from which on the mean now is significantly worse; infinite if none is.

        The part that depends on the scatter is the limit of Student's prediction interval.
        """
        level, alpha = self.level, self.alpha
        least = max(level.mean, level.recent) + self.effect
        bounds = []
        if self.is_young:
            alpha *= _YOUNG_FRESH if self.fresh else _YOUNG
        if level.freedom + self.k > RECENT - 1 and (level.freedom >= RECENT - 1 or self.k > 1):
            bounds.append(self._prediction(alpha))
        if self.fresh and not self.is_young:
            # Fresh values may scatter because some of them are bad: then the history's own scatter
            # tells. Two tests, of which this one takes half.
            own = max(sqrt(level.squares / level.freedom), self.floor)
            spread = own * sqrt(1 / level.weight + 1 / self.k)
            bounds.append(level.mean + quantile(alpha / 2, level.freedom) * spread)
        bound = max(least, min(bounds)) if bounds else inf
        return min(bound, self._worst_of_few())

    def _prediction(self, alpha: float) -> float:
        if self.spread is None:
            return inf
        return self.level.mean + quantile(alpha, self.freedom) * self.spread

    def _worst_of_few(self) -> float:
        """Return the value from which on a change is large enough for a young history."""
        level = self.level
        if not self.is_young or self.zero or self.fresh:
            return inf
        size = abs(level.mean)
        if level.n < 2:
            return level.mean + self._far(alone=True) * size + 2 * self.slack
        far = level.mean + self._far(alone=False) * size + 2 * self.slack
        return max(far, self._prediction(_FAR_ALPHA))

    def _far(self, *, alone: bool) -> float:
        """Return the share of the level that is a large change, whatever the scatter."""
        if self.cost:
            return _FAR_COST if self.sign > 0 else _FAR_COST_DOWN
        if alone:
            # Half is as far below one as twice is above it.
            return _FAR_ALONE if self.level.mean < 0 else _FAR_ALONE_UP
        return _FAR

    def looks_worse(self, p: float | None, alpha: float) -> bool:
        """Whether the change justifies fresh runs; this takes far less than a regression."""
        if self.change <= 0:
            return False
        if p is not None and p <= 10 * alpha:
            return True
        return self.is_young and self.change >= self._looks_worse() - self.slack

    def _looks_worse(self) -> float:
        """Return the change that looks worse where little is known of the scatter."""
        share = self._far(alone=False) / 5 if self.cost else _LOOKS_WORSE
        return self.effect if self.absolute else max(share * abs(self.level.mean), self.effect)

    def is_open(self, p: float | None) -> bool:
        """Whether another fresh run may change the verdict, these not being worse for sure.

        None does where all of them come from one frozen seed.
        """
        if not self.fresh or self.k >= MOST_FRESH or self.change <= self.slack:
            return False
        if p is None:
            return self.change >= self._looks_worse() - self.slack
        return p <= _CLEARED


def measure(
    current: Sequence[float],
    history: Sequence[float],
    *,
    sign: float,
    alpha: float,
    min_effect: float = 0.0,
    min_change: float | None = None,
    cost: bool = False,
    fresh: bool = False,
    directed: bool = True,
    known: Known | None = None,
    scatter: Scatter | None = None,
    drifts: bool = True,
) -> tuple[Evidence, Evidence, tuple[int, ...]]:
    """Return the evidence, that without exceptional runs of the history, and which these are.

    All values are finite, and there is at least one now, and a history or a ``known`` level.

    Args:
        current: the values now.
        history: one value for each session, the oldest first.
        sign: 1 if greater values are worse, else -1.
        alpha: the p that is significant.
        min_effect: the smallest change that counts, as a share of the level.
        min_change: the same in the metric's unit; it wins.
        cost: whether the metric is one.
        fresh: whether ``current`` are fresh runs.
        directed: whether it is known which values are worse.
        known: a level from before the history.
        scatter: scatter that is known beside the history's.
        drifts: whether to look for a drift.
    """
    past = history if known is None else [known.value, *history]
    least, most = min(past), max(past)
    touches_zero = least <= 0 <= most
    exponent = exponent_of(
        (
            *(least, most, *current, _ZERO if touches_zero else 0.0, min_change or 0.0),
            known.scatter if known is not None and known.freedom else 0.0,
        )
    )
    if scatter is not None and scatter.squares:
        exponent = max(exponent, scatter.exponent + exponent_of([sqrt(scatter.squares)]))
    if is_safe(exponent):
        exponent = 0
        before, after = history, current
        largest = max(most, -least)
        if sign < 0:
            before, after = [*map(neg, history)], [*map(neg, current)]
            least, most = -most, -least
    else:
        before = [ldexp(sign * value, -exponent) for value in history]
        after = [ldexp(sign * value, -exponent) for value in current]
        largest = ldexp(max(most, -least), -exponent)
        least, most = (min(before), max(before)) if before else (0.0, 0.0)
    if known is not None:
        known = known._replace(
            value=ldexp(sign * known.value, -exponent),
            scatter=ldexp(known.scatter, -exponent) if known.freedom else 0.0,
        )
    now, squares_now = after[0], 0.0
    if len(after) > 1:
        now = finite_mean(after)
        squares_now = fsum([(value - now) ** 2 for value in after])
    if known is not None:
        middle = finite_mean(before) if before else known.value
    else:
        middle = min(max(fsum(before) / len(before), least), most)
    zero = ldexp(_ZERO, -exponent) if touches_zero and min_change is None else 0.0
    slack = ROUNDING * max(abs(middle), abs(now), largest)
    effect = max(min_effect * abs(middle), zero)
    if min_change is not None:
        effect = ldexp(min_change, -exponent)
    # Where all is zero and each change counts, there is still something to divide by.
    floor = max(effect / 4, slack) or _LEAST
    found = find_level(
        before,
        effect=effect,
        floor=floor,
        now=now,
        mean=middle,
        ends=(least, most),
        directed=directed,
        known=known,
    )
    k = len(after)
    if k > 1:
        # A frozen seed gives each run of a session the same value: repeating it tells nothing about
        # how sessions differ, and the values would count as several where they are one.
        level = found.without
        own = sqrt(level.squares / level.freedom) if level.freedom else 0.0
        varies = own > slack or not level.freedom
        if varies and sqrt(squares_now / (k - 1)) <= max(_FROZEN * own, slack):
            k, squares_now, fresh = 1, 0.0, False
    if fresh:
        alpha /= _FRESH

    def evidence(level: Level, alpha: float) -> Evidence:
        if scatter is not None:
            unit = scatter.exponent - exponent
            extra = ldexp(ldexp(scatter.squares, unit), unit)
            own = (0.0, 0) if scatter.alone else (level.squares, level.freedom)
            weight = 1.0 if scatter.alone else level.weight
            level = level._replace(
                squares=own[0] + extra, freedom=own[1] + scatter.freedom, weight=weight
            )
        freedom = level.freedom + k - 1
        pooled = spread = None
        if freedom:
            pooled = max(sqrt((level.squares + squares_now) / freedom), floor)
            spread = pooled * sqrt(1 / level.weight + 1 / k)
        return Evidence(
            exponent=exponent,
            sign=sign,
            now=now,
            change=now - level.mean,
            k=k,
            squares_now=squares_now,
            level=level,
            count=len(before),
            alpha=alpha,
            effect=effect if min_change is not None else max(min_effect * abs(level.mean), zero),
            floor=floor,
            slack=slack,
            zero=zero,
            absolute=min_change is not None or zero > 0,
            fresh=fresh,
            cost=cost,
            scatter=pooled,
            spread=spread,
            drift=drift,
        )

    drift = None
    # What never varied does not drift, however small a change counts.
    if drifts and directed and not cost and (least < most or not effect):
        drift = find_drift(before, now, mean=middle, effect=effect, floor=floor)
    whole = without = evidence(found.level, alpha)
    if found.level is not found.without:
        # What is left without exceptions scatters less than it should.
        without = evidence(found.without, alpha / _APART if fresh else alpha)
    return whole, without, found.exceptions
