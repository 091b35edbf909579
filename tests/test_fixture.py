from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from project import Project

from pytest_mlflow_experiments.capture.case import CaseLog
from pytest_mlflow_experiments.capture.measuring import Clock
from pytest_mlflow_experiments.capture.mlflow_case import MlflowCase

mpl.use("Agg")


@pytest.fixture
def log(tmp_path: Path) -> CaseLog:
    return CaseLog(Clock(), artifacts=tmp_path / "artifacts")


@pytest.fixture
def case(log: CaseLog) -> MlflowCase:
    return MlflowCase(log)


@pytest.fixture(params=["kept", "not kept"])
def either(request: pytest.FixtureRequest, log: CaseLog) -> MlflowCase:
    """Return a case whose artifacts are kept, and one that keeps nothing."""
    return MlflowCase(log if request.param == "kept" else CaseLog(Clock()))


class Dataset:
    """As those of mlflow.data."""

    digest = "abc123"

    def __init__(self, name: str) -> None:
        self.name = name


def read(log: CaseLog, name: str) -> str:
    assert log.artifact_directory is not None
    return (log.artifact_directory / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.9, 0.9),
        (3, 3.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.array(0.25), 0.25),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 4), 0.25),
        (float("inf"), float("inf")),
    ],
)
def test_log_metric(case: MlflowCase, log: CaseLog, value: Any, number: float) -> None:
    case.log_metric("accuracy", value, step=2)
    (metric,) = log.logged
    assert (metric.key, metric.value, metric.step) == ("accuracy", number, 2)
    assert type(metric.value) is float


@pytest.mark.parametrize("value", ["0.9", b"1", None, 1j, [1, 2], object(), 10**400])
def test_value_that_is_no_number_raises(either: MlflowCase, value: Any) -> None:
    with pytest.raises(TypeError, match=r"log_metric\('accuracy'\): expected a number"):
        either.log_metric("accuracy", value)


@pytest.mark.parametrize("step", [1.0, "1", object()])
def test_step_that_is_no_integer_raises(either: MlflowCase, step: Any) -> None:
    with pytest.raises(TypeError, match="expected an integer step"):
        either.log_metrics({"accuracy": 0.9}, step)


class Epoch(IntEnum):
    LAST = 5


@pytest.mark.parametrize("step", [5, np.int64(5), Epoch.LAST])
def test_step_may_be_any_integer(case: MlflowCase, log: CaseLog, step: Any) -> None:
    case.log_metric("accuracy", 0.9, step)
    assert log.logged[0].step == 5


@pytest.mark.parametrize("key", ["", None, 3])
@pytest.mark.parametrize("method", ["log_metric", "log_param", "set_tag"])
def test_name_that_is_no_text_raises(either: MlflowCase, method: str, key: Any) -> None:
    with pytest.raises(TypeError, match="a name must be a text that isn't empty"):
        getattr(either, method)(key, 1)


def test_log_metrics_keeps_order_and_step(case: MlflowCase, log: CaseLog) -> None:
    case.log_metrics({"b": 1, "a": 2}, step=3)
    case.log_metrics({"a": 5})
    assert [(m.key, m.value, m.step) for m in log.logged] == [
        ("b", 1.0, 3),
        ("a", 2.0, 3),
        ("a", 5.0, None),
    ]
    clocks = [metric.clock for metric in log.logged]
    assert clocks == sorted(clocks)


def test_log_metric_from_a_thread(case: MlflowCase, log: CaseLog) -> None:
    thread = threading.Thread(target=case.log_metric, args=("accuracy", 0.9))
    thread.start()
    thread.join()
    assert [metric.value for metric in log.logged] == [0.9]


def test_params_are_texts(case: MlflowCase, log: CaseLog) -> None:
    case.log_params({"C": 0.5, "kernel": "rbf", "empty": "", "seed": np.int64(3), "none": None})
    case.log_param("data", pd.DataFrame({"a": [1]}))
    assert log.params == {
        "C": "0.5",
        "kernel": "rbf",
        "empty": "",
        "seed": "3",
        "none": "None",
        "data": log.params["data"],
    }
    assert log.params["data"].startswith("<pandas.")
    assert log.notes == []


