"""Simulated metrics, to count what the rule says of them.

Each family draws, for many metrics at once, a history, the value now and five fresh values: an
accuracy of 0.85 unless it says otherwise. The scatter between sessions is log-uniform from 0.1 %
(large test sets, averaged seeds) to 3 % of the mean (small ones) unless it says otherwise. The
scenarios are what teams do: they draw one metric each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np

from pytest_mlflow_experiments.records import SessionHeader
from pytest_mlflow_experiments.regression import (
    AcceptedValue,
    Direction,
    MetricSeries,
    RuleOptions,
    Verdict,
    judge_session,
)
from pytest_mlflow_experiments.regression.compare import compare_sessions
from pytest_mlflow_experiments.regression.comparer import CompareOptions, Comparer
from pytest_mlflow_experiments.regression.values import CaseValues, Sessions, SessionValues

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Rng: TypeAlias = np.random.Generator
Family: TypeAlias = Callable[[Rng, int, int], Array]

FRESH = 5
ACCURACY = 0.85


def log_uniform(rng: Rng, low: float, high: float, count: int) -> Array:
    drawn: Array = np.exp(rng.uniform(np.log(low), np.log(high), (count, 1)))
    return drawn


def one_scatter(rng: Rng, low: float = 0.001, high: float = 0.03) -> float:
    return float(log_uniform(rng, low, high, 1)[0, 0])


def normal(rng: Rng, count: int, n: int) -> Array:
    shape = (count, n + 1 + FRESH)
    return 1 + log_uniform(rng, 0.001, 0.03, count) * rng.standard_normal(shape)


def gaussian(rng: Rng, count: int, n: int) -> Array:
    return ACCURACY * normal(rng, count, n)


def beta(rng: Rng, count: int, n: int) -> Array:
    """Draw an accuracy near its upper end: 0.95 with a skew."""
    mean = 0.95
    size = (1 - mean) / (mean * log_uniform(rng, 0.001, 0.03, count) ** 2) - 1
    return rng.beta(mean * size, (1 - mean) * size, (count, n + 1 + FRESH))


def binomial(rng: Rng, count: int, n: int) -> Array:
    """Draw the accuracy on a test set of 500 to 50,000 examples, drawn anew each time."""
    size = log_uniform(rng, 500, 50_000, count).astype(int)
    drawn: Array = rng.binomial(size, ACCURACY, (count, n + 1 + FRESH)) / size
    return drawn


def error(rng: Rng, count: int, n: int) -> Array:
    """Draw an error, log-normal; the rule is told that smaller is better."""
    scatter = log_uniform(rng, 0.001, 0.03, count)
    drawn: Array = np.exp(scatter * rng.standard_normal((count, n + 1 + FRESH)))
    return drawn


def steps(rng: Rng, count: int, n: int) -> Array:
    """Draw a history with one step up, by 1 to 5 %."""
    where = rng.integers(1, n, (count, 1)) if n > 1 else np.zeros((count, 1))
    height = rng.uniform(0.01, 0.05, (count, 1))
    return ACCURACY * (normal(rng, count, n) + height * (np.arange(n + 1 + FRESH) >= where))


def deterministic(rng: Rng, count: int, n: int) -> Array:
    """Draw what seeds have frozen: constant up to the jitter of floats."""
    jitter = rng.choice([0, 1e-15, 1e-6], (count, 1))
    return ACCURACY * (1 + jitter * rng.standard_normal((count, n + 1 + FRESH)))


QUALITY = (gaussian, beta, binomial, error, steps, deterministic)


def outliers(rng: Rng, count: int, n: int) -> Array:
    """Draw with one bad run in 200, which is 5 % worse, and else Student's t with 5 degrees."""
    shape = (count, n + 1 + FRESH)
    tails = rng.standard_t(5, shape) / np.sqrt(5 / 3)
    bad = rng.random(shape) < 1 / 200
    scatter = log_uniform(rng, 0.001, 0.03, count)
    drawn: Array = ACCURACY * (1 + scatter * tails - 0.05 * bad)
    return drawn


def high_scatter(rng: Rng, count: int, n: int) -> Array:
    """Draw from 10 % to 30 %: a metric of a few dozen examples."""
    scale = log_uniform(rng, 0.1, 0.3, count)
    return ACCURACY * (1 + scale * rng.standard_normal((count, n + 1 + FRESH)))


def near_one(rng: Rng, count: int, n: int) -> Array:
    """Draw a score with an error of 0.2 to 2 %, which scatters by 3 to 9 % of itself."""
    scale = log_uniform(rng, 0.03, 0.09, count)
    level = log_uniform(rng, 0.002, 0.02, count)
    drawn: Array = 1 - level * np.exp(scale * rng.standard_normal((count, n + 1 + FRESH)))
    return drawn


def few(rng: Rng, count: int, n: int) -> Array:
    """Draw counts of mean 3; the rule is told that smaller is better."""
    drawn: Array = rng.poisson(3.0, (count, n + 1 + FRESH)).astype(float)
    return drawn


