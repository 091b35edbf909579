"""What is known of a session before its first test, and after its last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from .case import Builtins, encode_float
from .tags import BRANCH, COMMIT

SCHEMA_VERSION = 1

LEGAL_ID = re.compile(r"(?!baseline\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""What the id of a session may be that users name: it is also that of a directory.

Beside those of sessions there is the file ``baseline``.
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What a session tells of the larger one that it is a part of.

    ``session_id`` is the id of the whole. The rest is how the whole is to be compared, as the user
    wrote it: the options ``--mlflow-baseline``, ``--mlflow-history`` and so on of the shard.
    """

    session_id: str
    baseline: str = "auto"
    history: int = 20
    ini_tolerances: tuple[str, ...] = ()
    tolerances: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    seed_params: tuple[str, ...] = ()
    gate: bool = False
    require_baseline: bool = False

    def to_builtins(self) -> Builtins:
        """Return the shard as JSON builtins."""
        return {
            "session_id": self.session_id,
            "baseline": self.baseline,
            "history": self.history,
            "ini_tolerances": list(self.ini_tolerances),
            "tolerances": list(self.tolerances),
            "directions": list(self.directions),
            "seed_params": list(self.seed_params),
            "gate": self.gate,
            "require_baseline": self.require_baseline,
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> Shard:
        """Rebuild a shard from :meth:`to_builtins`."""
        return cls(
            session_id=data["session_id"],
            baseline=data["baseline"],
            history=data["history"],
            ini_tolerances=tuple(data["ini_tolerances"]),
            tolerances=tuple(data["tolerances"]),
            directions=tuple(data["directions"]),
            seed_params=tuple(data["seed_params"]),
            gate=data["gate"],
            require_baseline=data["require_baseline"],
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHeader:
    """What is known of a session before its first test.

    ``tracking_uri`` carries no credentials. Exactly one of ``experiment_name`` and
    ``experiment_id`` may be None. ``tags`` are the tags of the session's run. ``accepted`` are the
    ids of the accepted steps that the session was run with. ``shard`` is set where several
    sessions, on several machines as often as not, make up one; ``shards`` are the ids of those
    that this one was put together from.
    """

    session_id: str
    name: str
    start_time: int
    tracking_uri: str
    experiment_name: str | None
    experiment_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    shard: Shard | None = None
    shards: tuple[str, ...] = ()

    @property
    def joint_id(self) -> str:
        """The id by which MLflow knows the session's run: that of the whole, for a shard."""
        return self.shard.session_id if self.shard else self.session_id

    @property
    def partial(self) -> str | None:
        """Why only some of the tests were meant to run here, or None."""
        return f"it is a shard of session {self.shard.session_id}" if self.shard else None

    @property
    def branch(self) -> str | None:
        """The branch that was tested, or None outside of git."""
        return self.tags.get(BRANCH)

    @property
    def commit(self) -> str | None:
        """The commit that was tested, or None outside of git."""
        return self.tags.get(COMMIT)

    def to_builtins(self) -> Builtins:
        """Return the header as JSON builtins, with the version of the schema."""
        return {
            "schema": SCHEMA_VERSION,
            "session_id": self.session_id,
            "name": self.name,
            "start_time": self.start_time,
            "tracking_uri": self.tracking_uri,
            "experiment_name": self.experiment_name,
            "experiment_id": self.experiment_id,
            "tags": dict(self.tags),
            "accepted": list(self.accepted),
            **({"shard": self.shard.to_builtins()} if self.shard else {}),
            **({"shards": list(self.shards)} if self.shards else {}),
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> SessionHeader:
        """Rebuild a header from :meth:`to_builtins`.

        Raises:
            ValueError: the data follow a schema that this version does not know.
        """
        if data.get("schema") != SCHEMA_VERSION:
            raise ValueError(
                f"schema version {data.get('schema')!r} is not known; this version of "
                f"pytest-mlflow-experiments reads version {SCHEMA_VERSION}"
            )
        return cls(
            session_id=data["session_id"],
            name=data["name"],
            start_time=data["start_time"],
            tracking_uri=data["tracking_uri"],
            experiment_name=data["experiment_name"],
            experiment_id=data["experiment_id"],
            tags=data["tags"],
            accepted=tuple(data.get("accepted", ())),
            shard=Shard.from_builtins(data["shard"]) if data.get("shard") else None,
            shards=tuple(data.get("shards", ())),
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEnd:
    """What the run of a sweep says once its last case is known.

    ``test`` is the sweep's :attr:`~.case.CaseRecord.sweep`. ``metrics`` and ``params`` are those of
    the best configuration, where there is one; ``tags`` and ``summary`` (markdown) tell the rest.
    """

    test: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""

    def to_builtins(self) -> Builtins:
        """Return the end as JSON builtins."""
        return {
            "test": self.test,
            "metrics": {name: encode_float(value) for name, value in self.metrics.items()},
            "params": dict(self.params),
            "tags": dict(self.tags),
            "summary": self.summary,
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> SweepEnd:
        """Rebuild an end from :meth:`to_builtins`."""
        return cls(
            test=data["test"],
            metrics={name: float(value) for name, value in data["metrics"].items()},
            params=data["params"],
            tags=data["tags"],
            summary=data["summary"],
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """How a session ended: pytest's exit status and how many tests had which outcome.

    ``tests`` counts every test that ran, tracked or not; ``interrupted`` is the reason where the
    session was cut short, and None where it ran to its end; ``partial`` the reason where only some
    of the tests were meant to run (``-k`` and the like), or a worker was lost. ``rejected`` tells
    that its gate failed. ``selection`` is
    what was asked for on the command line (paths and ``-m``): sessions with the same one should
    have the same cases. ``tags``, ``metrics`` and ``summary`` (markdown) are what the comparison
    with the baseline adds to the session's run. ``unrecorded`` are the outcomes of tests, classes
    and modules that left no record, by node id; only shards tell of them. ``sweeps`` are what the
    runs of the sweeps get.
    """

    end_time: int
    exit_status: int
    tests: int
    interrupted: str | None = None
    partial: str | None = None
    rejected: bool = False
    selection: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    summary: str = ""
    unrecorded: Mapping[str, str] = field(default_factory=dict)
    sweeps: tuple[SweepEnd, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all tests ran that should, and no gate failed: only that can be a baseline."""
        return self.interrupted is None and self.partial is None and not self.rejected

    def to_builtins(self) -> Builtins:
        """Return the end as JSON builtins."""
        return {
            "end_time": self.end_time,
            "exit_status": self.exit_status,
            "tests": self.tests,
            "interrupted": self.interrupted,
            "partial": self.partial,
            "rejected": self.rejected,
            "selection": list(self.selection),
            "tags": dict(self.tags),
            "metrics": dict(self.metrics),
            "summary": self.summary,
            **({"unrecorded": dict(self.unrecorded)} if self.unrecorded else {}),
            **({"sweeps": [sweep.to_builtins() for sweep in self.sweeps]} if self.sweeps else {}),
        }

    @classmethod
    def from_builtins(cls, data: Builtins) -> SessionEnd:
        """Rebuild an end from :meth:`to_builtins`."""
        return cls(
            end_time=data["end_time"],
            exit_status=data["exit_status"],
            tests=data["tests"],
            interrupted=data["interrupted"],
            partial=data.get("partial"),
            rejected=data.get("rejected", False),
            selection=tuple(data.get("selection", ())),
            tags=data.get("tags", {}),
            metrics=data.get("metrics", {}),
            summary=data.get("summary", ""),
            unrecorded=data.get("unrecorded", {}),
            sweeps=tuple(map(SweepEnd.from_builtins, data.get("sweeps", ()))),
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which sessions a baseline is made of, and why these: the first line of ``baseline.jsonl``.

    ``spec`` is what the user asked for (``auto``, ``branch:main`` ...), ``place`` where the
    sessions were found (``experiment 'x' at http://...``, a file), ``reason`` why they were chosen,
    as the end of a sentence ("the last 5 passing sessions on main").
    """

    spec: str
    place: str
    reason: str

    def to_builtins(self) -> Builtins:
        """Return the provenance as JSON builtins."""
        return {"spec": self.spec, "place": self.place, "reason": self.reason}

    @classmethod
    def from_builtins(cls, data: Builtins) -> Provenance:
        """Rebuild a provenance from :meth:`to_builtins`."""
        return cls(spec=data["spec"], place=data["place"], reason=data["reason"])
