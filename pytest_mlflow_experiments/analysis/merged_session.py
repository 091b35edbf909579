"""A session that was put together from its shards: kept, and compared as any other."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from ..baseline import (
    BaselineError,
    BaselineRequest,
    base_branch,
    damage_notes,
    is_local_store,
    load_file,
    make_baseline,
)
from ..records import SessionEnd, SessionHeader, Shard, journal
from ..records.accepted import ACCEPTED_FILE, AcceptedError, read_accepted
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.git import default_branch
from ..records.journal import Entry, JournalError, JournalWriter
from ..regression.compare import compare
from ..regression.comparer import CompareOptions
from ..regression.comparison import Comparison
from ..regression.sweeps.build import sweep_builder
from ..regression.tolerance import parse_direction, parse_rule
from ..regression.values import Sessions, read_sessions
from ..report.run_texts import with_comparison
from .places import Place, UsageError
from .shards import Whole


def keep(whole: Whole, root: Path) -> SessionDirectory:
    """Write the session below ``root``, but for its end; what was kept of it before is replaced.

    Raises:
        UsageError: something else is kept under the session's id.
    """
    directory = SessionDirectory(root / DIRECTORY_NAME / whole.header.session_id)
    if directory.path.exists():
        if not _is_whole(directory):
            raise UsageError(f"{directory.path} is there already, and is no session of shards")
        directory.remove()
    SessionDirectory.create(root, whole.header.session_id)
    writer = JournalWriter(directory.journal)
    entries: list[Entry] = [whole.header, *whole.cases]
    for entry in entries:
        writer.append(journal.encode(entry))
    writer.close()
    for shard in (*whole.shards, *whole.replaced):
        own = SessionDirectory(shard.path.parent)
        for record in shard.cases:
            if record.artifacts and own.artifacts(record.id).is_dir():
                shutil.copytree(
                    own.artifacts(record.id), directory.artifacts(record.id), symlinks=True
                )
    return directory


def _is_whole(directory: SessionDirectory) -> bool:
    try:
        header = next(journal.read(directory.journal), None)
    except (OSError, JournalError):
        return False
    return isinstance(header, SessionHeader) and bool(header.shards)


def judge(
    whole: Whole,
    judging: Shard,
    options: CompareOptions,
    place: Place,
    directory: SessionDirectory,
) -> Comparison:
    """Compare the whole with its baseline."""
    seeds = frozenset(judging.seed_params)
    sweeps = sweep_builder(options)
    entries: list[Entry] = [whole.header, *whole.cases, whole.end]
    (current,) = read_sessions(sweeps.watch(entries), seeds).sessions
    baseline: Sessions | None = None
    problem: str | None = None
    try:
        if judging.baseline != "none":
            baseline = _baseline(whole, judging, place, directory)
    except (BaselineError, JournalError, OSError, ValueError) as error:
        # Shards may have been told of a form that only their own hooks know.
        problem = f"the baseline can't be read: {error}"
    damaged = _damaged(judging, place) if problem is None and baseline is None else []
    if damaged and judging.gate:
        # Nobody can tell whether it really is the first session.
        problem = f"no session that can be read is a baseline; {damaged[0]}"
    if problem is None and baseline is None and judging.gate and judging.require_baseline:
        problem = "there is no baseline yet, and --require-baseline asks for one"
    unrecorded = whole.end.unrecorded
    comparison = compare(
        current,
        baseline,
        options,
        not_run={nodeid: outcome for nodeid, outcome in unrecorded.items() if outcome != "passed"},
        passed=[nodeid for nodeid, outcome in unrecorded.items() if outcome == "passed"],
        partial=whole.end.interrupted or whole.end.partial,
        problem=problem,
        gated=judging.gate,
        notes=[*whole.notes, *damaged],
    )
    return replace(comparison, sweeps=sweeps.build())


def finish(directory: SessionDirectory, end: SessionEnd, comparison: Comparison) -> SessionEnd:
    """Close the journal of the whole with what came of it; return its end."""
    failed = bool(comparison.gating()) or comparison.problem is not None
    end = replace(end, rejected=comparison.gated and failed)
    if end.rejected and end.exit_status == 0:
        end = replace(end, exit_status=1)
    end = with_comparison(end, comparison)
    writer = JournalWriter(directory.journal)
    writer.append(journal.encode(end))
    writer.close()
    return end


def _baseline(
    whole: Whole, judging: Shard, place: Place, directory: SessionDirectory
) -> Sessions | None:
    seeds = frozenset(judging.seed_params)
    if judging.baseline.startswith("file:"):
        found = load_file(place.root / judging.baseline.removeprefix("file:"))
        entries: list[Entry] = [found.provenance]
        entries += (entry for one in found.sessions for entry in one.entries())
        return read_sessions(entries, seeds)
    header = whole.header
    request = BaselineRequest(
        spec=judging.baseline,
        history=judging.history,
        branch=header.branch,
        base_branch=base_branch(os.environ) or default_branch(place.root),
        selection=whole.end.selection,
        session_id=header.session_id,
        start_time=header.start_time,
    )
    target = directory.baseline
    if place.look_for(lambda catalog: make_baseline(request, catalog, target), request) is None:
        return None
    return read_sessions(journal.read_slim(target), seeds)


def _damaged(judging: Shard, place: Place) -> list[str]:
    """Return notes of the sessions on this machine that can't be read and might be the baseline."""
    if judging.baseline == "none" or not (place.offline or is_local_store(place.tracking_uri)):
        return []
    return damage_notes(place.root)


def compare_options(whole: Whole, judging: Shard, place: Place) -> CompareOptions:
    """Return how the whole is compared.

    Raises:
        UsageError: what was accepted can't be read.
        JournalError: a shard tells of tolerances or directions that there are none of.
    """
    try:
        accepted = read_accepted(place.root / ACCEPTED_FILE)
    except AcceptedError as error:
        raise UsageError(str(error)) from None
    try:
        ini_tolerances = [parse_rule(line) for line in judging.ini_tolerances]
        tolerances = [parse_rule(line) for line in judging.tolerances]
        directions = [parse_direction(line) for line in judging.directions]
    except ValueError as error:
        raise JournalError(f"{whole.shards[0].path}: {error}") from error
    return CompareOptions(
        seed_params=frozenset(judging.seed_params),
        window=judging.history,
        ini_tolerances=ini_tolerances,
        tolerances=tolerances,
        directions=directions,
        accepted=[step for step in accepted if step.id in whole.header.accepted],
    )
