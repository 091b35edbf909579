"""Without MLflow, a tracking server is asked for the same, in the same way, as by its client."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests
from faulty_server import PAGE, Answer, FaultyServer, running
from mlflow_server import Server, free_port
from requests.adapters import HTTPAdapter
from tracker_kit import Journal, contents, make_metric, make_record, rich_records, start_tracker

from pytest_mlflow_experiments.records import DatasetInput
from pytest_mlflow_experiments.tracker.answers import checked_answers
from pytest_mlflow_experiments.tracker.errors import reason_of
from pytest_mlflow_experiments.tracker.main import project
from pytest_mlflow_experiments.tracker.retries import cause_of, log
from pytest_mlflow_experiments.tracker.writers.artifacts import repository_at
from pytest_mlflow_experiments.tracker.writers.client import InputLog

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pytest_mlflow_experiments.tracker.rest import RestClient

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]
DATA = DatasetInput(name="iris", digest="1", source_type="code", source="{}", context="training")
FILES = f"mlflow-artifacts:/1/{'a' * 32}/artifacts"
RUN = {
    "info": {
        **{"run_uuid": "a" * 32, "run_id": "a" * 32, "run_name": "a run", "experiment_id": "1"},
        **{"user_id": "me", "status": "RUNNING", "start_time": 5, "lifecycle_stage": "active"},
        "artifact_uri": FILES,
    },
    "data": {
        "metrics": [
            {"key": "loss", "value": 0.5, "timestamp": 1, "step": 0},
            {"key": "nan", "value": "NaN", "timestamp": 1, "step": 0},
            {"key": "down", "value": "-Infinity", "timestamp": "1", "step": "2"},
        ],
        "params": [{"key": "depth", "value": ""}],
        "tags": [{"key": "pytest.kind", "value": "case"}],
    },
    "outputs": {"model_outputs": [{"model_id": "m-1", "step": 3}]},
}
EXPERIMENT = {"experiment_id": "1", "name": "x", "artifact_location": "mlflow-artifacts:/1"}
ANSWERS = {
    "experiments/create": {"experiment_id": "1"},
    "experiments/get": {"experiment": {**EXPERIMENT, "lifecycle_stage": "active"}},
    "experiments/get-by-name": {"experiment": {**EXPERIMENT, "tags": [{"key": "a", "value": "b"}]}},
    "experiments/search": {"experiments": [{**EXPERIMENT, "creation_time": "5"}]},
    "runs/create": {"run": RUN},
    "runs/get": {"run": RUN},
    "runs/update": {"run_info": RUN["info"]},
    "runs/search": {"runs": [RUN, RUN], "next_page_token": "more"},
    "mlflow-artifacts/artifacts": {
        "files": [
            {"path": "z", "is_dir": True},
            {"path": "a%20b.txt", "is_dir": False, "file_size": "3"},
        ]
    },
    "mlflow/server-info": {"workspaces_enabled": True},
}
CALLS: dict[str, Callable[[Any], Any]] = {
    "experiments": lambda client: client.search_experiments(max_results=1),
    "experiment": lambda client: client.get_experiment("1"),
    "by name": lambda client: client.get_experiment_by_name("größe & more"),
    "new experiment": lambda client: client.create_experiment("x", None, {"a": "b"}),
    "experiment's tag": lambda client: client.set_experiment_tag("1", "a", "ü"),
    "run": lambda client: client.get_run("a" * 32),
    "new run": lambda client: client.create_run("1", 5, {"mlflow.user": "me", "x": ""}, "a run"),
    "new nameless run": lambda client: client.create_run("1", 5),
    "search": lambda client: client.search_runs(["1"], "tags.`a` = 'b'", 3, 5, None, "next"),
    "ordered": lambda client: client.search_runs(["1", "2"], order_by=["attributes.start_time"]),
    "tag": lambda client: client.set_tag("a" * 32, "a b", "größe"),
    "rename": lambda client: client.update_run("a" * 32, name="renamed"),
    "end": lambda client: client.set_terminated("a" * 32, "KILLED", 99),
    "delete": lambda client: client.delete_run("a" * 32),
    "log": lambda client: log(
        client,
        "a" * 32,
        [make_metric(f"{one}", one, 2) for one in (0.1, 5e-324, nan, inf, -inf)],
        {"depth": "1", "empty": ""},
        {"t": "ü"},
    ),
    "inputs": lambda client: InputLog(client).log("a" * 32, [DATA]),
    "files": lambda client: client.list_artifacts("a" * 32),
    "inner files": lambda client: repository_at(client, FILES).list_artifacts("plots/x y"),
}  # fmt: skip


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Return the requests that are sent, to nowhere; they are answered as by a server."""
    requests_sent: list[list[Any]] = []

    def send(
        self: HTTPAdapter, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        body = request.body
        with suppress(TypeError, ValueError):
            body = json.loads(body or b"")  # type: ignore[arg-type]
            body = {key: value for key, value in body.items() if value != []}
        # Older releases of MLflow don't send the second one.
        other = ("Content-Length", "X-MLflow-Client-Version")
        headers = {key: value for key, value in request.headers.items() if key not in other}
        requests_sent.append([request.method, request.url, headers, body, options])
        path = (request.url or "").partition("?")[0]
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, request.url or ""
        answer = next((ANSWERS[end] for end in ANSWERS if path.endswith(end)), {})
        response._content = json.dumps(answer).encode()
        response.headers["Content-Type"] = "application/json"
        return response

    monkeypatch.setattr(HTTPAdapter, "send", send)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_TRACKING_TOKEN", "MLFLOW_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return requests_sent


def both(uri: str, monkeypatch: pytest.MonkeyPatch) -> tuple[MlflowClient, RestClient]:
    """Return MLflow's client of a server, and the one that must not load it."""
    from mlflow import MlflowClient

    from pytest_mlflow_experiments.tracker.rest import rest_client

    def refuse() -> MlflowClient:
        raise AssertionError("MLflow is loaded")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    ours = rest_client(uri, refuse)
    assert ours is not None
    return MlflowClient(tracking_uri=uri), ours


def plain(value: Any) -> Any:
    """Return what the tracker reads of an entity of MLflow's, or of ours."""
    if isinstance(value, list):
        return [plain(one) for one in value], getattr(value, "token", None)
    if hasattr(value, "info"):
        names = ("run_id", "run_name", "experiment_id", "user_id", "status", "start_time")
        more = ("end_time", "lifecycle_stage", "artifact_uri")
        data = value.data
        outputs = value.outputs.model_outputs if value.outputs else []
        return (
            [getattr(value.info, name) for name in (*names, *more)],
            sorted(map(repr, data.metrics.items())),
            (data.params, data.tags),
            [(one.model_id, one.step) for one in outputs],
        )
    if hasattr(value, "is_dir"):
        return value.path, value.is_dir, value.file_size
    if hasattr(value, "artifact_location"):
        kept = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "tags")
        return [getattr(value, name) for name in kept]
    return value


