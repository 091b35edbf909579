"""``pytest-mlflow best``: the best point of a sweep, and how sure that is."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.named_sessions import ChosenSession, parse_comparison
from ..baseline.choice import why_incomplete
from ..records.directory import SessionState
from ..regression.compare import session_info
from ..regression.comparison import Comparison
from ..regression.sweeps.lookup import choose_sweep
from ..report.headline import describe_session
from ..report.sweep_table import FORMATS, Ranking, answer, run_ids
from .arguments import (
    SESSION,
    STORE,
    SWEEP,
    asked_sweeps,
    command,
    positive,
    say,
    session_of,
    write_report,
)


@command(
    "best",
    {
        **SWEEP,
        **SESSION,
        "--top N": ("show the N best alone; default: all", {"type": positive}),
        "--format": ("default: text", {"choices": FORMATS, "default": "text"}),
        "--output -o PATH": ("write it there instead of printing it", {"type": Path}),
        **STORE,
    },
)
def run(options: argparse.Namespace) -> int:
    """Rank the points of a sweep.

    Rank the points of a parametrized test in a session, best first. The exit status is 1 where no
    point can be the best, since none has the objective or it is not known what is better; it is 0
    also where the best is no clear winner.
    """
    session = session_of(options)
    stored = session.stored
    comparison, runs = _of_mlflow(session) if session.is_fetched else _of_disk(session)
    sweep = choose_sweep(asked_sweeps(options, stored, comparison), options.test)
    ranking = Ranking(
        sweep=sweep,
        session_id=stored.header.session_id,
        session=describe_session(session_info(stored.header)),
        run_ids=run_ids(stored.cases, runs),
        top=options.top,
        incomplete=why_incomplete(stored.header, stored.end),
    )
    text = FORMATS[options.format](ranking)
    if options.output is None:
        say(text.removesuffix("\n"))
    else:
        write_report(options.output, text)
        say(f"{answer(sweep)} ({options.output})")
    return 0 if sweep.best is not None else 1


def _of_disk(session: ChosenSession) -> tuple[Comparison | None, dict[str, str]]:
    """Return the session's comparison, and the known run ids by record id."""
    state = session.directory and SessionState.read(session.directory.state)
    runs: dict[str, str] = {}
    if state is not None and (state.phase, state.writer) == ("done", "bulk"):
        # Written in bulk, a run has the id of its record.
        runs = {record.id: record.id for record in session.stored.cases}
    return session.local_comparison(), runs


def _of_mlflow(session: ChosenSession) -> tuple[Comparison | None, dict[str, str]]:
    header = session.stored.header
    with session.location.registry() as registry:
        run = registry.session_run(header)
        text = None if run is None else registry.report(run)
        comparison = None if text is None else parse_comparison(text, "report.json of the session")
        return comparison, registry.case_runs(header)
