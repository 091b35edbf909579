"""How often the rule is wrong, and how often it sees what got worse, on simulated metrics.

The first form of each test is quick; the second, of the slow layer, draws many times as much. Over
360,000 quality metrics for each length of the history:

===================================  =====  =====  =====  =====  =====  =====
sessions of history                      1      2      3      5     10     20
===================================  =====  =====  =====  =====  =====  =====
false alarms per 1,000, one shot      0.00   0.00   0.12   0.05   0.11   0.15
... after fresh runs                  0.03   0.06   0.22   0.14   0.24   0.17
drops by 10 % seen, one shot           0 %    0 %   53 %
... after fresh runs                  76 %   87 %   92 %
drops by 5 % seen, one shot                           4 %   57 %   75 %   83 %
... after fresh runs                                 64 %   72 %   86 %   90 %
jobs of 200 that fail, one shot      0.0 %  0.0 %  2.4 %  1.0 %  2.1 %  2.9 %
... after fresh runs                 0.7 %  1.1 %  4.2 %  2.9 %  4.6 %  3.3 %
fresh runs a suspect metric            1.5    2.1    2.4    2.4    2.0    1.7
===================================  =====  =====  =====  =====  =====  =====
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import sqrt

import pytest
import simulation
from layers import real
from simulation import QUALITY, Family, Rates, rates, series, share

from pytest_mlflow_experiments.regression import judge_session

QUICK, FULL = 1, 12
sizes = pytest.mark.parametrize("size", [QUICK, real(FULL)], ids=["quick", "full"])


@cache
def quality(n: int, count: int, drop: float = 0.0, job: int = 200) -> Rates:
    return rates(QUALITY, n, count, drop=drop, job=job)


def at_most(share: float, count: int) -> float:
    """Return the share that refutes a true one: three standard errors more."""
    return share + 3 * sqrt(share * (1 - share) / count)


def at_least(share: float, count: int) -> float:
    return share - 3 * sqrt(share * (1 - share) / count)


@sizes
@pytest.mark.parametrize(
    ("n", "one_shot", "fresh"),
    [
        (1, 0.3, 0.8),
        (2, 0.6, 0.35),
        (3, 0.9, 0.35),
        (5, 0.2, 0.25),
        (10, 0.2, 0.25),
        (20, 0.2, 0.35),
    ],
)
def test_false_alarms(n: int, one_shot: float, fresh: float, size: int) -> None:
    count = 30_000 * size
    found = quality(n, count)
    assert found.regressed <= at_most(one_shot / 1000, count)
    assert found.fresh <= at_most(fresh / 1000, count)
    assert found.runs <= 2.5


@sizes
@pytest.mark.parametrize(
    ("n", "drop", "one_shot", "fresh"),
    [
        (1, 0.10, 0.0, 0.54),
        (3, 0.10, 0.52, 0.60),
        (3, 0.05, 0.0, 0.60),
        (5, 0.05, 0.56, 0.66),
        (10, 0.05, 0.66, 0.70),
        (20, 0.05, 0.68, 0.70),
    ],
)
def test_drops_are_seen(n: int, drop: float, one_shot: float, fresh: float, size: int) -> None:
    count = 1_800 * size
    found = quality(n, count, drop)
    assert found.regressed >= at_least(one_shot, count)
    assert found.fresh >= at_least(fresh, count)


@sizes
@pytest.mark.parametrize(
    ("n", "one_shot", "fresh"), [(5, 0.03, 0.03), (10, 0.04, 0.045), (20, 0.07, 0.055)]
)
def test_jobs_of_200_harmless_metrics(n: int, one_shot: float, fresh: float, size: int) -> None:
    found, jobs = quality(n, 30_000 * size), 150 * size
    assert found.jobs <= at_most(one_shot, jobs)
    assert found.fresh_jobs <= at_most(fresh, jobs)


@pytest.mark.real
@pytest.mark.parametrize(("n", "most"), [(5, 0.05), (10, 0.05), (20, 0.10)])
def test_jobs_of_1000_harmless_metrics(n: int, most: float) -> None:
    assert quality(n, 150_000, job=1_000).jobs <= at_most(most, 150)


@sizes
@pytest.mark.parametrize(
    ("family", "n", "one_shot", "fresh"),
    [
        (simulation.high_scatter, 1, 20, 20),
        (simulation.high_scatter, 2, 8, 8),
        (simulation.high_scatter, 3, 8, 8),
        (simulation.few, 3, 1, 1),
        (simulation.few, 10, 1, 1),
        (simulation.outliers, 5, 9, 0.5),
        (simulation.outliers, 20, 9, 0.5),
        (simulation.near_one, 5, 0.5, 0.5),
        (simulation.near_one, 20, 0.5, 0.5),
    ],
)
def test_false_alarms_where_it_is_hard(
    family: Family, n: int, one_shot: float, fresh: float, size: int
) -> None:
    count = 5_000 * size
    found = rates([family], n, count)
    assert found.regressed <= at_most(one_shot / 1000, count)
    assert found.fresh <= at_most(fresh / 1000, count)


@sizes
@pytest.mark.parametrize("n", [5, 10, 20])
def test_twice_the_error_of_a_score_near_one(n: int, size: int) -> None:
    count = 400 * size
    found = rates([simulation.near_one], n, count, drop=1.0)
    assert found.regressed >= at_least(0.88, count)
    assert found.fresh >= at_least(0.97, count)


def test_a_wall_time_is_no_gate() -> None:
    found = rates([simulation.latency], 20, 5_000)
    assert found.regressed > 0.002
    assert found.fresh < 0.003


SEEN = [
    (simulation.lost_improvement(3), 0.90),
    (simulation.lost_improvement(5), 0.95),
    (simulation.lost_improvement(3, now=0.86), 0.90),
    (simulation.behind_a_bad_run(10, fresh=True), 0.95),
    (simulation.behind_a_bad_run(20, fresh=True), 0.95),
    (simulation.behind_a_bad_run(10, fresh=True, drop=0.3), 0.95),
    (simulation.unaccepted_fall(4), 0.95),
    (simulation.unaccepted_fall(10), 0.95),
    (simulation.unaccepted_fall(15), 0.95),
    (simulation.accepted(0.10), 0.80),
    (simulation.accepted(0.10, later=2), 0.80),
    (simulation.seeds(1, drop=0.05), 0.75),
    (simulation.seeds(2, drop=0.05), 0.75),
    (simulation.evaluation(10, 0.85), 0.80),
    (simulation.evaluation(20, 0.85), 0.80),
]
UNHARMED = [
    (simulation.lost_improvement(3, now=0.945), 1.0),
    (simulation.lost_improvement(5, now=0.945), 1.0),
    (simulation.behind_a_bad_run(10, fresh=True, back=False), 0.5),
    (simulation.behind_a_bad_run(20, fresh=True, back=False), 0.5),
    (simulation.accepted(0.0), 1.0),
    (simulation.accepted(0.0, later=2), 1.0),
    (simulation.seeds(1), 0.5),
    (simulation.seeds(3, frozen=True), 2.0),
    (simulation.seeds(10, frozen=True), 2.0),
    (simulation.evaluation(5, 0.95), 20.0),
    (simulation.evaluation(20, 0.95), 20.0),
    (simulation.evaluation(5, 0.95, flips=0.08), 20.0),
]


def named(rows: Sequence[tuple[simulation.Scenario, float]]) -> list[str]:
    return [f"{row[0].__qualname__.partition('.')[0]}-{place}" for place, row in enumerate(rows)]


@sizes
@pytest.mark.parametrize(("scenario", "least"), SEEN, ids=named(SEEN))
def test_scenarios_that_regress(scenario: simulation.Scenario, least: float, size: int) -> None:
    count = 150 * size
    assert share("regressed", scenario, count) >= at_least(least, count)


@sizes
@pytest.mark.parametrize(("scenario", "per_thousand"), UNHARMED, ids=named(UNHARMED))
def test_scenarios_without_harm(
    scenario: simulation.Scenario, per_thousand: float, size: int
) -> None:
    count = 250 * size
    assert share("regressed", scenario, count) <= at_most(per_thousand / 1000, count)


@sizes
@pytest.mark.parametrize("n", [10, 20])
def test_a_bad_run_hides_nothing_without_a_word(n: int, size: int) -> None:
    scenario = simulation.behind_a_bad_run(n, fresh=False)
    assert share("unchanged", scenario, 150 * size) <= 0.02


@sizes
def test_drift_is_told(size: int) -> None:
    loses = simulation.drifting(0.003)
    told = share("drifting", loses, 150 * size) + share("regressed", loses, 150 * size)
    assert told >= at_least(0.95, 150 * size)


@sizes
@pytest.mark.parametrize("runs", [6, 11, 21])
def test_white_noise_does_not_drift(runs: int, size: int) -> None:
    count = 2_000 * size
    noise = simulation.drifting(0.0, high=0.03, runs=runs)
    assert share("drifting", noise, count) <= at_most(0.2 / 1000, count)


@pytest.mark.parametrize("n", [5, 10, 20])
def test_one_good_fresh_run_does_not_clear_two_bad_ones(n: int) -> None:
    for fresh in ((0.10, 0.10, 0.95), (0.95, 0.10, 0.10)):
        for history in ([0.95] * n, [0.95 + 0.002 * (place % 3) for place in range(n)]):
            one = series(history, 0.10)
            (verdict,) = judge_session([replace(one, current=fresh)], fresh=True)
            assert verdict.status == "regressed"


@sizes
def test_a_case_with_many_metrics_has_no_more_false_alarms(size: int) -> None:
    """Once one of them is suspect, the whole case runs again: the others must not be judged."""
    metrics = 3_000 * size
    one, many = (simulation.rerun_cases(10, metrics // width, width) for width in (1, 100))
    assert many <= at_most(1.5 * max(one, 0.25 / 1000), metrics)
