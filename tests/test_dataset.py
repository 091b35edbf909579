from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import OrderedDict
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from pytest_mlflow_experiments.capture.dataset_digest import (
    dataset_digest,
    dataset_name,
    joined_digest,
)

FLOATS = np.arange(12.0).reshape(3, 4)
PEOPLE = pd.DataFrame({"name": ["Zoë", "Bo"], "age": [3, 4]}, index=["x", "y"])
RECORDS = np.array([(1, 0.5), (2, 0.25)], dtype=[("a", "<i4"), ("b", "<f8")])
MATRIX = sp.csr_matrix(np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0]]))


class Colour(Enum):
    RED = "red"


class Pair(NamedTuple):
    X: Any
    y: Any


class Tensor:
    """As torch's: no array while it has a gradient."""

    def __init__(self, values: Any, gradient: bool = True) -> None:
        self.values, self.gradient = values, gradient

    def detach(self) -> Tensor:
        return Tensor(self.values, gradient=False)

    def cpu(self) -> Tensor:
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.gradient:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.asarray(self.values)


class Dataset:
    def __init__(self, digest: object, name: object = "iris") -> None:
        self.digest, self.name = digest, name


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (FLOATS, "f8c5ec495444f114"),
        ((FLOATS, [0, 1, 2]), "a2bbf75264a582cf"),
        (PEOPLE, "079af9d2a19f3ba8"),
        (MATRIX, "4b10f74490771da8"),
        (np.array(["a", 1, None], dtype=object), "6a43e7f00165462e"),
        ({"texts": ["a", "é"], "label": Colour.RED}, "59e34afa691ce048"),
        (b"abc", "3d3665940e1e8dbf"),
    ],
)
def test_digest_stays_the_same_for_good(data: object, digest: str) -> None:
    """Sessions of years are compared; whatever changes a digest makes all of them incomparable."""
    assert dataset_digest(data) == digest


SAME: list[tuple[str, Any, Any]] = [
    ("an array and its copy", FLOATS, FLOATS.copy()),
    ("Fortran's order", FLOATS, np.asfortranarray(FLOATS)),
    ("transposed twice", FLOATS, FLOATS.T.copy().T),
    ("a view with steps", FLOATS[::2, ::-3], FLOATS[::2, ::-3].copy()),
    ("a broadcast view", np.broadcast_to(FLOATS[0], (5, 4)), np.tile(FLOATS[0], (5, 1))),
    ("the other byte order", FLOATS, FLOATS.astype(">f8")),
    ("texts in the other byte order", np.array(["aé"]), np.array(["aé"]).astype(">U2")),
    ("a subclass of arrays", FLOATS, FLOATS.view(np.recarray)),
    ("a tensor", FLOATS, Tensor(FLOATS)),
    ("memory", b"abcd", memoryview(b"a-b-c-d-")[::2]),
    ("bytes that can change", b"abc", bytearray(b"abc")),
    ("a list and a tuple", [FLOATS, 1], (FLOATS, 1)),
    ("a named tuple", (FLOATS, 1), Pair(FLOATS, 1)),
    ("a dict in another order", {"X": 1, "y": FLOATS}, OrderedDict(y=FLOATS, X=1)),
    ("NaN of another sign", np.array([1, math.nan]), np.array([1, -math.nan])),
    ("NaN in complex numbers", np.array([complex(1, math.nan)]), np.array([complex(1, -math.nan)])),
    ("what is below a mask", np.ma.masked_greater([1, 5], 2), np.ma.masked_greater([1, 9], 2)),
    ("texts of any width", ["a"] * 5000, ("a",) * 5000),
    ("a sparse format", MATRIX, MATRIX.tocsc()),
    ("a sparse array", MATRIX, sp.coo_array(MATRIX)),
    ("sparse without an order", MATRIX, MATRIX[:, ::-1][:, ::-1]),
    ("wider sparse indices", MATRIX, sp.csr_matrix(
        (MATRIX.data, MATRIX.indices.astype("i8"), MATRIX.indptr.astype("i8")), MATRIX.shape)),
    ("a table and its copy", PEOPLE, PEOPLE.copy()),
    ("texts as objects", PEOPLE, PEOPLE.astype({"name": object})),
    ("missing texts", pd.Series(["a", None], dtype=object), pd.Series(["a", np.nan], dtype=object)),
    ("missing texts of a type", pd.Series(["a", None], dtype=object),
     pd.Series(["a", None], dtype="string")),
    ("a table in other blocks", pd.DataFrame({"a": [1], "b": [2]}),
     pd.DataFrame({"b": [2], "a": [1]})[["a", "b"]]),
    ("a table of Arrow in pieces", pa.table({"a": [1, 2]}),
     pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2]})])),
    ("a batch of Arrow", pa.table({"a": [1, 2]}), pa.table({"a": [1, 2]}).to_batches()[0]),
    ("a range as index", pd.Series([1, 2]), pd.Series([1, 2], index=[0, 1])),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [p[1:] for p in SAME], ids=[p[0] for p in SAME])
