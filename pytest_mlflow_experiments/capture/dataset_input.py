"""Describe the data that a test logs as MLflow describes datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..records import DatasetInput
from ..records.tags import SOURCE_NAME, SOURCE_TYPE
from .dataset_digest import as_array, dataset_name, is_of, own_digest
from .secrets import masked_input

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
    """Return the schema and the profile of data as JSON; None if MLflow has no form for it."""
    try:
        schema, profile = _described(data)
        text = None if schema is None else json.dumps(schema, default=str)
        return text, json.dumps(profile, default=str)
    except Exception:  # noqa: BLE001 - code of the data themselves, for which no test fails
        return None, None


def _described(data: Any) -> Description:
    if isinstance(data, Path):
        return None, _files(data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return None, {"size_bytes": memoryview(data).nbytes}
    if _is_table(data):
        return _frame([data])
    if is_of(data, "pyarrow", "Table", "RecordBatch"):
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
    if is_of(data, "scipy.sparse", "spmatrix", "sparray"):
        # It has no array, and the size of one would be that of its zeros too.
        schema = {"mlflow_tensorspec": {"features": _specs(data), "targets": None}}
        return schema, {"features_shape": data.shape, "features_size": data.nnz}
    return _tensors(as_array(data))


def _files(path: Path) -> dict[str, int]:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return {"num_files": len(files), "size_bytes": sum(file.stat().st_size for file in files)}


def _is_table(data: object) -> bool:
    return is_of(data, "pandas", "DataFrame", "Series")


def _is_array(data: object) -> bool:
    return hasattr(type(data), "__array__") and not _is_table(data)


def _frame(parts: Any) -> Description:
    """Describe a pandas DataFrame; features and targets are one table, as in MLflow."""
    profile = {"num_rows": len(parts[0]), "num_elements": sum(int(part.size) for part in parts)}
    columns: list[tuple[object, Any]] = []
    for part in parts:
        columns += [(part.name, part)] if part.ndim == 1 else part.items()
    return _colspec([(name, _type(one), one.isna().any()) for name, one in columns]), profile


def _type(column: Any) -> str | None:
    """Return MLflow's type of a pandas column, or None if it has none."""
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

    It is None if a column has no type. Either all columns have names or none has.
    """
    if not columns or any(kind is None for _, kind, _ in columns):
        return None
    colspec = [
        {"type": kind, "name": name, "required": not missing} for name, kind, missing in columns
    ]
    if any(column["name"] is None for column in colspec):
        if len(colspec) > 1 or not colspec[0]["required"]:
            return None
        del colspec[0]["name"]
    return {"mlflow_colspec": colspec}


def _tensors(features: Any, targets: Any = None) -> Description:
    """Describe arrays, or dicts of arrays by name."""
    arrays = {"features": features} | ({} if targets is None else {"targets": targets})
    profile: dict[str, Any] = {}
    for what, array in arrays.items():
        for attribute in ("shape", "size", "nbytes"):
            profile[f"{what}_{attribute}"] = (
                {name: getattr(one, attribute) for name, one in array.items()}
                if isinstance(array, Mapping)
                else getattr(array, attribute)
            )
    specs = {what: _specs(array) for what, array in arrays.items()}
    if None in specs.values():
        return None, profile
    return {"mlflow_tensorspec": {**specs, "targets": specs.get("targets")}}, profile


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


_NAME_LENGTH: Final = 500
_DIGEST_LENGTH: Final = 36
_TYPE_LENGTH: Final = 36

MAX_TEXT: Final = 32_000
"""MLflow takes 65,535 characters and more, but each case has the text in its line."""

_WITH_FILES: Final = json.dumps({"holds_files": True})
"""The source, until the test replaces it, of data that are no file but contain some."""


def dataset_input(
    data: Any, digest: str, *, name: str | None = None, context: str | None = None
) -> tuple[DatasetInput, list[str]]:
    """Describe data as a dataset, with notes of what had to be left out.

    Without ``name``, it is the dataset's own one, a file's name, or ``dataset``.
    """
    own = _own_fields(data)
    own_name = data.name if isinstance(data, Path) and data.name else dataset_name(data)
    shown = _short(name or own_name, _NAME_LENGTH)
    notes: list[str] = []

    def kept(what: str, text: str | None) -> str | None:
        if text is not None and len(text) > MAX_TEXT:
            notes.append(
                f"dataset {shown!r}: its {what} is left out, for it has {len(text):,} characters"
            )
            return None
        return text

    if own is None:
        schema, profile = described(data)
        source = _WITH_FILES if _has_paths(data) else ""
        own = {"source_type": "code", "source": source, "schema": schema, "profile": profile}
        if isinstance(data, Path):
            own |= {"source_type": "local", "source": json.dumps({"uri": str(data)})}
    kept_source = kept("source", own.get("source"))
    return DatasetInput(
        name=shown,
        digest=_short(digest, _DIGEST_LENGTH),
        source_type=_short(own.get("source_type") or "code", _TYPE_LENGTH),
        source="{}" if kept_source is None else kept_source,
        schema=kept("schema", own.get("schema")),
        profile=kept("profile", own.get("profile")),
        context=None if context is None else _short(context, _NAME_LENGTH),
    ), notes


def finished_input(
    data: DatasetInput, nodeid: str, without_secrets: Callable[[str], str]
) -> DatasetInput:
    """Mask secrets in a dataset; without a source of its own, its source is the test."""
    source = data.source
    if source in ("", _WITH_FILES):
        test = {SOURCE_NAME: nodeid.partition("[")[0], SOURCE_TYPE: "LOCAL"}
        source = json.dumps({"tags": test, **json.loads(source or "{}")})
    return masked_input(replace(data, source=source), without_secrets)


def holds_files(data: DatasetInput) -> bool:
    """Return whether data are a list, tuple or dict with files in it, read for the digest."""
    try:
        return data.source_type == "code" and "holds_files" in json.loads(data.source)
    except (ValueError, TypeError):
        return False


def _has_paths(data: Any) -> bool:
    if isinstance(data, Mapping):
        data = [*data, *data.values()]
    elif not isinstance(data, (list, tuple)):
        return isinstance(data, Path)
    # Long lists mostly hold values of one kind.
    kinds = set(map(type, data))
    if not any(issubclass(kind, (Path, Mapping, list, tuple)) for kind in kinds):
        return False
    return any(map(_has_paths, data))


def _own_fields(data: Any) -> dict[str, str | None] | None:
    """Return the fields of an MLflow dataset."""
    if own_digest(data) is None:
        return None
    try:
        fields = data.to_dict()
        return {name: text for name, text in fields.items() if isinstance(text, str)}
    except Exception:  # noqa: BLE001 - code of the dataset, for which no test fails
        return {"source": ""}


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
