"""``pytest-mlflow baseline``: pin, show and export what sessions are compared with."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.location import Location
from ..analysis.named_sessions import baseline_entries, baseline_request, newest_id
from ..baseline.files import export
from ..baseline.local import clear_local_pin, is_local_store, set_local_pin
from ..baseline.specs import BaselineError
from ..regression.compare import session_info
from ..regression.values import collect_values
from ..report.headline import describe_session
from ..report.numbers import count, moment
from .arguments import add_location_options, location_of, say

if TYPE_CHECKING:
    from ..tracker.catalog import MlflowCatalog


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "baseline",
        help="pin, show or export what sessions are compared with",
        description="Work with baselines. SPEC is a form of --mlflow-baseline.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, help_text, command in (
        ("set", "pin a session: --mlflow-baseline=auto compares with it from now on", _set),
        ("clear", "take the pin away", _clear),
        ("show", "show which sessions a baseline is made of", _show),
        ("export", "write a baseline to a file, to be kept in git", _export),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text)
        if name == "export":
            action.add_argument("path", type=Path, metavar="PATH", help="the file")
        if name == "set":
            action.add_argument("spec", metavar="SPEC", help="such as session:ID or latest")
        elif name != "clear":
            action.add_argument("spec", metavar="SPEC", nargs="?", default="auto")
        add_location_options(action)
        action.set_defaults(command=command)


def _set(options: argparse.Namespace) -> int:
    location = location_of(options)
    session_id = newest_id(location, options.spec)
    problem = _share(location, lambda catalog: catalog.pin(session_id))
    set_local_pin(location.root, session_id)
    where = "for everybody" if problem is None else f"on this machine only: {problem}"
    say(f"Pinned session {session_id} {where}.")
    return 0


def _clear(options: argparse.Namespace) -> int:
    location = location_of(options)
    problem = _share(location, lambda catalog: catalog.unpin())
    clear_local_pin(location.root)
    say(f"No session is pinned any more{f' on this machine: {problem}' if problem else ''}.")
    return 0


def _share(location: Location, action: Callable[[MlflowCatalog], None]) -> str | None:
    """Change the pin in MLflow; return why a store of this machine has not got it.

    Raises:
        BaselineError: a server can't be used, and others would go on with another pin.
    """
    try:
        action(location.mlflow())
    except BaselineError as error:
        if not is_local_store(location.tracking_uri):
            raise
        return str(error)
    return None


def _show(options: argparse.Namespace) -> int:
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


def _export(options: argparse.Namespace) -> int:
    location = location_of(options)
    request = baseline_request(location, options.spec, options.history)
    made = location.ask(lambda catalog: export(request, catalog, options.path), request)
    say(f"{options.path}: {made.provenance.reason}")
    for note in made.notes:
        say(note)
    return 0
