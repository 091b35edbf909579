"""Sessions on several machines that become one: real pytest processes, and the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from mlflow_server import serve
from postgres import Cluster
from project import Project, clean_environment, plugins_for, quiet_mlflow, search_runs

from pytest_mlflow_experiments.records import CaseRecord
from pytest_mlflow_experiments.records.directory import DIRECTORY_NAME

OFFLINE = ("--mlflow", "--mlflow-offline", "--mlflow-session=nightly")

# As pytest-split and its like do it.
SPLIT = """
    import os

    def pytest_collection_modifyitems(config, items):
        index, number = map(int, os.environ.get("SHARD", "0/1").split("/"))
        mine = items[index::number]
        config.hook.pytest_deselected(items=[item for item in items if item not in mine])
        items[:] = mine
"""
JUDGED = """
    [pytest]
    mlflow_experiment = it
    mlflow_gate = true
    mlflow_tolerance = accuracy: 0.01
"""
CHECKS = """
    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_it(number):
        accuracy = {} if number == 3 else 0.9
        assert accuracy > 0.1

    @pytest.mark.skip
    def test_skipped():
        assert False
"""


@pytest.fixture
def whole(make_project: Callable[[str], Project]) -> Project:
    """Return the project of a machine that puts together what others ran."""
    project = make_project("project")
    project.write("[pytest]\nmlflow_experiment = it\n", "pytest.ini")
    project.write(SPLIT, "conftest.py")
    project.write(CHECKS.format(0.9))
    return project


def run_shards(project: Project, number: int, *options: str, start: int = 0) -> Path:
    """Run all shards, each on a machine of its own; return the directory of their artifacts."""
    artifacts = project.path.parent / "artifacts"
    for index in range(start, number):
        machine = Project(project.path.parent / f"machine {index}")
        shutil.rmtree(machine.path, ignore_errors=True)
        shutil.copytree(project.path, machine.path, ignore=shutil.ignore_patterns(DIRECTORY_NAME))
        machine.pytest(*(options or OFFLINE), env={"SHARD": f"{index}/{number}"})
        shutil.copytree(machine.path / DIRECTORY_NAME, artifacts / f"{index}", dirs_exist_ok=True)
    return artifacts


def merged(project: Project, *options: str, status: int = 0, number: int = 3) -> str:
    """Run shards and put them together, offline; return what the command printed."""
    artifacts = project.path.parent / "artifacts"
    shutil.rmtree(artifacts, ignore_errors=True)
    run_shards(project, number)
    return project.cli("merge", str(artifacts), "--offline", *options, status=status).stdout


@pytest.mark.real
def test_shards_become_one_session(whole: Project) -> None:
    artifacts = run_shards(whole, 3)
    for _ in range(2):
        result = whole.cli("merge", str(artifacts), "--shards=3")
        assert "Session nightly: 3 shards, 6 cases" in result.stdout
    session = whole.session()
    assert session.directory.session_id == session.header.session_id == "nightly"
    assert session.end is not None
    assert session.end.complete
    run = whole.session_run()
    assert run.info.status == "FINISHED"
    assert run.data.tags["pytest.complete"] == "true"
    assert run.data.metrics["cases"] == 6
    cases = whole.case_runs()
    assert len(cases) == 6
    (sweep,) = whole.sweep_runs().values()
    assert (sweep.info.status, sweep.data.metrics["cases"]) == ("FINISHED", 6)
    assert sweep.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert {case.data.tags["mlflow.parentRunId"] for case in cases.values()} == {sweep.info.run_id}
    # It is a session as any other: the next one is compared with it.
    section = whole.pytest("--mlflow").section()
    assert "the last passing session outside of any branch; the newest" in "\n".join(section)


@pytest.mark.real
def test_whole_is_judged_as_its_shards_were_told(whole: Project) -> None:
    whole.write(JUDGED, "pytest.ini")
    assert "irst run" in merged(whole)
    whole.path.joinpath(DIRECTORY_NAME, "nightly").rename(whole.path / DIRECTORY_NAME / "old")
    journal = whole.path / DIRECTORY_NAME / "old" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"nightly"', '"old"'), encoding="utf-8")
    assert "6 unchanged" in merged(whole, "--report=found.md")
    assert "6 unchanged" in whole.path.joinpath("found.md").read_text(encoding="utf-8")
    whole.write(CHECKS.format(0.85))
    printed = merged(whole, status=1)
    assert "Gate failed: 1 metric regressed" in printed
    assert "test_it[3]" in printed
    github = {"GITHUB_ACTIONS": "true"}
    artifacts = str(whole.path.parent / "artifacts")
    again = whole.cli("merge", artifacts, "--offline", env=github, status=1).stdout
    assert "::error file=test_it.py,line=7,title=accuracy regressed::test_it[3]: " in again
    end = whole.sessions()[-1].end
    assert end is not None
    assert end.rejected
    merged(whole, "--no-gate")
    whole.write(CHECKS.format(0.85).replace("range(6)", "range(1, 6)"))
    printed = merged(whole, status=1)
    # A point that went from a sweep is no gap: the sweep is judged by the others.
    assert "test_it: 5 points" in printed
    assert "missing" not in printed
    # Skipped tests are not: the whole knows of those that left no record.
    assert "test_skipped" not in printed


def test_missing_shard_never_passes(whole: Project) -> None:
    artifacts = run_shards(whole, 3, start=1)
    result = whole.cli("merge", str(artifacts), "--offline", "--shards=3", status=1)
    assert "Not all of the session ran: there are 2 shards, and not 3" in result.stdout
    assert "not used as a baseline" in result.stdout
    assert "Not everything ran: there are 2 shards, and not 3" in result.stdout
    gated = whole.cli("merge", str(artifacts), "--offline", "--shards=3", "--gate", status=1)
    assert "Gate failed: not everything ran: there are 2 shards, and not 3" in gated.stdout
    report = whole.session().directory.path / "report.md"
    assert report.read_text(encoding="utf-8").startswith("### ❌ Gate failed: not everything ran")
    run_shards(whole, 1)


def test_shards_of_a_plugin_that_tells_pytest_nothing(whole: Project) -> None:
    # As pytest-shard does it.
    silent = SPLIT.replace("config.hook.pytest_deselected", "list")
    whole.write(silent.replace("items=[", "["), "conftest.py")
    artifacts = run_shards(whole, 2)
    whole.cli("merge", str(artifacts), "--offline", "--shards=2")
    end = whole.session().end
    assert end is not None
    assert end.complete


def test_shard_that_broke_off_never_passes(whole: Project) -> None:
    artifacts = run_shards(whole, 2)
    journal = next(artifacts.joinpath("1").glob("*/journal.jsonl"))
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    result = whole.cli("merge", str(artifacts), "--offline", status=1)
    assert f"shard {journal.parent.name} did not run to its end" in result.stdout


def test_shards_of_one_directory(whole: Project) -> None:
    for index in range(2):
        whole.pytest(*OFFLINE, env={"SHARD": f"{index}/2"})
        whole.pytest("--mlflow", "--mlflow-offline", "--mlflow-session=other")
    result = whole.cli("merge", "--session=nightly", "--offline")
    assert "Session nightly: 2 shards, 6 cases" in result.stdout
    (shard, *_) = (one for one in whole.sessions() if one.header.shard)
    for name in ("night", shard.header.session_id, f"{DIRECTORY_NAME}/{shard.header.session_id}"):
        again = whole.cli("merge", "--session", name, "--offline").stdout
        assert "Session nightly: 2 shards" in again
    assert "Session other: " in whole.cli("merge", "--session=latest", "--offline").stdout
    wrong = whole.cli("merge", "--session=nightmare", "--offline", status=1).stderr
    assert "there is no shard of nightmare" in wrong
    assert "shards of nightly, other" in wrong
    result = whole.cli("merge", DIRECTORY_NAME, "--offline", status=2)
    assert "several sessions: nightly, other; use --session" in result.stderr


def test_shard_without_a_case_counts(whole: Project) -> None:
    for index in (0, 7):
        status = 0 if index == 0 else 5
        whole.pytest(*OFFLINE, env={"SHARD": f"{index}/8"}, status=status)
    result = whole.cli("merge", "--session=nightly", "--offline", "--shards=2")
    assert "Session nightly: 2 shards, 1 case" in result.stdout


def test_id_of_the_ci_run(whole: Project) -> None:
    env = {"GITHUB_RUN_ID": "77"}
    whole.pytest("--mlflow", "--mlflow-offline", "--mlflow-session=auto", env=env)
    assert "Session github-77: 1 shard" in whole.cli("merge", "--offline", env=env).stdout
    result = whole.pytest("--mlflow", "--mlflow-session=auto", status=4)
    assert "--mlflow-session, or ini value mlflow_session: 'auto' needs" in result.stderr
    # There is but one session of shards here.
    assert "Session github-77: 1 shard" in whole.cli("merge", "--offline").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("merge", "nowhere"), 2, "nowhere does not exist"),
        (("merge", "."), 2, "there is no shard here"),
        (("merge", "--session=x", "--offline"), 1, "there is no shard of x in"),
        (("merge",), 2, "there is no shard here, and no session is named"),
        (("merge", "--gate", "--baseline=none", "shards"), 2, "nothing to judge by"),
        (("merge", "--gate=drift", "--baseline=none", "shards"), 2, "nothing to judge by"),
        (("merge", "--report=x.md/y.md", "--offline", "shards"), 2, "x.md/y.md can't be written"),
        (("merge", "--session=a/b"), 2, "--session: expected"),
        (("merge", "--shards=0", "."), 2, "'0'"),
        (("merge", "--baseline=x", "shards"), 2, "--baseline: 'x' is not a baseline"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input(whole: Project, arguments: tuple[str, ...], status: int, message: str) -> None:
    whole.path.joinpath("x.md").touch()
    if "shards" in arguments:
        run_shards(whole, 1).rename(whole.path / "shards")
    assert message in whole.cli(*arguments, status=status).stderr


def test_gate_fails_where_the_history_cannot_be_read(whole: Project) -> None:
    whole.pytest("--mlflow", "--mlflow-offline")
    journal = whole.session().directory.journal
    journal.write_text(journal.read_text().replace('"schema":1', '"schema":99'), encoding="utf-8")
    artifacts = run_shards(whole, 1)
    result = whole.cli("merge", str(artifacts), "--offline", "--gate", status=1)
    assert "there is no baseline that can be read" in result.stdout


def test_what_is_no_whole_is_not_replaced(whole: Project) -> None:
    artifacts = run_shards(whole, 1)
    precious = whole.path / DIRECTORY_NAME / "nightly" / "journal.jsonl"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    result = whole.cli("merge", str(artifacts), "--offline", status=2)
    assert "exists already, and is not a session of shards" in result.stderr
    assert precious.read_text() == "precious"


MANY = """
    import random

    import pytest

    @pytest.mark.parametrize("number", range(1_000))
    def test_it(number, mlflow_case):
        accuracy = random.Random(number).random()
        assert accuracy >= 0.0
        for step in range(3):
            mlflow_case.log_metric("loss", accuracy / (step + 1), step=step)
        if number < 8:
            mlflow_case.log_text(str(accuracy), "accuracy.txt")

    @pytest.mark.parametrize("shard", range(4))
    def test_mlflow_itself(shard, mlflow_run):
        import mlflow

        mlflow.log_metric("own", shard / 7)
