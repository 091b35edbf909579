"""The fixture ``mlflow_run``: an MLflow run, active in the process of the test."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, final

import pytest

from ..records import FAILED_OUTCOMES, Metric
from ..records.directory import (
    SessionDirectory,
    SessionState,
    make_directories,
    restrict,
    write_private,
)
from ..records.processes import is_running, wait_until
from ..records.slim import thinned
from ..records.tags import (
    KIND,
    PARENT,
    RECORD_ID,
    RUN_TYPE,
    SESSION_ID,
    SHARD,
    TRACE_CASE,
    TRACE_TEST,
)
from .case import CaseLog
from .marker import CaseOptions
from .measuring import Original
from .merged_metrics import LoggedMetric
from .mlflow_case import CASE_LOG, log_of
from .params import plain_nodeid, shown_id, shown_text
from .threads import all_threads, is_pooled

if TYPE_CHECKING:
    from mlflow import ActiveRun, MlflowClient

_POLL: Final = 0.02


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How processes that run tests reach the session and its MLflow store.

    ``tracking_uri`` is None for an offline session; ``shard_of`` is the id of the session that this
    one is a shard of. ``system_metrics`` tells whether MLflow's monitor records the machine's load.
    """

    directory: SessionDirectory
    tracking_uri: str | None
    shard_of: str | None = None
    system_metrics: bool = False

    def session_run(self, timeout: float) -> SessionState:
        """Ask the tracker for the session's run, and wait up to ``timeout`` seconds for it.

        Returns a state with ``run_id`` and ``experiment_id``, or an unavailable one with the
        reason, also if the trouble is temporary: a test can't wait for its end.
        """
        if self.tracking_uri is None:
            return _failed("the session is offline")
        state = SessionState.read(self.directory.state)
        if state is None or state.run_id is None:
            try:
                write_private(self.directory.run_request, "")
            except OSError as error:
                return _failed(f"the process that uploads to MLflow can't be reached: {error}")
            if (trouble := self.directory.trouble()) is not None:
                # Nor can the tracker answer.
                return _failed(f"{self.directory.path} can't be written: {trouble}")
        answer = _failed(f"MLflow was not ready within {timeout:g} seconds")

        def is_answered() -> bool:
            nonlocal answer
            state = SessionState.read(self.directory.state)
            if state is not None and state.run_id is None and not state.is_unavailable:
                is_dead = state.pid is not None and not is_running(state.pid)
                state = _failed("the process that uploads to MLflow died") if is_dead else None
            answer = state or answer
            return state is not None

        clock, sleep = Original.perf_counter, Original.sleep
        wait_until(is_answered, timeout=timeout, poll=_POLL, clock=clock, sleep=sleep)
        return answer


def _failed(error: str) -> SessionState:
    return SessionState(phase="failed", error=error)


CONNECTION: Final = pytest.StashKey[Connection]()

_STORE_TIMEOUT: Final = 120.0
# By itself MLflow tries for minutes to reach a server, and a test waits for what is asked here.
_FEW_RETRIES: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
_ATTEMPTS: Final = 4
_REASON_LENGTH: Final = 300
_UNMONITORED: Final = "the machine's load is not recorded"
_THROWAWAY: Final = pytest.StashKey["_Target"]()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The store and experiment of a run, and the tags that make it the case's run."""

    tracking_uri: str
    experiment_id: str
    is_kept: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def active_run(request: pytest.FixtureRequest) -> Iterator[ActiveRun]:
    """Open a run for the test, make it MLflow's active one, and end it after the test.

    Under ``--mlflow`` it is the case's own run below the session's run. Otherwise, and if the
    tracking store can't be reached, it is in a throwaway store; in the second case its content is
    copied to the record before the store is removed.
    """
    item = request.node
    is_followed, log = CASE_LOG in item.stash, log_of(item)
    with _without_warnings():
        import mlflow

    with _own_mlflow_state():
        with _without_warnings():
            target, run = _open(item, log)
        run_id = run.info.run_id
        last_trace = _last_trace()
        threads = _TestThreads(run)
        try:
            yield run
        finally:
            left_open = threads.release()
            with _without_warnings(), _environment(_FEW_RETRIES):
                client = mlflow.MlflowClient(target.tracking_uri)
                _end_runs(target, run_id, log, left_open)
                if is_followed:
                    (_read_metrics if target.is_kept else _take_over)(client, run_id, log)
                    if _last_trace() != last_trace:
                        _read_traces(client, target, run_id, item, log)


