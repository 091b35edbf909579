"""Read and check options, ini values, and the environment variables of MLflow and the CI."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import pytest

from ..baseline.local import absolute_store
from ..capture.plugin import Assertions, Track
from ..records.secret_names import SecretNames
from ..records.secrets import MASK, environment_secrets, without_environment
from ..records.session import LEGAL_ID
from .options import OPTIONS, ini

if TYPE_CHECKING:
    from typing_extensions import Self

Wait = Literal["auto", "yes", "no"]

_PYTEST_OPTIONS = frozenset({"lsof", "runpytest"})
_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), "yes"),
    **dict.fromkeys(("0", "false", "no", "off", ""), "no"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a session, from options, ini values and environment, checked.

    ``tracking_uri`` may hold credentials: it must not be written anywhere. ``shard_of`` is the id
    of the session that this one is a shard of, ``resume`` the session to resume. ``own_options`` is
    a digest of the options added by conftests, with their values; ``timeout`` is in seconds.
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
        is_shard = given(config, "mlflow_session")[0] is not None
        with usage_errors(OPTIONS["mlflow_redact"].source):
            secret_names = SecretNames.parse(ini(config, "mlflow_redact"))
        return cls(
            rootdir=config.rootpath,
            tracking_uri=_tracking_uri(config),
            experiment_name=experiment_name,
            experiment_id=experiment_id,
            run_name=given(config, "mlflow_run_name")[0],
            shard_of=read(config, "mlflow_session", joint_session_id) if is_shard else None,
            tags=_tags(config, secret_names),
            secret_names=secret_names,
            track=read(config, "mlflow_track", partial(_one_of, Track)),
            assertions=assertions_setting(config),
            offline=is_on(config, "mlflow_offline"),
            system_metrics=is_on(config, "mlflow_system_metrics"),
            timeout=read(config, "mlflow_timeout", partial(at_least, 0.0, "seconds")),
            wait=read(config, "mlflow_wait", partial(_one_of, Wait)),
            resume=config.option.mlflow_resume,
            own_options=_own_options(config),
        )


T = TypeVar("T")
Number = TypeVar("Number", int, float)


def given(config: pytest.Config, name: str) -> tuple[str | None, Path]:
    """Return the text of an option or its ini value, and the base of relative paths in it."""
    text: str | None = getattr(config.option, name, None)
    if text is None and (text := ini(config, name) or None):
        return text, ini_directory(config)
    return text, config.invocation_params.dir


def read(
    config: pytest.Config, name: str, parse: Callable[[str], T], default: str | None = None
) -> T:
    """Parse the text of an option, else of its ini value, else the default, which may be given.

    Raises:
        pytest.UsageError: ``parse`` raises a ValueError.
    """
    option = OPTIONS[name]
    with usage_errors(option.source):
        return parse(given(config, name)[0] or default or option.default)


def is_on(config: pytest.Config, name: str) -> bool:
    """Return whether a switch is on, by its option or ini value."""
    return bool(getattr(config.option, name) or ini(config, name))


@contextmanager
def usage_errors(source: str) -> Iterator[None]:
    """Turn a ValueError into a usage error that names the option or ini value."""
    try:
        yield
    except ValueError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def ini_directory(config: pytest.Config) -> Path:
    """Return the directory that relative paths in the ini file start from."""
    return config.inipath.parent if config.inipath else config.rootpath


def assertions_setting(config: pytest.Config) -> Assertions:
    """Return which comparisons in assertions yield metrics; raise what :func:`read` does."""
    if getattr(config.known_args_namespace, "no_mlflow_assertions", False):
        return "no"
    return read(config, "mlflow_assertions", partial(switch, "all"))


def switch(other: str, text: str) -> Any:
    """Parse a switch: return yes, no, or ``other``."""
    word = text.strip().lower()
    if word not in (other, *_SWITCH):
        raise ValueError(f"expected true, false or {other}, got {word!r}")
    return _SWITCH.get(word, other)


def _tracking_uri(config: pytest.Config) -> str:
    uri, base = given(config, "mlflow_tracking_uri")
    source = OPTIONS["mlflow_tracking_uri"].source
    if not uri and (uri := mlflow_variable(config, "MLFLOW_TRACKING_URI")):
        source = "the variable MLFLOW_TRACKING_URI"
    if not uri:
        uri, base, source = "sqlite:///mlflow.db", config.rootpath, "--mlflow"
    # Tests change the directory, and the tracker has one of its own: make the path absolute now.
    with usage_errors(source):
        return absolute_store(uri, base)


def _experiment(config: pytest.Config) -> tuple[str | None, str | None]:
    """Return the experiment's name and id; exactly one of them is None."""
    name = given(config, "mlflow_experiment")[0]
    if name := name or mlflow_variable(config, "MLFLOW_EXPERIMENT_NAME"):
        return name, None
    if experiment_id := mlflow_variable(config, "MLFLOW_EXPERIMENT_ID"):
        return None, experiment_id
    # Where the locale is plain C, Python has but the bytes of a name that isn't ASCII.
    name = os.fsencode(config.rootpath.name).decode("utf-8", "replace")
    return name or "pytest", None


