"""The values of past sessions, kept beside their journals: the same as the journals tell."""

from __future__ import annotations

import gc
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from project import Project
from tracker_kit import START, make_check, make_metric, make_record

from pytest_mlflow_experiments.baseline import kept_values
from pytest_mlflow_experiments.baseline.files import slim_entries, slim_line
from pytest_mlflow_experiments.baseline.kept_values import FORMAT, ValuesReader, kept_end
from pytest_mlflow_experiments.records import CaseRecord, SessionEnd, SessionHeader, journal
from pytest_mlflow_experiments.records.accepted import AcceptedValue, MetricLevel
from pytest_mlflow_experiments.records.journal import JournalError
from pytest_mlflow_experiments.records.param_kinds import SEED_PARAMS
from pytest_mlflow_experiments.records.processes import wait_until, without_collector
from pytest_mlflow_experiments.regression.values import CaseValues, SessionValues, collect_values

SEEDS = frozenset({"seed"})
HEADER = SessionHeader(
    session_id="session-1",
    name="a session",
    start_time=START,
    tracking_uri="",
    experiment_name="an experiment",
    experiment_id=None,
    tags={"mlflow.source.git.branch": "main"},
)
END = SessionEnd(end_time=START + 1_000, exit_status=0, tests=3, selection=("tests",))
LEVEL = MetricLevel(
    case="c", metric="m", since="s", level=AcceptedValue(value=0.5, scatter=0.1, n=3)
)
PLAIN = replace(
    make_record(params={"rate": "0.1", "seed": "1"}, arguments=("rate", "seed")),
    nodeid="test_a.py::test_it[0.1-1]",
    case="test_a.py::test_it[0.1-1]",
    datasets={"data": "digest"},
    usage={"cpu_seconds": 0.5},
    tolerances={"accuracy": "1%"},
    directions={"accuracy": "max"},
    min_effects={"loss": "2%"},
    checks=(make_check(),),
)
SECOND = replace(
    PLAIN,
    id=f"{1:032x}",
    nodeid="test_a.py::test_it[0.1-2]",
    case="test_a.py::test_it[0.1-2]",
    params={"rate": "0.1", "seed": "2"},
    metrics=(make_metric("accuracy", 0.5), make_metric("only_here", 1.0)),
)
OTHER = make_record(7)
LINE = tuple(make_metric("loss", value, step) for step, value in enumerate((3.0, nan, inf, 1.0)))
PLACES = tuple(
    replace(make_metric("recall", value), place=place) for place, value in (("a", 0.1), ("b", nan))
)
CASES: dict[str, tuple[CaseRecord, ...]] = {
    "plain": (PLAIN, OTHER),
    "repeats": (PLAIN, SECOND, OTHER),
    "several steps": (replace(PLAIN, metrics=LINE), OTHER),
    "steps of repeats": (replace(PLAIN, metrics=LINE), replace(SECOND, metrics=LINE)),
    "places": (replace(PLAIN, metrics=PLACES),),
    "no number": (replace(PLAIN, metrics=(make_metric("loss", nan), make_metric("gap", -inf))),),
    "xpassed": (replace(PLAIN, outcome="xpassed"), OTHER),
    "failed": (replace(PLAIN, outcome="failed", failure="E  no"), OTHER),
    "one repeat failed": (PLAIN, replace(SECOND, outcome="failed"), OTHER),
    "skipped": (replace(PLAIN, outcome="skipped", metrics=(), checks=()),),
    "alternatives": (
        replace(
            PLAIN,
            checks=(make_check(alternative=True), make_check(alternative=True, limit=0.0)),
        ),
        replace(SECOND, checks=(make_check(alternative=True, operator="<", limit=inf),)),
    ),
    "fresh runs": (
        replace(OTHER, repeats=(replace(PLAIN.as_attempt(), seed=3), SECOND.as_attempt())),
        replace(PLAIN, cut_short=True),
    ),
    "attempts": (replace(PLAIN, attempts=(SECOND.as_attempt(),)), OTHER),
    "resumed": (replace(PLAIN, resumed_from="session-0"), OTHER),
    "metrics of a run": (replace(PLAIN, run_metrics={"f1": 0.5}, run_history=LINE),),
    "the best step": (replace(PLAIN, best={"accuracy": 0.99}),),
    "a position": (replace(OTHER, nodeid="t.py::t[m0]", case="t.py::t[m0]", arguments=("m",)),),
    "twice": (OTHER, replace(OTHER, id=f"{9:032x}", metrics=())),
    "no duration": (replace(OTHER, durations={}), replace(PLAIN, durations={"call": nan})),
    "nothing": (),
}


