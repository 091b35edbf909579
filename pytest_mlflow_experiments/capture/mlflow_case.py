"""The fixture ``mlflow_case``: log to the record of a test case, by MLflow's own names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from math import isfinite
from operator import index
from os import fsencode
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, final

import pytest

from ..records.directory import make_directories, restrict
from ..records.secret_names import SecretNames
from ..records.tags import TABLES
from .case import CaseLog
from .dataset_digest import dataset_digest, dataset_name
from .dataset_input import dataset_input
from .marker import CaseOptions
from .measuring import Clock
from .merged_metrics import LoggedMetric
from .params import case_name, param_text, plain_nodeid, same_without_flag, shown_text

if TYPE_CHECKING:
    from collections.abc import Iterator

CASE_LOG = pytest.StashKey[CaseLog]()


def log_of(item: pytest.Item) -> CaseLog:
    """Return the log of the case, or an unused one if no plugin follows the case."""
    return item.stash.get(CASE_LOG, None) or CaseLog(Clock())


def case_of(item: pytest.Item) -> MlflowCase:
    """Return the fixture's value for ``item``; without ``--mlflow`` it keeps nothing."""
    return MlflowCase(log_of(item))


@final
class MlflowCase:
    """The record of one test case.

    The methods have the names, arguments and order of :mod:`mlflow`'s, and are checked the same
    with and without ``--mlflow``. Nothing here loads mlflow or waits for it.

    Keys are texts that are not empty (else :exc:`TypeError`). An ``artifact_file`` or
    ``artifact_path`` is relative, and must not lead out of the run's artifacts
    (else :exc:`ValueError`).
    """

    __slots__ = ("_log", "_now")

    def __init__(self, log: CaseLog) -> None:
        self._log = log
        self._now = log.clock.perf_counter

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log one value of a metric.

        Args:
            key: the metric's name.
            value: a number, or anything that ``float()`` takes and that isn't a text.
            step: where on the curve the value stands; without it 0, as in MLflow.

        Raises:
            TypeError: the value is not a number, or the step not an integer.
        """
        self._log.logged.append(
            LoggedMetric(self._now(), _key(key), _number(key, value), _step(key, step))
        )

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one value of each of several metrics."""
        for key, value in metrics.items():
            self.log_metric(key, value, step)

    def log_param(self, key: str, value: object) -> None:
        """Log a param. A param has one value: a second, different one is noted and not kept."""
        text = self._log.secrets.text(_key(key), value, param_text)
        kept = self._log.params.setdefault(_key(key), text)
        if kept != text:
            self._log.notes.append(
                f"param {key!r} is {kept!r}; a second value {text!r} is not kept"
            )

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log several params."""
        for key, value in params.items():
            self.log_param(key, value)

    def set_tag(self, key: str, value: object) -> None:
        """Set a tag; the last value stays."""
        name = _key(key)
        self._log.tags[name] = self._log.secrets.text(name, value, str)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set several tags."""
        for key, value in tags.items():
            self.set_tag(key, value)

    def log_input(
        self, dataset: object, context: str | None = None, *, name: str | None = None
    ) -> None:
        """Note which data the case was trained or scored on, by a digest of their content.

        In MLflow they are a dataset of the run, with their schema and size.

        A later session whose data differ is not comparable, instead of worse. Logging the same data
        again changes nothing; several data of one context are told apart by content and order.

        Args:
            dataset: an array, a tensor, a table of pandas or Arrow, a sparse matrix, bytes, a
                ``pathlib.Path`` to a file or directory, a list, tuple or dict of these, such as
                ``(X, y)``, or a dataset of ``mlflow.data``, which has a digest of its own.
            context: what the data are for, such as ``train``; without it, their name.
            name: what the data are called; without it, the name that a dataset of ``mlflow.data``
                has, else ``dataset``.

        Raises:
            TypeError: the content of ``dataset`` can't be read; a text is refused too.
            OSError: a file can't be read.
        """
        if name is not None:
            _key(name)
        key = (name or dataset_name(dataset)) if context is None else _key(context)
        try:
            digest = dataset_digest(dataset)
        except TypeError as error:
            raise TypeError(f"mlflow_case.log_input: {error}") from error
        self._log.datasets.setdefault(key, {})[digest] = None
        if self._log.is_kept:
            described, notes = dataset_input(dataset, digest, name=name, context=context)
            if described not in self._log.inputs:
                self._log.inputs.append(described)
                self._log.notes += notes

    def log_artifact(self, local_path: str | Path, artifact_path: str | None = None) -> None:
        """Keep a copy of a file, or of a directory with all that is in it, as it is now.

        ``artifact_path`` is the directory in the run's artifacts that gets it.

        Raises:
            FileNotFoundError: there is no such file.
        """
        source = Path(local_path)
        if not source.exists():
            raise FileNotFoundError(f"mlflow_case.log_artifact: no file {str(source)!r}")
        # A link keeps its own name; "." and ".." have none.
        name = source.name if source.name not in ("", "..") else source.resolve().name
        with self._target(f"{artifact_path}/{name}" if artifact_path else name) as target:
            if target is None:
                return
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Keep a text as an artifact.

        Raises:
            TypeError: it is no text.
        """
        if not isinstance(text, str):
            raise TypeError(f"mlflow_case.log_text: expected a text, got {type(text).__name__}")
        with self._target(artifact_file) as target:
            if target is not None:
                target.write_text(text, encoding="utf-8", errors="backslashreplace")

    def log_dict(self, dictionary: Mapping[str, Any] | list[Any], artifact_file: str) -> None:
        """Keep builtins as a JSON artifact, or as YAML where the file's name ends so.

        Values of numpy become numbers and lists; what has no JSON form becomes text, as in MLflow.
        """
        with self._target(artifact_file) as target:
            data = _plain(dictionary)
            if target is None:
                return
            if target.suffix in (".yml", ".yaml"):
                import yaml

                text = yaml.safe_dump(data, sort_keys=False)
            else:
                text = json.dumps(data, indent=2)
            target.write_text(text, encoding="utf-8")

    def log_figure(
        self, figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Keep a matplotlib or plotly figure, drawn as it is now, as an artifact.

        The suffix of ``artifact_file`` gives the format (plotly: ``.html`` or an image format);
        ``save_kwargs`` are what the figure's own method gets in addition.

        Raises:
            TypeError: the figure is of another library.
        """
        options = dict(save_kwargs or {})
        html = artifact_file.endswith((".html", ".htm"))
        save = getattr(figure, "savefig", None) or getattr(
            figure, "write_html" if html else "write_image", None
        )
        if save is None:
            raise TypeError(
                "mlflow_case.log_figure: expected a matplotlib or plotly figure, got "
                f"{type(figure).__name__}"
            )
        with self._target(artifact_file) as target:
            if target is not None:
                save(str(target), **options)

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Keep a table as a JSON artifact that MLflow shows as one; a second one adds rows.

        Args:
            data: a dict of columns (lists, arrays, or single values, which stand in every row) or a
                pandas DataFrame.
            artifact_file: where it is kept; ends with ``.json``.

        Raises:
            TypeError: ``data`` is neither.
            ValueError: the name doesn't end with ``.json``, or the columns differ in length.
        """
        if not artifact_file.endswith(".json"):
            raise ValueError(
                f"mlflow_case.log_table: artifact_file must end with .json, got {artifact_file!r}"
            )
        with self._target(artifact_file) as target:
            _add_rows(data, target)
            if target is not None:
                # By this tag MLflow knows which artifacts are tables.
                tables = json.loads(self._log.tags.get(TABLES, "[]"))
                entry = {"path": artifact_file, "type": "table"}
                if entry not in tables:
                    self._log.tags[TABLES] = json.dumps([*tables, entry])

    @contextmanager
    def _target(self, artifact_file: str) -> Iterator[Path | None]:
        """Yield the path to write an artifact to, or None if artifacts are not kept.

        A full or read-only disk is noted and fails no test.
        """
        path = PurePosixPath(str(artifact_file).replace("\\", "/"))
        if (
            path.is_absolute()
            or ".." in path.parts
            or not path.name
            or not _is_encodable(path)
            or PureWindowsPath(path).drive  # another disk, on Windows
        ):
            raise ValueError(
                "mlflow_case: expected a relative path inside the run's artifacts, got "
                f"{artifact_file!r}"
            )
        root = self._log.artifact_directory
        if root is None:
            yield None
            return
        target = root / path
        try:
            make_directories(target.parent)
            if not target.resolve().is_relative_to(root.resolve()):
                raise OSError("a link leads out of the run's artifacts")
        except OSError as error:
            self._log.notes.append(f"artifact {artifact_file!r} is not kept: {error}")
            yield None
            return
        try:
            yield target
            if target.exists():
                restrict(target)
        except OSError as error:
            self._log.notes.append(f"artifact {artifact_file!r} is not kept: {error}")
            # What a full disk took of it is of no use.
            with suppress(OSError):
                target.unlink()


def _is_encodable(path: PurePosixPath) -> bool:
    """Return whether a file can have this path: whether its characters are encodable."""
    try:
        return b"\0" not in fsencode(path)
    except UnicodeEncodeError:
        return False


def _key(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise TypeError(f"mlflow_case: a name must be a text that isn't empty, got {key!r}")
    return key


def _number(key: str, value: object) -> float:
    if isinstance(value, (str, bytes)):
        raise TypeError(f"mlflow_case.log_metric({key!r}): expected a number, got {value!r}")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"mlflow_case.log_metric({key!r}): expected a number, got {type(value).__name__} "
            f"({error})"
        ) from error


def _step(key: str, step: object) -> int | None:
    if step is None:
        return None
    try:
        return index(step)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"mlflow_case.log_metric({key!r}): expected an integer step, got {step!r}"
        ) from None


def _add_rows(data: Any, target: Path | None) -> None:
    """Write the rows of ``data`` to ``target``, after those that it already holds.

    The file has MLflow's layout of tables, ``{"columns": [...], "data": [[...], ...]}``. Columns
    that only one of the two has are filled with null; NaN and the infinities become null too. With
    ``target`` None the data are only checked.

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


