"""Lines: the values of a metric by step, of the metrics that have several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

from ..records import CaseRecord, Metric, thinned
from .comparison import Line

MAX_LINES: Final = 10
"""How many repeats of a case have a line each: more can't be told apart."""

MAX_CURVES: Final = 1_000
"""Of how many metrics a session's lines are kept."""

SYSTEM_METRICS: Final = "system/"
"""How the names begin that MLflow gives to the load of the machine, which is no result."""


def lines_of(record: CaseRecord) -> dict[str, Line]:
    """Return the line of each metric that has more than one distinct step.

    A step counts with its last value. Long lines are thinned; NaN stays.
    """
    values = (*record.metrics, *record.run_history) if record.run_history else record.metrics
    if len(values) < 2:
        return {}
    series: dict[str, dict[int, Metric]] = {}
    for metric in values:
        steps = series.setdefault(metric.key, {})
        held = steps.get(metric.step)
        if held is None or metric.timestamp >= held.timestamp:
            steps[metric.step] = metric
    return {
        key: tuple((step, steps[step].value) for step in thinned(sorted(steps)))
        for key, steps in series.items()
        if len(steps) > 1 and not key.startswith(SYSTEM_METRICS)
    }


@final
class Lines(dict[tuple[str, str], list[Line]]):
    """The lines of a session by case and metric; what goes beyond the limits is left out."""

    def extend(self, key: tuple[str, str], lines: Iterable[Line]) -> None:
        """Add the lines of further repeats."""
        if key in self or len(self) < MAX_CURVES:
            found = self.setdefault(key, [])
            found += [*lines][: MAX_LINES - len(found)]
