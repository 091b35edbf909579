"""What a comparison adds to the run of its session in MLflow."""

from __future__ import annotations

from dataclasses import replace

from ..records import SessionEnd
from ..regression.comparison import Comparison
from .markdown import render_short


def with_comparison(end: SessionEnd, comparison: Comparison) -> SessionEnd:
    """Return a session's end with what the comparison adds to the session's run."""
    tags = dict(end.tags)
    metrics: dict[str, float] = {}
    if (baseline := comparison.baseline) is not None:
        tags |= {
            "pytest.baseline": baseline.provenance.reason,
            "pytest.baseline.sessions": str(len(baseline.sessions)),
            "pytest.baseline.newest": baseline.sessions[-1].session_id,
        }
        metrics = {
            status.replace(" ", "_"): float(count) for status, count in comparison.counts().items()
        }
    elif comparison.problem is not None:
        tags["pytest.baseline"] = comparison.problem
    return replace(end, tags=tags, metrics=metrics, summary=render_short(comparison))
