"""Nothing that is read is run, and no line of it ends pytest with a traceback of ours."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from project import Project
from tracker_kit import Journal, make_check, make_record

import pytest_mlflow_experiments
from pytest_mlflow_experiments.records import SessionEnd, SessionHeader, journal
from pytest_mlflow_experiments.records.accepted import AcceptedError, read_accepted
from pytest_mlflow_experiments.records.codec import encode
from pytest_mlflow_experiments.records.journal import JournalError
from pytest_mlflow_experiments.records.session import SCHEMA_VERSION

PACKAGE = Path(pytest_mlflow_experiments.__file__).parent

RUNS_CODE = {
    *("eval", "exec", "compile", "__import__", "execfile", "pickle", "cPickle", "dill", "shelve"),
    *("cloudpickle", "joblib", "marshal", "load_model", "unsafe_load", "full_load"),
    *("allow_pickle", "read_pickle", "to_pickle", "literal_eval", "os.system", "shell"),
}
NEEDED = {
    # Rewritten test modules, beside pytest's own, which are kept and loaded in the same way.
    ("capture/assertions/cache.py", "marshal"),
    ("capture/assertions/transform.py", "compile"),
    # The functions that read and write records, made of the names and types of their fields.
    ("records/codec.py", "exec"),
    # An assertion of our own, to see whether this pytest still rewrites such as it did.
    ("capture/assertions/loader.py", "exec"),
}


def names_of_code(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports, calls, or passes by keyword."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.arg
        elif isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            # Of others' methods, re.compile is called like one of these.
            yield text if text in ("os.system", "yaml.load") or "." not in text else ""
            yield text.rpartition(".")[2] if not text.endswith(".compile") else ""


def test_nothing_that_is_read_is_run() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in names_of_code(ast.parse(path.read_text(encoding="utf-8")))
        if name in RUNS_CODE | {"yaml.load"}
    }
    assert found == NEEDED


def line(**changes: Any) -> str:
    record = make_record(1, checks=(make_check(),))
    return json.dumps({"kind": "case", **encode(record), **changes})


METRIC = {"key": "m", "value": 1.0, "step": 0, "timestamp": 1}
DEEP = "[" * 100_000
HOSTILE_LINES = {
    "no object": "[]",
    "deep": '{"kind":"case","x":' + DEEP,
    "deep and closed": '{"kind":"case","x":' + DEEP + "]" * 100_000 + "}",
    "unknown kind": '{"kind":"__class__"}',
    "kind of another type": '{"kind":["case"]}',
    "not UTF-8": '{"kind":"case"\udcff}',
    "endless digits": '{"kind":"case","start_time":' + "9" * 10_000 + "}",
    "id": line(id="../../x"),
    "id of another type": line(id=5),
    "case": line(case={"a": 1}),
    "outcome": line(outcome="<script>"),
    "outcome of another type": line(outcome=[]),
    "params": line(params=["a"]),
    "param": line(params={"a": {"b": 1}}),
    "tags": line(tags={"a": None}),
    "time": line(start_time="now"),
    "huge time": line(start_time=10**30),
    "durations": line(durations={"call": "long"}),
    "huge duration": line(durations={"call": 10**400}),
    "metrics": line(metrics={"a": 1}),
    "metric key": line(metrics=[{**METRIC, "key": ["m"]}]),
    "metric value": line(metrics=[{**METRIC, "value": [1]}]),
    "huge value": line(metrics=[{**METRIC, "value": 10**400}]),
    "metric step": line(metrics=[{**METRIC, "step": 1.5}]),
    "check": line(checks=[{**encode(make_check()), "operator": "import"}]),
    "artifacts": line(artifacts=[1]),
    "attempts": line(attempts=[{"outcome": "no"}]),
    "run_metrics": line(run_metrics={"a": []}),
}


@pytest.mark.parametrize("text", HOSTILE_LINES.values(), ids=HOSTILE_LINES)
def test_a_hostile_line_is_an_error_of_the_journal(text: str) -> None:
    with pytest.raises(JournalError, match="not a line of a session's file"):
        journal.decode(text.encode(errors="surrogateescape"))


HEADER = SessionHeader(
    session_id="s",
    name="s",
    start_time=1,
    tracking_uri="",
    experiment_name="e",
    experiment_id=None,
)
END = SessionEnd(end_time=2, exit_status=0, tests=1)
BEGIN = {"kind": "session", "schema": SCHEMA_VERSION, **encode(HEADER)}
FINISH = {"kind": "finish", **encode(END)}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({**BEGIN, "name": 1}),
        json.dumps({**BEGIN, "tags": {"mlflow.user": []}}),
        json.dumps({**BEGIN, "start_time": 1e300}),
        json.dumps({**FINISH, "selection": [1]}),
        json.dumps({**FINISH, "metrics": {"a": "b"}}),
        json.dumps({"kind": "baseline", "spec": "a", "place": "b", "reason": None}),
    ],
)
def test_so_is_one_that_is_no_case(text: str) -> None:
    with pytest.raises(JournalError, match=" must be "):
        journal.decode(text)


def test_of_duplicate_keys_the_last_counts() -> None:
    entry = journal.decode(
        line().replace('"outcome": "passed"', '"outcome": 1, "outcome": "failed"')
    )
    assert getattr(entry, "outcome", None) == "failed"


def test_a_line_of_accepted_steps_that_is_nested_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "accepted.jsonl"
    path.write_text(DEEP, encoding="utf-8")
    with pytest.raises(AcceptedError, match="line 1: not JSON"):
        read_accepted(path)


def in_a_baseline(project: Project, text: str) -> tuple[str, ...]:
    entries = [journal.encode(HEADER), text, journal.encode(END)]
    project.path.joinpath("baseline.jsonl").write_text("\n".join(entries) + "\n", encoding="utf-8")
    return ("--mlflow-baseline=file:baseline.jsonl",)


def in_a_session(project: Project, text: str) -> tuple[str, ...]:
    session = Journal(project.path, experiment_name="project", tracking_uri=project.uri)
    with session.directory.journal.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    session.finish()
    return ()


@pytest.mark.parametrize("name", ["deep", "metric key", "huge duration"])
@pytest.mark.parametrize("place", [in_a_baseline, in_a_session])
def test_pytest_goes_on_with_a_hostile_line_beside_it(
    project: Project, place: Callable[[Project, str], tuple[str, ...]], name: str
) -> None:
    project.write("def test_it(mlflow_case):\n    mlflow_case.log_metric('accuracy', 0.9)\n")
    options = place(project, HOSTILE_LINES[name])
    result = project.pytest("--mlflow", "--mlflow-offline", "--mlflow-gate", *options, status=None)
    assert result.status in (0, 1)
    assert "1 passed" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    if options:
        assert result.status == 1
        assert "baseline.jsonl, line 2: not a line of a session's file" in result.stdout
