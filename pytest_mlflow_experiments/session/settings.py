"""Read what the user wants: options, ini values, MLflow's and the CI's variables, checked."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import pytest

from ..capture.plugin import Assertions, Track
from ..records import LEGAL_ID
from ..records.secrets import MASK, SecretNames, environment_secrets, without_environment

if TYPE_CHECKING:
    from typing_extensions import Self

Wait = Literal["auto", "yes", "no"]

_OF_PYTEST = frozenset({"lsof", "runpytest"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_NOT_IN_URI = re.compile(r"\?|%[0-9A-Fa-f]{2}")
_SQLITE_FILE = re.compile(r"sqlite(\+\w+)?:///(?!/|:memory:|[A-Za-z]:[\\/])(?P<path>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user wants, from options, ini values and environment, checked.

    ``tracking_uri`` may hold credentials: it must not be written anywhere. ``shard_of`` is the id
    of the session that this one is to be a part of, ``resume`` which session it is to go on with.
    ``own_options`` is a digest of the options that conftests have added, with their values;
    ``timeout`` is in seconds.
    """

    rootdir: Path
    tracking_uri: str
    experiment_name: str | None
    experiment_id: str | None
    run_name: str | None
    shard_of: str | None
    tags: Mapping[str, str]
    track: Track
    assertions: Assertions
    offline: bool
    system_metrics: bool
    timeout: float
    wait: Wait
    secret_names: SecretNames = field(default_factory=SecretNames)
    resume: str | None = None
    own_options: str | None = None

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
            shard_of=_shard_of(config),
            tags=_tags(config),
            secret_names=secret_names(config),
            track=_track(config),
            assertions=assertions_setting(config),
            offline=config.option.mlflow_offline or config.getini("mlflow_offline"),
            system_metrics=config.option.mlflow_system_metrics
            or config.getini("mlflow_system_metrics"),
            timeout=_timeout(config),
            wait=_wait(config),
            resume=config.option.mlflow_resume,
            own_options=_own_options(config),
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


def secret_names(config: pytest.Config) -> SecretNames:
    """Return what tells which params and tags are secrets.

    Raises:
        pytest.UsageError: the ini value is not legal.
    """
    try:
        return SecretNames.parse(config.getini("mlflow_redact"))
    except ValueError as error:
        raise pytest.UsageError(f"ini value mlflow_redact: {error}") from None


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
    uri = uri or mlflow_variable(config, "MLFLOW_TRACKING_URI")
    if not uri:
        return f"sqlite:///{_in_uri(config.rootpath)}/mlflow.db"
    # Tests change the directory, and the tracker has one of its own: make the path absolute now.
    if match := _SQLITE_FILE.fullmatch(uri):
        return f"{uri[: match.start('path')]}{_in_uri(base)}/{match['path']}"
    if "://" in uri or uri in ("databricks", "databricks-uc", "uc"):
        return uri
    return str(base / uri.removeprefix("file:"))


def _in_uri(directory: Path) -> str:
    """Return a directory as a part of a SQLite URI.

    Whether ``%20`` is a space there depends on the release of SQLAlchemy, and MLflow means now the
    one and now the other.
    """
    path = directory.as_posix()
    if found := _NOT_IN_URI.search(path):
        raise pytest.UsageError(
            f"--mlflow: MLflow can't keep a SQLite file in {path!r}, for {found[0]!r} means "
            "something else in its URI; give another place with --mlflow-tracking-uri"
        )
    return path.rstrip("/")


def _experiment(config: pytest.Config) -> tuple[str | None, str | None]:
    """Return the experiment's name and id; exactly one of them is None."""
    if name := _text(config, "mlflow_experiment"):
        return name, None
    if name := mlflow_variable(config, "MLFLOW_EXPERIMENT_NAME"):
        return name, None
    if experiment_id := mlflow_variable(config, "MLFLOW_EXPERIMENT_ID"):
        return None, experiment_id
    # Where the locale is plain C, Python has but the bytes of a name that isn't ASCII.
    name = os.fsencode(config.rootpath.name).decode("utf-8", "replace")
    return name or "pytest", None


