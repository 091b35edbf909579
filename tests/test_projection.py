from __future__ import annotations

import random
import subprocess
import sys
from math import inf, nan
from pathlib import Path

import pytest
from tracker_kit import START, make_check, make_metric, make_record

from pytest_mlflow_experiments.records import Attempt, CaseRecord, Outcome, SessionEnd
from pytest_mlflow_experiments.records.directory import SessionDirectory
from pytest_mlflow_experiments.tracker.limits import legal_key, legal_keys, shorten
from pytest_mlflow_experiments.tracker.runs.case import Parent, RunData, project_case
from pytest_mlflow_experiments.tracker.runs.description import inline
from pytest_mlflow_experiments.tracker.runs.session import session_status

DIRECTORY = SessionDirectory(Path("session"))
PARENT = Parent(run_id="parent", session_id="session-1", user="somebody", directory=DIRECTORY)


def project(record: CaseRecord) -> RunData:
    return project_case(record, PARENT)


def description(record: CaseRecord) -> str:
    return project(record).tags["mlflow.note.content"]


def test_loads_without_mlflow() -> None:
    code = (
        "import sys, pytest_mlflow_experiments.tracker.runs.case, "
        "pytest_mlflow_experiments.tracker.main; "
        "assert not {'mlflow', 'sqlalchemy', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_case_becomes_run() -> None:
    run = project(make_record(3, tags={"team": "vision"}))
    assert run.id == f"{3:032x}"
    assert run.name == "test_it[3]"
    assert run.status == "FINISHED"
    assert (run.start_time, run.end_time) == (START + 3, START + 253)
    assert run.params == {"rate": "0.1", "depth": "3"}
    assert run.metrics == (
        make_metric("accuracy", 0.903),
        make_metric("duration_seconds", 0.25, timestamp=START + 253),
    )
    note = run.tags["mlflow.note.content"]
    assert run.tags == {
        "mlflow.parentRunId": "parent",
        "mlflow.runName": "test_it[3]",
        "mlflow.user": "somebody",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "tests/test_a.py",
        "pytest.kind": "case",
        "pytest.session_id": "session-1",
        "pytest.record_id": run.id,
        "pytest.nodeid": "tests/test_a.py::test_it[3]",
        "pytest.case": "tests/test_a.py::test_it[3]",
        "pytest.outcome": "passed",
        "pytest.file": "tests/test_a.py",
        "team": "vision",
        "mlflow.note.content": note,
    }
    assert note == "**passed** in 0.25 s"
    assert not run.texts
    assert run.artifacts is None


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("passed", "FINISHED"),
        ("skipped", "FINISHED"),
        ("xfailed", "FINISHED"),
        ("xpassed", "FINISHED"),
        ("failed", "FAILED"),
        ("error", "FAILED"),
        ("interrupted", "KILLED"),
    ],
)
def test_status(outcome: Outcome, status: str) -> None:
    assert project(make_record(outcome=outcome)).status == status


@pytest.mark.parametrize(
    ("key", "legal"),
    [
        ("accuracy", "accuracy"),
        ("größe", "größe"),
        ("a b/c-d.e_f", "a b/c-d.e_f"),
        ("a:b", "a_b"),
        ("x|y`z", "x_y_z"),
        ("line\nbreak", "line_break"),
        ("nul\0", "nul_"),
        ("\ud800", "_"),
        ("", "_"),
        (".", "_"),
        ("..", "__"),
        ("../x", "__/x"),
        ("..x", "__x"),
        ("a/../b", "a/__/b"),
        ("a/..b", "a/..b"),
        ("a//b", "a/b"),
        ("/a/", "a"),
        ("///", "_"),
        ("./a", "_/a"),
    ],
)
def test_legal_key(key: str, legal: str) -> None:
    assert legal_key(key) == legal


def test_legal_key_is_legal_for_mlflow() -> None:
    validation = pytest.importorskip("mlflow.utils.validation")
    generator = random.Random(1)
    alphabet = "ab./: _-ü\\\n\0\ud800|" + "../" * 3
    for _ in range(3_000):
        key = "".join(generator.choices(alphabet, k=generator.randrange(12)))
        key = key * generator.choice([1, 1, 1, 60])
        legal = legal_key(key)
        validation._validate_param(legal, "value")
        validation._validate_tag(legal, "value")
        validation._validate_metric(legal, 1.0, 0, 0)
        assert legal_key(legal) == legal


