"""Journals that a kill or a power cut has left: what is whole is sent, once, and no more."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from crashing import copy_session, query, statuses
from project import Project
from tracker_kit import Journal, make_record

from pytest_mlflow_experiments.baseline.kept_values import ValuesReader
from pytest_mlflow_experiments.baseline.local import LocalCatalog
from pytest_mlflow_experiments.baseline.local_baseline import read_baseline
from pytest_mlflow_experiments.cli import main
from pytest_mlflow_experiments.records import journal
from pytest_mlflow_experiments.records.directory import SessionDirectory
from pytest_mlflow_experiments.records.journal import JournalTail
from pytest_mlflow_experiments.session.tracker_process import backlog
from pytest_mlflow_experiments.tracker.main import project as bring

pytestmark = pytest.mark.filterwarnings("ignore")

RECORDS = [make_record(number) for number in range(3)]
# What the blocks that never reached the disk may hold.
GARBAGE = {
    "zeros": b"\0" * 4096,
    "zeros and a line's end": b"\0" * 4096 + b"\n",
    "noise": random.Random(1).randbytes(3_000),
    "noise with lines": random.Random(1).randbytes(3_000).replace(b"\0", b"\n") + b"\n",
    "no case": b'{"kind":"case"}\n[]\n5\n{"kind":[]}\n',
}


@pytest.fixture
def database(tmp_path: Path, migrated_database: Path) -> Path:
    return Path(shutil.copyfile(migrated_database, tmp_path / "mlflow.db"))


def send(written: Journal, database: Path) -> int:
    """Send a session, and return how many cases MLflow has of it then."""
    state = bring(written.directory, tracking_uri=f"sqlite:///{database.as_posix()}")
    assert state.phase == "done", state
    return state.sent


@pytest.mark.parametrize("last", ["case", "end"])
def test_every_part_of_the_last_line(tmp_path: Path, last: str) -> None:
    written = Journal(tmp_path).cases(RECORDS)
    if last == "end":
        written.finish()
    path = written.directory.journal
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rindex(b"\n") + 1
    entries = list(journal.read(path))
    catalog = LocalCatalog(tmp_path, tracking_uri="unused", experiment_name="an experiment")
    for size in range(start, len(whole)):
        path.write_bytes(whole[:size])
        tail = JournalTail(path)
        assert tail.read_new() == list(journal.read(path)) == entries[:-1]
        assert tail.damaged == []
        assert catalog.session("session-1").incomplete == "it did not run to its end"
        # The rest comes later, as where it is read in the middle of being written.
        path.write_bytes(whole)
        assert tail.read_new() == entries[-1:]


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_part_of_a_line_is_not_sent(tmp_path: Path, database: Path, part: float) -> None:
    written = Journal(tmp_path).cases(RECORDS)
    path = written.directory.journal
    *_, last = path.read_bytes().splitlines(keepends=True)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - len(last) + int(part * len(last)))
    assert send(written, database) == 2
    assert statuses(database) == {
        "session": "KILLED",
        "test_it[0]": "FINISHED",
        "test_it[1]": "FINISHED",
    }


@pytest.mark.parametrize("end", GARBAGE.values(), ids=GARBAGE)
def test_garbage_at_the_end(tmp_path: Path, database: Path, end: bytes) -> None:
    written = Journal(tmp_path).cases(RECORDS)
    with written.directory.journal.open("ab") as file:
        file.write(end)
    assert send(written, database) == send(written, database) == 3
    found = statuses(database)
    assert found.pop("session") == "KILLED"
    assert set(found.values()) == {"FINISHED"}
    assert len(found) == 3


def test_later_session_is_not_disturbed(project: Project) -> None:
    project.write("def test_it(mlflow_case): mlflow_case.log_metric('accuracy', 0.5)")
    project.pytest("--mlflow", "--mlflow-offline")
    good = project.session()
    for number, end in enumerate(GARBAGE.values()):
        name = f"{good.header.session_id}-{number}"
        path = copy_session(good.directory, name).journal
        written = path.read_bytes().replace(good.header.session_id.encode(), name.encode())
        *lines, _ = written.splitlines(keepends=True)
        path.write_bytes(b"".join(lines) + end)
    project.pytest("--mlflow", "--mlflow-offline", "--mlflow-gate")
    newest = SessionDirectory.find_all(project.path)[-1]
    (session,) = read_baseline(newest, ValuesReader(frozenset())).sessions
    assert session.header.session_id == good.header.session_id


@pytest.mark.parametrize("seed", range(3))
def test_sync_that_breaks_off_is_taken_up(tmp_path: Path, database: Path, seed: int) -> None:
    """Sessions in any order, each of them sent in parts, and again when it was sent."""
    rng = random.Random(seed)
    sessions: dict[SessionDirectory, int] = {}
    for number in range(3):
        written = Journal(tmp_path, session_id=f"s{number}").cases(
            make_record(100 * number + case) for case in range(number * 20 + 5)
        )
        if number != 1:
            written.finish()
        sessions[written.directory] = number * 20 + 5
    order = list(sessions) * 3
    rng.shuffle(order)
    uri = f"sqlite:///{database.as_posix()}"
    for directory in order:
        _break_off(directory, uri, rng)
    rng.shuffle(order)
    for directory in order:
        assert bring(directory, tracking_uri=uri).phase == "done"
    cases = query(database, "select value from tags where key = 'pytest.record_id'")
    assert len(set(cases)) == len(cases) == sum(sessions.values())
    found = query(
        database,
        "select status from runs join tags using (run_uuid) "
        "where key = 'pytest.kind' and value = 'session' order by runs.name",
    )
    assert sorted(status for (status,) in found) == ["FINISHED", "FINISHED", "KILLED"]


def _break_off(directory: SessionDirectory, uri: str, rng: random.Random) -> None:
    """Send a session up to somewhere: its state, the lock and MLflow are left as by a kill."""
    asked = rng.randrange(1, 6)

    def on_state(state: object) -> None:
        nonlocal asked
        asked -= 1
        if asked == 0:
            raise SystemExit

    with suppress(SystemExit):
        bring(directory, tracking_uri=uri, on_state=on_state)


@pytest.mark.parametrize("text", [b"", b'{"kind":"session","sch'], ids=["empty", "half a line"])
def test_session_that_was_killed_before_its_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    directory = SessionDirectory.create(tmp_path, "session-1")
    directory.journal.write_bytes(text)
    monkeypatch.chdir(tmp_path)
    assert main(["sync"]) == 0
    assert "Nothing to send" in capsys.readouterr().out
    assert backlog(tmp_path, besides="session-2") is None