def write(path: Path, *records: CaseRecord, header: SessionHeader = HEADER) -> Path:
    path.parent.mkdir(exist_ok=True)
    end = replace(END, levels=(LEVEL,), summary="long", baselines={"c": {"m": 1.0}})
    entries: list[journal.Entry] = [header, *records, end]
    lines = [f"{journal.encode(entry)}\n" for entry in entries]
    path.write_text("".join(lines), encoding="ascii")
    return path


def of_journal(path: Path) -> SessionValues:
    """Return what comparisons get of the session's copy in a baseline file."""
    copy = path.with_name("copy.jsonl")
    lines = (slim_line(line) for line in path.read_bytes().splitlines())
    copy.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    (session,) = collect_values(journal.read_slim(copy), SEEDS).sessions
    return session


def content(values: Any) -> Any:
    """Return values as texts, for NaN is not equal to itself; orders count, but in sets."""
    if isinstance(values, SessionValues | CaseValues):
        names = [one.name for one in fields(values) if one.name not in ("count", "failed")]
        return {name: content(getattr(values, name)) for name in names}
    if isinstance(values, Mapping):
        return [(name, content(one)) for name, one in values.items()]
    if isinstance(values, set):
        return sorted(map(repr, values))
    return repr(values)


@pytest.mark.parametrize("records", CASES.values(), ids=list(CASES))
def test_values_are_those_of_the_journal(tmp_path: Path, records: tuple[CaseRecord, ...]) -> None:
    path = write(tmp_path / "journal.jsonl", *records)
    expected = content(of_journal(path))
    made = ValuesReader(SEEDS).read(path, curves=True)
    kept = ValuesReader(SEEDS).read(path, curves=True)
    assert content(made) == content(kept) == expected
    rows = [one.row() for one in of_journal(path).cases.values()]
    assert repr([one.row() for one in kept.cases.values()]) == repr(rows)
    for values in kept.cases.values():
        assert values.metrics.get("unknown") is None
        assert [*values.metrics] == [*values.metrics.keys()] == [*values.seeds]
        assert all(metric in values.metrics for metric in values.metrics)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the journals whose lines are read from now on."""
    found: list[Path] = []
    original = slim_entries

    def watched(path: Path) -> Iterator[Any]:
        found.append(path)
        return original(path)

    monkeypatch.setattr(kept_values, "slim_entries", watched)
    return found


def test_a_journal_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    path = write(tmp_path / "journal.jsonl", PLAIN, OTHER)
    assert not ValuesReader(SEEDS).has(path)
    for _ in range(3):
        ValuesReader(SEEDS).read(path)
    assert ValuesReader(SEEDS).has(path)
    assert reads == [path]


def test_what_sessions_have_in_common_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        write(
            tmp_path / str(number) / "journal.jsonl",
            PLAIN,
            replace(OTHER, metrics=(make_metric("accuracy", number / 7),)),
            header=replace(HEADER, session_id=str(number)),
        )
        for number in range(3)
    ]
    for path in paths:
        ValuesReader(SEEDS).read(path)
    made: list[str] = []
    original = kept_values._Shared.__init__

    def watched(self: Any, kept: Any, layout: Any) -> None:
        made.append(kept.case)
        original(self, kept, layout)

    monkeypatch.setattr(kept_values._Shared, "__init__", watched)
    reader = ValuesReader(SEEDS)
    sessions = [reader.read(path) for path in paths]
    assert made == [*sessions[0].cases]
    first, *_, last = [session.cases[OTHER.case] for session in sessions]
    assert first.context is last.context
    assert (first.metrics["accuracy"], last.metrics["accuracy"]) == ([0.0], [2 / 7])


def test_curves_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", replace(PLAIN, metrics=LINE))
    assert ValuesReader(SEEDS).read(path).lines == {}
    assert [*ValuesReader(SEEDS).read(path, curves=True).lines] == [(_case(path), "loss")]


def _case(path: Path) -> str:
    (case,) = of_journal(path).cases
    return case


def broken(data: bytes) -> Iterator[bytes]:
    """Yield copies of a file, each damaged at another place or in another way."""
    for place in range(0, len(data), 29):
        yield data[:place]
        yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    yield data + b"\0"
    yield b"{}\n" + data
    yield b"[" * 100_000
    head, _, body = data.partition(b"\n")
    for old, new in (
        (b'"format":', b'"format":9'),
        (f'"order":"{sys.byteorder}"'.encode(), b'"order":"middle"'),
        (b'"seed_params":["seed"]', b'"seed_params":[]'),
        (b'"size":', b'"size":1'),
        (b'"checksum":', b'"checksum":1'),
    ):
        assert old in head
        yield head.replace(old, new) + b"\n" + body
    # Somebody's, whose own sum is right.
    for old, new in (
        (b'"passed":1', b'"passed":"1"'),
        (b'"nodeid":"', b'"nodeid":7,"was":"'),
        (b'"metrics":["', b'"metrics":["more","'),
        (b'"seeds":["', b'"seeds":["", "'),
        (b'".."', b'"."'),
        (b'{"kind":"finish"', b'{"kind":"case"'),
    ):
        assert old in body
        other = body.replace(old, new, 1)
        end = int(head.partition(b'"end":')[2].partition(b",")[0])
        sum_of_body, sum_of_other = (b":%d," % zlib.crc32(text, end) for text in (body, other))
        assert sum_of_body in head
        yield head.replace(sum_of_body, sum_of_other) + b"\n" + other


def test_a_damaged_file_changes_nothing(tmp_path: Path, reads: list[Path]) -> None:
    path = write(tmp_path / "journal.jsonl", OTHER, replace(PLAIN, metrics=LINE))
    expected = content(ValuesReader(SEEDS).read(path, curves=True))
    kept = path.with_suffix(".values")
    data = kept.read_bytes()
    for number, other in enumerate(broken(data), 1):
        kept.write_bytes(other)
        assert content(ValuesReader(SEEDS).read(path, curves=True)) == expected
        assert len(reads) == number + 1
        assert kept.read_bytes() == data


def test_the_end_of_a_session_is_kept_without_what_is_long(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", PLAIN)
    last = path.read_bytes().splitlines()[-1]
    whole = journal.decode(last)
    assert isinstance(whole, SessionEnd)
    assert kept_end(path, last) is None
    ValuesReader(SEEDS).read(path)
    assert kept_end(path, last) == replace(whole, summary="", baselines={})
    assert kept_end(path, last.replace(b'"exit_status":0', b'"exit_status":1')) is None
    kept = path.with_suffix(".values")
    kept.write_bytes(kept.read_bytes().replace(b'"exit_status":0', b'"exit_status":1'))
    assert kept_end(path, last) is None


@pytest.mark.skipif(sys.byteorder != "little", reason="the machine's numbers are others")
def test_other_values_have_another_format(tmp_path: Path) -> None:
    # Where this fails, sessions of before would be compared by what was kept of them: add one to
    # the format, and put the new sum here.
    total = 0
    for records in CASES.values():
        path = write(tmp_path / "journal.jsonl", *records)
        ValuesReader(SEEDS).read(path)
        total = zlib.crc32(path.with_suffix(".values").read_bytes(), total)
    assert (FORMAT, total) == (1, 2492824362)


def test_another_journal_has_other_values(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", PLAIN)
    ValuesReader(SEEDS).read(path)
    moment = path.stat()
    text = path.read_text(encoding="ascii")
    path.write_text(text.replace('"value":0.9,', '"value":0.7,'), encoding="ascii")
    os.utime(path, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert path.stat().st_size == moment.st_size
    (case,) = ValuesReader(SEEDS).read(path).cases.values()
    assert case.metrics["accuracy"] == [0.7]


def test_other_seed_params_make_other_cases(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", PLAIN, SECOND)
    for seeds, cases in ((SEEDS, 1), (frozenset[str](), 2), (SEEDS, 1)):
        assert not ValuesReader(seeds).has(path)
        assert len(ValuesReader(seeds).read(path).cases) == cases
        assert ValuesReader(seeds).has(path)


def damaged(lines: list[bytes]) -> Iterable[tuple[str, list[bytes]]]:
    header, case, *_, end = lines
    yield "its file breaks off", [header, case]
    yield "its file breaks off", [header, case, end[:-1]]
    yield "its file has no header", []
    yield "its file has no header", [case, end]
    yield "line 2 of its file", [header, b"{}\n", end]
    yield "line 2 of its file", [header, case.replace(b'"value":0.9', b'"value":"0.9"'), end]


def test_a_journal_that_is_damaged_has_no_values(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", PLAIN)
    for message, lines in damaged(path.read_bytes().splitlines(keepends=True)):
        path.write_bytes(b"".join(lines))
        with pytest.raises(JournalError, match=message):
            ValuesReader(SEEDS).read(path)
        assert not path.with_suffix(".values").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", PLAIN)
    secret = tmp_path / "somebody's"
    secret.write_text("theirs", encoding="utf-8")
    path.with_suffix(".values").symlink_to(secret)
    ValuesReader(SEEDS).read(path)
    kept = path.with_suffix(".values")
    assert stat.S_IMODE(kept.lstat().st_mode) == 0o600
    assert secret.read_text(encoding="utf-8") == "theirs"


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root may write anywhere")
def test_values_are_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = write(tmp_path / "kept" / "journal.jsonl", PLAIN)
    path.parent.chmod(0o500)
    try:
        assert len(ValuesReader(SEEDS).read(path).cases) == 1
    finally:
        path.parent.chmod(0o700)


SUITE = """
    import pytest

    @pytest.mark.parametrize("rate", [0.1, 0.2])
    def test_fit(mlflow_case, rate):
        accuracy = {value} + rate
        for epoch in range(3):
            mlflow_case.log_metric("loss", {value} / (epoch + 1), step=epoch)
        assert accuracy > 0.5
