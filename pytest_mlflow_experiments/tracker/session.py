"""Send one session's journal to MLflow, while it grows or afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, final

from ..records import CaseRecord, Exclusion, SessionEnd, SessionHeader
from ..records.directory import SessionDirectory
from ..records.journal import Entry, JournalError, JournalTail, decode, has_end, last_line
from ..records.session_tags import shard_states
from ..records.tags import EXCLUDED, NOTE, PARENT
from ..report.links import artifact_link
from .catalog import SHARDS, MlflowCatalog
from .connect import answer_request
from .errors import TrackerError
from .limits import clean_text
from .retries import log, patiently
from .runs import existing
from .runs.baseline import AwaitingBaseline, baseline_of
from .runs.case import RESULTS_FILE, Parent, session_tags
from .runs.session import SessionTally, closing_tags, session_status
from .runs.sweeps import SweepRuns
from .state import Reporter
from .store import SessionRun, Store, own_disk_note, run_type
from .writers import Problem, RunWriter
from .writers.artifacts import Files, Uploader, run_repository
from .writers.choice import choose_writer

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

_WORST_FIRST = ("run", "sweep", "lost", "artifacts")


def raise_worst_problem(problems: Sequence[Problem], cases: int, directory: Path) -> None:
    """Raise the worst of the problems, if there are any.

    Raises:
        TrackerError: MLflow did not take everything; the text is for the user.
    """
    if not problems:
        return
    worst = min(problems, key=lambda problem: _WORST_FIRST.index(problem.part))
    count = sum(problem.part == worst.part for problem in problems)
    text = {
        "run": f"MLflow did not take {count:,} of {cases:,} cases; the first is",
        "sweep": f"MLflow has every case, but did not take the end of {count:,} sweeps; the first "
        "is",
        "artifacts": "MLflow has every case, but not all artifacts could be uploaded; they stay "
        f"in {directory}; the first ones missing are those of",
        "lost": f"MLflow has every case, but some artifacts are neither there nor in {directory}; "
        "the first are those of",
    }[worst.part]
    passing = any(problem.passing for problem in problems)
    raise TrackerError(f"{text} {worst.case}: {worst.reason}", passing=passing)


_IDLE = 0.02
_DAMAGED = 5


@final
@dataclass(slots=True)
class Target:
    """The store, experiment and run that a session's runs are sent to."""

    experiment: Experiment
    run: SessionRun
    writer: RunWriter
    known: dict[str, existing.KnownRun]
    sweeps: SweepRuns


