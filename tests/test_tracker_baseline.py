from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from layers import real
from mlflow_server import Server, free_port, serve
from tracker_kit import START, Journal, make_metric, make_record, start_tracker

from pytest_mlflow_experiments.baseline.choice import Query, choose
from pytest_mlflow_experiments.baseline.files import export, load_file
from pytest_mlflow_experiments.baseline.specs import BaselineError, BaselineRequest, parse_spec
from pytest_mlflow_experiments.records import CaseRecord, Provenance, SessionHeader, journal
from pytest_mlflow_experiments.records.directory import SessionState
from pytest_mlflow_experiments.tracker import retries
from pytest_mlflow_experiments.tracker.connect import answer_request, open_catalog
from pytest_mlflow_experiments.tracker.main import project
from pytest_mlflow_experiments.tracker.state import Redactor, Reporter

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]

NAME = "an experiment"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_PAUSES", (0.0,))


def held(root: Path, number: int, branch: str | None = "main", **header: Any) -> Journal:
    """Return the open journal of a session that started at second ``number``."""
    tags = {"k": f"it's {number}", "git.dirty": "false"}
    return Journal(
        root,
        **{
            "session_id": f"session-{number}",
            "start_time": START + 1_000 * number,
            "tags": {**tags, **({"mlflow.source.git.branch": branch} if branch else {})},
            **header,
        },
    )


def fill(root: Path, uri: str) -> None:
    """Send all sorts of sessions, not in the order in which they started."""
    for number, branch, end in (
        (2, "main", {}),
        (1, "main", {}),
        (3, "main", {"exit_status": 1}),
        (4, "main", {"exit_status": 2, "interrupted": "Ctrl-C"}),
        (5, "main", {"partial": "-k"}),
        (6, "feature/'1'", {}),
        (7, None, {}),
        (8, "main", None),
    ):
        sent = held(root, number, branch).cases(map(make_record, range(number, number + 3)))
        if end is not None:
            sent.finish(**end)
        assert project(sent.directory, tracking_uri=uri).phase == "done"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Path:
    """Return a directory with a database that holds all sorts of sessions."""
    root = tmp_path_factory.mktemp("filled")
    shutil.copyfile(migrated_database, root / "mlflow.db")
    with patch.dict(os.environ), pytest.MonkeyPatch.context() as patching:
        patching.chdir(root)
        fill(root, f"sqlite:///{(root / 'mlflow.db').as_posix()}")
    return root


@pytest.fixture
def sql(database: Path) -> str:
    return f"sqlite:///{(database / 'mlflow.db').as_posix()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Server]:
    """Return a server that holds all sorts of sessions."""
    path = tmp_path_factory.mktemp("server")
    shutil.copyfile(migrated_database, path / "mlflow.db")
    with serve(path, f"sqlite:///{(path / 'mlflow.db').as_posix()}") as running:
        with patch.dict(os.environ):
            fill(path, running.uri)
        yield running


@pytest.fixture
def copy(database: Path, tmp_path: Path) -> str:
    """Return a database of the test's own, with the same sessions and artifacts of their own."""
    from mlflow import MlflowClient

    shutil.copyfile(database / "mlflow.db", tmp_path / "mlflow.db")
    uri = f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"
    engine = MlflowClient(uri)._tracking_client.store.engine
    shutil.copytree(database / "mlruns", tmp_path / "mlruns")
    with engine.begin() as connection:
        for column, table in (("artifact_uri", "runs"), ("artifact_location", "experiments")):
            connection.exec_driver_sql(
                f"update {table} set {column} = replace({column}, ?, ?)",
                (str(database), str(tmp_path)),
            )
    return uri


def answered(
    asking: Journal, uri: str, on_state: Callable[[SessionState], object] = lambda state: None
) -> SessionState:
    """Bring a session into MLflow that ends when it has its answer, as pytest's do."""
    open_until_then = [asking]

    def follow(state: SessionState) -> None:
        on_state(state)
        if state.baseline is not None and open_until_then:
            open_until_then.pop().finish()

    return project(asking.directory, tracking_uri=uri, follow=lambda: True, on_state=follow)


