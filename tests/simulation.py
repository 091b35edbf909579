"""Simulated metrics of projects whose quality does not change, to count what the rule says.

Each family draws, for many metrics at once, a history, the value now and three fresh values: an
accuracy of 0.85 unless it says otherwise. The scatter between sessions is log-uniform from 0.1 %
(large test sets, averaged seeds) to 3 % of the mean (small ones) unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from pytest_mlflow_experiments.regression import Direction, RuleOptions, judge

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Family: TypeAlias = Callable[[np.random.Generator, int, int], Array]

FRESH = 3
ACCURACY = 0.85


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of the metrics that were called regressed, at once and after fresh runs."""

    plain: float
    rerun: float


def log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Array:
    drawn: Array = np.exp(rng.uniform(np.log(low), np.log(high), (count, 1)))
    return drawn


def scatter(rng: np.random.Generator, count: int) -> Array:
    return log_uniform(rng, 0.001, 0.03, count)


def normal(rng: np.random.Generator, count: int, n: int) -> Array:
    return 1 + scatter(rng, count) * rng.standard_normal((count, n + 1 + FRESH))


def gaussian(rng: np.random.Generator, count: int, n: int) -> Array:
    return ACCURACY * normal(rng, count, n)


def beta(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw an accuracy near its upper end: 0.95 with a skew."""
    mean = 0.95
    size = (1 - mean) / (mean * scatter(rng, count) ** 2) - 1
    return rng.beta(mean * size, (1 - mean) * size, (count, n + 1 + FRESH))


def binomial(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw the accuracy on a test set of 500 to 50,000 examples, drawn anew each time."""
    size = log_uniform(rng, 500, 50_000, count).astype(int)
    drawn: Array = rng.binomial(size, ACCURACY, (count, n + 1 + FRESH)) / size
    return drawn


def error(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw an error, log-normal; the rule is told that smaller is better."""
    drawn: Array = np.exp(scatter(rng, count) * rng.standard_normal((count, n + 1 + FRESH)))
    return drawn


def drift(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw an accuracy that gets worse by 1 % in 20 sessions."""
    session = np.minimum(np.arange(n + 1 + FRESH), n)
    return ACCURACY * (normal(rng, count, n) - 0.01 * session / 20)


def outliers(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw with one bad run in 200, which is 5 % worse, and else Student's t with 5 degrees."""
    shape = (count, n + 1 + FRESH)
    tails = rng.standard_t(5, shape) / np.sqrt(5 / 3)
    bad = rng.random(shape) < 1 / 200
    drawn: Array = ACCURACY * (1 + scatter(rng, count) * tails - 0.05 * bad)
    return drawn


def steps(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw a history with one step, up or down by 1 to 5 %, that somebody accepted."""
    where = rng.integers(1, n, (count, 1)) if n > 1 else np.zeros((count, 1))
    height = rng.choice([-1, 1], (count, 1)) * rng.uniform(0.01, 0.05, (count, 1))
    return ACCURACY * (normal(rng, count, n) + height * (np.arange(n + 1 + FRESH) >= where))


def deterministic(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw what seeds have frozen: constant up to the jitter of floats."""
    jitter = rng.choice([0, 1e-15, 1e-6], (count, 1))
    return ACCURACY * (1 + jitter * rng.standard_normal((count, n + 1 + FRESH)))


def frozen_sessions(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw what differs between sessions (data, packages) and never within one."""
    values = gaussian(rng, count, n)
    values[:, n + 1 :] = values[:, n : n + 1]
    return values


def high_scatter(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw from 3 % to 10 %: an error rate on a few hundred examples."""
    scale = log_uniform(rng, 0.03, 0.1, count)
    return ACCURACY * (1 + scale * rng.standard_normal((count, n + 1 + FRESH)))


def latency(rng: np.random.Generator, count: int, n: int) -> Array:
    """Draw a wall time on a shared machine: log-normal, and one in 50 takes half as long again."""
    shape = (count, n + 1 + FRESH)
    busy = rng.random(shape) < 1 / 50
    return np.exp(log_uniform(rng, 0.03, 0.2, count) * rng.standard_normal(shape)) * (1 + busy / 2)


QUALITY = (gaussian, beta, binomial, error, drift, outliers, steps, deterministic)
SMALLER_IS_BETTER = (error, latency)


def rates(family: Family, n: int, count: int, *, drop: float = 0.0, seed: int = 0) -> Rates:
    """Judge ``count`` metrics of a family after ``n`` sessions, all worse by the share ``drop``."""
    rng = np.random.default_rng([seed, n, *family.__name__.encode()])  # families are independent
    direction: Direction = "min" if family in SMALLER_IS_BETTER else "max"
    options = RuleOptions(cost=family is latency)
    values = family(rng, count, n)
    values[:, n:] *= 1 + (drop if direction == "min" else -drop)
    plain = rerun = 0
    for row in values.tolist():
        verdict = judge(row[n : n + 1], row[:n], direction=direction, options=options)
        plain += verdict.status == "regressed"
        if verdict.suspect:
            again = judge(row[n + 1 :], row[:n], direction=direction, options=options)
            rerun += again.status == "regressed"
    return Rates(plain=plain / count, rerun=rerun / count)
