"""``pytest-mlflow report``: a session's comparison again, in another format."""

from __future__ import annotations

import argparse
import os

from ..analysis.location import UsageError, sessions_root
from ..analysis.named_sessions import chosen_directory, read_comparison
from ..records.ci import ci_job
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..regression.comparison import Comparison
from ..report.github import render_check
from ..report.links import Links, located
from ..report.markdown import marker, render_comment, render_markdown
from .arguments import FLAG, NAMES, REPORTS, STORE, command, say, session_of, write_report
from .project_hooks import CommandHooks


def asked_comparison(options: argparse.Namespace) -> tuple[Comparison, SessionDirectory | None]:
    """Return the comparison of the named session, by default of the newest one here.

    The session's directory is None if it is not on this machine.
    """
    place = options.tracking_uri, options.experiment
    directory = chosen_directory(options.session, *place)
    if directory is None and not (options.session or any(place)):
        raise UsageError(f"there is no session here: looked in {sessions_root() / DIRECTORY_NAME}")
    if directory is not None and directory.report.exists():
        comparison = read_comparison(directory.report)
    else:
        session = session_of(options)
        comparison, directory = session.comparison(), session.directory
    if directory is not None:
        comparison = located(comparison, directory)
    return comparison, directory


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
            "marker with KEY, by which the comment to update is found",
            {"nargs": "?", "const": "comparison"},
        ),
        "--post": (
            "with --comment: write the comment on the pull request of this job on GitHub or "
            "GitLab, or update the earlier one; the token is GITHUB_TOKEN, or GITLAB_TOKEN, else "
            "CI_JOB_TOKEN",
            FLAG,
        ),
        "--check NAME": (
            "print the body of a request for a check run on GitHub (POST "
            "/repos/OWNER/REPO/check-runs), which can be a required status",
            {"nargs": "?", "const": "pytest-mlflow"},
        ),
        "--artifact-url URL": "the page with the HTML report, for a link; default: the CI's page "
        "with the artifacts of this job",
        **STORE,
    },
)
def run(options: argparse.Namespace) -> int:
    """Print or write the comparison that a session ended with.

    Print the comparison that a session ended with, as markdown, or write it to files.
    """
    if options.post and options.comment is None:
        raise UsageError("--post needs --comment, which it writes on the pull request")
    if options.check is not None and options.comment is not None:
        raise UsageError("--check and --comment are two bodies; take one of them")
    hooks = CommandHooks("--output", options.output, judges=False)
    comparison, directory = asked_comparison(options)
    html = directory.path / "report.html" if directory is not None else None
    links = Links.of(comparison.session, artifact_url=options.artifact_url or "", html=html)
    if options.check is not None:
        text = render_check(
            comparison,
            name=options.check,
            head_sha=_head(comparison),
            rootdir=sessions_root(),
            links=links,
        )
    elif options.comment is not None:
        text = render_comment(comparison, options.comment, links=links)
    else:
        text = render_markdown(comparison, links=links)
    for path in options.output:
        own = path.suffix == ".md" and options.comment is not None
        write_report(path, text if own else hooks.render(comparison, path))
    if options.post:
        # Only here, for it loads what speaks HTTP.
        from .comments import post_comment

        say(post_comment(text, marker(options.comment)))
    elif options.check is not None or not options.output:
        say(text)
    return 0


def _head(comparison: Comparison) -> str:
    """Return the commit that a check is for: of a pull request its head, not its merge."""
    job = ci_job(os.environ)
    commit = (job and job.commit) or comparison.session.commit
    if not commit:
        raise UsageError("--check: neither git nor the CI tells the commit that was tested")
    return commit
