"""``pytest-mlflow report``: a session's comparison again, in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.places import UsageError, session_directory, sessions_root
from ..records.directory import SessionDirectory
from ..regression.comparison import Comparison
from ..report.formats import render
from ..report.json import read_json
from ..report.markdown import render_comment, render_markdown
from .arguments import add_report_option, check_reports, say, write_report


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "report",
        help="print or write the comparison that a session ended with",
        description="Print the comparison that a session ended with, as markdown, or write it to "
        "files.",
    )
    parser.add_argument(
        "session",
        nargs="?",
        type=Path,
        metavar="SESSION",
        help="the directory of a session; default: the newest one",
    )
    add_report_option(parser, "--output", "-o")
    parser.add_argument(
        "--comment",
        metavar="KEY",
        nargs="?",
        const="comparison",
        help="make the markdown the body of a comment on a pull request; its first line is a "
        "hidden marker with KEY, by which a script finds the comment to update",
    )
    parser.set_defaults(command=_report)


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
    try:
        return read_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def _report(options: argparse.Namespace) -> int:
    check_reports("--output", options.output)
    comparison = last_comparison(options.session)
    comment = None
    if options.comment is not None:
        comment = render_comment(comparison, options.comment)
    for path in options.output:
        text = render(comparison, path.suffix)
        if comment is not None and path.suffix == ".md":
            text = comment
        write_report(path, text)
    if not options.output:
        say(comment or render_markdown(comparison))
    return 0
