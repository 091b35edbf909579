"""``pytest-mlflow sessions``: which sessions there are, and which count for baselines."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from ..analysis.named_sessions import baseline_request
from ..baseline.choice import Candidate, Catalog, why_not_chosen
from ..baseline.specs import BaselineError
from ..records.codec import encode
from ..records.tags import CI_PULL_REQUEST, COMMIT
from ..report.numbers import count, moment, timestamp
from .arguments import FLAG, LOCATION, Commands, command, location_of, positive, say

_VERDICTS: Final = ("regressed", "missing", "drifting", "accepted", "improved")


@command(
    "list",
    {
        "--json": ("print JSON, for programs", FLAG),
        "--last N": ("only the N newest ones", {"type": positive}),
        **LOCATION,
    },
)
def _list(options: argparse.Namespace) -> int:
    """List the sessions, and why they count for baselines or don't.

    List the sessions, the newest first: id, branch or pull request, commit, verdict, and whether
    it counts for the baseline of what is checked out here (--mlflow-baseline=auto); if not, why
    not. With --tracking-uri they are those of MLflow.
    """
    location = location_of(options)
    request = baseline_request(location, "auto", options.history)

    def listed(catalog: Catalog) -> tuple[str, list[tuple[Candidate, str | None]]] | None:
        found = list(why_not_chosen(request, catalog))
        return (catalog.place, found) if found else None

    try:
        asked = location.mlflow() if options.tracking_uri else None
        told = listed(asked) if asked is not None else None
        place, sessions = told or location.ask(listed, request)
    except BaselineError:
        if options.json:
            say("[]")
        raise
    shown = sessions[: options.last]
    if options.json:
        say(json.dumps([_as_json(*one) for one in shown], indent=2))
        return 0
    number = sum(why is None for _, why in sessions)
    counts = "counts" if number == 1 else "count"
    say(f"{count(len(sessions), 'session')} of {place}; {number:,} of them {counts} for baselines")
    rows = [_row(*one) for one in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        say(f"  {'  '.join(cells).rstrip()}")
    return 0


def _row(session: Candidate, why: str | None) -> tuple[str, ...]:
    return (
        session.session_id,
        moment(session.start_time),
        _branch(session),
        session.tags.get(COMMIT, "")[:7],
        verdict(session),
        "counts" if why is None else f"does not count: {why}",
    )


def _branch(session: Candidate) -> str:
    return " ".join(filter(None, (session.branch, session.proposal and f"({session.proposal})")))


def verdict(session: Candidate) -> str:
    """Sum up how a session ended."""
    told = [f"{int(session.metrics.get(one, 0)):,} {one}" for one in _VERDICTS]
    known = [text for text in told if not text.startswith("0 ")]
    parts = [", ".join(known) or "nothing got worse"] if "regressed" in session.metrics else []
    if session.exit_status is None:
        parts.append("no end")
    elif session.exit_status:
        parts.append(f"exit status {session.exit_status}")
    return ", ".join(parts) or "not compared"


def _as_json(session: Candidate, why: str | None) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "start_time": timestamp(session.start_time),
        "branch": session.branch,
        "pull_request": session.tags.get(CI_PULL_REQUEST),
        "commit": session.tags.get(COMMIT),
        "exit_status": session.exit_status,
        "verdict": verdict(session),
        "counts": why is None,
        "reason": why,
        "exclusion": encode(session.exclusion) if session.is_excluded else None,
        "run_id": session.run_id,
    }


def declare(commands: Commands) -> None:
    """Declare the command and its subcommand."""
    parser = commands.add_parser(
        "sessions",
        help="list the sessions, and why they count for baselines or don't",
        description="Look at sessions.",
    )
    _list.declare(parser.add_subparsers(metavar="ACTION", required=True))
