"""How the user wants sessions compared: options and ini values, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

import pytest

from ..baseline import HISTORY, parse_spec
from ..records import Shard
from ..records.accepted import ACCEPTED_FILE, AcceptedError, AcceptedStep, read_accepted
from ..regression.tolerance import Tolerance, parse_direction, parse_rule
from .builtin_hooks import SUFFIXES, other_formats
from .settings import ini_directory

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..regression import Direction

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSettings:
    """How to compare, checked. ``reports`` are absolute paths; ``rerun`` is a number of runs."""

    baseline: str
    history: int
    ini_tolerances: tuple[tuple[str, Tolerance], ...]
    tolerances: tuple[tuple[str, Tolerance], ...]
    directions: tuple[tuple[str, Direction | None], ...]
    seed_params: frozenset[str]
    accepted: tuple[AcceptedStep, ...]
    rerun: int
    gate: bool
    require_baseline: bool
    reports: tuple[Path, ...]

    @classmethod
    def from_config(cls, config: pytest.Config) -> Self:
        """Read the settings.

        Raises:
            pytest.UsageError: a value is not legal; the message names its option or ini value.
        """
        option = config.option
        baseline = _baseline(config)
        gate = option.mlflow_gate or config.getini("mlflow_gate")
        if gate and baseline == "none":
            raise pytest.UsageError(
                "--mlflow-gate, or ini value mlflow_gate: there is nothing to judge by with "
                "--mlflow-baseline=none; leave out one of them"
            )
        return cls(
            baseline=baseline,
            history=_integer(config, "mlflow_history", default=HISTORY, lowest=1),
            ini_tolerances=_lines(
                config.getini("mlflow_tolerance"), "ini value mlflow_tolerance", parse_rule
            ),
            tolerances=_lines(option.mlflow_tolerance, "--mlflow-tolerance", parse_rule),
            directions=_lines(
                config.getini("mlflow_direction"), "ini value mlflow_direction", parse_direction
            ),
            seed_params=frozenset(config.getini("mlflow_seed_params")),
            accepted=_accepted(config.rootpath / ACCEPTED_FILE),
            rerun=_integer(config, "mlflow_rerun", default=0, lowest=0),
            gate=gate,
            require_baseline=option.mlflow_require_baseline
            or config.getini("mlflow_require_baseline"),
            reports=_reports(config),
        )

    def for_whole(self, session_id: str, rootdir: Path) -> Shard:
        """Return how the session is to be compared that this one is a shard of."""
        baseline = self.baseline
        file = Path(baseline.removeprefix("file:"))
        if baseline.startswith("file:") and file.is_relative_to(rootdir):
            # The whole is put together elsewhere, in another checkout.
            baseline = f"file:{file.relative_to(rootdir).as_posix()}"
        return Shard(
            session_id=session_id,
            baseline=baseline,
            history=self.history,
            ini_tolerances=_texts(self.ini_tolerances),
            tolerances=_texts(self.tolerances),
            directions=_texts(self.directions),
            seed_params=tuple(sorted(self.seed_params)),
            gate=self.gate,
            require_baseline=self.require_baseline,
        )


def _texts(rules: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    """Return tolerances or directions as the user may have written them."""
    return tuple(f"{pattern}: {'none' if said is None else said}" for pattern, said in rules)


def _baseline(config: pytest.Config) -> str:
    """Return what to compare with; where a plugin finds baselines, it may be a form of its own."""
    text: str | None = config.option.mlflow_baseline
    base = config.invocation_params.dir
    if text is None:
        text = config.getini("mlflow_baseline") or "auto"
        base = ini_directory(config)
    try:
        spec = parse_spec(text)
    except ValueError as error:
        if config.hook.pytest_mlflow_baseline.get_hookimpls():
            return text
        raise pytest.UsageError(
            f"--mlflow-baseline, or ini value mlflow_baseline: {error}"
        ) from None
    if spec.kind == "file":
        # Tests change the directory: make the path absolute now.
        text = f"file:{base / spec.value}"
    return text


def _integer(config: pytest.Config, name: str, *, default: int, lowest: int) -> int:
    text = getattr(config.option, name) or config.getini(name) or str(default)
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        raise pytest.UsageError(
            f"--{name.replace('_', '-')}, or ini value {name}: expected a whole number, {lowest} "
            f"or more, got {text!r}"
        )
    return number


def _lines(
    lines: list[str], source: str, parse: Callable[[str], tuple[str, T]]
) -> tuple[tuple[str, T], ...]:
    try:
        return tuple(parse(line) for line in lines)
    except ValueError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def _accepted(path: Path) -> tuple[AcceptedStep, ...]:
    try:
        return read_accepted(path)
    except AcceptedError as error:
        raise pytest.UsageError(str(error)) from None


def _reports(config: pytest.Config) -> tuple[Path, ...]:
    """Return where to write reports: beside the ini file, or below the current directory."""
    paths = [ini_directory(config) / line for line in config.getini("mlflow_report")]
    paths += [config.invocation_params.dir / text for text in config.option.mlflow_report]
    for path in paths:
        if path.suffix not in SUFFIXES and not other_formats(config.hook):
            raise pytest.UsageError(
                "--mlflow-report, or ini value mlflow_report: expected a path that ends in "
                f"{', '.join(SUFFIXES)}, got {path.name!r}"
            )
    return tuple(paths)