def _plain(value: Any, *, finite: bool = False) -> Any:
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
        return {_plain_key(key): _plain(item, finite=finite) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, finite=finite) for item in value]
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
    return _plain(values, finite=True)


def _pandas_json(data: Any, **layout: Any) -> Any:
    text = data.to_json(date_format="iso", double_precision=15, default_handler=str, **layout)
    return json.loads(text)


def _aligned(columns: list[str], rows: list[list[Any]], names: list[str]) -> list[list[Any]]:
    return [[dict(zip(columns, row, strict=True)).get(name) for name in names] for row in rows]


def seed_of(item: pytest.Item) -> int:
    """Return the fixture's value for ``item``; that of a fresh run is noted in its log."""
    log = item.stash.get(CASE_LOG, None)
    if log is None or not log.fresh_run:
        return _seed(_identity(item), 0)
    log.seed = _seed(_identity(item), log.fresh_run)
    return log.seed


def _identity(item: pytest.Item) -> str:
    """Return what tells a case from others in all sessions, without secrets."""
    try:
        case = CaseOptions.from_item(item).case
        names = SecretNames.parse(item.config.getini("mlflow_redact"))
    except (pytest.UsageError, ValueError):  # told of under --mlflow, and no matter without
        case, names = None, SecretNames()
    shown = case_name(item, case, names) or shown_text(item, plain_nodeid(item), names)
    return same_without_flag(item, shown)


def _seed(identity: str, number: int) -> int:
    """Return a number of 31 bits, which every library takes for a seed."""
    text = f"{identity} {number}".encode("utf-8", "surrogatepass")
    return int.from_bytes(sha256(text).digest()[:4], "big") >> 1
