"""What users and programs see, held against recorded texts in ``golden/``.

``PYTEST_GOLDEN_UPDATE=1 pytest tests/test_golden.py`` records them again; read the diff.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import json
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlparse
from xml.etree import ElementTree

import pytest
from golden_project import ENVIRONMENT, GoldenProject
from project import RUN_TYPE, Project, clean_environment, quiet_mlflow

import pytest_mlflow_experiments as package
from pytest_mlflow_experiments import cli, regression
from pytest_mlflow_experiments.session import hookspecs

GOLDEN = Path(__file__).with_name("golden")
COMMANDS = (
    "sync",
    "merge",
    "compare",
    "baseline",
    "accept",
    "report",
    "open",
    "best",
    "promote",
    "skill",
)
SUFFIXES = (".html", ".json", ".md", ".xml")
# The sessions of which also that is recorded which is long: without and with a baseline.
LONG = ("0-first", "4-gate-fails")
SHOWN_LINES = 60
# What the project's conftest.py replaces.
STOPPED: tuple[tuple[Any, str], ...] = (
    (time, "time"),
    (time, "perf_counter"),
    (time, "process_time"),
    (resource, "getrusage"),
    (resource, "getpagesize"),
    (os, "open"),
)
UPDATE = bool(os.environ.get("PYTEST_GOLDEN_UPDATE"))

# Python, argparse and pytest lay out their help in several ways.
HELP = (
    (r"\n {20,}", "  "),
    (r"(?<=\S) {2,}", "  "),
    (r"(?<=\w\)): +", ": "),
    (r"(-[\w-]+) (\S+), (-[\w-]+) \2", r"\1, \3 \2"),
)
MACHINE = r"(?:python\.version|platform|packages\.count|packages\.digest)"
# What differs from one run, machine or release to another.
EVERYWHERE = (
    (r"(\d{8}-\d{6})-[0-9a-f]{8}\b", r"\1-ID"),
    (r"\b0x[0-9a-f]+\b", "0xADDRESS"),
    # Private modules may move.
    (r"\bpytest_mlflow_experiments\.[\w.]+\.(\w+) object", r"\1 object"),
    # What MLflow logs while it opens a store.
    (r"(?m)^(?:\d{4}/\d\d/\d\d [\d:]+|INFO +\[alembic).*\n", ""),
    (r'"[0-9a-f]{12}"', '"ID"'),
    (r'(?m)^time: "[^"]*"', 'time: "…"'),
    (rf"""({MACHINE}(?:": | = ))(["']).*?\2""", r"\1…"),
)
# SciPy's releases differ in the last digits of a probability.
PROBABILITIES = ((r"\d\.\d{11,}(?:e-\d+)?", lambda match: f"{float(match[0]):.9g}"),)

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(os.name == "nt", reason="clocks and memory are frozen as POSIX has them"),
]


def test_public_names() -> None:
    check([("public.txt", public_names())], partial=True)


def test_sessions(tmp_path: Path, migrated_database: Path) -> None:
    project = GoldenProject(tmp_path / "project")
    project.path.mkdir()
    check(outputs(project, migrated_database))


def check(texts: Iterable[tuple[str, str]], *, partial: bool = False) -> None:
    """Compare texts with those that were recorded under the same names."""
    differences = []
    names = set()
    for output, text in texts:
        name = f"{output.removesuffix('.txt')}.txt"
        names.add(name)
        path = GOLDEN / name
        known = path.read_text(encoding="utf-8") if path.exists() else ""
        if RUN_TYPE is None:
            known = re.sub(r"(?m)^tag mlflow\.runType = .*\n", "", known)
        if text != known and UPDATE:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif text != known:
            lines = difflib.unified_diff(
                shown(known), shown(text), f"golden/{name}", "now", lineterm="", n=2
            )
            differences += list(lines)[:SHOWN_LINES]
    recorded = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.*")}
    for name in set() if partial else recorded - names - {"public.txt"}:
        if UPDATE:
            GOLDEN.joinpath(name).unlink()
        else:
            differences.append(f"golden/{name} is made no more")
    if differences:
        pytest.fail("\n".join(differences), pytrace=False)


def shown(text: str) -> list[str]:
    """Return lines for people, long ones broken after punctuation."""
    return re.sub(r"(.{100}[^,;|>\n]{,40}[,;|>]?)(?=.)", r"\1\n    ", text).splitlines()


