"""Artifacts in a directory of this machine, as MLflow keeps them there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, final
from urllib.parse import urlsplit
from urllib.request import url2pathname

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", ".")


def local_path(uri: str) -> str | None:
    """Return the path that MLflow writes artifacts to for a URI; None if it is not a local one."""
    parts = urlsplit(uri)
    if len(parts.scheme) < 2:  # none, or a drive of Windows
        return url2pathname(uri)
    if parts.scheme != "file" or not (parts.hostname or ".").startswith(_LOCAL_HOSTS):
        return None
    return None if parts.netloc and os.name == "nt" else url2pathname(parts.path)


@final
class LocalFiles:
    """The artifacts in a directory, as MLflow's repository of local files has them."""

    def __init__(self, artifact_dir: str) -> None:
        self.artifact_dir = artifact_dir

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """Return what is directly below a directory; what is being uploaded is not there yet."""
        directory = Path(self.artifact_dir, path or "")
        found = sorted(directory.iterdir()) if directory.is_dir() else []
        return [
            SimpleNamespace(
                path=one.relative_to(self.artifact_dir).as_posix(),
                is_dir=one.is_dir(),
                file_size=None if one.is_dir() else one.stat().st_size,
            )
            for one in found
            if not one.name.startswith(".artifact.uploading.")
        ]

    def log_artifacts(self, _local_dir: str, path: str) -> None:
        """Make a directory; files are copied one by one."""
        Path(self.artifact_dir, path).mkdir(parents=True, exist_ok=True)

    def fetch(self, path: str, directory: str) -> str | None:
        """Copy a file to a directory and return its path there; None if there is no such file."""
        root = Path(self.artifact_dir).resolve()
        source = (root / path).resolve()
        if not source.is_relative_to(root) or not source.is_file():
            return None
        target = Path(directory, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(source, target))
