"""DataFrames whose columns and dtypes are the same whatever is in them, on any pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

Kind: TypeAlias = Literal[
    "text", "time", "number", "numbers", "count", "rare count", "flag", "rare flag"
]
"""What a column holds; ``rare`` ones, texts and times may have gaps, and a number's gap is NaN."""

Row: TypeAlias = Mapping[str, Any]

_DTYPES: Mapping[Kind, str] = {
    "number": "float64",
    "numbers": "object",
    "count": "int64",
    "rare count": "Int64",
    "flag": "bool",
    "rare flag": "boolean",
}
_NOT_A_TIME = -(2**63)


def make_frame(
    rows: Sequence[Row],
    columns: Mapping[str, Kind],
    prefixes: Mapping[str, Kind] | None = None,
) -> pd.DataFrame:
    """Return a frame of rows; what a row lacks is a gap.

    Args:
        rows: values by the names of columns.
        columns: the columns that there always are, in their order.
        prefixes: what the names of further columns begin with, in the order of the groups; a group
            is in the order in which its columns first appear.
    """
    import pandas as pd

    kinds = dict(columns)
    further = dict.fromkeys(name for row in rows for name in row if name not in columns)
    for prefix, kind in (prefixes or {}).items():
        kinds.update((name, kind) for name in further if name.startswith(prefix))
    frame: pd.DataFrame = pd.DataFrame(
        {name: _column([row.get(name) for row in rows], kind) for name, kind in kinds.items()},
        index=pd.RangeIndex(len(rows)),
    )
    return frame


def prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as columns of a group."""
    return {f"{prefix}{name}": value for name, value in values.items()}


def _column(values: Sequence[Any], kind: Kind) -> pd.Series[Any]:
    import pandas as pd

    if kind == "time":
        return _times(values)
    # Other storages of texts refuse half of a surrogate pair, which a test may well have logged.
    dtype = pd.StringDtype("python") if kind == "text" else _DTYPES[kind]
    column: pd.Series[Any] = pd.Series(values, dtype=dtype)
    return column


def _times(values: Iterable[int | None]) -> pd.Series[Any]:
    """Return a column of times, from milliseconds since the epoch; so none overflows."""
    import numpy as np
    import pandas as pd

    known = [_NOT_A_TIME if value is None else value for value in values]
    naive: pd.Series[Any] = pd.Series(np.array(known, dtype="int64").view("datetime64[ms]"))
    column: pd.Series[Any] = naive.dt.tz_localize("UTC")
    return column
