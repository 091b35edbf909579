"""What the name of a metric and the assertions that guard it say together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import inf, isfinite
from typing import Final, Literal, NamedTuple, cast

from ..records import Check, Operator
from .direction import (
    direction_by_name,
    direction_by_operators,
    is_cost,
    is_cost_of_expression,
)

_LOWER: Final = frozenset({-inf, -1.0, 0.0})
_UPPER: Final = frozenset({1.0, inf})
_BOUNDS: Final = _LOWER | _UPPER
_SHARE: Final = 0.01
_TOLERANCE: Final = 0.01
_ROUNDING: Final = 1e-9
_SIGNS: Final = {">=": "≥", "<=": "≤", "==": "≈"}


class Guard(NamedTuple):
    """An assertion on a metric.

    ``bound`` is its limit if many quantities can't be beyond that by nature (0, 1, infinity), else
    None. ``expression`` tells that the value is calculated from what the metric's name names,
    ``logged`` that the test logged the metric, too.
    """

    operator: Operator
    bound: float | None = None
    expression: bool = False
    logged: bool = False

    @classmethod
    def of(cls, check: Check) -> Guard:
        """Return the guard that a check is."""
        bound = check.limit if check.limit in _BOUNDS else None
        # Many checks are the same guard; but 0.0 and -0.0, which are equal, aren't the same.
        make = cls if bound == 0 else _guard
        return make(check.operator, bound, check.expression, check.logged)

    @property
    def is_natural(self) -> bool:
        """Whether it only says what is so by nature: ``x >= 0``, ``x <= 1``, ``x < inf``."""
        if self.operator in (">", ">="):
            return self.bound == -inf or (self.bound == 0 and not self.expression)
        return self.bound == inf or (
            self.operator == "<=" and self.bound == 1 and not self.expression
        )


_guard: Final = lru_cache(maxsize=256)(Guard)


class Limit(NamedTuple):
    """The limit of an assertion, as a text of :func:`.guard_texts` has it."""

    operator: str
    value: float
    tolerance: float = 0.0

    def __str__(self) -> str:
        around = f" ± {self.tolerance:.6g}" if self.operator == "==" else ""
        return f"{_SIGNS.get(self.operator, self.operator)} {self.value:.6g}{around}"

    @property
    def is_natural(self) -> bool:
        """Whether the limit only says what is so by nature."""
        if self.operator == "==":
            return False
        bound = self.value if self.value in _BOUNDS else None
        return Guard(cast("Operator", self.operator), bound).is_natural

    @property
    def is_written(self) -> bool:
        """Whether it looks like a number that somebody wrote, and not like one that was measured.

        Measured and calculated numbers have all digits that a float has.
        """
        return all(
            abs(float(f"{number:.9g}") - number) <= _ROUNDING * _ROUNDING + 1e-13 * abs(number)
            for number in (self.value, self.tolerance)
        )


@lru_cache(maxsize=4_096)
def limits_of(text: str) -> tuple[Limit, ...]:
    """Parse a text of :func:`.guard_texts`; what an older release left out of it is not known."""
    found = []
    for part in filter(None, text.split(", ")):
        operator, number, *around = part.split(" ")
        if operator != "==" or around:
            found.append(Limit(operator, float(number), *map(float, around[1:])))
    return tuple(found)


@lru_cache(maxsize=4_096)
def _closest_of(text: str, side: str) -> Limit | None:
    """Return the closest of the limits in a text whose operator begins so."""
    limits = [one for one in limits_of(text) if one.operator[0] == side]
    best = max if side == ">" else min
    return best(limits, key=lambda one: one.value, default=None)


def own_limit(check: Check, limits: str) -> Check:
    """Return a check with the limit that an earlier session had; as it is without one."""
    closest = _closest_of(limits, check.operator[0])
    if closest is None:
        return check
    tolerance = closest.tolerance if closest.operator == "==" else None
    operator = cast("Operator", closest.operator)
    if (operator, closest.value, tolerance) == (check.operator, check.limit, check.tolerance):
        return check
    return replace(check, operator=operator, limit=closest.value, tolerance=tolerance)


def weakened(before: str, now: str, earlier: str) -> str | None:
    """Say how the limits of a metric allow more than before, None if they don't.

    ``before`` are those of the newest session, ``earlier`` those of the one before it, which tell
    of limits that are no fixed numbers, but other ones in each session: these can't be compared.
    """
    olds, news = limits_of(before), limits_of(now)
    fixed = [old for old in olds if old.is_written and (not earlier or old in limits_of(earlier))]
    told = []
    for sides, best in (((">", ">="), max), (("<", "<="), min)):
        old = best(
            (one for one in fixed if one.operator in sides and not one.is_natural),
            key=lambda one: one.value,
            default=None,
        )
        if old is None:
            continue
        own = [one for one in news if one.operator in sides]
        new = best(own, key=lambda one: one.value, default=None)
        # What is equal to a number is on one side of another one.
        around = [
            one.value - one.tolerance if best is max else one.value + one.tolerance
            for one in news
            if one.operator == "=="
        ]
        bounds = [*(one.value for one in own), *around]
        if not bounds:
            told.append(f"without the limit {old}")
        elif best(bounds) != old.value == best(old.value, best(bounds)):
            told.append(f"limit {old} → {new or 'the value that it has to equal'}")
    for old in fixed:
        if old.operator != "==":
            continue
        own = [one for one in news if one.operator == "=="]
        if not own:
            told.append(f"without the limit {old}")
        elif not any(
            abs(one.value - old.value) + one.tolerance <= old.tolerance * (1 + _ROUNDING)
            for one in own
        ):
            told.append(f"limit {old} → {own[0]}")
    return ", ".join(told) or None


class Meaning(NamedTuple):
    """Which values of a metric are better, None if nobody knows, and why.

    ``contradiction`` says how name and guards disagree, if they do. ``is_range`` tells that the
    guards only check the range of possible values.
    """

    direction: Literal["max", "min"] | None
    contradiction: str | None = None
    is_range: bool = False


def meaning_of(metric: str, guards: Collection[Guard]) -> Meaning:
    """Return what the name of a metric and its guards say; of an expression the guards alone."""
    named = None if is_expression(guards) else direction_by_name(metric)
    pair = _pair(guards)
    # What a test logs it wants to know.
    may_be_range = bool(guards) and not any(guard.logged for guard in guards)
    if may_be_range and pair.issuperset(guards):
        return Meaning(named, is_range=True)
    if named is None:
        is_range = may_be_range and all(guard.is_natural for guard in guards)
        # Of 0.8 <= x <= 1 the 1 is no goal; of 0 < x < 5 nobody knows.
        goals = [g for g in guards if g.operator == ">" or not g.is_natural] or guards
        return Meaning(direction_by_operators(g.operator for g in goals), is_range=is_range)
    # A score is below 1 and a loss above 0: that is no goal that its name contradicts.
    goals = [g for g in guards if not (g.is_natural or g in pair or g[:2] == ("<", 1))]
    wanted = direction_by_operators(g.operator for g in goals)
    if wanted is None or wanted == named:
        return Meaning(named)
    return Meaning(
        None,
        f"its name suggests that {_words(named)} values are better, and its assertion that "
        f"{_words(wanted)} ones are: say it with the marker's direction= or the ini value "
        "mlflow_direction",
    )


def negligible(check: Check, history: Sequence[float]) -> float | None:
    """Return the change that is nothing beside the limit of an assertion, if the history is so too.

    Whoever asserts ``abs(a - b) < 1e-6`` is content with 1e-14, and no less with 2e-14. But a loss
    of 0.01 is not good just because it must be below 10: where the name says what is better, only
    limits up to 0.01 are such tolerances.
    """
    if not history or check.operator == "==" or check.margin <= 0:
        return None
    least = min(history)
    if least > 2 * _SHARE * abs(check.limit - least):
        return None  # so is the level, and most metrics are far from nothing
    finite = sorted(history if all(map(isfinite, history)) else filter(isfinite, history))
    if not finite:
        return None
    level = finite[(len(finite) - 1) // 2]
    way = abs(check.limit - level)
    if abs(level) > way * _SHARE:
        return None
    if not check.expression and direction_by_name(check.metric) is not None:
        way = min(way, _TOLERANCE)
    share = way * _SHARE
    return share if abs(level) <= share < inf else None


def is_residual(check: Check, values: Iterable[float], share: float) -> bool:
    """Whether values are nothing beside the limit of an assertion, and no quality by their name.

    ``share`` is what :func:`negligible` returns.
    """
    named = None if check.expression else direction_by_name(check.metric)
    return named is None and all(abs(value) <= share for value in values)


def is_expression(guards: Iterable[Guard]) -> bool:
    """Whether the value that is guarded is calculated from what the metric's name names."""
    return any(guard.expression for guard in guards)


def is_guarded_cost(metric: str, guards: Iterable[Guard]) -> bool:
    """Whether a metric is a cost, by its name; an expression by the names in it."""
    return is_cost_of_expression(metric) if is_expression(guards) else is_cost(metric)


def _pair(guards: Iterable[Guard]) -> frozenset[Guard]:
    """Return the guards of a range on both sides, as ``0 <= x <= 1``; none if there is no such."""
    lower = [g for g in guards if g.operator in (">", ">=") and g.bound in _LOWER]
    upper = [g for g in guards if g.operator in ("<", "<=") and g.bound in _UPPER]
    return frozenset([*lower, *upper] if lower and upper else ())


def _words(direction: str) -> str:
    return "greater" if direction == "max" else "smaller"
