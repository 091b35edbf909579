"""Baseline files: one line of provenance, then slim copies of sessions, the oldest first."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar, final

from ..records import (
    PASSED_OUTCOMES,
    CaseRecord,
    Metric,
    Provenance,
    SessionEnd,
    SessionHeader,
    journal,
)
from ..records.accepted import ACCEPTED_FILE
from ..records.case import guard_texts, is_on_line, values_by_place
from ..records.codec import Builtins, decode, encode, encode_float
from ..records.directory import SessionDirectory
from ..records.git import changed_lines
from ..records.journal import Entry, JournalError
from ..records.reader import StoredSession
from ..records.session import TOLD_COUNTS
from ..records.slim import EMPTY, FILLED, RULES, SlimCase, thinned
from ..records.tags import BRANCH, CI_JOB, CI_KIND, CI_PULL_REQUEST, COMMIT, DIRTY
from .choice import Catalog, Choice, choose, why_excluded, why_incomplete
from .specs import BaselineError, BaselineRequest, parse_spec

_Case = TypeVar("_Case")
_TAGS = (BRANCH, COMMIT, DIRTY, CI_JOB, CI_KIND, CI_PULL_REQUEST)
_KEPT_WHERE_ANY = (
    *("arguments", "datasets", "run_metrics", "usage", "resumed_from", "best", "guards"),
    *RULES,
)
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_NO_VALUES: Builtins = {"metrics": [], "checks": [], "failure": None}
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def slim(record: CaseRecord) -> CaseRecord:
    """Reduce a case to what comparisons need: no metrics if it did not pass.

    Metrics with several steps keep enough steps to draw the curve.
    """
    return decode(CaseRecord, _slim_case(encode(record), steps=True))


def slim_entry(entry: Entry) -> Entry:
    """Reduce any entry of a journal to what comparisons need."""
    if isinstance(entry, CaseRecord):
        return slim(entry)
    if isinstance(entry, SessionHeader):
        tags = {name: entry.tags[name] for name in _TAGS if name in entry.tags}
        # Where the session was sent is a path of somebody's machine as often as not.
        return replace(entry, tags=tags, tracking_uri="")
    return slim_end(entry) if isinstance(entry, SessionEnd) else entry


def slim_end(end: SessionEnd) -> SessionEnd:
    """Reduce the end of a session to what comparisons need."""
    told = {name: n for name, n in end.metrics.items() if n and name in TOLD_COUNTS}
    return replace(end, tags={}, metrics=told, summary="", baselines={}, seed_params=())


def slim_line(line: bytes, *, steps: bool = True) -> str:
    """Reduce an encoded line of a journal, without its newline, to what comparisons need.

    With ``steps``, metrics keep several steps, otherwise only the last one.

    Raises:
        JournalError: it is not a line of a journal.
    """
    if (case := _slim_data(line, steps=steps)) is not None:
        return _to_json({"kind": "case", **case})
    return journal.encode(slim_entry(journal.decode(line)))


def _slim_data(line: bytes, *, steps: bool) -> Builtins | None:
    """Return the reduced case of a line, None if it is of no case; raise as ``slim_line`` does."""
    try:
        data = json.loads(line)
        return _slim_case(data, steps=steps) if data["kind"] == "case" else None
    except _UNREADABLE as error:
        raise JournalError(f"not a line of a session's file: {error!r}") from error


def _slim_case(data: Builtins, *, steps: bool) -> Builtins:
    case: Builtins = {name: data[name] for name in FILLED} | EMPTY
    passed = data["outcome"] in PASSED_OUTCOMES
    case["metrics"] = _values(data["metrics"], steps=steps) if passed else []
    case["checks"] = _alternatives(data["checks"])
    case |= {name: data[name] for name in _KEPT_WHERE_ANY if data.get(name)}
    if data["checks"] and passed:
        told = itemgetter("metric", "step", "operator", "limit", "tolerance")
        if guards := guard_texts(told(one) for one in data["checks"] if not one.get("twin")):
            case["guards"] = guards
    if steps and passed and (history := data.get("run_history")):
        case["run_history"] = _values(history, steps=True)
    if repeats := data.get("repeats"):
        case["repeats"] = [
            {**one, "metrics": _values(one["metrics"], steps=False), "checks": [], "failure": None}
            for one in repeats
        ]
    if data["attempts"]:
        # That there were any tells how reliable the test is.
        case["attempts"] = [
            {"outcome": one["outcome"], "duration": one["duration"], **_NO_VALUES}
            for one in data["attempts"]
        ]
    return case


def _alternatives(checks: list[Any]) -> list[Any]:
    """Return a check of each metric that an assertion may not evaluate, as in ``a or b``."""
    needed = {check["metric"] for check in checks if not check["alternative"]}
    return list({c["metric"]: c for c in checks if c["metric"] not in needed}.values())


def _values(metrics: Iterable[Any], *, steps: bool) -> list[Any]:
    """Return the last value of each metric and, with ``steps``, some of the earlier ones."""
    rows = [*metrics]
    placed = [row for row in rows if row.get("place")]
    if placed:
        return _values_by_place(rows, placed, steps=steps)
    series: dict[str, dict[int, Any]] = {}
    for metric in rows:
        by_step = series.setdefault(metric["key"], {})
        held = by_step.get(metric["step"])
        if held is None or metric["timestamp"] >= held["timestamp"]:
            by_step[metric["step"]] = metric
    if not steps:
        return [by_step[max(by_step)] for by_step in series.values()]
    return [by_step[step] for by_step in series.values() for step in thinned(sorted(by_step))]


def _values_by_place(rows: list[Any], placed: list[Any], *, steps: bool) -> list[Any]:
    """Return the values at several places under names of their own, and what else there is."""
    names = {row["key"] for row in placed}
    others = [row for row in rows if row["key"] not in names]
    moment = {"step": 0, "timestamp": placed[-1]["timestamp"]}
    values = values_by_place([decode(Metric, row) for row in placed])
    # A loop over names is no curve.
    line = [{**row, "place": ""} for row in placed if is_on_line(row["place"])] if steps else []
    return [
        *_values([*others, *line], steps=steps),
        *[{"key": key, "value": encode_float(value), **moment} for key, value in values.items()],
    ]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFile:
    """The content of a baseline file: at least one session, the oldest first."""

    provenance: Provenance
    sessions: tuple[StoredSession, ...]

    def entries(self, history: int = 0) -> Iterator[Entry]:
        """Yield the entries of the newest sessions, ``history`` at most; 0 is all of them."""
        yield self.provenance
        for session in self.sessions[-history:]:
            yield from session.entries()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBaseline:
    """A written baseline; ``notes`` name the sessions that had to be left out."""

    provenance: Provenance
    sessions: int
    notes: tuple[str, ...] = ()


def changed_settings(root: Path, spec: str, branch: str | None) -> dict[str, str]:
    """Return which files that judge a session are others than on a branch, by their settings.

    ``spec`` is that of the baseline. New lines of accepted steps are told by the sessions.
    """
    of, found = f"than on {branch}" if branch else "than committed", {}
    path = Path(spec.removeprefix("file:"))
    if spec.startswith("file:") and any(changed_lines(root / path, branch)):
        found["mlflow_baseline"] = f"{path.name} is another one {of}"
    accepted = root / ACCEPTED_FILE
    if accepted.is_file() and (gone := changed_lines(accepted, branch)[1]):
        lines = "1 line" if gone == 1 else f"{gone} lines"
        found["mlflow_accepted"] = f"{lines} of {ACCEPTED_FILE} changed or gone, other {of}"
    return found


def load_file(path: Path) -> BaselineFile:
    """Read a baseline from a file: an exported one, or any session's journal.

    Raises:
        BaselineError: the file can't be a baseline; the message names the line.
    """
    provenance, sessions = _load(path, journal.decode, CaseRecord)
    return BaselineFile(
        provenance=provenance,
        sessions=tuple(
            [StoredSession(header=one, cases=tuple(cases), end=end) for one, cases, end in sessions]
        ),
    )


def copy_file(source: Path, target: Path, *, spec: str, place: str) -> None:
    """Write a slim copy of a baseline file, for the user alone; lines that are slim stay.

    ``spec`` and ``place`` are those of the copy's provenance.

    Raises:
        BaselineError: the file can't be a baseline; the message names the line.
        OSError: the copy can't be written.
    """
    provenance, sessions = _load(source, _slim_text, str)
    lines = (
        chain([journal.encode(slim_entry(header))], cases, [journal.encode(slim_end(end))])
        for header, cases, end in sessions
    )
    first = journal.encode(replace(provenance, spec=spec, place=place))
    _write(target, chain([first], *lines), private=True)


def _slim_text(line: bytes) -> Entry | str:
    """Return the line of a slim case, and any other entry decoded."""
    entry = journal.decode_slim(line)
    if isinstance(entry, SlimCase) and line.isascii():
        return line.decode("ascii").removesuffix("\n")
    return slim_line(line) if isinstance(entry, SlimCase | CaseRecord) else entry


def _load(
    path: Path, read: Callable[[bytes], Entry | _Case], kind: type[_Case]
) -> tuple[Provenance, list[tuple[SessionHeader, list[_Case], SessionEnd]]]:
    """Return the sessions of a baseline file; ``read`` makes of a case what is of ``kind``."""
    provenance: Provenance | None = None
    sessions: list[tuple[SessionHeader, list[_Case], SessionEnd]] = []
    header: SessionHeader | None = None
    cases: list[_Case] = []
    number = 0
    directory = SessionDirectory(path.parent)
    exclusion = directory.exclusion if path == directory.journal else None
    for number, entry in _entries(path, read):
        if isinstance(entry, SessionEnd) and header is not None:
            if reason := why_excluded(exclusion) or why_incomplete(header, entry):
                text = f"session {header.session_id} is no baseline: {reason}"
                raise _unusable(path, text, number)
            if provenance is None or header.session_id not in provenance.ahead:
                sessions.append((header, cases, entry))
            header, cases = None, []
        elif isinstance(entry, kind) and header is not None:
            cases.append(entry)
        elif isinstance(entry, SessionHeader) and header is None:
            header = entry
        elif isinstance(entry, Provenance) and number == 1:
            provenance = entry
        else:
            raise _unusable(path, "this line does not belong here", number)
    if header is not None:
        raise _unusable(path, f"session {header.session_id} has no end", number)
    if not sessions:
        raise _unusable(path, "there is no session in it")
    count = "session" if len(sessions) == 1 else f"{len(sessions)} sessions"
    reason = f"the {count} in {path.name}"
    if provenance is not None:
        # Whose branch that was is a matter of the one who exported it.
        origin = re.sub(", (this|the base|the default) branch", "", provenance.reason)
        reason = f"{reason}: {origin}"
    return Provenance(spec=f"file:{path}", place=str(path), reason=reason), sessions


def make_baseline(
    request: BaselineRequest,
    catalog: Catalog,
    path: Path,
    *,
    private: bool = True,
    on_progress: Callable[[int], None] = lambda number: None,
) -> WrittenBaseline | None:
    """Choose the requested sessions and write them to ``path``; return None without any.

    ``on_progress`` is called with the number of sessions read.

    Raises:
        BaselineError: there is no such session, or none of the journals can be read.
        ValueError: the request's text is no legal one.
        OSError: the file can't be written.
    """
    choice = choose(parse_spec(request.spec), request, catalog)
    if choice is None:
        return None
    if not private:
        # What is ahead of a commit is nothing to keep in git.
        provenance = replace(choice.provenance, ahead=(), lacks="")
        choice = replace(choice, provenance=provenance, ahead=())
    lines: list[str] = []

    def take(source: Path, is_newest: bool) -> str | None:
        # Only the newest curve is shown beside that of a session.
        found = _slim_lines(source, steps=is_newest)
        if isinstance(found, str):
            return found
        lines.extend(found)
        return None

    made = take_sessions(choice, catalog, take)
    _write(path, chain([journal.encode(made.provenance)], lines), private=private)
    return made


def take_sessions(
    choice: Choice, catalog: Catalog, take: Callable[[Path, bool], str | None]
) -> WrittenBaseline:
    """Call ``take`` with the journal of each session of a baseline, and whether it is the newest.

    It returns None, or why the session can't be used.

    Raises:
        BaselineError: none can be used.
    """
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as directory:
        # Those that are no history come first, so that the newest of the others stays the last.
        every = (*choice.ahead, *choice.sessions)
        sources = catalog.journals(every, Path(directory))
        for session, source in zip(every, sources, strict=True):
            newest = session is choice.sessions[-1]
            why = take(source, newest) if isinstance(source, Path) else source
            if why is not None and session not in choice.ahead:
                notes.append(f"Session {session.session_id} is left out of the baseline: {why}")
    kept = len(choice.sessions) - len(notes)
    if not kept:
        raise BaselineError(f"none of {choice.provenance.reason} can be read; {notes[-1]}")
    provenance = choice.provenance
    if notes:
        are = "is" if len(notes) == 1 else "are"
        reason = f"{provenance.reason}, of which {len(notes)} {are} left out"
        provenance = replace(provenance, reason=reason)
    return WrittenBaseline(provenance=provenance, sessions=kept, notes=tuple(notes))


def export(request: BaselineRequest, catalog: Catalog, path: Path) -> WrittenBaseline:
    """Write a baseline to keep in git.

    Raises:
        BaselineError: there is nothing to export, or it can't be written.
        ValueError: the request's text is no legal one.
    """
    try:
        made = make_baseline(request, catalog, path, private=False)
    except OSError as error:
        raise BaselineError(f"{path} can't be written: {error.strerror or error}") from error
    if made is None:
        raise BaselineError(
            f"there is no session for the baseline {request.spec!r} in {catalog.place} yet"
        )
    return made


def _slim_lines(path: Path, *, steps: bool) -> list[str] | str:
    """Return the slim lines of a session's journal, or the reason why it can't be used."""
    lines: list[str] = []
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                lines.append(slim_line(line, steps=steps))
    except JournalError as error:
        return f"line {len(lines) + 1} of its file: {error}"
    except OSError as error:
        return str(error)
    if not lines or not isinstance(journal.decode(lines[0]), SessionHeader):
        return "its file has no header"
    if not isinstance(journal.decode(lines[-1]), SessionEnd):
        return "its file breaks off"
    return lines


def slim_entries(path: Path) -> Iterator[Entry | SlimCase]:
    """Yield the reduced entries of the journal of a session that has come to its end.

    Raises:
        JournalError: the session can't be used; the message says why.
        OSError: the file can't be read.
    """
    entry: Entry | SlimCase | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = _slim_entry_of(line)
            except (JournalError, *_UNREADABLE) as error:
                raise JournalError(f"line {number} of its file: {error}") from error
            if isinstance(entry, SessionHeader) != (number == 1):
                raise JournalError("its file has no header, or several")
            yield entry
    if not isinstance(entry, SessionEnd):
        raise JournalError("its file has no header" if entry is None else "its file breaks off")


def _slim_entry_of(line: bytes) -> Entry | SlimCase:
    if (case := _slim_data(line, steps=True)) is None:
        return slim_entry(journal.decode(line))
    return SlimCase.from_line(case) or decode(CaseRecord, case)


def _entries(
    path: Path, read: Callable[[bytes], Entry | _Case]
) -> Iterator[tuple[int, Entry | _Case]]:
    number = None
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, read(line)
    except JournalError as error:
        raise _unusable(path, str(error), number) from error
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Path, reason: str, number: int | None = None) -> BaselineError:
    where = str(path) if number is None else f"{path}, line {number}"
    hint = "make one with `pytest-mlflow baseline export PATH`"
    return BaselineError(f"{where}: {reason}; this is no baseline, {hint}")


def _write(path: Path, lines: Iterable[str], *, private: bool) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = os.open(temporary, flags, 0o600 if private else 0o666)
        with open(fd, "w", encoding="ascii", newline="\n") as file:  # noqa: PTH123
            file.writelines(f"{line}\n" for line in lines)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