def test_keys_that_meet_are_kept_apart() -> None:
    notes: list[str] = []
    keys = legal_keys("param", ["a:b", "a|b", "a_b", "c"], notes)
    assert keys == {"a:b": "a_b_2", "a|b": "a_b_3", "a_b": "a_b", "c": "c"}
    assert notes == ["param 'a:b' is stored as 'a_b_2'", "param 'a|b' is stored as 'a_b_3'"]


def test_long_keys_that_meet_are_kept_apart() -> None:
    first, second = legal_keys("param", ["k" * 300 + "a", "k" * 300 + "b"], []).values()
    assert first.endswith("... 301 characters")
    assert first != second
    assert len(first) == len(second) == 250


def test_shortened_text_tells_its_length() -> None:
    text = shorten("x" * 100_000, 6_000)
    assert len(text) == 6_000
    assert text.endswith("x… [100000 characters]")


def test_long_values_are_shortened_visibly() -> None:
    run = project(make_record(params={"p": "x" * 7_000}, tags={"t": "y" * 9_000}, name="n" * 300))
    assert len(run.params["p"]) == 6_000
    assert len(run.tags["t"]) == 8_000
    assert len(run.name) == 250
    note = run.tags["mlflow.note.content"]
    assert "param 'p' is shortened from 7000 characters" in note
    assert "tag 't' is shortened from 9000 characters" in note


def test_unstorable_characters_are_replaced_visibly() -> None:
    run = project(make_record(params={"p": "a\0b\udfff"}, failure="boom \0 \ud800"))
    assert run.params == {"p": "a␀b�"}
    assert run.texts == {"failure.txt": "boom ␀ �"}
    assert "characters that no database takes" in run.tags["mlflow.note.content"]
    for text in [*run.tags.values(), *run.texts.values()]:
        assert "\0" not in text
        text.encode()


def test_reserved_tag_wins_visibly() -> None:
    run = project(make_record(tags={"pytest.outcome": "mine", "mlflow.note.content": "a text"}))
    assert run.tags["pytest.outcome"] == "passed"
    assert run.tags["mlflow.note.content"].count("is set by the plugin") == 2


def test_tag_that_becomes_reserved_is_kept_apart() -> None:
    run = project(make_record(tags={"/pytest.outcome": "mine"}))
    assert run.tags["pytest.outcome"] == "passed"
    assert run.tags["pytest.outcome_2"] == "mine"


def test_infinite_metric_is_noted() -> None:
    note = description(make_record(metrics=(make_metric("up", inf), make_metric("down", -inf))))
    assert "up is infinite" in note
    assert "down is infinite" in note


def test_equal_metrics_are_one() -> None:
    values = [nan, float("nan"), 0.0, -0.0, inf, 1.7976931348623157e308, 1.0, 1.0]
    run = project(make_record(metrics=tuple(make_metric("m", value) for value in values)))
    assert [str(metric.value) for metric in run.metrics[:-1]] == ["nan", "0.0", "inf", "1.0"]


def test_own_metric_named_as_duration_stays() -> None:
    run = project(make_record(metrics=(make_metric("duration_seconds", 3.0),)))
    assert [metric.value for metric in run.metrics] == [3.0]
    assert "the test's own metric" in run.tags["mlflow.note.content"]


def test_numbers_out_of_range_are_brought_into_it() -> None:
    metrics = (make_metric("a", 1.0, 2**70, -5), make_metric("b", 1.0, -(2**70)))
    run = project(make_record(metrics=metrics, start_time=-1, end_time=0))
    assert [(metric.step, metric.timestamp) for metric in run.metrics] == [
        (2**63 - 1, 0),
        (-(2**63) + 1, START),
        (0, 0),
    ]
    assert (run.start_time, run.end_time) == (1, 1)
    assert run.tags["mlflow.note.content"].count("out of MLflow's range") == 2