"""


@pytest.mark.real
def test_four_machines_one_server(
    make_project: Callable[[str], Project], postgres: Cluster, tmp_path: Path
) -> None:
    """Four shards of 251 cases at once: nothing is lost, nothing doubled, one session."""
    with serve(tmp_path, postgres.database(), workers=2) as server:
        machines = [make_project(f"machine{index}") for index in range(4)]
        processes = []
        for index, machine in enumerate(machines):
            machine.write(SPLIT, "conftest.py")
            machine.write(MANY)
            command = [
                *(sys.executable, "-m", "pytest", "--mlflow", "--mlflow-session=nightly"),
                *("--mlflow-experiment=it", f"--mlflow-tracking-uri={server.uri}"),
                # On two processors one of them may be left without an answer for half a minute.
                "--mlflow-timeout=150",
            ]
            env = {**clean_environment(), **plugins_for(), "SHARD": f"{index}/4"}
            processes.append(subprocess.Popen(command, cwd=machine.path, env=env))
        assert [process.wait(400) for process in processes] == [0] * 4
        project = make_project("project")
        result = project.cli(
            *("merge", "--session=nightly", "--shards=4", "--experiment=it"),
            f"--tracking-uri={server.uri}",
        )
        assert "Session nightly: 4 shards, 1,004 cases" in result.stdout
        runs = search_runs(server.uri)
        by_kind = {
            kind: [run for run in runs if run.data.tags.get("pytest.kind") == kind]
            for kind in ("session", "sweep", "case")
        }
        assert len(runs) == 1_007
        (session,) = by_kind["session"]
        assert session.info.status == "FINISHED"
        assert session.data.tags["pytest.complete"] == "true"
        assert session.data.metrics["cases"] == 1_004
        sweeps = {run.data.tags["pytest.nodeid"]: run for run in by_kind["sweep"]}
        assert sorted(run.data.metrics["cases"] for run in sweeps.values()) == [4, 1_000]
        for run in sweeps.values():
            assert run.data.tags["mlflow.parentRunId"] == session.info.run_id
            assert run.info.status == "FINISHED"
        recorded = {case.id: case for machine in machines for case in machine.session().cases}
        assert len(recorded) == 1_004
        for run in by_kind["case"]:
            case = recorded.pop(run.data.tags["pytest.record_id"])
            assert run.data.tags["mlflow.parentRunId"] == sweeps[str(case.sweep)].info.run_id
            assert run.info.status == "FINISHED"
            assert run.data.metrics == {**last_values(case), **run.data.metrics}
        assert not recorded
        with quiet_mlflow():
            from mlflow import MlflowClient

            # Listing artifacts, MLflow 3.0 asks the environment's store and not the client's.
            with patch.dict(os.environ, MLFLOW_TRACKING_URI=server.uri):
                names = MlflowClient(server.uri).list_artifacts(session.info.run_id)
        assert {"results.jsonl", "report.html", "shards"} <= {info.path for info in names}


def last_values(case: CaseRecord) -> dict[str, float]:
    return {metric.key: metric.value for metric in case.metrics}
