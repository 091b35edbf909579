"""Putting a session together from its shards: which of them count, and what the whole is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sessions import make_case

from pytest_mlflow_experiments.analysis.location import Location
from pytest_mlflow_experiments.analysis.merged_session import compare_options
from pytest_mlflow_experiments.analysis.shards import ShardSession, merge, read_shard
from pytest_mlflow_experiments.records import CaseRecord, SessionEnd, SessionHeader, Shard
from pytest_mlflow_experiments.records.journal import JournalError, encode
from pytest_mlflow_experiments.regression.tolerance import Tolerance
from pytest_mlflow_experiments.session.settings import joint_session_id
from pytest_mlflow_experiments.tracker.errors import MergeError

COMMIT = "mlflow.source.git.commit"


def shard(number: int, *names: str, value: float = 0.9, **changes: Any) -> ShardSession:
    """Return a shard with cases of these names; ``changes`` replace fields of its end."""
    header = SessionHeader(
        session_id=f"s{number}",
        name="main@1234567",
        start_time=number,
        tracking_uri="",
        experiment_name="it",
        experiment_id=None,
        tags={COMMIT: "1234567", "ci.job": f"job {number}"},
        accepted=("a", f"only {number}"),
        shard=Shard(session_id="whole"),
    )
    cases = tuple(make_case(name, metrics={"accuracy": value}) for name in names)
    end = SessionEnd(end_time=100 + number, exit_status=0, tests=len(cases), selection=("tests",))
    return ShardSession(
        path=Path(f"s{number}.jsonl"),
        header=header,
        cases=cases,
        end=replace(end, **changes),
    )


def names(cases: Sequence[CaseRecord]) -> list[str]:
    return [case.name for case in cases]


def test_whole_has_what_its_shards_have() -> None:
    whole = merge([shard(2, "c"), shard(1, "a", "b", selection=("more", "tests"))])
    assert names(whole.cases) == ["a", "b", "c"]
    header = whole.header
    assert (header.session_id, header.start_time, header.shard) == ("whole", 1, None)
    assert header.shards == ("s1", "s2")
    assert header.tags == {COMMIT: "1234567", "ci.job": "job 1, job 2"}
    assert header.accepted == ("a",)
    end = whole.end
    assert (end.end_time, end.exit_status, end.tests) == (102, 0, 3)
    assert end.selection == ("more", "tests")
    assert end.complete
    assert whole.notes == ()


@pytest.mark.parametrize(
    ("changes", "exit_status", "interrupted", "partial"),
    [
        ({"exit_status": 1}, 1, None, None),
        ({"exit_status": 5}, 0, None, None),
        ({"interrupted": "Ctrl-C", "exit_status": 2}, 2, "shard s2 was cut short (Ctrl-C)", None),
        ({"partial": "picked with -k"}, 0, None, "picked with -k"),
    ],
    ids=["failed", "no tests", "interrupted", "partial"],
)
def test_whole_is_as_bad_as_its_worst_shard(
    changes: dict[str, Any], exit_status: int, interrupted: str | None, partial: str | None
) -> None:
    end = merge([shard(1, "a"), shard(2, "b", **changes), shard(3, "c")]).end
    assert (end.exit_status, end.interrupted, end.partial) == (exit_status, interrupted, partial)


def test_shard_without_an_end() -> None:
    whole = merge([shard(1, "a"), replace(shard(2, "b"), end=None)])
    assert whole.end.interrupted == "shard s2 did not run to its end"
    assert whole.end.exit_status == 2
    assert names(whole.cases) == ["a", "b"]


def test_copies_of_a_shard_count_once() -> None:
    longest = shard(1, "a", "b")
    early = replace(longest, cases=longest.cases[:1], end=None)
    whole = merge([early, shard(2, "c"), longest, early])
    assert names(whole.cases) == ["a", "b", "c"]
    assert whole.end.complete


def test_shard_that_was_run_again_is_replaced() -> None:
    """As CI does with failed jobs: the last decides, and the earlier run is an attempt."""
    first = shard(1, "a", "b", value=0.5, interrupted="cancelled")
    whole = merge([first, shard(2, "c"), shard(3, "a", "b", "d")])
    assert [one.name for one in whole.shards] == ["s2", "s3"]
    assert [one.name for one in whole.replaced] == ["s1"]
    assert whole.header.shards == ("s1", "s2", "s3")
    assert whole.end.interrupted is None
    (case,) = (case for case in whole.cases if case.name == "a")
    assert case.metrics[0].value == 0.9
    assert case.attempts[0].metrics[0].value == 0.5
    assert whole.notes == ("Shard s1 is replaced by later ones, which ran all of it again",)


def test_shard_that_failed_before_its_first_test_is_replaced() -> None:
    failed = shard(1, exit_status=2, interrupted="1 error", unrecorded={"test_it.py": "error"})
    whole = merge([failed, shard(2, "a")])
    assert [one.name for one in whole.replaced] == ["s1"]
    assert whole.end.complete
    assert whole.end.unrecorded == {}


def test_shards_that_skipped_the_same_module_all_count() -> None:
    skipped = {"test_other.py": "skipped"}
    whole = merge([shard(1, exit_status=5, unrecorded=skipped), shard(2, "a", unrecorded=skipped)])
    assert len(whole.shards) == 2
    assert whole.end.unrecorded == skipped


def test_empty_shard_that_broke_off_counts_unless_all_others_are_there() -> None:
    shards = [replace(shard(1), end=None), shard(2, "a"), shard(3, "b")]
    for wanted, reason in (
        (None, "shard s1 did not run to its end"),
        (3, "shard s1 did not run to its end"),
        (1, "there are 3 shards, and not 1; shard s1 did not run to its end"),
    ):
        assert merge(shards, wanted=wanted).end.interrupted == reason
    whole = merge(shards, wanted=2)
    assert whole.end.interrupted is None
    assert whole.notes == ("Shard s1 left nothing, and does not count: all others are there",)


def test_number_of_shards() -> None:
    assert merge([shard(1, "a")], wanted=1).end.interrupted is None
    end = merge([shard(1, "a")], wanted=2).end
    assert end.interrupted == "there is 1 shard, and not 2"


@pytest.mark.parametrize("outcome", ["failed", "error", "skipped", "passed"])
def test_later_run_without_a_record_counts(outcome: str) -> None:
    """It must not be hidden by what the test had measured before."""
    later = shard(2, "b", unrecorded={"test_it.py::a": outcome})
    whole = merge([shard(1, "a", "c"), later])
    assert names(whole.cases) == ["c", "b"]
    assert whole.end.unrecorded == {"test_it.py::a": outcome}
    whole = merge([later, shard(3, "a", "c")])
    assert names(whole.cases) == ["b", "a", "c"]
    assert whole.end.unrecorded == {}


def test_shards_that_were_told_different_things() -> None:
    second = shard(2, "b")
    told = Shard(session_id="whole", gate=True, gate_drift=True, history=3)
    whole = merge([shard(1, "a"), replace(second, header=replace(second.header, shard=told))])
    judging = whole.judging
    assert (judging.gate, judging.gate_drift, judging.history) == (True, True, 20)
    assert "different options" in whole.notes[0]


def test_whole_is_compared_as_its_shards_were_told(tmp_path: Path) -> None:
    told = Shard(session_id="whole", gate=True, gate_drift=True, min_effects=("loglik: 100",))
    location = Location(
        root=tmp_path, tracking_uri="x", experiment_name="it", experiment_id=None, local=None
    )
    options = compare_options(merge([changed(1, shard=told)]), location)
    assert options.gate_drift
    assert options.min_effects == [("loglik", Tolerance(100.0, relative=False))]


def test_case_in_several_shards_is_told_of() -> None:
    whole = merge([shard(1, "a", "b"), shard(2, "b", "c")])
    assert names(whole.cases) == ["a", "b", "c"]
    assert whole.notes == ("1 test ran in more than one shard; the last run of each counts",)


def test_outcomes_without_a_record() -> None:
    whole = merge(
        [
            shard(1, "a", unrecorded={"test_it.py::b": "skipped", "test_it.py::x": "failed"}),
            shard(2, "b", unrecorded={"test_it.py::y": "passed"}),
        ]
    )
    assert whole.end.unrecorded == {"test_it.py::x": "failed", "test_it.py::y": "passed"}


def changed(number: int, **changes: object) -> ShardSession:
    one = shard(number, "a")
    return replace(one, header=replace(one.header, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([], "no shard"),
        ([shard(1), changed(2, shard=Shard(session_id="b"))], "different sessions: whole, b"),
        ([shard(1), changed(2, experiment_name="b")], "different experiments: it, b"),
        ([shard(1), changed(2, tags={COMMIT: "7"})], "different commits: 1234567, 7"),
        ([shard(1), changed(2, tags={})], "different commits: 1234567, none"),
    ],
    ids=["none", "sessions", "experiments", "commits", "no commit"],
)
def test_what_makes_no_whole(shards: list[ShardSession], message: str) -> None:
    with pytest.raises(MergeError, match=message):
        merge(shards)


def test_shard_as_its_journal_has_it(tmp_path: Path) -> None:
    one = shard(1, "a", "b")
    path = tmp_path / "journal.jsonl"
    entries = [one.header, *one.cases, one.end]
    path.write_text("".join(f"{encode(entry)}\n" for entry in entries if entry), encoding="utf-8")
    assert read_shard(path) == replace(one, path=path)
    path.write_text(f"{encode(replace(one.header, shard=None))}\n", encoding="utf-8")
    assert read_shard(path) is None


def test_shard_of_an_earlier_release_is_read() -> None:
    """The file stands for those that are out there: it must not be made anew."""
    one = read_shard(Path(__file__).parent / "data" / "shard-1.jsonl")
    assert one is not None
    assert one.header.shard == Shard(
        session_id="nightly",
        baseline="branch:main",
        history=7,
        ini_tolerances=("rmse: 2%",),
        tolerances=("accuracy: 0.02",),
        directions=("gap: min", "x: none"),
        seed_params=("seed",),
        gate=True,
        require_baseline=True,
    )
    assert one.end is not None
    assert one.end.unrecorded == {"test_a.py::test_b": "skipped"}
    assert merge([one]).header.shards == ("s1",)


@pytest.mark.parametrize("kind", ["no header", "damaged", "id", "whole"])
def test_journal_that_makes_no_shard(tmp_path: Path, kind: str) -> None:
    one = shard(1, "a")
    lines = {
        "no header": [encode(one.cases[0])],
        "damaged": [encode(one.header), "{"],
        "id": [encode(one.header), encode(replace(one.cases[0], id="../../x"))],
        "whole": [encode(replace(one.header, shard=Shard(session_id="../../x")))],
    }[kind]
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with pytest.raises(JournalError, match=r"journal\.jsonl"):
        read_shard(path)


@pytest.mark.parametrize(
    ("text", "environ", "found"),
    [
        ("nightly-7.x_2", {}, "nightly-7.x_2"),
        ("auto", {"GITHUB_RUN_ID": "123"}, "github-123"),
        ("auto", {"CI_PIPELINE_ID": "9", "BUILD_TAG": ""}, "gitlab-9"),
        ("auto", {"BUILD_TAG": "jenkins-app-feature%2Fx-3"}, "jenkins-jenkins-app-feature-2Fx-3"),
    ],
)
def test_id_of_the_whole(text: str, environ: dict[str, str], found: str) -> None:
    assert joint_session_id(text, environ) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auto", "GITHUB_RUN_ID, CI_PIPELINE_ID"),
        ("../x", "letters, digits"),
        ("", "letters, digits"),
        (".", "letters, digits"),
        ("baseline", "letters, digits"),
        ("a b", "letters, digits"),
        ("x" * 101, "up to 100"),
    ],
)
def test_no_id_of_a_whole(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joint_session_id(text, {})


def test_records_with_the_same_id_are_both_kept() -> None:
    first, second = (
        replace(one, cases=tuple(replace(case, id="0" * 32) for case in one.cases))
        for one in (shard(1, "a"), shard(2, "b"))
    )
    whole = merge([first, second])
    assert names(whole.cases) == ["a", "b"]
    (old, new) = (case.id for case in whole.cases)
    assert old == "0" * 32 != new
    assert len(new) == 32
    assert whole.shards[1].renamed == {new: old}
    assert merge([first, second, second]).cases == whole.cases
