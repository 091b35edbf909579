from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from pytest_mlflow_experiments.records import (
    CaseRecord,
    Provenance,
    SessionEnd,
    SessionHeader,
    journal,
)
from pytest_mlflow_experiments.records.journal import JournalError, JournalTail, JournalWriter

HEADER = SessionHeader(
    session_id="s",
    name="main@1234567",
    start_time=1,
    tracking_uri="sqlite:///mlflow.db",
    experiment_name=None,
    experiment_id="7",
)
END = SessionEnd(end_time=9, exit_status=0, tests=2)
PROVENANCE = Provenance(spec="auto", place="experiment 'x'", reason="the last session on main")

# As an earlier release wrote them.
OLDER_LINES = [
    '{"kind":"session","schema":1,"session_id":"s","name":"main@1234567","start_time":1,'
    '"tracking_uri":"sqlite:///mlflow.db","experiment_name":null,"experiment_id":"7","tags":{}}',
    '{"kind":"case","id":"00000000000000000000000000000000","nodeid":"t.py::test_it",'
    '"case":"t.py::test_it","name":"test_it","outcome":"passed","start_time":1,"end_time":2,'
    '"durations":{"call":0.5},"params":{},"metrics":[],"checks":[],"tags":{},"artifacts":[],'
    '"failure":null,"run_id":null,"attempts":[],"notes":[]}',
    '{"kind":"finish","end_time":9,"exit_status":0,"tests":2,"interrupted":null}',
]


def make_case(name: str = "test_it") -> CaseRecord:
    return CaseRecord(
        id="0" * 32,
        nodeid=f"t.py::{name}",
        case=f"t.py::{name}",
        name=name,
        outcome="passed",
        start_time=1,
        end_time=2,
        durations={"call": 0.5},
    )


def write(path: Path, *entries: journal.Entry) -> None:
    writer = JournalWriter(path)
    for entry in entries:
        writer.append(journal.encode(entry))
    writer.close()


@pytest.mark.parametrize(
    "entry",
    [PROVENANCE, HEADER, make_case(), make_case("näme\n\r\u2028\x00\ud800 🙂"), END],
    ids=["baseline", "session", "case", "odd characters", "finish"],
)
def test_entry_is_one_line_of_ascii_and_comes_back(entry: journal.Entry) -> None:
    line = journal.encode(entry)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert journal.decode(line) == entry
    assert journal.decode(f"{line}\n".encode()) == entry


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        "{}",
        '{"kind":"future"}',
        '{"kind":[]}',
        '{"kind":"case"}',
        '{"kind":"finish","end_time":1}',
        '{"kind":"baseline","spec":"auto"}',
        journal.encode(HEADER).replace('"schema":1', '"schema":2'),
        journal.encode(make_case()).replace('"metrics":[]', '"metrics":5'),
        journal.encode(make_case()).replace('"metrics":[]', '"metrics":[null]'),
        b"\xff\xfe",
    ],
)
def test_line_that_is_no_entry_raises(line: str | bytes) -> None:
    with pytest.raises(JournalError, match="not a line of a session's file"):
        journal.decode(line)


def test_journal_reads_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    entries: list[journal.Entry] = [HEADER, make_case("a"), make_case("b"), END]
    write(path, *entries)
    assert list(journal.read(path)) == entries


def test_baseline_is_several_sessions_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    session: list[journal.Entry] = [HEADER, make_case(), END]
    entries = [PROVENANCE, *session, *session]
    write(path, *entries)
    assert list(journal.read(path)) == entries


def test_journal_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("\n".join(OLDER_LINES) + "\n", encoding="utf-8")
    assert list(journal.read(path)) == [HEADER, make_case(), END]


def test_journal_is_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, HEADER)
    write(path, END)
    assert list(journal.read(path)) == [HEADER, END]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_read_stops_before_an_incomplete_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, HEADER, make_case())
    path.write_bytes(path.read_bytes()[:-1])
    assert list(journal.read(path)) == [HEADER]


def test_read_names_the_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, HEADER)
    with path.open("a") as file:
        file.write("damaged\n")
    entries = journal.read(path)
    assert next(entries) == HEADER
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: "):
        next(entries)


