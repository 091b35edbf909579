"""From a sweep to a champion and back: best, promote, and the gate against the champion."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from comparisons import make_metric
from mlflow_server import serve
from project import Project, quiet_mlflow
from sessions import make_case

from pytest_mlflow_experiments.cli import main
from pytest_mlflow_experiments.cli.admission import (
    Champion,
    against_champion,
    against_repeats,
    as_json,
    incomparable,
)
from pytest_mlflow_experiments.cli.candidate import PromotionCandidate
from pytest_mlflow_experiments.regression.compare import reported_options
from pytest_mlflow_experiments.regression.comparison import Comparison, SessionInfo
from pytest_mlflow_experiments.regression.sweeps.model import Configuration
from pytest_mlflow_experiments.regression.tolerance import Tolerance

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

TESTS = """
    import os
    import mlflow
    import pytest

    QUALITY = float(os.environ["QUALITY"])

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input):
            return model_input

    def log(name="model"):
        mlflow.pyfunc.log_model(name=name, python_model=Model(), pip_requirements=["mlflow"])

    @pytest.mark.parametrize("seed", [1, 2])
    @pytest.mark.parametrize("C", [0.1, 1.0])
    def test_model(mlflow_run, C, seed):
        accuracy = QUALITY + C / 100 + seed / 1000
        log()
        assert accuracy >= 0.5
"""
OTHERS = """
    @pytest.mark.parametrize("C", [1, 2])
    def test_plain(mlflow_case, C):
        mlflow_case.log_metric("f1", C / 10)

    def test_several(mlflow_run, mlflow_case):
        mlflow_case.log_input(b"rows", context="train")
        mlflow.log_metric("f1", 0.5)
        log("first")
        log("second")

    def test_older(mlflow_run, tmp_path):
        mlflow.log_metric("f1", 0.5)
        mlflow.pyfunc.save_model(
            tmp_path / "m", python_model=Model(), pip_requirements=["mlflow"]
        )
        mlflow.log_artifacts(tmp_path / "m", "kept")
        assert QUALITY >= 0.8
