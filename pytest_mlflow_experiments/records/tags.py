"""The names of all tags that the package sets or reads: of runs, datasets, models, experiments."""

from __future__ import annotations

from typing import Final

# MLflow's own: its pages and its searches know what they mean.
RUN_NAME: Final = "mlflow.runName"
PARENT: Final = "mlflow.parentRunId"
USER: Final = "mlflow.user"
SOURCE_TYPE: Final = "mlflow.source.type"
SOURCE_NAME: Final = "mlflow.source.name"
COMMIT: Final = "mlflow.source.git.commit"
BRANCH: Final = "mlflow.source.git.branch"
REPOSITORY: Final = "mlflow.source.git.repoURL"
NOTE: Final = "mlflow.note.content"
"""The description of a run, in markdown."""
TABLES: Final = "mlflow.loggedArtifacts"
"""The tables of a run, as JSON."""
DATA_CONTEXT: Final = "mlflow.data.context"
"""The tag of a run's input with the purpose of the data."""
MODEL_VERSIONS: Final = "mlflow.modelVersions"
"""The versions that a logged model is registered as, as JSON."""
EXPERIMENT_KIND: Final = "mlflow.experimentKind"

# What a session ran on; in its header, and so in its run.
PYTHON: Final = "python.version"
PLATFORM: Final = "platform"
PACKAGES_COUNT: Final = "packages.count"
PACKAGES_DIGEST: Final = "packages.digest"
DIRTY: Final = "git.dirty"
CHANGES: Final = "git.changes"
"""A digest of the changes since the commit, if any."""
CI_JOB: Final = "ci.job"
"""The page of the CI job."""
OPTIONS: Final = "pytest.options"
"""A digest of the options that conftests have added, with their values."""

# Of every run.
KIND: Final = "pytest.kind"
"""``session``, ``sweep`` or ``case``; ``superseded`` if another run replaces it."""
SESSION_ID: Final = "pytest.session_id"
RECORD_ID: Final = "pytest.record_id"
"""The id of a case's record, or of a sweep within its session."""
SHARD: Final = "pytest.shard"
"""The id of the shard that sent a case; with the suffix ``.ID``, the state of that shard."""
RESUMED_FROM: Final = "pytest.resumed_from"
"""The earlier session that a session continues, or that a case was taken over from."""

# Of the run of a session.
SHARD_COUNT: Final = "pytest.shards"
COMPLETE: Final = "pytest.complete"
"""``true`` where all tests ran that should: only that can be a baseline."""
PARTIAL: Final = "pytest.partial"
"""Why only some of the tests ran."""
SELECTION: Final = "pytest.selection"
EXIT_STATUS: Final = "pytest.exit_status"
BASELINE: Final = "pytest.baseline"
"""Which sessions it was compared with and why, or why with none."""
BASELINE_SESSIONS: Final = "pytest.baseline.sessions"
BASELINE_NEWEST: Final = "pytest.baseline.newest"
PINNED: Final = "pytest.baseline"
"""The tag of an experiment that holds the id of the session that is its baseline."""

# Of the run of a sweep.
OBJECTIVE: Final = "pytest.objective"
MODE: Final = "pytest.mode"
"""``min`` or ``max``."""

# Of the run of a case.
NODEID: Final = "pytest.nodeid"
CASE: Final = "pytest.case"
"""The name of a case that stays when its test is renamed."""
FILE: Final = "pytest.file"
OUTCOME: Final = "pytest.outcome"
MARKERS: Final = "pytest.markers"
RESUMED_RUN: Final = "pytest.resumed_run"
DATASET_PREFIX: Final = "pytest.dataset."
"""The prefix of a dataset's name; the value is its digest."""

# Of the version of a model.
OBJECTIVE_VALUE: Final = "pytest.objective.value"
PARAMS: Final = "pytest.params"
DATASETS: Final = "pytest.datasets"
GATE: Final = "pytest.gate"
VERDICTS: Final = "pytest.verdicts"
