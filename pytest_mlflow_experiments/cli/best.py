"""``pytest-mlflow best``: the best configuration of a sweep, and how sure that is."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.kept_session import FoundSession, add_session_option, comparison_of, find_session
from ..baseline.choice import why_incomplete
from ..records.directory import SessionState
from ..regression.comparison import Comparison
from .arguments import add_store_options, positive, say, write_report
from .ranking import FORMATS, Ranking, answer, run_ids
from .sweeps import add_sweep_options, choose_sweep, sweeps_of


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "best",
        help="rank the configurations of a sweep",
        description="Rank the configurations of a parametrized test in a session, best first. The "
        "exit status is 1 where none can be called the best.",
    )
    add_sweep_options(parser)
    add_session_option(parser)
    parser.add_argument(
        "--top", metavar="N", type=positive, help="show the N best alone; default: all"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument(
        "--output", "-o", type=Path, metavar="PATH", help="write it there instead of printing it"
    )
    add_store_options(parser)
    parser.set_defaults(command=_best)


def _best(options: argparse.Namespace) -> int:
    session = find_session(options)
    comparison, runs = _of_mlflow(session) if session.is_fetched else _of_disk(session)
    sweep = choose_sweep(sweeps_of(session, comparison, options), options.test)
    ranking = Ranking(
        sweep=sweep,
        session_id=session.header.session_id,
        run_ids=run_ids(session.cases, runs),
        top=options.top,
        incomplete=why_incomplete(session.header, session.end),
    )
    text = FORMATS[options.format](ranking)
    if options.output is None:
        say(text.removesuffix("\n"))
    else:
        write_report(options.output, text)
        say(f"{answer(sweep)} ({options.output})")
    return 0 if sweep.best is not None else 1


def _of_disk(session: FoundSession) -> tuple[Comparison | None, dict[str, str]]:
    """Return the session's comparison, and the runs of its records as far as they are known."""
    state = session.directory and SessionState.read(session.directory.state)
    runs: dict[str, str] = {}
    if state is not None and (state.phase, state.writer) == ("done", "bulk"):
        # Written in bulk, a run has the id of its record.
        runs = {record.id: record.id for record in session.cases}
    return session.local_comparison(), runs


def _of_mlflow(session: FoundSession) -> tuple[Comparison | None, dict[str, str]]:
    from ..tracker.registry import open_registry

    place = session.place
    with open_registry(
        place.tracking_uri,
        experiment_name=place.experiment_name,
        experiment_id=place.experiment_id,
    ) as registry:
        run = registry.session_run(session.header)
        text = None if run is None else registry.report(run)
        return comparison_of(text, "report.json of the session"), registry.case_runs(session.header)
