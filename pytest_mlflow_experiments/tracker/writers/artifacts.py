"""Upload the artifacts of runs file by file, until the store has each of them whole."""

from __future__ import annotations

import mimetypes
import posixpath
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from io import FileIO
from itertools import chain, count
from operator import itemgetter
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeAlias, TypeGuard, TypeVar, final
from urllib.parse import quote, unquote

from ...records.case import named_few
from ...records.tags import NODEID
from ..errors import reason_of
from ..limits import clean_text
from ..local_files import LocalFiles, local_path
from ..retries import briefly, passes, patiently
from ..runs.case import RunData
from ..stand_in import StandIn
from . import Problem

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from requests import Response

    from ..server_files import ServerFiles

P = ParamSpec("P")
T = TypeVar("T")
Files: TypeAlias = Mapping[str, Path | None]
"""Local files by their path among a run's artifacts; None where the file is gone."""

_IN_FLIGHT = 8
_ROUNDS = 3
# As many files in a row could not be uploaded: the store is down, and left alone for some seconds.
_FAILURES = 3
_REST = 10.0
# Bytes a second: a line that is slower than this is none.
_SLOWEST = 200_000
_BEAT = 2.0
_GRACE = 60.0
_BLOCK = 2**20
# MLflow's client asks the server whether larger files can be sent in parts.
_IN_PARTS = 500 * 2**20


class ArtifactsError(Exception):
    """The store refuses an artifact, or it must not be sent; waiting does not help."""


Repository: TypeAlias = "ArtifactRepository | LocalFiles | ServerFiles"


def repository_at(client: MlflowClient, uri: str) -> Repository:
    """Return the artifact repository at a URI."""
    if isinstance(client, StandIn):
        if (files := client.files_at(uri)) is not None:
            return files
        client.mlflow  # noqa: B018 - to be loaded as it usually is
    elif (path := local_path(uri)) is not None:
        return LocalFiles(path)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri)


def run_repository(client: MlflowClient, run_id: str) -> Repository:
    """Return the artifact repository of a run, which MLflow's client keeps for later calls."""
    if isinstance(client, StandIn):
        return repository_at(client, client.get_run(run_id).info.artifact_uri)
    return client._tracking_client._get_artifact_repo(run_id)


