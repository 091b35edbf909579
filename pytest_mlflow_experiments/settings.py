"""What the user wants: options, ini values, environment and marker keywords, read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

if TYPE_CHECKING:
    from typing_extensions import Self

Track = Literal["auto", "marked", "all"]
Assertions = Literal["no", "yes", "all"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_SQLITE_FILE = re.compile(r"sqlite(\+\w+)?:///(?!/|:memory:|[A-Za-z]:[\\/])(?P<path>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user wants, from options, ini values and environment, checked.

    ``tracking_uri`` may hold credentials: it must not be written anywhere. ``timeout`` is in
    seconds.
    """

    rootdir: Path
    tracking_uri: str
    experiment_name: str | None
    experiment_id: str | None
    run_name: str | None
    tags: Mapping[str, str]
    track: Track
    assertions: Assertions
    offline: bool
    timeout: float

    @classmethod
    def from_config(cls, config: pytest.Config) -> Self:
        """Read the settings.

        Raises:
            pytest.UsageError: a value is not legal; the message names its option or ini value.
        """
        experiment_name, experiment_id = _experiment(config)
        return cls(
            rootdir=config.rootpath,
            tracking_uri=_tracking_uri(config),
            experiment_name=experiment_name,
            experiment_id=experiment_id,
            run_name=_text(config, "mlflow_run_name"),
            tags=_tags(config),
            track=_track(config),
            assertions=assertions_setting(config),
            offline=config.option.mlflow_offline or config.getini("mlflow_offline"),
            timeout=_timeout(config),
        )


def assertions_setting(config: pytest.Config) -> Assertions:
    """Tell whether assertions yield metrics, and which.

    Raises:
        pytest.UsageError: the ini value is not legal.
    """
    if getattr(config.known_args_namespace, "no_mlflow_assertions", False):
        return "no"
    value = str(config.getini("mlflow_assertions") or "true").strip().lower()
    if value == "all":
        return "all"
    if value in _TRUE:
        return "yes"
    if value in _FALSE:
        return "no"
    raise pytest.UsageError(
        f"ini value mlflow_assertions: expected true, false or all, got {value!r}"
    )


def ini_directory(config: pytest.Config) -> Path:
    """Return the directory that relative paths in the ini file start from."""
    return config.inipath.parent if config.inipath else config.rootpath


def _text(config: pytest.Config, name: str) -> str | None:
    """Return the option ``name``, else the ini value of that name, else None."""
    value: str | None = getattr(config.option, name)
    return config.getini(name) or None if value is None else value


def _tracking_uri(config: pytest.Config) -> str:
    base = config.invocation_params.dir
    uri = config.option.mlflow_tracking_uri
    if uri is None and (uri := config.getini("mlflow_tracking_uri") or None):
        base = ini_directory(config)
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return f"sqlite:///{config.rootpath.as_posix()}/mlflow.db"
    # Tests change the directory, and the tracker has one of its own: make the path absolute now.
    if match := _SQLITE_FILE.fullmatch(uri):
        path = (base / match["path"]).as_posix()
        return uri[: match.start("path")] + path
    if "://" in uri or uri in ("databricks", "databricks-uc", "uc"):
        return uri
    return str(base / uri.removeprefix("file:"))


def _experiment(config: pytest.Config) -> tuple[str | None, str | None]:
    """Return the experiment's name and id; exactly one of them is None."""
    if name := _text(config, "mlflow_experiment"):
        return name, None
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        return name, None
    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return None, experiment_id
    return config.rootpath.name or "pytest", None


def _tags(config: pytest.Config) -> dict[str, str]:
    tags: dict[str, str] = {}
    for source, pairs in (
        ("ini value mlflow_tags", config.getini("mlflow_tags")),
        ("--mlflow-tag", config.option.mlflow_tag),
    ):
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or not key.strip():
                raise pytest.UsageError(f"{source}: expected KEY=VALUE, got {pair!r}")
            tags[key.strip()] = value.strip()
    return tags


def _track(config: pytest.Config) -> Track:
    value = _text(config, "mlflow_track") or "auto"
    if value not in get_args(Track):
        raise pytest.UsageError(
            "--mlflow-track, or ini value mlflow_track: expected auto, marked or all, "
            f"got {value!r}"
        )
    return value  # type: ignore[return-value]


