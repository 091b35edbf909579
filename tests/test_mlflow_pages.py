"""What MLflow's tables and charts show of a session: its verdict, its models, what was before."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comparisons import make_comparison
from comparisons import make_metric as make_row
from mlflow_server import Server
from project import RUN_TYPE, Project, mlflow_has
from tracker_database import Database
from tracker_kit import START, Journal, make_check, make_metric, make_record

from pytest_mlflow_experiments.records import (
    CaseRecord,
    SessionEnd,
    SessionHeader,
    Shard,
    SweepEnd,
)
from pytest_mlflow_experiments.records import journal as records_journal
from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.records.param_kinds import SEED_PARAMS
from pytest_mlflow_experiments.regression.direction import is_cost
from pytest_mlflow_experiments.report.links import artifact_link
from pytest_mlflow_experiments.report.run_texts import with_comparison
from pytest_mlflow_experiments.tracker.limits import NAME_LENGTH
from pytest_mlflow_experiments.tracker.main import project as send
from pytest_mlflow_experiments.tracker.runs.case import Parent, project_baseline, project_case
from pytest_mlflow_experiments.tracker.runs.session import SessionTally, name_with

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = pytest.mark.filterwarnings("ignore")
BRANCH, COMMIT = "mlflow.source.git.branch", "mlflow.source.git.commit"
TAGS = {BRANCH: "main", COMMIT: "d67c6de", "team": "vision", "python.version": "3.13", "note": "1"}


def case(nodeid: str, value: float | None = None, **changes: Any) -> CaseRecord:
    """Return a case of ``file::test[id]`` that asserts an accuracy, if it has a value."""
    metrics = () if value is None else (make_metric("accuracy", value),)
    checks = tuple(make_check(value=metric.value) for metric in metrics)
    number = changes.pop("number", 0)
    changes = {"metrics": metrics, "checks": checks, "params": {}, "case": nodeid, **changes}
    return make_record(number, nodeid=nodeid, name=nodeid.rpartition("::")[2], **changes)


def ended(**changes: Any) -> SessionEnd:
    return SessionEnd(**{"end_time": START, "exit_status": 0, "tests": 3, **changes})


def headlines(*records: CaseRecord, **changes: Any) -> dict[str, float]:
    tally = SessionTally()
    for record in records:
        tally.add(record)
    return tally.headlines(ended(**changes))


def test_session_has_the_objective_of_each_test() -> None:
    loss = [make_metric("loss", 0.5, 0), make_metric("loss", 0.25, 1)]
    found = headlines(
        case("a.py::test_one", 0.9),
        case("a.py::TestIt::test_two[0]", 0.8),
        case("a.py::TestIt::test_two[1]", 0.6),
        case("a.py::test_logged", metrics=tuple(loss)),
        case("a.py::test_marked", 0.7, objective="f1", run_metrics={"f1": 0.5}),
        case("a.py::test_named", 0.4, case="the model"),
        case("a.py::test_nothing"),
        case("a.py::test_skipped", outcome="skipped"),
    )
    assert found == {
        "test_marked/f1": 0.5,
        "test_one/accuracy": 0.9,
        "test_two/accuracy": pytest.approx(0.7),
        "the model/accuracy": 0.4,
        "test_logged/loss": 0.25,
    }
    assert next(iter(found)) == "test_marked/f1"
    assert list(found)[-1] == "test_logged/loss"


def test_headlines_are_the_same_in_whatever_order_the_tests_ran() -> None:
    cases = [case(f"{file}.py::test_{n}[{n}]", n / 10) for file in "ab" for n in (1, 2, 3)]
    expected = headlines(*cases)
    for order in itertools.islice(itertools.permutations(cases), 0, 700, 50):
        assert headlines(*order) == expected


def test_tests_of_the_same_name_are_told_apart() -> None:
    found = headlines(
        case("tests/a.py::test_fit[x]", 0.1),
        case("tests/b.py::test_fit", 0.2),
        case("tests/b.py::TestIt::test_fit", 0.3),
        case("tests/b.py::test_other", 0.4),
    )
    assert found == {
        "tests.a.test_fit/accuracy": 0.1,
        "tests.b.test_fit/accuracy": 0.2,
        "tests.b.TestIt.test_fit/accuracy": 0.3,
        "test_other/accuracy": 0.4,
    }


def test_no_more_than_fifty_and_the_important_ones_first() -> None:
    plain = [case(f"a.py::test_{n:03}", 0.5) for n in range(100)]
    found = headlines(*plain, case("z.py::test_z", 0.9, objective="accuracy"))
    assert len(found) == 50
    assert next(iter(found)) == "test_z/accuracy"
    assert "test_048/accuracy" in found


def test_the_value_that_a_test_failed_for_is_told_and_no_mean_of_the_others() -> None:
    low = case("a.py::test_low", 0.2, outcome="failed")
    early = case("a.py::test_many[1]", outcome="failed")
    found = headlines(low, case("a.py::test_many[0]", 0.9), early)
    assert found == {"test_low/accuracy": 0.2}


def test_a_test_that_asserts_nothing_but_a_cost() -> None:
    slow = make_metric("latency_seconds", 0.5)
    check = make_check(metric="latency_seconds", operator="<", value=0.5, limit=1.0)
    found = headlines(case("a.py::test_fast", metrics=(slow,), checks=(check,)))
    assert found == {"test_fast/latency_seconds": 0.5}
    assert not headlines(case("a.py::test_fast", metrics=(slow,)))


def test_a_sweep_is_told_by_its_best() -> None:
    cases = [
        case(f"a.py::test_grid[{n}]", n / 10, arguments=("rate",), params={"rate": f"{n}"})
        for n in range(5)
    ]
    best = SweepEnd(
        test="a.py::test_grid",
        metrics={"best_accuracy": 0.4},
        tags={"pytest.objective": "accuracy"},
    )
    assert headlines(*cases, sweeps=(best,), summary="compared") == {"test_grid/accuracy": 0.4}
    # Some of its configurations failed, so that nothing is its best: a gap in the chart.
    none = replace(best, metrics={})
    assert headlines(*cases, sweeps=(none,), summary="compared") == {}
    # The reports, which know all of its cases, call it no sweep; and without them nobody knows.
    assert headlines(*cases, summary="compared") == {"test_grid/accuracy": pytest.approx(0.2)}
    assert headlines(*cases) == {}


def test_a_session_that_was_cut_short_has_no_headlines() -> None:
    assert not headlines(case("a.py::test_one", 0.9), interrupted="stopping after 1 failures")
    tally = SessionTally()
    tally.add(case("a.py::test_one", 0.9))
    assert not tally.headlines(None)


def test_names_of_headlines_are_legal() -> None:
    from mlflow.utils.validation import _validate_metric

    tally = SessionTally()
    odd = make_metric("r²|a:b", nan)
    tally.add(case("a.py::test_" + "x" * 300, metrics=(odd,)))
    tally.add(case("a.py::test_odd", 0.5, case="../a b: [ü]"))
    header = SessionHeader(
        session_id="session-1",
        name="main@d67c6de",
        start_time=START,
        tracking_uri="unused",
        experiment_name="it",
        experiment_id=None,
    )
    metrics = tally.metrics(header, ended())
    for metric in metrics:
        validate: Any = _validate_metric
        validate(metric.key, metric.value, metric.timestamp, metric.step)


@pytest.mark.parametrize(
    ("outcomes", "changes", "verdict"),
    [
        ("p", {"metrics": {"regressed": 1.0, "improved": 2.0}}, "✗ 1 regressed"),
        ("p", {"metrics": {"regressed": 2.0, "missing": 1.0}}, "✗ 2 regressed, 1 missing"),
        ("pfe", {"metrics": {"regressed": 1.0}, "exit_status": 1}, "✗ 1 regressed, 2 failed"),
        ("pf", {"exit_status": 1}, "✗ 1 failed"),
        ("p", {"exit_status": 1}, "✗ exit status 1"),
        ("p", {"exit_status": 1, "rejected": True}, "✗ gate failed"),
        ("p", {"exit_status": 2, "interrupted": "Ctrl-C"}, "✗ cut short"),
        ("pf", {"exit_status": 1, "interrupted": "-x"}, "✗ cut short, 1 failed"),
        ("p", {"metrics": {"regressed": 0.0}}, "✓ nothing worse"),
        ("p", {"metrics": {"regressed": 0.0, "improved": 1.0}}, "✓ 1 improved"),
        ("p", {"metrics": {"drifting": 1.0, "regressed": 0.0}}, "✓ 1 drifting"),
        ("p", {}, "✓ passed"),
        ("", {"exit_status": 5}, "✓ passed"),
    ],
)
def test_verdict(outcomes: str, changes: dict[str, Any], verdict: str) -> None:
    tally = SessionTally()
    words = {"p": "passed", "f": "failed", "e": "error"}
    for number, outcome in enumerate(outcomes):
        tally.add(case(f"a.py::test_{number}", 0.5, outcome=words[outcome]))
    assert tally.verdict(ended(**changes)) == verdict
    assert tally.verdict(None) == "✗ broke off"


def test_the_verdict_stays_where_the_name_is_long() -> None:
    assert name_with("✓ passed", "main@d67c6de") == "main@d67c6de ✓ passed"
    name = name_with("✗ 1 regressed", "n" * 1_000)
    assert len(name) == NAME_LENGTH
    assert name.endswith(" characters] ✗ 1 regressed")


def test_cases_have_the_tags_of_their_session_to_be_filtered_by() -> None:
    parent = Parent(
        run_id="parent",
        session_id="session-1",
        user="somebody",
        directory=SessionDirectory(Path("session")),
        tags={BRANCH: "main", "team": "vision"},
    )
    tags = project_case(make_record(), parent).tags
    assert (tags[BRANCH], tags["team"], tags["pytest.kind"]) == ("main", "vision", "case")
    own = project_case(make_record(tags={"team": "audio"}), parent).tags
    assert own["team"] == "audio"


def test_baseline_stands_beside_the_value() -> None:
    values = {
        "accuracy": 0.9,
        "recall[cat]": 0.8,
        "recall[lowest]": 0.7,
        "score[2 of 3]": 0.6,
        "a:b": 0.5,
        "loss": 0.4,
        "loss.baseline": 0.3,
    }
    found = {metric.key: metric.value for metric in project_baseline(values, START)}
    # A metric that the test itself calls so is the test's.
    assert found == {
        "accuracy.baseline": 0.9,
        "recall.cat.baseline": 0.8,
        "a_b.baseline": 0.5,
        "loss.baseline.baseline": 0.3,
    }


def test_end_of_a_session_has_the_baseline_of_each_case() -> None:
    comparison = make_comparison(
        make_row("regressed", case="a", history=(0.9,)),
        make_row("unchanged", case="a", metric="f1", history=(0.8,)),
        make_row("new", case="b"),
        make_row("unchanged", case="b", metric="cpu_seconds", cost=True, advisory=True),
        make_row("unchanged", case="b", metric="latency", cost=True, history=(2.0,)),
    )
    end = with_comparison(ended(), comparison, {"seed"})
    assert end.baselines == {"a": {"accuracy": 0.9, "f1": 0.8}, "b": {"latency": 2.0}}
    assert end.seed_params == ("seed",)


def test_costs_of_traces_are_costs() -> None:
    for name in ("tokens", "input_tokens", "output_tokens", "cost_usd", "latency_seconds"):
        assert is_cost(f"trace_{name}")


SEEDS = [
    case(f"a.py::test_fit[{n}]", 0.9, number=n, arguments=("seed",), params={"seed": f"{n}"})
    for n in (1, 2)
]
BASELINES = {"a.py::test_fit": {"accuracy": 0.95}, "a.py::test_one": {"accuracy": nan, "x[y]": 1.0}}
END: dict[str, Any] = {
    "metrics": {"regressed": 1.0},
    "baselines": BASELINES,
    "seed_params": ("seed",),
}
CASES = [*SEEDS, case("a.py::test_one", 0.5, number=3), case("a.py::test_new", 0.5, number=4)]


@pytest.fixture(params=["bulk", "client"])
def store(
    request: pytest.FixtureRequest,
    database: Database,
    without_bulk: Callable[[], None],
    restored_environment: None,
) -> Database:
    if request.param == "client":
        without_bulk()
    return database


def baselines(runs: Sequence[Run]) -> dict[str, dict[str, float | str]]:
    """Return the values that runs have of the baseline, as text, for one is NaN."""
    return {
        run.info.run_name: {
            key: "nan" if isnan(value) else value
            for key, value in run.data.metrics.items()
            if key.endswith(".baseline")
        }
        for run in runs
    }


BESIDE = {
    "test_fit[1]": {"accuracy.baseline": 0.95},
    "test_fit[2]": {"accuracy.baseline": 0.95},
    "test_one": {"accuracy.baseline": "nan", "x.y.baseline": 1.0},
    "test_new": {},
}


def test_runs_tell_of_the_baseline_the_branch_and_the_verdict(store: Database) -> None:
    journal = Journal(store.path, name="main@d67c6de", tags=TAGS).cases(CASES).finish(**END)
    journal.directory.path.joinpath("report.html").write_text("<p>", encoding="utf-8")
    assert store.send(journal).phase == "done"
    assert baselines(store.runs()) == BESIDE
    for run in store.runs():
        tags = run.data.tags
        assert (tags[BRANCH], tags[COMMIT], tags["team"]) == ("main", "d67c6de", "vision")
        assert "python.version" not in tags
    (experiment,) = {run.info.experiment_id for run in store.runs()}
    of_main = f"tags.`{BRANCH}` = 'main' and tags.`pytest.kind` = 'case'"
    assert len(store.client.search_runs([experiment], of_main)) == len(CASES)
    worse = "metrics.accuracy < 0.95 and metrics.`accuracy.baseline` > 0.94"
    assert len(store.client.search_runs([experiment], worse)) == 2
    (session,) = store.runs(kind="session")
    assert session.info.run_name == "main@d67c6de ✗ 1 regressed"
    assert session.data.tags["mlflow.runName"] == "main@d67c6de ✗ 1 regressed"
    assert session.data.tags["pytest.verdict"] == "✗ 1 regressed"
    assert session.data.tags.get("mlflow.runType") == RUN_TYPE
    assert session.data.metrics["test_one/accuracy"] == 0.5
    assert session.data.metrics["test_fit/accuracy"] == 0.9
    page = f"#/experiments/{experiment}/runs/{session.info.run_id}/artifacts/report.html"
    assert (
        f"[Open the report]({page}?workflowType=machine_learning)"
        in session.data.tags["mlflow.note.content"]
    )
    before = store.contents()
    store.send(journal)
    assert store.contents() == before
    assert len(store.runs(kind="session")) == 1


def test_a_run_that_somebody_has_renamed_keeps_its_name(store: Database) -> None:
    journal = Journal(store.path, name="main@d67c6de").cases(CASES)
    store.send(journal)
    (session,) = store.runs(kind="session")
    assert session.info.run_name == "main@d67c6de ✗ broke off"
    store.client.update_run(session.info.run_id, name="the good one")
    store.send(journal.finish())
    (session,) = store.runs(kind="session")
    assert session.info.run_name == "the good one"
    assert session.data.tags["pytest.verdict"] == "✓ passed"


def test_a_session_that_broke_off_gets_its_verdict_when_it_is_sent_again(store: Database) -> None:
    journal = Journal(store.path, name="n" * 300).cases(CASES)
    store.send(journal)
    store.send(journal.finish(**END))
    (session,) = store.runs(kind="session")
    assert session.info.run_name.endswith(" characters] ✗ 1 regressed")
    assert baselines(store.runs()) == BESIDE


def test_shards_are_not_merged_yet(store: Database) -> None:
    shard = Shard(session_id="whole")
    header: dict[str, Any] = {
        "session_id": "shard-1",
        "name": "main@d67c6de",
        "shard": shard,
        "tags": TAGS,
    }
    store.send(Journal(store.path, **header).cases(CASES[:2]).finish())
    (session,) = store.runs(kind="session")
    assert session.info.run_name == "main@d67c6de … not merged"
    assert session.data.tags["pytest.verdict"] == "… not merged"
    whole: dict[str, Any] = {
        "session_id": "whole",
        "name": "main@d67c6de",
        "shards": ("shard-1",),
        "tags": TAGS,
    }
    store.send(Journal(store.path, **whole).cases(CASES).finish(**END))
    (session,) = store.runs(kind="session")
    assert session.info.run_name == "main@d67c6de ✗ 1 regressed"
    assert baselines(store.runs()) == BESIDE


def test_a_case_that_was_deleted_in_mlflow_gets_no_baseline(store: Database) -> None:
    journal = Journal(store.path).cases(CASES)
    store.send(journal)
    gone = next(run for run in store.runs() if run.info.run_name == "test_fit[1]")
    store.client.delete_run(gone.info.run_id)
    assert store.send(journal.finish(**END)).phase == "done"
    assert baselines(store.runs()) == {
        name: values for name, values in BESIDE.items() if name != "test_fit[1]"
    }
    assert "accuracy.baseline" not in store.client.get_run(gone.info.run_id).data.metrics


def send_while_it_runs(store: Database, journal: Journal, **end: Any) -> SessionState:
    """Send a session whose end comes when all of its cases are sent."""
    ended: list[Journal] = []

    def end_it(state: SessionState) -> None:
        if state.sent == len(CASES) and not ended:
            ended.append(journal.finish(**end))

    directory = journal.directory
    return send(directory, tracking_uri=store.uri, follow=lambda: True, on_state=end_it)


@pytest.mark.parametrize(
    ("seeds", "reads"), [(tuple(sorted(SEED_PARAMS)), 1), (("seed",), 2), (("number",), 2)]
)
def test_a_journal_is_read_again_only_for_unusual_seeds(
    store: Database, monkeypatch: pytest.MonkeyPatch, seeds: tuple[str, ...], reads: int
) -> None:
    counts: Counter[str] = Counter()
    decode = records_journal.decode

    def counted(line: bytes) -> records_journal.Entry:
        entry = decode(line)
        counts[entry.id if isinstance(entry, CaseRecord) else ""] += 1
        return entry

    monkeypatch.setattr(records_journal, "decode", counted)
    journal = Journal(store.path).cases(CASES)
    state = send_while_it_runs(store, journal, **{**END, "seed_params": seeds})
    assert (state.phase, state.sent) == ("done", len(CASES))
    # Of the first one, it was seen before that the session has cases.
    assert [counts[one.id] for one in CASES[1:]] == [reads] * (len(CASES) - 1)
    is_repeat = "seed" in seeds
    assert baselines(store.runs()) == {
        **BESIDE,
        **({} if is_repeat else {"test_fit[1]": {}, "test_fit[2]": {}}),
    }


@pytest.mark.parametrize("seeds", [tuple(sorted(SEED_PARAMS)), ("seed",)])
def test_the_baseline_is_written_once_however_often_a_session_is_sent(
    store: Database, seeds: tuple[str, ...]
) -> None:
    journal = Journal(store.path).cases(CASES)
    end = {**END, "seed_params": seeds}
    assert send_while_it_runs(store, journal, **end).phase == "done"
    before = store.contents()
    assert store.send(journal).phase == "done"
    assert store.contents() == before
    other = Journal(store.path, session_id="session-2", experiment_name="other")
    at_once = [replace(one, id=f"{one.id[:-1]}f{n}") for n, one in enumerate(CASES)]
    store.send(other.cases(at_once).finish(**end))
    names = {one["name"]: one["histories"] for one in before.values()}
    assert {one["name"]: one["histories"] for one in store.contents("other").values()} == names


def test_a_case_that_is_recorded_twice_gets_its_baseline_once(store: Database) -> None:
    cases = [*CASES, CASES[2]]
    seeds = tuple(sorted(SEED_PARAMS))
    journal = Journal(store.path).cases(cases)
    store.send(journal)
    assert store.send(journal.finish(**{**END, "seed_params": seeds})).phase == "done"
    # Through the client it has two runs, of which the later one counts.
    histories: dict[str, list[int]] = {}
    for run in store.runs():
        for key in baselines([run])[run.info.run_name or ""]:
            values = store.client.get_metric_history(run.info.run_id, key)
            histories.setdefault(f"{run.info.run_name}/{key}", []).append(len(values))
    assert histories == {
        "test_fit[1]/accuracy.baseline": [1],
        "test_fit[2]/accuracy.baseline": [1],
        "test_one/accuracy.baseline": [1],
        "test_one/x.y.baseline": [1],
    }


def test_a_metric_of_the_tests_own_with_the_baselines_name(store: Database) -> None:
    """It gives way to the baseline's, as its latest value."""
    own = make_metric("accuracy.baseline", 0.1)
    one = replace(CASES[2], metrics=(*CASES[2].metrics, own))
    journal = Journal(store.path).cases([*CASES[:2], one, CASES[3]])
    state = send_while_it_runs(store, journal, **{**END, "seed_params": tuple(SEED_PARAMS)})
    assert state.phase == "done"
    assert baselines(store.runs()) == BESIDE


