"""What a tracking server answers counts for what it is, whatever MLflow would take it for."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice
from pathlib import Path

import pytest
import requests
from faulty_server import PAGE, Answer, FaultyServer, running
from tracker_kit import Journal

from pytest_mlflow_experiments.records.directory import SessionState
from pytest_mlflow_experiments.tracker import answers, retries, state
from pytest_mlflow_experiments.tracker.answers import checked_answers
from pytest_mlflow_experiments.tracker.errors import TrackerError, pause_asked, reason_of
from pytest_mlflow_experiments.tracker.state import Redactor, Reporter, send_repeatedly

LOGIN = "is there a login in front of the server?"
API = "/api/2.0/mlflow/runs/log-batch"
UPLOAD = "/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/report.html"
TYPE = "Content-Type"
HTML = {TYPE: "text/html; charset=utf-8"}
JSON = {TYPE: "application/json"}


def ask(answer: Answer, method: str, path: str, *, stream: bool = False) -> requests.Response:
    """Return what MLflow gets to see of an answer."""
    with running(FaultyServer(lambda *_: answer)) as server, checked_answers():
        return requests.request(method, server.uri + path, data=b"{}", stream=stream, timeout=30)


def refusal(answer: Answer, method: str = "POST", path: str = API) -> tuple[int, str, str]:
    response = ask(answer, method, path)
    said = response.json()
    return response.status_code, said["error_code"], said["message"]


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("POST", API, PAGE),
        ("PUT", UPLOAD, PAGE),
        ("POST", API, Answer(200, b"\n <html>", {TYPE: "text/plain"})),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts?path=x", PAGE),
        ("DELETE", "/prefix/api/2.0/mlflow-artifacts/artifacts/1/report.html", PAGE),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts/1/results.jsonl", PAGE),
        ("PUT", "/plain/web/server/results.jsonl", PAGE),
    ],
)
def test_a_web_page_is_called_one(method: str, path: str, answer: Answer) -> None:
    status, code, message = refusal(answer, method, path)
    assert (status, code) == (502, "TEMPORARILY_UNAVAILABLE")
    assert message.startswith(f"the answer is a web page: {LOGIN} (status 200 of http://127.0.0.1:")
    assert message.endswith(f"{path.partition('?')[0]})")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (UPLOAD, HTML),
        (UPLOAD.replace("report.html", "page"), {**HTML, "Content-Disposition": "attachment; x"}),
        (UPLOAD.replace("report.html", "a.json"), JSON),
    ],
)
def test_users_keep_pages_and_errors_as_artifacts(path: str, headers: dict[str, str]) -> None:
    body = b'{"error_code": "MINE"}' if headers == JSON else b"<html>mine</html>"
    response = ask(Answer(200, body, headers), "GET", path, stream=True)
    assert (response.status_code, response.content) == (200, body)


def test_what_is_no_tracking_server_is_not_looked_at() -> None:
    """As storage that answers an upload in XML."""
    created = Answer(201, b"<html>Created</html>", HTML)
    for answer in (Answer(200, b"<Done/>", {TYPE: "application/xml"}), Answer(429), created):
        response = ask(answer, "PUT", "/bucket/key")
        assert (response.status_code, response.content) == (answer.status, answer.body)


def test_an_error_with_status_200_is_an_error() -> None:
    body = b'{"error_code": "PERMISSION_DENIED", "message": "not yours"}'
    assert refusal(Answer(200, body)) == (
        *(500, "PERMISSION_DENIED"),
        "it answers with an error in spite of status 200 (PERMISSION_DENIED: not yours)",
    )
    for fine in (b'{"runs": [{"tags": {"error_code": "X"}}]}', b"{}", b"", b"[]", b'{"error_code'):
        assert ask(Answer(200, fine), "POST", "/api/2.0/mlflow/runs/search").content == fine
    # What is no JSON MLflow refuses itself.
    for fine in (b"{}", b"[]", b"OK", b'{"error_code'):
        assert ask(Answer(200, fine), "POST", API).content == fine


def test_a_run_that_was_made_is_not_nothing() -> None:
    paths = ("runs/create", "runs/get", "runs/update", "experiments/get-by-name")
    for path in paths:
        for body in (b"{}", b'{"message": "hello"}'):
            answer = Answer(200, body, JSON)
            status, _, message = refusal(answer, "POST", f"/api/2.0/mlflow/{path}")
            assert (status, "its answer has no '" in message) == (502, True)
    for path in (*paths, "runs/log-batch", "runs/set-tag"):
        status, _, message = refusal(Answer(200, b""), "POST", f"/api/2.0/mlflow/{path}")
        assert (status, "its answer is empty" in message) == (502, True)
    status, _, message = refusal(Answer(200, b'{"message": "hello"}', JSON), "POST", API)
    assert (status, "is not empty, but has 'message'" in message) == (502, True)
    assert ask(Answer(), "POST", "/api/2.0/mlflow/runs/search").ok


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_login_is_not_followed(status: int) -> None:
    sent = Answer(status, b"", {"Location": "https://me:geheim@sso.example/login?next=secret"})
    for method, path in (("POST", API), ("PUT", UPLOAD), ("GET", "/api/2.0/mlflow/runs/get")):
        found = refusal(sent, method, path)
        text = f"it redirects to https://sso.example/login (status {status}): {LOGIN}"
        assert found == (502, "TEMPORARILY_UNAVAILABLE", text)


def test_a_redirect_of_the_whole_server_names_its_address() -> None:
    sent = Answer(302, b"", {"Location": f"https://mlflow.example{API}"})
    status, _, message = refusal(sent)
    assert status == 404
    assert message.endswith("use its address as the tracking URI")


def test_a_redirect_that_loses_nothing_is_followed() -> None:
    def rule(method: str, path: str, _: object) -> Answer:
        moved = path.startswith("/new")
        return (
            Answer(200, method.encode()) if moved else Answer(307, b"", {"Location": "/new" + API})
        )

    with running(FaultyServer(rule)) as server, checked_answers():
        assert requests.post(server.uri + API, timeout=30).content == b"POST"


def test_a_download_that_was_sent_to_a_login_is_no_artifact() -> None:
    def rule(method: str, path: str, _: object) -> Answer:
        return PAGE if path == "/login" else Answer(302, b"", {"Location": "/login"})

    with running(FaultyServer(rule)) as server, checked_answers():
        uri = server.uri + UPLOAD.replace("report.html", "results.jsonl")
        assert LOGIN in requests.get(uri, stream=True, timeout=30).text


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": formatdate(2_000_000_020, usegmt=True)}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_a_limit_is_told_with_the_pause_asked_for(
    headers: dict[str, str], seconds: int | None
) -> None:
    status, code, message = refusal(Answer(429, b"<html>slow down</html>", headers))
    assert (status, code) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert message.startswith("it gets too many requests at once (429)")
    if "GMT" in headers.get("Retry-After", ""):
        # The handler's own Date is today's.
        assert abs((pause_asked(message) or 0) - (2_000_000_020 - time.time())) < 60
    else:
        assert pause_asked(message) == seconds


def test_full_disks_and_limits_of_size_are_called_that() -> None:
    assert refusal(Answer(507))[2] == (
        "the server's disk is full (507 Insufficient Storage): make room there"
    )
    assert "raise the limit of the server" in refusal(Answer(413), "PUT", UPLOAD)[2]
    text = "the disk that MLflow writes to is full (No space left on device): make room there"
    said = b'{"error_code": "INTERNAL_ERROR", "message": "[Errno 28] No space left on device"}'
    response = ask(Answer(500, said), "PUT", UPLOAD)
    with pytest.raises(requests.HTTPError) as caught:
        response.raise_for_status()
    assert reason_of(caught.value) == text
    assert reason_of(OSError(28, "No space left on device", "/mnt/a/b.txt")) == text.replace(
        "that MLflow writes to", "of /mnt/a/b.txt"
    )
    assert "is its disk full" not in refusal(Answer(500, b"<html>"), "PUT", UPLOAD)[2]
    assert "is the disk of its artifacts full?" in refusal(Answer(500, b""), "PUT", UPLOAD)[2]


def test_a_retry_keeps_to_the_pause_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def failing(text: str, times: int) -> None:
        if len(slept) < times:
            raise ConnectionError(text)

    retries.patiently(failing, "it gets too many requests and asks for a pause of 7 seconds", 1)
    assert 7 <= slept.pop() <= 9.1
    retries.patiently(failing, "it gets too many requests", 4)
    assert sum(slept) > 9
    slept.clear()
    retries.patiently(failing, "it answers with status 500", 4)
    assert sum(slept) < 1
    slept.clear()
    with pytest.raises(ConnectionError):
        retries.patiently(failing, "asks for a pause of 3600 seconds", 1)
    assert slept == []


class Clock:
    """A clock that only pauses make go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(state, "wait_until", self.wait_until)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait_until(self, condition: object, *, timeout: float, poll: float) -> bool:
        assert callable(condition)
        end = self.now + timeout
        while not condition() and self.now < end:
            self.now += poll
        return True


