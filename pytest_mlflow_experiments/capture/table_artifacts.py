"""Tables in MLflow's own JSON layout: ``{"columns": [...], "data": [[...], ...]}``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any


def add_rows(data: Any, target: Path | None) -> None:
    """Write the rows of ``data`` to ``target``, after those that it already holds.

    Columns that only one of the two has are filled with null; NaN and the infinities become null
    too. With ``target`` None the data are only checked.

    Raises:
        TypeError: ``data`` is neither a dict nor a DataFrame.
        ValueError: its columns differ in length.
    """
    columns, rows = _split(data)
    if target is None:
        return
    if target.exists():
        kept = json.loads(target.read_text(encoding="utf-8"))
        names = [*kept["columns"], *(name for name in columns if name not in kept["columns"])]
        rows = _aligned(kept["columns"], kept["data"], names) + _aligned(columns, rows, names)
        columns = names
    target.write_text(json.dumps({"columns": columns, "data": rows}), encoding="utf-8")


def plain(value: Any, *, finite: bool = False) -> Any:
    """Convert ``value`` to JSON's types: numpy's to numbers and lists, unknown ones to text.

    With ``finite``, NaN and the infinities become None.
    """
    if hasattr(value, "tolist"):
        if getattr(getattr(value, "dtype", None), "kind", None) in ("m", "M"):
            # Dates of numpy; as a list they would be numbers of nanoseconds.
            value = value.astype(str)
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return None if finite and not isfinite(value) else float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {_plain_key(key): plain(item, finite=finite) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, finite=finite) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _plain_key(key: object) -> object:
    return key if key is None or type(key) in (str, int, float, bool) else str(key)


def _split(data: Any) -> tuple[list[str], list[list[Any]]]:
    if isinstance(data, Mapping):
        columns = {str(name): _column(values) for name, values in data.items()}
        lengths = {name: len(cells) for name, cells in columns.items() if isinstance(cells, list)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"mlflow_case.log_table: columns differ in length: {lengths}")
        height = next(iter(lengths.values()), 1)
        filled = [
            cells if isinstance(cells, list) else [cells] * height for cells in columns.values()
        ]
        return list(columns), [list(row) for row in zip(*filled, strict=True)]
    if hasattr(data, "to_json") and hasattr(data, "columns"):
        table = _pandas_json(data, orient="split", index=False)
        return [str(name) for name in table["columns"]], table["data"]
    raise TypeError(
        f"mlflow_case.log_table: expected a dict or a pandas DataFrame, got {type(data).__name__}"
    )


def _column(values: Any) -> Any:
    """Return the cells of a column as a list, or a single value for every row."""
    if hasattr(values, "to_json"):
        return _pandas_json(values, orient="values")
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)):
        values = values if hasattr(values, "tolist") else list(values)
    return plain(values, finite=True)


def _pandas_json(data: Any, **layout: Any) -> Any:
    text = data.to_json(date_format="iso", double_precision=15, default_handler=str, **layout)
    return json.loads(text)


def _aligned(columns: list[str], rows: list[list[Any]], names: list[str]) -> list[list[Any]]:
    return [[dict(zip(columns, row, strict=True)).get(name) for name in names] for row in rows]
