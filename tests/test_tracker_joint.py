"""The run that several shards share, in a real store, and what happens when there are two of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from project import search_runs
from tracker_kit import Journal, make_record

from pytest_mlflow_experiments.records import Shard
from pytest_mlflow_experiments.tracker.errors import MergeError
from pytest_mlflow_experiments.tracker.main import project

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]


@pytest.fixture
def uri(tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    from pytest_mlflow_experiments.tracker import store

    monkeypatch.setattr(store, "_SETTLING", 0.0)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path.as_posix()}/mlflow.db"


def shard(root: Path, number: int) -> Journal:
    """Return a shard with three cases that has no end yet."""
    journal = Journal(root, session_id=f"s{number}", shard=Shard(session_id="whole"))
    return journal.cases(make_record(10 * number + index) for index in range(3))


def runs(uri: str, kind: str) -> list[Run]:
    return [run for run in search_runs(uri) if run.data.tags.get("pytest.kind") == kind]


def test_shards_share_one_run(tmp_path: Path, uri: str) -> None:
    from mlflow import MlflowClient

    for number, status in ((1, 1), (2, 0)):
        journal = shard(tmp_path, number).finish(status)
        assert project(journal.directory, tracking_uri=uri).error is None
    (session,) = runs(uri, "session")
    tags = session.data.tags
    assert tags["pytest.session_id"] == "whole"
    assert (tags["pytest.shard.s1"], tags["pytest.shard.s2"]) == ("finished", "finished")
    assert tags["pytest.complete"] == "false"
    # A shard that failed is not made up for by another.
    assert session.info.status == "FAILED"
    cases = runs(uri, "case")
    assert {run.data.tags["mlflow.parentRunId"] for run in cases} == {session.info.run_id}
    assert sorted(run.data.tags["pytest.shard"] for run in cases) == ["s1"] * 3 + ["s2"] * 3
    artifacts = MlflowClient(uri).list_artifacts(session.info.run_id, "shards")
    assert [info.path for info in artifacts] == ["shards/s1.jsonl", "shards/s2.jsonl"]


def test_shard_without_a_case_is_there(tmp_path: Path, uri: str) -> None:
    journal = Journal(tmp_path, session_id="s1", shard=Shard(session_id="whole"))
    assert project(journal.finish(5).directory, tracking_uri=uri).error is None
    (session,) = runs(uri, "session")
    assert session.data.tags["pytest.shard.s1"] == "finished"


def test_shards_that_began_at_the_same_moment_are_united(tmp_path: Path, uri: str) -> None:
    """Both look, find nothing, and make a run: both have to end up with the same."""
    from pytest_mlflow_experiments.tracker.store import Store

    journals = [shard(tmp_path, 1), shard(tmp_path, 2)]
    real = Store._session_runs
    answers: list[list[Run]] = []

    def blind(self: Store, *args: object) -> list[Run]:
        found = real(self, *args)  # type: ignore[arg-type]
        answers.append(found)
        # The first look of each, and what follows it, is too early to see the other's run.
        mine = [run for run in found if run.info.run_id not in seen]
        return mine

    seen: set[str] = set()
    with patch.object(Store, "_session_runs", blind):
        for journal in journals:
            project(journal.directory, tracking_uri=uri)
            seen |= {run.info.run_id for run in runs(uri, "session")}
    assert len(runs(uri, "session")) == 2
    for journal in journals:
        state = project(journal.finish().directory, tracking_uri=uri)
        assert (state.error, state.sent) == (None, 3)
    (session,) = runs(uri, "session")
    assert (
        session.data.tags["pytest.shard.s1"] == session.data.tags["pytest.shard.s2"] == "finished"
    )
    cases = runs(uri, "case")
    assert len(cases) == 6
    assert {run.data.tags["mlflow.parentRunId"] for run in cases} == {session.info.run_id}


def test_shard_that_broke_off_leaves_the_others_alone(tmp_path: Path, uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    first = shard(tmp_path, 1)
    state = project(first.finish().directory, tracking_uri=uri)
    opened = {}
    for number in (1, 2):
        # As a test that wants MLflow itself opens its run.
        tags = {
            "mlflow.parentRunId": state.run_id,
            "pytest.kind": "case",
            "pytest.session_id": "whole",
            "pytest.record_id": f"{number + 90:032x}",
            "pytest.shard": f"s{number}",
        }
        run = client.create_run(str(state.experiment_id), tags=tags)
        opened[number] = run.info.run_id
    project(shard(tmp_path, 2).directory, tracking_uri=uri)
    assert client.get_run(opened[2]).info.status == "KILLED"
    assert client.get_run(opened[1]).info.status == "RUNNING"
    (session,) = runs(uri, "session")
    assert session.data.tags["pytest.shard.s2"] == "broken off"
    assert session.info.status == "KILLED"


def test_shard_that_is_sent_again_leaves_the_whole_as_it_is(tmp_path: Path, uri: str) -> None:
    journal = shard(tmp_path, 1).finish()
    project(journal.directory, tracking_uri=uri)
    whole = Journal(tmp_path, session_id="whole", shards=("s1",))
    whole.cases(make_record(10 + index) for index in range(3)).finish()
    assert project(whole.directory, tracking_uri=uri).error is None
    before = runs(uri, "session")[0].to_dictionary()
    assert before["data"]["tags"]["pytest.complete"] == "true"
    assert before["data"]["tags"]["pytest.shard.s1"] == "merged"
    assert project(journal.directory, tracking_uri=uri).error is None
    assert [run.to_dictionary() for run in runs(uri, "session")] == [before]
    assert len(runs(uri, "case")) == 3


def test_runs_that_others_replaced_are_no_cases_of_the_whole(tmp_path: Path, uri: str) -> None:
    for number in (1, 2, 3):
        project(shard(tmp_path, number).finish().directory, tracking_uri=uri)
    whole = Journal(tmp_path, session_id="whole", shards=("s1", "s2"))
    whole.cases(make_record(20 + index) for index in range(3)).finish()
    assert project(whole.directory, tracking_uri=uri).error is None
    found = sorted(run.data.tags["pytest.shard"] for run in runs(uri, "case"))
    # The third one is not part of it, and so nothing of it is replaced.
    assert found == ["s2"] * 3 + ["s3"] * 3
    assert len(runs(uri, "superseded")) == 3


def test_fetched_shards_are_those_that_were_sent(tmp_path: Path, uri: str) -> None:
    from pytest_mlflow_experiments.tracker.catalog import FetchedShards
    from pytest_mlflow_experiments.tracker.connect import open_catalog

    def fetch(session_id: str = "whole", name: str = "an experiment") -> FetchedShards:
        target = tmp_path / "fetched"
        target.mkdir(exist_ok=True)
        return open_catalog(uri, experiment_name=name).shards(session_id, target)

    with pytest.raises(MergeError, match="there is no experiment 'an experiment' at"):
        fetch()
    journals = [shard(tmp_path, number).finish() for number in (1, 2)]
    project(journals[0].directory, tracking_uri=uri)
    (path,) = fetch().journals
    assert path.read_bytes() == journals[0].directory.journal.read_bytes()
    with pytest.raises(MergeError, match="no shard of session 'other'"):
        fetch("other")
    state = project(journals[1].directory, tracking_uri=uri)
    assert len(fetch().journals) == 2
    from mlflow import MlflowClient

    MlflowClient(uri).set_tag(str(state.run_id), "pytest.shard.s2", "running")
    assert fetch().running == ("s2",)
    MlflowClient(uri).set_tag(str(state.run_id), "pytest.shard.s1", "running")
    with pytest.raises(MergeError, match="no shard of session 'whole' has ended yet"):
        fetch()


def test_header_of_a_shard_has_the_id_of_the_whole(tmp_path: Path) -> None:
    header = shard(tmp_path, 1).header
    assert header.joint_id == "whole"
    assert replace(header, shard=None).joint_id == "s1"
