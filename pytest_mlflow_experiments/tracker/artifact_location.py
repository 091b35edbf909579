"""Where an experiment keeps its artifacts beside a database."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

from sqlalchemy import Engine


def artifact_location(engine: Engine | None) -> str | None:
    """Return where a new experiment keeps its artifacts; None for MLflow's own choice.

    Beside a database, that choice is ``mlruns`` in the current directory. MLflow decodes its path
    as if it were a URL's, and so writes elsewhere where a directory is called like
    ``feature%2Fnew``.
    """
    directory = Path("mlruns").absolute()
    if engine is None or unquote(str(directory)) == str(directory):
        return None
    return f"{directory.as_uri()}/{uuid4().hex}"