@final
@dataclass(slots=True)
class SessionProjector:
    """Follows one journal to its end, sends it, and keeps the session's state up to date."""

    directory: SessionDirectory
    store: Store
    reporter: Reporter
    follow: Callable[[], bool]
    tail: JournalTail
    pause: Callable[[float], None] = time.sleep
    tally: SessionTally = field(default_factory=SessionTally)
    header: SessionHeader | None = None
    end: SessionEnd | None = None
    target: Target | None = None
    problems: list[Problem] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    awaiting: AwaitingBaseline = field(default_factory=AwaitingBaseline)
    uploader: Uploader = field(init=False)
    _ahead: SessionEnd | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Create the uploader of all artifacts."""
        self.uploader = Uploader(self.reporter.count, self.reporter.note)

    def run(self) -> None:
        """Send the journal until its end, or until no process writes to it any more.

        Raises:
            TrackerError: the session can't be sent; the text is for the user.
        """
        while self.end is None:
            # Asked before the journal is read: what was written before the writer went is seen.
            more = self.follow()
            entries = self._read()
            self._take(entries)
            if not entries:
                if not more:
                    break
                if self.header and not self.target and self.directory.run_request.exists():
                    self._make_target()
                self.reporter.flush()
                self.pause(_IDLE)
        damaged = self.tail.damaged
        self.reporter.note(
            *(f"The session's file is damaged at {text}" for text in damaged[:_DAMAGED])
        )
        if len(damaged) > _DAMAGED:
            self.reporter.note(f"The session's file is damaged in {len(damaged):,} lines")
        if self.target is not None and not self.target.run.deleted:
            self._finish(self.target)
        self._tell_exclusion()
        raise_worst_problem(self.problems, self.tally.cases, self.directory.path)

    def prove(self) -> None:
        """Find out whether later sessions need MLflow for this database."""
        if self.target is not None and self.target.writer.name == "bulk":
            from .writers.proof import prove

            prove(self.store, self.target.experiment)

    def _read(self) -> list[Entry]:
        limit = self.target.writer.batch_size if self.target else 100
        try:
            return self.tail.read_new(limit)
        except FileNotFoundError:
            return []

    def _take(self, entries: Sequence[Entry]) -> None:
        records: list[CaseRecord] = []
        for entry in entries:
            if isinstance(entry, SessionHeader):
                self._begin(entry)
            elif isinstance(entry, SessionEnd):
                self.end = entry
            elif isinstance(entry, CaseRecord):
                records.append(entry)
                self.tally.add(entry)
                if self.header is not None and self.header.shards:
                    self.kept.add(entry.id)
        if records:
            self._send(records)

    def _begin(self, header: SessionHeader) -> None:
        self.header = header
        experiment = self.store.find_experiment(header.experiment_name, header.experiment_id)
        self.reporter.change(
            phase="ready",
            error=None,
            experiment_name=experiment.name if experiment else header.experiment_name,
            experiment_id=experiment.experiment_id if experiment else None,
        )
        self.reporter.flush(now=True)
        if header.shard is not None:
            # Others have to know that there is this one, whatever becomes of it.
            self._make_target()
        # Sent again later, a session is judged already: then a baseline is of no use to anybody.
        if self.follow() and self.reporter.state.baseline in (None, "failed"):
            name = header.experiment_name or f"{header.experiment_id}"
            catalog = MlflowCatalog(self.store, experiment, name, self.reporter.redact)
            answer_request(self.directory, catalog, self.reporter)

    def _make_target(self) -> Target:
        if self.target is not None:
            return self.target
        header = self.header
        if header is None:
            damage = "".join(f" ({text})" for text in self.tail.damaged[:1])
            raise TrackerError(
                f"The session's file {self.directory.journal} has no header{damage}."
            )
        experiment = self.store.make_experiment(header)
        run = self.store.make_session_run(header, experiment)
        self.store.prepare_files(experiment)
        known: dict[str, existing.KnownRun] = {}
        if run.resumed and not run.deleted:
            place = self.store.client, experiment.experiment_id, header
            sweeps = existing.sweep_runs(*place, run.run_id)
            known = {record_id: existing.known_run(sweep) for record_id, sweep in sweeps.items()}
            known |= existing.case_runs(*place)
        if header.shard is not None:
            existing.tag_new_shard(self.store.client, run.run_id, header)
        writer = choose_writer(
            self.store,
            experiment,
            known,
            uploader=self.uploader,
            shared=header.shard is not None,
            on_note=self.reporter.note,
            on_written=partial(self.reporter.count, sent=1),
            on_closed=partial(self.reporter.count, sweeps=1),
        )
        parent = Parent(
            run_id=run.run_id,
            session_id=header.joint_id,
            shard_id=header.session_id if header.shard else None,
            user=run.user,
            directory=self.directory,
            tags={**run_type(), **session_tags(header)},
        )
        self.target = Target(experiment, run, writer, known, SweepRuns(parent, writer))
        self.reporter.change(
            run_id=run.run_id,
            experiment_id=experiment.experiment_id,
            experiment_name=experiment.name,
            writer=writer.name,
        )
        self.reporter.note(*own_disk_note(self.store.shown_uri, experiment.artifact_location))
        if run.deleted:
            self.reporter.note("The session's run was deleted in MLflow; nothing was sent.")
        self.reporter.flush(now=True)
        return self.target

    def _send(self, records: Sequence[CaseRecord]) -> None:
        target = self._make_target()
        if target.run.deleted:
            return
        sent = self.reporter.state.sent
        runs = target.sweeps.project(records)
        late = records
        if end := self._end_ahead():
            # The runs get the baseline's values with their own, and need not be asked for again.
            new = {record.id: record for record in records if record.id not in target.known}
            runs = [
                replace(run, metrics=(*run.metrics, *baseline_of(new[run.id], end)))
                if run.id in new
                else run
                for run in runs
            ]
            late = [record for record in records if record.id in target.known]
        if self._is_whole:
            self.awaiting.add(late)
        problems = target.writer.write(runs)
        self.problems += problems
        for run in runs:
            known = target.known.get(run.id)
            if known and not known.deleted and known.parent != run.tags[PARENT]:
                # It was sent before its sweep had a run, or below one that was one too many.
                patiently(self.store.client.set_tag, known.run_id, PARENT, run.tags[PARENT])
        lost = sum(problem.part == "run" for problem in problems)
        self.reporter.change(sent=sent + len(records) - lost, writer=target.writer.name)
        self.reporter.flush()

    def _finish(self, target: Target) -> None:
        header = self.header
        assert header is not None  # there is no target without one
        if header.shard is not None:
            self._finish_shard(header, target)
            return
        client, run_id = self.store.client, target.run.run_id
        verdict = self.tally.verdict(self.end)
        reports = {path.name: path for path in sorted(self.directory.path.glob("report.*"))}
        report = None
        if (name := "report.html") in reports:
            experiment_id = target.experiment.experiment_id
            report = artifact_link(experiment_id, run_id, name, self.store.shown_uri)
        tags = closing_tags(header, self.end, verdict)
        tags[NOTE] = self.tally.description(header, self.end, report)
        log(client, run_id, self.tally.metrics(header, self.end), {}, tags)
        self._upload(run_id, RESULTS_FILE, reports)
        self._close_sweeps(header, target, run_id)
        self._add_baseline(target)
        if header.shards:
            replaced = [
                known.run_id
                for record_id, known in target.known.items()
                if record_id not in self.kept and known.shard in header.shards
            ]
            existing.mark_superseded(client, replaced)
        self._remove_repeated(header, target)
        status, end_time = session_status(self.end), self.tally.end_time(header, self.end)
        # Shards that were merged have ended their own.
        if not header.shards and (self.end is None or not self.end.complete):
            self.store.kill_open_runs(header, target.experiment, end_time)
        held = clean_text(header.name)
        if target.run.resumed:
            # Somebody may have renamed it.
            held = patiently(client.get_run, run_id).info.run_name or ""
        existing.end_session(client, run_id, held, header, verdict, status, end_time)

    def _add_baseline(self, target: Target) -> None:
        """Add the baseline's values, which are known only now, to the runs of the cases."""
        end = self.end
        if end is None or not end.baselines:
            return
        size = target.writer.added_at_once
        for metrics in self.awaiting.batches(end, self.directory.journal, size):
            if metrics:
                target.writer.add(metrics)
            self.reporter.count(beats=1)

    @property
    def _is_whole(self) -> bool:
        """Whether the session is no shard; shards are compared only once they are merged."""
        return self.header is not None and self.header.shard is None

    def _end_ahead(self) -> SessionEnd | None:
        """Return the session's end if the journal holds it already, behind cases to be sent."""
        journal = self.directory.journal
        if self._ahead is None and self._is_whole and has_end(journal):
            with suppress(JournalError, OSError):
                found = decode(last_line(journal)[0])
                self._ahead = found if isinstance(found, SessionEnd) else None
        return self._ahead

    def _remove_repeated(self, header: SessionHeader, target: Target) -> None:
        # Where we choose the ids of runs, the store itself refuses a second one.
        if target.run.resumed or target.writer.name == "client":
            place = self.store.client, target.experiment.experiment_id, header
            existing.remove_repeated(*place, target.run.run_id)

    def _tell_exclusion(self) -> None:
        """Tag the run with what was decided on the session here, unless MLflow knows better."""
        exclusion = self.directory.exclusion
        if exclusion is None:
            return
        # Of what MLflow has no run of, there is nothing to tell.
        if self.target is not None and not self.target.run.deleted:
            client, run_id = self.store.client, self.target.run.run_id
            held = Exclusion.parse(patiently(client.get_run, run_id).data.tags.get(EXCLUDED))
            if held is not None and held.time > exclusion.time:
                exclusion = held
            else:
                text = replace(exclusion, pending=False).text
                patiently(client.set_tag, run_id, EXCLUDED, text)
        self.directory.exclude(replace(exclusion, pending=False))

    def _close_sweeps(self, header: SessionHeader, target: Target, parent_id: str) -> None:
        client, experiment_id = self.store.client, target.experiment.experiment_id
        held: dict[str, Run] = {}
        if target.run.resumed or header.shard is not None:
            held = existing.sweep_runs(client, experiment_id, header, parent_id)
        take_over = partial(existing.move_children, client, experiment_id)
        self.problems += target.sweeps.close(self.end, held, take_over)

    def _finish_shard(self, header: SessionHeader, target: Target) -> None:
        """End this shard; set the status and end of the shared run so far."""
        client, status = self.store.client, session_status(self.end)
        end_time = self.tally.end_time(header, self.end)
        self._remove_repeated(header, target)
        if self.end is None or not self.end.complete:
            self.store.kill_open_runs(header, target.experiment, end_time)
        run = self.store.find_session_run(header, target.experiment)
        assert run is not None  # this shard has made it, if no other has
        run_id = run.info.run_id
        if run_id != target.run.run_id:
            experiment_id = target.experiment.experiment_id
            existing.move_children(client, experiment_id, target.run.run_id, run_id)
            self.reporter.change(run_id=run_id)
        if shard_states(run.data.tags).get(header.session_id) == "merged":
            return
        self._close_sweeps(header, target, run_id)
        if self._upload(run_id, f"{SHARDS}/{header.session_id}.jsonl", {}):
            existing.end_shard(client, run_id, header, status, end_time)

    def _upload(self, run_id: str, name: str, others: Files) -> bool:
        """Upload the journal under this name, and other files; return whether they are there."""
        with tempfile.TemporaryDirectory(prefix="pytest-mlflow-") as directory:
            journal = Path(directory, Path(name).name)
            shutil.copyfile(self.directory.journal, journal)
            problem = self.uploader.upload(
                "the session itself",
                partial(run_repository, self.store.client, run_id),
                lambda: {name: journal, **others},
            )
        if problem is not None:
            self.problems.append(problem)
        return problem is None
