"""Digests of data: the same content has the same digest in every process and on every platform.

Floats are compared by their bits (all NaN are one), so data that is recomputed may have another
digest on another kind of processor. Libraries are used only if a test has loaded them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final, final

from . import dataset_content
from .params import stable_text

_DIGITS: Final = 16
_BLOCK: Final = 1 << 20
_ELEMENTS: Final = 4096
_SCALARS: Final = frozenset({type(None), bool, int, float, complex, str})


def dataset_name(data: object) -> str:
    """Return the name of data that have one (an MLflow dataset), or ``dataset``."""
    name = getattr(data, "name", None) if own_digest(data) is not None else None
    return name if isinstance(name, str) and name else "dataset"


def dataset_digest(data: object) -> str:
    """Return the digest of data: 16 hexadecimal digits, or a dataset's own one.

    Data are datasets of MLflow's (anything whose ``digest`` is a text); arrays of numpy and what
    turns into one (``__array__``: tensors and the like); tables, series and indexes of pandas;
    tables and batches of Arrow; scipy's sparse matrices; bytes; files and directories, as a
    ``pathlib.Path``; lists, tuples and dicts of these, also with texts and numbers in them.

    Raises:
        TypeError: it is something else.
        OSError: a file can't be read.
    """
    if (own := own_digest(data)) is not None:
        return own
    if isinstance(data, str):
        raise TypeError(
            "a text may be a path or the data themselves: expected pathlib.Path(...) for what is "
            f"in a file or directory, or [text] for the text, got {data[:80]!r}"
        )
    content = ContentHash()
    if not content.feed(data):
        raise TypeError(
            "expected an array, a tensor, a table of pandas, bytes, a pathlib.Path, a dataset of "
            f"mlflow.data, or a list, tuple or dict of these, got {_type_name(data)}"
        )
    return content.digest()[: _DIGITS // 2].hex()


def joined_digest(digests: Iterable[str]) -> str:
    """Join digests, in order, to one; a single one stays as it is."""
    first, *others = digests
    if not others:
        return first
    return sha256(",".join([first, *others]).encode()).hexdigest()[:_DIGITS]


@final
class ContentHash:
    """A hash of content; each part is preceded by its kind and size, to avoid collisions."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = sha256()

    def digest(self) -> bytes:
        """Return the digest of everything hashed so far."""
        return self._hash.digest()

    def mark(self, *parts: object) -> None:
        """Hash the kind and size of the next part."""
        text = "".join(f"{len(part)}:{part}" for part in map(str, parts))
        self.update(f"{text};".encode(errors="surrogatepass"))

    def update(self, data: Any) -> None:
        """Hash contiguous memory, after a mark with its size."""
        self._hash.update(data)

    def feed(self, data: Any) -> bool:
        """Hash data; return False if they are of no supported type.

        Raises:
            TypeError: they contain something of no supported type.
        """
        if isinstance(data, (list, tuple)):
            self.mark("sequence", len(data))
            self.elements(data)
        elif isinstance(data, Mapping):
            self._mapping(data)
        elif isinstance(data, (bytes, bytearray, memoryview)):
            view = memoryview(data)
            self.mark("bytes", view.nbytes)
            self.update(view if view.c_contiguous else view.tobytes())
        elif isinstance(data, Path):
            self._path(data)
        elif (own := own_digest(data)) is not None:
            self.mark("digest", own)
        elif is_of(data, "pandas", "DataFrame"):
            dataset_content.feed_frame(self, data)
        elif is_of(data, "pandas", "Series"):
            dataset_content.feed_series(self, data)
        elif is_of(data, "pandas", "Index"):
            dataset_content.feed_column(self, data)
        elif is_of(data, "pyarrow", "Table", "RecordBatch"):
            dataset_content.feed_arrow(self, data)
        elif is_of(data, "scipy.sparse", "spmatrix", "sparray"):
            dataset_content.feed_sparse(self, data)
        elif hasattr(type(data), "__array__") and not isinstance(data, type):
            dataset_content.feed_array(self, dataset_content.as_array(data))
        else:
            return False
        return True

    def element(self, value: Any) -> None:
        """Hash an element of data, which may also be a text, a number, a date or the like.

        Raises:
            TypeError: the value has neither content nor a stable text.
        """
        kind = type(value)
        if kind in _SCALARS:
            self.mark(kind.__name__, value)
        elif not self.feed(value):
            text = stable_text(value)
            if text is None:
                raise TypeError(
                    f"no digest of data that hold {_type_name(value)}: nothing of it is known to "
                    "be the same in another process"
                )
            self.mark(kind.__name__, text)

    def elements(self, values: Iterable[Any]) -> None:
        """Hash the elements of a list, or of an array of objects."""
        rest = iter(values)
        while chunk := list(islice(rest, _ELEMENTS)):
            # Such columns are long, and one value after the other takes several times as long.
            kinds = set(map(type, chunk))
            if kinds == {str}:
                self.mark("texts", *map(len, chunk))
                self.update("".join(chunk).encode(errors="surrogatepass"))
            elif kinds <= _SCALARS and str not in kinds:
                self.mark("numbers", ",".join(map(repr, chunk)))
            else:
                for value in chunk:
                    self.element(value)

    def _mapping(self, data: Mapping[Any, Any]) -> None:
        """Hash a dict; the order of its keys does not matter, as for equality."""
        items = []
        for key, value in data.items():
            content = ContentHash()
            content.element(key)
            items.append((content.digest(), value))
        self.mark("mapping", len(items))
        for digest, value in sorted(items, key=lambda item: item[0]):
            self.update(digest)
            self.element(value)

    def _path(self, path: Path) -> None:
        """Hash a file's content, or all files in a directory with their names.

        The name of the path itself is not hashed.
        """
        if not path.is_dir():
            self._file(path)
            return
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*")}
        names = sorted(name for name, file in files.items() if file.is_file())
        self.mark("directory", len(names))
        for name in names:
            self.mark(name)
            self._file(files[name])

    def _file(self, path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            self.mark("bytes", os.fstat(file.fileno()).st_size)
            while block := file.read(_BLOCK):
                self.update(block)


def own_digest(data: object) -> str | None:
    """Return the ``digest`` of an MLflow dataset; None for other data."""
    # Looked for where it is declared: a column of a table, and a mock, have any attribute.
    if not hasattr(type(data), "digest") and "digest" not in getattr(data, "__dict__", ()):
        return None
    digest = getattr(data, "digest", None)
    return digest if isinstance(digest, str) and digest else None


def is_of(data: object, module: str, *names: str) -> bool:
    """Return whether data are of one of a module's classes; if so, the module is loaded."""
    kinds = (getattr(sys.modules.get(module), name, None) for name in names)
    return any(isinstance(kind, type) and isinstance(data, kind) for kind in kinds)


def _type_name(data: object) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")
