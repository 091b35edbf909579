from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from comparisons import make_comparison, make_metric
from sweep_values import sixty, twelve
from swept import many, ordinary

from pytest_mlflow_experiments.records import CaseRecord, Check, Metric, Operator, Outcome
from pytest_mlflow_experiments.records.directory import SessionState
from pytest_mlflow_experiments.regression import Status
from pytest_mlflow_experiments.regression.comparison import (
    Comparison,
    GuardChange,
    MetricComparison,
)
from pytest_mlflow_experiments.report.headline import GATE_FAILED
from pytest_mlflow_experiments.report.metric_lines import (
    change_lines,
    describe_metric,
    verdict_lines,
)
from pytest_mlflow_experiments.report.summary import SessionSummary
from pytest_mlflow_experiments.report.terminal import (
    SessionOutcome,
    describe_check,
    describe_outcome,
    quiet_line,
    quiet_lines,
    section,
    ui_command,
)
from pytest_mlflow_experiments.report.text import TerminalLine


def make_check(
    value: float, limit: float, operator: Operator = ">=", tolerance: float | None = None
) -> Check:
    return Check(
        metric="accuracy",
        step=0,
        operator=operator,
        value=value,
        limit=limit,
        tolerance=tolerance,
        passed=True,
        line=1,
    )


def make_summary(*outcomes: Outcome) -> SessionSummary:
    summary = SessionSummary()
    for number, outcome in enumerate(outcomes):
        check = make_check(1 + number / 4, 1)
        summary.add(
            CaseRecord(
                id="0" * 32,
                nodeid=f"t.py::test_{number}",
                case=f"t.py::test_{number}",
                name=f"test_{number}",
                outcome=outcome,
                start_time=0,
                end_time=1,
                durations={},
                metrics=(Metric(key="accuracy", value=check.value, step=0, timestamp=0),),
                checks=(check,),
            )
        )
    return summary


def texts(summary: SessionSummary, outcome: SessionOutcome, *, verbose: bool = False) -> list[str]:
    return [line.text for line in section(summary, outcome, verbose=verbose)]


def without_margins(summary: SessionSummary, outcome: SessionOutcome) -> list[str]:
    return [text for text in texts(summary, outcome) if not text.startswith("  ")]


PLACE = ("mlflow ui --backend-store-uri sqlite:///m.db", "http://127.0.0.1:5000/#/experiments/1")
OUTCOME = SessionOutcome(tests=5, experiment="project", place=PLACE)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (make_check(0.94, 0.9), "accuracy 0.94 >= 0.9"),
        (make_check(1e-9, 1, "<"), "accuracy 1e-09 < 1"),
        (make_check(1 / 3, 0.25, ">"), "accuracy 0.333333 > 0.25"),
        (make_check(0.94, 0.9, "==", 0.05), "accuracy 0.94 == 0.9 ± 0.05"),
        (make_check(float("nan"), 0.9), "accuracy nan >= 0.9"),
    ],
)
def test_describe(check: Check, text: str) -> None:
    assert describe_check(check) == text


def test_section_of_a_good_session() -> None:
    assert without_margins(make_summary("passed", "passed"), OUTCOME) == [
        "2 tests recorded, 2 values",
        *PLACE,
    ]
    first = texts(make_summary("passed", "passed"), OUTCOME, verbose=True)[0]
    assert first == "2 tests recorded, 2 values, in experiment 'project'"


def test_section_counts_one_in_the_singular() -> None:
    outcome = SessionOutcome(tests=1, experiment=None)
    assert without_margins(make_summary("passed"), outcome) == ["1 test recorded, 1 value"]


def test_section_names_other_outcomes_than_passed() -> None:
    first, *_ = texts(make_summary("passed", "failed", "skipped", "failed"), OUTCOME)
    assert first.endswith("(2 failed, 1 skipped)")


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (["t.py::test_schema"], " (1 without metrics: test_schema)"),
        (["t.py::A::test_a[1]", "t.py::test_b"], " (2 without metrics: test_a[1], test_b)"),
        (
            [f"t.py::test_{n}" for n in range(2_000)],
            " (2,000 without metrics: test_0, test_1, test_2 and 1,997 more)",
        ),
        ([], ""),
    ],
)
def test_section_names_what_is_not_recorded(left: list[str], told: str) -> None:
    outcome = SessionOutcome(tests=9_999, experiment=None, left_out=tuple(left))
    assert without_margins(make_summary("passed"), outcome) == [f"1 test recorded, 1 value{told}"]
    first, *_ = texts(make_summary("passed", "failed"), outcome)
    assert first == f"2 tests recorded, 2 values (1 failed{told.replace(' (', ', ')}" + (
        "" if told else ")"
    )


