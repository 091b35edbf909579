from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Literal

import pytest

from pytest_mlflow_experiments.records.directory import (
    DIRECTORY_NAME,
    SessionDirectory,
    SessionState,
    shown_path,
)
from pytest_mlflow_experiments.session.header import new_id

STATE = SessionState(
    phase="ready",
    pid=42,
    writer="bulk",
    experiment_id="1",
    experiment_name="project",
    run_id="abc",
    sent=3,
    notes=("one", "two"),
)


def test_directory_is_made_below_the_root(tmp_path: Path) -> None:
    directory = SessionDirectory.create(tmp_path, "session-1")
    assert directory.path == tmp_path / ".pytest_mlflow" / "session-1"
    assert directory.path.is_dir()
    assert directory.session_id == "session-1"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_directory_is_private(tmp_path: Path) -> None:
    directory = SessionDirectory.create(tmp_path, "session-1")
    for path in (directory.path, directory.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_git_ignores_the_directory(tmp_path: Path) -> None:
    SessionDirectory.create(tmp_path, "session-1")
    ignore = tmp_path / ".pytest_mlflow" / ".gitignore"
    assert "*" in ignore.read_text().splitlines()


def test_changed_gitignore_is_left_alone(tmp_path: Path) -> None:
    SessionDirectory.create(tmp_path, "session-1")
    ignore = tmp_path / ".pytest_mlflow" / ".gitignore"
    ignore.write_text("!keep\n")
    SessionDirectory.create(tmp_path, "session-2")
    assert ignore.read_text() == "!keep\n"


def test_same_session_twice_raises(tmp_path: Path) -> None:
    SessionDirectory.create(tmp_path, "session-1")
    with pytest.raises(FileExistsError):
        SessionDirectory.create(tmp_path, "session-1")


def test_file_in_the_way_raises_an_os_error(tmp_path: Path) -> None:
    (tmp_path / ".pytest_mlflow").write_text("")
    with pytest.raises(OSError, match=r"\.pytest_mlflow"):
        SessionDirectory.create(tmp_path, "session-1")


def test_sessions_with_a_journal_are_found_oldest_first(tmp_path: Path) -> None:
    for session_id in ("20250102-000000-a", "20250101-000000-b", "20250103-000000-c"):
        SessionDirectory.create(tmp_path, session_id)
    for session_id in ("20250102-000000-a", "20250101-000000-b"):
        (tmp_path / ".pytest_mlflow" / session_id / "journal.jsonl").touch()
    found = SessionDirectory.find_all(tmp_path)
    assert [directory.session_id for directory in found] == [
        "20250101-000000-b",
        "20250102-000000-a",
    ]


def test_sessions_with_names_of_their_own_are_found_by_their_age(tmp_path: Path) -> None:
    names = ["20260101-000000-a", "nightly", "20990101-000000-a"]
    for name in reversed(names):
        SessionDirectory.create(tmp_path, name).journal.touch()
    assert [found.session_id for found in SessionDirectory.find_all(tmp_path)] == names


def test_nothing_is_found_where_no_session_was(tmp_path: Path) -> None:
    assert SessionDirectory.find_all(tmp_path) == []
    assert SessionDirectory.find_all(tmp_path / "missing") == []


def test_paths_are_below_the_directory(tmp_path: Path) -> None:
    directory = SessionDirectory(tmp_path)
    files = [directory.journal, directory.state, directory.log, directory.run_request]
    assert len({*files, directory.all_artifacts}) == 5
    assert all(path.parent == tmp_path for path in files)
    assert directory.artifacts("abc") == directory.all_artifacts / "abc"


def test_shown_path_is_relative_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = SessionDirectory.create(tmp_path, "session-1")
    monkeypatch.chdir(tmp_path)
    assert shown_path(directory.path) == str(Path(".pytest_mlflow", "session-1"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert shown_path(directory.path) == str(directory.path)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX removes the current directory")
def test_shown_path_is_absolute_where_the_current_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert shown_path(tmp_path / "session") == str(tmp_path / "session")


def test_remove_takes_all_files_of_the_session_only(tmp_path: Path) -> None:
    directory = SessionDirectory.create(tmp_path, "session-1")
    other = SessionDirectory.create(tmp_path, "session-2")
    artifacts = directory.artifacts("abc")
    artifacts.mkdir(parents=True)
    (artifacts / "file.txt").write_text("x")
    directory.remove()
    assert not directory.path.exists()
    assert other.path.exists()
    directory.remove()


@pytest.mark.parametrize("state", [STATE, SessionState(phase="starting")])
def test_state_comes_back_from_its_file(state: SessionState, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    state.write(path)
    assert SessionState.read(path) == state


def test_state_replaces_the_one_before_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    STATE.write(path)
    done = STATE.update(phase="done", sent=4)
    done.write(path)
    assert (done.phase, done.sent, done.run_id) == ("done", 4, "abc")
    assert SessionState.read(path) == done
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_state_is_private(tmp_path: Path) -> None:
    STATE.write(tmp_path / "session.json")
    assert stat.S_IMODE((tmp_path / "session.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"phase": "done"}',
        json.dumps({"phase": "done", "notes": [], "from_a_later_version": 1}),
    ],
)
def test_state_that_cannot_be_read_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    path.write_text(text)
    assert SessionState.read(path) is None


def test_missing_state_is_none(tmp_path: Path) -> None:
    assert SessionState.read(tmp_path / "session.json") is None


def test_prune_removes_the_oldest_that_were_sent(tmp_path: Path) -> None:
    for number, phase in enumerate(["done", "failed", "done", "done", None, "done"]):
        directory = SessionDirectory.create(tmp_path, f"session-{number}")
        directory.journal.touch()
        if phase is not None:
            SessionState(phase=phase).write(directory.state)  # type: ignore[arg-type]
    SessionDirectory.prune(tmp_path, keep=2)
    left = [directory.session_id for directory in SessionDirectory.find_all(tmp_path)]
    assert left == ["session-1", "session-4", "session-5"]
    SessionDirectory.prune(tmp_path, keep=2)
    assert len(SessionDirectory.find_all(tmp_path)) == 3


def test_prune_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    for number in range(4):
        directory = SessionDirectory.create(tmp_path, f"session-{number}")
        directory.journal.touch()
        SessionState(phase="done").write(directory.state)
    SessionDirectory.prune(tmp_path, keep=1, keep_ids={"session-1", "unknown"})
    left = [directory.session_id for directory in SessionDirectory.find_all(tmp_path)]
    assert left == ["session-1", "session-3"]


def test_prune_keeps_what_a_running_session_is_compared_with(tmp_path: Path) -> None:
    for number in range(5):
        directory = SessionDirectory.create(tmp_path, f"session-{number}")
        directory.journal.touch()
        if number < 4:
            SessionState(phase="done").write(directory.state)
    journals = [str(tmp_path / DIRECTORY_NAME / "session-1" / "journal.jsonl")]
    directory.local_baseline.write_text(json.dumps({"journals": journals}))
    other = SessionDirectory(tmp_path / DIRECTORY_NAME / "session-3")
    other.local_baseline.write_text("[]")
    SessionDirectory.prune(tmp_path, keep=1)
    left = [one.session_id for one in SessionDirectory.find_all(tmp_path)]
    assert left == ["session-1", "session-4"]
    directory.report.write_text("{}")
    SessionDirectory.prune(tmp_path, keep=1)
    assert [one.session_id for one in SessionDirectory.find_all(tmp_path)] == ["session-4"]


def test_prune_takes_copies_of_baselines_that_nobody_needs(tmp_path: Path) -> None:
    def session(name: str, *, compared: bool, phase: Literal["done", "failed"] | None) -> None:
        directory = SessionDirectory.create(tmp_path, name)
        directory.journal.touch()
        directory.baseline.write_text("{}\n")
        if compared:
            directory.report.write_text("{}")
        if phase is not None:
            SessionState(phase=phase).write(directory.state)

    session("1-sent", compared=True, phase="done")
    session("2-offline", compared=True, phase=None)
    session("3-not-sent", compared=True, phase="failed")
    session("4-broke-off", compared=False, phase="done")
    session("5-running", compared=False, phase=None)
    session("6-newest", compared=True, phase="done")
    SessionDirectory.prune(tmp_path, keep_ids={"1-sent"})
    found = SessionDirectory.find_all(tmp_path)
    assert len(found) == 6
    kept = [directory.session_id for directory in found if directory.baseline.exists()]
    assert kept == ["5-running", "6-newest"]


def test_sessions_of_one_second_are_sorted_by_their_start() -> None:
    start = 1_700_000_000_000
    ids = [new_id(start + milliseconds) for milliseconds in range(0, 1_000, 9)]
    assert ids == sorted(ids)
    assert len({len(session_id) for session_id in ids}) == 1
    assert new_id(start) != new_id(start)
