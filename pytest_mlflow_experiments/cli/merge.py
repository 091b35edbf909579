"""``pytest-mlflow merge``: put the shards of a session together, and judge the whole."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ..analysis.comparison import parse_all
from ..analysis.location import (
    Location,
    UsageError,
    given_store,
    ini_store,
    sessions_root,
)
from ..analysis.merged_session import compare_merged, compare_options, finish, keep
from ..analysis.named_sessions import as_spec, kept_directory
from ..analysis.shards import MergedSession, ShardSession, merge, read_shard
from ..baseline.choice import only_one
from ..baseline.local import default_store, is_local_store, remember_store
from ..baseline.specs import parse_spec
from ..records import SessionHeader, Shard
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.reader import peek_header
from ..records.secrets import without_credentials
from ..regression.comparison import Comparison
from ..report.github import add_to_step_summary, workflow_commands
from ..report.links import located
from ..report.metric_lines import comparison_lines
from ..report.numbers import count
from ..report.sweep_text import sweep_lines
from ..session.builtin_hooks import STANDARD_SUFFIXES
from ..session.settings import joint_session_id
from ..tracker.errors import MergeError
from .arguments import (
    FLAG,
    HISTORY_HELP,
    NAMES,
    REPORTS,
    STORE,
    command,
    location_of,
    positive,
    say,
)
from .project_hooks import CommandHooks


@command(
    "merge",
    {
        "paths PATH": (
            "where the shards are: directories, searched with all below them, such as the "
            "artifacts of CI jobs; default: .pytest_mlflow and the tracking server",
            {"nargs": "*", "type": Path},
        ),
        "--session SESSION": f"{NAMES}, or of one of its shards; default: that of the shards in "
        "PATH, else the CI's run",
        "--shards N": ("how many shards there have to be", {"type": positive}),
        "--gate": (
            "fail where a metric regressed; default: the shards' --mlflow-gate",
            {"action": argparse.BooleanOptionalAction},
        ),
        "--gate=drift": (
            "fail also where a metric gets worse slowly",
            {"dest": "gate", "action": "store_const", "const": "drift"},
        ),
        "--require-baseline": ("with the gate: fail also where there is no baseline yet", FLAG),
        "--baseline SPEC": "what to compare with; default: the shards' --mlflow-baseline",
        "--report PATH": REPORTS,
        "--offline": (
            "don't contact MLflow; the session stays on disk, for 'pytest-mlflow sync'",
            FLAG,
        ),
        **STORE,
        "--history N": (HISTORY_HELP, {"type": positive}),
    },
)
def run(options: argparse.Namespace) -> int:
    """Put the shards of a session together, compare and gate it.

    Put the shards of one session (pytest --mlflow --mlflow-session=ID) together, compare the
    session with its baseline by the shards' options, and bring it into MLflow. Doing it twice
    is harmless. The exit status is 1 where a shard is missing or broke off, where the gate
    fails, and where not everything could be sent.
    """
    hooks = CommandHooks("--report", options.report)
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as name:
        merged = _here(merge(_shards(options, Path(name)), wanted=options.shards), options)
        location = location_of(options, merged.header)
        merged = replace(merged, judging=_judging(options, merged.judging))
        rules = replace(compare_options(merged, location), rule=hooks.rule)
        directory = keep(merged, location.root)
    comparison = compare_merged(merged, rules, location, directory)
    end = finish(directory, merged.end, comparison, rules.seed_params)
    own = [directory.path / f"report{suffix}" for suffix in STANDARD_SUFFIXES]
    hooks.write(comparison, own)
    sent = options.offline or _send(directory, location)
    if not sent:
        comparison = replace(comparison, exit_status=1)
    comparison = located(comparison, directory)
    _tell(merged, comparison, [*own[:2], *options.report])
    say(*workflow_commands(comparison, location.root))
    hooks.write(comparison, options.report)
    if end.interrupted is not None:
        say(f"Not all of the session ran: {end.interrupted}")
    return 0 if sent and not end.rejected and end.interrupted is None else 1


def _shards(options: argparse.Namespace, temporary: Path) -> list[ShardSession]:
    """Return the shards to merge; downloads go to ``temporary``."""
    journals = [*_journals(options.paths or [sessions_root() / DIRECTORY_NAME])]
    headers = [header for path in journals if (header := peek_header(path)) and header.shard]
    wanted = _wanted_id(options, headers)
    shards = [shard for path in journals if (shard := read_shard(path, wanted)) is not None]
    where = ", ".join(map(str, options.paths)) or sessions_root() / DIRECTORY_NAME
    ids = sorted({shard.header.joint_id for shard in shards})
    if len(ids) > 1:
        raise UsageError(f"there are shards of several sessions: {', '.join(ids)}; use --session")
    if wanted is None and not ids:
        raise UsageError(
            f"there is no shard here, and no session is named; use --session; looked in {where}"
        )
    if not options.paths:
        shards += _fetched(options, wanted or ids[0], temporary)
    if not shards:
        known = dict.fromkeys(header.joint_id for header in headers)
        there = f"shards of {', '.join(known)}" if known else "no shard of any session"
        raise MergeError(f"there is no shard of {wanted} in {where}; there is {there}")
    return shards


def _wanted_id(options: argparse.Namespace, headers: Sequence[SessionHeader]) -> str | None:
    """Return the id of the session to merge; ``headers`` are those of the shards that are here."""
    name: str | None = options.session
    if name is None:
        with suppress(ValueError):  # there may be but one here
            return None if options.paths else joint_session_id("auto")
        return None
    if name in (one.joint_id for one in headers):
        return name
    if (directory := kept_directory(name)) and (header := peek_header(directory.journal)):
        return header.joint_id
    spec = as_spec(name)
    kind, _, value = spec.partition(":")
    if kind == "run":
        return location_of(options).mlflow().run(value).session_id
    if kind in ("latest", "branch"):
        fitting = [one for one in headers if kind == "latest" or one.branch == value]
        if not fitting:
            raise MergeError(f"there is no shard here for --session {name}")
        return max(fitting, key=lambda one: one.start_time).joint_id
    wanted = parse_all("--session", [name.removeprefix("session:")], joint_session_id)[0]
    known = {one.joint_id for one in headers if wanted in (one.joint_id, one.session_id)}
    known = known or {one.joint_id for one in headers if one.joint_id.startswith(wanted)}
    return only_one(wanted, known, "the shards here") if known else wanted


def _fetched(options: argparse.Namespace, session_id: str, temporary: Path) -> list[ShardSession]:
    """Download the shards from the tracking server."""
    location = location_of(options)
    if options.offline or is_local_store(location.tracking_uri):
        return []
    fetched = location.mlflow().shards(session_id, temporary)
    shards = [shard for path in fetched.journals if (shard := read_shard(path)) is not None]
    if shards:
        # Nobody knows what they run, or ran before their machine was lost.
        unknown = replace(shards[0], cases=(), end=None)
        for name in fetched.running:
            header = replace(unknown.header, session_id=name)
            shards.append(replace(unknown, path=Path(name), header=header))
    return shards


def _journals(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("journal.jsonl"))
        elif path.is_file():
            yield path
        elif path.name != DIRECTORY_NAME:
            raise UsageError(f"{path} does not exist")


def _here(merged: MergedSession, options: argparse.Namespace) -> MergedSession:
    """Set the merged session's store: the given one, or this machine's for a local one."""
    header, root = merged.header, sessions_root()
    uri = given_store(options.tracking_uri)
    if uri is not None:
        remember_store(root, uri)
    elif options.paths and is_local_store(header.tracking_uri):
        uri = ini_store(root) or default_store(root)
    uri = header.tracking_uri if uri is None else without_credentials(uri)
    return replace(merged, header=replace(header, tracking_uri=uri))


def _judging(options: argparse.Namespace, shard: Shard) -> Shard:
    if options.baseline is not None:
        parse_all("--baseline", [options.baseline], parse_spec)
    baseline = options.baseline or shard.baseline
    gate = shard.gate if options.gate is None else bool(options.gate)
    if gate and baseline == "none":
        raise UsageError(
            "--gate: there is nothing to judge by with --baseline=none; leave out one of them"
        )
    if options.baseline is not None and baseline.startswith("file:"):
        # Paths of the shards are relative to the rootdir, those typed here are not.
        baseline = f"file:{Path(baseline.removeprefix('file:')).absolute()}"
    return replace(
        shard,
        baseline=baseline,
        history=options.history or shard.history,
        gate=gate,
        gate_drift=shard.gate_drift or options.gate == "drift",
        require_baseline=shard.require_baseline or options.require_baseline,
    )


def _tell(merged: MergedSession, comparison: Comparison, reports: list[Path]) -> None:
    cases = count(len(merged.cases), "case")
    say(f"Session {merged.header.session_id}: {count(len(merged.shards), 'shard')}, {cases}")
    verdicts = comparison_lines(comparison, [str(path) for path in reports])
    say(*(line.text for line in (*sweep_lines(comparison.sweeps), *verdicts)))
    try:
        add_to_step_summary(
            comparison, next((one for one in reports if one.suffix == ".html"), None)
        )
    except OSError as error:
        say(f"the step's summary failed: {error}")


def _send(directory: SessionDirectory, location: Location) -> bool:
    # Only here, for it loads mlflow, which takes seconds.
    from ..tracker.main import sync

    state = sync(directory, tracking_uri=location.store)
    if state.error is None:
        say(f"In experiment {state.experiment_name!r}, run {state.run_id}")
        return True
    say(f"Not everything is in MLflow: {state.error.rstrip('.')}")
    say(
        "Kept on this machine; send it to MLflow with: "
        f"pytest-mlflow sync {quote(str(directory.path))}"
    )
    return False
