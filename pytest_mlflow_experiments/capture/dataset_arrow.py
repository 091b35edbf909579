"""The content of Arrow's tables, in a form that stays the same however they are cut and stored."""

from __future__ import annotations

import sys
from typing import Any, Final

from .dataset_arrays import Content, feed_array

_WIDTHS: Final = (32, 64)


def feed_arrow(content: Content, table: Any) -> None:
    """Bring a table, or a batch of one, into the hash: names, types and values of its columns."""
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
