from __future__ import annotations

import errno
import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_mlflow_experiments.records.accepted import (
    AcceptedError,
    AcceptedStep,
    append_accepted,
    make_step,
    newest,
    read_accepted,
)

STEP = AcceptedStep(
    id="0123456789ab",
    case="test_it.py::test_it[Ridge-0.1]",
    metric="rmse",
    reason="fewer features, twice as fast: agreed with Zoë",
    time="2025-01-31T12:00:00Z",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mlflow-accepted.jsonl"


def line(**changes: object) -> str:
    fields = {"id": STEP.id, "case": "*", "metric": "*", "reason": "why", "time": STEP.time}
    return json.dumps({**fields, **changes})


def test_no_file_is_no_step(path: Path) -> None:
    assert read_accepted(path) == ()


@pytest.mark.parametrize(
    "reason", ["two\nlines", "a\u2028b\x85c", '"quoted" \\', "# no comment", "{"]
)
def test_steps_come_back_in_their_order(path: Path, reason: str) -> None:
    steps = (STEP, replace(STEP, id="b" * 12, reason=reason, author="me <me@example.org>"))
    for step in steps:
        append_accepted(path, step)
    assert read_accepted(path) == steps
    assert path.read_bytes().count(b"\n") == 2


def test_file_can_be_read_by_people(path: Path) -> None:
    append_accepted(path, STEP)
    text = path.read_text(encoding="utf-8")
    assert "agreed with Zoë" in text
    assert "author" not in text


def test_undecodable_bytes_of_a_command_line_are_kept(path: Path) -> None:
    step = replace(STEP, reason="\udce9t\udce9")
    append_accepted(path, step)
    assert read_accepted(path) == (step,)


def test_missing_newline_is_repaired(path: Path) -> None:
    path.write_text(line(id="a" * 12))
    append_accepted(path, STEP)
    assert [step.id for step in read_accepted(path)] == ["a" * 12, STEP.id]


def test_blank_lines_and_comments_are_passed_over(path: Path) -> None:
    text = f"\ufeff# why metrics became worse\r\n\r\n{line()}\r\n   \n  # the end"
    path.write_bytes(text.encode())
    assert [step.reason for step in read_accepted(path)] == ["why"]


def test_unknown_fields_are_passed_over(path: Path) -> None:
    path.write_text(line(ticket=7))
    assert len(read_accepted(path)) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON: "),
        ("[]", r"it must be an object, not \[\]"),
        ("3", "it must be an object, not 3"),
        (line(id="0123"), "id must be 12 hexadecimal digits, not '0123'"),
        (line(id="0123456789AB"), "id must be 12 hexadecimal digits"),
        (line(id=12), "id must be a string, not 12"),
        (line(reason=" "), "reason must be a string that isn't blank, not ' '"),
        (line(metric=None), "metric must be a string, not None"),
        (json.dumps({"id": STEP.id}), "case is missing"),
        (line(time="yesterday"), "time must be as 2025-01-31T12:00:00Z"),
        (line(time="2025-01-31T12:00:00"), "ISO 8601 with a time zone, not '2025-01-31T12:00:00'"),
        (line(author=3), "author must be a string, not 3"),
        ("<<<<<<< HEAD", "'<<<<<<<' is the mark of a merge conflict; keep the lines of both"),
        ("=======", "merge conflict"),
        (">>>>>>> theirs", "merge conflict"),
        ("||||||| base", "merge conflict"),
        (line(reason="another"), "id 'aaaaaaaaaaaa' is that of line 2 already"),
    ],
)
def test_bad_line_is_named(path: Path, bad: str, message: str) -> None:
    bad = bad.replace(STEP.id, "a" * 12) if "another" in bad else bad
    path.write_text(f"# first\n{line(id='a' * 12)}\n{bad}\n")
    with pytest.raises(AcceptedError, match=rf"mlflow-accepted\.jsonl, line 3: .*{message}"):
        read_accepted(path)


def test_line_that_a_merge_has_doubled_is_no_error(path: Path) -> None:
    path.write_text(f"{line()}\n{line()}\n")
    assert {step.id for step in read_accepted(path)} == {STEP.id}


def test_file_that_is_no_text_is_named(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AcceptedError, match=r"mlflow-accepted\.jsonl: 'utf-8' codec"):
        read_accepted(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(AcceptedError, match=r"mlflow-accepted\.jsonl"):
        read_accepted(path)


def test_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "accepted.jsonl"
    path.write_bytes(b"# no newline")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limit[1]))
    try:
        with pytest.raises(OSError, match=r".") as caught:
            append_accepted(path, STEP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"# no newline"


def test_new_step_is_of_now_and_has_an_id_of_its_own(path: Path) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    one, two = make_step("a*", "rmse", " why "), make_step("a*", "rmse", "why", author="me")
    assert (one.case, one.metric, one.reason, one.author) == ("a*", "rmse", "why", None)
    assert two.author == "me"
    assert one.id != two.id
    assert one.time.endswith("Z")
    assert before <= datetime.fromisoformat(one.time.replace("Z", "+00:00"))
    append_accepted(path, one)
    append_accepted(path, two)
    assert read_accepted(path) == (one, two)


@pytest.mark.parametrize(
    ("case", "metric", "reason", "name"),
    [("", "m", "why", "case"), ("c", " ", "why", "metric"), ("c", "m", "\n", "reason")],
)
def test_blank_step_raises(case: str, metric: str, reason: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"an accepted change needs a {name} that isn't blank"):
        make_step(case, metric, reason)


@pytest.mark.parametrize(
    ("pattern", "case", "matches"),
    [
        ("test_x[Ridge-0.1]", "test_x[Ridge-0.1]", True),
        ("test_x[Ridge-0.1]", "test_xR", False),
        ("test_x[Ridge-0.1]", "test_x[Ridge-0x1]", False),
        ("test_x[*", "test_x[a-\n-b]", True),
        ("*::test_x[*-?]", "t.py::test_x[a-1]", True),
        ("*::test_x[*-?]", "t.py::test_x[a-12]", False),
        ("test_x", "test_xy", False),
        ("Test", "test", False),
        ("[!a]", "b", False),
        ("a|b", "a", False),
    ],
)
def test_only_star_and_question_mark_are_wildcards(pattern: str, case: str, matches: bool) -> None:
    assert replace(STEP, case=pattern).matches(case, "rmse") == matches
    assert replace(STEP, case="*", metric=pattern).matches("any", case) == matches


def test_last_step_that_matches_is_the_newest() -> None:
    steps = [
        replace(STEP, id="a" * 12, case="*", metric="rmse", time="2025-03-01T00:00:00Z"),
        replace(STEP, id="b" * 12, case="test_a*", metric="*", time="2025-01-01T00:00:00Z"),
    ]
    assert newest(steps, "test_a[1]", "rmse") is steps[1]
    assert newest(steps, "test_b", "rmse") is steps[0]
    assert newest(steps, "test_b", "r2") is None
    assert newest([], "test_b", "r2") is None


@pytest.mark.parametrize(
    ("case", "metric", "names_nothing"),
    [
        ("*", "*", True),
        ("**", "?*", True),
        ("*::test_*", "*", True),
        ("tests/*", "***", True),
        ("test_*.py::*[*", "*_*", True),
        ("*", "accuracy", False),
        ("*", "C", False),
        ("test_it.py::test_*", "*", False),
        ("*[Ridge*", "*", False),
        ("test", "*", False),
    ],
)
def test_step_that_names_nothing(case: str, metric: str, names_nothing: bool) -> None:
    assert replace(STEP, case=case, metric=metric).names_nothing is names_nothing