@pytest.mark.parametrize("name", CALLS)
def test_both_send_the_same_and_read_the_same(
    sent: list[list[Any]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clients = both("http://127.0.0.1:5000/a prefix/", monkeypatch)
    read, asked = [], []
    for client in clients:
        sent.clear()
        read.append(plain(CALLS[name](client)))
        # MLflow's client asks for some things twice, and whether there are workspaces.
        asked.append([one for n, one in enumerate(sent) if one not in sent[:n]])
    assert asked[0] == asked[1] != []
    assert read[0] == read[1]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "geheim:ü"},
        {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_TOKEN": "token"},
        {"MLFLOW_TRACKING_TOKEN": "token"},
        {
            "MLFLOW_TRACKING_USERNAME": "me",
            "MLFLOW_TRACKING_PASSWORD": "geheim",
            "MLFLOW_TRACKING_TOKEN": "token",
        },
        {"MLFLOW_TRACKING_INSECURE_TLS": "true"},
        {"MLFLOW_TRACKING_INSECURE_TLS": "0", "REQUESTS_CA_BUNDLE": "/etc/hosts"},
        {"MLFLOW_TRACKING_INSECURE_TLS": "1", "REQUESTS_CA_BUNDLE": "/etc/hosts"},
        {"MLFLOW_TRACKING_SERVER_CERT_PATH": "ca.pem"},
        {"MLFLOW_TRACKING_CLIENT_CERT_PATH": "client.pem"},
        {"MLFLOW_WORKSPACE": " team-a "},
        {"MLFLOW_HTTP_REQUEST_TIMEOUT": "7"},
        {"https_proxy": "http://proxy.invalid:3128"},
        {"https_proxy": "http://proxy.invalid:3128", "no_proxy": "server.invalid"},
        {"MLFLOW_TRACKING_AUTH": "", "MLFLOW_TRACKING_TOKEN": ""},
        {"NETRC": "netrc"},
        {"HOME": "home"},
    ],
    ids=lambda variables: " ".join(f"{key}={value}" for key, value in variables.items()),
)
@pytest.mark.parametrize("login", ["", "somebody:ge%20heim@"])
def test_settings_have_the_same_effect(
    sent: list[list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    login: str,
) -> None:
    from mlflow import environment_variables

    if "MLFLOW_WORKSPACE" in variables and not hasattr(environment_variables, "MLFLOW_WORKSPACE"):
        pytest.skip("this release of MLflow has no workspaces")
    monkeypatch.chdir(tmp_path)
    text = "machine server.invalid login me password geheim\n"
    tmp_path.joinpath("netrc").write_text(text, encoding="utf-8")
    kept = tmp_path / "home" / ".mlflow"
    kept.mkdir(parents=True)
    text = "[mlflow]\nmlflow_tracking_username = kept\nmlflow_tracking_password = pass\n"
    kept.joinpath("credentials").write_text(text, encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value) if name in ("HOME", "NETRC") else value)
    clients = both(f"https://{login}server.invalid", monkeypatch)
    asked = []
    for client in clients:
        for call in ("run", "tag", "files"):
            CALLS[call](client)
        asked.append([one for one in sent if "server-info" not in one[1]])
        sent.clear()
    assert asked[0] == asked[1]
    if any("WORKSPACE" in name for name in variables):
        assert {one[2]["X-MLFLOW-WORKSPACE"] for one in asked[1]} == {"team-a"}