def _open(item: pytest.Item, log: CaseLog) -> tuple[_Target, ActiveRun]:
    """Open the test's run in the session's store, or in a throwaway store if that fails."""
    target = _target(item, log)
    if target.is_kept:
        try:
            with _environment(_FEW_RETRIES):
                return target, _start(target, item, log)
        except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
            log.run_id = None
            _note_throwaway(log, " ".join(str(error).split())[:_REASON_LENGTH])
            target = _throwaway(item.config)
    return target, _start(target, item, log)


def _start(target: _Target, item: pytest.Item, log: CaseLog) -> ActiveRun:
    import mlflow
    from mlflow.tracking import fluent

    mlflow.set_tracking_uri(target.tracking_uri)
    if not target.is_kept:
        mlflow.set_registry_uri(target.tracking_uri)
        _forget_active_model()
    mlflow.set_experiment(experiment_id=target.experiment_id)
    run_id = _create_run(target, item, log)
    if target.is_kept:
        log.run_id = run_id
    monitored = _system_metrics(item, log)
    run = mlflow.start_run(run_id=run_id, log_system_metrics=monitored)
    if monitored and run_id not in fluent.run_id_to_system_metrics_monitor:
        log.notes.append(f"{_UNMONITORED}: MLflow's monitor did not start")
    return run


def _system_metrics(item: pytest.Item, log: CaseLog) -> bool | None:
    """Return whether to run MLflow's system monitor; None leaves it to MLflow's variables."""
    marked = CaseOptions.from_item(item).log_system_metrics
    connection = item.config.stash.get(CONNECTION, None)
    if marked is not None or connection is None or not connection.system_metrics:
        return marked
    if find_spec("psutil") is None:
        # MLflow would refuse to open the run.
        log.notes.append(f"{_UNMONITORED}: --mlflow-system-metrics needs psutil")
        return False
    return True


def _note_throwaway(log: CaseLog, reason: str | None) -> None:
    log.notes.append(f"mlflow_run logged to a database on this machine: {reason}")


def _target(item: pytest.Item, log: CaseLog) -> _Target:
    is_followed = CASE_LOG in item.stash
    connection = item.config.stash.get(CONNECTION, None)
    if connection is None or (is_followed and not log.is_kept):
        return _throwaway(item.config)
    state: SessionState = connection.session_run(_STORE_TIMEOUT)
    uri, experiment, parent = connection.tracking_uri, state.experiment_id, state.run_id
    if state.is_unavailable or parent is None or experiment is None or uri is None:
        _note_throwaway(log, state.error)
        return _throwaway(item.config)
    tags = {}
    if is_followed:
        session = connection.directory.session_id
        shard = {SHARD: session} if connection.shard_of else {}
        tags = {PARENT: parent, KIND: "case", SESSION_ID: connection.shard_of or session, **shard}
        tags[RECORD_ID] = log.id
    return _Target(tracking_uri=uri, experiment_id=experiment, is_kept=True, tags=tags)


def _throwaway(config: pytest.Config) -> _Target:
    """Return the store in a temporary directory, shared by all tests: creating one is slow."""
    from mlflow import MlflowClient

    if _THROWAWAY not in config.stash:
        directory = tempfile.TemporaryDirectory(prefix="pytest-mlflow-", ignore_cleanup_errors=True)
        root = Path(directory.name)
        uri = f"sqlite:///{(root / 'mlflow.db').as_posix()}"
        default = Path("mlruns").absolute()
        is_theirs = default.exists()
        experiment_id = MlflowClient(uri, uri).create_experiment(
            "pytest", artifact_location=(root / "artifacts").as_uri()
        )
        if not is_theirs:
            # Older releases of MLflow make the directory where artifacts would be by default.
            with suppress(OSError):
                default.rmdir()
        config.stash[_THROWAWAY] = _Target(tracking_uri=uri, experiment_id=experiment_id)
        config.add_cleanup(partial(_close_store, uri))
        config.add_cleanup(directory.cleanup)
    return config.stash[_THROWAWAY]


