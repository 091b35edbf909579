"""``pytest-mlflow merge``: put the shards of a session together, and judge the whole."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..baseline import is_local_store, parse_spec
from ..ci import joint_session_id
from ..credentials import without_credentials
from ..directory import SessionDirectory
from ..records import Shard
from ..regression.comparison import Comparison
from ..report.formats import render
from ..report.numbers import count
from ..report.verdicts import verdict_lines
from ..shards import MergeError, ShardSession, Whole, merge, read_shard
from .arguments import add_place_options, add_report_option, positive
from .errors import UsageError
from .output import check_reports, say, write_report
from .places import Place
from .roots import default_store, sessions_root
from .whole import finish, judge, keep


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "merge",
        help="put the shards of a session together, compare and gate the whole",
        description="Put the shards of one session (pytest --mlflow --mlflow-session=ID) together, "
        "compare the whole with its baseline as the shards were told to, and bring it into "
        "MLflow. Doing it twice is harmless. The exit status is 1 where a shard is missing or "
        "broke off, where the gate fails, and where not everything could be sent.",
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="where the shards are: directories, searched with all below them, such as the "
        "artifacts of CI jobs; default: .pytest_mlflow and the tracking server",
    )
    parser.add_argument(
        "--session",
        metavar="ID",
        help="the id of the session; default: that of the shards in PATH, else the CI's run",
    )
    parser.add_argument(
        "--shards", metavar="N", type=positive, help="how many shards there have to be"
    )
    parser.add_argument(
        "--gate",
        action=argparse.BooleanOptionalAction,
        help="fail where a metric regressed; default: as the shards were told by --mlflow-gate",
    )
    parser.add_argument(
        "--require-baseline",
        action="store_true",
        help="with the gate: fail also where there is no baseline yet",
    )
    parser.add_argument(
        "--baseline",
        metavar="SPEC",
        help="what to compare with; default: as the shards were told by --mlflow-baseline",
    )
    add_report_option(parser)
    parser.add_argument(
        "--offline",
        action="store_true",
        help="don't contact MLflow; the whole is kept for 'pytest-mlflow sync'",
    )
    add_place_options(parser)
    parser.set_defaults(command=_merge, history=None)


def _merge(options: argparse.Namespace) -> int:
    check_reports("--report", options.report)
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as name:
        whole = merge(_shards(options, Path(name)))
        whole = _here(_complete(whole, options.shards), options)
        place = Place.of(options, whole.header)
        directory = keep(whole, place.root)
    comparison = judge(whole, _judging(options, whole.judging), place, directory)
    end = finish(directory, whole.end, comparison)
    reports = [*(directory.path / f"report{suffix}" for suffix in (".html", ".md", ".json"))]
    for path in (*reports, *options.report):
        write_report(path, render(comparison, path.suffix))
    _tell(whole, comparison, [*reports[:2], *options.report])
    sent = options.offline or _send(directory, place)
    return 0 if sent and not end.rejected and end.interrupted is None else 1


def _shards(options: argparse.Namespace, temporary: Path) -> list[ShardSession]:
    """Return the shards that are to be put together; what is fetched goes to ``temporary``.

    Raises:
        UsageError: the user has to say more.
        MergeError: there are none, or MLflow can't be asked.
    """
    try:
        wanted = joint_session_id(options.session) if options.session is not None else None
        if wanted is None and not options.paths:
            wanted = joint_session_id("auto")
    except ValueError as error:
        raise UsageError(f"--session: {error}") from None
    paths = list(_journals(options.paths or [sessions_root()]))
    if not options.paths and wanted is not None:
        place = Place.of(options)
        if not options.offline and not is_local_store(place.tracking_uri):
            # Only here, for it loads mlflow, which takes seconds.
            from ..tracker.fetch import fetch_shards

            paths += fetch_shards(
                place.tracking_uri,
                wanted,
                temporary,
                experiment_name=place.experiment_name,
                experiment_id=place.experiment_id,
            )
    found = [shard for path in paths if (shard := read_shard(path)) is not None]
    if wanted is None and len(ids := sorted({shard.header.joint_id for shard in found})) > 1:
        raise UsageError(f"there are shards of several sessions: {', '.join(ids)}; use --session")
    shards = [shard for shard in found if wanted in (None, shard.header.joint_id)]
    if not shards:
        where = ", ".join(map(str, options.paths)) or sessions_root()
        raise MergeError(f"there is no shard of {wanted or 'any session'} in {where}")
    return shards


def _journals(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("journal.jsonl"))
        elif path.is_file():
            yield path
        else:
            raise UsageError(f"{path} does not exist")


def _complete(whole: Whole, wanted: int | None) -> Whole:
    """Return the whole, as interrupted where shards are missing."""
    there = len(whole.shards)
    if wanted is None or there == wanted:
        return whole
    problem = f"there are {count(there, 'shard')}, and not {wanted}"
    reasons = [problem, *([whole.end.interrupted] if whole.end.interrupted else [])]
    return replace(whole, end=replace(whole.end, interrupted="; ".join(reasons)))


def _here(whole: Whole, options: argparse.Namespace) -> Whole:
    """Return the whole as a session of this machine, where shards had stores of their own."""
    uri = options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None and options.paths and is_local_store(whole.header.tracking_uri):
        uri = default_store(sessions_root())
    if uri is None:
        return whole
    return replace(whole, header=replace(whole.header, tracking_uri=without_credentials(uri)))


def _judging(options: argparse.Namespace, told: Shard) -> Shard:
    if options.baseline is not None:
        try:
            parse_spec(options.baseline)
        except ValueError as error:
            raise UsageError(f"--baseline: {error}") from None
    return replace(
        told,
        baseline=options.baseline or told.baseline,
        history=options.history or told.history,
        gate=told.gate if options.gate is None else options.gate,
        require_baseline=told.require_baseline or options.require_baseline,
    )


def _tell(whole: Whole, comparison: Comparison, reports: list[Path]) -> None:
    cases = count(len(whole.cases), "case")
    say(f"Session {whole.header.session_id}: {count(len(whole.shards), 'shard')}, {cases}")
    for line in verdict_lines(comparison, [str(path) for path in reports]):
        say(line.text)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        from ..report.github import append_step_summary
        from ..report.markdown import render_markdown

        append_step_summary(Path(summary), render_markdown(comparison))


def _send(directory: SessionDirectory, place: Place) -> bool:
    # Only here, for it loads mlflow, which takes seconds.
    from ..tracker.sync import sync

    state = sync(directory, tracking_uri=place.tracking_uri)
    if state.error is None:
        say(f"In experiment {state.experiment_name!r}, run {state.run_id}")
        return True
    say(f"Not everything is in MLflow: {state.error.rstrip('.')}")
    say(f"The session is kept; send it with: pytest-mlflow sync {directory.path}")
    return False
