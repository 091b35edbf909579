"""Whether a configuration differs from the best by more than noise: t-tests between the two."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf, isfinite, sqrt

from .model import Configuration, Sweep
from .moments import ROUNDING, center, scaled, squares

ALPHA = 0.05
"""How often at most a configuration that is as good as the best may be told from it, in a sweep."""


def p_value(best: Configuration, other: Configuration) -> float | None:
    """Return the chance that two equally good configurations differ by as much as these two.

    It is two-sided. Where both ran with the same seeds, two of them or more, it is that of the
    paired t-test (Student 1908; ``scipy.stats.ttest_rel``), for the scatter that a seed brings to
    both of them cancels out. Otherwise, and where the differences are all the same, it is that of
    Welch's (Welch 1947; ``scipy.stats.ttest_ind(..., equal_var=False)``), from two values of each
    on. Values that are not finite are left out. None with fewer values, and where neither
    configuration scatters: repeating a frozen value tells nothing, unless both have the same one.
    """
    mine, theirs = _finite(best), _finite(other)
    if min(len(mine), len(theirs)) < 2:
        return None
    units = scaled([value for _, value in (*mine, *theirs)])
    a, b = units.values[: len(mine)], units.values[len(mine) :]
    paired = _paired([seed for seed, _ in mine], a, [seed for seed, _ in theirs], b)
    return _welch(a, b) if paired is None else paired


def noise_limit(sweep: Sweep) -> float:
    """Return the p-value from which on a configuration may well be as good as the best.

    The best is the best of many, so that some of the others look worse by chance alone. So their
    p-values are taken together, by the method of Holm (1979): the chance that any configuration as
    good as the best is told from it is ``ALPHA`` at most. Infinite where all are told from it.
    """
    found = sorted(
        other.p_value
        for other in sweep.configurations
        if other.p_value is not None and other.distance != 0
    )
    # Holm steps down from the smallest p, until one of them is not small enough.
    steps = enumerate(found)
    return next((p for step, p in steps if p > ALPHA / (len(found) - step)), inf)


def is_near(configuration: Configuration, limit: float) -> bool:
    """Tell whether a configuration that is not the best is within noise of it.

    False also where nobody can tell, for there is no p-value. ``limit`` is the sweep's
    :func:`noise_limit`.
    """
    p = configuration.p_value
    return p is not None and (p >= limit or configuration.distance == 0)


def within_noise(sweep: Sweep) -> tuple[Configuration, ...]:
    """Return the configurations that are within noise of the best."""
    limit = noise_limit(sweep)
    return tuple(other for other in sweep.configurations if is_near(other, limit))


def _finite(configuration: Configuration) -> list[tuple[str, float]]:
    pairs = zip(configuration.seeds, configuration.values, strict=True)
    return [(seed, value) for seed, value in pairs if isfinite(value)]


def _paired(
    mine: Sequence[str], a: Sequence[float], theirs: Sequence[str], b: Sequence[float]
) -> float | None:
    """Return the p of the paired test, None where it says nothing."""
    second = dict(zip(theirs, b, strict=True))
    found = [
        value - second[seed] for seed, value in zip(mine, a, strict=True) if seed and seed in second
    ]
    if len(found) < 2:
        return None
    freedom = len(found) - 1
    scatter = sqrt(squares(found) / freedom)
    if scatter <= ROUNDING:
        return None
    return _two_sided(freedom, center(found) / (scatter / sqrt(len(found))))


def _welch(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the p of Welch's test, None without any scatter."""
    change = center(a) - center(b)
    shares = [squares(values) / (len(values) - 1) / len(values) for values in (a, b)]
    variance = fsum(shares)
    if sqrt(variance) <= ROUNDING:
        return 1.0 if abs(change) <= ROUNDING else None
    # The degrees of freedom by Welch and Satterthwaite.
    freedom = variance**2 / fsum(
        share**2 / (len(values) - 1) for share, values in zip(shares, (a, b), strict=True)
    )
    return _two_sided(freedom, change / sqrt(variance))


def _two_sided(freedom: float, t: float) -> float:
    # Only here: importing scipy takes time. scipy.stats would take half a second more.
    from scipy.special import stdtr

    return min(1.0, 2 * float(stdtr(freedom, -abs(t))))