def latency(rng: Rng, count: int, n: int) -> Array:
    """Draw a wall time on a shared machine: log-normal, and one in 50 takes half as long again."""
    shape = (count, n + 1 + FRESH)
    busy = rng.random(shape) < 1 / 50
    return np.exp(log_uniform(rng, 0.03, 0.2, count) * rng.standard_normal(shape)) * (1 + busy / 2)


SMALLER_IS_BETTER = (error, latency, few)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of the metrics that regressed and of the jobs that failed, and what it took.

    ``fresh`` and ``fresh_jobs`` are with fresh runs of suspect metrics, ``runs`` the number of
    these for each.
    """

    regressed: float
    jobs: float
    fresh: float
    fresh_jobs: float
    runs: float


def series(
    history: Sequence[Any], now: Any, direction: Direction = "max", **fields: Any
) -> MetricSeries:
    """Return a metric with one value now, or one tuple."""
    case = fields.pop("case", "test_model.py::test_accuracy")
    options = fields.pop("options", RuleOptions())
    return MetricSeries(
        case=case,
        metric="accuracy",
        current=(now,),
        history=tuple(history),
        direction=direction,
        options=options,
        **fields,
    )


def alone(one: MetricSeries) -> Verdict:
    """Judge a metric by its value now."""
    return judge_session([one])[0]


def with_fresh_runs(one: MetricSeries, fresh: Sequence[float]) -> tuple[Verdict, int]:
    """Judge a suspect metric by fresh runs, one after the other, and count them."""
    for number in range(1, len(fresh) + 1):
        verdict = judge_session([replace(one, current=tuple(fresh[:number]))], fresh=True)[0]
        if not verdict.suspect:
            break
    return verdict, number


def decided(one: MetricSeries, fresh: Sequence[float]) -> Verdict:
    """Judge a metric, by fresh runs where it is suspect."""
    verdict = alone(one)
    return with_fresh_runs(one, fresh)[0] if verdict.suspect else verdict


def rates(
    families: Sequence[Family], n: int, count: int, *, drop: float = 0.0, job: int = 200
) -> Rates:
    """Judge ``count`` metrics of some families after ``n`` sessions, in jobs of so many each.

    All of them are worse by the share ``drop``; of scores near 1 the error grows by it.
    """
    drawn: list[tuple[list[float], Direction, bool]] = []
    for family in families:
        rng = np.random.default_rng([n, *family.__name__.encode()])  # families are independent
        direction: Direction = "min" if family in SMALLER_IS_BETTER else "max"
        values = family(rng, count // len(families), n)
        if family is near_one:
            values[:, n:] = 1 - (1 - values[:, n:]) * (1 + drop)
        else:
            values[:, n:] *= 1 + (drop if direction == "min" else -drop)
        drawn += [(row, direction, family is latency) for row in values.tolist()]
    np.random.default_rng(n).shuffle(drawn)
    counts: Counter[str] = Counter()
    jobs = max(1, len(drawn) // job)
    for start in range(0, jobs * job, job):
        rows = drawn[start : start + job]
        metrics = [
            series(
                row[:n], row[n], direction, case=f"t.py::t{place}", options=RuleOptions(cost=cost)
            )
            for place, (row, direction, cost) in enumerate(rows)
        ]
        verdicts = judge_session(metrics)
        regressed = sum(verdict.status == "regressed" for verdict in verdicts)
        fresh = 0
        for (row, *_), metric, verdict in zip(rows, metrics, verdicts, strict=True):
            if verdict.suspect:
                again, runs = with_fresh_runs(metric, row[n + 1 :])
                fresh += again.status == "regressed"
                counts["suspects"] += 1
                counts["runs"] += runs
        counts.update(metrics=len(rows), regressed=regressed, fresh=fresh)
        counts.update(jobs=regressed > 0, fresh_jobs=fresh > 0)
    return Rates(
        regressed=counts["regressed"] / counts["metrics"],
        jobs=counts["jobs"] / jobs,
        fresh=counts["fresh"] / counts["metrics"],
        fresh_jobs=counts["fresh_jobs"] / jobs,
        runs=counts["runs"] / max(1, counts["suspects"]),
    )


Scenario: TypeAlias = Callable[[Rng], Verdict]


def share(status: str, scenario: Scenario, count: int) -> float:
    """Return how often a scenario ends with a status."""
    rng = np.random.default_rng(7)
    return sum(scenario(rng).status == status for _ in range(count)) / count


def around(rng: Rng, level: float, scatter: float, count: int) -> list[float]:
    drawn: list[float] = (level * (1 + scatter * rng.standard_normal(count))).tolist()
    return drawn


def lost_improvement(runs: int, *, now: float = 0.90) -> Scenario:
    """15 runs at .90, an improvement by 5 % that stands for some, and then one at .90 again."""

    def draw(rng: Rng) -> Verdict:
        history = around(rng, 0.90, 0.005, 15) + around(rng, 0.945, 0.005, runs)
        return alone(series(history, around(rng, now, 0.005, 1)[0]))

    return draw


def behind_a_bad_run(n: int, *, fresh: bool, drop: float = 0.05, back: bool = True) -> Scenario:
    """One run of the history was bad, and now the same fault is back, or is not."""

    def draw(rng: Rng) -> Verdict:
        history = around(rng, 0.86, 0.005, n)
        history[rng.integers(n)] *= 1 - drop
        level = 0.86 * (1 - drop) if back else 0.86
        one = series(history, around(rng, level, 0.005, 1)[0])
        return decided(one, around(rng, level, 0.005, FRESH)) if fresh else alone(one)

    return draw


def unaccepted_fall(runs: int) -> Scenario:
    """20 runs at .90, and then some at .80 that nobody accepted; the last of them is now."""

    def draw(rng: Rng) -> Verdict:
        history = around(rng, 0.90, 0.01, 20) + around(rng, 0.80, 0.01, runs - 1)
        return alone(series(history, around(rng, 0.80, 0.01, 1)[0]))

    return draw


def drifting(change: float, *, low: float = 0.001, high: float = 0.01, runs: int = 16) -> Scenario:
    """A metric loses a share with each run."""

    def draw(rng: Rng) -> Verdict:
        level = 0.9 * (1 - change * np.arange(runs))
        *history, now = level * (1 + one_scatter(rng, low, high) * rng.standard_normal(runs))
        return alone(series([*map(float, history)], float(now)))

    return draw


def accepted(drop: float, *, later: int = 0) -> Scenario:
    """A fall to .80 was accepted, ``later`` runs ago; now it falls again by a share."""

    def draw(rng: Rng) -> Verdict:
        scatter = one_scatter(rng)
        before = around(rng, 0.90, scatter, 15)
        (value,) = around(rng, 0.80, scatter, 1)
        level = AcceptedValue(value=value, scatter=float(np.std(before, ddof=1)), n=15)
        history = around(rng, 0.80, scatter, later)
        return alone(series(history, around(rng, 0.80 * (1 - drop), scatter, 1)[0], accepted=level))

    return draw


def seeds(n: int, *, drop: float = 0.0, frozen: bool = False) -> Scenario:
    """Five seeds a session: drawn anew each time, or frozen until their order changes now."""

    def draw(rng: Rng) -> Verdict:
        scatter = one_scatter(rng)
        first = tuple(around(rng, 0.85, scatter, 5))
        history = [first if frozen else tuple(around(rng, 0.85, scatter, 5)) for _ in range(n)]
        return alone(series(history, tuple(around(rng, 0.85 * (1 - drop), scatter, 5))))

    return draw


def evaluation(n: int, rate: float, *, flips: float | None = None) -> Scenario:
    """100 examples at a rate of .95 that is another now, or of which some flip both ways."""

    def draw(rng: Rng) -> Verdict:
        answers = rng.random((n + 1, 100)) < 0.95
        answers[n] = rng.random(100) < rate
        if flips is not None:
            answers = (answers[:1]) ^ (rng.random((n + 1, 100)) < flips / 2)
        rows = answers.astype(float).T.tolist()
        cases = [
            series(row[:n], row[n], case=f"t.py::t[{place}]") for place, row in enumerate(rows)
        ]
        verdicts = judge_session(cases)
        return next((one for one in verdicts if one.status == "regressed"), verdicts[0])

    return draw


def rerun_cases(n: int, cases: int, metrics: int) -> float:
    """Return the share of false alarms where cases with so many metrics run again as a whole."""
    rng = np.random.default_rng(n)
    values = gaussian(rng, cases * metrics, n).reshape(cases, metrics, -1)
    header = SessionHeader(
        session_id="now",
        name="now",
        start_time=0,
        tracking_uri="",
        experiment_name=None,
        experiment_id=None,
    )
    past = [SessionValues(header=replace(header, session_id=f"s{k}")) for k in range(n + 1)]
    for session in range(n + 1):
        for case in range(cases):
            name = f"t.py::t{case}"
            one = CaseValues(case=name, name=name, nodeid=name, passed=1)
            for metric in range(metrics):
                one.metrics[f"accuracy_{metric}"] = [float(values[case, metric, session])]
                one.seeds[f"accuracy_{metric}"] = [""]
            past[session].cases[name] = one
    *before, now = past
    comparer = Comparer(before, CompareOptions())
    for case, one in enumerate(now.cases.values()):
        suspects = comparer.suspects(one)
        for run in range(FRESH if suspects else 0):
            for metric in range(metrics):
                again = one.again.setdefault(f"accuracy_{metric}", [])
                again.append(float(values[case, metric, n + 1 + run]))
            one.fresh += 1
            if not comparer.need_more(suspects, one):
                break
    found = compare_sessions(now, Sessions(sessions=before), CompareOptions())
    return sum(row.status == "regressed" for row in found.metrics) / (cases * metrics)
