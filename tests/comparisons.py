"""Comparisons to render: one of everything, hostile ones, and large ones."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import replace
from typing import Any, Final

from pytest_mlflow_experiments.records import Outcome, Provenance
from pytest_mlflow_experiments.regression import Status
from pytest_mlflow_experiments.regression.comparison import (
    Baseline,
    Comparison,
    Margin,
    MetricComparison,
    MissedLimit,
    Reliability,
    SessionInfo,
    UnjudgedCase,
)

HOUR: Final = 3_600_000
START: Final = 1_795_440_000_000  # 2026-11-23 12:00 UTC

HOSTILE: Final = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "</script><script>window.hacked = 1</script>",
    "'; window.hacked = 1; //",
    "{{ 7 * 191 }}{% raw %}",
    "a|b`c``d\\|e*f*_g_~h~",
    "@octocat fixes octo/repo#17 and GH-18",
    "https://github.com/octo/repo/issues/19",
    "one\ntwo\r\n\n# three\n</details>\n```\n--> <!--",
    "\x00\x07\x1b[31mred\x1b[0m\x85\ud800\ufffe\u202edesrever",
    "%0A::error::%25,file=x:y",
    "&lt;b&gt; &#64; &amp;",
)


def make_metric(status: Status = "unchanged", **changes: Any) -> MetricComparison:
    """Return an accuracy; ``values``, ``history`` and ``direction`` decide the other numbers."""
    case = changes.pop("case", "tests/test_model.py::test_model[ridge-0.1]")
    metric = MetricComparison(
        case=case,
        name=case.rpartition("::")[2],
        nodeid=case,
        metric="accuracy",
        status=status,
        gates=status in ("regressed", "missing"),
        advisory=False,
        cost=False,
        direction="max",
        values=() if status == "missing" else (0.912,),
        history=() if status == "new" else (0.931, 0.929, 0.935, 0.93, 0.932),
        current=None,
        baseline=None,
        change=None,
        relative=None,
        limit=None if status in ("new", "missing") else 0.9187,
        p_value=0.0004 if status in ("regressed", "unchanged", "improved") else None,
        n=0 if status == "new" else 5,
        tolerance=None,
        margin=None,
        fresh=0,
        reason=f"the metric is {status}",
    )
    return with_means(replace(metric, **changes))


def with_means(metric: MetricComparison) -> MetricComparison:
    """Return the metric with the numbers that follow from its values."""
    current = sum(metric.values) / len(metric.values) if metric.values else None
    baseline = sum(metric.history) / len(metric.history) if metric.history else None
    change = current - baseline if current is not None and baseline is not None else None
    relative = change / abs(baseline) if change is not None and baseline else None
    return replace(metric, current=current, baseline=baseline, change=change, relative=relative)


def make_session(name: str, days: float = 0.0, **changes: Any) -> SessionInfo:
    """Return a session that started some days ago."""
    commit = hashlib.sha1(repr(name).encode()).hexdigest()
    session = SessionInfo(
        session_id=f"20261123-{name}",
        name=name,
        start_time=START - round(days * 24 * HOUR),
        branch="main",
        commit=commit,
    )
    return replace(session, **changes)


def make_baseline(sessions: int = 5) -> Baseline:
    """Return a baseline of some sessions, one a day."""
    return Baseline(
        provenance=Provenance(
            spec="branch:main",
            place="experiment 'models' at http://mlflow.example:5000",
            reason=f"the last {sessions} passing sessions on main",
        ),
        sessions=tuple(make_session(f"nightly-{day}", days=day) for day in range(sessions, 0, -1)),
    )


def make_comparison(*metrics: MetricComparison, **changes: Any) -> Comparison:
    """Return a gated comparison of some metrics."""
    comparison = Comparison(
        session=make_session("pr-42", branch="faster-model"),
        baseline=make_baseline(),
        metrics=metrics,
        cases=len({metric.case for metric in metrics}),
        duration=83.2,
        gated=True,
    )
    return replace(comparison, **changes)


def one_of_everything() -> Comparison:
    """Return a comparison with every status, odd number and kind of case."""
    file = "tests/test_model.py"
    guard = Margin(operator=">=", limit=0.9, tolerance=None, margin=0.012, baseline_margin=0.0314)
    return make_comparison(
        make_metric(
            "regressed",
            margin=guard,
            reason="2.1 % worse than the baseline mean; worse than 999 of 1,000 further runs",
            level_since="nightly-4",
            below_since="nightly-1",
            exceptions=("nightly-5",),
            n=3,
            sessions=(0, 1, 2, 3, 4),
            seeds={"seed=0": (0.912, 0.93), "seed=1": (0.9,)},
            params={"C": "0.1", "dataset train": "36dcf09a"},
            checks="> 0.5, >= 0.9",
        ),
        make_metric(
            "regressed",
            case=f"{file}::test_forest[100]",
            metric="rmse",
            direction="min",
            values=(61.2, 60.9, 61.4),
            history=(55.0, 54.2, 55.9, 54.8, 55.5, 54.1),
            limit=57.3,
            fresh=3,
            n=6,
            p_value=2.5e-7,
            margin=Margin(
                operator="<", limit=62.0, tolerance=None, margin=0.8, baseline_margin=7.1
            ),
            reason="12 % worse, and so are 3 fresh runs",
        ),
        make_metric(
            "regressed",
            case=f"{file}::test_nan",
            metric="r2",
            values=(math.nan,),
            reason="NaN, where the baseline is finite",
        ),
        make_metric("missing", case=f"{file}::test_gone", reason="no longer measured"),
        make_metric(
            "improved",
            case=f"{file}::test_ridge",
            metric="scores.f1",
            values=(0.958,),
            margin=Margin(
                operator="==", limit=0.95, tolerance=0.02, margin=0.012, baseline_margin=0.0008
            ),
            reason="2.8 % better than the baseline mean",
        ),
        make_metric(
            "unchanged", case=f"{file}::test_ridge", values=(0.9315,), reason="within the scatter"
        ),
        make_metric(
            "unchanged",
            case=f"{file}::test_zero",
            metric="bias",
            direction=None,
            values=(0.0,),
            history=(0.0, 0.0, 0.0),
            n=3,
            limit=None,
            p_value=None,
            reason="exactly as before",
        ),
        make_metric(
            "inconclusive",
            case=f"{file}::test_young",
            history=(0.93, 0.935),
            n=2,
            limit=None,
            p_value=None,
            reason="2 values are too few to tell",
        ),
        make_metric(
            "drifting",
            case=f"{file}::test_slow",
            values=(0.901,),
            reason="3.2 % worse over 5 sessions, steadily: p = 0.00021",
        ),
        make_metric(
            "accepted",
            case=f"{file}::test_small",
            history=(),
            n=0,
            reason="the same as what was accepted; accepted: half the size",
        ),
        make_metric("new", case=f"{file}::test_new", metric="auc", reason="first measured now"),
        make_metric(
            "not comparable",
            case=f"{file}::test_data",
            reason="the digest of the data set 'train' differs",
        ),
        make_metric(
            "unchanged",
            case=f"{file}::test_ridge",
            metric="duration_seconds",
            direction="min",
            advisory=True,
            cost=True,
            values=(1.52,),
            history=(1.4, 1.45, 1.38, math.inf, 1.41),
            limit=2.9,
            reason="a cost",
        ),
        make_metric(
            "regressed",
            case=f"{file}::test_{'long_' * 60}name",
            metric="weights." + "deep." * 40 + "norm",
            direction=None,
            advisory=True,
            gates=False,
            values=(1e300,),
            history=(-1e300, 1e-300, math.nan, -math.inf),
            limit=None,
            reason="nobody knows which direction is better " * 8,
        ),
        unjudged=(
            replace(make_unjudged("failed", f"{file}::test_broken"), missed=(make_missed(),)),
            make_unjudged("error", f"{file}::test_fixture"),
            make_unjudged("skipped", f"{file}::test_gpu", failure=None),
        ),
        cases=14,
        reliability=(
            make_reliability(
                f"{file}::test_flaky",
                outcomes="..F R.",
                runs=5,
                passed=4,
                low=0.376,
                high=0.964,
                flaky=1,
                trend=0.6,
            ),
            make_reliability(f"{file}::test_steady"),
        ),
        notes=("3 metrics have fewer than 5 values; write a tolerance to judge them sooner.",),
    )


def make_reliability(nodeid: str, **changes: Any) -> Reliability:
    """Return how a test fared that passed in all of six sessions."""
    return Reliability(
        **{
            "nodeid": nodeid,
            "outcomes": "......",
            "runs": 6,
            "passed": 6,
            "low": 0.61,
            "high": 1.0,
            "flaky": 0,
            "seconds": 2.0,
            "trend": None,
            **changes,
        }
    )


def make_unjudged(
    outcome: Outcome, case: str, failure: str | None = "def test():\n>   assert 0\nE   assert 0\n"
) -> UnjudgedCase:
    """Return a case that did not pass."""
    name = case.rpartition("::")[2]
    return UnjudgedCase(case=case, name=name, nodeid=case, outcome=outcome, failure=failure)


def make_missed(metric: str = "accuracy") -> MissedLimit:
    """Return a limit that was missed."""
    return MissedLimit(metric=metric, value=0.85, operator=">=", limit=0.9, baseline=0.957778)


def hostile() -> Comparison:
    """Return a comparison whose every text is up to no good."""
    everywhere = " ".join(HOSTILE)
    return make_comparison(
        *(
            make_metric(
                "regressed" if number % 2 else "unchanged",
                case=f"tests/test_{text}.py::test_it[{text}]",
                metric=text,
                reason=text,
            )
            for number, text in enumerate(HOSTILE)
        ),
        session=make_session(everywhere, branch=everywhere, commit=everywhere),
        baseline=Baseline(
            provenance=Provenance(spec=everywhere, place=everywhere, reason=everywhere),
            sessions=(make_session(everywhere, 1.0, branch=everywhere, commit=everywhere),),
        ),
        unjudged=tuple(
            replace(
                make_unjudged("failed", f"tests/test_x.py::test_fails[{text}]", text),
                missed=(make_missed(text),),
            )
            for text in HOSTILE
        ),
        problem=everywhere,
        partial=everywhere,
        notes=HOSTILE,
    )


def large(cases: int = 1_000, metrics: int = 5, window: int = 20) -> Comparison:
    """Return a comparison of many metrics, 1 of 20 of them with something to tell."""
    dice = random.Random(7)
    names = ("accuracy", "scores.f1", "rmse", "calibration.error", "duration_seconds")
    statuses: tuple[Status, ...] = ("regressed", "improved", "inconclusive", "new", "missing")
    rows = []
    for case in range(cases):
        for name in names[:metrics]:
            mean = dice.uniform(0.5, 100.0)
            history = tuple(dice.gauss(mean, mean / 100) for _ in range(window))
            odd = dice.random() < 0.05
            low = name in ("rmse", "calibration.error", "duration_seconds")
            rows.append(
                make_metric(
                    dice.choice(statuses) if odd else "unchanged",
                    case=f"tests/models/test_sweep.py::test_fit[model{case % 40}-{case}-0.05]",
                    metric=name,
                    direction="min" if low else "max",
                    values=(mean * dice.gauss(1.0, 0.05 if odd else 0.01),),
                    history=history,
                    limit=mean * (1.05 if low else 0.95),
                    n=window,
                    p_value=dice.random(),
                    advisory=name == "duration_seconds",
                    gates=False,
                    margin=Margin(
                        operator="<=" if low else ">=",
                        limit=mean * (1.2 if low else 0.8),
                        tolerance=None,
                        margin=mean * 0.19,
                        baseline_margin=mean * dice.choice((0.18, 0.2)),
                    ),
                    reason="within the scatter of the last 20 sessions, 0.4 % worse than the mean",
                )
            )
    rows = [replace(row, gates=row.status == "regressed" and not row.advisory) for row in rows]
    return make_comparison(*rows, baseline=make_baseline(window))