def test_dataset_becomes_a_tag_and_is_described() -> None:
    run = project(make_record(datasets={"train": "0a1b", "test": "2c3d"}))
    assert run.tags["pytest.dataset.train"] == "0a1b"
    assert run.tags["pytest.dataset.test"] == "2c3d"
    assert run.tags["mlflow.note.content"].endswith("\n\n**Datasets** train 0a1b, test 2c3d")


def test_dataset_wins_over_a_tag_of_its_name_visibly() -> None:
    tags = {"pytest.dataset.train": "mine", "pytest.dataset.a_b": "mine too"}
    run = project(make_record(datasets={"train": "0a1b", "a:b": "2c3d"}, tags=tags))
    assert run.tags["pytest.dataset.train"] == "0a1b"
    assert run.tags["pytest.dataset.a_b"] == "2c3d"
    note = run.tags["mlflow.note.content"]
    assert note.count("is set by the plugin") == 2
    assert "is stored as 'pytest.dataset.a\\_b'" in note


def test_datasets_whose_tags_meet_are_kept_apart() -> None:
    datasets = {"a:b": "1", "a|b": "2", "n" * 300 + "1": "3", "n" * 300 + "2": "4", "../x": "5"}
    tags = project(make_record(datasets=datasets)).tags
    found = {key: value for key, value in tags.items() if key.startswith("pytest.dataset.")}
    assert list(found.values()) == ["1", "2", "3", "4", "5"]
    assert all(legal_key(key) == key for key in found)


def test_many_datasets_all_have_tags_and_some_are_described() -> None:
    datasets = {f"{number}<&{'n' * 300}": "&" * 9_000 for number in range(150)}
    run = project(make_record(datasets=datasets))
    values = [value for key, value in run.tags.items() if key.startswith("pytest.dataset.")]
    assert len(values) == 150
    assert max(map(len, values)) == 8_000
    note = run.tags["mlflow.note.content"]
    assert len(note) <= 8_000
    assert " and 140 more" in note
    assert "**Notes**" in note


def test_fresh_runs_are_described_beside_the_first() -> None:
    slow = (make_metric("loss", 0.5, 0), make_metric("loss", 0.25, 1), make_metric("acc", 0.9))
    run = project(
        make_record(
            metrics=(make_metric("loss", 0.75), make_metric("acc", 0.8)),
            checks=(make_check(metric="acc", value=0.8),),
            repeats=(
                Attempt(outcome="passed", duration=0.5, metrics=slow),
                Attempt(outcome="failed", duration=1.5, failure="x\nE  boom | bang"),
            ),
        )
    )
    assert run.tags["mlflow.note.content"].splitlines()[6:] == [
        "**Fresh runs**",
        "",
        "The metrics looked worse than the baseline, so the test was run again; the fresh values "
        "decide.",
        "",
        "| run | outcome | duration | acc | loss |",
        "| --- | --- | --- | --- | --- |",
        "| first | passed | 0.25 s | 0.8 | 0.75 |",
        "| 1 | passed | 0.5 s | 0.9 | 0.25 |",
        r"| 2 | failed (E boom \| bang) | 1.5 s |  |  |",
    ]
    values = {metric.key: metric.value for metric in run.metrics}
    assert values == {"loss": 0.75, "acc": 0.8, "duration_seconds": 0.25}


def test_many_fresh_runs_with_many_metrics_are_counted() -> None:
    metrics = tuple(make_metric(f"m{number}{'|' * 300}", 1.0) for number in range(50))
    runs = (Attempt(outcome="passed", duration=0.5, metrics=metrics),) * 99
    note = description(make_record(metrics=metrics, repeats=runs))
    assert len(note) <= 8_000
    assert len([line for line in note.splitlines() if line.endswith("| 1 |")]) == 11
    assert "\n\n… and 89 more fresh runs\n\n… and 46 more metrics\n" in note


def test_failure_is_shown_and_kept() -> None:
    run = project(make_record(outcome="failed", failure="\n".join(map(str, range(100)))))
    assert run.texts["failure.txt"].startswith("0\n1\n")
    assert "```text\n…\n75\n76" in run.tags["mlflow.note.content"]


