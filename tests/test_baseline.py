from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tracker_kit import START, Journal, make_check, make_metric, make_record

from pytest_mlflow_experiments.baseline.choice import Candidate, Query, choose, why_incomplete
from pytest_mlflow_experiments.baseline.files import (
    copy_file,
    export,
    load_file,
    make_baseline,
    slim,
    slim_entry,
)
from pytest_mlflow_experiments.baseline.kept_values import ValuesReader
from pytest_mlflow_experiments.baseline.local import (
    LocalCatalog,
    clear_local_pin,
    local_pin,
    set_local_pin,
)
from pytest_mlflow_experiments.baseline.local_baseline import choose_local, read_baseline
from pytest_mlflow_experiments.baseline.specs import (
    BaselineError,
    BaselineRequest,
    Spec,
    base_branch,
    parse_spec,
)
from pytest_mlflow_experiments.records import (
    Attempt,
    CaseRecord,
    Provenance,
    SessionEnd,
    SessionHeader,
    Shard,
    journal,
)
from pytest_mlflow_experiments.records.directory import SessionDirectory
from pytest_mlflow_experiments.records.journal import JournalError

URI = "sqlite:///somewhere.db"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("auto", Spec("auto")),
        (" latest ", Spec("latest")),
        ("none", Spec("none")),
        ("branch:release/1:2", Spec("branch", "release/1:2")),
        ("session:2026", Spec("session", "2026")),
        ("run:abc", Spec("run", "abc")),
        ("tag:a=b=c", Spec("tag", "a=b=c")),
        ("model:a@b@champion", Spec("model", "a@b@champion")),
        ("file:C:\\x.jsonl", Spec("file", "C:\\x.jsonl")),
    ],
)
def test_specs(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec
    assert str(spec) == text.strip()


def test_pairs() -> None:
    assert parse_spec("tag:a=b=c").pair == ("a", "b=c")
    assert parse_spec("model:a@b@champion").pair == ("a@b", "champion")


@pytest.mark.parametrize(
    "text",
    ["", "main", "branch", "branch:", "auto:x", "latest:", "tag:k", "tag:=v", "model:m", "x:y"],
)
def test_illegal_specs(text: str) -> None:
    with pytest.raises(ValueError, match=r"session:ID.*or none") as caught:
        parse_spec(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "branch"),
    [
        ({}, None),
        ({"GITHUB_BASE_REF": ""}, None),
        ({"GITHUB_BASE_REF": "", "CHANGE_TARGET": "dev"}, "dev"),
        ({"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}, "main"),
        ({"SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main"}, "main"),
    ],
)
def test_base_branch(environ: dict[str, str], branch: str | None) -> None:
    assert base_branch(environ) == branch


def test_request_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert BaselineRequest.read(path) is None
    request = BaselineRequest(spec="latest", history=3, branch="b", session_id="s", start_time=7)
    request.write(path)
    assert BaselineRequest.read(path) == request
    path.write_text('{"nonsense": 1}', encoding="utf-8")
    with pytest.raises(BaselineError, match="not a request"):
        BaselineRequest.read(path)


class Shelf:
    """Sessions in memory, which counts how many of them were looked at."""

    place = "a shelf"

    def __init__(self, *sessions: Candidate, pin: str | None = None) -> None:
        self.sessions = sessions
        self.pin = pin
        self.seen = 0

    def newest(self, query: Query) -> Iterator[Candidate]:
        for session in sorted(self.sessions, key=lambda entry: -entry.start_time):
            self.seen += 1
            yield session

    def session(self, session_id: str) -> Candidate:
        for session in self.sessions:
            if session.session_id == session_id:
                return session
        raise BaselineError(f"there is no session {session_id!r} in a shelf")

    def run(self, run_id: str) -> Candidate:
        return self.session(run_id.removeprefix("run-"))

    def model(self, name: str, alias: str) -> Candidate:
        return self.session(f"{name}{alias}")

    def pinned(self) -> str | None:
        return self.pin

    def journals(self, sessions: Sequence[Candidate], directory: Path) -> Iterator[Path | str]:
        raise NotImplementedError


def candidate(number: int, branch: str | None = "main", **changes: Any) -> Candidate:
    session = Candidate(
        session_id=f"s{number}", start_time=number, branch=branch, exit_status=0, tags={"k": "v"}
    )
    return replace(session, **changes)


def chosen(shelf: Shelf, spec: str, **request: Any) -> tuple[str, str] | None:
    """Return the ids of the chosen sessions, and the reason."""
    choice = choose(parse_spec(spec), BaselineRequest(spec=spec, **request), shelf)
    if choice is None:
        return None
    assert (choice.provenance.spec, choice.provenance.place) == (spec, "a shelf")
    return " ".join(entry.session_id for entry in choice.sessions), choice.provenance.reason


SHELF = (
    candidate(1),
    candidate(2),
    candidate(3, exit_status=1),
    candidate(4, incomplete="it was cut short (Ctrl-C)"),
    candidate(5, "feature"),
    candidate(6),
    candidate(7, "feature", exit_status=1),
    candidate(8, None, tags={"k": "w"}),
    candidate(9, None, exit_status=1),
)


@pytest.mark.parametrize(
    ("spec", "request_", "found"),
    [
        (
            "auto",
            {"branch": "feature", "base_branch": "main"},
            ("s1 s2 s6", "the last 3 passing sessions on main, the base branch"),
        ),
        (
            "auto",
            {"branch": "feature", "base_branch": "unknown"},
            ("s5", "the last passing session on feature, this branch"),
        ),
        (
            "auto",
            {"branch": "main", "history": 2},
            ("s2 s6", "the last 2 passing sessions on main, this branch"),
        ),
        ("auto", {}, ("s8", "the last passing session outside of any branch")),
        (
            "auto",
            {"branch": "new"},
            ("s1 s2 s3 s5 s6 s7 s8 s9", "the last 8 complete sessions of any branch"),
        ),
        (
            "auto",
            {"branch": "main", "session_id": "s6", "start_time": 6},
            ("s1 s2", "the last 2 passing sessions on main, this branch"),
        ),
        ("auto", {"branch": "main", "start_time": 1}, None),
        ("latest", {"history": 2}, ("s8 s9", "the last 2 complete sessions of any branch")),
        (
            "latest",
            {"history": 1, "session_id": "s9"},
            ("s8", "the last complete session of any branch"),
        ),
        ("branch:main", {}, ("s1 s2 s6", "the last 3 passing sessions on main")),
        ("branch:unknown", {}, None),
        ("tag:k=w", {}, ("s8", "the last complete session with the tag k=w")),
        ("tag:k=x", {}, None),
        ("session:s6", {}, ("s1 s2 s6", "session s6 and 2 before it on main")),
        ("session:s6", {"history": 1}, ("s6", "session s6")),
        ("session:s7", {}, ("s5 s7", "session s7 and 1 before it on feature")),
        ("session:s9", {}, ("s8 s9", "session s9 and 1 before it")),
        ("run:run-s2", {}, ("s1 s2", "session s2 (run run-s2) and 1 before it on main")),
        ("model:s@5", {}, ("s5", "session s5 (model s@5)")),
        ("none", {}, None),
    ],
)  # fmt: skip
def test_choice(spec: str, request_: dict[str, Any], found: tuple[str, str] | None) -> None:
    assert chosen(Shelf(*SHELF), spec, **request_) == found


@pytest.mark.parametrize(
    ("spec", "request_", "words"),
    [
        ("session:s4", {}, r"s4 can't be a baseline: it was cut short \(Ctrl-C\)"),
        ("session:s0", {}, "there is no session 's0'"),
        ("session:s6", {"session_id": "s6"}, "s6 can't be the baseline of one that started"),
        ("session:s6", {"start_time": 5}, "s6 can't be the baseline of one that started"),
        ("file:x", {}, "file:x is a file"),
    ],
)
def test_named_sessions_that_are_no_baseline(
    spec: str, request_: dict[str, Any], words: str
) -> None:
    with pytest.raises(BaselineError, match=words):
        chosen(Shelf(*SHELF), spec, **request_)


def test_pin_wins() -> None:
    shelf = Shelf(*SHELF, pin="s2")
    found = chosen(shelf, "auto", branch="feature", base_branch="main")
    assert found == ("s1 s2", "pinned session s2 and 1 before it on main")
    assert chosen(shelf, "branch:feature") == ("s5", "the last passing session on feature")


@pytest.mark.parametrize("own", [{"session_id": "s2"}, {"start_time": 2}])
def test_pin_does_not_change_what_was_before_it(own: dict[str, Any]) -> None:
    found = chosen(Shelf(*SHELF, pin="s2"), "auto", **{"branch": "main", "start_time": 2, **own})
    assert found == ("s1", "the last passing session on main, this branch")


def test_pin_that_is_gone() -> None:
    with pytest.raises(BaselineError, match=r"there is no session 'gone'.*baseline set SPEC"):
        chosen(Shelf(*SHELF, pin="gone"), "auto")


def test_no_more_sessions_are_looked_at_than_needed() -> None:
    shelf = Shelf(*(candidate(number) for number in range(1_000)))
    assert chosen(shelf, "branch:main", history=5)
    assert shelf.seen == 5


def test_slim_case() -> None:
    steps = [make_metric("loss", value, step, time) for value, step, time in
             [(3.0, 2, 5), (1.0, 0, 9), (4.0, 2, 7), (2.0, 1, 8)]]  # fmt: skip
    attempt = Attempt(outcome="passed", duration=0.5, metrics=tuple(steps), failure="E boom")
    failed = replace(attempt, outcome="failed")
    record = make_record(
        1,
        metrics=(*steps, make_metric("accuracy", 0.5)),
        checks=(make_check(),),
        tags={"a": "b"},
        artifacts=("plot.png",),
        failure="boom",
        run_id="r",
        attempts=(failed,),
        notes=("note",),
        arguments=("rate",),
        datasets={"iris": "abc"},
        tolerances={"a": "1%"},
        directions={"a": "max"},
        repeats=(attempt, failed),
    )
    last = steps[2]
    assert slim(record) == CaseRecord(
        id=record.id,
        nodeid=record.nodeid,
        case=record.case,
        name=record.name,
        outcome="passed",
        start_time=record.start_time,
        end_time=record.end_time,
        durations=record.durations,
        params=record.params,
        metrics=(steps[1], steps[3], last, make_metric("accuracy", 0.5)),
        arguments=("rate",),
        datasets={"iris": "abc"},
        tolerances={"a": "1%"},
        directions={"a": "max"},
        guards={"accuracy": ">= 0.9"},
        attempts=(Attempt(outcome="failed", duration=0.5),),
        repeats=(
            Attempt(outcome="passed", duration=0.5, metrics=(last,)),
            Attempt(outcome="failed", duration=0.5, metrics=(last,)),
        ),
    )
    assert slim(replace(record, outcome="failed")).metrics == ()
    assert slim(replace(record, outcome="xpassed")).metrics
    assert slim(slim(record)) == slim(record)


def kept(root: Path, number: int, branch: str | None = "main", **header: Any) -> Journal:
    """Return the open journal of a session that started at second ``number``."""
    tags = {"k": str(number), "git.dirty": "false"}
    return Journal(
        root,
        session_id=f"session-{number}",
        **{
            "start_time": START + 1_000 * number,
            "tracking_uri": URI,
            "tags": {**tags, **({"mlflow.source.git.branch": branch} if branch else {})},
            **header,
        },
    )


def local(root: Path) -> LocalCatalog:
    return LocalCatalog(root, tracking_uri=URI, experiment_name="an experiment")


def ids(path: Path) -> list[str]:
    entries = journal.read(path)
    return [entry.session_id for entry in entries if isinstance(entry, SessionHeader)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a rootdir with two good sessions, and all sorts of others."""
    for number in (2, 1):
        kept(tmp_path, number).cases(map(make_record, range(3))).finish()
    kept(tmp_path, 3).cases([make_record(outcome="failed")]).finish(1)
    kept(tmp_path, 4).cases([make_record()]).finish(2, interrupted="Ctrl-C")
    kept(tmp_path, 5).cases([make_record()])
    kept(tmp_path, 6, tracking_uri="http://elsewhere").finish()
    kept(tmp_path, 7, experiment_name="another").finish()
    torn = kept(tmp_path, 8).finish().directory.journal
    torn.write_bytes(torn.read_bytes()[:-1])
    for name, content in (("empty", b""), ("foreign", b"\xff\0 nonsense"), ("list", b"[1]\n")):
        directory = tmp_path / ".pytest_mlflow" / name
        directory.mkdir()
        directory.joinpath("journal.jsonl").write_bytes(content)
    return tmp_path


def test_local_sessions(root: Path) -> None:
    found = {entry.session_id[-1]: entry for entry in local(root).newest(Query())}
    assert list(found) == ["8", "5", "4", "3", "2", "1"]
    assert {number: entry.incomplete for number, entry in found.items() if entry.incomplete} == {
        "8": "it did not run to its end",
        "5": "it did not run to its end",
        "4": "it was cut short (Ctrl-C)",
    }
    passing = Query(passing=True)
    assert {number for number, entry in found.items() if passing.matches(entry)} == {"2", "1"}
    assert found["2"].branch == "main"
    assert found["2"].tags["k"] == "2"


def test_last_line_that_is_long(tmp_path: Path) -> None:
    end = SessionEnd(end_time=1, exit_status=0, tests=1, summary="x" * 300_000)
    opened = kept(tmp_path, 1).cases([make_record()])
    with opened.directory.journal.open("a", encoding="ascii") as file:
        file.write(f"{journal.encode(end)}\n")
    (found,) = local(tmp_path).newest(Query())
    assert Query(passing=True).matches(found)


def test_local_baseline(root: Path) -> None:
    path = root / "baseline.jsonl"
    made = make_baseline(BaselineRequest(branch="main"), local(root), path)
    assert made is not None
    assert (made.sessions, made.notes) == (2, ())
    provenance, *entries = journal.read(path)
    assert provenance == made.provenance == Provenance(
        spec="auto",
        place="experiment 'an experiment' in .pytest_mlflow",
        reason="the last 2 passing sessions on main, this branch",
    )  # fmt: skip
    assert [type(entry) for entry in entries] == [SessionHeader, *[CaseRecord] * 3, SessionEnd] * 2
    assert ids(path) == ["session-1", "session-2"]
    header = entries[0]
    assert isinstance(header, SessionHeader)
    assert header.tracking_uri == ""
    assert header.tags == {"mlflow.source.git.branch": "main", "git.dirty": "false"}
    assert entries[1] == slim(make_record(0))
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("latest", ["session-1", "session-2", "session-3"]),
        ("branch:main", ["session-1", "session-2"]),
        ("tag:k=3", ["session-3"]),
        ("session:session-2", ["session-1", "session-2"]),
        ("run:r2", ["session-1", "session-2"]),
        ("branch:none", []),
    ],
)
def test_local_specs(root: Path, spec: str, found: list[str]) -> None:
    state = root / ".pytest_mlflow" / "session-2" / "session.json"
    state.write_text('{"phase": "done", "run_id": "r2", "notes": []}', encoding="utf-8")
    path = root / "baseline.jsonl"
    assert (make_baseline(BaselineRequest(spec=spec), local(root), path) is None) == (not found)
    assert path.exists() == bool(found)
    if found:
        assert ids(path) == found


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("session:session-", "start of several session ids in .*: session-1, session-2, session-3"),
        ("session:nothing", "there is no session 'nothing' in experiment 'an experiment'"),
        ("session:session-7", "there is no session 'session-7'"),
        ("run:r9", "the run r9; whose run it is, only the tracking server can tell"),
        ("model:m@champion", "m@champion, only the tracking server can tell"),
    ],
)
def test_local_lookups_that_fail(root: Path, spec: str, words: str) -> None:
    with pytest.raises(BaselineError, match=words):
        make_baseline(BaselineRequest(spec=spec), local(root), root / "baseline.jsonl")


def test_damaged_session_is_left_out(root: Path) -> None:
    damaged = root / ".pytest_mlflow" / "session-1" / "journal.jsonl"
    damaged.write_text(damaged.read_text().replace('"nodeid"', '"nodeid', 1), encoding="utf-8")
    path = root / "baseline.jsonl"
    made = make_baseline(BaselineRequest(branch="main"), local(root), path)
    assert made is not None
    assert made.provenance.reason.endswith("sessions on main, this branch, of which 1 is left out")
    assert ids(path) == ["session-2"]
    (note,) = made.notes
    assert note.startswith("Session session-1 is left out of the baseline: ")
    assert "line 2" in note
    path.unlink()
    with pytest.raises(BaselineError, match="none of session session-1 can be read"):
        make_baseline(BaselineRequest(spec="session:session-1"), local(root), path)
    assert not path.exists()


def test_local_pin(root: Path) -> None:
    request = BaselineRequest(branch="feature", base_branch="main")
    assert local_pin(root) is local(root).pinned() is None
    set_local_pin(root, "session-1")
    path = root / "baseline.jsonl"
    made = make_baseline(request, local(root), path)
    assert made is not None
    assert (made.provenance.reason, ids(path)) == ("pinned session session-1", ["session-1"])
    set_local_pin(root, "session-7")  # of another experiment, and so not for this one
    assert (local_pin(root), local(root).pinned()) == ("session-7", None)
    set_local_pin(root, "session-0")
    with pytest.raises(BaselineError, match="the pinned baseline can't be used"):
        make_baseline(request, local(root), path)
    for _ in range(2):
        clear_local_pin(root)
        assert local_pin(root) is None


def test_local_sessions_are_read_where_they_are(root: Path) -> None:
    request, own = BaselineRequest(spec="branch:main"), SessionDirectory(root)
    journals = [
        root / ".pytest_mlflow" / name / "journal.jsonl" for name in ("session-1", "session-2")
    ]

    def found() -> tuple[list[str], str]:
        assert choose_local(request, local(root), own.local_baseline, frozenset())
        baseline = read_baseline(own, ValuesReader(frozenset()))
        assert baseline.provenance is not None
        assert all(len(one.cases) == 3 for one in baseline.sessions)
        return [one.header.session_id for one in baseline.sessions], baseline.provenance.reason

    reason = "the last 2 passing sessions on main"
    assert found() == (["session-1", "session-2"], reason)
    assert not own.baseline.exists()
    # One that is damaged in its middle is left out.
    header, *cases, end = journals[0].read_bytes().splitlines(keepends=True)
    journals[0].write_bytes(b"".join([header, b"[]\n", *cases, end]))
    assert found() == (["session-2"], f"{reason}, of which 1 is left out")
    # After the choice nobody leaves anything out.
    journals[1].write_bytes(b"[]\n" + journals[1].read_bytes())
    with pytest.raises(JournalError, match=r"session-2.journal\.jsonl: line 1 of its file"):
        read_baseline(own, ValuesReader(frozenset()))
    own.local_baseline.write_text("[]", encoding="utf-8")
    with pytest.raises(JournalError, match=r"baseline\.sessions\.json"):
        read_baseline(own, ValuesReader(frozenset()))
    journals[1].write_bytes(journals[1].read_bytes().removeprefix(b"[]\n"))
    header, *cases, end = journals[1].read_bytes().splitlines(keepends=True)
    journals[1].write_bytes(b"".join([header, b"[]\n", *cases, end]))
    with pytest.raises(BaselineError, match="none of the last 2 passing sessions on main can be"):
        choose_local(request, local(root), own.local_baseline, frozenset())
    nothing = replace(request, spec="branch:nothing")
    assert not choose_local(nothing, local(root), own.local_baseline, frozenset())


def test_exported_file_is_a_baseline(root: Path) -> None:
    path = root / "baseline.jsonl"
    made = export(BaselineRequest(spec="branch:main"), local(root), path)
    found = load_file(path)
    assert found.provenance == Provenance(
        spec=f"file:{path}",
        place=str(path),
        reason="the 2 sessions in baseline.jsonl: the last 2 passing sessions on main",
    )
    assert [session.header.session_id for session in found.sessions] == ["session-1", "session-2"]
    assert found.sessions[0].cases == tuple(slim(make_record(number)) for number in range(3))
    copy = root / "copy.jsonl"
    copy_file(path, copy, spec="file:b", place="b")
    first, *lines = copy.read_bytes().splitlines()
    assert journal.decode(first) == replace(found.provenance, spec="file:b", place="b")
    assert lines == path.read_bytes().splitlines()[1:]
    assert journal.encode(made.provenance).encode() == path.read_bytes().splitlines()[0]
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_the_copy_of_a_journal_is_slim(root: Path) -> None:
    source = root / ".pytest_mlflow" / "session-1" / "journal.jsonl"
    name = "test_caf\u00e9"
    case = replace(slim(make_record(9)), name=name)
    header, *cases, end = source.read_bytes().splitlines(keepends=True)
    # As somebody may have written it.
    line = journal.encode(case).replace("\\u00e9", "\u00e9").encode()
    source.write_bytes(b"".join([header, *cases, line, b"\n", end]))
    copy_file(source, root / "copy.jsonl", spec="file:b", place="b")
    _, *copied = journal.read(root / "copy.jsonl")
    assert copied == [slim_entry(entry) for entry in journal.read(source)]
    assert line not in (root / "copy.jsonl").read_bytes()


def test_nothing_to_export(root: Path) -> None:
    request = BaselineRequest(spec="branch:nothing")
    with pytest.raises(BaselineError, match=r"'branch:nothing' in experiment .* yet"):
        export(request, local(root), root / "baseline.jsonl")
    with pytest.raises(BaselineError, match="can't be written: No such file"):
        export(BaselineRequest(spec="latest"), local(root), root / "nowhere" / "baseline.jsonl")
    assert not (root / "baseline.jsonl").exists()


def test_journal_is_a_baseline(root: Path) -> None:
    path = root / ".pytest_mlflow" / "session-1" / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").rstrip())
    found = load_file(path)
    assert found.provenance.reason == "the session in journal.jsonl"
    assert len(found.sessions[0].cases) == 3


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (4, r"line 3: session session-4 is no baseline: .*Ctrl-C"),
        (5, r"line 2: session session-5 has no end"),
        (9, r"No such file"),
    ],
)
def test_session_that_is_no_baseline(root: Path, session: int, words: str) -> None:
    path = root / ".pytest_mlflow" / f"session-{session}" / "journal.jsonl"
    with pytest.raises(BaselineError, match=words) as caught:
        load_file(path)
    assert str(caught.value).startswith(str(path))
    assert "pytest-mlflow baseline export PATH" in str(caught.value)


def test_rejected_session_is_no_baseline(root: Path) -> None:
    path = root / ".pytest_mlflow" / "session-1" / "journal.jsonl"
    *lines, end = path.read_text(encoding="utf-8").splitlines()
    rejected = json.dumps({**json.loads(end), "rejected": True})
    path.write_text("\n".join([*lines, rejected, ""]), encoding="utf-8")
    with pytest.raises(BaselineError, match="session-1 is no baseline: its gate failed"):
        load_file(path)


def test_lines_that_are_no_baseline(root: Path) -> None:
    path = root / "baseline.jsonl"
    export(BaselineRequest(spec="branch:main"), local(root), path)
    lines = path.read_text().splitlines(keepends=True)
    for changed, words in (
        ([], "there is no session in it"),
        (lines[:1], "there is no session in it"),
        (["<<<<<<< HEAD\n", *lines], "line 1: not a line of a session's file"),
        ([*lines, "\n"], f"line {len(lines) + 1}: not a line"),
        ([*lines[:3], *lines], "line 4: this line does not belong here"),
        ([lines[0], *lines[2:]], "line 2: this line does not belong here"),
    ):
        path.write_text("".join(changed), encoding="utf-8")
        with pytest.raises(BaselineError, match=words):
            load_file(path)


def test_sessions_with_the_same_selection_are_preferred() -> None:
    shelf = Shelf(
        *(candidate(number, selection=(".",) if number < 3 else ("a.py",)) for number in range(6))
    )
    found = chosen(shelf, "latest", selection=(".",), history=2)
    assert found == ("s1 s2", "the last 2 complete sessions of any branch")
    # Who expects more of them is told why there are no more.
    more = chosen(shelf, "latest", selection=(".",), history=9)
    expected = ", without 3 that had other paths or another -m"
    assert more == ("s0 s1 s2", f"the last 3 complete sessions of any branch{expected}")
    other = chosen(shelf, "latest", selection=("b.py",), history=2)
    assert other is not None
    assert other[0] == "s4 s5"


def test_session_that_its_gate_failed_is_no_baseline() -> None:
    end = SessionEnd(end_time=1, exit_status=1, tests=1, rejected=True)
    assert not end.complete
    header = SessionHeader(
        session_id="s",
        name="s",
        start_time=1,
        tracking_uri="",
        experiment_name="it",
        experiment_id=None,
    )
    assert why_incomplete(header, end) == "its gate failed"
    shard = replace(header, shard=Shard(session_id="whole"))
    assert why_incomplete(shard, end) == "it is a shard of session whole"


def test_request_keeps_the_selection(tmp_path: Path) -> None:
    request = BaselineRequest(selection=("a.py", "-m fast"))
    request.write(tmp_path / "baseline.json")
    assert BaselineRequest.read(tmp_path / "baseline.json") == request