@pytest.mark.parametrize(
    ("text", "comes_back", "timeout", "tries"),
    [
        ("down", 20.0, 30.0, range(15, 22)),
        ("down", 40.0, 30.0, None),
        ("down", 0.5, 0.0, None),
        ("asks for a pause of 12 seconds", 20.0, 30.0, range(3, 4)),
        ("asks for a pause of 60 seconds", 20.0, 30.0, None),
    ],
)
def test_the_tracker_goes_on_after_the_end_for_as_long_as_it_may(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    comes_back: float,
    timeout: float,
    tries: range | None,
) -> None:
    clock = Clock(monkeypatch)
    journal = Journal(tmp_path).finish()
    reporter = Reporter(journal.directory.state, SessionState(phase="starting"), Redactor())
    called: list[float] = []

    def send(_: object) -> None:
        called.append(clock.now)
        if clock.now < comes_back:
            raise TrackerError(text, passing=True)

    def run() -> None:
        send_repeatedly(send, journal.directory.journal, lambda: True, reporter, timeout)

    if tries is None:
        with pytest.raises(TrackerError, match=text):
            run()
        assert clock.now <= timeout
    else:
        run()
        assert len(called) in tries
        assert clock.now < timeout


def test_a_long_pause_ends_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the tests run it is kept to; at their end nobody waits for longer than allowed."""
    clock = Clock(monkeypatch)
    journal = Journal(tmp_path)
    reporter = Reporter(journal.directory.state, SessionState(phase="starting"), Redactor())
    ended_at, called = 100.0, list[float]()

    def send(_: object) -> None:
        called.append(clock.now)
        raise TrackerError("asks for a pause of 80 seconds", passing=True)

    with pytest.raises(TrackerError):
        send_repeatedly(send, journal.directory.journal, lambda: clock.now < ended_at, reporter, 30)
    assert [round(at) for at in called] == [0, 80]
    assert round(clock.now) == 100


class _Endless(BaseHTTPRequestHandler):
    """Answers without an end: as fast as it goes, or a byte at a time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = self.path.partition("?")[2]
        self.send_response(500 if "error" in kind else 200)
        packed = zlib.compressobj(9, wbits=31)
        for key, value in {
            "Content-Type": "application/json",
            "Connection": "close",
            **({"Transfer-Encoding": "chunked"} if "chunked" in kind else {}),
            **({"Content-Encoding": "gzip"} if "gzip" in kind else {}),
            **({"Content-Length": str(10**12)} if "length" in kind else {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        for _ in range(200) if "slow" in kind else count():
            data = b"x" if "slow" in kind else b"x" * 100_000
            if "gzip" in kind:
                data = packed.compress(data) + packed.flush(zlib.Z_SYNC_FLUSH)
            if "chunked" in kind:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            try:
                self.wfile.write(data)
            except OSError:
                break
            if "slow" in kind:
                time.sleep(0.05)
        self.close_connection = True

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endless)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["plain", "length", "chunked", "gzip", "chunked,gzip", "error"])
def test_an_answer_without_end_is_cut(
    endless: str, monkeypatch: pytest.MonkeyPatch, kind: str, stream: bool
) -> None:
    monkeypatch.setattr(answers, "_LONGEST", 3_000_000)
    method = "GET" if kind == "error" else "POST"
    with checked_answers():
        response = requests.request(
            method, f"{endless}{API}?{kind}", data=b"{}", stream=stream, timeout=20
        )
    said = response.json()
    assert (response.status_code, said["error_code"]) == (502, "TEMPORARILY_UNAVAILABLE")
    assert "its answer does not end: it was cut after 3 MB (status " in said["message"]


@pytest.mark.parametrize("kind", ["slow", "slow,length", "slow,chunked", "slow,gzip"])
def test_an_answer_that_trickles_is_cut(endless: str, kind: str) -> None:
    with checked_answers():
        response = requests.post(f"{endless}{API}?{kind}", data=b"{}", timeout=0.5)
    assert "its answer does not end: it was cut after 2 seconds" in response.json()["message"]


def test_a_download_may_be_as_long_as_it_is(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_LONGEST", 1_000)
    with checked_answers():
        response = requests.get(f"{endless}{UPLOAD}?plain", stream=True, timeout=20)
        assert sum(map(len, islice(response.iter_content(100_000), 30))) > 1_000_000
        response.close()


def test_connections_are_used_again_after_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(200, b'{"run": {"info": {}}}', JSON)
    accepted = []
    server = FaultyServer(lambda *_: answer)
    accept = server.get_request

    def counted() -> tuple[socket.socket, object]:
        accepted.append(found := accept())
        return found

    monkeypatch.setattr(server, "get_request", counted)
    with running(server), checked_answers(), requests.Session() as session:
        for _ in range(3):
            made = session.post(f"{server.uri}/api/2.0/mlflow/runs/create", timeout=20)
            assert made.json()["run"]
    assert len(accepted) == 1


def test_an_answer_that_is_cut_off_is_none() -> None:
    answer = Answer(200, b'{"run": {}}', {**JSON, "Content-Length": "1000", "Connection": "close"})
    with pytest.raises(requests.exceptions.RequestException):
        ask(answer, "POST", API)