@pytest.mark.parametrize(
    ("outcomes", "colour"),
    [
        (["passed", "skipped", "xfailed"], "green"),
        (["passed", "failed"], "red"),
        (["error"], "red"),
        ([], "yellow"),
    ],
)
def test_colour_of_the_first_line(outcomes: list[Outcome], colour: str) -> None:
    line, *_ = section(make_summary(*outcomes), OUTCOME)
    assert line.markup == {colour: True}


def test_section_without_a_case_tells_how_to_get_one() -> None:
    first, second = texts(make_summary(), OUTCOME)
    assert first == "0 of 5 tests recorded"
    assert "--mlflow-track=all" in second


def test_section_without_a_test() -> None:
    assert texts(
        make_summary(), SessionOutcome(tests=0, experiment="project", place=("here",))
    ) == ["0 tests recorded"]


def sweeps_of(comparison: Comparison, *, verbose: bool = True) -> list[str]:
    outcome = SessionOutcome(tests=1, experiment=None)
    lines = section(make_summary("passed"), outcome, comparison, verbose=verbose)
    texts = [line.text for line in lines]
    first = next(number for number, text in enumerate(texts) if "sweep" in text)
    last = next(number for number, text in enumerate(texts) if text.startswith("Compared with"))
    return texts[first:last]


def test_section_tells_of_each_sweep_in_two_lines() -> None:
    sweep = twelve()
    lines = sweeps_of(make_comparison(sweeps=(sweep, sixty())))
    times = "\N{MULTIPLICATION SIGN}"
    assert lines[0].startswith(f"  sweeps           test_digits: 12 points {times} 5 seeds")
    params = sweep.configurations[0].params
    best = f"best C = {params['C']}, kernel = {params['kernel']}: accuracy 0.9"
    assert lines[1].startswith(f"                     {best}")
    assert lines[1].endswith(
        "(n = 5), no clear winner: 1 of 11 other points can't be told from the best"
    )
    assert "60 points" in lines[2]
    assert "; 4 of 180 cases did not pass" in lines[2]


def test_section_tells_of_five_sweeps_and_counts_the_others() -> None:
    lines = sweeps_of(many())
    assert len(lines) == 11
    assert lines[-1].strip() == "… and 36 more sweeps: see the report"
    lines = sweeps_of(many(), verbose=False)
    assert len(lines) == 2
    assert lines[-1].endswith("; and 40 more sweeps, see the report")


def test_section_passes_over_sweeps_without_a_choice_or_a_mode() -> None:
    lines = sweeps_of(ordinary())
    assert [line for line in lines if not line.startswith("         ")] == lines[:1]
    assert len(lines) == 2 * 5
    assert lines[-1].strip().startswith("No point is called the best")


def test_verdicts_tell_of_drift_after_what_regressed_and_of_levels() -> None:
    regressed = make_metric(
        "regressed", p_value=0.0004, n=3, level_since="main@b", below_since="main@d"
    )
    rows = (make_metric("accepted"), make_metric("drifting"), make_metric("improved"), regressed)
    lines = list(change_lines(make_comparison(*rows), verbose=True))
    heads = [line.text.split()[0] for line in lines[::2]]
    assert heads == ["regressed", "drifting", "accepted", "improved"]
    last = list(verdict_lines(make_comparison(*rows), verbose=True))
    assert [line.text for line in last[-3:]] == [
        f"What it may be: {GATE_FAILED}",
        "Run it again: pytest --lf --mlflow --mlflow-gate --mlflow-baseline=branch:main",
        'On purpose? Accept it: pytest-mlflow accept --reason "why"',
    ]
    told = "worse below 0.9187, 3 sessions, p = 0.0004, level since main@b, worse since main@d"
    assert lines[1].text.strip() == told
    assert lines[3].text.strip() == "the metric is drifting"
    assert lines[2].markup == {"yellow": True}
    assert describe_metric(rows[1]).endswith("5 sessions; the metric is drifting")
    assert "level since" not in describe_metric(make_metric("regressed", level_since="main@a"))


