"""Accepted steps: values that became worse on purpose, with the reason, in a file beside the code.

The file is committed, so that whoever reviews a change sees what it costs and why. From the commit
that has a step on, the metrics it names are compared with the values that were accepted, and only
with sessions that had the step too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, TypeAlias, final

from .case import placeless
from .codec import RARE, Constraint, decode, encode

ACCEPTED_FILE: Final = "mlflow-accepted.jsonl"
"""The file's name, in the rootdir: one JSON object a line."""

SETTING: Final = "setting:"
"""The prefix of the case of a step that accepts another setting of the whole session."""

_CONFLICT_MARKERS: Final = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")


class AcceptedError(Exception):
    """The file of accepted steps, or a line of it, can't be read."""


def _is_time(text: str) -> bool:
    try:
        # Python 3.10 does not know the Z.
        time = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        return False
    return time.tzinfo is not None


_Text: TypeAlias = Annotated[str, Constraint(str.strip, "a string that isn't blank")]
_Time: TypeAlias = Annotated[
    str, Constraint(_is_time, "as 2025-01-31T12:00:00Z, ISO 8601 with a time zone")
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedValue:
    """A level of a metric that was measured earlier.

    ``value`` is the mean of what was accepted, ``scatter`` the standard deviation around it, both
    in the metric's unit, ``n`` the number of values that they were found from.
    """

    value: float
    scatter: float
    n: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLevel:
    """The level of one metric of one case; ``since`` names the session since when it is missed.

    ``before`` is what the metric stood at before a step was accepted.
    """

    case: str
    metric: str
    level: AcceptedValue
    since: str | None = None
    before: float | None = field(default=None, metadata=RARE)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedStep:
    """One change for the worse that a user has accepted.

    ``id`` is 12 hexadecimal digits. ``case`` and ``metric`` are patterns, in which ``*`` stands for
    any text and ``?`` for any character; brackets are literal, as node ids are full of
    them. ``time`` is ISO 8601 with a time zone. ``author`` is git's, ``commit`` the one that was
    tested. ``levels`` are the values that were accepted; steps that somebody wrote by hand, or an
    older release, have none.
    """

    id: Annotated[str, Constraint(re.compile("[0-9a-f]{12}").fullmatch, "12 hexadecimal digits")]
    case: _Text
    metric: _Text
    reason: _Text
    time: _Time
    author: str | None = field(default=None, metadata=RARE)
    commit: str | None = field(default=None, metadata=RARE)
    levels: tuple[MetricLevel, ...] = field(default=(), metadata=RARE)

    def matches(self, case: str, metric: str) -> bool:
        """Return whether the step matches this metric of this case, at whatever place."""
        if _compiled(self.case).fullmatch(case) is None:
            return False
        pattern = _compiled(self.metric)
        return any(pattern.fullmatch(name) for name in (metric, placeless(metric)))

    @property
    def names_nothing(self) -> bool:
        """Whether no word of a case or a metric stands in the step, so that it matches anything."""
        return not (_names(self.case) or _names(self.metric))

    @property
    def names_no_case(self) -> bool:
        """Whether no word of a case stands in the step."""
        return not _names(self.case)


def make_step(
    case: str,
    metric: str,
    reason: str,
    *,
    author: str | None = None,
    commit: str | None = None,
    levels: Sequence[MetricLevel] = (),
) -> AcceptedStep:
    """Return a new step with a new id and the present time.

    Raises:
        ValueError: a pattern or the reason is blank.
    """
    for name, text in (("case", case), ("metric", metric), ("reason", reason)):
        if not text.strip():
            raise ValueError(f"an accepted change needs a {name} that isn't blank, got {text!r}")
    return AcceptedStep(
        id=os.urandom(6).hex(),
        case=case,
        metric=metric,
        reason=reason.strip(),
        time=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        author=author,
        commit=commit,
        levels=tuple(levels),
    )


def newest(steps: Sequence[AcceptedStep], case: str, metric: str) -> AcceptedStep | None:
    """Return the last of the steps, in file order, that matches this metric of this case."""
    return next((step for step in reversed(steps) if step.matches(case, metric)), None)


def read_accepted(path: Path) -> tuple[AcceptedStep, ...]:
    """Read the accepted steps in file order; none if the file does not exist.

    Blank lines, and lines that start with ``#``, are skipped.

    Raises:
        AcceptedError: the file, or a line of it, can't be understood; the message says which.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise AcceptedError(f"{path}: {error}") from error
    first: dict[str, tuple[int, AcceptedStep]] = {}
    steps = []
    # Not splitlines(), to which some characters within a reason are the end of a line.
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        try:
            step = _parse(line)
            earlier, same = first.setdefault(step.id, (number, step))
            if same != step:
                # Sessions are told apart by the ids, so an id that was copied would hide a step.
                raise ValueError(f"id {step.id!r} is that of line {earlier} already")
        except ValueError as error:
            raise AcceptedError(f"{path}, line {number}: {error}") from error
        steps.append(step)
    return tuple(steps)


def append_accepted(path: Path, step: AcceptedStep) -> None:
    """Append a step to the file atomically; create the file if it does not exist.

    Raises:
        OSError: the disk is full, or the file can't be written.
    """
    line = json.dumps(encode(step), ensure_ascii=False)
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        # Half a surrogate, as undecodable bytes of a command line become, is legal in JSON as \u.
        data = f"{line}\n".encode(errors="backslashreplace")
        if size:
            file.seek(-1, os.SEEK_END)
            data = data if file.read(1) == b"\n" else b"\n" + data
        rest = data
        try:
            while rest:
                rest = rest[file.write(rest) or 0 :]
        finally:
            if rest:
                file.truncate(size)


def _parse(line: str) -> AcceptedStep:
    """Parse a line of the file; raise a ValueError that says what is wrong with it."""
    if line.startswith(_CONFLICT_MARKERS):
        raise ValueError(
            f"{line[:7]!r} is the mark of a merge conflict; keep the lines of both sides and "
            "delete the marks"
        )
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    return decode(AcceptedStep, data)


_IN_EVERY_NAME: Final = frozenset({"test", "tests", "py"})


def _names(pattern: str) -> bool:
    """Return whether a pattern names something: it has no wildcard, or a word besides them."""
    if not re.search(r"[*?]", pattern):
        return True
    return not _IN_EVERY_NAME.issuperset(re.findall(r"[^\W_]{2,}|\d", pattern.lower()))


@lru_cache(maxsize=1_000)
def _compiled(pattern: str) -> re.Pattern[str]:
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(escaped, re.DOTALL)
