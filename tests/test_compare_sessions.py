"""The one way from a session's entries and a baseline to the comparison."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sessions import baseline, make_case, make_session, past_of

from pytest_mlflow_experiments.records import CaseRecord, SessionEnd
from pytest_mlflow_experiments.records.accepted import AcceptedStep
from pytest_mlflow_experiments.records.journal import Entry
from pytest_mlflow_experiments.regression import session_rule, statistics
from pytest_mlflow_experiments.regression.compare import compare_sessions, gate_problem
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.comparison import Comparison
from pytest_mlflow_experiments.regression.sweeps.build import SweepBuilder
from pytest_mlflow_experiments.regression.tolerance import Tolerance
from pytest_mlflow_experiments.regression.values import Sessions, SessionValues, collect_session
from pytest_mlflow_experiments.report.headline import headline

OPTIONS = CompareOptions()
STEP = AcceptedStep(id="0" * 12, case="*", metric="*", reason="why", time="2025-01-31T12:00:00Z")


def case(value: float = 0.9, **fields: Any) -> CaseRecord:
    return make_case(metrics={"accuracy": value}, **fields)


def entries(session: SessionValues, *cases: CaseRecord) -> list[Entry]:
    assert session.end is not None
    return [session.header, *cases, session.end]


def compared(
    entries: Iterable[Entry],
    past: Sessions | None,
    options: CompareOptions = OPTIONS,
    end: SessionEnd | None = None,
) -> Comparison:
    current = collect_session(entries, options.seed_params)
    current.end = end or current.end
    return compare_sessions(current, past, options)


def test_a_session_is_compared_with_the_others() -> None:
    old, own = make_session(case(0.5)), make_session(case(0.9))
    comparison = compared(entries(own, case(0.9)), baseline(old, own))
    assert comparison.baseline is not None
    assert [one.session_id for one in comparison.baseline.sessions] == [old.header.session_id]
    assert [metric.history for metric in comparison.metrics] == [(0.5,)]
    assert compared(entries(own, case()), baseline(own)).baseline is None
    assert compared(entries(own, case()), None).baseline is None


@pytest.mark.parametrize(("accepted", "history"), [((), (0.9,)), ((STEP.id,), ())])
def test_steps_count_that_the_session_ran_with(
    accepted: tuple[str, ...], history: tuple[float, ...]
) -> None:
    session = make_session(accepted=accepted)
    options = replace(OPTIONS, accepted=[STEP])
    (metric,) = compared(entries(session, case()), past_of([0.9]), options).metrics
    assert metric.history == history


def test_how_the_session_ended_decides_what_is_missing() -> None:
    session, past = make_session(), past_of([0.9])
    journal, end = entries(session), session.end
    assert end is not None
    (metric,) = compared(journal, past).metrics
    assert metric.status == "missing"
    for left in (replace(end, partial="picked with -k"), replace(end, interrupted="Ctrl-C")):
        comparison = compared(journal[:-1], past, end=left)
        assert comparison.metrics == ()
        assert comparison.partial == (left.interrupted or left.partial)
    late = SessionEnd(end_time=session.header.start_time + 5_000, exit_status=0, tests=0)
    assert compared(journal, past, end=late).duration == 5.0


def test_sweeps_are_made_of_the_same_entries() -> None:
    sweeps = SweepBuilder(OPTIONS)
    session = make_session()
    cases = [
        case(
            value, nodeid=f"test_it.py::test_a[{value}]", params={"C": f"{value}"}, arguments=("C",)
        )
        for value in (0.1, 0.2)
    ]
    compared(sweeps.watch(entries(session, *cases)), None)
    assert [sweep.cases for sweep in sweeps.build()] == [2]


def test_a_gate_without_a_baseline() -> None:
    assert gate_problem([], None) is None
    problem = gate_problem([], "--require-baseline")
    assert problem == "there is no baseline yet, and --require-baseline asks for one"
    damaged = gate_problem(["a session is passed over"], "--require-baseline")
    assert damaged == "there is no baseline that can be read; a session is passed over"


def unused(
    options: CompareOptions, *cases: CaseRecord, gated: bool = True, **others: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the notes and the mistakes of a session with other metrics than the options name."""
    own = make_session(*cases, accepted=(STEP.id,))
    current = collect_session(entries(own, *cases), options.seed_params)
    found = compare_sessions(
        current, baseline(make_session(case())), options, gated=gated, **{"whole": True, **others}
    )
    assert found.rejected == bool(found.mistakes)
    return found.notes, found.mistakes