@pytest.mark.parametrize(
    ("uri", "variables"),
    [
        ("databricks", {}),
        ("http:", {}),
        ("http://server.invalid?x=y", {}),
        ("http://server.invalid", {"MLFLOW_TRACKING_AUTH": "kubernetes"}),
        ("http://server.invalid", {"MLFLOW_TRACKING_AWS_SIGV4": "true"}),
        ("http://server.invalid", {"MLFLOW_HTTP_POOL_MAXSIZE": "3"}),
        ("http://server.invalid", {"MLFLOW_HTTP_REQUEST_TIMEOUT": "soon"}),
        ("http://server.invalid", {"MLFLOW_TRACKING_INSECURE_TLS": "perhaps"}),
        (
            "http://server.invalid",
            {"MLFLOW_TRACKING_INSECURE_TLS": "1", "MLFLOW_TRACKING_SERVER_CERT_PATH": "x"},
        ),
        ("http://server.invalid", {"DATABRICKS_RUNTIME_VERSION": "15"}),
    ],
)
def test_what_mlflow_alone_understands_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, uri: str, variables: dict[str, str]
) -> None:
    from pytest_mlflow_experiments.tracker.server import Server

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Server.of(uri) is None


@pytest.mark.parametrize("group", ["mlflow.tracking_store", "mlflow.request_header_provider"])
def test_plugins_are_left_to_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    from pytest_mlflow_experiments.tracker.server import Server

    info = tmp_path / "plugin-1.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Name: plugin\nVersion: 1\n", encoding="utf-8")
    entries = info / "entry_points.txt"
    entries.write_text(f"[{group}]\nhttp = plugin:Plugin\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert Server.of("http://server.invalid") is None
    if group == "mlflow.tracking_store":
        assert Server.of("https://server.invalid") is not None


@pytest.mark.parametrize("workspaces", [False, None])
def test_a_server_without_workspaces_is_left_to_mlflow(
    sent: list[list[Any]], monkeypatch: pytest.MonkeyPatch, workspaces: bool | None
) -> None:
    from pytest_mlflow_experiments.tracker.server import Server

    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    info = {} if workspaces is None else {"workspaces_enabled": workspaces}
    monkeypatch.setitem(ANSWERS, "mlflow/server-info", info)
    assert Server.of("http://server.invalid") is None


def refused(code: str, status: int = 400) -> Answer:
    return Answer(status, json.dumps({"error_code": code, "message": "not so"}).encode())


FAULTS: dict[str, Any] = {
    **{f"status {status}": status for status in (400, 401, 403, 404, 409, 429, 500, 502, 503)},
    **{kind: kind for kind in ("html", "broken json", "no http", "reset")},
    **{
        code: refused(code)
        for code in (
            *("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"),
            *("INTERNAL_ERROR", "GIT_CONFLICT", "A_NEW_ONE", "404", ""),
        )
    },
    "a page": PAGE,
    "another page": Answer(418, b"<html>"),
    "no message": Answer(404, b'{"detail": "Not Found"}'),
    "a list": Answer(200, b"[]"),
    "a number of pauses": Answer(429, b"", {"Retry-After": "7"}),
    "a login": Answer(302, b"", {"Location": "https://sso.invalid/login"}),
    "an error in spite": refused("PERMISSION_DENIED", 200),
    "nothing": Answer(200, b""),
    "no run": Answer(200, b"{}"),
}


@pytest.mark.parametrize("checked", [True, False], ids=["tracker", "command"])
@pytest.mark.parametrize("name", [*FAULTS, "nobody", "nowhere", "silent"])
def test_both_fail_the_same(monkeypatch: pytest.MonkeyPatch, name: str, checked: bool) -> None:
    if not checked and name in ("an error in spite", "nothing", "no run"):
        pytest.skip("MLflow's client takes these for a run")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    fault = FAULTS.get(name, name)
    server = FaultyServer((lambda *_: fault) if isinstance(fault, Answer) else fault)
    with running(server):
        uri = server.uri
        if name == "nobody":
            uri = f"http://127.0.0.1:{free_port()}"
        elif name == "nowhere":
            uri = "http://server.invalid"
        said = []
        for client in both(uri, monkeypatch):
            for call in ("run",) if name in ("silent", "no run") else ("run", "tag"):
                with (
                    checked_answers() if checked else nullcontext(),
                    pytest.raises(Exception) as caught,  # noqa: PT011
                ):
                    CALLS[call](client)
                error = caught.value
                # Older releases don't name the code that stands for a missing one.
                reason = reason_of(error).removeprefix("INTERNAL_ERROR")
                said.append((reason, cause_of(error), getattr(error, "error_code", None)))
    half = len(said) // 2
    assert said[:half] == said[half:]


def test_connections_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(200, json.dumps({"run": RUN}).encode())
    server, accepted = FaultyServer(lambda *_: answer), []
    accept = server.get_request

    def counted() -> Any:
        accepted.append(found := accept())
        return found

    monkeypatch.setattr(server, "get_request", counted)
    with running(server):
        _, client = both(server.uri, monkeypatch)
        for _ in range(3):
            assert client.get_run("a" * 32).info.run_id == "a" * 32
        client.close()
    assert len(accepted) == 1


def test_redirects_are_followed_where_mlflow_follows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rule(method: str, path: str, _: object) -> Answer:
        if path.startswith("/new"):
            return Answer(200, json.dumps({"run": RUN}).encode())
        return Answer(307, b"", {"Location": f"/new{path}"})

    with running(FaultyServer(rule)) as server:
        for client in both(server.uri, monkeypatch):
            assert client.get_run("a" * 32).info.status == "RUNNING"
            monkeypatch.setenv("MLFLOW_ALLOW_HTTP_REDIRECTS", "false")
            with pytest.raises(Exception, match="307"):
                client.get_run("a" * 32)
            monkeypatch.delenv("MLFLOW_ALLOW_HTTP_REDIRECTS")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a%252F..%252F..", "C:\\x"])
def test_no_path_leads_out(
    sent: list[list[Any]], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    files = {"files": [{"path": path, "is_dir": False}]}
    monkeypatch.setitem(ANSWERS, "mlflow-artifacts/artifacts", files)
    for client in both("http://server.invalid", monkeypatch):
        with pytest.raises(Exception, match="Invalid path"):
            client.list_artifacts("a" * 32)


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts:/1/abc/artifacts", "mlflow-artifacts:///1/abc/artifacts",
        "mlflow-artifacts:/a b/ü/abc", "mlflow-artifacts://other:5000/1/artifacts",
        "mlflow-artifacts:/1/a%20b/artifacts", "mlflow-artifacts:/1/a;b", "mlflow-artifacts:/",
        "http://other.invalid/1", "s3://bucket/1",
    ],
)  # fmt: skip
def test_places_of_files_are_mlflows(
    sent: list[list[Any]], monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    theirs, ours = both("http://server.invalid/prefix", monkeypatch)
    files = ours.files_at(uri)
    is_plain = uri.startswith(
        ("mlflow-artifacts:/1/abc", "mlflow-artifacts:///", "mlflow-artifacts:/a b")
    )
    assert (files is not None) == is_plain
    if files is not None:
        asked = []
        for one in (files, repository_at(theirs, uri)):
            one.list_artifacts("plots")
            asked.append(sent.pop())
        assert asked[0] == asked[1]


@pytest.mark.parametrize("name", ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "MLFLOW_MULTIPART_X"])
def test_uploads_in_parts_are_left_to_mlflow(
    sent: list[list[Any]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "true")
    _, ours = both("http://server.invalid", monkeypatch)
    assert ours.files_at("mlflow-artifacts:/1/abc/artifacts") is None


@pytest.mark.parametrize(
    ("costs", "found"),
    [
        # Seconds that 100 runs take, by how many are written at the same time.
        ({4: 10, 8: 5}, 8),
        ({4: 10, 8: 9}, 4),
        ({4: 10, 8: 20}, 4),
    ],
)
def test_as_many_at_a_time_as_is_quicker(costs: dict[int, float], found: int) -> None:
    from pytest_mlflow_experiments.tracker.writers.client import Pace

    pace = Pace(8)
    for _ in range(5):
        # A few tell nothing.
        pace.learn(3, 1e6)
        pace.learn(100, costs[pace.number])
    assert pace.number == found
    assert Pace(1).number == 1


@pytest.fixture
def through_mlflow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which a server is asked by MLflow's client."""
    from pytest_mlflow_experiments.tracker import rest

    return lambda: monkeypatch.setattr(rest, "rest_client", lambda *_: None)


@pytest.mark.real
def test_sessions_are_equal_without_mlflow(
    mlflow_server: Server, tmp_path: Path, through_mlflow: Callable[[], None]
) -> None:
    """Also where they were sent twice, or in part before."""
    from mlflow import MlflowClient

    client, found = MlflowClient(mlflow_server.uri), []
    for name in ("server", "client"):
        if name == "client":
            through_mlflow()
        journal = Journal(tmp_path, session_id=name, experiment_name=f"equal {name}")
        records = rich_records(journal.directory)
        records.append(make_record(13, inputs=(DATA, DATA)))
        journal.cases(records[:5])
        project(journal.directory, tracking_uri=mlflow_server.uri)
        journal.cases(records[5:]).finish()
        for _ in range(2):
            state = project(journal.directory, tracking_uri=mlflow_server.uri)
            assert (state.phase, state.sent, state.writer) == ("done", 13, "client")
        runs = client.search_runs([str(state.experiment_id)])
        assert len(runs) == 14
        experiment = client.get_experiment(str(state.experiment_id))
        kept = contents(client, runs, by="mlflow.runName")
        inputs = {
            run.info.run_name: [
                (one.dataset.to_dictionary(), [(tag.key, tag.value) for tag in one.tags])
                for one in run.inputs.dataset_inputs
            ]
            for run in runs
            if run.inputs is not None
        }
        found.append({**kept, "inputs": inputs, "experiment": experiment.tags})
    left, right = found
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert value == right[key], key


@pytest.mark.real
def test_a_tracker_does_not_load_mlflow(mlflow_server: Server, tmp_path: Path) -> None:
    """Neither for a new experiment, nor for files, datasets and a session that is sent again."""
    journal = Journal(tmp_path, session_id="alone", experiment_name="alone")
    records = [*rich_records(journal.directory), make_record(13, inputs=(DATA,))]
    journal.cases(records).finish()
    for _ in range(2):
        variables = {"PYTHONPROFILEIMPORTTIME": "1"}
        tracker = start_tracker(journal, mlflow_server.uri, variables)
        assert tracker.stdin is not None
        tracker.stdin.close()
        journal.wait("done")
        tracker.wait()
        log = journal.directory.log.read_text(encoding="utf-8")
        loaded = {line.split()[-1] for line in log.splitlines() if line.strip()}
        assert "requests" in loaded
        assert loaded & {"mlflow", "sqlalchemy", "pandas", "numpy"} == set()
        journal.directory.state.unlink()


@pytest.mark.real
def test_files_are_listed_and_fetched_as_by_mlflow(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = both(mlflow_server.uri, monkeypatch)
    run_id = theirs.create_run(theirs.create_experiment("files")).info.run_id
    assert ours.list_artifacts(run_id) == []
    theirs.log_text(run_id, "one", "a b.txt")
    theirs.log_text(run_id, "", "plots/inner/empty.txt")
    uri = str(theirs.get_run(run_id).info.artifact_uri)
    files = [repository_at(cast("MlflowClient", client), uri) for client in (ours, theirs)]
    for path in (None, "plots", "plots/inner", "a b.txt", "nothing"):
        listed = [plain(one.list_artifacts(path)) for one in files]
        assert listed[0] == listed[1]
    for path in ("a b.txt", "plots/inner/empty.txt"):
        got = Path(ours.download_artifacts(run_id, path, str(tmp_path)))
        assert got == tmp_path / path
        assert got.read_text(encoding="utf-8") == ("one" if path == "a b.txt" else "")
    for path in ("../../../mlflow.db", "nothing"):
        with pytest.raises(AssertionError, match="MLflow is loaded"):
            ours.download_artifacts(run_id, path, str(tmp_path))