def outputs(project: GoldenProject, database: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of all outputs, and what they are now."""
    with in_process(project.record().path):
        yield "hook_types.txt", project.path.joinpath("shapes.txt").read_text()
        yield from helps(project)
        normal = Normal(project)
        yield "commands.txt", normal(commands(project), PROBABILITIES)
        normal = Normal(project.record_accepted())
        yield "accepted.txt", normal(entries(project.path / "mlflow-accepted.jsonl"))
        merged = command("merge", "--offline", "--shards=2", "--gate", "--report=out/merged.md")
        yield "merged.txt", normal(merged + project.path.joinpath("out/merged.md").read_text())
        yield "baseline.txt", normal(baselines(project))
        for name, directory in project.names():
            yield f"terminal/{name}.txt", normal(section(project.printed[name].stdout))
            if name in ("0-first", "4-gate-fails", "6-resumed", "8-sweep"):
                yield f"journals/{name}.txt", normal(entries(directory / "journal.jsonl"))
        yield from reports(project, normal)
        yield "analysis.txt", normal(frames(project), PROBABILITIES)
        yield from stored(project, database, normal)


class Normal:
    """Replaces in texts what differs from one run to another."""

    def __init__(self, project: GoldenProject) -> None:
        self._path = str(project.path)
        self._commits = project.run("git", "log", "--reverse", "--format=%H").stdout.split()

    def __call__(self, text: str, more: tuple[Any, ...] = ()) -> str:
        text = text.replace(self._path, "PROJECT")
        for number, commit in enumerate(self._commits, 1):
            text = re.sub(f"{commit[:7]}({commit[7:]})?", f"COMMIT{number}", text)
        text = re.sub(r"#/experiments/\d+/runs/[0-9a-f]{32}", "#/experiments/ID/runs/ID", text)
        ids: dict[str, str] = {}
        text = re.sub(
            r"\b[0-9a-f]{32}\b", lambda match: ids.setdefault(match[0], f"ID{len(ids)}"), text
        )
        return substituted(text, (*EVERYWHERE, *more))


def substituted(text: str, substitutions: tuple[Any, ...]) -> str:
    for pattern, replacement in substitutions:
        text = re.sub(pattern, replacement, text)
    return text


@contextlib.contextmanager
def in_process(path: Path) -> Iterator[None]:
    """Be where the project is, in an environment without anything that is not the project's."""
    before = Path.cwd()
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            patch.dict(os.environ, {**clean_environment(), **ENVIRONMENT}, clear=True)
        )
        # Commands load the project's conftest.py, which stops the clocks.
        for owner, name in STOPPED:
            stack.enter_context(patch.object(owner, name, getattr(owner, name)))
        stack.enter_context(patch.object(sys, "path", [*sys.path]))
        for name in ("frozen", "conftest"):
            stack.callback(sys.modules.pop, name, None)
        os.chdir(path)
        time.tzset()
        try:
            yield
        finally:
            os.chdir(before)
    time.tzset()


def command(*arguments: str) -> str:
    """Return what a command prints, and its exit status."""
    buffer = io.BytesIO()
    out = io.TextIOWrapper(buffer, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), quiet_mlflow():
        try:
            status: object = cli.main(arguments)
        except SystemExit as ended:
            status = ended.code
    printed = buffer.getvalue().decode()
    return f"$ pytest-mlflow {' '.join(arguments)}\n{printed}exit status {status}\n\n"


def helps(project: GoldenProject) -> Iterator[tuple[str, str]]:
    text = substituted(project.help("--help"), HELP)
    group = re.search(r"(?ms)^MLflow experiments:\n.*?\n\n", text)
    ini = re.findall(r"(?m)^  mlflow.*\n", text)
    (marker,) = re.findall(r"(?m)^@pytest.mark.mlflow.*\n", project.help("--markers"))
    yield "help/pytest.txt", (group[0] if group else "") + "".join(ini) + marker
    with patch.dict(os.environ, {"COLUMNS": "1000"}):
        pins = ("set", "clear", "exclude", "include", "show", "export")
        actions = [*(("baseline", action) for action in pins), ("sessions", "list")]
        texts = [command(*words, "--help") for words in ((), *zip(COMMANDS), *actions)]
    yield "help/commands.txt", substituted("".join(texts), HELP)


def commands(project: GoldenProject) -> str:
    """Return what the commands print of the recorded sessions, until something is accepted."""
    fails = next(str(path) for name, path in project.names() if name == "4-gate-fails")
    first = f"session:{project.directories()[0].name}"
    grid = ("best", "test_grid")
    return "".join(
        [
            command("report", "--comment", "a key"),
            *(command("report", fails, f"--output=out/again{suffix}") for suffix in SUFFIXES),
            command("report", "--output=out/again.txt"),
            command("report", "nowhere"),
            command("compare", "branch:main", fails),
            command("compare", first, "latest", "--fail-on=new", "--tolerance=f1: 1%"),
            command("compare", first, "branch:main", "--direction=unknown: max", "--history=1"),
            command("compare", first, first),
            command("compare", "nonsense", "latest"),
            command("best"),
            *(command(*grid, f"--format={kind}") for kind in ("text", "json", "csv")),
            command(*grid, "--metric=loss", "--mode=min", "--top=2", "--seed-params=depth"),
            command("best", "texts", "--session", fails),
            command("best", "nothing"),
            command("merge", "--offline"),
            command("accept", "nothing", "--reason", "no case"),
            command("accept", "*::test_curve", "odd", "--reason", "by name"),
            command("accept", "--reason", "half the size"),
            command("accept", "--reason", "once more"),
        ]
    )


