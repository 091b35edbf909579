from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, nan, sqrt
from typing import Literal

import pytest
from sessions import make_case, make_check, make_session

from pytest_mlflow_experiments.cli.candidate import choose_candidate
from pytest_mlflow_experiments.records import CaseRecord, Outcome, SessionEnd
from pytest_mlflow_experiments.records.reader import StoredSession
from pytest_mlflow_experiments.regression.comparer import SEED_PARAMS, CompareOptions
from pytest_mlflow_experiments.regression.statistics import deviation, mean, variance_ratio_p
from pytest_mlflow_experiments.regression.sweeps.build import SweepBuilder
from pytest_mlflow_experiments.regression.sweeps.lookup import build_sweeps
from pytest_mlflow_experiments.regression.sweeps.model import Configuration, Mode, Sweep
from pytest_mlflow_experiments.regression.sweeps.ranking import marks, p_value
from pytest_mlflow_experiments.report.sweep_text import verdict


def one(
    metrics: Mapping[str, float] | float = 0.9,
    test: str = "test_a",
    outcome: Outcome = "passed",
    id: str | None = None,
    **params: object,
) -> CaseRecord:
    """Return a case of a parametrized test, with pytest's own id for its params."""
    texts = {name: str(value) for name, value in params.items()}
    return make_case(
        f"{test}[{id or '-'.join(texts.values())}]",
        metrics={"accuracy": metrics} if isinstance(metrics, float) else metrics,
        outcome=outcome,
        params=texts,
        arguments=tuple(texts),
    )


def built(cases: Iterable[CaseRecord], options: CompareOptions | None = None) -> tuple[Sweep, ...]:
    builder = SweepBuilder(options or CompareOptions())
    for case in cases:
        builder.add(case)
    return builder.build()


def only(*cases: CaseRecord, options: CompareOptions | None = None) -> Sweep:
    (sweep,) = built([replace(case, swept=True) for case in cases], options)
    return sweep


def configuration(values: Sequence[float], seeds: Sequence[object] = ()) -> Configuration:
    names = seeds or [""] * len(values)
    return Configuration(
        params={},
        values=tuple(values),
        seeds=tuple(f"seed={seed}" if seeds else "" for seed in names),
        mean=mean(values),
        std=deviation(values),
        distance=None,
        relative=None,
        p_value=None,
        metrics={},
        cases=len(values),
        failed=0,
        nodeids=(),
    )


def test_seeds_fold_to_mean_and_sample_deviation_with_distances_to_the_best() -> None:
    values = {(1, 0): 0.8, (1, 1): 0.9, (1, 2): 1.0, (2, 0): 0.4, (2, 1): 0.6}
    sweep = only(*(one(value, depth=depth, seed=seed) for (depth, seed), value in values.items()))
    first, second = sweep.configurations
    assert (sweep.params, sweep.repeats, sweep.cases) == (("depth",), ("seed",), 5)
    assert (sweep.objective, sweep.mode, sweep.best) == ("accuracy", "max", first)
    assert (first.params, first.values) == ({"depth": "1"}, (0.8, 0.9, 1.0))
    assert first.seeds == ("seed=0", "seed=1", "seed=2")
    assert [first.mean, first.std] == pytest.approx([0.9, 0.1])
    assert (first.distance, first.relative, first.p_value, first.n) == (0.0, 0.0, None, 3)
    assert [second.mean, second.std] == pytest.approx([0.5, sqrt(0.02)])
    assert second.distance == pytest.approx(0.4)
    assert second.relative == pytest.approx(0.4 / 0.9)
    assert second.nodeids == ("test_it.py::test_a[2-0]", "test_it.py::test_a[2-1]")


def test_means_of_other_metrics_and_of_what_cases_cost_stand_beside_the_objective() -> None:
    cases = [
        make_case(
            f"test_a[1-{seed}]",
            metrics={"accuracy": 0.9, "f1": f1},
            run_metrics={"auc": 0.5},
            usage={"cpu_seconds": seconds},
            durations={"setup": 9.0, "call": seconds},
            params={"k": "1", "seed": str(seed)},
            arguments=("k", "seed"),
        )
        for seed, f1, seconds in ((0, 0.25, 1.0), (1, 0.75, 2.0))
    ]
    (found,) = only(*cases).configurations
    assert found.metrics == {"f1": 0.5, "auc": 0.5, "cpu_seconds": 1.5, "duration_seconds": 1.5}