@pytest.mark.real
def test_over_http(tmp_path: Path, mlflow_server: Server, restored_environment: None) -> None:
    from mlflow import MlflowClient

    header: dict[str, Any] = {"experiment_name": "pages", "name": "main@d67c6de", "tags": TAGS}
    journal = Journal(tmp_path, **header).cases(CASES).finish(**END)
    for _ in range(2):
        assert send(journal.directory, tracking_uri=mlflow_server.uri).phase == "done"
        client = MlflowClient(mlflow_server.uri)
        experiment = client.get_experiment_by_name("pages")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        kinds: dict[str, list[Run]] = {run.data.tags["pytest.kind"]: [] for run in runs}
        for run in runs:
            kinds[run.data.tags["pytest.kind"]].append(run)
        assert baselines(kinds["case"]) == BESIDE
        (session,) = kinds["session"]
        assert session.info.run_name == "main@d67c6de ✗ 1 regressed"


def test_sessions_of_pytest(project: Project) -> None:
    project.write(
        """
        import os

        import pytest

        VALUE = float(os.environ["VALUE"])

        def test_digits():
            accuracy = VALUE
            assert accuracy > 0.5

        @pytest.mark.parametrize("seed", range(3))
        def test_seeds(seed):
            f1 = VALUE + seed / 1000
            assert f1 > 0.5
        """
    )
    for value in (0.9, 0.91, 0.9, 0.905, 0.9, 0.7):
        project.track(env={"VALUE": str(value)})
    sessions = [run for run in project.runs() if run.data.tags["pytest.kind"] == "session"]
    told = [run.data.metrics["test_digits/accuracy"] for run in sessions]
    assert told == [0.9, 0.91, 0.9, 0.905, 0.9, 0.7]
    assert sessions[-1].data.metrics["test_seeds/f1"] == pytest.approx(0.701)
    verdicts = [run.data.tags["pytest.verdict"] for run in sessions]
    assert (verdicts[0], verdicts[-1]) == ("✓ passed", "✗ 2 regressed")
    assert all(run.info.run_name.endswith(run.data.tags["pytest.verdict"]) for run in sessions)
    last = sessions[-1].data.tags["pytest.session_id"]
    runs = [run for run in project.runs() if run.data.tags["pytest.session_id"] == last]
    beside = baselines([run for run in runs if run.data.tags["pytest.kind"] == "case"])
    assert beside["test_digits"]["accuracy.baseline"] == pytest.approx(0.903, abs=0.001)
    for seed in range(3):
        assert beside[f"test_seeds[{seed}]"]["f1.baseline"] == pytest.approx(0.904, abs=0.001)


