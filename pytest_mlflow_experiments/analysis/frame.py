"""Make DataFrames whose columns and dtypes don't depend on the data or on pandas' release."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    import pandas as pd

Kind: TypeAlias = Literal[
    "text", "time", "number", "numbers", "count", "rare count", "flag", "rare flag"
]
"""The kind of a column; ``rare`` ones, texts and times may have gaps, a number's gap is NaN."""

Columns: TypeAlias = Mapping[str, tuple[Kind, str]]
"""What columns hold and mean, by their names, in the order of the frame.

Names with a comma between them are columns that mean the same, and ``tags.<name>`` stands for the
columns that begin so, in the order in which they first appear.
"""

Row: TypeAlias = Mapping[str, Any]

_F = TypeVar("_F", bound=Callable[..., Any])

_DTYPES: Mapping[Kind, str] = {
    "text": "string",
    "time": "datetime64[ms, UTC]",
    "number": "float64",
    "numbers": "object",
    "count": "int64",
    "rare count": "Int64",
    "flag": "bool",
    "rare flag": "boolean",
}
_NAME = "<name>"
_NOT_A_TIME = -(2**63)
_WIDTH = 96


def documented(
    columns: Columns, args: Mapping[str, str], raises: Mapping[str, str]
) -> Callable[[_F], _F]:
    """Complete the docstring of a function with the shared text on its columns and arguments."""
    sections = {
        "Columns": {
            f"{name} ({_DTYPES[kind]})": meaning for name, (kind, meaning) in columns.items()
        },
        "Args": args,
        "Raises": raises,
    }

    def complete(function: _F) -> _F:
        texts = [inspect.cleandoc(function.__doc__ or "")]
        texts += [_section(title, items) for title, items in sections.items()]
        function.__doc__ = "\n\n".join(texts)
        return function

    return complete


def _section(title: str, items: Mapping[str, str]) -> str:
    texts = (f"{name}: {meaning}" if meaning else name for name, meaning in items.items())
    lines = (
        textwrap.fill(
            text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False
        )
        for text in texts
    )
    return "\n".join([f"{title}:", *lines])


def make_frame(rows: Sequence[Row], columns: Columns) -> pd.DataFrame:
    """Return a frame of rows, given as dicts by column; missing values become gaps."""
    import pandas as pd

    kinds: dict[str, Kind] = {}
    given = dict.fromkeys(name for row in rows for name in row)
    for names, (kind, _) in columns.items():
        if names.endswith(_NAME):
            prefix = names.removesuffix(_NAME)
            kinds.update((name, kind) for name in given if name.startswith(prefix))
        else:
            kinds.update((name, kind) for name in names.split(", "))
    frame: pd.DataFrame = pd.DataFrame(
        {name: _column([row.get(name) for row in rows], kind) for name, kind in kinds.items()},
        index=pd.RangeIndex(len(rows)),
    )
    return frame


def attributes(source: object, *names: str) -> dict[str, Any]:
    """Return the columns with the same names as attributes of an object, with their values."""
    return {name: getattr(source, name) for listed in names for name in listed.split(", ")}


def prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as columns with a common prefix."""
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
    """Return a column of times from milliseconds since the epoch, without overflow."""
    import numpy as np
    import pandas as pd

    known = [_NOT_A_TIME if value is None else value for value in values]
    naive: pd.Series[Any] = pd.Series(np.array(known, dtype="int64").view("datetime64[ms]"))
    column: pd.Series[Any] = naive.dt.tz_localize("UTC")
    return column
