"""The README's example is the example; each line about outages is shown by a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from documented import commands, fences

# What docs/outages.md says, and the tests that show it.
SHOWN_BY = {
    "the tracking server can't be reached, never answers, or answers with errors or garbage": (
        "test_outages.py::test_servers_out_of_order"
    ),
    "it dies and comes back, in the middle of the session or at its end": (
        "test_outages.py::test_a_server_that_is_restarted_at_any_moment"
    ),
    "an answer of 200 is a login page, an error or nothing, or a redirect leads to a login": (
        "test_tracker_http.py::test_no_answer_is_taken_for_what_it_is_not"
    ),
    "an answer does not end, or trickles": "test_answers.py::test_an_answer_that_trickles_is_cut",
    "a session is very large": "test_report_bounds.py::test_a_large_session",
    "a gateway repeats requests": (
        "test_tracker_http.py::test_a_gateway_that_repeats_requests_leaves_nothing_double"
    ),
    "the server answers 429, with or without `Retry-After`": (
        "test_answers.py::test_a_retry_keeps_to_the_pause_asked_for"
    ),
    "the disk of the store or of its artifacts is full, or a file is too large (413)": (
        "test_outages.py::test_a_disk_too_full_for_artifacts"
    ),
    "one request in five fails, and answers get lost": (
        "test_soak.py::test_nothing_is_lost_doubled_or_changed"
    ),
    "the server is slow": "test_outages.py::test_the_whole_wait_is_bounded",
    "there is a gate and no answer": (
        "test_outages.py::test_the_gate_fails_where_there_is_no_answer"
    ),
    "you sit at a terminal": "test_outages.py::test_a_terminal_gets_its_prompt_back",
    "earlier sessions were not sent": "test_outages.py::test_what_earlier_sessions_left_is_told",
    "the SQLite file is locked": "test_outages.py::test_a_database_that_stays_locked",
    "the SQLite file is read-only": "test_outages.py::test_a_database_that_is_read_only",
    "the disk is full, read-only or broken": (
        "test_full_disk.py::test_loss_is_told_at_every_verbosity"
    ),
    "there is room again in the middle of the session": (
        "test_full_disk.py::test_disk_that_takes_lines_again"
    ),
    "a report can't be written": (
        "test_full_disk.py::test_report_that_cannot_be_written_is_told_with_q"
    ),
    "`.pytest_mlflow` is moved away during a session": (
        "test_full_disk.py::test_directory_that_comes_back_is_private"
    ),
    "the server leaves artifacts to the disk of whoever writes them": (
        "test_full_disk.py::test_artifacts_on_the_clients_own_disk"
    ),
    "the database drops its connections, or restarts": (
        "test_postgres.py::test_connections_cut_in_the_middle"
    ),
    "pytest is killed": "test_crashes.py::test_pytest_is_killed",
    "the tracker is killed": "test_crashes.py::test_tracker_is_killed",
    "it is killed within artifacts": (
        "test_artifacts.py::test_the_tracker_is_killed_within_artifacts"
    ),
    "uploads of artifacts fail, or break off in the middle": (
        "test_artifacts.py::test_a_server_behind_a_bad_line"
    ),
    "artifacts are many or large": (
        "test_artifacts.py::test_what_is_shown_while_artifacts_are_uploaded"
    ),
    "the disk of the artifacts is full": (
        "test_artifacts.py::test_a_full_artifact_disk_is_enlarged"
    ),
    "artifacts are neither here nor in MLflow": (
        "test_artifacts.py::test_what_a_session_lacks_keeps_it_from_being_done"
    ),
    "a test crashes its pytest-xdist worker": (
        "test_crashes.py::test_case_that_crashes_its_worker"
    ),
    "a test fails before its first metric": (
        "test_gate.py::test_case_that_failed_before_its_first_metric"
    ),
    "each test runs in a process of its own (pytest-forked)": (
        "test_session.py::test_each_test_in_a_process_of_its_own"
    ),
    "a conftest.py or plugin shortens the collection without `pytest_deselected`": (
        "test_gate.py::test_tests_that_are_left_out_without_a_word_are_deselected"
    ),
    "the memory is used up": "test_crashes.py::test_out_of_memory",
    "you press Ctrl-C, once or twice": "test_crashes.py::test_ctrl_c_twice",
    "a killed sweep is started again with `--mlflow-resume`": (
        "test_resume.py::test_killed_sweep_goes_on"
    ),
    "anything is killed at any moment, `sync` too": (
        "test_fault_injection.py::test_nothing_is_lost_whatever_is_killed"
    ),
    "a line of the journal is half written": (
        "test_broken_journals.py::test_every_part_of_the_last_line"
    ),
    "`sync` runs twice, in any order, or breaks off": (
        "test_broken_journals.py::test_sync_that_breaks_off_is_taken_up"
    ),
    "several sessions run in one directory": (
        "test_hygiene.py::test_sessions_at_once_on_a_new_database"
    ),
    "`sync` or pruning meets a session that still runs": (
        "test_hygiene.py::test_a_running_session_is_left_alone"
    ),
    "there are more than 50 sessions": "test_hygiene.py::test_pruning_takes_only_what_was_sent",
    "`.pytest_mlflow` can't be written": "test_hygiene.py::test_a_directory_that_cannot_be_used",
    "a newer release wrote the journal or the baseline": (
        "test_hygiene.py::test_what_a_newer_release_wrote_is_left_alone"
    ),
    "a shard is missing": "test_merge.py::test_missing_shard_never_passes",
    "a shard broke off": "test_merge.py::test_shard_that_broke_off_never_passes",
    "shards start at the same moment": (
        "test_tracker_joint.py::test_shards_that_began_at_the_same_moment_are_united"
    ),
    "your tests open, nest or leave open runs of their own, or autolog": (
        "test_mlflow_users.py::test_their_store_is_as_without_us"
    ),
    "a test logs to MLflow without `mlflow_run`, into the same `mlflow.db`": (
        "test_mlflow_users.py::test_what_goes_to_the_default_experiment_is_told_once"
    ),
    "a test logs from threads under `mlflow_run`": (
        "test_live.py::test_threads_of_a_test_log_to_its_run"
    ),
    "several threads run a test (pytest-run-parallel), or tests": (
        "test_threads.py::test_tests_that_run_at_the_same_time_keep_their_values_apart"
    ),
    "a thread that a test has left behind asserts during the next one": (
        "test_threads.py::test_threads_record_to_the_test_that_they_work_for"
    ),
    "a param and `mlflow.autolog()` have one name": (
        "test_tracker_writers.py::test_run_of_the_test_itself_is_completed"
    ),
    "pytest runs under `MLFLOW_RUN_ID`": (
        "test_mlflow_users.py::test_a_run_from_outside_is_resumed_by_their_code_alone"
    ),
    "MLflow's own pytest plugin is switched on too": (
        "test_mlflow_users.py::test_mlflow_s_own_plugin"
    ),
    "a param is called `password`, `token`, `api_key`": (
        "test_secrets.py::test_secrets_are_kept_nowhere"
    ),
    "a journal, copied here or from CI, names an address": (
        "test_addresses.py::test_foreign_journal_names_no_address"
    ),
    "the tracking URI is a database in memory (`sqlite://`, `sqlite:///$UNSET`, `:memory:`)": (
        "test_addresses.py::test_pytest_refuses_a_database_in_memory"
    ),
    "the path of a new database has `ß`, `%`, `'` or `#` in it": (
        "test_addresses.py::test_new_database_leaves_nothing_beside_it"
    ),
    "a line of the accepted file matches everything": (
        "test_compare_sessions.py::test_gate_cannot_be_switched_off_by_an_accepted_step"
    ),
    "`--mlflow-require-baseline` meets a baseline that failed, or has no metric of what ran": (
        "test_compare_sessions.py::test_required_baseline_has_something_to_judge_by"
    ),
    "an artifact is called `../x`": "test_secrets.py::test_no_artifact_leaves_its_case",
    "a journal or baseline comes from somebody else": (
        "test_hostile_input.py::test_pytest_goes_on_with_a_hostile_line_beside_it"
    ),
}

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_first_example_is_the_first_of_the_examples() -> None:
    example = (ROOT / "examples" / "test_quickstart.py").read_text(encoding="utf-8")
    code = re.sub(r"  # noqa[^\n]*", "", example)
    first = fences(README, "python")[0].text
    assert first in code
    assert len(first.splitlines()) <= 10


def test_ci_runs_the_test_command() -> None:
    told = fences((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "shell")[0]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    install, *environments = commands(told)
    for command in [*install.split(" && "), *(line.split("  ")[0] for line in environments[:2])]:
        assert command.replace("install ", "install --quiet --upgrade ") in script or (
            command in script
        )


def test_what_happens_is_shown_by_tests() -> None:
    page = (ROOT / "docs" / "outages.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S.*?) \| .+ \|$", page, re.MULTILINE)
    assert [row for row in rows if row != "---"] == list(SHOWN_BY)
    for place in SHOWN_BY.values():
        file, _, name = place.partition("::")
        tree = ast.parse(Path(__file__).with_name(file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place
