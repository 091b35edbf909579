"""By which metric the cases of a test are ranked, and which of its values are better."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import final

from ..records import CaseRecord
from .model import Mode


@final
class Objective:
    """What the cases of one test tell of the metric that they are about."""

    def __init__(self) -> None:
        self._named: dict[str, None] = {}
        self._asserted: dict[str, set[str]] = {}
        self._logged: dict[str, None] = {}
        self._costs: dict[str, None] = {}
        self._directions: dict[str, str] = {}

    def add(self, record: CaseRecord) -> None:
        """Add what one case tells."""
        if record.objective is not None:
            self._named.setdefault(record.objective)
        for check in record.checks:
            self._asserted.setdefault(check.metric, set()).add(check.operator)
        for metric in record.metrics:
            self._logged.setdefault(metric.key)
        self._logged.update(dict.fromkeys(record.run_metrics))
        self._costs.update(dict.fromkeys(record.usage))
        self._directions.update(record.directions)

    def choose(
        self,
        direction_of: Callable[[str, Collection[str], Mapping[str, str]], Mode | None],
        is_cost: Callable[[str], bool],
    ) -> tuple[str | None, Mode | None, list[str]]:
        """Return the metric, which of its values are better, and notes for people.

        It is the one that the marker names; else the first that an assertion guards, else the first
        that was logged; of both, those that are known to be better in one direction come first.
        What a case cost is none of them.
        """

        def mode_of(metric: str) -> Mode | None:
            return direction_of(metric, self._asserted.get(metric, ()), self._directions)

        if self._named:
            chosen = next(iter(self._named))
            return chosen, mode_of(chosen), self._notes(chosen, mode_of(chosen))
        for metrics in (self._asserted, self._logged):
            usable = [metric for metric in metrics if not is_cost(metric)]
            if usable:
                chosen = next((metric for metric in usable if mode_of(metric)), usable[0])
                return chosen, mode_of(chosen), self._notes(chosen, mode_of(chosen))
        if not self._logged:
            return None, None, []
        costs = ", ".join(self._logged)
        note = f"Nothing but costs was measured ({costs}): the marker's objective=... names one"
        return None, None, [note]

    def _notes(self, chosen: str, mode: Mode | None) -> list[str]:
        notes = []
        known = self._logged.keys() | self._costs.keys() | {"duration_seconds"}
        if chosen not in known:
            metrics = ", ".join(self._logged) or "no metric at all"
            notes.append(f"No case has a value of the objective {chosen!r}; there is {metrics}")
        if len(self._named) > 1:
            others = ", ".join(name for name in self._named if name != chosen)
            notes.append(f"The cases name other objectives too ({others}); the first one counts")
        if mode is None:
            notes.append(
                f"Whether greater or smaller values of {chosen!r} are better is not known: the "
                "marker's objective=... and mode='min' or 'max' tell"
            )
        return notes
