"""The header and the end of a session, and the provenance of a baseline."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, final

from .accepted import MetricLevel
from .codec import ADDED, RARE, Constraint, decode, encode
from .tags import BRANCH, COMMIT, TESTED

SCHEMA_VERSION = 1

LEGAL_ID = re.compile(r"(?!baseline\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""What the id of a session may be that users name: it is also that of a directory.

Beside those of sessions there is the file ``baseline``.
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The merged session that a shard belongs to, and how to compare it.

    ``session_id`` is the id of the merged session. The rest are options for its comparison as the
    user wrote them: ``--mlflow-baseline``, ``--mlflow-history`` and so on.
    """

    session_id: Annotated[str, Constraint(LEGAL_ID.fullmatch, "the id of a session")]
    baseline: str = "auto"
    history: int = 20
    ini_tolerances: tuple[str, ...] = ()
    tolerances: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    seed_params: tuple[str, ...] = ()
    gate: bool = False
    require_baseline: bool = False
    gate_drift: bool = field(default=False, metadata=RARE)
    min_effects: tuple[str, ...] = field(default=(), metadata=RARE)
    strict_guards: bool = field(default=False, metadata=RARE)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHeader:
    """The header of a session, written before its first test.

    ``tracking_uri`` carries no credentials. Exactly one of ``experiment_name`` and
    ``experiment_id`` may be None. ``tags`` are the tags of the session's run. ``accepted`` are the
    ids of the accepted steps that the session was run with. ``shard`` is set if the session is a
    shard of another one; ``shards`` are the ids of the shards that a merged session consists of.
    ``rules`` are the tolerances, directions and smallest effects of the ini file and the command
    line, such as ``tolerances rmse: 2%``; None where an older release did not write them.
    """

    session_id: str
    name: str
    start_time: int
    tracking_uri: str
    experiment_name: str | None
    experiment_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    accepted: tuple[str, ...] = field(default=(), metadata=ADDED)
    shard: Shard | None = field(default=None, metadata=RARE)
    shards: tuple[str, ...] = field(default=(), metadata=RARE)
    rules: tuple[str, ...] | None = field(default=None, metadata=RARE)

    @property
    def joint_id(self) -> str:
        """The session id of the run in MLflow: for a shard, that of the merged session."""
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
        """The commit that was tested, or None outside of git.

        Of a pull request it is the head, though its merge with the target may have been tested.
        """
        return self.tags.get(COMMIT)

    @property
    def tested(self) -> str | None:
        """The commit that was checked out, which may be a temporary merge."""
        return self.tags.get(TESTED) or self.commit


TOLD_COUNTS: Final = frozenset({"regressed", "missing", "drifting", "improved"})
"""The metrics of a session that tell how it ended; copies of sessions keep them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEnd:
    """What is added to the run of a sweep after its last case.

    ``test`` is the sweep's :attr:`~.case.CaseRecord.sweep`. ``metrics`` and ``params`` are those of
    the best configuration, if there is one; ``summary`` is markdown.
    """

    test: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """How a session ended: pytest's exit status and how many tests had which outcome.

    ``tests`` counts every test that ran, tracked or not; ``interrupted`` is the reason where the
    session was cut short, and None if it ran to its end; ``partial`` the reason if only some of
    the tests were meant to run (``-k`` and the like), or a worker was lost. ``rejected`` tells that
    its gate failed. ``selection`` is the selection of tests on the command line (paths and ``-m``):
    sessions with the same one should have the same cases. ``tags``, ``metrics`` and ``summary``
    (markdown) are what the comparison with the baseline adds to the session's run. ``unrecorded``
    are the outcomes of tests, classes and modules without a record, by node id; only shards have
    them. ``sweeps`` are the ends of the sweeps' runs. ``levels`` are those that metrics fell from
    and that nobody has accepted: later sessions are judged against them too. ``baselines`` are the
    baseline's values by case and metric; ``seed_params`` are no part of these names of cases.
    """

    end_time: int
    exit_status: int
    tests: int
    interrupted: str | None = None
    partial: str | None = field(default=None, metadata=ADDED)
    rejected: bool = field(default=False, metadata=ADDED)
    selection: tuple[str, ...] = field(default=(), metadata=ADDED)
    tags: Mapping[str, str] = field(default_factory=dict, metadata=ADDED)
    metrics: Mapping[str, float] = field(default_factory=dict, metadata=ADDED)
    summary: str = field(default="", metadata=ADDED)
    unrecorded: Mapping[str, str] = field(default_factory=dict, metadata=RARE)
    sweeps: tuple[SweepEnd, ...] = field(default=(), metadata=RARE)
    levels: tuple[MetricLevel, ...] = field(default=(), metadata=RARE)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict, metadata=RARE)
    seed_params: tuple[str, ...] = field(default=(), metadata=RARE)

    @property
    def complete(self) -> bool:
        """Whether all tests ran that should, and no gate failed: only that can be a baseline."""
        return self.interrupted is None and self.partial is None and not self.rejected


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Somebody's decision that a session is part of no baseline, or with ``included`` that it is.

    ``author`` is git's, ``time`` ISO 8601 in UTC. ``pending`` tells that MLflow has not got it yet.
    """

    reason: str
    time: str
    author: str | None = field(default=None, metadata=RARE)
    included: bool = field(default=False, metadata=RARE)
    pending: bool = field(default=False, metadata=RARE)

    @classmethod
    def parse(cls, text: str | None) -> Exclusion | None:
        """Return the decision that a tag or a file holds; None if it holds none."""
        try:
            return decode(cls, json.loads(text)) if text else None
        except (ValueError, RecursionError):
            # Whoever writes the tag by hand means that it is excluded.
            return cls(reason=text or "", time="")

    @property
    def text(self) -> str:
        """The decision as JSON."""
        return json.dumps(encode(self), ensure_ascii=False)

    def __str__(self) -> str:
        who = ", ".join(filter(None, (self.author, self.time)))
        return f"{self.reason} ({who})" if who else self.reason


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which sessions a baseline consists of, and why: the first line of ``baseline.jsonl``.

    ``spec`` is what the user asked for (``auto``, ``branch:main`` ...), ``place`` where the
    sessions were found (``experiment 'x' at http://...``, a file), ``reason`` why they were chosen,
    as the end of a sentence ("the last 5 passing sessions on main"). ``pinned`` tells that somebody
    named the session that they end at. ``ahead`` are the ids of sessions that are no history, for
    the tested commit ``lacks`` theirs ("3 commits of main").
    """

    spec: str
    place: str
    reason: str
    pinned: bool = field(default=False, metadata=RARE)
    ahead: tuple[str, ...] = field(default=(), metadata=RARE)
    lacks: str = field(default="", metadata=RARE)
