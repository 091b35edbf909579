"""The metrics of a case's run: what was measured, and what it cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import copysign, isinf, isnan
from sys import float_info
from typing import Final

from pytest_mlflow_experiments.records import CaseRecord, Metric

from .limits import clean_integer, legal_key, legal_keys

DURATION: Final = "duration_seconds"


def stored_value(value: float) -> tuple[float, bool]:
    """Return a metric's value as SQL stores keep it, and whether it stands for NaN.

    The rule is MLflow's (``SqlAlchemyStore.sanitize_metric_value``): NaN is a zero with a mark,
    an infinity the largest float of its sign.
    """
    if isnan(value):
        return 0.0, True
    if isinf(value):
        return copysign(float_info.max, value), False
    return value, False


def project_metrics(record: CaseRecord, notes: list[str]) -> tuple[Metric, ...]:
    """Return the metrics within MLflow's limits."""
    measured = (*record.metrics, *_taken_over(record))
    keys = legal_keys("metric", dict.fromkeys(metric.key for metric in measured))
    notes += keys.notes
    # MLflow identifies a value by all its fields, as they are stored.
    metrics: dict[tuple[str, int, int, float, bool], Metric] = {}
    infinite: dict[str, None] = {}
    for metric in measured:
        fitted = Metric(
            key=keys.legal[metric.key],
            value=metric.value,
            step=clean_integer(metric.step),
            timestamp=max(0, clean_integer(metric.timestamp)),
        )
        if (fitted.step, fitted.timestamp) != (metric.step, metric.timestamp):
            notes.append(f"step or timestamp of metric {metric.key!r} is out of MLflow's range")
        if isinf(metric.value):
            infinite[fitted.key] = None
        identity = (fitted.key, fitted.step, fitted.timestamp, *stored_value(metric.value))
        metrics.setdefault(identity, fitted)
    notes += (f"{key} is infinite; MLflow may store 1.797e+308 instead" for key in infinite)
    own = {*keys.legal.values(), *record.run_metrics}
    return (*metrics.values(), *_costs(record, own, notes))


def _taken_over(record: CaseRecord) -> list[Metric]:
    """Return the metrics that stand in a run of an earlier session, and in none of this one."""
    if record.resumed_from is None or record.run_id is not None:
        return []
    stepwise = {metric.key for metric in record.run_history}
    last = {name: value for name, value in record.run_metrics.items() if name not in stepwise}
    return [*record.run_history, *(_at_end(name, value, record) for name, value in last.items())]


def _costs(record: CaseRecord, own: Collection[str], notes: list[str]) -> Iterator[Metric]:
    """Yield what the case cost; a metric of the test's own wins."""
    for name, value in {DURATION: record.duration, **record.usage}.items():
        key = legal_key(name)
        if key not in own:
            yield _at_end(key, value, record)
        elif key == DURATION:
            notes.append(f"{key} is the test's own metric; the case took {value:.6g} s")
        else:
            notes.append(f"{key} is the test's own metric; that of the case is {value:.6g}")


def _at_end(key: str, value: float, record: CaseRecord) -> Metric:
    """Return a metric that was measured when the case ended."""
    timestamp = max(0, clean_integer(record.end_time))
    return Metric(key=key, value=value, step=0, timestamp=timestamp)