"""
AGAINST = ("--mlflow", "--mlflow-gate", "--mlflow-baseline=model:digits@champion")


def make(path: Path, database: Path, source: str) -> Project:
    project = Project(path)
    shutil.copyfile(database, path / "mlflow.db")
    project.write("[pytest]\n", "pytest.ini")
    project.write(source)
    return project


def run(project: Project, quality: float, *options: str, status: int = 0) -> str:
    """Run a session, and return its id."""
    project.pytest(*(options or ("--mlflow",)), env={"QUALITY": f"{quality}"}, status=status)
    return project.sessions()[-1].directory.session_id


def client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def champion(uri: str, name: str = "digits") -> ModelVersion:
    with quiet_mlflow():
        return client(uri).get_model_version_by_alias(name, "champion")


def versions(uri: str, name: str = "digits") -> dict[str, ModelVersion]:
    with quiet_mlflow():
        return {
            str(one.version): one for one in client(uri).search_model_versions(f"name='{name}'")
        }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Project:
    """Return a project with one session, in which tests register models by names of their own."""
    project = make(tmp_path_factory.mktemp("shared"), migrated_database, TESTS + OTHERS)
    run(project, 0.8)
    return project


def make_candidate(
    *, n: int = 2, failed: int = 0, datasets: Mapping[str, str] | None = None
) -> PromotionCandidate:
    configuration = Configuration(
        params={},
        values=(0.8,) * n,
        seeds=("",) * n,
        mean=0.8,
        std=None,
        distance=None,
        relative=None,
        p_value=None,
        metrics={},
        cases=5,
        failed=failed,
        nodeids=(),
    )
    return PromotionCandidate(
        test="test_it.py::test_a",
        record=make_case("test_a[1]"),
        configuration=configuration,
        objective="accuracy",
        mode="max",
        story=(),
        usual=2,
        seeds=frozenset({"seed"}),
        datasets=datasets or {},
    )


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({}, None),
        ({"pytest.nodeid": "test_it.py::test_a[2]", "pytest.datasets": '{"train": "a"}'}, None),
        ({"pytest.nodeid": "test_it.py::test_b[1]"}, "is of another test: test_it.py::test_b"),
        (
            {"pytest.datasets": '{"train": "b", "test": "c"}'},
            "was measured on other data: dataset 'train' changed (b → a); "
            "dataset 'test' changed (c → not there)",
        ),
        ({"pytest.datasets": '{"tr'}, "the data of the champion are not known"),
    ],
    ids=["unknown", "same", "test", "data", "broken"],
)
def test_champion_measured_otherwise(tags: dict[str, str], reason: str | None) -> None:
    with quiet_mlflow():
        from pytest_mlflow_experiments.tracker.registry import RegisteredVersion

    version = RegisteredVersion(number="1", run_id=None, source="", tags=tags)
    champion = Champion(version=version, value=0.8, origin="")
    found = list(against_champion(make_candidate(datasets={"train": "a"}), champion, ()))
    assert len(found) == (reason is not None)
    assert (reason or "") in "".join(found)


def make_own(**fields: object) -> Comparison:
    metric = make_metric(**{"case": "test_it.py::test_a[1]", **fields})  # type: ignore[arg-type]
    session = SessionInfo(session_id="s", name="s", start_time=1)
    return Comparison(session=session, baseline=None, metrics=(metric,))


def test_objective_that_is_not_comparable() -> None:
    reason = "dataset 'train' changed (a → b)"
    own = make_own(status="not comparable", reason=reason)
    found = list(incomparable(own, make_candidate(), ", there"))
    assert found == [f"test_a[1], there: accuracy is not comparable: {reason}"]
    for other in ({"metric": "f1"}, {"case": "test_it.py::test_b"}):
        assert not list(incomparable(make_own(status="not comparable", **other), make_candidate()))


def test_repeats_that_failed_or_are_lost() -> None:
    assert list(against_repeats(make_candidate())) == []
    assert list(against_repeats(make_candidate(n=1, failed=3))) == [
        "3 of 5 of its repeats did not pass",
        "only 1 of 2 repeats has a value",
    ]


def test_settings_of_the_session_hold_against_the_champion() -> None:
    test, rule = make_candidate().test, ("accuracy", Tolerance.parse("2%"))
    assert reported_options(None, test, [rule]).tolerances == [rule]
    said = reported_options(make_own(metric="chi", direction="min", tolerance="0.1"), test, [rule])
    assert said.directions == [("chi", "min")]
    assert said.tolerances == [rule, ("chi", Tolerance.parse("0.1"))]
    assert reported_options(make_own(tolerance="0.1"), test, [rule]).tolerances == [rule]
    none = reported_options(make_own(direction=None, advisory=True), test, ())
    assert none.directions == [("accuracy", None)]
    for left in (
        make_own(metric="seconds", cost=True, advisory=True),
        make_own(case="test_it.py::test_b"),
    ):
        assert reported_options(left, test, ()).directions == []


def test_params_in_a_tag_stay_json() -> None:
    long = json.loads(as_json({"text": "x" * 9_000, "C": "1.0"}))
    assert long["C"] == "1.0"
    assert long["text"].endswith("… [9000 characters]")
    many = as_json({f"{number}": "é" * 50 for number in range(1_000)})
    assert len(many) <= 5_000
    assert json.loads(many)["0"] == "é" * 50


@pytest.mark.real
def test_circle(tmp_path: Path, migrated_database: Path) -> None:
    project = make(tmp_path, migrated_database, TESTS)
    first = run(project, 0.80)
    assert project.cli("best").stdout.startswith("accuracy is best with C = 1.0: 0.81150 ± 0.00071")
    printed = project.cli("promote", "digits").stdout
    assert "the best of 2 points, C = 1.0: accuracy 0.81150 ± 0.00071 (n = 2)" in printed
    assert "the model is that of the median one of 2 repeats: accuracy 0.811" in printed
    assert "digits@champion is version 1 (its session: no baseline yet)" in printed
    version, record = champion(project.uri), project.session().case("test_model[1.0-1]")
    assert version.run_id == record.run_id
    assert str(version.source).startswith("models:/m-")
    tags = version.tags
    assert tags["pytest.session_id"] == first
    assert (tags["pytest.record_id"], tags["pytest.nodeid"]) == (record.id, record.nodeid)
    assert tags["pytest.case"] == record.case
    assert (tags["pytest.objective"], tags["pytest.gate"]) == ("accuracy", "passed")
    assert float(tags["pytest.objective.value"]) == pytest.approx(0.8115, abs=1e-15)
    assert json.loads(tags["pytest.params"]) == {"C": "1.0", "seed": "1"}

    # The same case twice is one version.
    again = project.cli("promote", "digits").stdout
    assert "registered already: digits version 1" in again
    assert "digits@champion is version 1, as before" in again
    assert list(versions(project.uri)) == ["1"]

    # A better one passes the gate against the champion, and takes its place.
    second = run(project, 0.85, *AGAINST)
    report = json.loads(project.sessions()[-1].directory.report.read_text(encoding="utf-8"))
    assert [one["session_id"] for one in report["baseline"]["sessions"]] == [first]
    printed = project.cli("promote", "digits").stdout
    assert (
        "digits@champion, version 1, has accuracy 0.8115 (the mean over its repeats): " in printed
    )
    assert "the candidate is at +0.05 (+6.2 %)" in printed
    assert "digits@champion is version 2, and was version 1" in printed
    assert champion(project.uri).tags["pytest.session_id"] == second
    assert "unchanged" in champion(project.uri).tags["pytest.verdicts"]

    # One that got worse fails the gate, and is registered without taking it.
    run(project, 0.60, *AGAINST, "--mlflow-tolerance=accuracy: 0.1", status=1)
    refused = project.cli("promote", "digits", "--tolerance=accuracy: 0.1", status=1).stdout
    assert (
        "Not promoted: version 3 is kept without the alias, digits@champion stays at version 2:"
    ) in refused
    assert "its session is no baseline for others: its gate failed" in refused
    assert "test_model[C=1.0]: accuracy regressed" in refused, refused
    assert (
        "accuracy 0.6115 is worse than 0.8615 of the champion, version 2: -0.25 (-29.0 %), more "
        "than the tolerance of 0.1"
    ) in refused
    assert str(champion(project.uri).version) == "2"
    third = versions(project.uri)["3"]
    assert third.tags["pytest.gate"] == "refused"
    assert "is worse than 0.8615" in str(third.description)


@pytest.mark.real
def test_model_that_is_logged_after_the_ranking(tmp_path: Path, migrated_database: Path) -> None:
    """To log a model takes long: docs/sweeps.md logs that of the best point alone."""
    source = TESTS.replace("  log()\n", '  if os.environ.get("LOG_MODEL"):\n            log()\n')
    # By it a single point is a sweep too.
    marker = '@pytest.mark.mlflow(objective="accuracy")'
    source = source.replace("    @pytest.mark", f"    {marker}\n    @pytest.mark", 1)
    project = make(tmp_path, migrated_database, source)
    run(project, 0.80)
    assert "logged no model" in project.cli("promote", "digits", status=2).stderr
    env = {"QUALITY": "0.8", "LOG_MODEL": "1"}
    # What -k has picked is no baseline for others.
    project.pytest("--mlflow", "-k", "1.0-1", env=env)
    refused = project.cli("promote", "digits", status=1).stdout
    assert "only some of its tests ran (-k)" in refused
    project.pytest("--mlflow", "test_it.py::test_model[1.0-1]", env=env)
    session = project.sessions()[-1].header
    printed = project.cli("promote", "digits").stdout
    assert f"session {session.session_id}, {session.name}" in printed
    assert "digits@champion is version" in printed
    assert champion(project.uri).tags["pytest.nodeid"].endswith("test_model[1.0-1]")


@pytest.fixture
def promote(
    shared: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_environment: None,
) -> Callable[..., str]:
    """Return a function that promotes within this process, from the shared session at first."""
    monkeypatch.chdir(shared.path)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        with quiet_mlflow():
            found = main(["promote", *arguments])
        printed = "".join(capsys.readouterr())
        assert found == status, printed
        return printed

    return run


@pytest.mark.real
def test_named_case(shared: Project, promote: Callable[..., str]) -> None:
    printed = promote("named", "--case=test_model[0.1-2]")
    assert "test_it.py::test_model, C = 0.1: accuracy 0.80250 ± 0.00071 (n = 2)" in printed
    assert "median" not in printed
    assert "the model is that of test_model[0.1-2]; what counts is the mean of 2 repeats" in printed
    tags = champion(shared.uri, "named").tags
    assert tags["pytest.nodeid"] == "test_it.py::test_model[0.1-2]"
    part = promote("part", "test_model", "--case=[0.1-", "--alias=best")
    assert "median one of 2 repeats: accuracy 0.802" in part
    assert "part@best is version 1" in part


def test_champion_keeps_its_objective(shared: Project, promote: Callable[..., str]) -> None:
    promote("kept", "test_model")
    before = champion(shared.uri, "kept")
    promote("kept", "test_model", "--metric=duration_seconds", "--case=[1.0-1]", "--mode=max")
    after = champion(shared.uri, "kept")
    assert (str(after.version), after.description) == (str(before.version), before.description)
    for key in ("pytest.objective", "pytest.objective.value", "pytest.gate"):
        assert after.tags[key] == before.tags[key]


def test_one_of_several_models(shared: Project, promote: Callable[..., str]) -> None:
    arguments = ("several", "--case=test_several", "--metric=f1")
    assert "--model says which: first, second" in promote(*arguments, status=2)
    third = promote(*arguments, "--model=third", status=2)
    assert "no model 'third'; there is first, second" in third
    printed = promote(*arguments, "--model=first")
    assert "test_it.py::test_several: f1 0.5" in printed
    assert "the model 'first'" in printed
    tags = champion(shared.uri, "several").tags
    assert json.loads(tags["pytest.params"]) == {}
    (record,) = (one for one in shared.session().cases if one.name == "test_several")
    assert json.loads(tags["pytest.datasets"]) == dict(record.datasets) != {}


def test_model_among_the_artifacts(shared: Project, promote: Callable[..., str]) -> None:
    promote("older", "test_older", "--metric=f1")
    source = str(champion(shared.uri, "older").source)
    assert source.endswith("/artifacts/kept")
    with quiet_mlflow():
        from mlflow.artifacts import list_artifacts

        assert "MLmodel" in {Path(info.path).name for info in list_artifacts(source)}


def test_registry_elsewhere(
    shared: Project,
    promote: Callable[..., str],
    migrated_database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copyfile(migrated_database, tmp_path / "registry.db")
    uri = f"sqlite:///{(tmp_path / 'registry.db').as_posix()}"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_REGISTRY_URI", uri)
        promote("elsewhere", "test_model")
    assert champion(uri, "elsewhere").tags["pytest.gate"] == "passed"
    assert versions(shared.uri, "elsewhere") == {}


@pytest.mark.parametrize(
    ("metrics", "tag", "tolerance", "reason"),
    [
        ({"accuracy": 0.8}, None, None, None),
        ({"accuracy": 0.82}, None, None, "0.8115 is worse than 0.82 of the champion, version 1"),
        ({"accuracy": 0.82}, None, "1%", "-0.0085 (-1.0 %), more than the tolerance of 1%"),
        ({"accuracy": 0.82}, None, "0.01", None),
        ({}, None, None, "has no such metric, and no tag tells of it"),
        ({}, "0.8115", None, None),
        ({}, "great", None, "its tag pytest.objective.value is 'great'"),
        ({"accuracy": float("nan")}, None, None, "of the champion, version 1, is NaN"),
        (None, None, None, "it has no run, and no tag tells of it"),
    ],
    ids=[
        *("worse", "better", "beyond", "tolerated", "unknown", "tagged", "bad tag"),
        *("nan", "no run"),
    ],
)
def test_champion_registered_by_hand(
    shared: Project,
    promote: Callable[..., str],
    request: pytest.FixtureRequest,
    metrics: dict[str, float] | None,
    tag: str | None,
    tolerance: str | None,
    reason: str | None,
) -> None:
    name = request.node.callspec.id
    with quiet_mlflow():
        hand, run_id = client(shared.uri), None
        if metrics is not None:
            run_id = hand.create_run("0").info.run_id
            for key, value in metrics.items():
                hand.log_metric(run_id, key, value)
        tags = {"pytest.objective": "accuracy", "pytest.objective.value": tag} if tag else {}
        hand.create_registered_model(name)
        hand.create_model_version(name, "/tmp/model", run_id, tags=tags)
        hand.set_registered_model_alias(name, "champion", "1")
    options = (f"--tolerance=accuracy: {tolerance}",) if tolerance else ()
    printed = promote(name, "test_model", *options, status=1 if reason else 0)
    assert (reason or f"{name}@champion is version 2, and was version 1") in printed
    assert str(champion(shared.uri, name).version) == ("1" if reason else "2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("test_plain",), "[2] logged no model: its test must use the fixture mlflow_run"),
        ((), "several sweeps; name one of them"),
        (("--case=[1",), "fits cases of several points; name one"),
        (("--case=nothing",), "no case of the session fits 'nothing'"),
        (("test_model", "--alias=v1"), "--alias v1: expected letters"),
        (("test_model", "--tolerance=accuracy"), "--tolerance: 'accuracy' is not a metric"),
        (("test_model", "--tolerance=rmse: 1"), "--tolerance rmse: test_it.py::test_model[1.0-1]"),
        (("test_model", "--metric=f1"), "No case has a value of f1"),
        (("--case=test_several", "--metric=loss"), "has no value of loss"),
    ],
    ids=["model", "test", "case", "no case", "alias", "rule", "other", "metric", "no metric"],
)
def test_bad_input_registers_nothing(
    shared: Project, promote: Callable[..., str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in promote("nothing", *arguments, status=2)
    assert versions(shared.uri, "nothing") == {}


def test_session_that_was_not_sent(
    promote: Callable[..., str],
    make_project: Callable[[str], Project],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project("unsent")
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("C", [1, 2])
        def test_it(mlflow_case, C):
            mlflow_case.log_metric("f1", C)
        """
    )
    project.pytest("--mlflow", "--mlflow-offline")
    monkeypatch.chdir(project.path)
    assert "`pytest-mlflow sync` sends it" in promote("unsent", status=1)
    assert versions(project.uri, "unsent") == {}