def test_read_of_a_missing_journal_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(journal.read(tmp_path / "journal.jsonl"))


def test_tail_returns_each_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    line = journal.encode(make_case()).encode() + b"\n"
    path.write_bytes(b"")
    tail = JournalTail(path)
    assert tail.read_new() == []
    with path.open("ab", buffering=0) as file:
        file.write(line[:10])
        assert tail.read_new() == []
        file.write(line[10:-1])
        assert tail.read_new() == []
        file.write(b"\n" + line + line[:5])
        assert tail.read_new() == [make_case(), make_case()]
        assert tail.read_new() == []
        file.write(line[5:])
        assert tail.read_new() == [make_case()]
    assert tail.damaged == []


def test_tail_returns_at_most_limit_entries(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    cases = [make_case(str(number)) for number in range(5)]
    write(path, *cases)
    tail = JournalTail(path)
    assert [tail.read_new(limit=2) for _ in range(4)] == [cases[:2], cases[2:4], cases[4:], []]


def test_tail_passes_over_a_damaged_line_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, HEADER)
    start = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\xffdamaged\n")
    write(path, END)
    tail = JournalTail(path)
    assert tail.read_new() == [HEADER, END]
    assert tail.read_new() == []
    (damage,) = tail.damaged
    assert damage.startswith(f"byte {start}: ")


def test_line_is_written_whole_where_the_system_takes_it_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(journal, "_write", lambda fd, data: real(fd, data[:7]))
    write(tmp_path / "journal.jsonl", HEADER, END)
    assert list(journal.read(tmp_path / "journal.jsonl")) == [HEADER, END]


def test_full_disk_costs_only_the_line_that_did_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, HEADER)
    writer = JournalWriter(path)
    real = os.write
    room = 20

    def write_little(fd: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(fd, data[:room])
        room -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write", write_little)
        with pytest.raises(OSError, match="No space left"):
            writer.append(journal.encode(make_case()))
        with pytest.raises(OSError, match="No space left"):
            writer.append(journal.encode(make_case()))
    writer.append(journal.encode(END))
    writer.close()
    assert list(journal.read(path)) == [HEADER, END]


@pytest.mark.parametrize("rest", [b"", b'{"kind":"ca'])
@pytest.mark.parametrize("length", [0, 1, 65_534, 65_535, 65_536, 200_000])
def test_last_line(tmp_path: Path, length: int, rest: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    for before in (b"", b"\n", b"first\n" * 2):
        path.write_bytes(before + b"x" * length + b"\n" + rest)
        assert journal.last_line(path) == (b"x" * length, rest)
    path.write_bytes(rest)
    assert journal.last_line(path) == (b"", rest)


def test_ends(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert not journal.has_end(path)
    path.touch()
    assert not journal.has_end(path)
    end = journal.encode(END).encode()
    for whole, expected in ((OLDER_LINES[0].encode(), False), (end, True)):
        path.write_bytes(whole)
        assert not journal.has_end(path)
        for rest in (b"\n", b"\n" + end[:-1]):
            path.write_bytes(whole + rest)
            assert journal.has_end(path) == expected


def test_append_after_close_raises(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.jsonl")
    writer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.append(journal.encode(END))


def test_a_descriptor_that_somebody_closed_is_no_other_file(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.jsonl")
    writer.append(journal.encode(HEADER))
    os.close(writer._fd)
    with tmp_path.joinpath("other").open("w+b") as other:
        os.dup2(other.fileno(), writer._fd)
        writer.append(journal.encode(END))
        assert other.read() == b""
    writer.close()
    assert list(journal.read(tmp_path / "journal.jsonl")) == [HEADER, END]


def test_a_journal_that_somebody_removed_is_whole_again_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "session" / "journal.jsonl"
    path.parent.mkdir()
    writer = JournalWriter(path)
    writer.append(journal.encode(HEADER))
    shutil.rmtree(path.parent)
    writer.append(journal.encode(END))
    writer.close()
    assert list(journal.read(path)) == [HEADER, END]