def _timeout(config: pytest.Config) -> float:
    text = _text(config, "mlflow_timeout") or "30"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise pytest.UsageError(
            "--mlflow-timeout, or ini value mlflow_timeout: expected seconds, 0 or more, "
            f"got {text!r}"
        )
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOptions:
    """The keywords of ``@pytest.mark.mlflow``; its fields are the only list of them.

    Where a test carries the marker more than once (module, class, function), the closest one wins,
    keyword by keyword, and dicts are joined: what the closest one says comes last, as the last
    pattern for a metric counts.
    """

    case: str | None = None
    tags: Mapping[str, object] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    track: bool = True
    log_system_metrics: bool | None = None
    tolerance: Mapping[str, object] = field(default_factory=dict)
    direction: Mapping[str, object] = field(default_factory=dict)
    marked: bool = False

    @classmethod
    def from_item(cls, item: pytest.Item) -> Self:
        """Read the markers of a test.

        Raises:
            pytest.UsageError: a keyword is unknown or its value not legal; the message names the
                test and the legal keywords.
        """
        values: dict[str, Any] = {}
        marked = False
        for node, marker in item.iter_markers_with_node("mlflow"):
            marked = True
            _check_marker(item, marker)
            for key, value in marker.kwargs.items():
                if isinstance(value, Mapping):
                    closer = values.get(key, {})
                    farther = {name: item for name, item in value.items() if name not in closer}
                    values[key] = {**farther, **closer}
                elif key == "case" and value is not None and node is not item:
                    # The name of a class or module is that of several tests.
                    rest = item.nodeid.removeprefix(node.nodeid).lstrip(":")
                    values.setdefault(key, f"{value}::{rest.partition('[')[0]}")
                elif value is not None:
                    values.setdefault(key, value)
        return cls(**values, marked=marked)


_KEYWORD_TYPES: dict[str, tuple[type, str]] = {
    "case": (str, "a string"),
    "tags": (Mapping, "a dict"),
    "params": (Mapping, "a dict"),
    "track": (bool, "True or False"),
    "log_system_metrics": (bool, "True or False"),
    "tolerance": (Mapping, "a dict"),
    "direction": (Mapping, "a dict"),
}
assert {f.name for f in fields(CaseOptions)} - {"marked"} == _KEYWORD_TYPES.keys()


def _check_marker(item: pytest.Item, marker: pytest.Mark) -> None:
    where = f"{item.nodeid}: @pytest.mark.mlflow"
    if marker.args:
        raise pytest.UsageError(f"{where} takes keywords only, got {marker.args[0]!r}")
    for key, value in marker.kwargs.items():
        if key not in _KEYWORD_TYPES:
            legal = ", ".join(_KEYWORD_TYPES)
            raise pytest.UsageError(f"{where} has no keyword {key!r}; the legal ones are {legal}")
        expected, text = _KEYWORD_TYPES[key]
        if value is not None and not isinstance(value, expected):
            raise pytest.UsageError(f"{where}({key}=...) takes {text}, got {value!r}")
        if key in _METRIC_CHECKS and isinstance(value, Mapping):
            _check_metrics(f"{where}({key}=...)", value, _METRIC_CHECKS[key])


def _check_metrics(
    where: str, said: Mapping[object, object], check: Callable[[object], object]
) -> None:
    for metric, value in said.items():
        if not isinstance(metric, str) or not metric.strip():
            raise pytest.UsageError(f"{where} takes names or patterns of metrics, got {metric!r}")
        try:
            check(value)
        except ValueError as error:
            raise pytest.UsageError(f"{where}, {metric!r}: {error}") from None


def _check_tolerance(value: object) -> None:
    # Only here: few tests say a tolerance.
    from .regression.tolerance import Tolerance

    Tolerance.parse(str(value))


def _check_direction(value: object) -> None:
    if value not in ("min", "max"):
        raise ValueError(f"expected 'min' or 'max', whichever is better, got {value!r}")


_METRIC_CHECKS: dict[str, Callable[[object], object]] = {
    "tolerance": _check_tolerance,
    "direction": _check_direction,
}