def test_smaller_is_better_by_the_marker_or_the_ini_file_and_the_last_step_counts() -> None:
    def cases(**fields: object) -> list[CaseRecord]:
        return [
            make_case(
                f"test_a[{k}]",
                metrics={"figure": 1.0 / k},
                params={"k": str(k)},
                arguments=("k",),
                **fields,
            )
            for k in (1, 2)
        ]

    by_marker = only(*cases(directions={"fig*": "min"}))
    by_ini = only(*cases(), options=CompareOptions(directions=[("figure", "min")]))
    for sweep in (by_marker, by_ini):
        assert sweep.mode == "min"
        assert [found.params["k"] for found in sweep.configurations] == ["2", "1"]
    unknown = only(*cases())
    assert (unknown.mode, unknown.best) == (None, None)
    assert [found.params["k"] for found in unknown.configurations] == ["1", "2"]
    assert "whether greater or smaller values of 'figure'" in unknown.notes[0].lower()


@pytest.mark.parametrize(
    ("fields", "objective"),
    [
        ({"objective": "seconds"}, "seconds"),
        ({"checks": (make_check("f1", 0.5, 0.1),)}, "f1"),
        ({"checks": (make_check("seconds", 0.5, 0.1), make_check("f1", 0.5, 0.1))}, "f1"),
        ({"checks": (make_check("figure", 0.5, 0.1), make_check("f1", 0.5, 0.1))}, "figure"),
        ({}, "accuracy"),
        ({"metrics": {"figure": 1.0}}, "figure"),
        ({"metrics": {"seconds": 1.0}}, None),
        ({"metrics": {}}, None),
    ],
    ids=["marker", "asserted", "no cost", "first", "logged", "unknown", "costs only", "none"],
)
def test_objective(fields: dict[str, object], objective: str | None) -> None:
    known = {"seconds": 2.0, "figure": 0.1, "accuracy": 0.9, "f1": 0.5}
    case = make_case(
        "test_a[1]", **{"metrics": known, "params": {"k": "1"}, "arguments": ("k",), **fields}
    )
    assert only(case).objective == objective


def test_objective_that_no_case_has_is_noted() -> None:
    case = make_case(
        "test_a[1]", metrics={"f1": 0.5}, objective="rmse", params={"k": "1"}, arguments=("k",)
    )
    sweep = only(case)
    assert (sweep.objective, sweep.best) == ("rmse", None)
    assert sweep.notes[0] == "No case has a value of the objective 'rmse'; there is f1"


def test_failures_count_with_their_values_and_are_never_the_best() -> None:
    sweep = only(
        one(0.99, k=1, seed=0, outcome="failed"),
        one(0.97, k=1, seed=1),
        one(0.8, k=2, seed=0),
        one({}, k=2, seed=1, outcome="skipped"),
        one(0.7, k=3, seed=0),
    )
    assert [found.params["k"] for found in sweep.configurations] == ["2", "3", "1"]
    assert [found.failed for found in sweep.configurations] == [0, 0, 1]
    last = sweep.configurations[-1]
    assert [last.mean, last.distance] == pytest.approx([0.98, 0.0])
    assert sweep.best == sweep.configurations[0]
    assert (sweep.best.n, sweep.best.cases) == (1, 2)
    assert (sweep.failed, sweep.cases) == (1, 5)


def test_what_no_clean_configuration_has_is_no_best() -> None:
    sweep = only(one(0.9, k=1, outcome="error"), one({}, k=2, outcome="skipped"))
    assert sweep.best is None
    assert [found.distance for found in sweep.configurations] == [None, None]


@pytest.mark.parametrize("odd", [nan, inf, -inf])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_what_is_no_finite_number_comes_last(odd: float, direction: Literal["min", "max"]) -> None:
    options = CompareOptions(directions=[("accuracy", direction)])
    cases = [one(odd, k=1), one(0.5, k=2, outcome="failed"), one(0.4, k=3), one({}, k=4)]
    sweep = only(*cases, options=options)
    assert [found.params["k"] for found in sweep.configurations] == ["3", "2", "1", "4"]
    assert [found.distance is None for found in sweep.configurations[2:]] == [True, True]
    alone = only(one(odd, k=1), options=options)
    assert (alone.best, alone.effects) == (None, ())