def asked(root: Path, uri: str, **request: Any) -> tuple[SessionState, list[journal.Entry]]:
    """Let a session ask for a baseline; return its state and the lines of the answer."""
    asking = held(root, 50, "feature", session_id="asking")
    start = asking.header.start_time
    request = {"session_id": "asking", "start_time": start, "branch": "feature", **request}
    BaselineRequest(**request).write(asking.directory.baseline_request)
    state = answered(asking.cases([make_record(99)]), uri)
    assert state == asking.state()
    path = asking.directory.baseline
    return state, list(journal.read(path)) if path.exists() else []


def ids(entries: list[journal.Entry]) -> list[str]:
    return [entry.session_id[-1] for entry in entries if isinstance(entry, SessionHeader)]


def run_of(client: MlflowClient, session_id: str, kind: str = "session") -> str:
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    tags = f"tags.`pytest.session_id` = '{session_id}' and tags.`pytest.kind` = '{kind}'"
    return str(client.search_runs([experiment.experiment_id], tags)[0].info.run_id)


@pytest.mark.parametrize("kind", ["sql", real("server")])
def test_baseline_is_fetched(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(kind)
    uri = place if isinstance(place, str) else place.uri
    # An experiment of the session's own keeps the others' as it is.
    asking = held(tmp_path, 50, "feature", session_id="asking")
    BaselineRequest(base_branch="main", session_id="asking", start_time=START + 50_000).write(
        asking.directory.baseline_request
    )
    states: list[SessionState] = []
    state = answered(asking, uri, states.append)
    assert (state.phase, state.baseline, state.baseline_error) == ("done", "found", None)
    path = asking.directory.baseline
    provenance, *entries = journal.read(path)
    assert provenance == Provenance(
        spec="auto",
        place=f"experiment 'an experiment' at {uri}",
        reason="the last 2 passing sessions on main, the base branch",
    )
    assert ids(entries) == ["1", "2"]
    cases = [entry for entry in entries if isinstance(entry, CaseRecord)]
    assert [case.name for case in cases] == [f"test_it[{n}]" for n in (1, 2, 3, 2, 3, 4)]
    assert cases[0].metrics == make_record(1).metrics
    assert load_file(path).sessions
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert state.run_id is None  # the session had no case, and asking makes no run


@pytest.mark.parametrize("kind", ["sql", real("server")])
@pytest.mark.parametrize(
    ("spec", "request_", "found"),
    [
        ("auto", {"branch": "feature/'1'"}, "6"),
        ("auto", {}, "7"),
        ("auto", {"branch": "new"}, "12367"),
        ("latest", {"history": 2}, "67"),
        ("latest", {"start_time": START + 6_000}, "123"),
        ("latest", {"session_id": "session-7", "history": 2}, "36"),
        ("branch:main", {"history": 1}, "2"),
        ("branch:feature/'1'", {}, "6"),
        ("branch:unknown", {}, ""),
        ("tag:k=it's 3", {}, "3"),
        ('tag:k=it\'s "3"', {}, ""),
        ("session:session-3", {}, "123"),
        ("session:session-6", {}, "6"),
        ("none", {}, ""),
    ],
)
def test_specs(
    kind: str, spec: str, request_: dict[str, Any], found: str, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue(kind)
    uri = place if isinstance(place, str) else place.uri
    catalog = open_catalog(uri, experiment_name=NAME)
    choice = choose(parse_spec(spec), BaselineRequest(spec=spec, **request_), catalog)
    sessions = choice.sessions if choice else ()
    assert "".join(session.session_id[-1] for session in sessions) == found


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("session:session-", "start of several session ids in .*: session-1, session-2"),
        ("session:nothing", "no session 'nothing' in experiment 'an experiment' at sqlite:"),
        ("session:it's", 'no session "it\'s" in experiment'),
        ("session:session-4", r"can't be a baseline: it was cut short \(Ctrl-C\)"),
        ("session:session-5", r"can't be a baseline: only some of its tests ran \(-k\)"),
        ("session:session-8", "can't be a baseline: it did not run to its end"),
        ("run:nothing", "there is no run nothing at sqlite:"),
        ("model:m@champion", "no answer from sqlite:.* for the model m@champion: "),
    ],
)
def test_lookups_that_fail(sql: str, spec: str, words: str) -> None:
    catalog = open_catalog(sql, experiment_name=NAME)
    with pytest.raises(BaselineError, match=words):
        choose(parse_spec(spec), BaselineRequest(spec=spec), catalog)


