"""The tags, metrics and descriptions that a comparison adds to the runs in MLflow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..records import SessionEnd, SweepEnd
from ..records.accepted import MetricLevel
from ..records.session_tags import baseline_tags
from ..records.tags import MODE, OBJECTIVE
from ..regression.comparison import Comparison
from ..regression.sweeps.model import Sweep
from .markdown import render_short
from .sweep_markdown import render_sweep


def with_comparison(
    end: SessionEnd, comparison: Comparison, seed_params: Collection[str]
) -> SessionEnd:
    """Add a comparison's tags, metrics, summary, levels and baseline to the end of its session."""
    tags = dict(end.tags)
    baselines = _baselines(comparison)
    metrics: dict[str, float] = {}
    if (baseline := comparison.baseline) is not None:
        ids = [session.session_id for session in baseline.sessions]
        tags |= baseline_tags(baseline.provenance.reason, ids)
        metrics = {
            status.replace(" ", "_"): float(count) for status, count in comparison.counts().items()
        }
    elif comparison.problem is not None:
        tags |= baseline_tags(comparison.problem)
    return replace(
        end,
        tags=tags,
        metrics=metrics,
        summary=render_short(comparison),
        sweeps=tuple(map(sweep_end, comparison.sweeps)),
        levels=tuple(
            MetricLevel(case=row.case, metric=row.metric, level=level, since=row.below_since)
            for row in comparison.metrics
            if row.below_since is not None
            and not row.advisory
            and (level := row.level_at(row.baseline)) is not None
        ),
        baselines=baselines,
        seed_params=tuple(sorted(seed_params)) if baselines else (),
    )


def _baselines(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Return the baseline's value of each metric that has one, by case and metric.

    Costs that nobody has listed are left out: each case has three of them.
    """
    found: dict[str, dict[str, float]] = {}
    for row in comparison.metrics:
        if row.baseline is not None and not (row.cost and row.advisory):
            found.setdefault(row.case, {})[row.metric] = row.baseline
    return found


def sweep_end(sweep: Sweep) -> SweepEnd:
    """Return the metrics, params, tags and description of a sweep's run.

    As in MLflow's own examples of parameter search, the run has the best configuration's params and
    its mean of the objective with the prefix ``best_``, so that sweeps can be compared in a table.
    Its other metrics, which are not the best of all, have the suffix ``_of_best``.
    """
    counts = {"cases": sweep.cases, "configurations": len(sweep.configurations)}
    metrics = {name: float(number) for name, number in counts.items()}
    tags = {OBJECTIVE: sweep.objective, MODE: sweep.mode}
    best = sweep.best
    if best is not None and best.mean is not None:
        metrics |= {f"{name}_of_best": value for name, value in best.metrics.items()}
        metrics[f"best_{sweep.objective}"] = best.mean
    return SweepEnd(
        test=sweep.test,
        metrics=metrics,
        params={} if best is None else {f"best_{name}": text for name, text in best.params.items()},
        tags={key: text for key, text in tags.items() if text is not None},
        summary=render_sweep(sweep),
    )
