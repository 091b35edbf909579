"""Write the session merged from shards to this machine, and compare it with its baseline."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ..baseline.files import changed_settings, load_file, make_baseline
from ..baseline.local import damage_notes, is_local_store
from ..baseline.specs import BaselineError, session_request, why_unknown
from ..records import SessionEnd, journal
from ..records.directory import DIRECTORY_NAME, SessionDirectory
from ..records.journal import Entry, JournalError, JournalWriter
from ..records.reader import peek_header
from ..regression.compare import compare_sessions, gate_problem
from ..regression.comparer import CompareOptions
from ..regression.comparison import Comparison
from ..regression.sweeps.build import SweepBuilder
from ..regression.tolerance import parse_direction, parse_rule
from ..regression.values import Sessions, collect_session, collect_values
from ..report.run_texts import with_comparison
from .location import Location, UsageError
from .shards import MergedSession


def keep(merged: MergedSession, root: Path) -> SessionDirectory:
    """Write the session below ``root`` without its end, replacing an earlier copy."""
    directory = SessionDirectory(root / DIRECTORY_NAME / merged.header.session_id)
    exclusion = directory.exclusion
    if directory.path.exists():
        header = peek_header(directory.journal)
        if header is None or not header.shards:
            raise UsageError(f"{directory.path} exists already, and is not a session of shards")
        directory.remove()
    SessionDirectory.create(root, merged.header.session_id)
    if exclusion is not None:
        directory.exclude(exclusion)
    _append(directory, merged.header, *merged.cases)
    for shard in (*merged.shards, *merged.replaced):
        own = SessionDirectory(shard.path.parent)
        for record in shard.cases:
            artifacts = own.artifacts(shard.renamed.get(record.id, record.id))
            target = directory.artifacts(record.id)
            if record.artifacts and artifacts.is_dir():
                # A record may stand twice in a journal.
                shutil.copytree(artifacts, target, symlinks=True, dirs_exist_ok=target.is_dir())
    return directory


def finish(
    directory: SessionDirectory,
    end: SessionEnd,
    comparison: Comparison,
    seed_params: Collection[str],
) -> SessionEnd:
    """Append the session's end, with the comparison's results, to its journal; return it."""
    end = replace(end, rejected=comparison.gated and comparison.rejected)
    if end.rejected and end.exit_status == 0:
        end = replace(end, exit_status=1)
    end = with_comparison(end, comparison, seed_params)
    _append(directory, end)
    return end


def _append(directory: SessionDirectory, *entries: Entry) -> None:
    writer = JournalWriter(directory.journal)
    for entry in entries:
        writer.append(journal.encode(entry))
    writer.close()


def compare_options(merged: MergedSession, location: Location) -> CompareOptions:
    """Return the options for the comparison, from the shards' headers.

    Raises:
        JournalError: a shard has illegal amounts or directions.
    """
    told, accepted = merged.judging, location.accepted_steps()
    try:
        return CompareOptions(
            seed_params=frozenset(told.seed_params),
            window=told.history,
            ini_tolerances=[parse_rule(line) for line in told.ini_tolerances],
            tolerances=[parse_rule(line) for line in told.tolerances],
            directions=[parse_direction(line) for line in told.directions],
            min_effects=[parse_rule(line) for line in told.min_effects],
            accepted=accepted,
            gate_drift=told.gate_drift,
            strict_guards=told.strict_guards,
        )
    except ValueError as error:
        raise JournalError(f"{merged.shards[0].path}: {error}") from error


def compare_merged(
    merged: MergedSession, options: CompareOptions, location: Location, directory: SessionDirectory
) -> Comparison:
    """Compare the session with the baseline named in its shards' headers."""
    told = merged.judging
    baseline: Sessions | None = None
    problem: str | None = None
    try:
        if told.baseline != "none":
            baseline = _baseline(merged, options, location, directory)
    except (BaselineError, JournalError, OSError, ValueError) as error:
        # Shards may have been told of a form that only their own hooks know.
        problem = f"the baseline can't be read: {error}"
    damaged: list[str] = []
    required_by = "--require-baseline" if told.require_baseline else None
    if problem is None and baseline is None:
        if told.baseline != "none" and (location.offline or is_local_store(location.tracking_uri)):
            damaged = damage_notes(location.root)
        if told.gate:
            own = session_request(merged.header, told.baseline, told.history, (), location.root)
            unknown = why_unknown(own, location.root)
            problem = gate_problem(damaged, required_by, unknown)
    unrecorded = merged.end.unrecorded
    request = session_request(merged.header, told.baseline, told.history, (), location.root)
    sweeps = SweepBuilder(options)
    entries: list[Entry] = [merged.header, *merged.cases, merged.end]
    current = collect_session(sweeps.watch(entries), options.seed_params)
    swept = sweeps.build()
    comparison = compare_sessions(
        current,
        baseline,
        options,
        not_run={nodeid: outcome for nodeid, outcome in unrecorded.items() if outcome != "passed"},
        passed=[nodeid for nodeid, outcome in unrecorded.items() if outcome == "passed"],
        whole={".", "test", "tests"}.issuperset(merged.end.selection),
        problem=problem,
        gated=told.gate,
        required_by=required_by,
        notes=[*merged.notes, *damaged],
        sweeps=swept,
        settings=changed_settings(location.root, told.baseline, request.base_branch),
    )
    return replace(comparison, sweeps=swept, slices=sweeps.slices(comparison.metrics))


def _baseline(
    merged: MergedSession, options: CompareOptions, location: Location, directory: SessionDirectory
) -> Sessions | None:
    told, seeds = merged.judging, options.seed_params
    if told.baseline.startswith("file:"):
        file = load_file(location.root / told.baseline.removeprefix("file:"))
        return collect_values(file.entries(), seeds)
    request = session_request(
        merged.header, told.baseline, told.history, merged.end.selection, location.root
    )
    target = directory.baseline
    if location.look_for(lambda catalog: make_baseline(request, catalog, target), request) is None:
        return None
    return collect_values(journal.read_slim(target), seeds)
