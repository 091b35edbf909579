"""Artifacts that a tracking server passes on to where it keeps them."""

from __future__ import annotations

import mimetypes
import posixpath
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, Final, final
from urllib.parse import quote, unquote

from .errors import StoreError
from .server import Server, raise_for_status, timeout

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

_ENDPOINT: Final = "/api/2.0/mlflow-artifacts/artifacts"
_URI: Final = re.compile(r"mlflow-artifacts:/(?://)?((?!/)[^?#;%]+)")
_BLOCK: Final = 2**20


@final
class ServerFiles:
    """The artifacts below a directory of a server, as MLflow's repository has them.

    ``load`` returns MLflow's own, which sends large files in parts.
    """

    def __init__(self, server: Server, root: str, load: Callable[[], ArtifactRepository]) -> None:
        self._server, self._root, self.load = server, root, load

    @classmethod
    def at(
        cls, server: Server, uri: str, load: Callable[[], ArtifactRepository]
    ) -> ServerFiles | None:
        """Return the artifacts at a URI; None if they are elsewhere."""
        found = _URI.fullmatch(uri)
        return None if found is None else cls(server, found[1].rstrip("/"), load)

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """Return what is directly below a directory."""
        below = posixpath.join(self._root, path) if path else self._root
        response = self._server.request("GET", _ENDPOINT, params={"path": below})
        raise_for_status(response)
        found = [
            SimpleNamespace(
                path=posixpath.join(path or "", _checked(one["path"])),
                is_dir=one["is_dir"],
                file_size=int(one["file_size"]) if "file_size" in one else None,
            )
            for one in response.json().get("files", [])
        ]
        # Asked for a file, the server answers with that.
        itself = posixpath.join(path, posixpath.basename(path)) if path else None
        if len(found) == 1 and not found[0].is_dir and found[0].path == itself:
            return []
        return sorted(found, key=lambda one: str(one.path))

    def log_artifacts(self, _local_dir: str, _path: str) -> None:
        """Do nothing: this is called for empty directories, which there are none of here."""

    def put(self, file: IO[bytes], name: str, patience: float, *, is_empty: bool) -> None:
        """Upload a file; unlike MLflow's client, encode its name.

        ``patience`` are seconds to wait for the answer, beyond the usual timeout.
        """
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        response = self._server.request(
            "PUT",
            self._path(name),
            # Without a length, an empty body would be sent in chunks.
            data=b"" if is_empty else file,
            headers={"Content-Type": kind},
            seconds=timeout() + patience,
        )
        raise_for_status(response)

    def fetch(self, path: str, directory: str) -> str | None:
        """Download a file to a directory, and return its path there; None if there is none."""
        top = Path(directory).resolve()
        target = (top / path).resolve()
        if target == top or not target.is_relative_to(top):
            return None
        response = self._server.request("GET", self._path(path), stream=True)
        if 400 <= response.status_code < 500 and response.status_code not in (408, 425, 429):
            response.close()
            return None
        raise_for_status(response)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for block in response.iter_content(_BLOCK):
                file.write(block)
        return str(target)

    def _path(self, name: str) -> str:
        return f"{_ENDPOINT}/{self._root}/{quote(name)}"


def _checked(path: str) -> str:
    """Return a path that a server tells, decoded as MLflow's client does it.

    Raises:
        StoreError: it leads out of the directory.
    """
    for _ in range(10):
        if (decoded := unquote(path)) == path:
            break
        path = decoded
    is_absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()
    if "#" in path or ".." in path.split("/") or is_absolute:
        raise StoreError("Invalid path", "INVALID_PARAMETER_VALUE")
    return path