def test_second_value_of_a_param_is_noted(case: MlflowCase, log: CaseLog) -> None:
    case.log_param("C", 1)
    case.log_param("C", 1)
    assert log.notes == []
    case.log_param("C", 2)
    assert log.params == {"C": "1"}
    assert log.notes == ["param 'C' is '1'; a second value '2' is not kept"]


def test_last_value_of_a_tag_stays(case: MlflowCase, log: CaseLog) -> None:
    case.set_tag("stage", "dev")
    case.set_tags({"stage": "prod", "size": 3})
    assert log.tags == {"stage": "prod", "size": "3"}


@pytest.mark.parametrize(
    ("context", "dataset", "name"),
    [
        (None, np.eye(2), "dataset"),
        ("train", np.eye(2), "train"),
        (None, Dataset("iris"), "iris"),
        ("train", Dataset("iris"), "train"),
    ],
)
def test_log_input_notes_a_digest_by_name(
    case: MlflowCase, log: CaseLog, context: str | None, dataset: object, name: str
) -> None:
    case.log_input(dataset, context)
    case.log_input(dataset, context=context)
    assert list(log.datasets) == [name]
    ((digest,),) = log.datasets.values()
    assert digest == getattr(dataset, "digest", digest)


def test_every_data_of_a_context_count(case: MlflowCase, log: CaseLog) -> None:
    for fold in range(3):
        case.log_input(np.arange(fold), "train")
    case.log_input(b"abc", "test")
    assert {name: len(digests) for name, digests in log.datasets.items()} == {"train": 3, "test": 1}


def test_input_that_is_no_data_raises(either: MlflowCase) -> None:
    with pytest.raises(TypeError, match=r"mlflow_case\.log_input: expected an array.* got object$"):
        either.log_input(object())
    with pytest.raises(TypeError, match=r"mlflow_case\.log_input: a text may be a path"):
        either.log_input("data.csv", "train")


@pytest.mark.parametrize("context", ["", 3])
def test_context_that_is_no_text_raises(either: MlflowCase, context: Any) -> None:
    with pytest.raises(TypeError, match="a name must be a text that isn't empty"):
        either.log_input(b"abc", context)


def test_log_artifact_keeps_the_file_as_it_is_now(
    case: MlflowCase, log: CaseLog, tmp_path: Path
) -> None:
    source = tmp_path / "report.txt"
    source.write_text("before")
    case.log_artifact(source)
    case.log_artifact(str(source), "nested/directory")
    source.write_text("after")
    assert log.artifacts() == ("nested/directory/report.txt", "report.txt")
    assert read(log, "report.txt") == "before"
    source.unlink()
    assert read(log, "nested/directory/report.txt") == "before"


