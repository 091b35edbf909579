"""Links from summaries and comments: to MLflow's pages, and to the artifacts of the CI's job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final
from urllib.parse import SplitResult, parse_qs, quote, urlencode, urlsplit

from ..records import tags as tag
from ..records.directory import SessionDirectory, SessionState
from ..records.git import authors
from ..records.secrets import without_credentials
from ..regression.comparison import Comparison, SessionInfo

LOCAL_SERVER: Final = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` serves MLflow's pages."""

_URL_CHARACTERS: Final = ":/?#@!$&'*+,;=%~"
_TRAINING: Final = {"workflowType": "machine_learning"}
"""Without it MLflow's pages open on its tools for language models."""
_FLAT: Final = {"orderByKey": "metrics.`duration_seconds`", "orderByAsc": "false"}
"""Sorted by time, as they are otherwise, cases are hidden below the run of their session."""


@final
@dataclass(frozen=True, slots=True)
class Links:
    """Where a session is found by a browser; empty where nobody knows.

    ``experiment`` is the page of the experiment, ``query`` what all of MLflow's pages need behind
    their path, ``report`` the page with the HTML report's artifact.
    """

    experiment: str = ""
    run_id: str | None = None
    session_id: str = ""
    query: Mapping[str, str] | None = None
    report: str = ""

    @classmethod
    def of(
        cls,
        session: SessionInfo,
        *,
        artifact_url: str = "",
        html: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Links:
        """Return the links of a session, from its server and what the CI tells.

        ``artifact_url`` is the page of the artifact, else it is the CI's page for ``html``.
        """
        report = _safe(artifact_url) or _artifact_page(html, environ)
        uri = environ.get("MLFLOW_UI_URI") or session.tracking_uri
        parts = urlsplit(without_credentials(uri))
        if parts.scheme not in ("http", "https") or session.experiment_id is None:
            return cls(report=report)
        base = _safe(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}")
        return cls(
            experiment=f"{base}/#/experiments/{quote(session.experiment_id, safe='')}",
            run_id=session.run_id,
            session_id=session.session_id,
            query=_workspace(parts, environ),
            report=report,
        )

    def session(self, path: str = "") -> str:
        """Return the page of the session's run, or one below it."""
        if not self.experiment or not self.run_id:
            return ""
        page = f"{self.experiment}/runs/{quote(self.run_id, safe='')}{path}"
        return f"{page}?{urlencode({**_TRAINING, **(self.query or {})})}"

    def case(self, case: str) -> str:
        """Return the page that lists the run of a case in this session."""
        mark = "'" if "'" not in case else '"'
        if not self.experiment or mark in case or not case.isprintable():
            return ""
        terms = (
            f"tags.`{name}` = {mark}{text}{mark}"
            for name, text in ((tag.SESSION_ID, self.session_id), (tag.CASE, case))
        )
        asked = {"searchFilter": " and ".join(terms), **_FLAT, **_TRAINING, **(self.query or {})}
        return f"{self.experiment}/runs?{urlencode(asked, quote_via=quote)}"


def artifact_link(
    experiment_id: str, run_id: str, name: str, uri: str, environ: Mapping[str, str] = os.environ
) -> str:
    """Return the link from a page of MLflow's to an artifact of a run, whatever its address is."""
    parts = urlsplit(without_credentials(environ.get("MLFLOW_UI_URI") or uri))
    links = Links(f"#/experiments/{experiment_id}", run_id, query=_workspace(parts, environ))
    return links.session(f"/artifacts/{quote(name)}")


def _workspace(parts: SplitResult, environ: Mapping[str, str]) -> dict[str, str]:
    asked = parse_qs(parts.query or parts.fragment.partition("?")[2]).get("workspace", [])
    workspace = next(iter(asked), environ.get("MLFLOW_WORKSPACE", ""))
    # MLflow's own links don't name its default workspace either.
    return {} if workspace in ("", "default") else {"workspace": workspace}


def located(comparison: Comparison, directory: SessionDirectory) -> Comparison:
    """Return the comparison with its session's ids in MLflow and the authors, as far as known."""
    state = SessionState.read(directory.state)
    if state is not None and state.experiment_id is not None:
        session = comparison.session
        session = replace(session, experiment_id=state.experiment_id, run_id=state.run_id)
        comparison = replace(comparison, session=session)
    return with_authors(comparison, directory.path)


def with_authors(comparison: Comparison, directory: Path) -> Comparison:
    """Return the comparison with the authors of the commits that the checkout here knows."""
    session, baseline = comparison.session, comparison.baseline
    past = baseline.sessions if baseline is not None else ()
    names = authors(directory, {one.commit for one in (session, *past) if one.commit})

    def with_author(one: SessionInfo) -> SessionInfo:
        return replace(one, author=names.get(one.commit or "", one.author))

    if baseline is not None:
        baseline = replace(baseline, sessions=tuple(map(with_author, past)))
    return replace(comparison, session=with_author(session), baseline=baseline)


def _artifact_page(html: Path | None, environ: Mapping[str, str]) -> str:
    """Return the CI's page with the artifacts, on GitLab that of the file itself."""
    if environ.get("GITHUB_ACTIONS") == "true" and (run := environ.get("GITHUB_RUN_ID")):
        server = environ.get("GITHUB_SERVER_URL", "https://github.com")
        return _safe(
            f"{server}/{environ.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}#artifacts"
        )
    job, project = environ.get("CI_JOB_URL"), environ.get("CI_PROJECT_DIR")
    if not job or not project or html is None:
        return ""
    try:
        path = html.resolve().relative_to(Path(project).resolve()).as_posix()
    except ValueError:  # it is not below the project, and so no artifact
        return ""
    return _safe(f"{job}/artifacts/file/{quote(path)}")


def _safe(url: str) -> str:
    """Escape what would end a link in markdown; nothing remains of what is no web address."""
    return quote(url, safe=_URL_CHARACTERS) if url.startswith(("http://", "https://")) else ""