"""
OFFLINE = ("--mlflow", "--mlflow-offline")


@pytest.mark.real
def test_verdicts_are_the_same_with_and_without_kept_values(project: Project) -> None:
    for number in range(6):
        project.write(SUITE.format(value=0.7 + number / 1_000))
        project.pytest(*OFFLINE)
    assert not any(one.directory.baseline.exists() for one in project.sessions())
    project.write(SUITE.format(value=0.5))
    kept = [*project.path.glob(".pytest_mlflow/*/journal.values")]
    assert len(kept) == 5  # but that of the last one
    told = []
    for action in (lambda _: None, Path.unlink, lambda path: path.write_bytes(b"damaged")):
        for path in kept:
            action(path)
        # What failed its gate is no baseline for the next one.
        result = project.pytest(*OFFLINE, "--mlflow-gate", "--mlflow-rerun=2", status=1)
        told.append([line for line in result.section() if "regressed" in line])
    assert told[0]
    assert told[0] == told[1] == told[2]


@pytest.mark.real
def test_the_tracker_keeps_the_values_of_a_session(project: Project) -> None:
    project.write(SUITE.format(value=0.7))
    project.pytest("--mlflow")
    (session,) = project.sessions()
    path = session.directory.journal
    kept = partial(ValuesReader(SEED_PARAMS).has, path)
    assert wait_until(kept, timeout=60, poll=0.05)
    assert len(ValuesReader(SEED_PARAMS).read(path).cases) == 2
    assert kept()


def test_garbage_is_collected_as_before(tmp_path: Path) -> None:
    assert gc.isenabled()
    with without_collector():
        assert not gc.isenabled()
    assert gc.isenabled()