TRACED = """
    import mlflow
    import pytest

    def call(tokens):
        with mlflow.start_span("call", span_type="LLM") as span:
            usage = {"input_tokens": tokens, "output_tokens": 2, "total_tokens": tokens + 2}
            span.set_attribute("mlflow.chat.tokenUsage", usage)

    @pytest.mark.parametrize("question", ["why"])
    def test_answer(mlflow_run, question):
        call(10)
        call(20)

    def test_untraced(mlflow_run):
        mlflow.log_metric("score", 1.0)
"""


counts_tokens = pytest.mark.skipif(
    not mlflow_has("TOKEN_USAGE", "tracing/constant.py"),
    reason="this release of MLflow adds up no tokens",
)


@counts_tokens
def test_traces_are_of_their_test_and_cost_what_they_cost(project: Project) -> None:
    from mlflow import MlflowClient

    project.write(TRACED)
    project.pytest("--mlflow")
    answer, untraced = project.session().cases
    assert not any(name.startswith("trace_") for name in untraced.usage)
    tokens = {name: answer.usage[f"trace_{name}"] for name in ("tokens", "input_tokens")}
    assert tokens == {"tokens": 34.0, "input_tokens": 30.0}
    assert answer.usage["trace_latency_seconds"] >= 0.0
    run = project.case_runs()["test_answer[why]"]
    assert run.data.metrics["trace_tokens"] == 34.0
    assert run.data.tags.get("mlflow.runType") == RUN_TYPE
    client = MlflowClient(project.uri)
    traces = client.search_traces(
        [run.info.experiment_id], f"attribute.run_id = '{run.info.run_id}'"
    )
    names = [trace.info.tags["mlflow.test.name"] for trace in traces]
    assert names == ["test_it.py::test_answer[why]"] * 2
    assert {trace.info.tags["mlflow.test.case_id"] for trace in traces} == {"why"}
    assert {
        json.loads(trace.info.trace_metadata["mlflow.trace.tokenUsage"])["output_tokens"]
        for trace in traces
    } == {2}


@counts_tokens
def test_traces_of_a_throwaway_store_are_counted(project: Project) -> None:
    project.write(TRACED)
    project.pytest("--mlflow", "--mlflow-offline")
    assert project.session().cases[0].usage["trace_tokens"] == 34.0


def test_link_to_the_report_knows_the_workspace() -> None:
    place = "1", "abc", "report.html"
    page = "#/experiments/1/runs/abc/artifacts/report.html?workflowType=machine_learning"
    assert artifact_link(*place, "sqlite:///mlflow.db", {}) == page
    own = {"MLFLOW_WORKSPACE": "team"}
    assert artifact_link(*place, "http://host", own) == f"{page}&workspace=team"