def _tags(config: pytest.Config, is_secret: SecretNames) -> dict[str, str]:
    tags: dict[str, str] = {}
    hidden = environment_secrets(is_secret)
    for source, pairs in (
        (OPTIONS["mlflow_tags"].ini_value, ini(config, "mlflow_tags")),
        (OPTIONS["mlflow_tag"].flag, config.option.mlflow_tag),
    ):
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or not key.strip():
                raise pytest.UsageError(f"{source}: expected KEY=VALUE, got {pair!r}")
            text = MASK if is_secret(key.strip()) else without_environment(value.strip(), hidden)
            tags[without_environment(key.strip(), hidden)] = text
    return tags


def _one_of(kind: Any, text: str) -> Any:
    """Return the text, which has to be a value of the ``Literal``."""
    legal = get_args(kind)
    if text not in legal:
        raise ValueError(f"expected {', '.join(legal[:-1])} or {legal[-1]}, got {text!r}")
    return text


def at_least(lowest: Number, wanted: str, text: str) -> Number:
    """Parse a number; ``wanted`` describes what is expected."""
    with suppress(ValueError):
        if lowest <= (number := type(lowest)(text)) < inf:
            return number
    raise ValueError(f"expected {wanted}, {lowest:g} or more, got {text!r}")


def _own_options(config: pytest.Config) -> str | None:
    # Those without a group of their own; as a rule that is what a conftest adds.
    group = getattr(getattr(config, "_parser", None), "_anonymous", None)
    names = {str(option.dest) for option in getattr(group, "options", ())} - _PYTEST_OPTIONS
    if not names:
        return None
    values = [(name, repr(getattr(config.option, name, None))) for name in sorted(names)]
    return sha256(repr(values).encode("utf-8", "surrogatepass")).hexdigest()[:16]


_RUNS: Final = {
    "GITHUB_RUN_ID": "github",
    "CI_PIPELINE_ID": "gitlab",
    "CIRCLE_WORKFLOW_ID": "circleci",
    "BUILDKITE_BUILD_ID": "buildkite",
    "BUILD_BUILDID": "azure",
    "BUILD_TAG": "jenkins",
}
"""The variables with the id of a CI run, common to its jobs, and the CI's name."""


def joint_session_id(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the id of a session that several machines share as shards.

    ``auto`` is the id of the CI run, common to all its jobs, from ``environ``.

    Raises:
        ValueError: the id is not legal, or the CI is unknown.
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
    """Save MLflow's variables; to be called before the first conftest is imported."""
    config.stash[_BEFORE] = {name: os.environ[name] for name in _SET_BY_CALLS if name in os.environ}


def mlflow_variable(config: pytest.Config, name: str) -> str | None:
    """Return a variable of the environment as it was before calls of MLflow changed it."""
    value = os.environ.get(name) or None
    module, attribute = _SET_BY_CALLS.get(name, ("", ""))
    # What is loaded is looked at; nothing is loaded for it.
    if value is not None and value == getattr(sys.modules.get(module), attribute, None):
        return config.stash.get(_BEFORE, {}).get(name) or None
    return value