def test_section_shows_notes_before_the_place() -> None:
    outcome = SessionOutcome(tests=1, experiment=None, place=("here",), notes=("one", "two"))
    assert without_margins(make_summary("passed"), outcome)[1:] == ["one", "two", "here"]


def test_problem_and_remedy_stand_instead_of_the_place() -> None:
    outcome = SessionOutcome(
        tests=1, experiment=None, place=("here",), problem="no answer", remedy="sync it"
    )
    lines = list(section(make_summary("passed"), outcome))[-2:]
    assert [line.text for line in lines] == ["no answer", "sync it"]
    assert all(line.markup["red"] for line in lines)
    assert "here" not in texts(make_summary("passed"), outcome)


def test_problem_without_a_remedy() -> None:
    outcome = SessionOutcome(tests=1, experiment=None, problem="no answer")
    assert without_margins(make_summary("passed"), outcome)[1:] == ["no answer"]
    assert quiet_line(make_summary("passed"), outcome).text == "mlflow: no answer"


def test_margins_are_shown_where_there_is_room() -> None:
    outcomes: list[Outcome] = ["passed"] * 5
    lines = texts(make_summary(*outcomes), OUTCOME, verbose=True)
    assert not any("widest" in line for line in texts(make_summary(*outcomes), OUTCOME))
    assert lines[1:6] == [
        "  tightest margins accuracy 1 >= 1        +0.0 %  test_0",
        "                   accuracy 1.25 >= 1    +25.0 %  test_1",
        "                   accuracy 1.5 >= 1     +50.0 %  test_2",
        "  widest margins   accuracy 2 >= 1      +100.0 %  test_4",
        "                   accuracy 1.75 >= 1    +75.0 %  test_3",
    ]


def test_one_line() -> None:
    line = quiet_line(make_summary("passed", "failed"), OUTCOME)
    assert line.text == (
        "mlflow: 2 tests recorded, 2 values (1 failed); "
        "mlflow ui --backend-store-uri sqlite:///m.db"
    )


def test_one_line_without_a_case_has_no_place() -> None:
    assert quiet_line(make_summary(), OUTCOME).text == "mlflow: 0 of 5 tests recorded"


def test_one_line_of_a_problem_is_red() -> None:
    outcome = SessionOutcome(tests=1, experiment=None, problem="no answer", remedy="sync it")
    line = quiet_line(make_summary("passed"), outcome)
    assert (line.text, line.markup) == ("mlflow: no answer; sync it", {"red": True})


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        (
            "http://host:5000/",
            ("http://host:5000/#/experiments/7?workflowType=machine_learning",),
        ),
        (
            "sqlite:////a/mlflow.db",
            (
                ui_command("sqlite:////a/mlflow.db"),
                "http://127.0.0.1:5000/#/experiments/7?workflowType=machine_learning",
            ),
        ),
        ("databricks://profile", ("run abc on databricks://profile",)),
    ],
)
def test_the_end_tells_where_the_runs_are(uri: str, place: tuple[str, ...]) -> None:
    state = SessionState(
        phase="done", experiment_id="7", experiment_name="found", run_id="abc", notes=("two",)
    )
    outcome = describe_outcome(
        state, tests=3, tracking_uri=uri, experiment="asked", directory="here", notes=["one"]
    )
    assert outcome == SessionOutcome(tests=3, experiment="found", place=place, notes=("one", "two"))


