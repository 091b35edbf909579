"""The one reader of sessions: the header, the cases and the end of each."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from sessions import PROVENANCE, make_case, make_session

from pytest_mlflow_experiments.records import SessionEnd, SessionHeader, journal
from pytest_mlflow_experiments.records.journal import Entry, JournalError
from pytest_mlflow_experiments.records.reader import (
    StoredSession,
    peek_header,
    read_cases,
    read_header,
    read_sessions,
    split_sessions,
    stored_sessions,
)

CASES = (make_case(metrics={"accuracy": 0.9}), make_case("test_b"))


def stored(*, ended: bool = True) -> StoredSession:
    session = make_session()
    end = session.end if ended else None
    return StoredSession(header=session.header, cases=CASES, end=end)


def write(path: Path, *entries: Entry) -> Path:
    path.write_text("".join(f"{journal.encode(entry)}\n" for entry in entries), encoding="ascii")
    return path


def test_sessions_come_back_whole(tmp_path: Path) -> None:
    sessions = [stored(), stored(ended=False), stored()]
    entries = list(chain.from_iterable(session.entries() for session in sessions))
    assert list(stored_sessions(entries)) == sessions
    path = write(tmp_path / "baseline.jsonl", PROVENANCE, *entries)
    assert list(read_sessions(path)) == sessions
    assert list(read_cases(path)) == [*CASES, *CASES, *CASES]
    assert list(read_sessions(write(tmp_path / "journal.jsonl"))) == []


def test_a_session_is_read_case_by_case() -> None:
    first, second = stored(), stored(ended=False)
    read: list[Entry] = []

    def entries() -> list[Entry]:
        return [PROVENANCE, *first.entries(), *second.entries()]

    opened = split_sessions(read.append(entry) or entry for entry in entries())  # type: ignore[func-returns-value]
    one = next(opened)
    assert (one.header, one.provenance, one.end) == (first.header, PROVENANCE, None)
    cases = iter(one)
    assert next(cases) == CASES[0]
    assert len(read) == 3
    assert list(cases) == [CASES[1]]
    assert one.end == first.end
    other = next(opened)
    assert (list(other), other.end, other.provenance) == ([*CASES], None, PROVENANCE)


def test_a_session_that_nobody_reads_is_passed_over() -> None:
    first, second = stored(), stored()
    entries = [*CASES, *first.entries(), *second.entries()]
    assert [session.header for session in split_sessions(entries)] == [first.header, second.header]


def test_the_header_alone(tmp_path: Path) -> None:
    session = stored()
    path = write(tmp_path / "journal.jsonl", *session.entries())
    assert read_header(path) == peek_header(path) == session.header
    path.write_text(journal.encode(session.header), encoding="ascii")
    assert read_header(path) is None


@pytest.mark.parametrize("text", ["{}\n", "no JSON\n", f"{journal.encode(CASES[0])}\n"])
def test_what_is_no_journal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "journal.jsonl"
    assert peek_header(path) is None
    path.write_text(text, encoding="ascii")
    assert peek_header(path) is None
    with pytest.raises(JournalError, match=r"journal\.jsonl"):
        read_header(path)
    with pytest.raises(JournalError, match=r"journal\.jsonl"):
        list(read_sessions(path))


def test_the_last_of_several_ends_counts() -> None:
    session = stored()
    end = replace(session.end or SessionEnd(end_time=1, exit_status=0, tests=0), exit_status=1)
    (again,) = stored_sessions([*session.entries(), end])
    assert again == replace(session, end=end)
    assert isinstance(again.header, SessionHeader)
