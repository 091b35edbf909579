"""One running test case: what it logs and asserts, until it is frozen into a record."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field, replace
from itertools import count, repeat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias, final

from ..records import Attempt, CaseRecord, DatasetInput, Metric, Outcome
from ..records.directory import files_below, make_directories
from ..records.secrets import MASK
from .assertions.recorder import Observations
from .dataset_digest import joined_digest
from .dataset_input import finished_input
from .marker import CaseOptions
from .measuring import Clock, Reading, read_usage, usage_between
from .merged_metrics import LoggedMetric, best_values, merge
from .secrets import CaseMask, CaseSecrets, SecretRules

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

Deliver: TypeAlias = "Callable[[pytest.TestReport | None, CaseRecord], None]"
"""A function that takes the teardown's report (None if interrupted) and the case's record."""

MAX_FAILURE_LENGTH = 1_000_000

_NO_RULES = SecretRules()
_NO_OPTIONS = CaseOptions()


def record_ids() -> Iterator[str]:
    """Yield record ids, numbered within the process; tests may replace ``uuid``'s functions."""
    return map("{}{:08x}".format, repeat(uuid.uuid4().hex[8:]), count())


@final
@dataclass(slots=True, eq=False, kw_only=True)
class CaseLog:
    """The log of one attempt of a test case.

    The recorder of assertions appends to ``observations``, from whatever thread an assertion runs
    in. ``artifact_root`` gets a directory for each case with artifacts; with None no artifacts are
    kept. ``datasets`` holds digests by the name of the data, in the order in which they came.
    ``fresh_run`` is the number of a fresh run, ``seed`` the one that it asked for;
    ``random_examples`` tells that Hypothesis runs the test.
    """

    clock: Clock = field(kw_only=False)
    artifact_root: Path | None = None
    id: str = field(default_factory=lambda: os.urandom(16).hex())
    rules: InitVar[SecretRules] = _NO_RULES
    start_time: int = field(init=False)
    secrets: CaseSecrets = field(init=False)
    observations: Observations = field(default_factory=Observations)
    logged: list[LoggedMetric] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, dict[str, None]] = field(default_factory=dict)
    inputs: list[DatasetInput] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run_id: str | None = None
    run_metrics: dict[str, float] = field(default_factory=dict)
    run_history: list[Metric] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=dict)
    usage_before: Reading | None = None
    failures: list[str] = field(default_factory=list)
    outcome: Outcome = "passed"
    rerun: bool = False
    options: CaseOptions = _NO_OPTIONS
    fresh_run: int = 0
    random_examples: bool = False
    seed: int | None = None
    _has_artifacts: bool = False

    def __post_init__(self, rules: SecretRules) -> None:
        self.start_time = self.clock.now()
        self.secrets = CaseSecrets(rules)

    @property
    def is_kept(self) -> bool:
        """Whether the case becomes a run; of a fresh run only the metrics are used."""
        return self.artifact_root is not None

    @property
    def artifact_directory(self) -> Path | None:
        """The directory for the artifacts, or None if they are not kept."""
        if self.artifact_root is None:
            return None
        self._has_artifacts = True
        return self.artifact_root / self.id

    @property
    def has_metrics(self) -> bool:
        """Whether anything was asserted or logged as a metric."""
        return bool(self.observations.raw or self.logged)

    def artifacts(self) -> tuple[str, ...]:
        """Return the paths of the artifacts kept so far, relative, with forward slashes."""
        # Most cases have none, and need no look at the disk: nobody has asked for the directory.
        root = self.artifact_directory if self._has_artifacts else None
        return () if root is None else files_below(root)

    def keep_artifacts_of(self, earlier: CaseLog, number: int) -> None:
        """Move the artifacts of an earlier attempt below ``attempt-<number>``."""
        if not earlier.artifacts():
            return
        root, theirs = self.artifact_directory, earlier.artifact_directory
        if root is None or theirs is None:
            return
        try:
            make_directories(root)
            for path in [*theirs.glob("attempt-*"), theirs]:
                path.rename(root / (f"attempt-{number}" if path == theirs else path.name))
        except OSError as error:
            self.notes.append(f"the artifacts of attempt {number} are not kept: {error}")

    def begin_call(self) -> None:
        """Read the process's usage before the call of the test."""
        self.usage_before = read_usage()

    def end_call(self) -> None:
        """Read the usage of the call so far; the last reading counts, as subtests end within it."""
        if self.usage_before is not None:
            self.usage = usage_between(self.usage_before, read_usage())

    def count_interrupted_phase(self) -> None:
        """Add the duration of an interrupted phase, which has no report."""
        phase = next((p for p in ("setup", "call") if p not in self.durations), "teardown")
        elapsed = (self.clock.now() - self.start_time) / 1_000
        self.durations[phase] = max(0.0, elapsed - sum(self.durations.values()))

    def failure(self) -> str | None:
        """Return the failure texts of all phases as one, or None."""
        if not self.failures:
            return None
        text = "\n\n".join(self.failures)
        if len(text) > MAX_FAILURE_LENGTH:
            text = f"{text[:MAX_FAILURE_LENGTH]}\n… [{len(text)} characters]"
        return text

    def freeze(
        self,
        *,
        nodeid: str,
        case: str,
        name: str,
        tags: dict[str, str],
        attempts: Iterable[CaseLog] = (),
        arguments: tuple[str, ...] = (),
        renamed: tuple[str, str] | None = None,
    ) -> CaseRecord:
        """Return the record of the finished case, without secrets.

        ``renamed`` is pytest's name of the test and the recorded one, if they differ.
        """
        attempts = tuple(attempts)
        environment, options = self.secrets.rules.environment, self.options
        metrics, checks = merge(
            *(self.logged, self.observations, self.clock, self.run_metrics, self.run_history),
            random_examples=self.random_examples,
        )
        own = {metric.key for metric in metrics} if self.run_metrics else ()
        notes = self._all_notes(attempts)
        params, tags, artifacts = self.params, {**tags, **self.tags}, self.artifacts()
        named = (*params, *arguments, *tags, *self.datasets, *self.run_metrics, *artifacts, *notes)
        measured = _texts_of((*metrics, *self.run_history))
        # One look at all of them: most cases have no secrets.
        texts = "\0".join((*named, *measured, *params.values(), *tags.values()))
        has_secrets = environment.finds(texts)
        if has_secrets or "://" in texts:
            arguments = tuple(map(environment, arguments))
            params = self.secrets.without_environment(params)
            tags = self.secrets.without_environment(tags)
            notes = tuple(map(self.secrets.in_text, notes))
        record = CaseRecord(
            id=self.id,
            nodeid=nodeid,
            case=case,
            name=name,
            outcome=self.outcome,
            start_time=self.start_time,
            end_time=self.clock.now(),
            durations=self.durations,
            params=dict(params),
            metrics=metrics,
            checks=checks,
            tags=tags,
            artifacts=artifacts,
            failure=self.failure(),
            run_id=self.run_id,
            attempts=tuple([log.as_attempt() for log in attempts]),
            notes=notes,
            arguments=arguments,
            datasets={name: joined_digest(digests) for name, digests in self.datasets.items()},
            tolerances={key: str(value) for key, value in options.tolerance.items()},
            directions={key: str(value) for key, value in options.direction.items()},
            min_effects={key: str(value) for key, value in options.min_effect.items()},
            objective=options.objective,
            swept=options.sweep,
            best=self._best(metrics),
            run_metrics={name: v for name, v in self.run_metrics.items() if name not in own},
            run_history=tuple(self.run_history),
            inputs=tuple(
                [finished_input(one, nodeid, self.secrets.in_text) for one in self.inputs]
            ),
            usage=self.usage,
        )
        secrets = {secret: None for log in (self, *attempts) for secret in log.secrets.values}
        if not secrets and not has_secrets:
            return record
        mask = CaseMask(
            secrets,
            own=nodeid.partition("[")[0],
            renamed=renamed,
            arguments=arguments,
            environment=environment,
        )
        return self._with_masked_artifacts(mask.record(record), mask)

    def _with_masked_artifacts(self, record: CaseRecord, mask: CaseMask) -> CaseRecord:
        root = self.artifact_directory if record.artifacts else None
        if root is None:
            return record
        names = sorted(_renamed(root, name, mask(name)) for name in record.artifacts)
        return replace(record, artifacts=tuple(names))

    def _all_notes(self, attempts: Sequence[CaseLog]) -> tuple[str, ...]:
        if not (attempts or self.notes or self.secrets.names or self.observations.dropped):
            return ()
        notes = list(self.notes)
        if hidden := {name: None for log in (self, *attempts) for name in log.secrets.names}:
            notes.append(f"kept as {MASK}, for it is a secret by its name: {', '.join(hidden)}")
        if dropped := self.observations.dropped:
            room = len(self.observations)
            notes.append(f"{dropped} more checks are not kept: a case has room for {room} of them")
        return tuple(notes)

    def _best(self, metrics: Sequence[Metric]) -> dict[str, float]:
        """Return the best value of each metric that the marker names as ``best``."""
        options = self.options
        if not options.best:
            return {}
        return best_values((*metrics, *self.run_history), options.best, options.direction)

    def as_attempt(self) -> Attempt:
        """Return this attempt for the record of a later one."""
        metrics, checks = merge(
            self.logged, self.observations, self.clock, random_examples=self.random_examples
        )
        attempt = Attempt(
            outcome=self.outcome,
            duration=self.durations.get("call", self.durations.get("setup", 0.0)),
            metrics=metrics,
            checks=checks,
            failure=self.failure(),
            usage=self.usage,
            seed=self.seed,
            best=self._best(metrics),
        )
        secrets, environment = self.secrets.values, self.secrets.rules.environment
        if secrets or environment.finds("\0".join(_texts_of(metrics))):
            return CaseMask(secrets, environment=environment).record(attempt)
        return attempt


def _texts_of(metrics: Iterable[Metric]) -> list[str]:
    return [text for metric in metrics for text in (metric.key, metric.place) if text]


def _renamed(root: Path, name: str, masked: str) -> str:
    """Rename an artifact without secrets, as far as the system allows; return the name."""
    if name == masked:
        return name
    if os.name == "nt":
        masked = masked.replace("*", "_")
    path = PurePosixPath(masked)
    for number in count(2):
        if not (root / path).exists():
            break
        path = path.with_name(f"{number}-{PurePosixPath(masked).name}")
    make_directories((root / path).parent)
    (root / name).rename(root / path)
    with suppress(OSError):  # others are in it
        for parent in PurePosixPath(name).parents[:-1]:
            (root / parent).rmdir()
    return str(path)