def test_huge_values_do_not_overflow() -> None:
    sweep = only(*(one(sign * 1.7e308, k=sign, seed=seed) for sign in (-1, 1) for seed in (1, 2)))
    best, other = sweep.configurations
    assert (best.mean, best.std) == (1.7e308, 0.0)
    assert (other.mean, other.distance) == (-1.7e308, None)
    assert sweep.effects[0].share == 1.0


def test_numbers_are_in_order_of_their_size_and_texts_as_they_came() -> None:
    sweep = only(*(one(0.9, k=k, name=name) for k, name in ((10, "b"), (9, "a"), (1e-3, "c"))))
    levels = {effect.param: [level.value for level in effect.levels] for effect in sweep.effects}
    assert levels == {"k": ["0.001", "9", "10"], "name": ["b", "a", "c"]}
    # What is equal keeps that order, whichever case a worker finished first.
    assert [found.params["k"] for found in sweep.configurations] == ["0.001", "9", "10"]


def test_cases_that_only_look_the_same_stay_apart() -> None:
    hidden = [
        make_case(
            f"test_a[***{n}-{seed}]",
            metrics={"accuracy": n / 10},
            params={"api_key": "***", "seed": str(seed)},
            arguments=("api_key", "seed"),
        )
        for n in range(2)
        for seed in range(2)
    ]
    assert [found.params for found in only(*hidden).configurations] == [
        {"api_key": "***1"},
        {"api_key": "***0"},
    ]
    objects = [
        one(n / 10, model="Model()", seed=seed, id=f"model{n}-{seed}")
        for seed in range(2)
        for n in range(2)
    ]
    sweep = only(*objects)
    assert [found.values for found in sweep.configurations] == [(0.1, 0.1), (0.0, 0.0)]
    assert "same params" in sweep.notes[0]


def test_a_case_that_ran_twice_counts_as_it_was_the_last_time() -> None:
    (found,) = only(one(0.1, k=1, outcome="failed"), one(0.9, k=1)).configurations
    assert (found.values, found.cases, found.failed) == ((0.9,), 1, 0)


def test_sweeps_come_in_the_order_of_their_first_cases() -> None:
    records = [
        one(test="test_b", k=1),
        make_case("test_plain", metrics={"accuracy": 1.0}),
        *(one(test="test_a", k=k) for k in range(3)),
        one(test="test_b", k=2),
    ]
    builder = SweepBuilder(CompareOptions())
    end = SessionEnd(end_time=1, exit_status=0, tests=4)
    assert list(builder.watch([*records, end])) == [*records, end]
    assert [(sweep.name, sweep.cases) for sweep in builder.build()] == [
        ("test_b", 2),
        ("test_a", 3),
    ]


def test_the_direction_is_that_of_the_marker_the_options_or_the_operators() -> None:
    def mode(marked: Mapping[str, str], *directions: tuple[str, Mode | None]) -> Mode | None:
        check = make_check("x", 1.0, 0.5)
        case = make_case("test_a[1]", checks=(check,), directions=marked, arguments=("k",))
        return only(case, options=CompareOptions(directions=directions)).mode

    assert mode({}) == mode({"y": "min"}) == "max"
    assert mode({"x": "min"}) == mode({"x": "min"}, ("x", "max")) == "min"
    assert mode({}, ("*", "min")) == "min"
    assert mode({}, ("x", None)) is None


def test_effects_are_marginal_means_and_eta_squared() -> None:
    values = {("a", 1): 1.0, ("a", 2): 2.0, ("b", 1): 5.0, ("b", 2): 8.0}
    cases = [one(value, name=name, k=k, same="x") for (name, k), value in values.items()]
    # The mean of all is 4, their sum of squares 30; 25 of it between a and b, 4 between 1 and 2.
    name, k = only(*cases).effects
    assert [(effect.param, effect.spread) for effect in (name, k)] == [("name", 5.0), ("k", 2.0)]
    assert [name.share, k.share] == pytest.approx([25 / 30, 4 / 30])
    assert [(level.value, level.mean, level.n) for level in (*name.levels, *k.levels)] == [
        *(("a", 1.5, 2), ("b", 6.5, 2)),
        *(("1", 3.0, 2), ("2", 5.0, 2)),
    ]
    deviations = [level.std for level in (*name.levels, *k.levels)]
    assert deviations == pytest.approx([sqrt(square / 2) for square in (1, 9, 16, 36)])