def test_log_artifact_keeps_a_whole_directory(
    case: MlflowCase, log: CaseLog, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    (source / "weights").mkdir(parents=True)
    (source / "weights" / "0.bin").write_bytes(b"\x00")
    case.log_artifact(source)
    (source / "config.json").write_text("{}")
    case.log_artifact(source)
    shutil.rmtree(source)
    assert log.artifacts() == ("model/config.json", "model/weights/0.bin")


@pytest.mark.parametrize(
    ("path", "kept"),
    [("latest.txt", "latest.txt"), (".", "here/latest.txt"), ("../here", "here/latest.txt")],
)
def test_artifact_has_the_name_that_the_test_gave(
    case: MlflowCase,
    log: CaseLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    kept: str,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "checkpoint-7.txt").write_text("x")
    try:
        (here / "latest.txt").symlink_to(tmp_path / "checkpoint-7.txt")
    except OSError:
        pytest.skip("no symbolic links here")
    monkeypatch.chdir(here)
    case.log_artifact(path)
    assert log.artifacts() == (kept,)


def test_missing_artifact_raises(either: MlflowCase, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="log_artifact: no file"):
        either.log_artifact(tmp_path / "missing.txt")


WRITERS: list[Callable[[MlflowCase, str], None]] = [
    lambda case, name: case.log_text("x", name),
    lambda case, name: case.log_dict({}, name),
    lambda case, name: case.log_table({"a": [1]}, name),
    lambda case, name: case.log_artifact(__file__, name),
]


@pytest.mark.parametrize("write", WRITERS, ids=["text", "dict", "table", "artifact"])
@pytest.mark.parametrize(
    "name", ["/etc/x.json", "../x.json", "a/../../x.json", "C:/x.json", "a\\..\\..\\x.json"]
)
def test_path_that_leaves_the_artifacts_raises(
    either: MlflowCase, write: Callable[[MlflowCase, str], None], name: str
) -> None:
    with pytest.raises(ValueError, match="inside the run's artifacts"):
        write(either, name)


@pytest.mark.parametrize("name", ["", "."])
def test_path_without_a_name_raises(either: MlflowCase, name: str) -> None:
    with pytest.raises(ValueError, match="inside the run's artifacts"):
        either.log_text("x", name)


@pytest.mark.skipif(os.name != "posix", reason="a colon is no part of a name on Windows")
def test_name_may_hold_a_time(case: MlflowCase, log: CaseLog) -> None:
    case.log_text("x", "12:30.txt")
    assert log.artifacts() == ("12:30.txt",)


@pytest.mark.parametrize("text", ["", "zwei\nZeilen", "naïve 🙂"])
def test_log_text(case: MlflowCase, log: CaseLog, text: str) -> None:
    case.log_text(text, "dir\\note.txt")
    assert log.artifacts() == ("dir/note.txt",)
    assert read(log, "dir/note.txt") == text


def test_text_that_is_no_unicode_is_kept_escaped(case: MlflowCase, log: CaseLog) -> None:
    case.log_text("\ud800", "note.txt")
    assert read(log, "note.txt") == "\\ud800"


def test_log_text_of_something_else_raises(either: MlflowCase) -> None:
    with pytest.raises(TypeError, match="expected a text, got int"):
        either.log_text(3, "note.txt")  # type: ignore[arg-type]


class Colour(str, Enum):
    RED = "red"


NESTED = {
    "f1": np.float32(0.5),
    "count": np.int64(3),
    "flag": np.bool_(True),
    "matrix": np.eye(2, dtype=int),
    "list": (1, None, 1.5),
    "inner": {1: "é", Colour.RED: Colour.RED},
    "path": Path("a"),
    "when": datetime(2025, 1, 2, 3),
}
PLAIN = {
    "f1": 0.5,
    "count": 3,
    "flag": True,
    "matrix": [[1, 0], [0, 1]],
    "list": [1, None, 1.5],
    "path": "a",
    "when": "2025-01-02T03:00:00",
}


def test_log_dict_as_json(case: MlflowCase, log: CaseLog) -> None:
    case.log_dict(NESTED, "data.json")
    case.log_dict([1, "a"], "data")
    text = read(log, "data.json")
    assert json.loads(text) == {**PLAIN, "inner": {"1": "é", str(Colour.RED): "red"}}
    assert text.startswith('{\n  "f1"')
    assert json.loads(read(log, "data")) == [1, "a"]


@pytest.mark.parametrize("suffix", ["yml", "yaml"])
def test_log_dict_as_yaml(case: MlflowCase, log: CaseLog, suffix: str) -> None:
    case.log_dict(NESTED, f"data.{suffix}")
    text = read(log, f"data.{suffix}")
    assert yaml.safe_load(text) == {**PLAIN, "inner": {1: "é", str(Colour.RED): "red"}}
    assert text.startswith("f1: 0.5\n")


def table(log: CaseLog, name: str = "table.json") -> tuple[list[str], list[list[Any]]]:
    def no_constant(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    data = json.loads(read(log, name), parse_constant=no_constant)
    assert list(data) == ["columns", "data"]
    return data["columns"], data["data"]


@pytest.mark.parametrize(
    ("data", "columns", "rows"),
    [
        # As mlflow.log_table of the same writes them.
        ({"a": [1, 2], "b": ["x", "é"]}, ["a", "b"], [[1, "x"], [2, "é"]]),
        ({"a": 1, "b": "x"}, ["a", "b"], [[1, "x"]]),
        ({"a": [1, 2], "b": 5}, ["a", "b"], [[1, 5], [2, 5]]),
        ({"a": np.array([1.0, 2.0]), "b": [1, None]}, ["a", "b"], [[1.0, 1], [2.0, None]]),
        ({"a": pd.Series([1, np.nan], index=[5, 6]), "b": (1, 2)}, ["a", "b"], [[1, 1], [None, 2]]),
        ({"a": [float("nan"), float("inf"), -float("inf")]}, ["a"], [[None], [None], [None]]),
        ({"a": [np.int64(3)], "b": [np.array([1, 2])]}, ["a", "b"], [[3, [1, 2]]]),
        ({"a": [[1, 2]], "b": [{"k": float("nan")}]}, ["a", "b"], [[[1, 2], {"k": None}]]),
        ({"a": range(2)}, ["a"], [[0], [1]]),
        ({"a": []}, ["a"], []),
        ({}, [], []),
        (pd.DataFrame({"a": [1, 2]}, index=[5, 6]), ["a"], [[1], [2]]),
        (pd.DataFrame({"a": [1, np.nan], "b": ["x", None]}), ["a", "b"], [[1, "x"], [None, None]]),
        # Unlike there: the names of columns are texts, the digits are all kept, what has no JSON
        # form is its text.
        (pd.DataFrame({1: [1, 2]}), ["1"], [[1], [2]]),
        ({1: [1]}, ["1"], [[1]]),
        ({"a": [0.123456789012345], "b": [np.True_]}, ["a", "b"], [[0.123456789012345, True]]),
        (pd.DataFrame({"a": [0.123456789012345]}), ["a"], [[0.123456789012345]]),
        ({"a": [Path("x")], "b": [date(2025, 1, 2)]}, ["a", "b"], [["x", "2025-01-02"]]),
        (pd.DataFrame({"a": [1j]}), ["a"], [["1j"]]),
        ({"a": {"k": 1}, "b": None}, ["a", "b"], [[{"k": 1}, None]]),
        ({"a": {"x": 1, "y": 2}.keys()}, ["a"], [["x"], ["y"]]),
        ({"a": np.array(["2025-01-02T03"], "M8[ns]")}, ["a"], [["2025-01-02T03:00:00.000000000"]]),
    ],
)  # fmt: skip
def test_log_table(
    case: MlflowCase, log: CaseLog, data: Any, columns: list[str], rows: list[list[Any]]
) -> None:
    case.log_table(data, "table.json")
    assert table(log) == (columns, rows)


def test_dates_of_a_data_frame_are_iso_texts(case: MlflowCase, log: CaseLog) -> None:
    times = pd.Series([pd.Timestamp("2025-01-02T03:04:05"), pd.NaT])
    case.log_table(pd.DataFrame({"a": times}), "frame.json")
    case.log_table({"a": times}, "series.json")
    for name in ("frame.json", "series.json"):
        _, ((first,), (second,)) = table(log, name)
        assert first.startswith("2025-01-02T03:04:05")
        assert second is None


def test_second_table_adds_rows_and_columns(case: MlflowCase, log: CaseLog) -> None:
    case.log_table({"a": [1, 2], "b": [3, 4]}, "table.json")
    case.log_table(pd.DataFrame({"c": ["x"], "a": [5]}), "table.json")
    case.log_table({"b": [6]}, "table.json")
    assert table(log) == (
        ["a", "b", "c"],
        [[1, 3, None], [2, 4, None], [5, None, "x"], [None, 6, None]],
    )


def test_tables_are_announced_once_each(case: MlflowCase, log: CaseLog) -> None:
    for name in ("table.json", "dir/other.json", "table.json"):
        case.log_table({"a": [1]}, name)
    assert json.loads(log.tags["mlflow.loggedArtifacts"]) == [
        {"path": "table.json", "type": "table"},
        {"path": "dir/other.json", "type": "table"},
    ]


def test_table_of_something_else_raises(either: MlflowCase) -> None:
    with pytest.raises(TypeError, match="expected a dict or a pandas DataFrame, got list"):
        either.log_table([1, 2], "table.json")


def test_table_of_uneven_columns_raises(either: MlflowCase) -> None:
    with pytest.raises(ValueError, match=r"columns differ in length: \{'a': 2, 'b': 1\}"):
        either.log_table({"a": [1, 2], "b": [1], "c": 3}, "table.json")


@pytest.mark.parametrize("name", ["table", "table.csv", "table.parquet"])
def test_table_of_another_format_raises(either: MlflowCase, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end with \.json"):
        either.log_table({"a": [1]}, name)


def test_figure_is_kept_as_it_was_drawn(case: MlflowCase, log: CaseLog) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2], [3, 4])
    case.log_figure(figure, "plots/loss.png", save_kwargs={"dpi": 20})
    case.log_figure(figure, "loss.svg")
    plt.close(figure)
    assert log.artifacts() == ("loss.svg", "plots/loss.png")
    assert log.artifact_directory is not None
    png = (log.artifact_directory / "plots" / "loss.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 128  # 6.4 inches of 20 dots


class PlotlyFigure:
    def write_html(self, path: str, **options: object) -> None:
        Path(path).write_text(f"html {options}")

    def write_image(self, path: str, **options: object) -> None:
        Path(path).write_text(f"image {options}")


@pytest.mark.parametrize(("name", "kind"), [("loss.html", "html"), ("loss.png", "image")])
def test_figure_of_plotly(case: MlflowCase, log: CaseLog, name: str, kind: str) -> None:
    case.log_figure(PlotlyFigure(), name, save_kwargs={"scale": 2})
    assert read(log, name) == f"{kind} {{'scale': 2}}"


def test_figure_of_another_library_raises(either: MlflowCase) -> None:
    with pytest.raises(TypeError, match="expected a matplotlib or plotly figure, got dict"):
        either.log_figure({}, "loss.png")


def test_without_a_directory_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = CaseLog(Clock())
    case = MlflowCase(log)
    case.log_text("x", "x.txt")
    case.log_dict({}, "x.yaml")
    case.log_table({"a": [1]}, "x.json")
    case.log_artifact(__file__)
    case.log_figure(PlotlyFigure(), "x.html")
    assert list(tmp_path.iterdir()) == []
    assert (log.artifacts(), log.tags, log.notes) == ((), {}, [])


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(self: Path, data: str, *args: object, **kwargs: object) -> int:
        with self.open("w") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)


@pytest.mark.parametrize("write", WRITERS[:3], ids=["text", "dict", "table"])
def test_full_disk_is_noted_and_fails_no_test(
    case: MlflowCase,
    log: CaseLog,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[MlflowCase, str], None],
) -> None:
    with monkeypatch.context() as patch:
        fill_disk(patch)
        write(case, "x.json")
    (note,) = log.notes
    assert note.startswith("artifact 'x.json' is not kept: ")
    assert "No space left" in note
    assert (log.artifacts(), log.tags) == ((), {})
    write(case, "x.json")
    assert log.artifacts() == ("x.json",)