@pytest.mark.skipif(os.name == "nt", reason="its shells quote in another way")
@pytest.mark.parametrize(
    ("beside", "on_path", "command"),
    [
        ("scripts", "scripts", "mlflow"),
        ("scripts", "other", "HERE/scripts/mlflow"),
        ("scripts", "nowhere", "HERE/scripts/mlflow"),
        ("my scripts", "nowhere", "'HERE/my scripts/mlflow'"),
        ("nowhere", "other", "mlflow"),
        ("nowhere", "nowhere", "mlflow"),
    ],
)
def test_the_command_for_mlflows_pages_works_as_printed(
    beside: str, on_path: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("scripts", "my scripts", "other", "nowhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "python").touch()
        if name != "nowhere":
            (tmp_path / name / "mlflow").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / beside / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / on_path))
    shown = ui_command("sqlite:////a b/mlflow.db")
    assert shown == (
        f"{command.replace('HERE', str(tmp_path))} ui --backend-store-uri "
        "'sqlite:////a b/mlflow.db'"
    )
    words = shlex.split(shown)
    assert words[1:] == ["ui", "--backend-store-uri", "sqlite:////a b/mlflow.db"]


@pytest.mark.parametrize("state", [None, SessionState(phase="failed", error="no server")])
def test_the_end_tells_what_to_do_with_a_session_that_was_not_sent(
    state: SessionState | None,
) -> None:
    outcome = describe_outcome(
        state, tests=3, tracking_uri="http://host", experiment="asked", directory="here", notes=[]
    )
    remedy = "Kept on this machine; send it to MLflow with: pytest-mlflow sync here"
    if state is None:
        assert (outcome.place, outcome.problem) == ((remedy,), None)
    else:
        assert outcome.problem == "Not everything is in MLflow: no server"
        assert outcome.remedy == remedy


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  plain ± 1 → 2", "  plain ± 1 → 2"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07", "red \\x1b]0;title\\x07"),
        ("one\ntwo\r\nthree", "one two three"),
        ("::error file=x::text", ": :error file=x::text"),
        ("  ::set-env::x", "  : :set-env::x"),
        ("test_it.py::test_it", "test_it.py::test_it"),
        ("##[error]x", "# #[error]x"),
    ],
)
def test_no_text_controls_the_terminal_or_commands_a_runner(text: str, shown: str) -> None:
    assert TerminalLine(text).text == shown


def last_lines(comparison: Comparison, *, verbose: bool = False) -> list[str]:
    return [line.text for line in verdict_lines(comparison, verbose=verbose)]


def rows(*statuses: Status, informational: int = 0) -> tuple[MetricComparison, ...]:
    costs = [make_metric("unchanged", advisory=True, cost=True, metric="s")] * informational
    return (*map(make_metric, statuses), *costs)


MANY: tuple[Status, ...] = ("unchanged",) * 13


@pytest.mark.parametrize(
    ("comparison", "told"),
    [
        (
            make_comparison(*rows("regressed", *MANY, informational=25)),
            "Gate failed: 1 metric regressed, 13 unchanged (+25 informational)",
        ),
        (
            make_comparison(*rows("regressed", *MANY, informational=25), gated=False),
            "1 metric regressed, 13 unchanged (+25 informational)",
        ),
        (
            make_comparison(*rows("regressed", "missing", "improved", "new", *MANY)),
            "Gate failed: 1 metric regressed, 1 missing, 1 improved, 13 unchanged, 1 new",
        ),
        (
            make_comparison(*rows(*MANY, "improved", "new", informational=2_000)),
            "Gate passed: nothing got worse, 1 undecided, 1 improved, 13 unchanged "
            "(+2,000 informational)",
        ),
        (
            make_comparison(*rows("new", "inconclusive", informational=3), gated=False),
            "No metric could be judged yet, 1 inconclusive, 1 new (+3 informational)",
        ),
        (
            make_comparison(baseline=None),
            "Gate passed (first run); the next runs compare with this one",
        ),
        (
            make_comparison(baseline=None, gated=False),
            "First run; the next runs compare with this one",
        ),
        (
            make_comparison(baseline=None, gated=False, exit_status=1),
            "No baseline yet; the exit status is 1 for another reason",
        ),
        (
            make_comparison(baseline=None, partial="-k"),
            "Gate passed: no baseline yet: no complete session that passed is known",
        ),
    ],
)
def test_the_verdict_in_one_line(comparison: Comparison, told: str) -> None:
    lines = last_lines(comparison)
    helps = 3 if told.startswith("Gate failed") else 0
    assert lines[len(lines) - helps - 1] == told


