"""The sessions that MLflow has: one search and a file for each, never the runs of their cases."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..baseline import BaselineError, Query
from ..cli.places import Place
from ..journal import JournalError
from .stored import StoredSession, sessions_in


def mlflow_sessions(
    tracking_uri: str | None, experiment: str | None, branch: str | None, last: int | None
) -> Iterator[StoredSession]:
    """Yield the sessions of an experiment, the oldest first; those without a journal are told of.

    Raises:
        BaselineError: MLflow can't be used, or there is no such experiment.
        JournalError: a session can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as name, own_environment():
        place = Place.found(tracking_uri, experiment)
        with warnings.catch_warnings():
            # What MLflow warns of while it is loaded must not become an error of the caller's.
            warnings.simplefilter("ignore")
            catalog = place.mlflow()
            if not catalog.exists:
                raise BaselineError(f"there is no {catalog.place}")
            query = Query(any_branch=branch is None, branch=branch)
            matching = (
                one for one in catalog.newest(query) if branch is None or one.branch == branch
            )
            found = list(islice(matching, last))[::-1]
            journals = list(catalog.journals(found, Path(name)))
        for one, path in zip(found, journals, strict=True):
            if isinstance(path, str):
                warnings.warn(
                    f"session {one.session_id} is left out: {path}", UserWarning, stacklevel=2
                )
                continue
            try:
                for session in sessions_in(path):
                    yield replace(session, run_id=one.run_id)
            except JournalError as error:
                text = str(error).replace(str(path), f"{path.name} of its run {one.run_id}")
                raise JournalError(f"session {one.session_id}: {text}") from error


@contextmanager
def own_environment() -> Iterator[None]:
    """Give the caller MLflow's variables back: a tracker sets them for a process of its own."""
    before = _variables()
    try:
        yield
    finally:
        for name in _variables().keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _variables() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name.startswith("MLFLOW_")}