def _close_store(uri: str) -> None:
    """Close the database file; Windows can't remove the directory of an open file."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = getattr(SqlAlchemyStore, "_engine_map", {}).pop(uri, None)
    if engine is not None:
        engine.dispose()


def _create_run(target: _Target, item: pytest.Item, log: CaseLog) -> str:
    """Create the run, but not by ``mlflow.start_run``, which would use MLFLOW_RUN_ID."""
    from mlflow import MlflowClient
    from mlflow.tracking.context import registry
    from mlflow.utils import mlflow_tags

    name = item.name
    if CASE_LOG in item.stash:
        name = shown_text(item, name, log.secrets.rules.names)
    client = MlflowClient()
    tags = registry.resolve_tags(dict(target.tags))
    # As MLflow's own plugin for pytest has it: its pages then show traces by test.
    if target.tags and (test := getattr(mlflow_tags, "MLFLOW_RUN_TYPE_TEST", None)) is not None:
        tags.setdefault(RUN_TYPE, test)
    for attempt in range(_ATTEMPTS):
        try:
            # MLflow's own repetition would make a second run where only the answer got lost.
            with _environment({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}):
                run = client.create_run(target.experiment_id, run_name=name, tags=tags)
            return str(run.info.run_id)
        except Exception:
            if attempt == _ATTEMPTS - 1 or not target.tags:
                raise
        query = f"tags.`{RECORD_ID}` = '{log.id}'"
        if runs := client.search_runs([target.experiment_id], query, max_results=1):
            return str(runs[0].info.run_id)
    raise AssertionError("unreachable")


def _end_runs(target: _Target, run_id: str, log: CaseLog, left_open: list[ActiveRun]) -> None:
    """End the run, after those that the test left open, ``left_open`` in its threads."""
    import mlflow
    from mlflow.tracking import fluent

    failed = log.outcome in FAILED_OUTCOMES
    open_runs: Any = fluent._active_run_stack
    stack: list[ActiveRun] = open_runs.get()
    stack += left_open
    while stack:
        is_ours = stack[-1].info.run_id == run_id
        if is_ours:
            # The test may have gone on to a store of its own.
            mlflow.set_tracking_uri(target.tracking_uri)
        others = len(stack) - 1
        try:
            mlflow.end_run("FAILED" if failed and is_ours else "FINISHED")
        except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
            # The tracker ends the case's run anyway.
            log.notes.append(f"a run of the test could not be ended: {error}")
        # A test may have replaced the function.
        del stack[others:]


@final
class _TestThreads:
    """The threads of a test, which share its run where MLflow would open one for each thread.

    These are the threads that the test starts, and those of pools. In them the run is the active
    one until they start runs of their own, which they may do without ``nested=True``, and only the
    end of the test ends it. MLflow's variable is as it was after :meth:`release`.
    """

    def __init__(self, run: ActiveRun) -> None:
        from mlflow.tracking import fluent

        self._run, self._owner, self._pid = run, threading.get_ident(), Original.getpid()
        self._before = frozenset(all_threads())
        self._stacks: dict[int, tuple[threading.Thread, list[ActiveRun]]] = {}
        self._is_alone = True
        self._variable = cast("Any", getattr(fluent, "_active_run_stack", None))
        self._get: Any = getattr(self._variable, "get", None)
        # Where MLflow keeps its runs by other means, each thread has runs of its own as before.
        with suppress(AttributeError, TypeError):
            other = getattr(self._get, "__self__", None)
            if isinstance(other, _TestThreads):
                # Of two tests at once nobody knows whose thread it is.
                other._is_alone = False
            elif self._get is not None and isinstance(self._get(), list):
                self._variable.get = self._stack

    def _stack(self) -> list[ActiveRun]:
        """Return the open runs of the calling thread, for MLflow."""
        stack: list[ActiveRun] = self._get()
        is_ours = threading.get_ident() == self._owner or Original.getpid() != self._pid
        if is_ours or not self._is_alone:
            return stack
        if not stack:
            thread = threading.current_thread()
            if thread in self._before and not is_pooled(thread):
                return stack
            self._stacks[id(stack)] = thread, stack
            stack.append(self._run)
        if len(stack) == 1 and stack[0] is self._run:
            caller = sys._getframe(1)
            function, given = caller.f_code.co_name, caller.f_locals
            if function == "end_run":
                return []
            parents = (None, self._run.info.run_id)
            if function == "start_run" and not (
                given.get("nested") and given.get("parent_run_id") in parents
            ):
                stack.clear()
        return stack

    def release(self) -> list[ActiveRun]:
        """Give threads runs of their own again; return the runs that they left open."""
        with suppress(AttributeError, TypeError):
            if self._variable.get == self._stack:
                del self._variable.get
        left_open = []
        for thread, stack in list(self._stacks.values()):
            left_open += [run for run in stack if run is not self._run]
            # A thread that outlives the test goes on with its own runs, but not with the test's.
            goes_on = thread.is_alive() and not is_pooled(thread)
            stack[:] = [run for run in stack if goes_on and run is not self._run]
        return left_open


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore MLflow's own warnings, which tests may turn into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_MAX_HISTORIES: Final = 20
"""The number of metrics with all steps in the record: each takes a request to MLflow."""

_MAX_VALUES: Final = 1_000

_PATIENCE: Final = 10.0
"""The seconds that a slow server may take for them, as the next test waits."""

_SYSTEM: Final = "system/"


def _read_metrics(client: MlflowClient, run_id: str, log: CaseLog) -> None:
    """Add the metrics of the test's own run to the log: comparisons read records, not MLflow.

    The machine's load, from MLflow's system monitor, is left out.
    """
    try:
        data: Any = client.get_run(run_id).data
        names = [name for name in data.metrics if not name.startswith(_SYSTEM)]
        log.run_metrics.update({name: data.metrics[name] for name in names})
    except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
        log.notes.append(f"the metrics of the test's own run can't be compared: {error}")
        return
    # MLflow tells the last value of a metric with its step: where that is 0, there was no other.
    steps = {metric.key: metric.step for metric in getattr(data, "_metric_objs", ())}
    curves = sorted(name for name in names if steps.get(name, 1) > 0)
    read = 0
    deadline = Original.perf_counter() + _PATIENCE
    try:
        for name in curves[:_MAX_HISTORIES]:
            if Original.perf_counter() > deadline:
                break
            log.run_history += _history(client, run_id, name)
            read += 1
    except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
        log.notes.append(f"the steps of the test's own metrics are not kept: {error}")
    else:
        if rest := len(curves) - read:
            log.notes.append(f"the steps of {rest} more metrics are in the run of MLflow alone")


def _history(client: MlflowClient, run_id: str, name: str) -> list[Metric]:
    """Return the values of a metric by step, or nothing if it has one step."""
    history = sorted(client.get_metric_history(run_id, name), key=lambda value: value.timestamp)
    last = {value.step: value for value in history}
    if len(last) < 2:
        return []
    return [
        Metric(key=name, value=value.value, step=step, timestamp=value.timestamp)
        for step in thinned(sorted(last), _MAX_VALUES)
        for value in (last[step],)
    ]


_MAX_TRACES: Final = 500

_TRACE_COSTS: Final = (
    *(
        ("mlflow.trace.tokenUsage", key, f"trace_{key}")
        for key in ("input_tokens", "output_tokens")
    ),
    ("mlflow.trace.tokenUsage", "total_tokens", "trace_tokens"),
    ("mlflow.trace.cost", "total_cost", "trace_cost_usd"),
)
"""What MLflow sums up in a trace, and the name of the cost that it is of the case."""


def _last_trace() -> str | None:
    import mlflow

    return getattr(mlflow, "get_last_active_trace_id", lambda: None)()


def _read_traces(
    client: MlflowClient, target: _Target, run_id: str, item: pytest.Item, log: CaseLog
) -> None:
    """Add what the traces of a test have cost to the log, and tag them with the test."""
    import mlflow

    costs: dict[str, float] = {}
    seconds: list[float] = []
    deadline = Original.perf_counter() + _PATIENCE
    rules = log.secrets.rules.names
    names = {TRACE_TEST: log.secrets.in_text(shown_text(item, plain_nodeid(item), rules))}
    if (shown := shown_id(item, rules)) is not None:
        names[TRACE_CASE] = log.secrets.in_text(shown)
    try:
        mlflow.flush_trace_async_logging()
        # Not ``run_id=``, which only goes with ``locations=``, and older releases lack that.
        found = client.search_traces(
            [target.experiment_id],
            f"attribute.run_id = '{run_id}'",
            max_results=_MAX_TRACES,
            include_spans=False,
        )
        for info in [trace.info for trace in found]:
            for entry, key, name in _TRACE_COSTS:
                told = json.loads(info.trace_metadata.get(entry) or "null") or {}
                if key in told:
                    costs[name] = costs.get(name, 0.0) + float(told[key])
            if info.execution_duration is not None:
                seconds.append(info.execution_duration / 1_000)
            for key, text in names.items():
                if key not in info.tags and Original.perf_counter() < deadline:
                    client.set_trace_tag(info.trace_id, key, text)
    except Exception as error:  # noqa: BLE001 - stores raise what their own libraries raise
        log.notes.append(f"the traces of the test's own run can't be read: {error}")
    if seconds:
        costs["trace_latency_seconds"] = sum(seconds) / len(seconds)
    log.usage = {**log.usage, **costs}


def _take_over(client: MlflowClient, run_id: str, log: CaseLog) -> None:
    """Copy everything logged to a run in the throwaway store to the log of its case."""
    run = client.get_run(run_id)
    for key, value in run.data.params.items():
        log.params.setdefault(key, log.secrets.text(key, value, str))
    log.tags.update(
        (key, log.secrets.text(key, value, str))
        for key, value in run.data.tags.items()
        if not key.startswith("mlflow.")
    )
    for key in run.data.metrics:
        for metric in client.get_metric_history(run_id, key):
            reading = log.clock.reading(metric.timestamp)
            log.logged.append(LoggedMetric(reading, key, metric.value, metric.step))
    if log.artifact_directory is not None and client.list_artifacts(run_id):
        make_directories(log.artifact_directory)
        client.download_artifacts(run_id, "", str(log.artifact_directory))
        restrict(log.artifact_directory)
    outputs = getattr(run, "outputs", None)
    if outputs is not None and outputs.model_outputs:
        log.notes.append(
            f"{len(outputs.model_outputs):,} logged models are not saved: "
            "the session did not reach MLflow"
        )


_ACTIVE_MODEL: Final = ("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")
_ENVIRONMENT: Final = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_ID"),
    *("MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", *_ACTIVE_MODEL),
)
_THREAD_LOCAL: Final = (
    *("_active_run_stack", "_last_active_run_id", "_last_logged_model_id", "_ACTIVE_MODEL_CONTEXT"),
)


def _autologging() -> dict[str, dict[str, Any]]:
    """Return MLflow's autologging settings by library; a library without any is off."""
    from mlflow.utils import autologging_utils

    return getattr(autologging_utils, "AUTOLOGGING_INTEGRATIONS", {})


