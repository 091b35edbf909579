"""``pytest-mlflow report``: a session's comparison again, in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.location import UsageError, session_directory, sessions_root
from ..analysis.named_sessions import read_comparison
from ..records.directory import SessionDirectory
from ..regression.comparison import Comparison
from ..report.markdown import render_comment, render_markdown
from .arguments import REPORTS, command, say, write_report
from .project_hooks import CommandHooks


def last_comparison(session: Path | None) -> Comparison:
    """Return the comparison that a session, or the newest one, ended with.

    Raises:
        UsageError: there is none.
    """
    if session is not None:
        path = session_directory(session).report
        if not path.exists():
            raise UsageError(f"{session} was not compared: it has no {path.name}")
    else:
        directories = SessionDirectory.find_all(sessions_root())
        if not directories:
            raise UsageError("there is no session here")
        path = directories[-1].report
        if not path.exists():
            raise UsageError(
                f"the newest session, {directories[-1].session_id}, was not compared with a "
                "baseline; name the directory of another one"
            )
    return read_comparison(path)


@command(
    "report",
    {
        "session SESSION": (
            "the directory of a session; default: the newest one",
            {"nargs": "?", "type": Path},
        ),
        "--output -o PATH": REPORTS,
        "--comment KEY": (
            "make the markdown the body of a comment on a pull request; its first line is a hidden "
            "marker with KEY, by which a script finds the comment to update",
            {"nargs": "?", "const": "comparison"},
        ),
    },
)
def run(options: argparse.Namespace) -> int:
    """Print or write the comparison that a session ended with.

    Print the comparison that a session ended with, as markdown, or write it to files.
    """
    hooks = CommandHooks("--output", options.output, judges=False)
    comparison = last_comparison(options.session)
    comment = None
    if options.comment is not None:
        comment = render_comment(comparison, options.comment)
    for path in options.output:
        text = hooks.render(comparison, path)
        if comment is not None and path.suffix == ".md":
            text = comment
        write_report(path, text)
    if not options.output:
        say(comment or render_markdown(comparison))
    return 0
