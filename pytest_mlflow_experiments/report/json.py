"""The comparison as JSON with a versioned schema: ``comparison.schema.json`` describes it.

NaN and the infinities, which JSON does not know, are the strings ``"NaN"``, ``"Infinity"`` and
``"-Infinity"``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from math import isfinite, isnan
from typing import Any

from ..records import Builtins
from ..regression.comparison import Comparison, Margin, MetricComparison
from .headline import headline

SCHEMA_VERSION = 1
KIND = "comparison"


def render_json(comparison: Comparison) -> str:
    """Return the comparison as ASCII JSON; each metric and case is a line.

    ``gate``, ``headline`` and ``counts`` are there for those who only look; reading the comparison
    back makes nothing of them.
    """
    verdict = headline(comparison)
    baseline = comparison.baseline
    lines = [
        f'"schema": {SCHEMA_VERSION}',
        f'"kind": {_dump(KIND)}',
        f'"gate": {_dump(verdict.gate)}',
        f'"headline": {_dump(verdict.text)}',
        f'"counts": {_dump(comparison.counts())}',
        f'"session": {_dump(asdict(comparison.session))}',
        f'"baseline": {"null" if baseline is None else _dump(asdict(baseline))}',
        f'"cases": {comparison.cases}',
        f'"duration": {_dump(_number(comparison.duration))}',
        f'"problem": {_dump(comparison.problem)}',
        f'"partial": {_dump(comparison.partial)}',
        f'"gated": {_dump(comparison.gated)}',
        f'"notes": {_dump(comparison.notes)}',
        f'"metrics": {_dump_lines(map(_metric, comparison.metrics))}',
        f'"unjudged": {_dump_lines(map(asdict, comparison.unjudged))}',
        f'"sweeps": {_dump_lines(map(_encode, comparison.sweeps))}',
        f'"curves": {_dump_lines(map(_encode, comparison.curves))}',
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _metric(metric: MetricComparison) -> Builtins:
    return {
        "case": metric.case,
        "name": metric.name,
        "nodeid": metric.nodeid,
        "metric": metric.metric,
        "status": metric.status,
        "gates": metric.gates,
        "advisory": metric.advisory,
        "cost": metric.cost,
        "direction": metric.direction,
        "values": list(map(_number, metric.values)),
        "history": list(map(_number, metric.history)),
        "current": _number(metric.current),
        "baseline": _number(metric.baseline),
        "change": _number(metric.change),
        "relative": _number(metric.relative),
        "limit": _number(metric.limit),
        "p_value": _number(metric.p_value),
        "n": metric.n,
        "tolerance": metric.tolerance,
        "margin": None if metric.margin is None else _margin(metric.margin),
        "fresh": metric.fresh,
        "reason": metric.reason,
    }


def _margin(margin: Margin) -> Builtins:
    return {
        "operator": margin.operator,
        "limit": _number(margin.limit),
        "tolerance": _number(margin.tolerance),
        "margin": _number(margin.margin),
        "baseline_margin": _number(margin.baseline_margin),
    }


def _number(number: float | None) -> float | str | None:
    if number is None or isfinite(number):
        return number
    if isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _encode(value: Any) -> Any:
    """Return what is nested, dataclasses too, as builtins that JSON knows."""
    if isinstance(value, float):
        return _number(value)
    if is_dataclass(value):
        # asdict would copy every text first.
        return {one.name: _encode(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    return value


def _dump(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _dump_lines(items: Iterable[Builtins]) -> str:
    lines = ",\n  ".join(map(_dump, items))
    return f"[\n  {lines}\n]" if lines else "[]"