def _forget_active_model() -> None:
    """Reset the active model: a store without it refuses metrics that are linked to it."""
    from mlflow.tracking import fluent

    for name in _ACTIVE_MODEL:
        os.environ.pop(name, None)
    context: Any = fluent._ACTIVE_MODEL_CONTEXT
    context.set(fluent.ActiveModelContext())


@contextmanager
def _environment(variables: Mapping[str, str], also: Iterable[str] = ()) -> Iterator[None]:
    """Set environment variables in the block, then restore them and those in ``also``."""
    before = {name: os.environ.get(name) for name in (*variables, *also)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text


@contextmanager
def _own_mlflow_state() -> Iterator[None]:
    """Restore MLflow's global state and environment variables after the block."""
    import mlflow
    from mlflow.tracking import _model_registry, _tracking_service, fluent

    names = {_model_registry.utils: "_registry_uri", fluent: "_active_experiment_id"}
    attributes = [(module, name, getattr(module, name, None)) for module, name in names.items()]
    tracking_uri = getattr(_tracking_service.utils, "_tracking_uri", None)
    known: list[Any] = [getattr(fluent, name) for name in _THREAD_LOCAL if hasattr(fluent, name)]
    variables = [(variable, variable.get()) for variable in known]
    autologging = {name: dict(config) for name, config in _autologging().items()}
    with _environment({}, _ENVIRONMENT):
        # A run id from the caller is meant for the first run that the tests open, and a run that is
        # open already for those who opened it: neither is what this test logs to, nests below or
        # ends.
        os.environ.pop("MLFLOW_RUN_ID", None)
        known[0].set([])
        try:
            yield
        finally:
            # Not the attribute alone: traces go where the last call has said.
            mlflow.set_tracking_uri(tracking_uri)  # type: ignore[arg-type]
            for module, name, value in attributes:
                setattr(module, name, value)
            for variable, value in variables:
                variable.set(value)
            # What a test switches on with mlflow.autolog() would log its neighbours' models.
            for name, config in _autologging().items():
                config.clear()
                config.update(autologging.get(name, {}))