def baselines(project: GoldenProject) -> str:
    exported = "out/baseline.jsonl"
    specs = ("auto", "latest", "branch:main", f"session:{project.directories()[4].name}")
    printed = [command("baseline", "show", spec) for spec in specs]
    printed.append(command("baseline", "export", exported, "branch:main", "--history=1"))
    return "".join(printed) + entries(Path(exported))


def section(printed: str) -> str:
    """Return our lines of what pytest printed."""
    before, found, rest = printed.partition("= mlflow =")
    ours = [line for line in before.splitlines() if line.startswith("mlflow:")]
    lines = rest.splitlines()[1:] if found else []
    end = next((number for number, line in enumerate(lines) if line.startswith("===")), len(lines))
    return "\n".join([*ours, *lines[:end], ""])


def entries(path: Path) -> str:
    """Return a file of JSON lines with a line for each value, which diffs show better."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        for key, value in sorted(json.loads(text).items()):
            values = value if isinstance(value, list) and len(value) > 1 else [value]
            lines += [f"{key}: {dumped(one)}" for one in values]
        lines.append("")
    return "\n".join(lines)


def dumped(value: Any, indent: int | None = None) -> str:
    """Return JSON whose keys are sorted: their order means nothing."""
    return json.dumps(value, indent=indent, ensure_ascii=False, sort_keys=True)


def reports(project: GoldenProject, normal: Normal) -> Iterator[tuple[str, str]]:
    shown: dict[str, Callable[[str], str]] = {
        ".md": str,
        ".json": lambda text: dumped(json.loads(text), indent=1) + "\n",
        ".xml": str,
        ".csv": str,
        ".html": markup,
    }
    whole = project.path / ".pytest_mlflow" / "whole"
    for name, directory in [*project.names(), ("8-whole", whole)]:
        for path in sorted(directory.glob("report.*")):
            if path.suffix not in (".html", ".json") or name in LONG:
                text = shown[path.suffix](path.read_text(encoding="utf-8"))
                yield f"reports/{name}{path.suffix}", normal(text, PROBABILITIES)
    out = project.path / "out"
    again = [
        f"{path.name}: {path.read_text() == project.directories()[4].joinpath(own).read_text()}"
        for path, own in ((out / f"again{suffix}", f"report{suffix}") for suffix in SUFFIXES)
    ]
    yield "reports/same_again.txt", "\n".join([*again, ""])
    failures = [
        f"{case.get('name')}: {failure.get('message')}\n"
        for case in ElementTree.parse(out / "junit.xml").iter("testcase")
        for failure in case.iter("failure")
    ]
    yield "reports/junit_of_pytest.txt", normal("".join(failures))
    yield "reports/github_summary.md", normal(out.joinpath("summary.md").read_text())


def markup(text: str) -> str:
    """Return HTML with a line for each tag, whatever its whitespace was."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s*(</?[a-zA-Z!][^<>]*>|(?<=[;{}])) ?", r"\n\1\n", text)
    return re.sub(r"\n\s*", "\n", text).lstrip()