def test_same_content_has_the_same_digest(one: Any, other: Any) -> None:
    assert dataset_digest(one) == dataset_digest(other)


def changed(table: pd.DataFrame, row: str, column: str, value: Any) -> pd.DataFrame:
    copy: pd.DataFrame = table.copy()
    copy.loc[row, column] = value
    return copy


DIFFERENT: list[tuple[str, Any, Any]] = [
    ("order of rows", FLOATS, FLOATS[::-1]),
    ("order of columns", FLOATS, FLOATS[:, ::-1]),
    ("shape", FLOATS, FLOATS.reshape(4, 3)),
    ("shape of nothing", np.empty((0, 3)), np.empty((3, 0))),
    ("type", FLOATS, FLOATS.astype("f4")),
    ("type of nothing", np.empty(0), np.empty(0, int)),
    ("last bit", FLOATS, np.nextafter(FLOATS, 99)),
    ("last value of many", np.zeros(300_000), np.r_[np.zeros(299_999), 1]),
    ("NaN", np.array([1.0, 2.0]), np.array([1.0, math.nan])),
    ("place of NaN", np.array([math.nan, 1.0]), np.array([1.0, math.nan])),
    ("kind of number", [1, 0], [1.0, 0.0]),
    ("truth", [1, 0], [True, False]),
    ("number and text", [1], ["1"]),
    ("None and text", [None], ["None"]),
    ("where texts end", ["ab", "c"], ["a", "bc"]),
    ("order of a list", [FLOATS, PEOPLE], [PEOPLE, FLOATS]),
    ("nesting", [[1], [2]], [[1, 2], []]),
    ("one array or two", FLOATS, [FLOATS]),
    ("data of one key", {"X": 1, "y": 2}, {"X": 2, "y": 1}),
    ("key", {"train": FLOATS}, {"test": FLOATS}),
    ("long lists", [1] * 5000, [1] * 4999 + [2]),
    ("bytes", b"abc", b"abd"),
    ("bytes and text", [b"abc"], ["abc"]),
    ("field", RECORDS, np.array(RECORDS.tolist(), [("a", "<i4"), ("c", "<f8")])),
    ("value in a field", RECORDS, np.array([(1, 0.5), (2, 0.5)], RECORDS.dtype)),
    ("objects", np.array([1, "a"], object), np.array([1, "b"], object)),
    ("dates", np.array(["2025-01-01"], "M8[D]"), np.array(["2025-01-02"], "M8[D]")),
    ("long floats", np.array([1], "g"), np.nextafter(np.array([1], "g"), np.array([2], "g"))),
    ("mask", np.ma.masked_greater([1, 2], 1), np.ma.masked_less([1, 2], 2)),
    ("sparse value", MATRIX, MATRIX * 2),
    ("sparse place", MATRIX, MATRIX[:, ::-1]),
    ("sparse shape", MATRIX, sp.csr_matrix((MATRIX.data, MATRIX.indices, MATRIX.indptr), (2, 9))),
    ("number in a table", PEOPLE, changed(PEOPLE, "y", "age", 5)),
    ("text in a table", PEOPLE, changed(PEOPLE, "y", "name", "Jo")),
    ("missing text", PEOPLE, changed(PEOPLE, "y", "name", None)),
    ("index", PEOPLE, PEOPLE.rename(index={"x": "z"})),
    ("name of the index", PEOPLE, PEOPLE.rename_axis("id")),
    ("name of a column", PEOPLE, PEOPLE.rename(columns={"age": "years"})),
    ("order of the columns of a table", PEOPLE, PEOPLE[["age", "name"]]),
    ("order of the rows of a table", PEOPLE, PEOPLE[::-1]),
    ("levels", PEOPLE.set_index("age", append=True), PEOPLE.set_index(["name"], append=True)),
    ("name of a series", PEOPLE["age"], PEOPLE["age"].rename("years")),
    ("index of a series", PEOPLE["age"], PEOPLE["age"].reset_index(drop=True)),
    ("missing number", pd.Series([1, None], dtype="Int64"), pd.Series([1, 0], dtype="Int64")),
    ("categories", pd.Series(pd.Categorical(["a", "b"])), pd.Series(pd.Categorical(["b", "a"]))),
    ("unused category", pd.Series(pd.Categorical(["a"], ["a", "b"])),
     pd.Series(pd.Categorical(["a"], ["a", "c"]))),
    ("time zone", pd.Series(pd.to_datetime(["2025-01-01"], utc=True)),
     pd.Series(pd.to_datetime(["2025-01-02"], utc=True))),
    ("name in Arrow", pa.table({"a": [1, 2]}), pa.table({"b": [1, 2]})),
    ("type in Arrow", pa.table({"a": [1, 2]}), pa.table({"a": [1.0, 2.0]})),
    ("period", pd.Series(pd.period_range("2025-01", periods=2, freq="M")),
     pd.Series(pd.period_range("2025-02", periods=2, freq="M"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"), [p[1:] for p in DIFFERENT], ids=[p[0] for p in DIFFERENT]
)
def test_other_content_has_another_digest(one: Any, other: Any) -> None:
    assert dataset_digest(one) != dataset_digest(other)


@pytest.mark.parametrize(
    "data",
    [np.empty(0), np.array(3.0), pd.DataFrame(), pd.Series([], dtype=float), b"", [], {}, ()],
    ids=repr,
)
def test_nothing_is_content_too(data: object) -> None:
    assert len(dataset_digest(data)) == 16
    assert dataset_digest([data]) != dataset_digest([])


def test_data_stay_as_they_are() -> None:
    array = np.array([1.0, -math.nan])
    bits = array.tobytes()
    array.flags.writeable = False
    unsorted = sp.csr_matrix((np.array([1.0, 2.0]), np.array([1, 0]), np.array([0, 2])), (1, 2))
    dataset_digest([array, unsorted])
    assert array.tobytes() == bits
    assert unsorted.indices.tolist() == [1, 0]


def test_real_data() -> None:
    as_arrays = load_iris()
    assert dataset_digest(as_arrays) == dataset_digest(load_iris())
    assert dataset_digest(load_iris(as_frame=True)) != dataset_digest(as_arrays)


SEEDED = """
import sys
from enum import Enum
from pathlib import PurePosixPath
from pytest_mlflow_experiments.capture.dataset_digest import dataset_digest
colour = Enum("Colour", "RED")
print(dataset_digest({"b": [{"x", "y", "z"}, colour.RED, None, PurePosixPath("a")], "a": (1, 2)}))
assert not {"numpy", "pandas", "scipy", "mlflow"} & set(sys.modules)
"""


def test_digest_does_not_depend_on_the_process_and_loads_nothing() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", SEEDED],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_elements_may_be_whatever_has_a_stable_text() -> None:
    values = [Decimal("0.10"), date(2025, 1, 2), Colour.RED, PurePosixPath("a"), {1, 2}, range(3)]
    digests = {dataset_digest([value]) for value in values}
    assert len(digests) == len(values)


@pytest.mark.parametrize(
    "data",
    [None, 3, 0.5, True, object(), {1, 2}, iter([1]), LogisticRegression(), FLOATS.tolist, Path],
    ids=lambda data: type(data).__name__,
)
def test_what_is_no_data_raises(data: object) -> None:
    with pytest.raises(TypeError, match="expected an array, a tensor, a table of pandas, bytes"):
        dataset_digest(data)


def test_text_raises_for_it_may_be_a_path() -> None:
    with pytest.raises(TypeError, match=r"expected pathlib\.Path\(\.\.\.\).* got 'data\.csv'"):
        dataset_digest("data.csv")


@pytest.mark.parametrize("value", [object(), iter([1]), (lambda held: lambda: held)(0)])
def test_data_that_hold_something_without_content_raise(value: object) -> None:
    for data in ([1, value], {"a": value}, np.array([1, value], object)):
        with pytest.raises(TypeError, match="no digest of data that hold"):
            dataset_digest(data)


def test_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_bytes(b"x" * 2_000_000)
    other.write_bytes(b"x" * 2_000_000)
    assert dataset_digest(one) == dataset_digest(other)
    other.write_bytes(b"x" * 1_999_999 + b"y")
    assert dataset_digest(one) != dataset_digest(other)


def test_directory_has_the_digest_of_its_files(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> Path:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    digests = {
        name: dataset_digest(make(name, files))
        for name, files in {
            "one": {"a.txt": "1", "sub/b.txt": "2"},
            "same": {"sub/b.txt": "2", "a.txt": "1"},
            "other content": {"a.txt": "2", "sub/b.txt": "1"},
            "other name": {"a.txt": "1", "sub/c.txt": "2"},
            "one less": {"a.txt": "1"},
        }.items()
    }
    assert digests.pop("same") == digests["one"]
    assert len(set(digests.values())) == 4


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dataset_digest(tmp_path / "missing.csv")


def test_dataset_has_its_own_digest_and_name() -> None:
    assert dataset_digest(Dataset("abc")) == "abc"
    assert dataset_name(Dataset("abc")) == "iris"
    assert dataset_name(Dataset("abc", name=None)) == "dataset"
    assert dataset_digest([Dataset("abc")]) != dataset_digest([Dataset("abd")])


def test_dataset_of_mlflow() -> None:
    from mlflow.data.numpy_dataset import from_numpy

    dataset = from_numpy(FLOATS, name="floats")
    assert dataset_digest(dataset) == dataset.digest
    assert dataset_name(dataset) == "floats"


@pytest.mark.parametrize(
    "data", [PEOPLE["age"], FLOATS, Path("a"), pd.DataFrame({"digest": ["a"]})]
)
def test_other_data_have_no_name(data: object) -> None:
    assert dataset_name(data) == "dataset"


def test_column_named_digest_is_a_column() -> None:
    table = pd.DataFrame({"digest": ["a"]})
    assert dataset_digest(table) != dataset_digest(pd.DataFrame({"digest": ["b"]}))


def test_object_with_another_kind_of_digest_is_no_data() -> None:
    with pytest.raises(TypeError, match=r"got .*\.Dataset$"):
        dataset_digest(Dataset(lambda: b""))


def test_digests_are_joined_in_their_order() -> None:
    assert joined_digest(["a"]) == "a"
    assert joined_digest(["a", "b"]) not in (joined_digest(["b", "a"]), "a", "b")
    assert len(joined_digest(["a", "b"])) == 16
