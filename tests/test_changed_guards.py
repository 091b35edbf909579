"""What a session is told of its guards: limits, rules, tests, settings, and accepted steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comparisons import make_comparison, make_metric
from comparisons import make_session as make_info
from project import Project
from sessions import baseline, judged, make_case, make_check, make_session

from pytest_mlflow_experiments.baseline.files import slim
from pytest_mlflow_experiments.records import CaseRecord, Check
from pytest_mlflow_experiments.records.accepted import make_step
from pytest_mlflow_experiments.records.case import guard_texts
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.comparison import Comparison, GuardChange
from pytest_mlflow_experiments.regression.guards import own_limit, weakened
from pytest_mlflow_experiments.regression.tolerance import Tolerance
from pytest_mlflow_experiments.regression.values import SessionValues
from pytest_mlflow_experiments.report.github import annotation_lines
from pytest_mlflow_experiments.report.headline import remedies
from pytest_mlflow_experiments.report.html.page import render_html
from pytest_mlflow_experiments.report.json import read_json, render_json
from pytest_mlflow_experiments.report.junit import render_junit
from pytest_mlflow_experiments.report.markdown import render_markdown
from pytest_mlflow_experiments.report.metric_lines import comparison_lines, describe_guard
from pytest_mlflow_experiments.session.comparison_settings import ComparisonSettings

OFFLINE = ("--mlflow", "--mlflow-offline")
STRICT = CompareOptions(strict_guards=True)


def case(limit: float | None = 0.82, name: str = "test_a", **fields: Any) -> CaseRecord:
    checks = () if limit is None else (make_check("accuracy", 0.9, limit),)
    return make_case(name, metrics={"accuracy": 0.9}, **{"checks": checks, **fields})


def session(*cases: CaseRecord, rules: tuple[str, ...] | None = (), **fields: Any) -> SessionValues:
    made = make_session(*cases, **fields)
    made.header = replace(made.header, rules=rules)
    return made


def told(
    now: SessionValues | CaseRecord,
    *past: SessionValues | CaseRecord,
    options: CompareOptions = STRICT,
    **arguments: Any,
) -> Comparison:
    """Compare a session with slim copies, as a baseline has them."""
    sessions = [
        session(slim(one)) if isinstance(one, CaseRecord) else one for one in past or [case()] * 3
    ]
    current = session(now) if isinstance(now, CaseRecord) else now
    return judged(current, baseline(*sessions), options, gated=True, **arguments)


def texts(comparison: Comparison) -> list[str]:
    return [describe_guard(guard) for guard in comparison.guards]


def test_nothing_changed() -> None:
    assert texts(told(case())) == []
    assert texts(judged(session(case()), None, STRICT)) == []


@pytest.mark.parametrize("options", [STRICT, CompareOptions()], ids=["strict", "told"])
def test_lowered_limit(options: CompareOptions) -> None:
    comparison = told(case(0.6), options=options)
    assert texts(comparison) == ["accuracy of test_a: limit ≥ 0.82 → ≥ 0.6"]
    assert comparison.rejected == options.strict_guards
    (row,) = comparison.metrics
    assert row.margin is not None
    assert row.margin.margin == pytest.approx(0.3)
    assert row.margin.baseline_margin == pytest.approx(0.08)  # to the limit of then


@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_limit_that_is_measured_is_no_guard_that_somebody_changes(sessions: int) -> None:
    limits = [0.8123456789012345, 0.8012345678901234, 0.8098765432109876][:sessions]
    past = [case(limit) for limit in limits]
    assert texts(told(case(0.7901234567890123), *past)) == []


def test_limit_that_is_another_one_in_each_session() -> None:
    assert texts(told(case(0.7), case(0.8), case(0.79), case(0.81))) == []


def test_limits_of_repeats_are_those_of_one_case() -> None:
    def repeats(*limits: float) -> SessionValues:
        seeds = [
            case(limit, f"test_a[{n}]", params={"seed": str(n)}, arguments=("seed",))
            for n, limit in enumerate(limits)
        ]
        return session(*seeds)

    past = [repeats(0.5, 0.8), repeats(0.8, 0.5)]
    comparison = told(repeats(0.8, 0.5), *past)
    assert texts(comparison) == []
    (margin,) = [row.margin for row in comparison.metrics]
    assert margin is not None
    assert margin.margin == pytest.approx(margin.baseline_margin)
    assert texts(told(repeats(0.5, 0.5), *past)) == ["accuracy of test_a: limit ≥ 0.8 → ≥ 0.5"]


def test_stricter_or_equal_limits_are_no_news() -> None:
    for limit in (0.82, 0.85):
        assert texts(told(case(limit))) == []


def test_assertion_that_is_gone() -> None:
    assert texts(told(case(None))) == ["accuracy of test_a: without the limit ≥ 0.82"]


def limits(*guards: tuple[Any, ...]) -> str:
    rows = [("m", 0, guard[0], guard[1], guard[2] if guard[2:] else None) for guard in guards]
    return guard_texts(rows)["m"]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (limits(("<", 0.3)), limits(("<", 0.5)), "limit < 0.3 → < 0.5"),
        (limits(("<", 0.3)), limits(("<=", 0.3)), None),
        (limits(("<", 0.3)), limits(("<", 0.2)), None),
        (limits((">", 0.5), ("<", 0.9)), limits((">", 0.5)), "without the limit < 0.9"),
        (limits((">", 0.5), (">", 0.7)), limits((">", 0.7)), None),
        (limits((">", 0.5), (">", 0.7)), limits((">", 0.5)), "limit > 0.7 → > 0.5"),
        (limits((">=", 0.0)), "", None),  # that is so by nature
        (limits(("<=", 1.0), (">", 0.5)), limits((">", 0.5)), None),
        (limits(("==", 0.9, 0.01)), limits(("==", 0.9, 0.3)), "limit ≈ 0.9 ± 0.01 → ≈ 0.9 ± 0.3"),
        (limits(("==", 0.9, 0.01)), limits(("==", 0.9, 0.001)), None),
        (limits(("==", 0.9, 0.01)), limits((">", 0.1)), "without the limit ≈ 0.9 ± 0.01"),
        (limits((">", 0.8)), limits(("==", 0.9, 0.01)), None),
        ("== 0.9", limits((">", 0.1)), None),  # of an older release
        ("", limits((">", 0.1)), None),
    ],
)
def test_limits(before: str, now: str, told: str | None) -> None:
    assert weakened(before, now, before) == told
    assert weakened(before, now, "") == told


def test_own_limit_of_a_check() -> None:
    check = make_check("m", 0.9, 0.6)
    assert own_limit(check, limits((">", 0.7), (">", 0.8), ("<", 1.0))).limit == 0.8
    assert own_limit(check, limits(("<", 0.9))) == check
    approx = replace(check, operator="==", tolerance=0.3)
    assert own_limit(approx, limits(("==", 0.9, 0.01))).tolerance == 0.01


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ({}, {"tolerances": {"accuracy": "-0.05"}}, "tolerance -0.05"),
        (
            {"tolerances": {"accuracy": "0.01"}},
            {"tolerances": {"accuracy": "5%"}},
            "tolerance 5%, was 0.01",
        ),
        ({"tolerances": {"accuracy": "0.05"}}, {"tolerances": {"accuracy": "-0.01"}}, None),
        ({"tolerances": {"accuracy": "0.05"}}, {}, "without the tolerance 0.05"),
        ({}, {"directions": {"accuracy": "min"}}, "direction min"),
        ({"directions": {"accuracy": "min"}}, {}, "without the direction min"),
        # What the name tells already.
        ({}, {"directions": {"acc*": "max"}}, None),
        ({"directions": {"accuracy": "max"}}, {}, None),
        ({}, {"min_effects": {"accuracy": "10%"}}, "smallest effect 10%"),
        ({"min_effects": {"accuracy": "10%"}}, {}, None),
    ],
)
def test_rules_of_the_marker_and_of_the_ini_file(
    before: dict[str, Any], now: dict[str, Any], text: str | None
) -> None:
    expected = [] if text is None else [f"accuracy of test_a: {text}"]
    assert texts(told(case(**now), *[case(**before)] * 2)) == expected

    def rules(said: dict[str, Any]) -> tuple[str, ...]:
        return tuple(f"{name} {k}: {v}" for name, one in said.items() for k, v in one.items())

    comparison = told(session(case(), rules=rules(now)), session(case(), rules=rules(before)))
    (name,) = (before | now).keys()
    expected = [] if text is None else [f"mlflow_{name[:-1]} accuracy: {text}"]
    assert texts(comparison) == expected
    assert comparison.rejected == bool(expected)
    # An older release did not tell of its rules.
    assert texts(told(session(case(**now), rules=rules(now)), session(case(), rules=None))) == []


def test_direction_of_a_cost_makes_it_gate() -> None:
    def timed(**fields: Any) -> CaseRecord:
        return make_case("test_a", metrics={"seconds": 3.0}, **fields)

    said = timed(directions={"seconds": "min"})
    assert texts(told(timed(), said, said)) == ["seconds of test_a: without the direction min"]


@pytest.mark.parametrize("outcome", ["skipped", "xfailed"])
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "not recorded"])
def test_skipped_test_with_a_history_is_missing(outcome: Any, recorded: bool) -> None:
    now = session(*([make_case(outcome=outcome)] if recorded else []))
    comparison = told(now, not_run={"test_it.py::test_a": outcome})
    (row,) = comparison.metrics
    assert (row.status, row.gates, row.reason) == ("missing", True, f"the test was {outcome}")
    assert texts(comparison) == [f"test_a: the test is {outcome}"]
    assert [one.outcome for one in comparison.unjudged] == [outcome]
    assert not any(guard.gates for guard in comparison.guards)  # its metric does


def test_module_that_is_skipped() -> None:
    comparison = told(session(), not_run={"test_it.py": "skipped"})
    assert [row.status for row in comparison.metrics] == ["missing"]


def test_test_that_was_skipped_before_is_no_news() -> None:
    skipped = session(make_case(outcome="skipped"))
    comparison = told(session(make_case(outcome="skipped")), session(case()), skipped, skipped)
    assert comparison.metrics == ()
    assert texts(comparison) == []


def test_tests_that_are_gone_or_not_kept() -> None:
    gone = told(session(), session(case()))
    assert texts(gone) == ["test_a: the test did not run: it is gone, or has another name"]
    untracked = told(session(), session(case()), passed={"test_it.py::test_a"})
    (text,) = texts(untracked)
    assert "track=False" in text


def test_test_that_is_marked_xfail_and_passes() -> None:
    comparison = told(case(outcome="xpassed"))
    assert texts(comparison) == ["test_a: the test is marked xfail now: it may fail"]
    assert comparison.rejected
    assert texts(told(case(outcome="xpassed"), case(outcome="xpassed"))) == []


def test_accepted_step_is_told_and_answers_for_a_change() -> None:
    step = make_step("*::test_a", "accuracy", "too hard", author="Ann <a@b>")
    options = replace(STRICT, accepted=[step])
    assert texts(told(case(), options=options)) == [
        "accuracy of test_a: accepted, too hard, by Ann <a@b>"
    ]
    comparison = told(case(0.6), options=options)
    assert texts(comparison) == ["accuracy of test_a: limit ≥ 0.82 → ≥ 0.6; accepted: too hard"]
    assert not comparison.rejected
    # A step that the baseline had too is for something else.
    past = session(case(), accepted=[step.id])
    assert told(case(0.6), past, past, options=options).rejected


def test_cases_of_one_test_are_one_change() -> None:
    names = ("test_a[1]", "test_a[2]")
    past = session(*(case(name=name) for name in names))
    comparison = told(session(*(case(0.6, name) for name in names)), past, past)
    assert texts(comparison) == ["accuracy of test_a: limit ≥ 0.82 → ≥ 0.6 (in 2 cases)"]
    assert comparison.guards[0].case == "test_it.py::test_a[*"


def test_alternative_need_not_be_evaluated() -> None:
    def either(*checks: Check) -> CaseRecord:
        return case(checks=tuple(replace(check, alternative=True) for check in checks))

    fast, good = make_check("speed", 3.0, 2.0), make_check("accuracy", 0.9, 0.8)
    assert texts(told(either(fast), either(fast, good), either(fast, good))) == []
    assert texts(told(either(fast, good))) == [
        "accuracy of test_a: its assertion may hold without it now"
    ]


def test_other_settings_of_the_session() -> None:
    comparison = told(case(), settings={"mlflow_baseline": "b.jsonl is another one"})
    assert texts(comparison) == ["mlflow_baseline: b.jsonl is another one"]
    assert comparison.rejected
    step = make_step("setting:mlflow_baseline", "*", "new data")
    options = replace(STRICT, accepted=[step])
    settings = {"mlflow_baseline": "b.jsonl is another one"}
    assert not told(case(), options=options, settings=settings).rejected


LOWERED = GuardChange(
    kind="limit",
    case="t.py::test_a",
    metric="accuracy",
    name="fit",
    nodeid="t.py::test_a",
    text="limit ≥ 0.82 → ≥ 0.6",
    gates=True,
)


def test_reports_tell_of_guards_and_of_what_helps() -> None:
    there = make_info(
        "pr-1",
        tracking_uri="https://mlflow.example",
        experiment_name="my models",
    )
    comparison = make_comparison(make_metric(), guards=(LOWERED,), session=there)
    told = "accuracy of fit: limit ≥ 0.82 → ≥ 0.6"
    accept = (
        "pytest-mlflow accept --session 20261123-pr-1 --tracking-uri https://mlflow.example "
        "--experiment 'my models' --reason \"why\""
    )
    lines = [line.text for line in comparison_lines(comparison, [])]
    assert f"  checks changed {told}" in lines
    assert lines[-1] == f"On purpose? Accept it: {accept}"
    assert "❌ Gate failed: 1 check changed that nobody accepted" in render_markdown(comparison)
    for text in (render_markdown(comparison), render_html(comparison), render_junit(comparison)):
        assert told in text
    assert render_markdown(comparison).endswith(f"```text\n{accept}\n```\n")
    assert read_json(render_json(comparison)) == comparison
    assert annotation_lines(comparison, Path("none")) == [
        f"::error file=t.py,title=Check changed::{told}"
    ]
    # Without a gate, or where it was accepted, nothing fails.
    free = replace(comparison, gated=False)
    assert remedies(free) == []
    accepted = replace(comparison, guards=(replace(LOWERED, gates=False, accepted="why"),))
    assert (remedies(accepted), annotation_lines(accepted, Path("none"))) == ([], [])
    assert "1 check changed" in render_markdown(accepted)
    broken = replace(comparison, problem="no answer")
    assert [what for what, _ in remedies(broken)] == ["Run it again"]


def test_settings_of_a_merged_session(tmp_path: Path) -> None:
    settings = ComparisonSettings(
        baseline="auto",
        options=STRICT,
        rerun=0,
        rerun_time=None,
        gate=True,
        require_baseline=False,
        reports=(),
    )
    assert settings.for_shard("ci-1", tmp_path).strict_guards
    rules = replace(
        settings, options=CompareOptions(ini_tolerances=[("rmse", Tolerance.parse("2%"))])
    )
    assert rules.rules() == ("tolerances rmse: 2%",)


SUITE = """
    import pytest

    {marker}
    def test_model():
        accuracy = 0.9
        assert accuracy >= {limit}