def frames(project: GoldenProject) -> str:
    """Return the columns of the DataFrames, their types and their rows."""
    kept = [path for name, path in project.names() if name == "4-gate-fails"]
    texts = []
    for frame in (
        package.load_sessions(),
        package.load_cases(kept[0]),
        package.load_metrics(kept[0]),
        package.compare("branch:feature", "branch:main"),
    ):
        texts += [f"{name}: {dtype}\n" for name, dtype in frame.dtypes.items()]
        rows = frame.drop(columns=[name for name in frame if re.search(MACHINE, str(name))])
        # Releases of pandas write times in several ways.
        texts.append(rows.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S.%f%z") + "\n")
    return "".join(texts)


def stored(project: GoldenProject, database: Path, normal: Normal) -> Iterator[tuple[str, str]]:
    """Bring sessions into a database, in bulk, and into files, by MLflow's client; dump both."""
    shutil.copyfile(database, project.path / "mlflow.db")
    names = {name: path for name, path in project.names() if name in LONG}
    shards = [path for name, path in project.names() if name.startswith("8-")]
    uri = f"sqlite:///{project.path / 'mlflow.db'}"
    paths = [*names.values(), *shards, Path(".pytest_mlflow", "whole")]
    sent = command("sync", f"--tracking-uri={uri}", *map(str, paths))
    for name, path in {**names, "8-whole": Path("whole")}.items():
        yield f"mlflow/{name}.txt", normal(dump(project, uri, path.name))
    sent += command("sync", f"--tracking-uri={uri}", str(paths[0]))
    sent += command("baseline", "set", f"session:{paths[0].name}", f"--tracking-uri={uri}")
    sent += command("baseline", "show", f"--tracking-uri={uri}")
    sent += command("baseline", "clear", f"--tracking-uri={uri}")
    sent += command("promote", "digits", "grid", f"--tracking-uri={uri}")
    yield "mlflow/commands.txt", normal(sent)
    # Releases of MLflow differ in whether they like this store; what stands there is the same.
    with patch.dict(os.environ, {"MLFLOW_ALLOW_FILE_STORE": "true"}):
        files = (project.path / "by_client").as_uri()
        command("sync", f"--tracking-uri={files}", *map(str, names.values()))
        for name, path in names.items():
            yield f"mlflow/{name}.txt", normal(dump(project, files, path.name))


def dump(project: Project, uri: str, session: str) -> str:
    """Return all that MLflow tells of the runs of a session."""
    with quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        (experiment,) = client.search_experiments(filter_string="name = 'golden'")
        runs = client.search_runs(
            [experiment.experiment_id],
            f"tags.`pytest.session_id` = '{session}'",
            max_results=1_000,
        )
        names = {run.info.run_id: str(run.info.run_name) for run in runs}
        lines = [f"experiment {experiment.name} {experiment.lifecycle_stage} {experiment.tags}\n"]
        for run in sorted(runs, key=lambda run: (run.info.start_time, names[run.info.run_id])):
            lines += run_lines(project, client, run, names)
    return "\n".join([*lines, ""])


def run_lines(project: Project, client: Any, run: Any, names: Mapping[str, str]) -> Iterator[str]:
    info, data = run.info, run.data
    yield f"run {info.run_name}: {info.status} {info.lifecycle_stage}"
    yield f"times {info.start_time} {info.end_time}, user {info.user_id}"
    for key, value in sorted(data.params.items()):
        yield f"param {key} = {value!r}"
    for key, value in sorted(data.tags.items()):
        yield f"tag {key} = {names[value] if key == 'mlflow.parentRunId' else value!r}"
    for key in sorted(data.metrics):
        history = client.get_metric_history(info.run_id, key)
        points = sorted((one.step, one.timestamp, number(one.value)) for one in history)
        yield f"metric {key} = {number(data.metrics[key])}"
        yield from (f"  step {step} at {moment}: {value}" for step, moment, value in points)
    for one in sorted(run.inputs.dataset_inputs, key=lambda one: str(one.dataset.name)):
        yield f"dataset {[(tag.key, tag.value) for tag in one.tags]}"
        yield from (f"  {key}: {value}" for key, value in sorted(dict(one.dataset).items()))
    root = Path(urlparse(info.artifact_uri).path)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        yield f"artifact {path.relative_to(root).as_posix()}"
        if path.stat().st_size < 2_000:
            yield from (f"  {line}" for line in path.read_text(encoding="utf-8").splitlines())
    yield ""


def number(value: float) -> str:
    """Return a value; databases can't hold infinity, and get the largest number instead."""
    return repr(value).replace("1.7976931348623157e+308", "inf")


def public_names() -> str:
    """Return what others import and implement, with signatures, and the schema of report.json."""
    lines = []
    for module in (package, regression):
        for name in sorted(module.__all__):
            value = getattr(module, name)
            lines.append(f"{module.__name__}.{name}: {described(value)}")
            if inspect.isclass(value):
                members = [(key, one) for key, one in vars(value).items() if key[:1] != "_"]
                lines += [f"  {key}: {described(one)}" for key, one in sorted(members)]
    hooks = [(key, one) for key, one in vars(hookspecs).items() if key.startswith("pytest_")]
    lines += [f"{name}{inspect.signature(hook)}" for name, hook in hooks]
    (schema,) = Path(package.__file__).parent.rglob("comparison.schema.json")
    return "\n".join([*lines, schema.read_text(encoding="utf-8")])


def described(value: Any) -> str:
    value = getattr(value, "__func__", value)
    if inspect.isroutine(value) or inspect.isclass(value):
        text = str(inspect.signature(value))
        # The order of a set is another one in each process.
        return re.sub(
            r"(?<=frozenset\(\{)[^}]*", lambda m: ", ".join(sorted(m[0].split(", "))), text
        )
    return repr(value) if type(value).__module__ == "typing" else type(value).__name__
