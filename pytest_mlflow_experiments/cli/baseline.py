"""``pytest-mlflow baseline``: pin, exclude, show and export what sessions are compared with."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..analysis.location import Location, UsageError
from ..analysis.named_sessions import (
    baseline_entries,
    baseline_request,
    kept_directory,
    named_candidate,
    newest_id,
)
from ..baseline.files import export
from ..baseline.local import clear_local_pin, is_local_store, set_local_pin
from ..baseline.specs import BaselineError
from ..records import Exclusion
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.git import author
from ..records.reader import peek_header
from ..regression.compare import session_info
from ..regression.values import collect_values
from ..report.headline import describe_session
from ..report.numbers import count, moment
from .arguments import LOCATION, NAMES, STORE, Arguments, Commands, command, location_of, say

if TYPE_CHECKING:
    from ..tracker.catalog import MlflowCatalog


_FOR_OTHERS: Final = "; not for others, for MLflow did not take it: "

_ANY: Final[Arguments] = {
    "spec SPEC": (
        "which sessions, by a form of --mlflow-baseline, such as branch:main; default: auto, those "
        "that the next session here is compared with",
        {"nargs": "?", "default": "auto"},
    ),
    **LOCATION,
}


@command(
    "set",
    {"spec SPEC": "which session, by a form of --mlflow-baseline, such as latest", **LOCATION},
)
def _set(options: argparse.Namespace) -> int:
    """Pin a session: --mlflow-baseline=auto compares with it from now on."""
    location = location_of(options)
    session_id = newest_id(location, options.spec)
    problem = _share(location, lambda catalog: catalog.pin(session_id))
    set_local_pin(location.root, session_id)
    where = "for everybody" if problem is None else f"on this machine only{_FOR_OTHERS}{problem}"
    say(f"Pinned session {session_id} {where}.")
    return 0


@command("clear", LOCATION)
def _clear(options: argparse.Namespace) -> int:
    """Take the pin away."""
    location = location_of(options)
    problem = _share(location, lambda catalog: catalog.unpin())
    clear_local_pin(location.root)
    here = f" on this machine{_FOR_OTHERS}{problem}" if problem else ""
    say(f"No session is pinned any more{here}.")
    return 0


def _share(location: Location, action: Callable[[MlflowCatalog], None]) -> str | None:
    """Change the pin in MLflow; return why a store on this machine could not be changed.

    Raises:
        BaselineError: a server can't be used, so that others would keep another pin.
    """
    try:
        action(location.mlflow())
    except BaselineError as error:
        if not is_local_store(location.tracking_uri):
            raise
        return str(error)
    return None


@command(
    "exclude",
    {"session SESSION": NAMES, "--reason TEXT": ("why", {"required": True}), **STORE},
)
def _exclude(options: argparse.Namespace) -> int:
    """Take a session out of all baselines, for everybody.

    Take a session out of all baselines: nothing is compared with it any more, and reports say so.
    MLflow has who did that, when and why, as a tag of the session's run. Where MLflow can't be
    reached, it is kept on this machine, not in force for others, and `pytest-mlflow sync` sends it.
    """
    return _decide(options, included=False)


@command(
    "include",
    {"session SESSION": NAMES, "--reason TEXT": ("why", {"default": "included again"}), **STORE},
)
def _include(options: argparse.Namespace) -> int:
    """Take an excluded session back in."""
    return _decide(options, included=True)


def _decide(options: argparse.Namespace, *, included: bool) -> int:
    """Write down that a session is excluded, or included again: in MLflow, and where it ran."""
    reason = " ".join(options.reason.split())
    if not reason:
        raise UsageError("--reason: expected a text that isn't blank")
    kept = kept_directory(options.session)
    header = peek_header(kept.journal) if kept is not None else None
    location = location_of(options, header)
    # Of a shard the whole is meant.
    if header is not None:
        session_id = header.joint_id
    else:
        session_id = named_candidate(location, options.session).session_id
    kept = SessionDirectory(location.root / DIRECTORY_NAME / session_id)
    is_here = kept.journal.is_file()
    decided = Exclusion(
        reason=reason,
        time=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        author=author(location.root),
        included=included,
    )
    problem = None
    try:
        location.mlflow().exclude(session_id, decided)
    except BaselineError as error:
        if not is_here:
            raise
        problem = str(error)
    if is_here:
        kept.exclude(replace(decided, pending=problem is not None))
    where = "for everybody"
    if problem is not None:
        where = (
            "on this machine; it is not in force for others, for MLflow did not take it: "
            f"{problem.removesuffix('.')}. `pytest-mlflow sync` sends it"
        )
    say(f"Session {session_id} is {'included again' if included else 'excluded'} {where}.")
    return 0


@command("show", _ANY)
def _show(options: argparse.Namespace) -> int:
    """Show which sessions a baseline is made of."""
    location = location_of(options)
    entries = baseline_entries(location, options.spec, options.history)
    baseline = collect_values(entries, frozenset())
    assert baseline.provenance is not None
    say(f"{baseline.provenance.reason}; from {baseline.provenance.place}")
    for session in baseline.sessions:
        cases = count(session.count, "case")
        name = describe_session(session_info(session.header))
        say(f"  {session.header.session_id}  {moment(session.header.start_time)}  {name}, {cases}")
    return 0


@command("export", {"path PATH": ("the file", {"type": Path}), **_ANY})
def _export(options: argparse.Namespace) -> int:
    """Write a baseline to a file, to be kept in git."""
    location = location_of(options)
    request = baseline_request(location, options.spec, options.history)
    made = location.ask(lambda catalog: export(request, catalog, options.path), request)
    say(f"{options.path}: {made.provenance.reason}")
    for note in made.notes:
        say(note)
    return 0


def declare(commands: Commands) -> None:
    """Declare the command and its subcommands."""
    parser = commands.add_parser(
        "baseline",
        help="pin, exclude, show or export what sessions are compared with",
        description="Work with baselines. SPEC is a form of --mlflow-baseline.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for action in (_set, _clear, _exclude, _include, _show, _export):
        action.declare(actions)