def test_the_share_of_a_param_is_proven_by_the_f_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    groups = {"a": (0.81, 0.83, 0.85), "b": (0.84, 0.86, 0.83), "c": (0.90, 0.87, 0.88)}
    cases = [one(value, n=n, k=k) for k, found in groups.items() for n, value in enumerate(found)]
    effect = next(effect for effect in only(*cases).effects if effect.param == "k")
    assert effect.share is not None
    p = variance_ratio_p(effect.share, 3, 1 - effect.share, 6)
    assert p == pytest.approx(stats.f_oneway(*groups.values()).pvalue)
    # Without any scatter within groups, or with nothing else than it.
    assert [variance_ratio_p(1.0, 3, 0.0, 6), variance_ratio_p(1.0, 9, 0.0, 0)] == [0.0, 1.0]
    assert [variance_ratio_p(0.0, 3, 1.0, 6), variance_ratio_p(0.5, 1, 0.5, 8)] == [1.0, 1.0]


def test_a_run_that_diverged_does_not_hide_what_matters() -> None:
    values = {(k, name): k / 10 for k in range(4) for name in "abc"}
    values[3, "c"] = -1e9
    k, name = only(*(one(value, k=k, name=name) for (k, name), value in values.items())).effects
    assert (k.param, k.share) == ("k", 1.0)
    assert name.share == pytest.approx(0.0, abs=0.1)
    assert sum(level.n for level in k.levels) == 11


def test_nothing_explains_the_jitter_of_floats() -> None:
    sweep = only(one(0.1 + 0.2, k=1), one(0.3, k=2))
    assert [effect.share for effect in sweep.effects] == [None]


A = (0.91, 0.93, 0.90, 0.95)
B = (0.90, 0.90, 0.91, 0.92)


def test_common_seeds_are_paired() -> None:
    stats = pytest.importorskip("scipy.stats")
    best, other = configuration(A, [1, 2, 3, 4]), configuration(B[::-1], [4, 3, 2, 1])
    assert p_value(best, other) == pytest.approx(stats.ttest_rel(A, B).pvalue, rel=1e-9)
    some = configuration((*B[:3], 0.2), [1, 2, 3, 9])
    assert p_value(best, some) == pytest.approx(stats.ttest_rel(A[:3], B[:3]).pvalue, rel=1e-9)