"""


@pytest.fixture
def guarded(make_project: Callable[[str], Project]) -> Project:
    project = make_project("guarded")
    project.write(SUITE.format(marker="", limit=0.82))
    for _ in range(3):
        project.pytest(*OFFLINE)
    return project


@pytest.mark.real
def test_life_of_a_limit(guarded: Project) -> None:
    guarded.write(SUITE.format(marker="", limit=0.6))
    gate = (*OFFLINE, "--mlflow-gate")
    result = guarded.pytest(*gate)
    assert "checks changed accuracy of test_model: limit ≥ 0.82 → ≥ 0.6" in result.stdout
    assert "Gate passed: nothing got worse" in result.stdout
    for directory in [one.directory for one in guarded.sessions()[3:]]:
        directory.remove()
    result = guarded.pytest(*gate, "--mlflow-strict-guards", status=1)
    assert "Gate failed: 1 check changed that nobody accepted" in result.stdout
    assert "FAILED test_it.py::test_model - accuracy of test_model: limit" in result.stdout
    assert 'pytest-mlflow accept --reason "why"' in result.stdout
    report = guarded.cli("report").stdout
    assert "**Checks changed** since the baseline:" in report
    assert report.rstrip().endswith('pytest-mlflow accept --reason "why"\n```')
    assert "accuracy of test_it.py::test_model" in guarded.cli("accept", "--reason=why").stdout
    guarded.pytest(*gate, "--mlflow-strict-guards")
    guarded.pytest(*gate, "--mlflow-strict-guards")


@pytest.mark.real
@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("@pytest.mark.skip", "test_model: the test is skipped"),
        ("@pytest.mark.xfail(run=False)", "test_model: the test is xfailed"),
        ("@pytest.mark.mlflow(track=False)", "track=False"),
    ],
)
def test_test_that_is_taken_out_fails_the_gate(guarded: Project, marker: str, text: str) -> None:
    guarded.write(SUITE.format(marker=marker, limit=0.82))
    result = guarded.pytest(*OFFLINE, "--mlflow-gate", status=1)
    assert "Gate failed: 1 metric missing" in result.stdout
    assert text in result.stdout
    guarded.cli("accept", "--reason=obsolete")
    assert "Gate passed" in guarded.pytest(*OFFLINE, "--mlflow-gate").stdout


@pytest.mark.real
def test_ini_file_and_baseline_file(guarded: Project) -> None:
    for command in (
        ("git", "init", "-q", "-b", "main"),
        ("git", "config", "user.name", "Ann"),
        ("git", "config", "user.email", "ann@example.org"),
    ):
        guarded.run(*command)
    guarded.cli("baseline", "export", "b.jsonl")
    guarded.run("git", "add", "b.jsonl")
    guarded.run("git", "commit", "-q", "-m", "baseline")
    gate = (*OFFLINE, "--mlflow-gate", "--mlflow-strict-guards", "--mlflow-baseline=file:b.jsonl")
    guarded.pytest(*gate)
    guarded.run("git", "checkout", "-q", "-b", "change")
    guarded.pytest(*gate)
    guarded.cli("baseline", "export", "b.jsonl")
    guarded.run("git", "commit", "-q", "-a", "-m", "another baseline")
    guarded.write("[pytest]\nmlflow_tolerance = accuracy: 0.5\n", "pytest.ini")
    result = guarded.pytest(*gate, status=1)
    assert "mlflow_baseline: b.jsonl is another one than on main" in result.stdout
    assert "mlflow_tolerance accuracy: tolerance 0.5" in result.stdout
    assert "--mlflow-baseline=file:b.jsonl --mlflow-strict-guards" in result.stdout
    guarded.cli("accept", "--reason=on purpose")
    file = guarded.path / "mlflow-accepted.jsonl"
    text = file.read_text(encoding="utf-8")
    assert text.count('"author": "Ann <ann@example.org>"') == 2
    guarded.pytest(*gate)
    # Whoever changes a line that was accepted is seen.
    guarded.run("git", "add", file.name)
    guarded.run("git", "commit", "-q", "-m", "accepted")
    guarded.run("git", "branch", "-f", "main")
    file.write_text(text.replace("on purpose", "on porpoise"), encoding="utf-8")
    result = guarded.pytest(*gate, status=1)
    assert "mlflow_accepted: 2 lines of mlflow-accepted.jsonl changed" in result.stdout
