"""Tails of distributions: equal to SciPy's, and to sums of fractions, however small they are."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from math import atan2, comb, inf, isnan, nan, pi, sqrt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special

from pytest_mlflow_experiments.regression.distributions import (
    binomial_p,
    chi_squared_p,
    f_p,
    student_p,
    student_t,
)

LEAST = 1e-300
NEAR = 1e-12

freedoms = st.one_of(
    st.integers(1, 60),
    st.sampled_from([1, 100, 1_000, 10**6]),
    st.floats(1, 60),
    st.floats(1, 1e6),
)


@given(
    t=st.one_of(st.floats(0, 6), st.floats(0, 40), st.floats(0, 1e140)),
    freedom=freedoms,
)
@example(t=0.0, freedom=1)
@example(t=1e-300, freedom=1)
@example(t=1e-300, freedom=10**6)
@example(t=1e-8, freedom=1)
@example(t=1e-8, freedom=9)
@example(t=3.4316931103909072e-12, freedom=1)
@example(t=2.0, freedom=1)
@example(t=3.0, freedom=10**6)
@example(t=37.0, freedom=10**6)
@example(t=1.4142135623730951, freedom=1)
@example(t=1e140, freedom=2)
def test_p_of_student_s_t_is_scipy_s(t: float, freedom: float) -> None:
    # Of a single degree of freedom, Cauchy's distribution, SciPy loses digits near the middle.
    known = atan2(1, t) / pi if freedom == 1 else float(special.stdtr(freedom, -t))
    if known >= LEAST:
        assert student_p(t, freedom) == pytest.approx(known, rel=NEAR, abs=0)
    else:
        assert student_p(t, freedom) <= LEAST * (1 + NEAR)
    assert student_p(-t, freedom) == pytest.approx(1 - known, rel=NEAR, abs=0)


def test_p_of_no_number_and_of_the_infinities() -> None:
    for freedom in (1, 2.5, 10**6):
        found = [student_p(t, freedom) for t in (inf, -inf, 0.0, -0.0)]
        assert found == [0.0, 1.0, 0.5, 0.5]
        assert isnan(student_p(nan, freedom))
    assert isnan(student_p(1.0, nan))
    assert isnan(student_p(1.0, 0))
    # Where the square of t is no float any more: 1 / (pi * t).
    assert student_p(1e200, 1) == pytest.approx(3.183098861837907e-201, rel=NEAR, abs=0)
    assert student_p(1e300, 1) == pytest.approx(3.183098861837907e-301, rel=NEAR, abs=0)
    assert student_p(1e300, 9) == 0.0


@given(
    p=st.one_of(st.floats(1e-12, 1 - 1e-12), st.floats(LEAST, 0.5), st.sampled_from([0.2, 0.5])),
    freedom=freedoms,
)
@example(p=LEAST, freedom=1)
@example(p=LEAST, freedom=4.5)
@example(p=LEAST, freedom=10**6)
@example(p=0.5 - 1e-15, freedom=3)
@example(p=0.001, freedom=9)
def test_t_of_a_p_is_the_one_whose_p_it_is(p: float, freedom: float) -> None:
    t = student_t(p, freedom)
    assert (t > 0) == (p < 0.5)
    assert student_p(t, freedom) == pytest.approx(p, rel=NEAR, abs=0)
    if 1e-6 < p < 0.49:
        # Older releases of SciPy look for it less closely.
        assert t == pytest.approx(-float(special.stdtrit(freedom, p)), rel=1e-7)


def test_t_of_what_is_certain_or_no_probability() -> None:
    assert [student_t(p, 3) for p in (0.0, 0.5, 1.0)] == [inf, 0.0, -inf]
    assert all(isnan(student_t(p, 3)) for p in (-0.1, 1.1, nan))
    assert isnan(student_t(0.1, 0))


@given(ratio=st.floats(1e-6, 1e6), above=st.integers(1, 200), below=st.integers(1, 200))
@example(ratio=0.0, above=1, below=1)
@example(ratio=1.0, above=200, below=200)
@example(ratio=5e-324, above=1, below=2)
def test_p_of_f_is_scipy_s(ratio: float, above: int, below: int) -> None:
    known = float(special.fdtrc(above, below, ratio))
    if known >= 1e-100:  # below that SciPy has fewer and fewer digits
        assert f_p(ratio, above, below) == pytest.approx(known, rel=10 * NEAR, abs=0)


# SciPy itself has fewer digits for very small ratios.
@given(ratio=st.floats(0, 1e6))
@example(ratio=1e-13)
def test_p_of_f_with_one_degree_of_freedom_each_is_an_arc(ratio: float) -> None:
    known = 2 / pi * atan2(1, sqrt(ratio))
    assert f_p(ratio, 1, 1) == pytest.approx(known, rel=10 * NEAR, abs=0)


@given(t=st.floats(1e-6, 1e6), freedom=st.integers(1, 200))
def test_the_square_of_a_t_is_an_f(t: float, freedom: int) -> None:
    if (known := 2 * student_p(t, freedom)) >= LEAST:
        assert f_p(t * t, 1, freedom) == pytest.approx(known, rel=NEAR, abs=0)


def test_p_of_f_without_a_finite_ratio() -> None:
    assert f_p(inf, 2, 3) == 0.0
    assert isnan(f_p(nan, 2, 3))
    assert f_p(1e308, 3, 3) < 1e-300


@given(data=st.data(), trials=st.integers(1, 120), share=st.fractions(0, 1, max_denominator=50))
def test_p_of_successes_is_that_of_all_of_their_numbers(
    data: st.DataObject, trials: int, share: Fraction
) -> None:
    successes = data.draw(st.integers(0, trials + 1))
    probability = float(share)
    exact = Fraction(probability)
    known = sum(
        (comb(trials, k) * exact**k * (1 - exact) ** (trials - k))
        for k in range(successes, trials + 1)
    )
    assert binomial_p(successes, trials, probability) == pytest.approx(
        float(known), rel=NEAR, abs=LEAST
    )


def test_p_of_successes_is_exact_for_a_half() -> None:
    for trials in range(1, 50):
        for successes in range(trials + 2):
            ways = sum(comb(trials, number) for number in range(successes, trials + 1))
            assert binomial_p(successes, trials, 0.5) == ways / 2**trials


def test_p_of_many_successes() -> None:
    for successes, probability in ((10_200, 0.5), (1_100, 1 / 21), (19_300, 20 / 21)):
        known = float(special.bdtrc(successes - 1, 20_000, probability))
        assert binomial_p(successes, 20_000, probability) == pytest.approx(known, rel=1e-9, abs=0)


@given(value=st.floats(0, 1_000), freedom=st.integers(1, 60))
@example(value=0.0, freedom=1)
@example(value=0.0, freedom=2)
def test_p_of_chi_squared_is_scipy_s(value: float, freedom: int) -> None:
    known = float(special.chdtrc(freedom, value))
    assert chi_squared_p(value, freedom) == pytest.approx(known, rel=NEAR, abs=0)


def test_scipy_and_numpy_are_not_loaded() -> None:
    code = (
        "import sys; from pytest_mlflow_experiments.regression import judge;"
        "print(judge([0.5], [0.9, 0.91, 0.92, 0.9], direction='max').status);"
        "print(sorted({'numpy', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["regressed", "[]"]
