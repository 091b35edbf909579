"""Options, ini values and the marker, as pytest learns of them at every start.

:mod:`.settings` reads them; it is loaded only where somebody wants their values.
"""

from __future__ import annotations

import pytest

MARKER = (
    "mlflow(case=None, tags=None, params=None, track=True, log_system_metrics=None, "
    "tolerance=None, direction=None, objective=None, mode=None): keep this test as an MLflow run "
    "under --mlflow. case: a name that stays when the test is renamed or moved; tags, params: "
    "dicts to add to the run; track=False: never make it a run; log_system_metrics=True: record "
    "the machine's load while the fixture mlflow_run is open; tolerance: how much worse metrics "
    "may get, such as {'accuracy': '-0.02', 'rmse*': '2%'}; direction: which values are better, "
    "such as {'loss': 'min'}; objective: the metric by which the cases of a parametrized test are "
    "ranked; mode: 'min' or 'max', whichever of its values are better."
)


def add_options(parser: pytest.Parser) -> None:
    """Declare the command line options and their ini twins."""
    group = parser.getgroup("mlflow", "MLflow experiments")
    group.addoption(
        "--mlflow",
        action="store_true",
        default=False,
        help="Make every test case an MLflow run: params from parametrize, metrics from plain "
        "assertions, outcome and timing, nested under one run for the session.",
    )
    group.addoption(
        "--mlflow-tracking-uri",
        metavar="URI",
        help="Where MLflow keeps the runs: a server (http://…), a database (sqlite:///…, "
        "postgresql://…) or whatever else MLflow accepts. Default: the ini value, else "
        "MLFLOW_TRACKING_URI, else mlflow.db (SQLite) in the rootdir.",
    )
    group.addoption(
        "--mlflow-experiment",
        metavar="NAME",
        help="The experiment that gets the runs; it is created where it doesn't exist. Default: "
        "the ini value, else MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID, else the rootdir's "
        "name.",
    )
    group.addoption(
        "--mlflow-run-name",
        metavar="NAME",
        help="The name of the session's run. Default: branch@commit, or the date and time.",
    )
    group.addoption(
        "--mlflow-tag",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="A tag for the session's run (repeatable).",
    )
    group.addoption(
        "--mlflow-session",
        metavar="ID",
        help="Make this session a shard of the session ID: all that are given the same ID, on "
        "whatever machine, become one run in MLflow, which 'pytest-mlflow merge' compares and "
        "gates as a whole. 'auto' takes the id of the CI's run.",
    )
    group.addoption(
        "--mlflow-resume",
        metavar="SESSION",
        nargs="?",
        const="latest",
        help="Go on with an interrupted session: cases that passed in it, with the same commit, "
        "params and data, are not run again, but taken over with their results. latest (the "
        "default), the id of a session, or the path of its directory.",
    )
    group.addoption(
        "--mlflow-track",
        metavar="auto|marked|all",
        help="Which tests become runs: those that yield a metric, carry the marker or use a "
        "fixture of ours (auto, the default), only those that carry the marker or use a fixture "
        "(marked), or every test (all).",
    )
    group.addoption(
        "--no-mlflow-assertions",
        action="store_true",
        default=False,
        help="Don't take metrics from assertions; only what tests log themselves is kept.",
    )
    group.addoption(
        "--mlflow-offline",
        action="store_true",
        default=False,
        help="Don't contact MLflow: keep the session on disk, for 'pytest-mlflow sync'.",
    )
    group.addoption(
        "--mlflow-system-metrics",
        action="store_true",
        default=False,
        help="Record the machine's load (CPU, memory, disk, network, GPU) in the runs of tests "
        "that use the fixture mlflow_run, by MLflow's own monitor; it needs psutil.",
    )
    group.addoption(
        "--mlflow-timeout",
        metavar="SECONDS",
        help="Stop waiting at the end of the session when nothing more arrived in MLflow for so "
        "long (default 30), and in any case after ten times as long; what is missing then stays "
        "on disk, for 'pytest-mlflow sync'.",
    )
    group.addoption(
        "--mlflow-wait",
        metavar="auto|yes|no",
        help="Whether the end of the session waits until MLflow has everything: yes, no (the rest "
        "is sent in the background), or auto, the default (no at a terminal, yes in CI, which is "
        "where CI is set, and wherever the output is not a terminal).",
    )

    group.addoption(
        "--mlflow-baseline",
        metavar="SPEC",
        help="What to compare the session with: auto (the default: a pinned baseline, else the "
        "last complete passing sessions on the base branch, else on this branch, else the "
        "latest), latest, branch:NAME, session:ID, run:ID, tag:KEY=VALUE, model:NAME@ALIAS, "
        "file:PATH or none.",
    )
    group.addoption(
        "--mlflow-history",
        metavar="N",
        help="How many sessions of the baseline to compare with (default 20).",
    )
    group.addoption(
        "--mlflow-tolerance",
        metavar="METRIC:AMOUNT",
        action="append",
        default=[],
        help="How much worse a metric may get, instead of statistics: 'accuracy: -0.02', "
        "'rmse: 2%%', 'latency*: 10%%' (repeatable).",
    )
    group.addoption(
        "--mlflow-rerun",
        metavar="N",
        help="Run a case whose metrics look worse N more times, at once; only the fresh values "
        "then decide (default 0).",
    )
    group.addoption(
        "--mlflow-gate",
        action="store_true",
        default=False,
        help="Fail the session where a metric regressed, is missing or NaN, and where that could "
        "not be found out.",
    )
    group.addoption(
        "--mlflow-require-baseline",
        action="store_true",
        default=False,
        help="With --mlflow-gate: fail also where there is no baseline yet.",
    )
    group.addoption(
        "--mlflow-report",
        metavar="PATH",
        action="append",
        default=[],
        help="Write the comparison to PATH, as .html, .md, .json or .xml (JUnit) (repeatable).",
    )

    parser.addini("mlflow", "Same as --mlflow (true or false).", type="bool", default=False)
    parser.addini("mlflow_tracking_uri", "Same as --mlflow-tracking-uri.")
    parser.addini("mlflow_experiment", "Same as --mlflow-experiment.")
    parser.addini("mlflow_run_name", "Same as --mlflow-run-name.")
    parser.addini("mlflow_session", "Same as --mlflow-session.")
    parser.addini("mlflow_tags", "Same as --mlflow-tag, one KEY=VALUE a line.", type="linelist")
    parser.addini("mlflow_track", "Same as --mlflow-track.")
    parser.addini(
        "mlflow_assertions",
        "Take metrics from assertions: true (the default), false (as --no-mlflow-assertions), or "
        "all (comparisons of two integers and of len(...) too).",
    )
    parser.addini("mlflow_offline", "Same as --mlflow-offline.", type="bool", default=False)
    parser.addini(
        "mlflow_system_metrics", "Same as --mlflow-system-metrics.", type="bool", default=False
    )
    parser.addini("mlflow_timeout", "Same as --mlflow-timeout.")
    parser.addini("mlflow_wait", "Same as --mlflow-wait.")
    parser.addini("mlflow_baseline", "Same as --mlflow-baseline.")
    parser.addini("mlflow_history", "Same as --mlflow-history.")
    parser.addini(
        "mlflow_tolerance",
        "Same as --mlflow-tolerance, one METRIC: AMOUNT a line.",
        type="linelist",
    )
    parser.addini(
        "mlflow_direction",
        "Which values of a metric are better, one METRIC: max|min|none a line.",
        type="linelist",
    )
    parser.addini(
        "mlflow_seed_params",
        "Params that only repeat a case: their runs are averaged before they are compared "
        "(default: seed random_state repeat).",
        type="args",
        default=["seed", "random_state", "repeat"],
    )
    parser.addini(
        "mlflow_redact",
        "Names or patterns (*_pin) of params and tags whose values are secrets, besides password, "
        "token, api_key and the like; !name is none.",
        type="args",
        default=[],
    )
    parser.addini("mlflow_rerun", "Same as --mlflow-rerun.")
    parser.addini("mlflow_gate", "Same as --mlflow-gate.", type="bool", default=False)
    parser.addini(
        "mlflow_require_baseline", "Same as --mlflow-require-baseline.", type="bool", default=False
    )
    parser.addini("mlflow_report", "Same as --mlflow-report, one a line.", type="linelist")


def is_enabled(config: pytest.Config, namespace: object | None = None) -> bool:
    """Tell whether ``--mlflow`` is given, or ``mlflow = true`` set.

    ``namespace`` stands in for the options while pytest is still starting.
    """
    options = config.option if namespace is None else namespace
    return bool(getattr(options, "mlflow", False) or config.getini("mlflow"))


def has_other_options(config: pytest.Config) -> bool:
    """Tell whether any of our options but ``--mlflow`` is given on the command line."""
    options = vars(config.option).items()
    return any(value for name, value in options if name.startswith(("mlflow_", "no_mlflow_")))