def test_failure_file_gives_way_to_an_artifact() -> None:
    run = project(make_record(failure="boom", artifacts=("failure.txt", "failure_2.txt")))
    assert list(run.texts) == ["failure_3.txt"]
    assert run.artifacts == DIRECTORY.artifacts(run.id)


def test_description_shows_checks() -> None:
    checks = (
        make_check(),
        make_check(metric="rmse", operator="<=", value=2.5, limit=2.0, passed=False),
        make_check(metric="mae", passed=False, alternative=True),
        make_check(metric="r2", operator="==", value=0.5, limit=0.5, tolerance=1e-6),
    )
    assert description(make_record(checks=checks)).splitlines()[2:] == [
        "| metric | value | limit | margin | held |",
        "| --- | --- | --- | --- | --- |",
        "| rmse | 2.5 | ≤ 2 | -0.5 | **no** |",
        "| mae | 0.93 | ≥ 0.9 | 0.03 | no (an alternative) |",
        "| accuracy | 0.93 | ≥ 0.9 | 0.03 | yes |",
        "| r2 | 0.5 | ≈ 0.5 ± 1e-06 | 1e-06 | yes |",
    ]


def test_description_shows_attempts_and_notes() -> None:
    attempt = Attempt(
        outcome="failed", duration=0.5, metrics=(make_metric("acc", 0.1),), failure="x\nE  boom"
    )
    note = description(make_record(attempts=(attempt,), notes=("capped at 1000",)))
    assert "- failed in 0.5 s: acc = 0.1 (E boom)" in note
    assert "**Notes**\n\n- capped at 1000" in note


def test_empty_failure_of_an_attempt_has_no_last_line() -> None:
    note = description(make_record(attempts=(Attempt(outcome="failed", duration=1, failure="\n"),)))
    assert note.endswith("- failed in 1 s")


def test_description_stays_within_a_tag() -> None:
    record = make_record(
        checks=tuple(make_check(metric="m" * 250, passed=n % 2 > 0) for n in range(1_000)),
        failure="\n".join(["f" * 500] * 100),
        notes=tuple("n" * 500 for _ in range(500)),
        params={f"{number}:": "" for number in range(500)},
        attempts=tuple(
            Attempt(outcome="failed", duration=1.0, failure="e" * 999) for _ in range(99)
        ),
    )
    note = description(record)
    assert len(note) <= 8_000
    assert "970 more checks" in note


HOSTILE = "a|b `c` <script>alert(1)</script> [x](javascript:y) **bold** ``` ~~~\n# head\n| --- |"


def test_hostile_text_shows_itself() -> None:
    text = inline(HOSTILE)
    assert "<" not in text
    assert "\n" not in text
    assert text.startswith(r"a\|b \`c\` &lt;script&gt;alert(1)&lt;/script&gt; \[x\](javascript:y)")


def test_hostile_failure_cannot_end_its_block() -> None:
    lines = description(make_record(failure=HOSTILE + "\n``````\n")).splitlines()[2:]
    assert lines[0] == "```````text"
    assert [number for number, line in enumerate(lines) if line.startswith("`" * 7)] == [
        0,
        len(lines) - 1,
    ]


def test_hostile_names_do_not_break_a_table() -> None:
    note = description(make_record(checks=(make_check(metric=HOSTILE),)))
    assert "<script" not in note
    (row,) = [line for line in note.splitlines() if line.startswith("| a")]
    assert row.replace(r"\|", "").count("|") == 6


@pytest.mark.parametrize(
    ("exit_status", "interrupted", "status"),
    [(0, None, "FINISHED"), (5, None, "FINISHED"), (1, None, "FAILED"), (2, "Ctrl-C", "KILLED")],
)
def test_session_status(exit_status: int, interrupted: str | None, status: str) -> None:
    end = SessionEnd(end_time=START, exit_status=exit_status, tests=1, interrupted=interrupted)
    assert session_status(end) == status


def test_session_without_end_is_killed() -> None:
    assert session_status(None) == "KILLED"
