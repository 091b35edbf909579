"""The rule: decide whether a metric regressed, improved, or can't be judged yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import final

from .evidence import measure
from .findings import Direction, RuleOptions, Status, find, limit
from .statistics import average


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rule says of one metric.

    ``current`` and ``baseline`` are means, None if there are no values. ``change`` is ``current -
    baseline`` in the metric's unit, ``relative`` the same as a share of the baseline's absolute
    value (None if that is zero); both are None if one of the means is not finite. ``limit`` is the
    value beyond which one further value would be called regressed, None if none would or that is
    not known. ``p_value`` is one-sided, towards worse; None without scatter or without a direction.
    ``n`` counts the history values that were used. ``suspect`` says that fresh runs are worth their
    time; ``reason`` is one sentence for people.
    """

    status: Status
    current: float | None
    baseline: float | None
    change: float | None
    relative: float | None
    limit: float | None
    p_value: float | None
    n: int
    suspect: bool
    reason: str


_DEFAULTS = RuleOptions()


def judge(
    current: Sequence[float],
    history: Sequence[float],
    *,
    direction: Direction | None = None,
    options: RuleOptions = _DEFAULTS,
) -> Verdict:
    """Compare the values of one metric now with its history.

    A metric regressed if it is at least 1 % (``min_effect``) worse than the baseline mean and than
    each of the last 3 baseline values, and worse than 999 of 1,000 (``1 - alpha``) further runs of
    the last 20 (``window``) baseline sessions would be.

    The chance is the one-sided p of the pooled two-sample t-test, Student's, as in
    ``scipy.stats.ttest_ind(current, history, equal_var=True)``. For one value now, ``p <= alpha``
    is the same as being beyond Student's prediction limit,
    ``mean + t(n - 1, 1 - alpha) * s * sqrt(1 + 1 / n)``. The standard deviation ``s`` is never
    taken below ``min_effect / 4`` of the mean: frozen seeds and the jitter of floats are no
    certainty. Percentages are of the mean's absolute value. A history that touches zero has none:
    there the p decides, from 3 values on, and changes below 1e-9 don't count.

    - Fewer than 5 history values: also regressed when worse by more than 25 % (a cost: 100 %, or
      50 % where smaller is worse) and, from 2 values on, ``p <= 0.05``. With fewer than 3 nothing
      else can regress, and what does not is *inconclusive*.
    - Improved is the mirror image of regressed.
    - Suspect: worse with ``p <= 10 * alpha``, or at least 5 % worse (a fifth of the percentages
      above) with fewer than 5 history values. Whatever regressed is suspect too. Then run the test
      3 more times, and judge the fresh values alone, in one call: ``judge(fresh, history)``. With
      several values the t-test works from 1 history value on; the 25 % then take ``p <= 0.01``.
      Fresh values that hardly differ where the history does come from a frozen seed, and count
      as one.
    - A tolerance decides alone, from 1 history value on: regressed or improved is what differs
      from the mean by more than it allows, apart from the rounding of floats.
    - Without a direction nothing regresses or improves: a change that would is *inconclusive*.
    - NaN, or infinity on the bad side, now: regressed (NaN without a direction too). Infinity on
      the good side: improved. Such values in the history are ignored. Where it has nothing else,
      NaN or the same infinity now is unchanged, and anything better improved.
    - *new* without history (NaN then is inconclusive), *missing* without a value now.

    A single value that is worse than another never gets a better verdict. Nothing overflows, and
    nothing warns.

    Args:
        current: the metric's values now, in its own unit: one, or several fresh runs.
        history: its values in the baseline, one for each session, the oldest first.
        direction: which values are better, greater ones (``"max"``) or smaller ones (``"min"``);
            None where nobody knows.
        options: what the rule can be told.

    Raises:
        ValueError: there is neither a value now nor a history, or ``direction`` is no direction.
    """
    if direction not in ("max", "min", None):
        raise ValueError(f"direction is {direction!r}; it must be 'max', 'min' or None")
    now = [float(value) for value in current]
    window = [float(value) for value in history][-options.window :]
    if not now and not window:
        raise ValueError("there is nothing to judge: neither a value now nor a history")
    finite = [value for value in window if isfinite(value)]
    mean_now = average(now) if now else None
    mean = average(finite) if finite else None
    evidence = None
    if finite:
        sign = -1.0 if direction == "max" else 1.0
        usable = now if mean_now is not None and isfinite(mean_now) else finite[-1:]
        evidence = measure(usable, finite, sign=sign, min_effect=options.min_effect)
    finding = find(now, mean_now, window, evidence, direction, options)
    change, relative = _difference(mean_now, mean)
    return Verdict(
        status=finding.status,
        current=mean_now,
        baseline=mean,
        change=change,
        relative=relative,
        limit=None if evidence is None else limit(evidence, direction, options),
        p_value=finding.p_value,
        n=len(finite),
        suspect=len(now) == 1 and (finding.suspect or finding.status == "regressed"),
        reason=finding.reason,
    )


def _difference(now: float | None, mean: float | None) -> tuple[float | None, float | None]:
    """Return the change, and its share of the baseline."""
    if now is None or mean is None or not isfinite(now):
        return None, None
    change = now - mean  # may be infinite
    relative = now / abs(mean) - mean / abs(mean) if mean else inf
    return change if isfinite(change) else None, relative if isfinite(relative) else None
