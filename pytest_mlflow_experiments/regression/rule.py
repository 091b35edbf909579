"""The rule: decide whether a metric regressed, improved, or can't be judged yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf, isfinite, isnan, ldexp
from typing import final

from ..records.case import dataclass
from .evidence import Evidence, Scatter
from .findings import (
    UNKNOWN_DIRECTION,
    Direction,
    Finding,
    RuleOptions,
    Status,
    against_infinite,
    infinite_now,
    p_text,
    percent,
    sessions,
)
from .levels import RECENT, Known
from .scales import Scale, scales
from .statistics import average
from .tolerance import Tolerance


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rule says of one metric.

    ``current`` and ``baseline`` are the mean now and the level of the history, None without values.
    ``change`` is ``current - baseline`` in the metric's unit, ``relative`` the same as a share of
    the baseline's absolute value (None if that is zero); both are None if one of the means is not
    finite. ``limit`` is the value from which on one further value (or the mean of as many fresh
    runs) would be called regressed, None if none would or that is not known. ``p_value`` is
    one-sided, towards worse, and of the whole history; None without scatter or without a direction.
    ``n``
    counts the history values that are at the level. ``suspect`` says that fresh runs are worth
    their time; of fresh runs, that another one is. ``reason`` is one sentence for people.

    ``level_since`` is the index in the history of the first value at the level, ``below_since`` of
    the first after which the metric stayed worse than it, ``exceptions`` are those of runs that
    stand alone. ``scatter`` is the standard deviation that the test used. ``decisive`` is the p
    that decides where it is another than ``p_value``: of a history without its exceptions, or of a
    drift.
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
    level_since: int | None = None
    below_since: int | None = None
    exceptions: tuple[int, ...] = ()
    scatter: float | None = None
    decisive: float | None = None


_DEFAULTS = RuleOptions()
_FELL = 0.05
"""The p of a value that still is where the history fell to, and not back at its level."""


def judge(
    current: Sequence[float],
    history: Sequence[float],
    *,
    direction: Direction | None = None,
    options: RuleOptions = _DEFAULTS,
) -> Verdict:
    """Compare the values of one metric now with its history.

    A metric regressed if it is at least 1 % (``min_effect``) worse than the level that its history
    stands at and than each of the last 3 values at it, and worse than 999 of 1,000 (``1 - alpha``)
    further runs at that level would be. Of the history the last 20 (``window``) values count.

    The chance is the one-sided p of the pooled two-sample t-test, Student's, as in
    ``scipy.stats.ttest_ind(current, history, equal_var=True)``. For one value now, ``p <= alpha``
    is the same as being beyond Student's prediction limit,
    ``mean + t(n - 1, 1 - alpha) * s * sqrt(1 + 1 / n)``. The standard deviation ``s`` is never
    taken below ``min_effect / 4`` of the level: frozen seeds and the jitter of floats are no
    certainty. Percentages are of the level's absolute value. A history that touches zero has none:
    there the p decides, from 3 values on, and changes below 1e-5 don't count. ``min_change``
    replaces the percentage by an amount.

    - The level is where the history stands after its last shift: a step of 1 % or more with 3
      values or more after it, where the two-sample t-test of both sides has ``p <= 0.001``,
      corrected for the number of places. The scatter from before it is kept. A shift for the worse
      is no new level: the one before stays, and ``below_since`` tells of it. A steady decline that
      a line explains as well as steps do is no shift.
    - A run that stands apart from its level is an exception. What has only regressed without the
      exceptions is *inconclusive* and suspect; fresh runs are judged without them, at a thirtieth
      of alpha.
    - *Drifting*: otherwise unchanged, and the line through history and value falls by 2 % or more
      in all with ``p <= 0.0004``.
    - Scores in [0, 1] near 1: also regressed when the error, ``1 - score``, grew by 25 %
      (``error_effect``) and the same test of its logarithm says so.
    - Counts, small whole numbers that vary: the conditional Poisson test must say so too.
    - One history value: regressed only beyond a half, or twice where greater is worse (a cost:
      twice, or half the throughput). From 2 to 4 values: also when worse by more than 25 % (a cost
      as before) with ``p <= 0.01``; 3 or 4 values count from ``p <= 1.5 * alpha`` on. What does not
      regress by fewer than 3 is *inconclusive*.
    - Improved is the mirror image of regressed.
    - Suspect: worse with ``p <= 10 * alpha``, or at least 5 % worse with fewer than 5 history
      values (a cost: a fifth of the percentages above). Whatever regressed is suspect too. Then run
      the test again, up to 5 times, and judge the fresh values alone, in one call: at a third of
      alpha, for they are looked at again after each run (4 thirds with fewer than 5 history
      values). They also regress when the scatter of the history alone says so at half of that: then
      some of them may be good. Fresh values that hardly differ where the history does come from a
      frozen seed, and count as one.
    - A tolerance decides alone, from 1 history value on: regressed or improved is what differs from
      the level by more than it allows, apart from the rounding of floats.
    - Without a direction nothing regresses or improves: a change that would is *inconclusive*, and
      each shift is a new level.
    - NaN, or infinity on the bad side, now: regressed (NaN without a direction too). Infinity on
      the good side: improved. Such values in the history are ignored. Where it has nothing else,
      NaN or the same infinity now is unchanged, and anything better improved.
    - *new* without history (NaN then is inconclusive), *missing* without a value now.

    A single value that is worse than another never gets a better verdict, and ``limit`` is where
    the verdict turns. Nothing overflows, and nothing warns.

    Args:
        current: the metric's values now, in its own unit: one, or several fresh runs.
        history: its values in the baseline, one for each session, the oldest first.
        direction: which values are better, greater ones (``"max"``) or smaller ones (``"min"``);
            None where nobody knows.
        options: what the rule can be told.

    Raises:
        ValueError: there is neither a value now nor a history, or ``direction`` is no direction.
    """
    fresh = len(current) > 1
    verdict = decide(current, history, direction, options, fresh=fresh)
    return replace(verdict, suspect=False) if fresh else verdict


def decide(
    current: Sequence[float],
    history: Sequence[float],
    direction: Direction | None,
    options: RuleOptions,
    *,
    fresh: bool = False,
    known: Known | None = None,
    is_accepted: bool = False,
    scatter: Scatter | None = None,
    strictness: float = 1.0,
    names: Sequence[str] = (),
    until: str | None = None,
    pinned: bool = False,
) -> Verdict:
    """Judge one metric; see :func:`judge`.

    Args:
        current: the metric's values now, in its own unit.
        history: its values in the baseline, one for each session, the oldest first.
        direction: which values are better.
        options: the parameters of the rule.
        fresh: whether ``current`` are fresh runs of a suspect metric.
        known: a level from before the history.
        is_accepted: whether somebody has accepted that level.
        scatter: scatter that is known beside the history's own.
        strictness: what alpha is divided by.
        names: how to call the sessions of the history, if anyhow.
        until: the name of the first session that missed the level from before the history.
        pinned: whether each shift in the history is a new level.

    Raises:
        ValueError: there is neither a value now nor a history, or ``direction`` is no direction.
    """
    if direction not in ("max", "min", None):
        raise ValueError(f"direction is {direction!r}; it must be 'max', 'min' or None")
    now = [*map(float, current)]
    window = [*map(float, history)][-options.window :]
    if not now and not window and known is None:
        raise ValueError("there is nothing to judge: neither a value now nor a history")
    first = len(history) - len(window)
    places: Sequence[int] = range(first, len(history))
    finite = window
    if not isfinite(sum(window)) and not all(map(isfinite, window)):
        places = [place for place in places if isfinite(history[place])]
        finite = [float(history[place]) for place in places]
    mean_now = average(now) if now else None
    alpha = options.alpha / strictness
    found: list[Scale] = []
    if finite or known is not None:
        usable = now if mean_now is not None and isfinite(mean_now) else finite[-1:]
        usable = usable or ([known.value] if known is not None else [])
        found = scales(
            usable,
            finite,
            direction,
            options,
            alpha,
            fresh=fresh,
            known=known,
            scatter=scatter,
            pinned=pinned,
        )

    def name(place: int | None) -> str:
        if place is None:
            return until or "a session before the history"
        index = places[place]
        return names[index] if index < len(names) else f"run {index + 1} of {len(history)}"

    if mean_now is None:
        reason = f"no value now; {sessions(len(window))} of the baseline had it"
        finding = Finding(status="missing", reason=reason)
    elif not found:
        finding = _without_finite_history(mean_now, window, direction)
    elif not isfinite(mean_now):
        finding = infinite_now(mean_now, direction)
    elif options.tolerance is not None:
        finding = _by_tolerance(found[0], options.tolerance, direction, name)
    else:
        finding = _by_test(
            found,
            direction,
            options,
            alpha,
            name,
            values=len(now),
            fresh=fresh,
            accepted=is_accepted,
        )
    return _verdict(finding, found, mean_now, direction, options, places, fresh=fresh)


def _verdict(
    finding: Finding,
    found: Sequence[Scale],
    mean_now: float | None,
    direction: Direction | None,
    options: RuleOptions,
    places: Sequence[int],
    *,
    fresh: bool,
) -> Verdict:
    evidence = None
    mean = scatter = limit = below = None
    if found:
        evidence = found[0].whole
        mean = evidence.plain(evidence.level.mean)
        scatter = None if evidence.scatter is None else evidence.size(evidence.scatter)
        limit = _limit(found, direction, options, fresh=fresh)
        below = None if evidence.level.below is None else places[evidence.level.below]
    change, relative = difference(mean_now, mean)
    return Verdict(
        status=finding.status,
        current=mean_now,
        baseline=mean,
        change=change,
        relative=relative,
        limit=limit,
        p_value=finding.p_value,
        n=0 if evidence is None else evidence.level.n,
        suspect=finding.suspect or (finding.status == "regressed" and not fresh),
        reason=finding.reason,
        level_since=places[evidence.level.start] if evidence and evidence.level.n else None,
        below_since=below,
        exceptions=tuple([places[place] for place in found[0].exceptions]) if found else (),
        scatter=scatter,
        decisive=finding.decisive,
    )


def _without_finite_history(
    now: float, history: Sequence[float], direction: Direction | None
) -> Finding:
    if history:
        return against_infinite(now, history, direction)
    if isnan(now):
        return Finding(status="inconclusive", reason="NaN, and no history to compare it with")
    return Finding(status="new", reason="no session of the baseline has it")


def _by_tolerance(
    scale: Scale,
    tolerance: Tolerance,
    direction: Direction | None,
    name: Callable[[int | None], str],
) -> Finding:
    """Compare the change with what a tolerance allows."""
    evidence = scale.whole
    reason = f"{_compared(evidence, direction, name)}; the tolerance is {tolerance}"
    if abs(evidence.change) <= _allowed(evidence, tolerance) + evidence.slack:
        return Finding(status="unchanged", reason=reason)
    if direction is None:
        return Finding(status="inconclusive", reason=f"{reason}, but {UNKNOWN_DIRECTION}")
    return Finding(status="regressed" if evidence.change > 0 else "improved", reason=reason)


def _by_test(
    found: Sequence[Scale],
    direction: Direction | None,
    options: RuleOptions,
    alpha: float,
    name: Callable[[int | None], str],
    *,
    values: int,
    fresh: bool,
    accepted: bool,
) -> Finding:
    """Apply the test in both directions; ``values`` is the number of current values."""
    used = [(scale, scale.whole) for scale in found]
    if fresh:
        # Fresh runs tell a fault that is back from an exception that has its like now and then.
        used += [(scale, scale.without) for scale in found if scale.exceptions]
    scale, evidence = used[0]
    p = scale.p_value(evidence)
    reason = _compared(evidence, direction, name) + _runs(values, evidence.k)
    worse = _first_worse(used)
    better = None
    if evidence.change < 0 and (p is None or evidence.is_young or p > 0.9):
        # Only what changed by enough can have improved; most metrics have not.
        better = _first_worse(
            [(one, own.mirrored()) for one, own in used if own.change <= own.slack - own.effect]
        )
    if decisive := worse or better:
        if direction is None:
            return Finding(status="inconclusive", reason=f"{reason}, but {UNKNOWN_DIRECTION}")
        status: Status = "regressed" if worse else "improved"
        scale, own = decisive
        if scale.error_of is not None:
            reason = f"{reason}, {_error(own, better=worse is None)}"
        if own is scale.without and own is not scale.whole:
            reason = f"{reason}, and {_apart(scale, name)}"
        decides = scale.p_value(own)
        why = _FAR_ENOUGH if decides is None else p_text(decides)
        without = None
        if own is scale.whole:
            p = decides
        elif worse:
            without = decides
        return Finding(status=status, reason=f"{reason}: {why}", p_value=p, decisive=without)
    if direction is None:
        p = None
    elif masked := _masked(found) if not fresh else None:
        text = _compared(masked[1], direction, name)
        reason = f"{text}, but {_apart(masked[0], name)}: fresh runs decide, with --mlflow-rerun"
        return Finding(status="inconclusive", reason=reason, p_value=p, suspect=True)
    if fresh:
        # One scale that is clear does not clear the other.
        suspect = any(own.is_open(one.p_value(own)) for one, own in used)
    else:
        suspect = direction is not None and any(
            one.without.looks_worse(
                p if one.without is evidence else one.p_value(one.without), options.alpha
            )
            for one in found
            if one.without.change > 0
        )
    return _undecided(evidence, p, reason, alpha, name, suspect=suspect, accepted=accepted)


def _first_worse(pairs: Sequence[tuple[Scale, Evidence]]) -> tuple[Scale, Evidence] | None:
    """Return the first scale on which the metric is worse, with its evidence."""
    for scale, evidence in pairs:
        if scale.is_worse(evidence):
            return scale, evidence
    return None


_FAR_ENOUGH = "far enough for so few sessions"


def _undecided(
    evidence: Evidence,
    p: float | None,
    reason: str,
    alpha: float,
    name: Callable[[int | None], str],
    *,
    suspect: bool,
    accepted: bool,
) -> Finding:
    """Return the finding for a metric that neither regressed nor improved."""
    level, drift = evidence.level, evidence.drift
    status: Status = "unchanged"
    if level.below is not None and evidence.change > 0 and p is not None and p <= _FELL:
        status, reason = "inconclusive", f"{reason}: not clear whether it is back, {p_text(p)}"
    elif drift is not None:
        size = percent(drift.change / abs(level.mean)) if level.mean else f"{drift.change:.3g}"
        since = f"over {sessions(evidence.count)}"
        reason = f"{size} worse {since}, steadily: {p_text(drift.p_value)}"
        return Finding(
            status="drifting", reason=reason, p_value=p, suspect=suspect, decisive=drift.p_value
        )
    elif accepted and level.n == 0:
        if evidence.change >= evidence.effect and p is not None and p <= 10 * alpha:
            status, reason = "inconclusive", f"{reason}: too few sessions to tell, {p_text(p)}"
        else:
            status = "accepted"
    elif level.freedom < RECENT - 1:
        status, reason = "inconclusive", f"{reason}: too few to tell, {RECENT} are needed"
    elif abs(evidence.change) < evidence.effect - evidence.slack:
        reason = f"{reason}: too small to count"
    elif p is not None and min(p, 1 - p) > alpha:
        reason = f"{reason}: within the scatter, {p_text(min(p, 1 - p))}"
    else:
        reason = f"{reason}, but not beyond each of the last {RECENT}"
    return Finding(status=status, reason=reason, p_value=p, suspect=suspect)


def _apart(scale: Scale, name: Callable[[int | None], str]) -> str:
    """Name the exceptional runs of a history."""
    runs = [name(place) for place in scale.exceptions]
    if len(runs) == 1:
        return f"{runs[0]} was an exception"
    return f"{', '.join(runs[:-1])} and {runs[-1]} were exceptions"


def _masked(found: Sequence[Scale]) -> tuple[Scale, Evidence] | None:
    """Return the scale on which only exceptional runs keep the metric from having regressed."""
    for scale in found:
        if scale.exceptions and scale.is_worse(scale.without):
            return scale, scale.without
    return None


def _limit(
    found: Sequence[Scale],
    direction: Direction | None,
    options: RuleOptions,
    *,
    fresh: bool,
) -> float | None:
    """Return the value from which on one further value would be called regressed."""
    if direction is None:
        return None
    if options.tolerance is not None:
        evidence = found[0].whole
        return evidence.plain(evidence.level.mean + _allowed(evidence, options.tolerance))
    used = [(scale, scale.whole) for scale in found]
    if fresh:
        used += [(scale, scale.without) for scale in found]
    limits = [scale.plain(evidence, scale.worst(evidence)) for scale, evidence in used]
    told = [one for one in limits if one is not None]
    return (max(told) if direction == "max" else min(told)) if told else None


def _allowed(evidence: Evidence, tolerance: Tolerance) -> float:
    if tolerance.relative:
        return max(tolerance.amount * abs(evidence.level.mean), evidence.zero)
    try:
        return ldexp(tolerance.amount, -evidence.exponent)
    except OverflowError:
        return inf


def _compared(
    evidence: Evidence, direction: Direction | None, name: Callable[[int | None], str]
) -> str:
    """Describe in words how the current values differ from the level of the history."""
    level, known = evidence.level, evidence.level.n == 0
    place = f"the mean of {sessions(level.n)}"
    if known:
        place = "the level before" if level.below is not None else "what was accepted"
    elif level.start:
        place = f"{place} since {name(level.start)}"
    change = evidence.change
    if abs(change) <= evidence.slack:
        text = f"the same as {place}"
    else:
        words = ("less", "more") if direction is None else ("better", "worse")
        share = abs(change) / abs(level.mean) if level.mean else inf
        size = percent(share) if share < 1e6 else f"{evidence.size(change) or inf:.3g}"
        text = f"{size} {words[change > 0]} than {place}"
    if level.below is None:
        return text
    return f"{text}; worse than that level since {name(None if known else level.below)}"


def _error(evidence: Evidence, *, better: bool) -> str:
    """Describe how the error of a score changed; the evidence is that of its logarithm."""
    plain = evidence.size(evidence.change) or 0.0
    ratio = 2.718281828459045**plain
    return f"and the error is {ratio:.2g} times {'smaller' if better else 'as large'}"


def _runs(values: int, independent: int) -> str:
    if values == 1:
        return ""
    return f", over {values} runs" + (" that count as one" if independent == 1 else "")


def difference(now: float | None, mean: float | None) -> tuple[float | None, float | None]:
    """Return the change, and its share of the baseline."""
    if now is None or mean is None or not isfinite(now):
        return None, None
    change = now - mean  # may be infinite
    relative = now / abs(mean) - mean / abs(mean) if mean else inf
    return change if isfinite(change) else None, relative if isfinite(relative) else None
