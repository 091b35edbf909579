"""``pytest-mlflow open``: a session's report, or its page in MLflow, in the browser."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..analysis.location import UsageError
from ..analysis.named_sessions import chosen_directory
from ..records.directory import SessionState, write_private
from ..records.secrets import without_credentials
from ..regression.compare import session_info
from ..report.links import LOCAL_SERVER, Links
from ..report.terminal import ui_command
from .arguments import FLAG, NAMES, STORE, command, say, session_of
from .project_hooks import CommandHooks
from .report import asked_comparison


@command(
    "open",
    {
        "session SESSION": (f"{NAMES}; default: the newest one", {"nargs": "?"}),
        "--mlflow": ("open the page of the session's run in MLflow instead of the report", FLAG),
        **STORE,
    },
)
def run(options: argparse.Namespace) -> int:
    """Open a session's report in the browser.

    Open a session's report in the browser, or with --mlflow MLflow's page of its run. The report of
    a session that is not here is fetched from MLflow. Without a browser, the command says where it
    is.
    """
    if options.mlflow:
        _open_mlflow(options)
        return 0
    path = _report(options).absolute()
    if _opened(path.as_uri()):
        say(f"Opened {path}")
    else:
        say(f"No browser can be opened here. The report is {path}")
    return 0


def _report(options: argparse.Namespace) -> Path:
    """Return the path of the session's page, which is made where it is missing."""
    directory = chosen_directory(options.session, options.tracking_uri, options.experiment)
    if directory is None or not (directory.path / "report.html").exists():
        comparison, directory = asked_comparison(options)
    if directory is not None and (kept := directory.path / "report.html").exists():
        return kept
    path = Path("report.html")
    text = CommandHooks("open", [path], judges=False).render(comparison, path)
    text = text if isinstance(text, str) else "".join(text)
    if directory is not None:
        with suppress(OSError):  # it may be somebody else's
            write_private(kept, text)
            return kept
    path = Path(tempfile.mkdtemp(prefix="pytest-mlflow-")) / path
    write_private(path, text)
    return path


def _open_mlflow(options: argparse.Namespace) -> None:
    """Open the page of the session's run; say what helps where nothing serves it.

    Raises:
        UsageError: MLflow doesn't have the session.
        BaselineError: MLflow can't be asked.
    """
    session = session_of(options)
    header, uri = session.stored.header, session.location.store
    state = session.directory and SessionState.read(session.directory.state)
    ids: tuple[str | None, str | None]
    if state is not None and state.run_id is not None:
        ids = state.experiment_id, state.run_id
    elif session.directory is not None and not session.is_fetched:
        raise UsageError(
            f"session {header.session_id} is not in MLflow yet; `pytest-mlflow sync` sends it"
        )
    else:
        found = session.location.mlflow().session(header.joint_id)
        ids = found.experiment_id, found.run_id
    shown = without_credentials(uri)
    info = replace(session_info(header), tracking_uri=shown, experiment_id=ids[0], run_id=ids[1])
    page = Links.of(info).session()
    if page:
        told = f"No browser can be opened here. The page is {page}"
    elif uri.startswith("databricks"):
        say(f"The session's run on {shown} is {ids[1]}")
        return
    else:
        page = Links.of(replace(info, tracking_uri=LOCAL_SERVER), environ={}).session()
        told = f"Start MLflow's pages with:  {ui_command(shown)}\nand open  {page}"
        if not _serves(ids[1] or ""):
            say(*told.split("\n"))
            return
    say(f"Opened {page}" if _opened(page) else told)


def _serves(run_id: str) -> bool:
    """Return whether MLflow's pages are served on this machine, with that run."""
    import requests

    with requests.Session() as client, suppress(requests.RequestException):
        # Nobody's proxy knows this machine.
        client.trust_env = False
        address = f"{LOCAL_SERVER}/api/2.0/mlflow/runs/get"
        return client.get(address, params={"run_id": run_id}, timeout=2).ok
    return False


def _opened(address: str) -> bool:
    with suppress(webbrowser.Error, OSError):
        return webbrowser.open(address)
    return False