def test_a_partial_run() -> None:
    for why in ("-x", "it is -x"):
        lines = last_lines(make_comparison(*rows(*MANY), partial=why))
        assert lines[0] == "Partial run (-x): judged what ran; not used as a baseline"
    assert lines[1:] == [
        "Compared with the last 5 passing sessions on main (branch:main); "
        "the newest is nightly-1 (main at 6241602), 1 day earlier",
        "Gate passed: nothing got worse, 13 unchanged",
    ]


def test_at_most_ten_lines_and_the_verdict_last() -> None:
    comparison = make_comparison(
        *rows("regressed", "improved", *MANY, informational=30), sweeps=(twelve(), sixty())
    )
    outcomes: list[Outcome] = ["passed"] * 5
    outcome = SessionOutcome(tests=17, experiment="e", place=PLACE, left_out=("t.py::test_x",))
    reports = ("report.html", "report.md", "mine.xml")
    for one, helps in (
        (make_comparison(*rows(*MANY, informational=30), sweeps=(twelve(), sixty())), 0),
        (
            make_comparison(
                *[make_metric("inconclusive")] * 31,
                make_metric("regressed", advisory=True, cost=True, gates=False, metric="s"),
                sweeps=(twelve(), sixty()),
            ),
            0,
        ),
        (make_comparison(*rows("improved", *MANY, informational=3)), 0),
        (make_comparison(baseline=None, sweeps=(twelve(),)), 0),
        (make_comparison(*rows("regressed", *MANY)), 3),
    ):
        lines = [line.text for line in section(make_summary(*outcomes), outcome, one, reports)]
        assert len(lines) <= 10 + helps
        assert lines[-1 - helps].startswith("Gate ")
        assert sum("report.html" in line for line in lines) == 1
        assert not any("report.md" in line or "mine.xml" in line for line in lines)
    few = [line.text for line in section(make_summary(*outcomes), outcome, comparison, reports)]
    all_lines = section(make_summary(*outcomes), outcome, comparison, reports, verbose=True)
    more = [line.text for line in all_lines]
    assert {"        mine.xml", "from experiment 'models' at http://mlflow.example:5000"} <= {*more}
    assert len(more) > len(few)


@pytest.mark.parametrize("verbose", [False, True])
def test_what_is_lost_or_failed_is_told_at_every_verbosity(verbose: bool) -> None:
    outcome = SessionOutcome(
        tests=1, experiment=None, notes=("note",), losses=("loss",), problem="why", remedy="do"
    )
    lost: tuple[Status, ...] = ("missing", *("regressed",) * 3)
    comparison = make_comparison(*map(make_metric, lost), notes=("told",))
    lines = [*section(make_summary("failed"), outcome, comparison, verbose=verbose)]
    texts = "\n".join(line.text for line in lines)
    for part in ("note", "loss", "why", "do", "told", "missing", "regressed"):
        assert part in texts
    assert texts.count("the metric is missing") == 1
    assert texts.count("p = 0.0004") == 3
    quiet = [line.text for line in quiet_lines(make_summary("failed"), outcome, comparison)]
    assert any("loss" in line for line in quiet)
    assert any("why" in line for line in quiet)


def test_costs_are_shown_only_where_they_got_worse() -> None:
    def cost(status: Status) -> MetricComparison:
        return make_metric(status, advisory=True, cost=True, gates=False)

    def costs(*statuses: Status, verbose: bool = False) -> list[str]:
        lines = change_lines(make_comparison(*map(cost, statuses)), verbose=verbose)
        return [line.text for line in lines]

    assert costs("improved", "unchanged") == []
    assert costs("improved", "regressed") == ["  costs          1 worse; they don't fail the gate"]
    both = "  costs          1 worse, 1 better; they don't fail the gate"
    assert costs("improved", "regressed", verbose=True) == [both]


def test_check_that_fails_the_gate_is_shown_before_others() -> None:
    def change(name: str, *, gates: bool) -> GuardChange:
        return GuardChange(
            case=name, name=name, nodeid=name, metric="m", kind="limit", text="x", gates=gates
        )

    guards = [change(f"t{n}", gates=False) for n in range(5)] + [change("bad", gates=True)] * 2
    lines = list(change_lines(make_comparison(guards=tuple(guards)), verbose=False))
    assert [line.text.strip() for line in lines] == [
        "checks changed m of bad: x",
        "m of bad: x",
        "… and 5 more, see the report",
    ]
