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
    """Return the last comparison of a session (the newest one); UsageError without one."""
    if session is not None:
        directory = session_directory(session)
        problem = f"{session} was not compared: it has no {directory.report.name}"
    elif directories := SessionDirectory.find_all(sessions_root()):
        directory = directories[-1]
        problem = (
            f"the newest session, {directory.session_id}, was not compared with a baseline; name "
            "the directory of another one"
        )
    else:
        raise UsageError("there is no session here")
    if not directory.report.exists():
        raise UsageError(problem)
    return read_comparison(directory.report)


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
    comment = None if options.comment is None else render_comment(comparison, options.comment)
    for path in options.output:
        text = hooks.render(comparison, path)
        write_report(path, comment if comment is not None and path.suffix == ".md" else text)
    if not options.output:
        say(comment or render_markdown(comparison))
    return 0
