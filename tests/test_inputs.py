"""Data that a test logs, as MLflow's datasets: the same JSON as MLflow's own, and no secrets."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from project import Project, quiet_mlflow

from pytest_mlflow_experiments.capture.case import CaseLog
from pytest_mlflow_experiments.capture.dataset_digest import dataset_digest
from pytest_mlflow_experiments.capture.dataset_input import MAX_TEXT, dataset_input, described
from pytest_mlflow_experiments.capture.measuring import Clock
from pytest_mlflow_experiments.capture.mlflow_case import MlflowCase
from pytest_mlflow_experiments.records import CaseRecord, DatasetInput
from pytest_mlflow_experiments.records.codec import decode, encode

WHEN = datetime(2026, 1, 2, tzinfo=timezone.utc)
COLUMNS: dict[str, Any] = {
    **{name: np.array([1, 2], name) for name in ("int8", "int16", "int32", "int64")},
    **{name: np.array([1, 2], name) for name in ("uint8", "uint16", "uint32", "bool")},
    **{name: np.array([1, 2], name) for name in ("float16", "float32", "float64")},
    "missing": [1.0, None],
    "texts": ["a", "b"],
    "missing text": ["a", None],
    "objects": pd.Series(["a", "b"], dtype=object),
    "string": pd.Series(["a", None], dtype="string"),
    "bytes": [b"a", b"b"],
    "nothing": pd.Series([None, None], dtype=object),
    "dates": pd.to_datetime(["2026-01-01", "2026-01-02"]),
    "zoned": pd.Series([WHEN, WHEN]),
    "missing date": pd.Series(["2026-01-01", None], dtype="M8[ns]"),
    "Int64": pd.Series([1, None], dtype="Int64"),
    "Int32": pd.Series([1, 2], dtype="Int32"),
    "Float64": pd.Series([1.5, None], dtype="Float64"),
    "boolean": pd.Series([True, None], dtype="boolean"),
    "category": pd.Categorical(["a", "b"]),
    "numbered": pd.Categorical([1, 2]),
}
ODD: dict[str, Any] = {
    "uint64": np.array([1, 2], "uint64"),
    "complex": np.array([1j, 2]),
    "timedelta": pd.to_timedelta([1, 2]),
    "period": pd.period_range("2026-01", periods=2, freq="M"),
    "mixed": pd.Series([1, "a"], dtype=object),
}


def from_pandas(frame: pd.DataFrame, **options: str) -> Any:
    with quiet_mlflow():
        from mlflow.data.pandas_dataset import from_pandas

        return from_pandas(frame, **options)


def from_numpy(features: Any, targets: Any = None) -> Any:
    with quiet_mlflow():
        from mlflow.data.numpy_dataset import from_numpy

        return from_numpy(features, targets=targets)


def theirs(dataset: Any) -> tuple[object, ...]:
    with quiet_mlflow():
        fields = dataset.to_dict()
    return tuple(fields[name] and json.loads(fields[name]) for name in ("schema", "profile"))


def ours(data: object) -> tuple[Any, ...]:
    return tuple(text and json.loads(text) for text in described(data))


@pytest.mark.parametrize("name", [*COLUMNS, *ODD])
def test_column_of_pandas_is_described_as_by_mlflow(name: str) -> None:
    frame = pd.DataFrame({name: {**COLUMNS, **ODD}[name]})
    schema, profile = theirs(from_pandas(frame))
    assert ours(frame) == (schema, profile)
    assert (schema is None) == (name in ODD)


def test_table_of_pandas_is_described_as_by_mlflow() -> None:
    for frame in (
        pd.DataFrame(COLUMNS),
        pd.DataFrame(np.zeros((2, 3))),
        pd.DataFrame(),
        pd.DataFrame({("a", "b"): [1]}),
    ):
        assert ours(frame) == theirs(from_pandas(frame))
    whole = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})
    assert ours((whole[["x"]], whole["y"])) == theirs(from_pandas(whole, targets="y"))


@pytest.mark.parametrize(
    ("features", "targets"),
    [
        (np.zeros((3, 4)), None),
        (np.zeros((3, 4), "f4"), np.zeros(3, "i4")),
        (np.zeros((2, 3, 4, 5), "u1"), np.array(["a", "bc"])),
        (np.array([b"a", b"bc"]), None),
        (np.array([True]), np.array(["2026-01-01"], "M8[D]")),
        (np.array(["a", 1], object), None),
        ({"a": np.zeros((3, 2)), "b": np.zeros(3, int)}, None),
        (np.empty((0, 2)), None),
    ],
    ids=str,
)
def test_arrays_are_described_as_by_mlflow(features: Any, targets: Any) -> None:
    data = features if targets is None else (features, targets)
    assert ours(data) == theirs(from_numpy(features, targets=targets))


def test_what_turns_into_an_array_is_described_as_one() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.zeros((3, 4))

    assert ours(Tensor()) == theirs(from_numpy(np.zeros((3, 4))))
    matrix = sp.csr_matrix(np.eye(3))
    assert ours(matrix)[0] == theirs(from_numpy(np.eye(3)))[0]
    assert ours(matrix)[1] == {"features_shape": [3, 3], "features_size": 3}
    assert ours(np.array(3.0))[0] is None


def test_arrow_is_described_as_the_same_table_of_pandas() -> None:
    frame = pd.DataFrame(COLUMNS).drop(columns="zoned")
    table = pa.Table.from_pandas(frame)
    assert ours(table) == ours(frame)
    assert ours(table.to_batches()[0]) == ours(frame)
    assert ours(pa.table({"a": pa.array([[1], [2]])})) == (None, {"num_rows": 2, "num_elements": 2})


def test_arrow_has_the_digest_of_its_content() -> None:
    frame = pd.DataFrame(COLUMNS).drop(columns="zoned")
    table = pa.Table.from_pandas(frame)
    digest = dataset_digest(table)
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert parts.column(0).num_chunks == 2
    assert digest == dataset_digest(parts) == dataset_digest(table.combine_chunks().to_batches()[0])
    assert digest != dataset_digest(table.rename_columns([f"x{n}" for n in range(len(frame.T))]))
    assert digest != dataset_digest(table.slice(1))
    for name in table.column_names:
        other = table.set_column(0, "int8", table.column(name).take([1, 0]))
        assert digest != dataset_digest(other), name
    nested = [dataset_digest(pa.table({"a": [[1, n]], "b": [{"c": n}]})) for n in (1, 2, 1)]
    assert nested[0] == nested[2] != nested[1]
    one, other = (pa.table({"a": pa.array(values, "int64")}) for values in ([1, None], [None, 1]))
    assert dataset_digest(one) != dataset_digest(other)


def test_digest_of_arrow_stays_the_same_for_good() -> None:
    table = pa.table({"a": [1, None], "b": ["x", "y"], "c": pa.array([0, 1], "timestamp[us]")})
    assert dataset_digest(table) == "6645279c8a1220c0"


def test_files_and_directories_tell_where_they_are_and_their_size(tmp_path: Path) -> None:
    file = tmp_path / "iris.csv"
    file.write_bytes(b"abc")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.csv").write_bytes(b"de")
    one, _ = dataset_input(file, "d")
    assert (one.name, one.source_type) == ("iris.csv", "local")
    assert json.loads(one.source) == {"uri": str(file)}
    assert json.loads(one.profile or "") == {"num_files": 1, "size_bytes": 3}
    whole, _ = dataset_input(tmp_path, "d", name="iris", context="train")
    assert (whole.name, whole.context, whole.schema) == ("iris", "train", None)
    assert json.loads(whole.profile or "") == {"num_files": 2, "size_bytes": 5}
    with quiet_mlflow():
        from mlflow.data.dataset_source_registry import get_dataset_source_from_json

        source = get_dataset_source_from_json(whole.source, whole.source_type)
    assert source.load() == str(tmp_path)


def test_dataset_of_mlflow_says_itself_what_it_is() -> None:
    frame = pd.DataFrame({"a": [1.0]})
    dataset = from_pandas(frame, source="s3://bucket/iris.csv", name="iris")
    found, notes = dataset_input(dataset, dataset.digest, context="train")
    assert encode(found) == {**dataset.to_dict(), "context": "train"}
    assert notes == []


def test_what_is_too_long_for_mlflow_is_shortened_and_told() -> None:
    frame = pd.DataFrame(np.zeros((1, 2_000)), columns=[f"column {n}" for n in range(2_000)])
    found, (note,) = dataset_input(frame, "d" * 99, name="n" * 999)
    assert found.schema is None
    assert (len(found.name), len(found.digest)) == (500, 36)
    assert found.name.endswith("…")
    assert json.loads(found.profile or "") == {"num_rows": 1, "num_elements": 2_000}
    assert "its schema is left out" in note
    from mlflow.entities import Dataset
    from mlflow.utils import validation

    assert validation.MAX_DATASET_SOURCE_SIZE >= MAX_TEXT
    fields = {name: text for name, text in encode(found).items() if name != "context"}
    validation._validate_dataset(Dataset(**fields))


def test_data_whose_own_code_fails_are_logged_without_a_schema() -> None:
    class Broken:
        digest = "abc"

        def to_dict(self) -> dict[str, str]:
            raise RuntimeError("no")

    found, notes = dataset_input(Broken(), "abc")
    assert (found.name, found.digest, found.schema, notes) == ("dataset", "abc", None, [])


def frozen(log: CaseLog) -> CaseRecord:
    return log.freeze(nodeid="a/test_a.py::test_it[1]", case="c", name="n", tags={})


def test_the_record_has_each_dataset_once(tmp_path: Path) -> None:
    log = CaseLog(Clock(), artifacts=tmp_path)
    case = MlflowCase(log)
    array = np.zeros((3, 2))
    case.log_input(array, "train")
    case.log_input(array, "train")
    case.log_input(array, "test", name="digits")
    case.log_input(array, name="digits")
    record = frozen(log)
    digest = dataset_digest(array)
    assert record.datasets == {"train": digest, "test": digest, "digits": digest}
    assert [(data.name, data.context) for data in record.inputs] == [
        ("dataset", "train"),
        ("digits", "test"),
        ("digits", None),
    ]
    (source,) = {data.source for data in record.inputs}
    assert json.loads(source) == {
        "tags": {"mlflow.source.name": "a/test_a.py::test_it", "mlflow.source.type": "LOCAL"}
    }
    assert decode(CaseRecord, json.loads(json.dumps(encode(record)))) == record


def test_a_run_that_is_not_kept_describes_nothing() -> None:
    log = CaseLog(Clock())
    MlflowCase(log).log_input(np.zeros(3))
    assert log.datasets
    assert log.inputs == []
    with pytest.raises(TypeError, match="a name must be a text"):
        MlflowCase(log).log_input(np.zeros(3), name="")


def test_secrets_are_kept_out_of_datasets(project: Project) -> None:
    project.write(
        """
        import pytest

        class Dataset:
            digest = name = "iris"

            def to_dict(self):
                return {
                    "name": "iris",
                    "source_type": "http",
                    "source": '{"url": "https://me:s3cret@host/a?token=abcdef"}',
                    "profile": '{"key": "from-the-environment"}',
                }

        @pytest.mark.parametrize("password", ["hunter22"])
        def test_it(mlflow_case, password, tmp_path):
            mlflow_case.log_input(Dataset())
            path = tmp_path / f"{password}.csv"
            path.write_text("a")
            mlflow_case.log_input(path)
        """
    )
    env = {"MY_API_KEY": "from-the-environment"}
    project.pytest("--mlflow", "--mlflow-offline", env=env)
    text = project.session().directory.journal.read_text(encoding="utf-8")
    for secret in ("s3cret", "abcdef", "hunter22", "from-the-environment"):
        assert secret not in text, secret
    (record,) = project.session().cases
    assert json.loads(record.inputs[0].source) == {"url": "https://***@host/a?token=***"}
    assert isinstance(record.inputs[1], DatasetInput)
    assert record.inputs[1].name == "***.csv"