AMOUNT = Tolerance(0.1, relative=False)
MISTYPED = "The tolerance for 'acuracy' is for no metric of this session; did you mean 'accuracy'?"


@pytest.mark.parametrize(
    ("options", "cases", "text"),
    [
        ({"tolerances": [("acuracy", AMOUNT)]}, [case()], MISTYPED),
        ({"ini_tolerances": [("acuracy", AMOUNT)]}, [case()], MISTYPED),
        (
            {"directions": [("los*", "min")]},
            [case()],
            "The direction of 'los*' is for no metric of this session",
        ),
        (
            {"min_effects": [("f1", AMOUNT)]},
            [case()],
            "The smallest effect for 'f1' is for no metric of this session",
        ),
        (
            {},
            [case(directions={"acc": "max"})],
            "The direction of 'acc' is for no metric of this session",
        ),
        (
            {"accepted": [replace(STEP, metric="f1")]},
            [case()],
            "The accepted change 000000000000 (*, f1) is for no metric of this session: correct "
            "its line in mlflow-accepted.jsonl, or remove it",
        ),
    ],
)
def test_settings_that_match_nothing(
    options: dict[str, Any], cases: list[CaseRecord], text: str
) -> None:
    told = replace(OPTIONS, **options)
    notes, mistakes = unused(told, *cases)
    assert mistakes == (text,)
    assert text in notes
    notes, mistakes = unused(told, *cases, gated=False)
    assert mistakes == ()
    assert text in notes
    # Tests that were not run may have it.
    notes, mistakes = unused(told, *cases, not_run={"test_other.py": "skipped"})
    assert text in notes
    assert mistakes == ()


@pytest.mark.parametrize(
    "options",
    [
        {"tolerances": [("acc*", AMOUNT)]},
        {"ini_tolerances": [("accuracy", AMOUNT)]},
        {"directions": [("*acy", "min")]},
        {"accepted": [replace(STEP, metric="acc*")]},
    ],
)
def test_settings_that_match(options: dict[str, Any]) -> None:
    assert unused(replace(OPTIONS, **options), case()) == ((), ())


def test_settings_for_other_tests_than_those_asked_for() -> None:
    others = replace(OPTIONS, ini_tolerances=[("f1", AMOUNT)], directions=[("f1", "max")])
    assert unused(others, case(), whole=False) == ((), ())


def test_branch_that_lacks_an_improvement() -> None:
    past = baseline(*(make_session(case(0.9)) for _ in range(6)))
    new = [make_session(case(value)) for value in (0.9, 0.95, 0.951)]
    for session, letter in zip(new, "abc", strict=True):
        tags = {"mlflow.source.git.commit": letter * 40}
        session.header = replace(session.header, tags=tags)
    assert past is not None
    assert past.provenance is not None
    past.provenance = replace(past.provenance, ahead=("x",), lacks="3 commits of main")
    past.ahead = new
    text = "this branch lacks 3 commits of main; main improved at bbbbbbb"
    for value, status, told in ((0.9, "unchanged", True), (0.95, "improved", False)):
        comparison = compared(entries(make_session(), case(value)), past)
        (metric,) = (one for one in comparison.metrics if one.metric == "accuracy")
        assert metric.status == status
        assert metric.reason.endswith(text) == told
        assert (f"T{text[1:]}: accuracy" in comparison.notes) == told
        assert len(metric.history) == 6


def many(number: int, value: float = 0.9) -> list[CaseRecord]:
    """Return a case each of so many tests."""
    return [case(value, name=f"test_{name}") for name in "abcdefgh"[:number]]


def accepting(*patterns: tuple[str, str], cases: int = 5, **others: Any) -> Comparison:
    """Compare a session that got much worse with its history, with steps for the patterns."""
    steps = [
        replace(STEP, id=f"{number:012x}", case=name, metric=metric)
        for number, (name, metric) in enumerate(patterns)
    ]
    worse = many(cases, 0.1)
    own = make_session(*worse, accepted=tuple(step.id for step in steps))
    past = [make_session(*many(cases)) for _ in range(5)]
    return compare_sessions(
        collect_session(entries(own, *worse), OPTIONS.seed_params),
        baseline(*past),
        replace(OPTIONS, accepted=steps),
        gated=True,
        **{"whole": True, **others},
    )