@pytest.mark.real
def test_model_of_a_case_that_was_taken_over(
    promote: Callable[..., str],
    tmp_path: Path,
    migrated_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = "\n    def test_broken(mlflow_case):\n        assert 'MENDED' in os.environ\n"
    project = make(tmp_path, migrated_database, TESTS + broken)
    project.write("mlflow.db*\nmlruns\nmlartifacts\n", ".gitignore")
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for command in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "one")):
        project.run("git", *command)
    first = run(project, 0.8, status=1)
    monkeypatch.setenv("MENDED", "1")
    second = run(project, 0.8, "--mlflow", "--mlflow-resume")
    record = project.sessions()[-1].case("test_model[1.0-1]")
    assert (record.run_id, record.resumed_from) == (None, first)
    monkeypatch.chdir(project.path)
    promote("resumed")
    version = champion(project.uri, "resumed")
    assert version.run_id == record.resumed_run
    assert version.tags["pytest.session_id"] == second
    assert version.tags["mlflow.source.git.commit"] == project.sessions()[-1].header.commit
    shown = project.cli("baseline", "show", "model:resumed@champion").stdout
    assert shown.startswith(f"session {second} (model resumed@champion)")


def test_bad_name(promote: Callable[..., str]) -> None:
    assert "NAME 'a/b': a registered model" in promote("a/b", "test_model", status=2)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[tuple[Project, str]]:
    project = make(tmp_path_factory.mktemp("served"), migrated_database, TESTS)
    place = tmp_path_factory.mktemp("server")
    with serve(place, project.uri) as server:
        yield project, server.uri


@pytest.mark.real
def test_on_a_server(served: tuple[Project, str]) -> None:
    project, uri = served
    session = run(project, 0.8, "--mlflow", f"--mlflow-tracking-uri={uri}")
    record = project.session().case("test_model[1.0-1]")
    project.session().directory.remove()
    where = (f"--tracking-uri={uri}", f"--experiment={project.path.name}")
    best = json.loads(project.cli("best", *where, "--format=json").stdout)
    assert best["session"] == session
    assert best["best"]["run_ids"][0] == record.run_id
    printed = project.cli("promote", "digits", f"--session={session}", *where).stdout
    assert "digits@champion is version 1 (its session: no baseline yet)" in printed
    version = champion(uri)
    assert (version.run_id, version.tags["pytest.record_id"]) == (record.run_id, record.id)
    run(project, 0.85, *AGAINST, f"--mlflow-tracking-uri={uri}")
    printed = project.cli("promote", "digits").stdout
    assert "digits@champion is version 2, and was version 1" in printed
    assert list(versions(uri)) == ["2", "1"]
