"""Artifacts reach the store whole, or the session says which did not."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from flaky_proxy import flaky
from mlflow_server import Server
from shared import small_disk
from tracker_database import Database
from tracker_kit import Journal, make_record, start_tracker

from pytest_mlflow_experiments.records.directory import SessionDirectory, SessionState
from pytest_mlflow_experiments.records.processes import is_running, wait_until
from pytest_mlflow_experiments.records.tags import NODEID
from pytest_mlflow_experiments.report.terminal import Progress

if TYPE_CHECKING:
    from mlflow.entities import FileInfo

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("restored_environment"),
]

NAMES = (
    *("a b.txt", "100%.txt", "a%20b.txt", "a#b.txt", "a_b.txt", "what?.txt", "größe 模型.bin"),
    *("d#1/x.txt", "d 2/e%2Ff/x&y=z.txt", "+;=@:,$.txt", "empty", "line\nbreak", "back\\slash"),
)


class Store:
    """An artifact repository in memory, elsewhere as far as the uploader can tell."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.fault: Callable[[str], None] = lambda name: None
        self.sizes = True
        self.listing: Exception | None = None
        self.at_work: set[str] = set()
        self.most_at_work = 0
        self.made: list[str | None] = []

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        path = Path(local_file)
        name = f"{artifact_path}/{path.name}" if artifact_path else path.name
        self.calls[name] += 1
        self.at_work.add(name)
        self.most_at_work = max(self.most_at_work, len(self.at_work))
        try:
            self.fault(name)
            self.files[name] = path.read_bytes()
        finally:
            self.at_work.discard(name)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        assert not any(Path(local_dir).iterdir())
        self.made.append(artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        from mlflow.entities import FileInfo

        if self.listing is not None:
            raise self.listing
        self.calls["list"] += 1
        start = f"{path}/" if path else ""
        below = {name[len(start) :] for name in self.files if name.startswith(start)}
        directories = {name.partition("/")[0] for name in below if "/" in name}
        return [
            *(FileInfo(start + name, is_dir=True, file_size=None) for name in directories),
            *(
                FileInfo(start + name, False, len(self.files[start + name]) if self.sizes else None)
                for name in below
                if "/" not in name
            ),
        ]


class Counts:
    """What an uploader counted and noted."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.notes: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, **more: int) -> None:
        with self._lock:
            self.total.update(more)


class Sender:
    """Uploads the files of a directory, and keeps what the uploader counted."""

    def __init__(self, root: Path, store: Any) -> None:
        self.root, self.store, self.counts = root, store, Counts()

    def write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def send(self, *, resumed: bool = False, gone: Iterable[str] = ()) -> Any:
        from pytest_mlflow_experiments.tracker.writers.artifacts import Uploader

        uploader = Uploader(self.counts, self.counts.notes.append)
        here = {path.relative_to(self.root).as_posix(): path for path in self.root.rglob("*")}
        files = {name: path for name, path in here.items() if path.is_file()}
        return uploader.upload(
            "test_it",
            lambda: self.store,
            lambda: {**dict.fromkeys(gone), **files},
            self.root,
            resumed=resumed,
        )


@pytest.fixture
def sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sender:
    from pytest_mlflow_experiments.tracker import retries

    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * 9)
    # As the tracker sets it: it repeats requests itself.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tmp_path.joinpath("kept").mkdir()
    return Sender(tmp_path / "kept", Store())


MANY = {f"d{number % 7}/{number}.bin": bytes([number % 256]) * number for number in range(60)}


def test_one_upload_in_five_fails_and_none_is_lost(sender: Sender) -> None:
    rng = random.Random(1)

    def fault(name: str) -> None:
        time.sleep(0.005)
        if rng.random() < 0.2:
            raise ConnectionResetError("reset by peer")

    sender.store.fault = fault
    sender.write(MANY)
    assert sender.send() is None
    assert sender.store.files == MANY
    assert sender.counts.total["files"] == sender.counts.total["all_files"] == len(MANY)
    assert sender.store.most_at_work > 1


def test_only_what_is_missing_or_cut_off_is_sent_again(sender: Sender) -> None:
    sender.write(MANY)
    cut, missing = "d3/59.bin", "d4/18.bin"
    sender.store.files = {**MANY, cut: MANY[cut][:-1]}
    del sender.store.files[missing]
    assert sender.send(resumed=True) is None
    assert sender.store.files == MANY
    assert sender.store.calls.keys() - {"list"} == {cut, missing}
    assert sender.store.calls["list"] == 8
    assert sender.counts.total["files"] == len(MANY)


def test_a_store_that_tells_no_sizes_gets_the_files_again(sender: Sender) -> None:
    sender.write({"a": b"whole", "empty": b""})
    sender.store.files, sender.store.sizes = {"a": b"", "empty": b""}, False
    assert sender.send(resumed=True) is None
    assert sender.store.files["a"] == b"whole"
    assert "empty" not in sender.store.calls


def test_a_store_that_does_not_list_gets_the_files_again(sender: Sender) -> None:
    sender.write({"a": b"whole"})
    sender.store.listing = NotImplementedError("no listing here")
    assert sender.send(resumed=True) is None
    assert sender.store.files == {"a": b"whole"}


def test_what_broke_off_is_looked_at_again(sender: Sender) -> None:
    sender.write({"a": b"whole", "b": b"other"})
    late = iter([b"wh", b"who", None])

    def fault(name: str) -> None:
        if name == "a" and sender.store.calls[name] == 1:
            raise ConnectionResetError("reset by peer")

    def list_artifacts(path: str | None = None) -> list[FileInfo]:
        # What the server had of a broken request arrives when it was sent again already.
        if (content := next(late)) is not None:
            sender.store.files["a"] = content
        return Store.list_artifacts(sender.store, path)

    sender.store.fault = fault
    sender.store.list_artifacts = list_artifacts
    assert sender.send() is None
    assert sender.store.files == {"a": b"whole", "b": b"other"}
    assert sender.store.calls["a"] == 3


def test_a_store_that_cuts_every_file_is_told(sender: Sender) -> None:
    sender.write({"a": b"whole"})

    def fault(name: str) -> None:
        if sender.store.calls[name] % 2:
            raise ConnectionResetError("reset by peer")

    def list_artifacts(path: str | None = None) -> list[FileInfo]:
        sender.store.files["a"] = b"wh"
        return Store.list_artifacts(sender.store, path)

    sender.store.fault = fault
    sender.store.list_artifacts = list_artifacts
    problem = sender.send()
    assert (problem.part, problem.passing) == ("artifacts", False)
    assert problem.reason == "1 of 1 files, as a: only a part of it arrives"


def test_files_that_are_gone_are_named_if_mlflow_lacks_them(sender: Sender) -> None:
    sender.write({"here": b"1"})
    sender.store.files = {"plots/a.png": b"a"}
    gone = ["plots/a.png", "plots/b.png", "c.txt"]
    problem = sender.send(resumed=True, gone=gone)
    assert (problem.part, problem.reason) == ("lost", "c.txt, plots/b.png")
    assert sender.store.files["here"] == b"1"
    sender.store.files |= {"plots/b.png": b"b", "c.txt": b"c"}
    assert sender.send(resumed=True, gone=gone) is None
    many = [f"{number}.txt" for number in range(9)]
    assert sender.send(gone=many).reason == "0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more"


def test_a_store_that_is_down_is_not_asked_for_each_file(sender: Sender) -> None:
    sender.write(MANY)

    def fault(name: str) -> None:
        raise OSError(28, "No space left on device")

    sender.store.fault = fault
    problem = sender.send()
    assert problem.passing
    assert problem.reason.startswith("60 of 60 files, as d0/")
    assert "No space left on device" in problem.reason
    # Eight at a time, each ten times, until three have failed.
    assert sender.store.calls.total() <= 10 * 10


def test_a_store_that_is_down_is_not_opened_for_each_case(sender: Sender) -> None:
    from pytest_mlflow_experiments.tracker.writers.artifacts import Uploader

    uploader = Uploader()
    opened = 0

    def repository() -> Any:
        nonlocal opened
        opened += 1
        raise OSError("no bucket today")

    found = [uploader.upload("t.py::test", repository, dict) for _ in range(20)]
    assert {(one.reason, one.passing) for one in found if one} == {("no bucket today", True)}
    assert len(found) == 20
    # Seven calls for each of the first three cases.
    assert opened == 21


def test_full_disk_of_temporary_files_is_told(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_mlflow_experiments.tracker.runs.case import RunData
    from pytest_mlflow_experiments.tracker.writers.artifacts import Uploader

    def full(*_: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    run = RunData(
        id="1", name="x", status="FAILED", start_time=1, end_time=2, params={}, metrics=(),
        tags={NODEID: "t.py::test"}, texts={"failure.txt": "text"},
    )  # fmt: skip
    problem = Uploader().upload_run(lambda: sender.store, run, resumed=False)
    assert problem is not None
    assert (problem.part, problem.passing) == ("artifacts", True)
    assert problem.reason == "the disk of /tmp/x is full (No space left on device): make room there"


def test_a_file_that_is_refused_keeps_no_other_out(sender: Sender) -> None:
    sender.write(MANY)

    def fault(name: str) -> None:
        if name.startswith("d1/"):
            raise ValueError("not this one")

    sender.store.fault = fault
    problem = sender.send()
    assert not problem.passing
    assert problem.reason.startswith("9 of 60 files, as d1/")
    assert problem.reason.endswith(": not this one")
    assert sender.store.files == {k: v for k, v in MANY.items() if not k.startswith("d1/")}


def test_empty_directories_are_made_too(sender: Sender) -> None:
    sender.write({"a/b/file": b"1"})
    sender.root.joinpath("a/empty/inner").mkdir(parents=True)
    assert sender.send() is None
    assert sender.store.made == ["a/empty/inner"]


def test_a_library_at_work_is_progress(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_mlflow_experiments.tracker.writers import artifacts

    monkeypatch.setattr(artifacts, "_BEAT", 0.01)
    sender.write({"huge": b"1"})

    def fault(name: str) -> None:
        assert wait_until(lambda: sender.counts.total["beats"] >= 2, timeout=60, poll=0.01)

    sender.store.fault = fault
    assert sender.send() is None
    monkeypatch.setattr(artifacts, "_GRACE", 0.0)
    sender.store.fault = lambda name: time.sleep(0.1)
    before = sender.counts.total["beats"]
    assert sender.send() is None
    assert sender.counts.total["beats"] == before


def test_a_file_store_never_has_half_a_file(
    sender: Sender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    root = tmp_path / "store"
    sender.store = LocalArtifactRepository(root.as_uri())
    files = dict.fromkeys(NAMES, b"content") | {"empty": b""}
    sender.write(files)
    sender.root.joinpath("empty directory").mkdir()
    for path in sender.root.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)

    def there() -> dict[str, bytes]:
        found = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
        return {name: path.read_bytes() for name, path in found.items() if path.is_file()}

    with monkeypatch.context() as patch:

        def copy(source: Any, target: Any, length: int) -> None:
            target.write(source.read()[:1])
            raise OSError(28, "No space left on device")

        patch.setattr("shutil.copyfileobj", copy)
        assert "No space left" in sender.send().reason
    assert there() == {}
    assert sender.send(resumed=True) is None
    assert there() == files
    assert root.joinpath("empty directory").is_dir()
    other = tmp_path / "other"
    other.touch()
    assert root.joinpath("a b.txt").stat().st_mode == other.stat().st_mode
    before = sender.counts.total["uploaded"]
    assert sender.send(resumed=True) is None
    assert sender.counts.total["uploaded"] == before
    # As older releases of MLflow, and other programs, may leave it.
    root.joinpath("a#b.txt").write_bytes(b"con")
    assert sender.send(resumed=True) is None
    assert there() == files


class StubServer(ThreadingHTTPServer):
    """What a server does with artifacts; ``fault`` tells what it does with an upload."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.fault: Callable[[str], bytes | int | None] = lambda name: None
        self._lock = threading.Lock()
        self._at_work = 0
        self.most_at_work = 0

    def work(self, more: int) -> None:
        """Count the uploads at work; each takes some time, as over a line."""
        with self._lock:
            self._at_work += more
            self.most_at_work = max(self.most_at_work, self._at_work)
        if more > 0:
            time.sleep(0.005)

    def handle_error(self, request: object, client_address: object) -> None:
        pass


ROOT = "/api/2.0/mlflow-artifacts/artifacts"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        server = cast(StubServer, self.server)
        server.work(+1)
        name = unquote(urlsplit(self.path).path.removeprefix(f"{ROOT}/1/run/artifacts/"))
        fault = server.fault(name)
        if fault == b"":
            # It leaves in the middle, and what it has is kept.
            server.files[name] = self.rfile.read(1)
            self.close_connection = True
            server.work(-1)
            return
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if fault is None:
            server.files[_decoded(name)] = content
        server.work(-1)
        self._answer(fault if isinstance(fault, int) else 200, fault or b"{}")

    def do_GET(self) -> None:
        import json

        path = parse_qs(urlsplit(self.path).query)["path"][0].removeprefix("1/run/artifacts")
        start = f"{path.lstrip('/')}/" if path.lstrip("/") else ""
        found: dict[str, dict[str, object]] = {}
        for name, content in cast(StubServer, self.server).files.items():
            if name.startswith(start):
                first, slash, _ = name[len(start) :].partition("/")
                size = {} if slash or not content else {"file_size": f"{len(content)}"}
                found[first] = {"path": first, "is_dir": bool(slash), **size}
        self._answer(200, json.dumps({"files": list(found.values())}).encode())

    def _answer(self, status: int, body: object) -> None:
        content = body if isinstance(body, bytes) else b"no"
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _decoded(name: str) -> str:
    while unquote(name) != name:
        name = unquote(name)
    assert "#" not in name
    return name


@pytest.fixture(params=["MLflow's client", "without MLflow"])
def http(sender: Sender, request: pytest.FixtureRequest) -> Iterable[StubServer]:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    from pytest_mlflow_experiments.tracker.server import Server as Connection
    from pytest_mlflow_experiments.tracker.server_files import ServerFiles

    with StubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        open_store: Callable[[str], Any] = HttpArtifactRepository
        if request.param == "without MLflow":
            place = "mlflow-artifacts:/1/run/artifacts"
            sender.store = ServerFiles.at(Connection(uri, {}), place, lambda: open_store(uri))
        else:
            sender.store = open_store(f"{uri}{ROOT}/1/run/artifacts")
        yield server
        server.shutdown()


def test_names_that_a_server_does_not_take(sender: Sender, http: StubServer) -> None:
    sender.write({name: name.encode() for name in NAMES} | {"empty": b""})
    renamed = {
        **{"a%20b.txt": "a_20b.txt", "a#b.txt": "a_b_2.txt", "d#1/x.txt": "d_1/x.txt"},
        **{"d 2/e%2Ff/x&y=z.txt": "d 2/e_2Ff/x&y=z.txt", "line\nbreak": "line_break"},
        "back\\slash": "back_slash",
    }
    assert sender.send() is None
    expected = {renamed.get(name, name): name.encode() for name in NAMES} | {"empty": b""}
    assert http.files == expected
    assert "No artifact on the server can be called 'a#b.txt': it is 'a_b_2.txt'" in (
        sender.counts.notes
    )
    assert len(sender.counts.notes) == len(renamed)
    sent = sender.counts.total["uploaded"]
    assert sent == sum(map(len, expected.values()))
    assert sender.send(resumed=True) is None
    assert sender.counts.total["uploaded"] == sent
    http.files["d 2/e_2Ff/x&y=z.txt"] = b"half"
    assert sender.send(resumed=True) is None
    assert http.files == expected


@pytest.mark.parametrize("fault", [503, 429, b""], ids=["503", "429", "cut"])
def test_one_request_in_ten_fails(sender: Sender, http: StubServer, fault: bytes | int) -> None:
    rng = random.Random(2)
    http.fault = lambda name: fault if rng.random() < 0.1 else None
    sender.write(MANY)
    assert sender.send() is None
    assert http.files == MANY
    assert 1 < http.most_at_work <= 8


@pytest.mark.parametrize(
    ("fault", "told", "passing"),
    [
        (503, "it answers with status 503", True),
        (403, "status 403", False),
        (
            b"<!doctype html><title>Log in</title>",
            "is there a login in front of the server?",
            True,
        ),
    ],
    ids=["503", "403", "login"],
)
def test_a_server_that_takes_nothing(
    sender: Sender, http: StubServer, fault: bytes | int, told: str, *, passing: bool
) -> None:
    from pytest_mlflow_experiments.tracker.answers import checked_answers

    http.fault = lambda name: fault
    sender.write({"a.txt": b"1", "b.txt": b"2"})
    with checked_answers():
        problem = sender.send()
    assert problem.passing is passing
    assert problem.reason.startswith("2 of 2 files, as a.txt: ")
    assert told in problem.reason
    http.fault = lambda name: None
    assert sender.send(resumed=True) is None
    assert http.files == {"a.txt": b"1", "b.txt": b"2"}


def test_what_a_session_lacks_keeps_it_from_being_done(database: Database) -> None:
    journal = Journal(database.path)
    record = make_record(1, artifacts=("plots/a.png", "plots/b.png", "c.txt"))
    kept = journal.directory.artifacts(record.id)
    kept.joinpath("plots").mkdir(parents=True)
    files = {"plots/a.png": b"a" * 1_000, "plots/b.png": b"b", "c.txt": b"c"}
    for name, content in files.items():
        kept.joinpath(name).write_bytes(content)
    journal.cases([record, make_record(2, outcome="failed", failure="boom")]).finish()
    state = database.send(journal)
    assert (state.phase, state.files, state.all_files) == ("done", 5, 5)
    there = database.path / "mlruns" / "1" / record.id / "artifacts"
    there.joinpath("plots/a.png").write_bytes(b"a" * 999)
    there.joinpath("plots/b.png").unlink()
    moved = kept.rename(database.path / "moved")

    # As on another machine, which has the journal alone: what it can't see is not called done.
    state = database.send(journal)
    assert state.phase == "failed"
    assert state.error == (
        f"MLflow has every case, but some artifacts are neither there nor in "
        f"{journal.directory.path}; the first are those of {record.nodeid}: plots/b.png"
    )
    assert not journal.directory.is_sent
    newer = SessionDirectory.create(database.path, "newer").journal
    newer.touch()
    os.utime(newer, (2**32, 2**32))  # not within the same second
    SessionDirectory.prune(database.path, keep=1)
    assert journal.directory.journal.exists()

    moved.rename(kept)
    state = database.send(journal)
    assert (state.phase, state.files, state.all_files) == ("done", 5, 5)
    assert {name: there.joinpath(name).read_bytes() for name in files} == files
    SessionDirectory.prune(database.path, keep=1)
    assert not journal.directory.path.exists()


def test_what_is_shown_while_artifacts_are_uploaded() -> None:
    class Terminal(StringIO):
        isatty, verbosity = True, 0  # type: ignore[assignment]

        def rewrite(self, text: str, *, erase: bool) -> None:
            self.write(f"{text}\n")

    terminal = Terminal()
    progress = Progress(cast(Any, terminal), 30, "sqlite:///mlflow.db")
    progress(SessionState(phase="starting"))
    assert terminal.getvalue() == ""
    progress._started -= 4
    state = SessionState(phase="ready", sent=3, files=1_200, all_files=5_000)
    later = state.update(uploaded=123_456_789)
    for shown in (state, later, later.update(files=5_000), SessionState(phase="starting")):
        progress(shown)
    assert terminal.getvalue().splitlines() == [
        "mlflow: uploading artifacts: 1,200 of 5,000 files …",
        "mlflow: uploading artifacts: 1,200 of 5,000 files, 123 MB …",
        "mlflow: uploading to MLflow: 3 cases so far …",
        "mlflow: opening MLflow's database …",
    ]
    assert later.progress > state.progress


def send_files(
    root: Path, files: Mapping[str, bytes], **header: Any
) -> tuple[Journal, Callable[[Path], None]]:
    """Return a session with these artifacts, and the check that a directory has them all."""
    journal = Journal(root, **header)
    record = make_record(1, artifacts=tuple(files))
    kept = journal.directory.artifacts(record.id)
    for name, content in files.items():
        path = kept / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    journal.cases([record]).finish()

    def check(there: Path) -> None:
        digests = {name: sha256(content).hexdigest() for name, content in files.items()}
        found = {path.relative_to(there).as_posix(): path for path in there.rglob("*")}
        left = {name: path for name, path in found.items() if path.is_file()}
        assert {
            name: sha256(path.read_bytes()).hexdigest() for name, path in left.items()
        } == digests

    return journal, check


def artifacts_of(uri: str, state: SessionState, to: Path) -> Path:
    """Download what MLflow has of the session's only case."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (run,) = client.search_runs([str(state.experiment_id)], "tags.`pytest.kind` = 'case'")
    return Path(client.download_artifacts(run.info.run_id, "", str(to)))


SEVERAL = (0, 1, 1_000, 70_000, 1_000_000)


@pytest.mark.real
def test_a_server_behind_a_bad_line(mlflow_server: Server, tmp_path: Path) -> None:
    from pytest_mlflow_experiments.tracker.main import project

    rng = random.Random(3)
    files = {f"d {n % 3}/{n} größe.bin": rng.randbytes(SEVERAL[n % 5]) for n in range(60)}
    journal, check = send_files(tmp_path, files, experiment_name="bad line")
    with flaky(mlflow_server.uri, seed=3, share=0.1) as proxy:
        state = project(journal.directory, tracking_uri=proxy.uri)
        counts = proxy.counts()
    assert (state.phase, state.error) == ("done", None)
    assert counts["503"] + counts["cut off"] > 0
    tmp_path.joinpath("there").mkdir()
    check(artifacts_of(mlflow_server.uri, state, tmp_path / "there"))


# In the tracker's process, so that it dies at this byte of the artifacts and no other.
KILLER = """
import io, os, signal

class FileIO(io.FileIO):
    total = 0

    def read(self, size=-1):
        data = super().read(size)
        FileIO.total += len(data) if ".pytest_mlflow" in str(self.name) else 0
        if FileIO.total > {bytes}:
            os.kill(os.getpid(), signal.SIGKILL)
        return data

io.FileIO = FileIO
"""


@pytest.mark.real
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("size", ["many", "large"])
@pytest.mark.parametrize("place", ["disk", "server"])
def test_the_tracker_is_killed_within_artifacts(
    database: Database, request: pytest.FixtureRequest, place: str, size: str
) -> None:
    from pytest_mlflow_experiments.tracker.main import project

    rng = random.Random(4)
    files = {f"d{n % 9}/{n}.bin": rng.randbytes(n % 2_000) for n in range(3_000)}
    if size == "large":
        files = {"model/large.bin": rng.randbytes(100_000_000), "small.txt": b"1"}
    uri = database.uri if place == "disk" else request.getfixturevalue("mlflow_server").uri
    journal, check = send_files(database.path, files, experiment_name=f"killed {size}")
    code = database.path / "code"
    code.mkdir()
    killed_at = sum(map(len, files.values())) // 3
    code.joinpath("sitecustomize.py").write_text(KILLER.format(bytes=killed_at), encoding="utf-8")
    path = os.pathsep.join([str(code), os.environ.get("PYTHONPATH", "")])
    process = start_tracker(journal, uri, {"PYTHONPATH": path})

    def has_ended() -> bool:
        state = SessionState.read(journal.directory.state)
        return state is not None and state.pid is not None and not is_running(state.pid)

    assert wait_until(has_ended, timeout=300, poll=0.01)
    process.communicate()
    assert not journal.directory.is_sent
    state = project(journal.directory, tracking_uri=uri)
    assert (state.phase, state.error) == ("done", None)
    there = database.path / "there"
    there.mkdir()
    check(artifacts_of(uri, state, there))


@pytest.mark.real
def test_a_full_artifact_disk_is_enlarged(database: Database, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=1m"):
        enlarge(database, disk)


def enlarge(database: Database, disk: Path) -> None:
    place = disk.as_uri()
    experiment_id = database.client.create_experiment("full", artifact_location=place)
    files = {f"{n}.bin": random.Random(n).randbytes(100_000) for n in range(13)}
    journal, check = send_files(
        database.path, files, experiment_name=None, experiment_id=experiment_id
    )
    state = database.send(journal)
    assert state.phase == "failed"
    assert state.error is not None
    assert "not all artifacts could be uploaded" in state.error
    assert "No space left on device" in state.error
    there = disk / f"{1:032x}" / "artifacts"
    assert {path.stat().st_size for path in there.iterdir()} == {100_000}
    newer = SessionDirectory.create(database.path, "newer").journal
    newer.touch()
    os.utime(newer, (2**32, 2**32))  # not within the same second
    SessionDirectory.prune(database.path, keep=1)
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    state = database.send(journal)
    assert (state.phase, state.error) == ("done", None)
    check(there)
