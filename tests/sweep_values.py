"""Sweeps and curves to render: small, large, with params of every kind, and odd ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import log10

from pytest_mlflow_experiments.regression.comparison import Curve
from pytest_mlflow_experiments.regression.statistics import deviation, mean
from pytest_mlflow_experiments.regression.sweeps.effects import effects
from pytest_mlflow_experiments.regression.sweeps.model import Configuration, Mode, Sweep
from pytest_mlflow_experiments.regression.sweeps.ranking import pareto_front, ranked

Objective = Callable[[Mapping[str, str], random.Random], float]


def make_sweep(
    choices: Sequence[Mapping[str, str]],
    objective: Objective,
    *,
    name: str = "test_digits",
    metric: str = "accuracy",
    mode: Mode | None = "max",
    repeats: int = 1,
    failed: Mapping[int, int] | None = None,
) -> Sweep:
    """Return the sweep of ``choices``, ranked; ``failed`` counts failures by place in it."""
    dice = random.Random(11)
    found = []
    for number, params in enumerate(choices):
        values = tuple(objective(params, dice) for _ in range(repeats))
        found.append(
            Configuration(
                params=params,
                values=values,
                seeds=tuple(f"seed={seed}" if repeats > 1 else "" for seed in range(repeats)),
                mean=mean(values),
                std=deviation(values),
                distance=None,
                relative=None,
                p_value=None,
                metrics={"duration_seconds": 0.1 + number / 100, "f1": 0.9},
                cases=repeats,
                failed=(failed or {}).get(number, 0),
                nodeids=tuple(
                    f"tests/test_digits.py::{name}[{number}-{k}]" for k in range(repeats)
                ),
            )
        )
    rows = ranked(found, mode)
    return Sweep(
        test=f"tests/test_digits.py::{name}",
        name=name,
        params=tuple(choices[0]),
        repeats=("seed",) if repeats > 1 else (),
        objective=metric,
        mode=mode,
        configurations=rows,
        effects=effects(rows, tuple(choices[0]), mode),
        cases=len(choices) * repeats,
        failed=sum((failed or {}).values()),
    )


def with_second(sweep: Sweep, second: str, mode: Mode, value: Callable[[int], float]) -> Sweep:
    """Return a sweep with a second objective, whose values go by the rank."""
    rows = [
        replace(one, metrics={**one.metrics, second: value(rank)})
        for rank, one in enumerate(sweep.configurations)
    ]
    assert sweep.mode is not None
    front = pareto_front(rows, second, (sweep.mode, mode))
    rows = [replace(one, on_front=place in front) for place, one in enumerate(rows)]
    return replace(sweep, configurations=tuple(rows), second=second, second_mode=mode)


def grid(**params: Sequence[object]) -> list[dict[str, str]]:
    """Return every combination of the values."""
    return [
        dict(zip(params, map(str, choice), strict=True)) for choice in product(*params.values())
    ]


def classifier(params: Mapping[str, str], dice: random.Random) -> float:
    """Return an accuracy that C decides, and a kernel a little."""
    c = log10(float(params.get("C", "1")))
    bonus = {"rbf": 0.02, "linear": 0.0, "poly": -0.015}.get(params.get("kernel", ""), 0.0)
    depth = float(params.get("depth", "4"))
    return 0.94 - 0.012 * (c - 0.5) ** 2 + bonus - 0.002 * abs(depth - 6) + dice.gauss(0, 0.004)


def twelve(repeats: int = 5) -> Sweep:
    """Return a small sweep: two params, one of numbers over decades and one of texts."""
    choices = grid(C=[0.01, 0.1, 1.0, 10.0], kernel=["linear", "rbf", "poly"])
    return make_sweep(choices, classifier, repeats=repeats)


def sixty() -> Sweep:
    """Return a sweep of three params with failures and a run that diverged."""
    choices = grid(
        C=[0.01, 0.1, 1.0, 10.0, 100.0], kernel=["linear", "rbf", "poly"], depth=[2, 4, 6, 8]
    )

    def loss(params: Mapping[str, str], dice: random.Random) -> float:
        if params == choices[-1]:
            return float("nan")
        return 1e6 if params == choices[-2] else 1.2 - classifier(params, dice)

    return make_sweep(choices, loss, metric="val_loss", mode="min", repeats=3, failed={3: 1, 7: 3})


def searched(configurations: int = 1_000, repeats: int = 5, params: int = 6) -> Sweep:
    """Return a random search: numbers that are different everywhere, and some texts."""
    dice = random.Random(5)
    choices = [
        {
            "C": f"{10 ** dice.uniform(-3, 3):.4g}",
            "depth": str(dice.randint(2, 12)),
            "kernel": dice.choice(["linear", "rbf", "poly", "sigmoid"]),
            "momentum": f"{dice.uniform(0, 0.99):.4f}",
            **{f"param_{n}": str(dice.choice([1, 2, 4, 8])) for n in range(params - 4)},
        }
        for _ in range(configurations)
    ]
    return make_sweep(choices, classifier, repeats=repeats, name="test_search")


def make_curve(
    case: str = "test_train[0.1]",
    *,
    metric: str = "loss",
    steps: int = 50,
    lines: int = 3,
    before: int = 3,
) -> Curve:
    """Return a falling loss with some noise, and a slightly higher one before."""
    dice = random.Random(3)

    def line(floor: float) -> tuple[tuple[int, float], ...]:
        return tuple(
            (step, floor + 2.0 * 0.93**step + abs(dice.gauss(0, 0.02))) for step in range(steps)
        )

    return Curve(
        case=f"t.py::{case}",
        name=case,
        nodeid=f"t.py::{case}",
        metric=metric,
        current=tuple(line(0.1) for _ in range(lines)),
        baseline=tuple(line(0.2) for _ in range(before)),
        baseline_session="main@1a2b3c4" if before else None,
    )