def test_artifact_directory_that_cannot_be_made_is_noted(
    case: MlflowCase, log: CaseLog, tmp_path: Path
) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    case.log_text("x", "x.txt")
    case.log_artifact(__file__)
    assert len(log.notes) == 2
    assert log.artifacts() == ()


COMPARED = """
    import numpy as np
    import pytest

    pytestmark = pytest.mark.mlflow(
        tolerance={"accuracy": 0.5, "*": "5%"}, direction={"score": "max"}
    )

    @pytest.mark.mlflow(tolerance={"accuracy": "-0.02"}, params={"team": "vision"})
    @pytest.mark.parametrize("seed", [1, 2])
    def test_it(mlflow_case, seed):
        mlflow_case.log_param("C", 0.5)
        mlflow_case.log_input((np.eye(3), [seed]), context="train")

    def test_plain(mlflow_case):
        pass
    """


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_record_has_what_a_comparison_needs(project: Project, workers: tuple[str, ...]) -> None:
    project.write(COMPARED)
    project.pytest("--mlflow", "--mlflow-offline", *workers)
    one, two, plain = map(project.session().case, ("test_it[1]", "test_it[2]", "test_plain"))
    assert one.arguments == ("seed",)
    assert set(one.params) == {"seed", "team", "C"}
    assert set(one.datasets) == {"train"}
    assert one.datasets != two.datasets
    assert list(one.tolerances.items()) == [("*", "5%"), ("accuracy", "-0.02")]
    assert one.directions == {"score": "max"}
    assert (plain.arguments, plain.datasets) == ((), {})
    assert plain.tolerances == {"accuracy": "0.5", "*": "5%"}


def test_input_is_accepted_without_the_flag(project: Project) -> None:
    project.write(COMPARED)
    project.pytest()
    assert project.sessions() == []