@pytest.mark.parametrize(
    ("patterns", "whole"),
    [
        ([("*", "*")], False),
        ([("**", "?*")], True),
        ([("test_*", "*")], True),
        ([("*", "accuracy")], False),
        ([("*", "*cc*")], False),
        ([("test_it.py::*", "accuracy")], True),
        ([("*test_[abc]*", "*"), ("test_it*", "accuracy")], True),
        ([("*_a", "*"), ("*", "acc*")], False),
    ],
)
def test_gate_cannot_be_switched_off_by_an_accepted_step(
    patterns: list[tuple[str, str]], whole: bool
) -> None:
    found = accepting(*patterns, whole=whole)
    assert found.rejected
    assert {metric.status for metric in found.metrics} == {"regressed"}
    assert any("accepts everything: there would be no gate" in text for text in found.mistakes)
    assert set(found.mistakes) <= set(found.notes)
    assert re.search("accepts? everything", headline(found).text)
    ungated = replace(found, gated=False, mistakes=())
    assert any("accepts everything" in note for note in ungated.notes)


@pytest.mark.parametrize(
    ("patterns", "whole"),
    [
        ([("test_it.py::test_a", "*")], True),
        ([("test_it.py::*", "accuracy")], False),
        ([("test_it.py::test_a", "*"), ("test_it.py::test_b", "accuracy")], True),
    ],
)
def test_accepted_step_for_some_is_none_for_all(
    patterns: list[tuple[str, str]], whole: bool
) -> None:
    found = accepting(*patterns, whole=whole)
    assert found.mistakes == ()
    assert "accepted" in headline(found).text


def test_few_metrics_may_all_be_accepted() -> None:
    found = accepting(("test_it.py::*", "accuracy"), cases=2)
    assert found.mistakes == ()
    assert headline(found).text.startswith("Gate passed: 2 metrics are accepted")


@pytest.mark.parametrize(
    ("past", "why"),
    [
        ([case(0.9, outcome="failed")], "no case of it passed with a metric"),
        ([make_case()], "no case of it passed with a metric"),
        ([case(0.9, name="test_z")], "it has no metric of the cases that ran"),
        ([case(0.9)], None),
    ],
)
def test_required_baseline_has_something_to_judge_by(
    past: list[CaseRecord], why: str | None
) -> None:
    own = make_session(case(0.9))
    found = compare_sessions(
        collect_session(entries(own, case(0.9)), OPTIONS.seed_params),
        baseline(make_session(*past)),
        OPTIONS,
        gated=True,
        required_by="--mlflow-require-baseline",
    )
    if why is None:
        assert found.problem is None
    else:
        assert found.problem == (
            "there is nothing to judge by in the baseline, "
            "and --mlflow-require-baseline asks for one: " + why
        )
        assert found.rejected


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        compared(entries(make_session(), case()), past_of([0.9]))
        assert gc.isenabled() is enabled
        with pytest.raises(AttributeError):
            compare_sessions(make_session(case()), past_of([0.9]), None)  # type: ignore[arg-type]
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_means_of_repeats_are_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    original = statistics.finite_mean

    def finite_mean(values: Sequence[float]) -> float:
        taken.append(len(values))
        return original(values)

    monkeypatch.setattr(session_rule, "finite_mean", finite_mean)
    seeds, sessions = 50, 4

    def repeats(day: int) -> SessionValues:
        return make_session(
            *(
                make_case(
                    f"test_a[{seed}]",
                    params={"seed": str(seed)},
                    arguments=("seed",),
                    metrics={"accuracy": 0.8 + (seed * 37 + day * 11) % 50 / 1_000},
                )
                for seed in range(seeds)
            )
        )

    past = baseline(*map(repeats, range(sessions)))
    (metric,) = compare_sessions(repeats(sessions), past, OPTIONS).metrics
    assert len(metric.values) == seeds
    # One of each session, one of each seed, and one of all.
    assert taken.count(seeds) == sessions + 1
    assert len(taken) == sessions + 1 + 1 + seeds
