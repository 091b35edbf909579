"""Cache rewritten modules on disk, in files next to pytest's own cache files.

A file holds a header (magic number, hash of the source, digest of everything else that the code
depends on, hash of the code) and the marshalled code. If anything in it is wrong, the module is
rewritten.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import final

import pytest

from . import names, origins, places, recorder, sites, transform

_HASH_LENGTH = 8


@final
class CodeCache:
    """The cache of rewritten code, for one set of settings.

    ``settings`` are what the code depends on besides its source and the versions of this package
    and pytest.
    """

    def __init__(self, *settings: object) -> None:
        makers = (names, origins, places, recorder, sites, transform)
        files = [*(Path(str(module.__file__)) for module in makers), origins.WORDS]
        sources = [_hash(file.read_bytes()) for file in files]
        self._settings = (pytest.__version__, __debug__, *sources, *settings)
        version = "".join(filter(str.isalnum, pytest.__version__))
        self._tag = f"mlflowpytest{version}"

    def read(self, file: Path, source: bytes) -> CodeType | None:
        """Return the cached code of ``file`` if it was made from ``source``."""
        path = self._path(file)
        if path is None:
            return None
        header = self._header(file, source)
        try:
            data = path.read_bytes()
            payload = memoryview(data)[len(header) + _HASH_LENGTH :]
            if data[: len(header) + _HASH_LENGTH] != header + _hash(payload):
                return None
            code = marshal.loads(payload)
        except (OSError, ValueError, EOFError, TypeError):
            return None
        return code if isinstance(code, CodeType) else None

    def write(self, file: Path, source: bytes, code: CodeType) -> None:
        """Cache the code of ``file``, if bytecode may be written."""
        path = self._path(file)
        if path is None or sys.dont_write_bytecode:
            return
        payload = marshal.dumps(code)
        data = self._header(file, source) + _hash(payload) + payload
        # Other processes may write the same file, or read it meanwhile.
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError:
            # As in a read-only directory.
            with suppress(OSError):
                partial.unlink()

    def _path(self, file: Path) -> Path | None:
        try:
            return Path(importlib.util.cache_from_source(str(file), optimization=self._tag))
        except NotImplementedError:
            return None

    def _header(self, file: Path, source: bytes) -> bytes:
        # The path is in the code, as the place of each comparison.
        digest = _hash(repr((str(file), *self._settings)).encode())
        return importlib.util.MAGIC_NUMBER + _hash(source) + digest


def _hash(data: bytes | memoryview) -> bytes:
    return importlib.util.source_hash(data)
