"""Hash the content of arrays and tables, the same on every platform."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final, Protocol

_BLOCK: Final = 1 << 20

# Whose bytes are their values; others hold pointers, padding or what a platform makes of them.
_PLAIN_KINDS: Final = "biufcmMSU"
_LONG_FLOATS: Final = "gG"


class Content(Protocol):
    """The hash that content is fed to: :class:`.dataset_digest.ContentHash`."""

    def mark(self, *parts: object) -> None:
        """Hash the kind and size of the next part."""

    def update(self, data: Any) -> None:
        """Hash contiguous memory."""

    def element(self, value: Any) -> None:
        """Hash an element of data."""

    def elements(self, values: Iterable[Any]) -> None:
        """Hash several elements."""


def as_array(data: Any) -> Any:
    """Convert data to a numpy array (or a subclass); copy only from a GPU."""
    import numpy as np

    if hasattr(data, "detach") and hasattr(data, "cpu"):
        # By itself, torch refuses tensors with a gradient and those on other devices.
        data = data.detach().cpu()
    return np.asanyarray(data)


def feed_array(content: Content, array: Any) -> None:
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


def _feed_values(content: Content, array: Any, dtype: Any) -> None:
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


def feed_sparse(content: Content, matrix: Any) -> None:
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


def feed_frame(content: Content, frame: Any) -> None:
    """Hash a pandas DataFrame: columns, index and values."""
    content.mark("frame", frame.shape)
    feed_column(content, frame.columns)
    feed_column(content, frame.index)
    for number in range(frame.shape[1]):
        feed_column(content, frame.iloc[:, number])


def feed_series(content: Content, series: Any) -> None:
    """Hash a pandas Series: index, name and values."""
    content.mark("series", len(series))
    feed_column(content, series.index)
    feed_column(content, series)


def feed_column(content: Content, column: Any) -> None:
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


_WIDTHS: Final = (32, 64)


def feed_arrow(content: Content, table: Any) -> None:
    """Hash an Arrow table or record batch: names, types and values of its columns."""
    content.mark("arrow", table.num_rows, table.num_columns)
    for name, column in zip(table.schema.names, table.columns, strict=True):
        content.mark("column", name)
        _feed_column(content, column)


def _feed_column(content: Content, column: Any) -> None:
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
    if types.is_temporal(kind) and kind.bit_width in _WIDTHS:
        column = column.cast(f"int{kind.bit_width}")
    if types.is_integer(column.type) or types.is_floating(column.type):
        feed_array(content, column.to_numpy())
    else:
        content.elements(column.to_pylist())