@pytest.mark.parametrize("seeds", [[5, 6, 7, 8], [1, 6, 7, 8], []])
def test_without_common_seeds_it_is_welch_s_test(seeds: list[int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    p = p_value(configuration(A[:3], [1, 2, 3]), configuration(B, seeds))
    assert p == pytest.approx(stats.ttest_ind(A[:3], B, equal_var=False).pvalue, rel=1e-9)


def test_differences_that_are_all_the_same_prove_nothing_by_themselves() -> None:
    stats = pytest.importorskip("scipy.stats")
    coarse, lower = (0.93, 0.91), (0.92, 0.90)
    p = p_value(configuration(coarse, [1, 2]), configuration(lower, [1, 2]))
    assert p == pytest.approx(stats.ttest_ind(coarse, lower, equal_var=False).pvalue, rel=1e-6)


@pytest.mark.parametrize(
    ("mine", "theirs", "p"),
    [
        ([0.9], [0.8], None),
        ([0.9, 0.8], [0.8], None),
        ([0.9, 0.9], [0.8, 0.8], None),
        ([0.9, 0.9], [0.9, 0.9], 1.0),
        ([0.9, nan], [0.8, 0.7], None),
        ([], [], None),
    ],
)
def test_too_little_to_tell(mine: list[float], theirs: list[float], p: float | None) -> None:
    seeds = list(range(len(mine)))
    assert p_value(configuration(mine, seeds), configuration(theirs, seeds[: len(theirs)])) == p


def test_holm_s_method_guards_against_the_best_of_many() -> None:
    """Among 20 others a p of 0.02 is what chance brings; one of 0.001 is less than 0.05 / 20."""
    stats = pytest.importorskip("scipy.stats")
    best = (0.90, 0.92, 0.91, 0.93)
    others = {
        k: [value - 0.004 * k - 0.01 * (-1) ** seed for seed, value in enumerate(best)]
        for k in range(1, 21)
    }
    values = {0: best, **others}
    sweep = only(*(one(v, k=k, seed=s) for k in values for s, v in enumerate(values[k])))
    raw = sorted(stats.ttest_rel(best, found).pvalue for found in others.values())
    holm = [min(1.0, p * (len(raw) - step)) for step, p in enumerate(raw)]
    holm = [max(holm[: step + 1]) for step in range(len(holm))]
    found = [one.p_value for one in sweep.configurations if one.p_value is not None]
    assert sorted(found) == pytest.approx(holm)
    assert any(p < 0.05 for p in raw if p * len(raw) > 0.05)
    # What is written is what decides.
    for configuration, mark in zip(sweep.configurations[1:], marks(sweep)[1:], strict=True):
        assert configuration.p_value is not None
        assert (mark == "near") is (configuration.p_value > 0.05)
    assert {*marks(sweep)} == {"best", "near", "worse"}


def test_what_failed_with_a_better_mean_is_not_worse() -> None:
    good = [one(0.8 + seed / 1_000, k=0, seed=seed) for seed in range(3)]
    failed = [one(0.9 + seed / 900, k=1, seed=seed, outcome="failed") for seed in range(3)]
    sweep = only(*good, *failed)
    assert [found.p_value for found in sweep.configurations] == [None, 1.0]
    assert marks(sweep) == ["best", "near"]


def test_two_objectives_have_a_pareto_front() -> None:
    values = {1: (0.9, 50.0), 2: (0.8, 10.0), 3: (0.8, 20.0), 4: (0.7, 5.0), 5: (0.6, 5.0)}
    cases = [one({"accuracy": a, "latency_ms": b}, k=k) for k, (a, b) in values.items()]
    failed = one({"accuracy": 0.99, "latency_ms": 1.0}, k=6, outcome="failed")
    sweep = only(*cases, failed)
    assert (sweep.second, sweep.second_mode) == ("latency_ms", "min")
    front = [found.params["k"] for found in sweep.configurations if found.on_front]
    assert front == ["1", "2", "4"]


def test_what_a_test_asserts_is_its_second_objective_before_what_it_logs() -> None:
    def second(*metrics: str, asserted: tuple[str, ...] = ()) -> str | None:
        cases = [
            replace(
                one({"accuracy": k / 10, **dict.fromkeys(metrics, k / 20)}, k=k),
                objective="accuracy",
                checks=tuple(
                    replace(make_check(name, k / 20, 9), operator="<") for name in asserted
                ),
            )
            for k in (1, 2, 3)
        ]
        return only(*cases).second

    assert second("f1", "latency_ms", asserted=("latency_ms",)) == "latency_ms"
    assert second("f1", "latency_ms") == "f1"
    assert second("figure") is None
    assert second() is None


def test_one_lucky_seed_is_not_the_best() -> None:
    """A configuration of which seeds were skipped has fewer values than the others."""
    whole = [one(0.9 + seed / 1_000, c=c, seed=seed) for c in (0, 2) for seed in range(3)]
    lucky = [one(0.99, c=1, seed=0)]
    skipped = [one({}, outcome="skipped", c=1, seed=seed) for seed in (1, 2)]
    sweep = only(*whole, *lucky, *skipped)
    assert [found.params["c"] for found in sweep.configurations] == ["0", "2", "1"]
    assert sweep.best is sweep.configurations[0]
    assert verdict(sweep, sweep.configurations[2], "") == "not ranked: 1 of 3 values"
    lucky.append(one(0.98, c=1, seed=1))
    sweep = only(*whole, *lucky, *skipped[1:])
    assert verdict(sweep, sweep.configurations[2], "near") == "not ranked: 2 of 3 values"


def test_params_that_are_never_the_same_twice_explain_nothing() -> None:
    values = (0.91, 0.97, 0.93, 0.95)
    searched = [one(value, lr=n / 7, dropout=n / 9) for n, value in enumerate(values)]
    assert [effect.share for effect in only(*searched).effects] == [None, None]
    alone = only(*(one(value, lr=n / 7) for n, value in enumerate(values)))
    assert [effect.share for effect in alone.effects] == [1.0]


def swept(*cases: CaseRecord, **changes: object) -> bool:
    """Return whether cases make a sweep."""
    return bool(built(replace(case, **changes) for case in cases))  # type: ignore[arg-type]


GRID = [one(0.8 + k / 100, model=model, rate=k / 10) for model in ("svc", "tree") for k in range(3)]


@pytest.mark.parametrize(
    ("is_sweep", "cases"),
    [
        (True, GRID),
        (False, GRID[:1]),
        (False, [one({}, k=k) for k in range(3)]),
        (False, [one({"seconds": 1.0}, k=k) for k in range(3)]),
        (False, [one(0.8, alpha=k, expected=0.8 + k) for k in range(3)]),
        (False, [one(0.8 + k, X=f"X{k}", y=f"y{k}", expected=f"expected{k}") for k in range(3)]),
        (False, [one(0.8, dtype=dtype) for dtype in ("float32", "int64")]),
        (False, [one(0.8 + k / 10, region=f"r{k}") for k in range(2)]),
        (False, [one(0.8 + k / 10, region=f"r{k}", depth=k) for k in range(2)]),
        (False, [one(0.8 + k / 100, seed=k) for k in range(5)]),
        (False, [one(float(k % 2), size=k) for k in range(5)]),
        (False, [*GRID, one(0.8, model="What is the capital of France?", rate=1)]),
    ],
    ids=[
        *("grid", "one of it", "no metric", "costs", "expectation", "data", "dtypes"),
        *("regions", "a setting for each region", "seeds", "0 or 1", "one odd case"),
    ],
)
def test_what_is_a_sweep(is_sweep: bool, cases: list[CaseRecord]) -> None:
    assert swept(*cases) is is_sweep
    assert swept(*cases, swept=True)
    assert swept(*cases, objective="accuracy")
    assert not swept(*cases, objective="accuracy", swept=False)


def test_cases_of_a_sweep_are_held_against_the_same_limit() -> None:
    def case(k: int, *checks: tuple[float, float]) -> CaseRecord:
        found = tuple(make_check("accuracy", value, limit) for value, limit in checks)
        return replace(one(0.8 + k / 10, k=k), checks=found)

    assert swept(case(0, (0.8, 0.5)), case(1, (0.9, 0.5)))
    assert swept(case(0, (0.8, 0.9)), case(1, (0.9, 0.9), (0.9, 0.5)))
    assert not swept(case(0, (0.8, 0.7)), case(1, (0.9, 0.8)))


def test_params_that_repeat_are_no_parts_of_the_data() -> None:
    cases = [one(depth + fold / 10, depth=depth, fold=fold) for depth in (2, 3) for fold in (1, 2)]
    (sweep,) = built(cases, CompareOptions(seed_params=frozenset({"fold"})))
    assert (sweep.params, sweep.repeats) == (("depth",), ("fold",))


@pytest.mark.parametrize(
    ("test", "case", "name"),
    [
        # Their values are 0.8 + 0.01, 0.02 and 0.03; that of the median is registered.
        ("test_seeds", None, "test_seeds[2]"),
        (None, "south", "test_regions[south]"),
        ("test_regions", "north", "test_regions[north]"),
    ],
)
def test_a_case_of_no_sweep_can_be_promoted(test: str | None, case: str | None, name: str) -> None:
    records = (
        *(one(0.8 + seed / 100, "test_seeds", seed=seed) for seed in (1, 2, 3)),
        *(one(0.8, "test_regions", region=region) for region in ("north", "south")),
    )
    session = StoredSession(header=make_session().header, cases=records, end=None)
    options = Namespace(test=test, case=case, metric=None, mode=None)
    sweeps = build_sweeps(records, SEED_PARAMS, metric=None, mode=None)
    assert sweeps == ()
    candidate = choose_candidate(session, sweeps, options)
    assert candidate.record.name == name