def _shard_of(config: pytest.Config) -> str | None:
    text = _text(config, "mlflow_session")
    try:
        return joint_session_id(text) if text is not None else None
    except ValueError as error:
        raise pytest.UsageError(f"--mlflow-session, or ini value mlflow_session: {error}") from None


def _tags(config: pytest.Config) -> dict[str, str]:
    tags: dict[str, str] = {}
    is_secret = secret_names(config)
    hidden = environment_secrets(is_secret)
    for source, pairs in (
        ("ini value mlflow_tags", config.getini("mlflow_tags")),
        ("--mlflow-tag", config.option.mlflow_tag),
    ):
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or not key.strip():
                raise pytest.UsageError(f"{source}: expected KEY=VALUE, got {pair!r}")
            text = MASK if is_secret(key.strip()) else without_environment(value.strip(), hidden)
            tags[key.strip()] = text
    return tags


def _track(config: pytest.Config) -> Track:
    value = _text(config, "mlflow_track") or "auto"
    if value not in get_args(Track):
        raise pytest.UsageError(
            "--mlflow-track, or ini value mlflow_track: expected auto, marked or all, "
            f"got {value!r}"
        )
    return value  # type: ignore[return-value]


def _wait(config: pytest.Config) -> Wait:
    value = _text(config, "mlflow_wait") or "auto"
    if value not in get_args(Wait):
        raise pytest.UsageError(
            f"--mlflow-wait, or ini value mlflow_wait: expected auto, yes or no, got {value!r}"
        )
    return value  # type: ignore[return-value]


def _own_options(config: pytest.Config) -> str | None:
    # Those without a group of their own; as a rule that is what a conftest adds.
    group = getattr(getattr(config, "_parser", None), "_anonymous", None)
    names = {str(option.dest) for option in getattr(group, "options", ())} - _OF_PYTEST
    if not names:
        return None
    values = [(name, repr(getattr(config.option, name, None))) for name in sorted(names)]
    return sha256(repr(values).encode("utf-8", "surrogatepass")).hexdigest()[:16]


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


_RUNS: Final = {
    "GITHUB_RUN_ID": "github",
    "CI_PIPELINE_ID": "gitlab",
    "CIRCLE_WORKFLOW_ID": "circleci",
    "BUILDKITE_BUILD_ID": "buildkite",
    "BUILD_BUILDID": "azure",
    "BUILD_TAG": "jenkins",
}
"""The variables that hold the id of a run of all jobs, and whose they are."""


def joint_session_id(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the id of a session that several machines share.

    Args:
        text: the id, or ``auto`` for one that all jobs of a run of the CI have in common.
        environ: where the CI tells of it.

    Raises:
        ValueError: the id is not legal, or the CI is not known.
    """
    if text == "auto":
        text = next(
            (f"{system}-{environ[name]}" for name, system in _RUNS.items() if environ.get(name)), ""
        )
        text = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
        if not text:
            raise ValueError(
                "'auto' needs the id of a CI's run, and none of "
                f"{', '.join(_RUNS)} is set; give the shards an id of your own"
            )
    if not LEGAL_ID.fullmatch(text):
        raise ValueError(
            f"expected up to 100 letters, digits, '.', '_' and '-', the first a letter or digit, "
            f"got {text!r}"
        )
    return text


_SET_BY_CALLS: Final = {
    "MLFLOW_TRACKING_URI": ("mlflow.tracking._tracking_service.utils", "_tracking_uri"),
    "MLFLOW_EXPERIMENT_ID": ("mlflow.tracking.fluent", "_active_experiment_id"),
}
_BEFORE: Final = pytest.StashKey[dict[str, str]]()


def remember_environment(config: pytest.Config) -> None:
    """Note what may change; to be called before the first conftest is imported."""
    config.stash[_BEFORE] = {name: os.environ[name] for name in _SET_BY_CALLS if name in os.environ}


def mlflow_variable(config: pytest.Config, name: str) -> str | None:
    """Return a variable of the environment, as it was before a call of MLflow's changed it."""
    value = os.environ.get(name) or None
    module, attribute = _SET_BY_CALLS.get(name, ("", ""))
    # What is loaded is looked at; nothing is loaded for it.
    if value is not None and value == getattr(sys.modules.get(module), attribute, None):
        return config.stash.get(_BEFORE, {}).get(name) or None
    return value