@final
class Uploader:
    """Uploads files to artifact repositories, several at a time where these are remote.

    ``count`` is called with what to add to fields of the session's state, ``note`` with notes.
    """

    def __init__(
        self,
        count: Callable[..., None] = lambda **more: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._count, self._note = count, note
        self._pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="artifacts")
        self._failures, self._rests_until = 0, 0.0
        self._last_error: Exception | None = None

    def upload_run(
        self, repository: Callable[[], Repository], run: RunData, *, resumed: bool
    ) -> Problem | None:
        """Upload a run's artifacts; of a run that already existed, what is not there whole.

        A failure is returned and not raised: an unavailable artifact store must not prevent the
        upload of metrics.
        """
        if not run.has_artifacts:
            return None
        case = run.tags[NODEID]
        # MLflow's clients name an artifact as its file, so texts are files too.
        try:
            with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as directory:
                texts = {name: Path(directory, name) for name in run.texts}
                for name, path in texts.items():
                    path.write_text(run.texts[name], encoding="utf-8")

                def files() -> Files:
                    return {**local_files(run), **texts}

                return self.upload(case, repository, files, run.artifacts, resumed=resumed)
        except OSError as error:  # the disk of temporary files is full
            return Problem(case, "artifacts", reason_of(error), passing=passes(error))

    def upload(
        self,
        case: str,
        repository: Callable[[], Repository],
        files: Callable[[], Files],
        directory: Path | None = None,
        *,
        resumed: bool = False,
    ) -> Problem | None:
        """Upload files, and return what the store did not take.

        A file counts as there if its upload ended well, or if it is listed with its full size: no
        store of MLflow's tells a digest. A store that tells no sizes, or does not list what it has,
        gets the file again.

        Args:
            case: whose files they are, for the problem.
            repository: opens the store.
            files: returns the files.
            directory: where they are; its empty directories are made too.
            resumed: whether some may be there already.
        """
        try:
            wanted = files()
            self._count(all_files=len(wanted))
            store = self._ask(repository)
            names = stored_names(store, wanted)
            for path, name in names.items():
                if path != name:
                    self._note(f"No artifact on the server can be called {path!r}: it is {name!r}")
            there = (self._sizes(store, names.values()) if resumed else None) or {}
            todo = {
                name: source
                for path, name in names.items()
                if (source := wanted[path]) and not _is_whole(source, name, there, unknown=False)
            }
            gone = [path for path, source in wanted.items() if source is None]
            lost = [path for path in gone if names[path] not in there]
            self._count(files=len(wanted) - len(todo) - len(lost))
            failed = self._upload_all(store, todo)
            make_empty: Callable[[str, str], None] = store.log_artifacts
            for name, empty in _empty_directories(directory).items():
                make_empty(str(empty), name)
        except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
            return Problem(case, "artifacts", reason_of(error), passing=passes(error))
        if failed:
            name, why = min(failed.items(), key=itemgetter(0))
            reason = f"{len(failed)} of {len(wanted)} files, as {name}: {reason_of(why)}"
            return Problem(case, "artifacts", reason, passing=any(map(passes, failed.values())))
        return Problem(case, "lost", named_few(sorted(lost), 5)) if lost else None

    def _ask(self, action: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the store answers, unless it is down and left alone."""
        self._raise_while_down()
        try:
            return briefly(action, *args, **kwargs)
        except Exception as error:
            self._count_failure(error)
            raise

    @property
    def _is_down(self) -> bool:
        return self._failures >= _FAILURES

    def _raise_while_down(self) -> None:
        if self._is_down and self._last_error and time.monotonic() < self._rests_until:
            raise self._last_error

    def _count_failure(self, error: Exception) -> None:
        if passes(error):
            self._failures, self._last_error = self._failures + 1, error
            self._rests_until = time.monotonic() + _REST

    def _sizes(
        self, repository: Repository, names: Collection[str]
    ) -> dict[str, int | None] | None:
        """Return the size of each file beside the named ones; None if the store does not list."""
        above = {parent for name in names for parent in _parents(name)}
        found: dict[str, int | None] = {}
        directories = [""]
        try:
            for directory in directories:
                listed: Callable[[str | None], list[FileInfo]] = repository.list_artifacts
                for info in self._ask(listed, directory or None):
                    path = info.path.rstrip("/")
                    if not info.is_dir:
                        found[path] = info.file_size
                    elif path in above:
                        directories.append(path)
        except Exception as error:
            if passes(error):
                raise
            return None
        return found

    def _upload_all(
        self, repository: Repository, files: Mapping[str, Path]
    ) -> Mapping[str, Exception]:
        """Upload files by their names in the store; return the errors of those that failed."""
        failed: dict[str, Exception] = {}
        todo = files
        for _ in range(_ROUNDS):
            in_turn = len(todo) == 1 or hasattr(repository, "artifact_dir")
            upload = partial(self._try, repository)
            ended = (map if in_turn else self._pool.map)(upload, todo.values(), todo)
            results = dict(zip(todo, ended, strict=True))
            failed = {name: got for name, got in results.items() if isinstance(got, Exception)}
            failed = self._without_arrived(repository, todo, failed)
            # What broke off may still arrive at the server, and replace what was sent after it.
            unsure = [name for name, got in results.items() if got == "retried"]
            there = self._sizes(repository, unsure) if unsure else None
            if there is None:
                return failed
            todo = {name: todo[name] for name in unsure if not _is_whole(todo[name], name, there)}
            if failed or not todo:
                break
        return failed | {name: ArtifactsError("only a part of it arrives") for name in todo}

    def _without_arrived(
        self,
        repository: Repository,
        files: Mapping[str, Path],
        failed: Mapping[str, Exception],
    ) -> dict[str, Exception]:
        """Return the failed uploads without those of which only the answer got lost."""
        unsure = [name for name, error in failed.items() if passes(error)]
        there: Mapping[str, int | None] = {}
        if unsure and not self._is_down:
            with suppress(Exception):
                there = self._sizes(repository, unsure) or {}
        arrived = {name for name in unsure if _is_whole(files[name], name, there, unknown=False)}
        self._count(files=len(arrived))
        return {name: error for name, error in failed.items() if name not in arrived}

    def _try(
        self, repository: Repository, source: Path, name: str
    ) -> Literal["at once", "retried"] | Exception:
        try:
            return self._upload_one(repository, source, name)
        except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
            return error

    def _upload_one(
        self, repository: Repository, source: Path, name: str
    ) -> Literal["at once", "retried"]:
        self._raise_while_down()
        calls = 0

        def put() -> None:
            nonlocal calls
            calls += 1
            self._put(repository, source, name)

        # A long upload that breaks off late is worth a retry too.
        patience = patiently.patience + source.stat().st_size / _SLOWEST
        most = 1 if self._is_down else 3 if _is_local(repository) else patiently.calls
        try:
            replace(patiently, calls=most, patience=patience)(put)
        except Exception as error:
            self._count_failure(error)
            raise
        self._failures = 0
        self._count(files=1)
        return "at once" if calls == 1 else "retried"

    def _put(self, repository: Repository, source: Path, name: str) -> None:
        size = source.stat().st_size
        # After the last byte the server may have to pass the file on.
        patience = size / _SLOWEST
        if _is_servers(repository) and size >= _IN_PARTS:
            repository = repository.load()
        if _is_servers(repository):
            with _CountedFile(source, self._count) as file, self._beating(patience):
                repository.put(file, name, patience, is_empty=not size)
        elif _is_local(repository):
            with _CountedFile(source, self._count) as file:
                _copy(file, Path(repository.artifact_dir, name))
        elif _sends_itself(repository) and not (
            source.name == posixpath.basename(name) and _in_parts(repository, source)
        ):
            from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

            usual: Callable[[], float] = MLFLOW_HTTP_REQUEST_TIMEOUT.get
            with _CountedFile(source, self._count) as file, self._beating(patience):
                _put(repository, file, name, usual() + patience)
        else:
            with self._beating(_GRACE + patience):
                log: Callable[..., None] = getattr(repository, "log_artifact")  # noqa: B009
                log(str(source), posixpath.dirname(name) or None)

    @contextmanager
    def _beating(self, limit: float) -> Iterator[None]:
        """Count as progress that a library is at work for us, for at most ``limit`` seconds."""
        ended, deadline = threading.Event(), time.monotonic() + limit

        def beat() -> None:
            while not ended.wait(_BEAT) and time.monotonic() < deadline:
                self._count(beats=1)

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            ended.set()


def local_files(run: RunData) -> Files:
    """Return the files below the directory of a run's artifacts, and those that should be there.

    Raises:
        ArtifactsError: a link leads out of the directory.
    """
    root = run.artifacts
    if root is None:
        return {}
    _check_links(root)
    # A journal from elsewhere may name anything; nothing of that can be below the directory.
    kept = (path for path in run.artifact_names if not _leads_out(PureWindowsPath(path)))
    files: dict[str, Path | None] = dict.fromkeys(sorted(kept))
    for path in sorted(root.rglob("*")):
        if path.is_file():
            files[path.relative_to(root).as_posix()] = path
    return files


def _leads_out(path: PureWindowsPath) -> bool:
    return bool(path.drive or path.root) or ".." in path.parts


def _check_links(directory: Path) -> None:
    """Refuse links out of the directory: the journal may come from an untrusted source.

    Raises:
        ArtifactsError: a link leads out of the directory.
    """
    root = directory.parent.resolve() / directory.name
    for path in (directory, *directory.rglob("*")):
        if not path.resolve().is_relative_to(root):
            raise ArtifactsError(f"{path.name} is a link out of the session's directory")


def _empty_directories(root: Path | None) -> Mapping[str, Path]:
    inner = () if root is None else (path for path in root.rglob("*") if path.is_dir())
    empty = (path for path in inner if not any(path.iterdir()))
    return {path.relative_to(root or "").as_posix(): path for path in empty}


_REFUSED = re.compile(r"[#\\\x00-\x1f\x7f]")


def stored_names(repository: Repository, paths: Collection[str]) -> dict[str, str]:
    """Return the name in the store for each path; MLflow's server does not take all of them."""
    if not _is_http(repository) and not _is_servers(repository):
        return dict(zip(paths, paths, strict=True))
    names = {path: _REFUSED.sub("_", clean_text(path)) for path in paths}
    # The server decodes names once more than they were encoded.
    names |= {path: name.replace("%", "_") for path, name in names.items() if unquote(name) != name}
    taken = {path for path, name in names.items() if path == name}
    for path in sorted(names.keys() - taken):
        stem, suffix = posixpath.splitext(names[path])
        numbered = (f"{stem}_{number}{suffix}" for number in count(2))
        names[path] = next(free for free in chain([names[path]], numbered) if free not in taken)
        taken.add(names[path])
    return names


def _is_whole(
    source: Path, name: str, sizes: Mapping[str, int | None], *, unknown: bool = True
) -> bool:
    """Return whether a file is listed with its full size; ``unknown`` if no size is told."""
    size = source.stat().st_size
    # Of an empty file, MLflow's server tells no size.
    found = sizes.get(name, -1)
    return (unknown or not size) if found is None else found == size


def _parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


@final
class _CountedFile(FileIO):
    """A file that counts the bytes that are read of it."""

    def __init__(self, path: Path, count: Callable[..., None]) -> None:
        super().__init__(path)
        self._count = count

    def read(self, size: int | None = -1) -> bytes:
        """Read, and count what was read."""
        data = super().read(-1 if size is None else size) or b""
        self._count(uploaded=len(data))
        return data


def _is_local(repository: Repository) -> TypeGuard[LocalFiles]:
    # MLflow's own kind, but nothing that is derived from it.
    return type(repository).__name__ in ("LocalFiles", "LocalArtifactRepository")


def _is_servers(repository: Repository) -> TypeGuard[ServerFiles]:
    return type(repository).__name__ == "ServerFiles"


def _is_http(repository: Repository) -> TypeGuard[HttpArtifactRepository]:
    loaded = sys.modules.get("mlflow.store.artifact.http_artifact_repo")
    return loaded is not None and isinstance(repository, loaded.HttpArtifactRepository)


def _sends_itself(repository: Repository) -> TypeGuard[HttpArtifactRepository]:
    """Return whether it is a repository of MLflow's server that uploads as MLflow's own does."""
    if not _is_http(repository):
        return False
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    return type(repository).log_artifact is HttpArtifactRepository.log_artifact


def _copy(file: FileIO, target: Path) -> None:
    # Releases of MLflow before 3.13 write in place, and so leave half a file where the disk is full
    # or the process killed; newer ones keep our own permissions. Listings hide this prefix.
    # What the system has not written to the disk when the power fails is beyond this.
    digest = sha256(target.name.encode("utf-8", "surrogateescape")).hexdigest()
    part = target.with_name(f".artifact.uploading.{digest[:16]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("wb") as copy:
            shutil.copyfileobj(file, copy, _BLOCK)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _in_parts(repository: HttpArtifactRepository, source: Path) -> bool:
    """Return whether MLflow's client would upload this file in parts, past the server."""
    from mlflow.environment_variables import MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD

    decide = getattr(repository, "_should_multipart_upload", None)
    is_on: Callable[[], bool] = MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD.get
    return bool(decide(str(source)) if decide else is_on())


def _put(repository: HttpArtifactRepository, file: _CountedFile, name: str, timeout: float) -> None:
    """Upload a file as MLflow's client does, which does not encode its name."""
    from mlflow.utils.request_utils import augmented_raise_for_status
    from mlflow.utils.rest_utils import http_request

    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    request: Callable[..., Response] = http_request
    answer = request(
        repository._host_creds,
        f"/{quote(name)}",
        "PUT",
        # Without a length, an empty body would be sent in chunks.
        data=file if Path(str(file.name)).stat().st_size else b"",
        extra_headers={"Content-Type": kind},
        timeout=timeout,
    )
    check: Callable[[Response], None] = augmented_raise_for_status
    check(answer)
