"""Judge the examples of an evaluation: cases of one test whose metric is 0 or 1, by their rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import fsum
from typing import TYPE_CHECKING, final

from ..records.accepted import AcceptedValue
from ..records.case import named_few
from .distributions import binomial_p, chi_squared_p
from .findings import Direction, RuleOptions, Status, p_text
from .levels import RECENT
from .rule import Verdict, decide
from .statistics import finite_mean, fisher_p

if TYPE_CHECKING:
    from .session_rule import MetricSeries

_ALPHA = 0.01
"""The p-value of each of the two tests of a rate."""

_MANY = 10
"""With fewer examples, hardly any change of the rate is significant."""

_SHOWN = 5


@final
class Examples:
    """Examples of one evaluation, as the metrics of some cases of a test, each value 0 or 1.

    Only those that the history has are compared, each with the newest session that has it.
    ``worse`` and ``better`` are the cases that changed, ``rate`` is the mean now, ``rates`` are
    those of the sessions, the oldest first.
    """

    def __init__(self, rows: Sequence[MetricSeries]) -> None:
        self.rows = [row for row in rows if row.history]
        self._bad = 0 if rows[0].direction == "max" else 1
        changed = [row for row in self.rows if row.current[0] != row.history[-1]]
        self.worse = [row.case for row in changed if row.current[0] == self._bad]
        self.better = [row.case for row in changed if row.current[0] != self._bad]
        depth = max(len(row.history) for row in self.rows)
        self._sessions = [
            [_number(row.history[-age]) for row in self.rows if len(row.history) >= age]
            for age in range(depth, 0, -1)
        ]
        self.rates = tuple(map(finite_mean, self._sessions))
        self.rate = finite_mean([_number(row.current[0]) for row in self.rows])

    @staticmethod
    def are(rows: Sequence[MetricSeries]) -> bool:
        """Return whether each value of some metrics is 0 or 1, now and in the history."""
        return any(row.history for row in rows) and all(
            len(row.current) == 1
            and row.direction is not None
            and row.options.tolerance is None
            and not row.options.cost
            and all(value in (0, 1) for value in (*row.current, *row.history))
            for row in rows
        )

    def p_of_changes(self) -> float:
        """Return the mid-p of McNemar's exact test (1947), of the examples that changed."""
        worse, changed = len(self.worse), len(self.worse) + len(self.better)
        return (binomial_p(worse, changed, 0.5) + binomial_p(worse + 1, changed, 0.5)) / 2

    def p_of_rate(self) -> float:
        """Return the mid-p of Fisher's exact test (1935): examples now, and in all sessions."""
        before = sum(values.count(self._bad) for values in self._sessions)
        now = sum(row.current[0] == self._bad for row in self.rows)
        return fisher_p(now, len(self.rows), before, sum(map(len, self._sessions)))

    def rates_scatter(self) -> bool:
        """Return whether the rates scatter more than chance explains: chi-squared, at 5 %."""
        rate = finite_mean(self.rates)
        if len(self.rates) < RECENT or rate in (0, 1):
            return False
        chi = fsum(
            len(values) * (one - rate) ** 2 / (rate * (1 - rate))
            for values, one in zip(self._sessions, self.rates, strict=True)
        )
        return chi_squared_p(chi, len(self.rates) - 1) < 0.05

    def __str__(self) -> str:
        """Say which examples changed."""
        if not self.worse and not self.better:
            return f"the same for each of {len(self.rows)} examples"
        parts = []
        for cases, word in ((self.worse, "worse"), (self.better, "better")):
            if cases:
                names = [case.partition("[")[2][:-1] for case in cases]
                parts.append(f"{len(names):,} {word} ({named_few(names, _SHOWN)})")
        return f"of {len(self.rows)} examples, {', '.join(parts)}"


def judge_examples(rows: Sequence[MetricSeries]) -> Verdict:
    """Judge the rate of examples, each of them 0 or 1.

    It regressed if it is at least ``min_effect`` worse, and one of two exact tests has a p of at
    most 0.01: that of the examples that changed since the newest session, each paired with
    itself, or that of all examples now and in all sessions. Where the rates of the sessions scatter
    significantly more than those of independent examples do, the t-test of the rates takes the
    place of the latter. Examples that the history lacks don't count.
    """
    found, options = Examples(rows), rows[0].options
    direction = rows[0].direction
    names = max((row.names for row in rows), key=len)
    by_rates = decide([found.rate], found.rates, direction, options, names=names)
    p_rate = found.p_of_rate()
    if by_rates.p_value is not None and found.rates_scatter():
        p_rate = max(p_rate, by_rates.p_value)
    p = min(p_rate, found.p_of_changes())
    level = finite_mean(found.rates)
    drop = level - found.rate if direction == "max" else found.rate - level
    status: Status = "unchanged"
    reason = f"{found}: {p_text(p)}"
    if p <= _ALPHA and drop > 0 and drop >= options.min_effect * level:
        status = "regressed"
    elif by_rates.status == "improved":
        status, reason = "improved", f"{found}: {by_rates.reason}"
    elif len(found.rows) < _MANY and found.worse:
        status, reason = "inconclusive", f"{found}: too few examples to tell"
    return replace(
        by_rates,
        status=status,
        baseline=level,
        change=found.rate - level,
        relative=(found.rate - level) / level if level else None,
        limit=None,
        p_value=p,
        n=len(found.rates),
        suspect=False,
        reason=reason,
        level_since=0,
        below_since=None,
        exceptions=(),
    )


def judge_accepted_rate(
    values: Sequence[float], level: AcceptedValue, direction: Direction, options: RuleOptions
) -> Verdict:
    """Judge the rate of examples by the one that was accepted, of as many examples as it counts.

    There is no history yet: it regressed by the same measure as in :func:`judge_examples`, by
    Fisher's exact test alone.
    """
    rate, bad = finite_mean(values), 0 if direction == "max" else 1
    before = level.value if bad else 1 - level.value
    p = fisher_p(values.count(bad), len(values), round(before * level.n), level.n)
    drop = level.value - rate if direction == "max" else rate - level.value
    status: Status = "accepted"
    if p <= _ALPHA and drop > 0 and drop >= options.min_effect * level.value:
        status = "regressed"
    verdict = decide([rate], [level.value], direction, options)
    reason = f"of {len(values)} examples, compared with the rate that was accepted: {p_text(p)}"
    return replace(
        verdict,
        status=status,
        limit=None,
        p_value=p,
        n=0,
        suspect=False,
        reason=reason,
        level_since=None,
    )


def _number(value: float | tuple[float, ...]) -> float:
    return finite_mean(value) if isinstance(value, tuple) else value