def test_pages_are_read_as_they_are_needed(sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_mlflow_experiments.tracker import catalog as module

    monkeypatch.setattr(module, "_PAGE", 2)
    catalog = open_catalog(sql, experiment_name=NAME)
    calls: list[object] = []
    search: Any = catalog._client.search_runs

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["page_token"])
        return search(*args, **kwargs)

    monkeypatch.setattr(catalog._client, "search_runs", counted)
    found = [entry.session_id[-1] for entry in catalog.newest(Query())]
    assert found == list("87654321")
    assert len(calls) in (4, 5)
    calls.clear()
    assert next(catalog.newest(Query())).session_id == "session-8"
    assert len(calls) == 1


def test_run_and_model(copy: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(copy)
    session, case = run_of(client, "session-2"), run_of(client, "session-2", "case")
    experiment = client.get_run(case).info.experiment_id
    inner = client.create_run(experiment, tags={"mlflow.parentRunId": case}).info.run_id
    foreign = client.create_run(experiment).info.run_id
    client.create_registered_model("net")
    for run_id, alias in ((inner, "champion"), (foreign, "foreign"), (None, "bare")):
        version = client.create_model_version("net", source="/tmp/net", run_id=run_id)
        client.set_registered_model_alias("net", alias, version.version)
    catalog = open_catalog(copy, experiment_name="another one")

    def reason(spec: str) -> str:
        choice = choose(parse_spec(spec), BaselineRequest(spec=spec), catalog)
        assert choice is not None
        assert [entry.session_id for entry in choice.sessions] == ["session-1", "session-2"]
        return choice.provenance.reason

    for run_id in (session, case, inner):
        assert reason(f"run:{run_id}") == (
            f"session session-2 (run {run_id}) and 1 before it on main"
        )
    assert reason("model:net@champion").startswith("session session-2 (model net@champion) and 1")
    for spec, words in (
        (f"run:{foreign}", f"the run {foreign} is not one that pytest --mlflow made"),
        ("model:net@foreign", "the model net@foreign can't be used: the run .* is not one that"),
        ("model:net@bare", "the model net@bare, version 3, comes from no run"),
        ("model:net@nobody", "no answer from .* for the model net@nobody: "),
    ):
        with pytest.raises(BaselineError, match=words):
            reason(spec)
    client.delete_run(session)
    with pytest.raises(BaselineError, match="is deleted"):
        reason(f"run:{session}")


@pytest.mark.real
def test_model_on_a_server(server: Server) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    case = run_of(client, "session-6", "case")
    client.create_registered_model("net")
    # A server takes sources below the run's own artifacts alone.
    source = client.get_run(case).info.artifact_uri
    version = client.create_model_version("net", source=source, run_id=case)
    client.set_registered_model_alias("net", "champion", version.version)
    catalog = open_catalog(server.uri, experiment_name=NAME)
    assert catalog.model("net", "champion").session_id == "session-6"


def test_pins(copy: str, tmp_path: Path) -> None:
    catalog = open_catalog(copy, experiment_name=NAME)
    assert catalog.pinned() is None
    catalog.pin("session-1")
    assert catalog.pinned() == open_catalog(copy, experiment_name=NAME).pinned() == "session-1"
    state, entries = asked(tmp_path, copy, base_branch="main")
    assert state.baseline == "found"
    assert ids(entries) == ["1"]
    assert isinstance(entries[0], Provenance)
    assert entries[0].reason == "pinned session session-1"
    catalog.unpin()
    assert open_catalog(copy, experiment_name=NAME).pinned() is None
    with pytest.raises(BaselineError, match=r"there is no experiment 'unknown' at .* yet"):
        open_catalog(copy, experiment_name="unknown").pin("session-1")


@pytest.mark.real
def test_pin_on_a_server(server: Server) -> None:
    catalog = open_catalog(server.uri, experiment_name=NAME)
    catalog.pin("session-6")
    assert catalog.pinned() == "session-6"
    catalog.unpin()
    assert catalog.pinned() is None


def test_export_from_mlflow(sql: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    made = export(
        BaselineRequest(spec="branch:main"), open_catalog(sql, experiment_name=NAME), path
    )
    assert made.sessions == len(load_file(path).sessions) == 2


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_session_without_its_artifact_is_left_out(copy: str, tmp_path: Path, damage: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(copy)
    files = {
        number: Path(client.get_run(run_of(client, f"session-{number}")).info.artifact_uri)
        / "results.jsonl"
        for number in (1, 2)
    }

    def harm(number: int) -> None:
        if damage == "missing":
            files[number].unlink()
        else:
            files[number].write_bytes(files[number].read_bytes()[:-20])

    harm(2)
    state, entries = asked(tmp_path, copy, base_branch="main")
    assert (state.phase, state.baseline) == ("done", "found")
    assert ids(entries) == ["1"]
    assert isinstance(entries[0], Provenance)
    assert entries[0].reason.endswith(", of which 1 is left out")
    words = {
        "missing": "its run has no artifact results.jsonl",
        "broken": "its file breaks off",
    }
    assert state.notes == (f"Session session-2 is left out of the baseline: {words[damage]}",)
    harm(1)
    second = tmp_path / "second"
    second.mkdir()
    state, entries = asked(second, copy, base_branch="main")
    assert (state.phase, state.baseline, entries) == ("done", "failed", [])
    assert state.baseline_error is not None
    assert state.baseline_error.startswith("none of the last 2 passing sessions on main")
    assert words[damage] in state.baseline_error


def test_no_baseline_yet(copy: str, tmp_path: Path) -> None:
    state, entries = asked(tmp_path, copy, spec="branch:unknown")
    assert (state.phase, state.sent, state.baseline, entries) == ("done", 1, "none", [])


def test_experiment_that_is_new(sql: str, tmp_path: Path) -> None:
    asking = Journal(tmp_path, experiment_name="brand-new")
    BaselineRequest().write(asking.directory.baseline_request)
    state = answered(asking, sql)
    assert (state.phase, state.baseline) == ("done", "none")
    asking = Journal(tmp_path, session_id="session-2", experiment_name="brand-new")
    BaselineRequest(spec="session:x").write(asking.directory.baseline_request)
    state = answered(asking, sql)
    assert state.baseline_error is not None
    assert state.baseline_error.startswith("there is no experiment 'brand-new' at sqlite:")


def test_request_that_fails_stops_nothing(copy: str, tmp_path: Path) -> None:
    state, _ = asked(tmp_path, copy, spec="session:unknown")
    assert (state.phase, state.sent, state.error, state.baseline) == ("done", 1, None, "failed")
    assert state.baseline_error is not None
    assert state.baseline_error.startswith("there is no session 'unknown' in")


def test_nothing_is_fetched_unless_somebody_waits(copy: str, tmp_path: Path) -> None:
    state, entries = asked(tmp_path, copy, base_branch="main")
    directory = held(tmp_path, 51, session_id="silent").cases([make_record(98)]).finish().directory
    silent = project(directory, tracking_uri=copy, follow=lambda: True)
    assert (silent.phase, silent.baseline) == ("done", None)
    asking = directory.path.with_name("asking")
    before = asking.joinpath("baseline.jsonl").stat()
    again = project(type(directory)(asking), tracking_uri=copy)
    assert again.baseline == state.baseline == "found"
    assert asking.joinpath("baseline.jsonl").stat() == before
    assert len(entries) > 1


@pytest.mark.real
def test_tracker_answers_before_there_are_cases(copy: str, tmp_path: Path) -> None:
    asking = held(tmp_path, 50, session_id="asking")
    request = BaselineRequest(spec="latest", session_id="asking", start_time=START + 50_000)
    request.write(asking.directory.baseline_request)
    tracker = start_tracker(asking, copy)
    state = asking.wait("ready")
    while state.baseline is None:
        state = asking.state()
    assert (state.phase, state.sent, state.baseline) == ("ready", 0, "found")
    assert ids(list(journal.read(asking.directory.baseline))) == ["1", "2", "3", "6", "7"]
    asking.cases([make_record(1)]).finish()
    assert asking.wait("done", "failed").baseline == "found"
    assert tracker.stdin is not None
    tracker.stdin.close()
    tracker.wait(30)


class Line:
    """A connection to a server that can be cut."""

    def __init__(self, server: Server) -> None:
        self._target = int(server.uri.rpartition(":")[2])
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://somebody:geheim@127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and take no new ones."""
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += (near, far)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.real
def test_server_that_dies_while_it_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be fetched before is not taken for all there is."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    line = Line(server)
    catalog = open_catalog(line.uri, experiment_name=NAME)
    asking = held(tmp_path, 50)
    BaselineRequest(spec="latest").write(asking.directory.baseline_request)
    path = asking.directory.baseline
    reporter = Reporter(asking.directory.state, SessionState(phase="ready"), Redactor.of(line.uri))
    answer_request(asking.directory, catalog, reporter)
    assert reporter.state.baseline == "found"
    assert "geheim" not in path.read_text()
    path.unlink()
    choice = choose(parse_spec("latest"), BaselineRequest(), catalog)
    assert choice is not None
    tmp_path.joinpath("fetched").mkdir()
    line.cut()
    with pytest.raises(BaselineError, match=r"no answer from http.*Connection refused"):
        list(catalog.journals(choice.sessions, tmp_path / "fetched"))
    answer_request(asking.directory, catalog, reporter)
    state = asking.state()
    assert (state.phase, state.baseline, path.exists()) == ("ready", "failed", False)
    assert state.baseline_error is not None
    assert "Connection refused" in state.baseline_error
    assert "geheim" not in state.baseline_error


def test_store_that_can_not_be_used(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(BaselineError, match=f"no connection to 127.0.0.1:{port}") as caught:
        open_catalog(f"http://somebody:geheim@127.0.0.1:{port}", experiment_name=NAME)
    assert "geheim" not in str(caught.value)
    database = tmp_path / "mlflow.db"
    with pytest.raises(BaselineError, match=r"there is no database .*mlflow\.db yet"):
        open_catalog(f"sqlite:///{database.as_posix()}", experiment_name=NAME)
    assert not database.exists()


def test_session_run_tells_how_the_session_compares(copy: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    compared = held(tmp_path, 60).cases([make_record(1)])
    compared.finish(
        exit_status=1,
        tags={"pytest.baseline": "the last 2", "pytest.kind": "mine", "a|b": "c"},
        metrics={"regressed": 1.0, "improved": 0.0, "passed": 17.0, "x:y": 2.0},
        summary="**1 regressed**\n\n| a | b |\n| --- | --- |",
    )
    client = MlflowClient(copy)
    found = []
    for _ in range(2):
        assert project(compared.directory, tracking_uri=copy).phase == "done"
        run = client.get_run(run_of(client, "session-60"))
        found.append((run.data.tags, run.data.metrics))
        assert len(client.get_metric_history(run.info.run_id, "regressed")) == 1
    assert found[0] == found[1]
    tags, metrics = found[0]
    expected = {
        "pytest.baseline": "the last 2",
        "pytest.kind": "session",
        "a_b": "c",
        "pytest.complete": "true",
        "pytest.exit_status": "1",
    }
    assert expected.items() <= tags.items()
    assert "pytest.partial" not in tags
    assert {"regressed": 1.0, "improved": 0.0, "passed": 1.0, "x_y": 2.0}.items() <= metrics.items()
    assert tags["mlflow.note.content"].startswith(
        "**1 regressed**\n\n| a | b |\n| --- | --- |\n\n**1 cases** in "
    )


@pytest.mark.parametrize(
    ("number", "tags"),
    [
        (4, {"pytest.complete": "false", "pytest.exit_status": "2"}),
        (5, {"pytest.complete": "false", "pytest.exit_status": "0", "pytest.partial": "-k"}),
        (8, {"pytest.complete": "false"}),
    ],
)
def test_session_run_tells_why_it_is_no_baseline(
    sql: str, number: int, tags: dict[str, str]
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(sql)
    found = client.get_run(run_of(client, f"session-{number}")).data.tags
    names = ("pytest.complete", "pytest.exit_status", "pytest.partial")
    assert {name: found[name] for name in names if name in found} == tags


def test_sessions_of_older_versions_count_by_their_status(copy: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(copy)
    for number in (2, 3):
        for tag in ("pytest.complete", "pytest.exit_status"):
            client.delete_tag(run_of(client, f"session-{number}"), tag)
    catalog = open_catalog(copy, experiment_name=NAME)
    found = {entry.session_id[-1]: entry for entry in catalog.newest(Query())}
    assert Query(passing=True).matches(found["2"])
    assert found["3"].incomplete == "it is not known whether all of its tests ran"


def test_long_summary_is_shortened(copy: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    session = held(tmp_path, 61).cases([make_record(1, metrics=(make_metric("a", 1.0),))])
    session.finish(summary="\0" + "x" * 20_000)
    assert project(session.directory, tracking_uri=copy).phase == "done"
    client = MlflowClient(copy)
    note = client.get_run(run_of(client, "session-61")).data.tags["mlflow.note.content"]
    assert len(note) == 8_000
    assert note.startswith("␀xxx")


def test_pull_requests_and_what_is_ahead_come_from_mlflow(copy: str, tmp_path: Path) -> None:
    root = tmp_path / "others"
    root.mkdir()
    for number, tags in (
        (10, {}),
        (11, {"ci.kind": "pull request", "ci.pull_request": "7"}),
        (12, {"git.dirty": "true"}),
        (13, {"mlflow.source.git.commit": "c13", "ci.kind": "push", "git.dirty": "true"}),
        (14, {"mlflow.source.git.commit": "c14", "ci.kind": "push"}),
    ):
        told = {"git.dirty": "false", "mlflow.source.git.branch": "main", **tags}
        sent = held(root, number, tags=told).cases(map(make_record, range(3))).finish()
        assert project(sent.directory, tracking_uri=copy).phase == "done"
    request = {"base_branch": "main", "ancestors": ["x", "c13"], "all_ancestors": True}
    state, entries = asked(root, copy, job="pull request", proposal="pull request 8", **request)
    assert state.baseline == "found"
    provenance, *rest = entries
    assert isinstance(provenance, Provenance)
    assert (provenance.ahead, provenance.lacks) == (("session-14",), "at least 1 commit of main")
    found = [entry.session_id for entry in rest if isinstance(entry, SessionHeader)]
    assert found == [f"session-{number}" for number in (14, 1, 2, 10, 13)]
    path = tmp_path / "baseline.jsonl"
    path.write_text("\n".join([*map(journal.encode, entries), ""]), encoding="utf-8")
    loaded = load_file(path).sessions
    assert [one.header.session_id for one in loaded] == found[1:]
