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

from ..records.directory import files_below
from .params import stable_text

_DIGITS: Final = 16
_BLOCK: Final = 1 << 20
_ELEMENTS: Final = 4096
# Whose bytes are their values; others hold pointers, padding or what a platform makes of them.
_PLAIN_KINDS: Final = "biufcmMSU"
_LONG_FLOATS: Final = "gG"
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
            feed_frame(self, data)
        elif is_of(data, "pandas", "Series"):
            feed_series(self, data)
        elif is_of(data, "pandas", "Index"):
            feed_column(self, data)
        elif is_of(data, "pyarrow", "Table", "RecordBatch"):
            feed_arrow(self, data)
        elif is_of(data, "scipy.sparse", "spmatrix", "sparray"):
            feed_sparse(self, data)
        elif hasattr(type(data), "__array__") and not isinstance(data, type):
            feed_array(self, as_array(data))
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
        names = files_below(path)
        self.mark("directory", len(names))
        for name in names:
            self.mark(name)
            self._file(path / name)

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


def as_array(data: Any) -> Any:
    """Convert data to a numpy array (or a subclass); copy only from a GPU."""
    import numpy as np

    if hasattr(data, "detach") and hasattr(data, "cpu"):
        # By itself, torch refuses tensors with a gradient and those on other devices.
        data = data.detach().cpu()
    return np.asanyarray(data)


def feed_array(content: ContentHash, array: Any) -> None:
    """Hash the type, shape and values of an array."""
    import numpy as np

    if isinstance(array, np.ma.MaskedArray):
        content.mark("masked")
        feed_array(content, np.ma.getmaskarray(array))
        # What stands below the mask is no part of the data.
        array = array.filled(np.zeros(1, array.dtype)[0])
    array = np.asarray(array)
    dtype = array.dtype
    if dtype.names:
        content.mark("fields", *dtype.names)
        for name in dtype.names:
            feed_array(content, array[name])
    elif dtype.char in _LONG_FLOATS:
        content.mark("array", "long float", array.shape)
        content.elements(str(value) for value in array.flat)
    elif dtype.kind in _PLAIN_KINDS:
        dtype = dtype.newbyteorder("<")
        content.mark("array", dtype.str, array.shape)
        _feed_values(content, array, dtype)
    elif dtype.kind in "OT":
        content.mark("array", "object", array.shape)
        content.elements(array.flat)
    else:
        # Numbers of other libraries, such as bfloat16.
        content.mark("array", dtype.name, array.shape)
        content.update(array.tobytes())


def _feed_values(content: ContentHash, array: Any, dtype: Any) -> None:
    """Hash values in C order, as ``dtype``, block by block.

    A block is copied only if its memory layout differs.
    """
    import numpy as np

    blocks: Any = np.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_dtypes=[dtype],
        casting="safe",
        order="C",
        buffersize=max(1, _BLOCK // max(1, dtype.itemsize)),
    )
    for block in blocks:
        if not block.size:
            continue
        values = np.ascontiguousarray(block)
        if dtype.kind == "c":
            values = values.view(f"<f{dtype.itemsize // 2}")
        if values.dtype.kind == "f" and (nan := np.isnan(values)).any():
            # Processors differ in which of the many NaN they make.
            values = values.copy()
            values[nan] = np.nan
        content.update(values.view("u1"))


def feed_sparse(content: ContentHash, matrix: Any) -> None:
    """Hash a sparse matrix; its format does not matter, but stored zeros do."""
    import numpy as np

    rows = matrix.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy() if rows is matrix else rows
        rows.sum_duplicates()
    content.mark("sparse", rows.shape)
    feed_array(content, rows.data)
    # How large these numbers may be depends on how the matrix was made.
    for numbers in (rows.indices, rows.indptr):
        _feed_values(content, numbers, np.dtype("<i8"))


def feed_frame(content: ContentHash, frame: Any) -> None:
    """Hash a pandas DataFrame: columns, index and values."""
    content.mark("frame", frame.shape)
    feed_column(content, frame.columns)
    feed_column(content, frame.index)
    for number in range(frame.shape[1]):
        feed_column(content, frame.iloc[:, number])


def feed_series(content: ContentHash, series: Any) -> None:
    """Hash a pandas Series: index, name and values."""
    content.mark("series", len(series))
    feed_column(content, series.index)
    feed_column(content, series)


def feed_column(content: ContentHash, column: Any) -> None:
    """Hash the name and the values of a pandas Series or Index.

    Texts and missing texts have one hash whatever their dtype, which differs between pandas
    releases.
    """
    import numpy as np
    import pandas as pd

    if isinstance(column, pd.MultiIndex):
        content.mark("levels", column.nlevels)
        for level in range(column.nlevels):
            feed_column(content, column.get_level_values(level))
        return
    content.mark("column")
    content.element(column.name)
    dtype = column.dtype
    if dtype.kind == "O" and isinstance(dtype, (np.dtype, pd.StringDtype)):
        values = column.to_numpy(dtype=object)
        missing = np.asarray(column.isna())
        feed_array(content, np.where(missing, None, values) if missing.any() else values)
    elif isinstance(dtype, np.dtype):
        feed_array(content, column.to_numpy())
    elif isinstance(dtype, pd.CategoricalDtype):
        content.mark("categories", dtype.ordered)
        feed_column(content, dtype.categories)
        feed_array(content, np.asarray(column.array.codes))
    elif (plain := getattr(dtype, "numpy_dtype", None)) is not None and plain.kind in "biuf":
        content.mark("nullable")
        feed_array(content, np.asarray(column.isna()))
        feed_array(content, column.to_numpy(dtype=plain, na_value=plain.type(0)))
    else:
        content.mark("extension", dtype, len(column))
        hashes = pd.util.hash_pandas_object(column, index=False, categorize=False)
        feed_array(content, hashes.to_numpy())


def feed_arrow(content: ContentHash, table: Any) -> None:
    """Hash an Arrow table or record batch: names, types and values of its columns."""
    content.mark("arrow", table.num_rows, table.num_columns)
    for name, column in zip(table.schema.names, table.columns, strict=True):
        content.mark("column", name)
        _feed_column(content, column)


def _feed_column(content: ContentHash, column: Any) -> None:
    pa: Any = sys.modules["pyarrow"]
    if not isinstance(column, pa.ChunkedArray):
        column = pa.chunked_array([column])
    types = pa.types
    if types.is_dictionary(column.type):
        content.mark("dictionary")
        column = column.cast(column.type.value_type)
    kind = column.type
    content.mark(kind, len(column), column.null_count)
    if column.null_count:
        # What stands in memory where nothing is, is no part of the data.
        feed_array(content, column.is_null().to_numpy())
        column = column.drop_null()
    if types.is_temporal(kind) and kind.bit_width in (32, 64):
        column = column.cast(f"int{kind.bit_width}")
    if types.is_integer(column.type) or types.is_floating(column.type):
        feed_array(content, column.to_numpy())
    else:
        content.elements(column.to_pylist())
