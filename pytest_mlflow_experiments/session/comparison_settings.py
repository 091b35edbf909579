"""Read and check the options and ini values of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

import pytest

from ..baseline.specs import parse_spec
from ..records import Shard
from ..records.accepted import ACCEPTED_FILE, AcceptedError, read_accepted
from ..regression.comparer import CompareOptions
from ..regression.tolerance import parse_direction, parse_rule
from .builtin_hooks import SUFFIXES, other_formats
from .options import OPTIONS, ini
from .settings import at_least, given, ini_directory, is_on, read, switch, usage_errors

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

_GATE = partial(switch, "drift")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSettings:
    """How to compare: ``reports`` are absolute paths.

    ``rerun`` is how many fresh runs a suspicious case may have, ``rerun_time`` the seconds for all
    of them, or None for the default.
    """

    baseline: str
    options: CompareOptions
    rerun: int
    rerun_time: float | None
    gate: bool
    require_baseline: bool
    reports: tuple[Path, ...]

    @classmethod
    def from_config(cls, config: pytest.Config) -> Self:
        """Read the settings.

        Raises:
            pytest.UsageError: a value is not legal; the message names its option or ini value.
        """
        baseline = _baseline(config)
        gate = read(config, "mlflow_gate", _GATE) != "no"
        if gate and baseline == "none":
            raise pytest.UsageError(
                f"{OPTIONS['mlflow_gate'].source}: there is nothing to judge by with "
                "--mlflow-baseline=none; leave out one of them"
            )
        rerun = "5" if gate else "0"
        return cls(
            baseline=baseline,
            options=_compare_options(config),
            rerun=read(config, "mlflow_rerun", partial(at_least, 0, "a whole number"), rerun),
            rerun_time=read(config, "mlflow_rerun_time", _rerun_time),
            gate=gate,
            require_baseline=is_on(config, "mlflow_require_baseline"),
            reports=_reports(config),
        )

    def for_shard(self, session_id: str, rootdir: Path) -> Shard:
        """Return the settings for the merged session that this one is a shard of."""
        baseline = self.baseline
        file = Path(baseline.removeprefix("file:"))
        if baseline.startswith("file:") and file.is_relative_to(rootdir):
            # The shards are merged elsewhere, in another checkout.
            baseline = f"file:{file.relative_to(rootdir).as_posix()}"
        return Shard(
            session_id=session_id,
            baseline=baseline,
            history=self.options.window,
            ini_tolerances=_texts(self.options.ini_tolerances),
            tolerances=_texts(self.options.tolerances),
            directions=_texts(self.options.directions),
            seed_params=tuple(sorted(self.options.seed_params)),
            gate=self.gate,
            require_baseline=self.require_baseline,
            gate_drift=self.options.gate_drift,
            min_effects=_texts(self.options.min_effects),
            strict_guards=self.options.strict_guards,
        )

    def rules(self) -> tuple[str, ...]:
        """Return the rules for metrics as the session's header has them."""
        options = self.options
        named = {
            "tolerances": (*options.ini_tolerances, *options.tolerances),
            "directions": options.directions,
            "min_effects": options.min_effects,
        }
        return tuple(f"{name} {line}" for name, rules in named.items() for line in _texts(rules))


def _compare_options(config: pytest.Config) -> CompareOptions:
    """Return the options for comparing sessions, with the rule of the hooks."""
    with usage_errors(OPTIONS["mlflow_tolerance"].flag):
        tolerances = tuple(map(parse_rule, config.option.mlflow_tolerance))
    try:
        accepted = read_accepted(config.rootpath / ACCEPTED_FILE)
    except AcceptedError as error:
        raise pytest.UsageError(str(error)) from None
    rule = config.hook.pytest_mlflow_rule
    return CompareOptions(
        seed_params=frozenset(ini(config, "mlflow_seed_params")),
        window=read(config, "mlflow_history", partial(at_least, 1, "a whole number")),
        ini_tolerances=_ini_lines(config, "mlflow_tolerance", parse_rule),
        tolerances=tolerances,
        directions=_ini_lines(config, "mlflow_direction", parse_direction),
        min_effects=_ini_lines(config, "mlflow_min_effect", parse_rule),
        accepted=accepted,
        rule=lambda series: rule(series=series),
        gate_drift=read(config, "mlflow_gate", _GATE) == "drift",
        strict_guards=is_on(config, "mlflow_strict_guards"),
    )


def _texts(rules: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    """Format amounts or directions as in the ini file."""
    return tuple(f"{pattern}: {'none' if said is None else said}" for pattern, said in rules)


def _baseline(config: pytest.Config) -> str:
    """Return the baseline's spec; plugins that find baselines may have their own forms."""
    text, base = given(config, "mlflow_baseline")
    if text is None:
        text = OPTIONS["mlflow_baseline"].default
    try:
        spec = parse_spec(text)
    except ValueError as error:
        if config.hook.pytest_mlflow_baseline.get_hookimpls():
            return text
        raise pytest.UsageError(f"{OPTIONS['mlflow_baseline'].source}: {error}") from None
    if spec.kind == "file":
        # Tests change the directory: make the path absolute now.
        text = f"file:{base / spec.value}"
    return text


def _ini_lines(
    config: pytest.Config, name: str, parse: Callable[[str], tuple[str, T]]
) -> tuple[tuple[str, T], ...]:
    with usage_errors(OPTIONS[name].ini_value):
        return tuple(map(parse, ini(config, name)))


def _rerun_time(text: str) -> float | None:
    return at_least(0.0, "seconds", text) if text else None


def _reports(config: pytest.Config) -> tuple[Path, ...]:
    """Return the reports' paths, relative to the ini file or to the current directory."""
    paths = [ini_directory(config) / line for line in ini(config, "mlflow_report")]
    paths += [config.invocation_params.dir / text for text in config.option.mlflow_report]
    for path in paths:
        if path.suffix not in SUFFIXES and not other_formats(config.hook):
            raise pytest.UsageError(
                f"{OPTIONS['mlflow_report'].source}: expected a path that ends in "
                f"{', '.join(SUFFIXES)}, got {path.name!r}"
            )
    return tuple(paths)
