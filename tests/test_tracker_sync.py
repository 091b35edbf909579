from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tracker_kit import Journal, make_record

from pytest_mlflow_experiments.tracker.main import exclusive, sync

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]


def test_session_goes_where_it_was_meant_to_go(
    tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    shutil.copyfile(migrated_database, root / "mlflow.db")
    uri = f"sqlite:///{(root / 'mlflow.db').as_posix()}"
    journal = Journal(root, tracking_uri=uri).cases([make_record(1, failure="boom")]).finish()
    states = [sync(journal.directory, tracking_uri=uri) for _ in range(2)]
    assert [(state.phase, state.sent) for state in states] == [("done", 1)] * 2
    assert Path.cwd() == elsewhere
    assert not list(elsewhere.iterdir())
    assert len(list(root.glob("mlruns/*/*/artifacts/failure.txt"))) == 1


def test_session_may_go_elsewhere(tmp_path: Path, migrated_database: Path) -> None:
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    journal = Journal(tmp_path, tracking_uri="http://nowhere.invalid").cases([make_record(1)])
    uri = f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"
    assert sync(journal.finish().directory, tracking_uri=uri).phase == "done"


def test_session_of_a_tracker_at_work_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path).cases([make_record(1)]).finish()
    with exclusive(journal.directory.path / "tracker.lock"):
        state = sync(journal.directory, tracking_uri="sqlite:///unused.db")
    assert state.phase == "failed"
    assert state.error == "Another process is sending session-1 already."
    assert not journal.directory.state.exists()
