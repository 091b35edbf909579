"""Comparisons with sweeps and curves: ordinary ones, odd ones, and such as are up to no good."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

from comparisons import HOSTILE, hostile, make_comparison, make_metric
from sweep_values import grid, make_curve, make_sweep, searched, sixty, twelve

from pytest_mlflow_experiments.regression.comparison import Comparison


def ordinary() -> Comparison:
    """Return a comparison with sweeps of all kinds, and with curves."""
    sweeps = (
        twelve(),
        sixty(),
        twelve(repeats=1),
        make_sweep(grid(k=[1]), lambda params, dice: 0.5),
        make_sweep(grid(k=[1, 2]), lambda params, dice: nan),
        make_sweep(grid(k=[1, 2]), lambda params, dice: inf * float(params["k"])),
        make_sweep(grid(k=[1, 2]), lambda params, dice: float(params["k"]), mode=None),
        replace(make_sweep(grid(k=[1, 2]), lambda params, dice: 0.5), objective=None, mode=None),
    )
    curve = make_curve()
    odd = replace(curve, current=(((0, nan), (7, -inf)), ()), baseline=(), baseline_session=None)
    return make_comparison(make_metric(), sweeps=sweeps, curves=(curve, odd))


def many() -> Comparison:
    """Return a comparison with many and with large sweeps."""
    return make_comparison(sweeps=(*[twelve()] * 40, searched(params=40)), curves=(make_curve(),))


def hostile_sweeps() -> Comparison:
    """Return a comparison whose every text, also those of its sweeps, is up to no good."""
    everywhere = " ".join(HOSTILE)
    sweep = make_sweep(
        [dict.fromkeys(HOSTILE, value) for value in (*HOSTILE, everywhere)],
        lambda params, dice: dice.random(),
        name=everywhere,
        metric=everywhere,
        repeats=2,
    )
    sweep = replace(sweep, test=everywhere, repeats=HOSTILE, notes=HOSTILE)
    curve = replace(make_curve(everywhere, metric=everywhere), baseline_session=everywhere)
    return replace(hostile(), sweeps=(sweep, replace(sweep, mode=None)), curves=(curve,))
