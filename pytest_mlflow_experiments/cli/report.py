"""``pytest-mlflow report``: a session's comparison again, in another format."""

from __future__ import annotations

import argparse

from ..analysis.location import UsageError, sessions_root
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..regression.comparison import Comparison
from ..report.markdown import render_comment, render_markdown
from .arguments import NAMES, REPORTS, STORE, command, say, session_of, write_report
from .project_hooks import CommandHooks


def asked_comparison(options: argparse.Namespace) -> Comparison:
    """Return the comparison of the named session, by default of the newest one here."""
    store = options.tracking_uri or options.experiment
    if not (options.session or store or SessionDirectory.find_all(sessions_root())):
        raise UsageError(f"there is no session here: looked in {sessions_root() / DIRECTORY_NAME}")
    return session_of(options).comparison()


@command(
    "report",
    {
        "session SESSION": (
            f"{NAMES}; default: the newest one",
            {"nargs": "?"},
        ),
        "--output -o PATH": REPORTS,
        "--comment KEY": (
            "make the markdown the body of a comment on a pull request; its first line is a hidden "
            "marker with KEY, by which a script finds the comment to update",
            {"nargs": "?", "const": "comparison"},
        ),
        **STORE,
    },
)
def run(options: argparse.Namespace) -> int:
    """Print or write the comparison that a session ended with.

    Print the comparison that a session ended with, as markdown, or write it to files.
    """
    hooks = CommandHooks("--output", options.output, judges=False)
    comparison = asked_comparison(options)
    comment = None if options.comment is None else render_comment(comparison, options.comment)
    for path in options.output:
        text = hooks.render(comparison, path)
        write_report(path, comment if comment is not None and path.suffix == ".md" else text)
    if not options.output:
        say(comment or render_markdown(comparison))
    return 0
