"""The schema and the profile of data, in the JSON forms that MLflow's own datasets have.

Written by hand, from types: a test that logs its data must not load MLflow for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from .dataset import is_of
from .dataset_arrays import as_array

Description: TypeAlias = tuple[dict[str, Any] | None, dict[str, Any]]
"""Schema and profile."""

# What pandas keeps as objects; of other values it makes columns of numbers or dates.
_OBJECTS: Final = {
    **dict.fromkeys(("str", "str_"), "string"),
    **dict.fromkeys(("bytes", "bytearray", "bytes_"), "binary"),
    **dict.fromkeys(("datetime", "date", "Timestamp"), "datetime"),
    **{"bool": "boolean", "int": "long", "float": "double"},
}
_ARROW: Final = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "integer"),
    **dict.fromkeys(("int64", "uint32"), "long"),
    **dict.fromkeys(("halffloat", "float"), "float"),
    **dict.fromkeys(("string", "large_string", "string_view"), "string"),
    **dict.fromkeys(("binary", "large_binary", "binary_view"), "binary"),
    **dict.fromkeys(("timestamp", "date32", "date64"), "datetime"),
    **{"bool": "boolean", "double": "double", "null": "any"},
}


def described(data: Any) -> tuple[str | None, str | None]:
    """Return the schema and the profile of data as JSON; None where MLflow has no form for one."""
    try:
        schema, profile = _described(data)
        return _json(schema), _json(profile)
    except Exception:  # noqa: BLE001 - code of the data themselves, for which no test fails
        return None, None


def _described(data: Any) -> Description:
    if isinstance(data, Path):
        return None, _files(data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return None, {"size_bytes": memoryview(data).nbytes}
    if _is_table(data):
        return _frame([data])
    if is_of(data, "pyarrow", "Table") or is_of(data, "pyarrow", "RecordBatch"):
        return _arrow(data)
    if isinstance(data, (list, tuple)):
        if len(data) == 2 and all(map(_is_table, data)):
            return _frame(data)
        if len(data) == 2 and all(map(_is_array, data)):
            return _tensors(*map(as_array, data))
        return None, {"num_elements": len(data)}
    if isinstance(data, Mapping):
        if data and all(is_of(value, "numpy", "ndarray") for value in data.values()):
            return _tensors(data)
        return None, {"num_elements": len(data)}
    if is_of(data, "scipy.sparse", "spmatrix") or is_of(data, "scipy.sparse", "sparray"):
        # It has no array, and the size of one would be that of its zeros too.
        schema = {"mlflow_tensorspec": {"features": _specs(data), "targets": None}}
        return schema, {"features_shape": data.shape, "features_size": data.nnz}
    return _tensors(as_array(data))


def _files(path: Path) -> dict[str, int]:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return {"num_files": len(files), "size_bytes": sum(file.stat().st_size for file in files)}


def _is_table(data: object) -> bool:
    return is_of(data, "pandas", "DataFrame") or is_of(data, "pandas", "Series")


def _is_array(data: object) -> bool:
    return hasattr(type(data), "__array__") and not _is_table(data)


def _frame(parts: Any) -> Description:
    """Describe a table of pandas; features and targets are one table, as in MLflow."""
    profile = {"num_rows": len(parts[0]), "num_elements": sum(int(part.size) for part in parts)}
    columns: list[tuple[object, Any]] = []
    for part in parts:
        series = is_of(part, "pandas", "Series")
        columns += [(part.name, part)] if series else part.items()
    return _colspec([(name, _type(one), one.isna().any()) for name, one in columns]), profile


def _type(column: Any) -> str | None:
    """Return MLflow's type of a column of pandas; None where it has none."""
    if column.dtype.kind == "O" and not hasattr(column, "cat"):
        column = column.infer_objects()
    kind = column.dtype.kind
    if kind == "O":
        values = column.cat.categories if hasattr(column, "cat") else column[~column.isna()]
        kinds = {type(value).__name__ for value in values.to_list()}
        types = {_OBJECTS.get(name) for name in kinds}
        return types.pop() if len(types) == 1 else "any" if not types else None
    size = column.dtype.itemsize
    if kind in "iu":
        signed = kind == "i"
        if size < 4 or (signed and size == 4):
            return "integer"
        return "long" if size < 8 or signed else None
    if kind == "f":
        return "float" if size <= 4 else "double" if size <= 8 else None
    return {"b": "boolean", "M": "datetime"}.get(kind)


def _arrow(table: Any) -> Description:
    columns = []
    for name, column in zip(table.schema.names, table.columns, strict=True):
        kind = column.type
        if str(kind).startswith("dictionary"):
            kind = kind.value_type
        # Without the unit and the zone of a time.
        columns.append((name, _ARROW.get(str(kind).partition("[")[0]), column.null_count))
    size = table.num_rows * table.num_columns
    return _colspec(columns), {"num_rows": table.num_rows, "num_elements": size}


def _colspec(columns: list[tuple[Any, str | None, Any]]) -> dict[str, Any] | None:
    """Return a schema of columns: their names, types, and whether values are missing.

    A schema with a column of no type is none, and names are those of all columns or of none.
    """
    if not columns or any(kind is None for _, kind, _ in columns):
        return None
    if any(name is None for name, _, _ in columns):
        if len(columns) > 1 or columns[0][2]:
            return None
        return {"mlflow_colspec": [{"type": columns[0][1], "required": True}]}
    return {
        "mlflow_colspec": [
            {"type": kind, "name": name, "required": not missing} for name, kind, missing in columns
        ]
    }


def _tensors(features: Any, targets: Any = None) -> Description:
    """Describe arrays, or dicts of arrays by name."""
    profile: dict[str, Any] = {}
    for what, arrays in (("features", features), ("targets", targets)):
        if arrays is None:
            continue
        for attribute in ("shape", "size", "nbytes"):
            profile[f"{what}_{attribute}"] = (
                {name: getattr(array, attribute) for name, array in arrays.items()}
                if isinstance(arrays, Mapping)
                else getattr(arrays, attribute)
            )
    specs = _specs(features), None if targets is None else _specs(targets)
    if specs[0] is None or (targets is not None and specs[1] is None):
        return None, profile
    return {"mlflow_tensorspec": {"features": specs[0], "targets": specs[1]}}, profile


def _specs(arrays: Any) -> str | None:
    """Return the types and shapes of arrays, without the number of their rows."""
    named = arrays.items() if isinstance(arrays, Mapping) else [(None, arrays)]
    specs = []
    for name, array in named:
        if not array.shape:
            return None
        dtype = {"U": "str", "S": "bytes"}.get(array.dtype.char, array.dtype.name)
        tensor = {"dtype": dtype, "shape": (-1, *array.shape[1:])}
        own = {} if name is None else {"name": name}
        specs.append({**own, "type": "tensor", "tensor-spec": tensor})
    return json.dumps(specs)


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, default=str)
