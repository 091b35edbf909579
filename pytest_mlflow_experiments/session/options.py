"""The table of options and ini values, the function that declares them, the marker's help.

Pytest loads this at every start. :mod:`.settings` and :mod:`.comparison_settings` read the values;
they are loaded only under ``--mlflow``.
"""

from __future__ import annotations

from argparse import Action
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import pytest

MARKER = (
    "mlflow(case=None, tags=None, params=None, track=True, log_system_metrics=None, "
    "tolerance=None, min_effect=None, direction=None, objective=None, mode=None, sweep=None, "
    "best=None): keep this test as an MLflow run under --mlflow. case: a name that stays when the "
    "test is renamed or moved; tags, params: dicts to add to the run; track=False: never make it a "
    "run; "
    "log_system_metrics=True: record the machine's load while the fixture mlflow_run is open; "
    "tolerance: how much worse metrics may get, such as {'accuracy': '-0.02', 'rmse*': '2%'}; "
    "min_effect: how much worse they have to get in order to count, such as {'loglik': 100}; "
    "direction: which values are better, such as {'loss': 'min'}; objective: the metric by which "
    "the cases of a parametrized test are ranked; mode: 'min' or 'max', whichever of its values "
    "are better; sweep: whether the test is a sweep of settings, by default with an objective or "
    "where its params look like settings; best: the metrics that count with their best step, "
    "not with their last."
)


class Option(NamedTuple):
    """One setting: by default a command line option with an ini value of the same name.

    Args:
        name: of the ini value; the option is ``--name``, with dashes.
        help: of the option, or of the ini value where there is no option.
        metavar: the placeholder of the value in the help.
        kind: one text, a switch, a list (a line each in the ini file), or words (ini values only).
        default: the text if neither is given.
        place: where it can be given.
        const: the text if the option is given without one.
        ini_help: goes on after "Same as --name".
        other: what a switch can be besides true and false.
    """

    name: str
    help: str
    metavar: str | None = None
    kind: Literal["text", "switch", "list", "words"] = "text"
    default: str = ""
    place: Literal["both", "option", "ini"] = "both"
    const: str | None = None
    ini_help: str = ""
    other: str | None = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def ini_value(self) -> str:
        """The name of the ini value in errors."""
        return f"ini value {self.name}"

    @property
    def source(self) -> str:
        """The name of the option and ini value in errors."""
        return self.ini_value if self.place == "ini" else f"{self.flag}, or {self.ini_value}"


_ROWS: Final = (
    Option(
        "mlflow",
        "Record tests that measure something as MLflow runs: params from parametrize, metrics from "
        "plain assertions, outcome and timing, nested under one run for the session.",
        ini_help=" (true or false)",
        kind="switch",
    ),
    Option(
        "no_mlflow",
        "Leave --mlflow out, where the ini file or an earlier option switches it on.",
        place="option",
        kind="switch",
    ),
    Option(
        "mlflow_tracking_uri",
        "Where MLflow keeps the runs: a server (http://…), a database (sqlite:///…, "
        "postgresql://…) or whatever else MLflow accepts. Default: the ini value, else "
        "MLFLOW_TRACKING_URI, else mlflow.db (SQLite) in the rootdir.",
        "URI",
    ),
    Option(
        "mlflow_experiment",
        "The experiment that gets the runs; it is created where it doesn't exist. Default: the ini "
        "value, else MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID, else the rootdir's name.",
        "NAME",
    ),
    Option(
        "mlflow_run_name",
        "The name of the session's run. Default: branch@commit, or the date and time.",
        "NAME",
    ),
    Option(
        "mlflow_tag",
        "A tag for the session's run (repeatable).",
        "KEY=VALUE",
        place="option",
        kind="list",
    ),
    Option(
        "mlflow_session",
        "Make this session a shard of the session ID: all that are given the same ID, on whatever "
        "machine, become one run in MLflow, which 'pytest-mlflow merge' compares and gates as a "
        "whole. 'auto' takes the id of the CI's run.",
        "ID",
    ),
    Option("mlflow_tags", "Same as --mlflow-tag, one KEY=VALUE a line.", kind="list", place="ini"),
    Option(
        "mlflow_resume",
        "Go on with an interrupted session: cases that passed in it, with the same commit, params "
        "and data, are not run again, but taken over with their results. latest (the default), the "
        "id of a session, or the path of its directory.",
        "SESSION",
        place="option",
        const="latest",
    ),
    Option(
        "mlflow_track",
        "Which tests become runs: those that have a metric, the marker or a fixture of this plugin "
        "(auto, the default), only those that have the marker or a fixture (marked), or every test "
        "(all).",
        "auto|marked|all",
        default="auto",
    ),
    Option(
        "no_mlflow_assertions",
        "Don't take metrics from assertions; only what tests log themselves is recorded.",
        place="option",
        kind="switch",
    ),
    Option(
        "mlflow_assertions",
        "Take metrics from assertions: true (the default), false (as --no-mlflow-assertions), or "
        "all (comparisons of two integers and of len(...) too).",
        default="true",
        place="ini",
    ),
    Option(
        "mlflow_offline",
        "Don't contact MLflow: keep the session on disk, for 'pytest-mlflow sync'.",
        kind="switch",
    ),
    Option(
        "mlflow_system_metrics",
        "Record the machine's load (CPU, memory, disk, network, GPU) in the runs of tests that use "
        "the fixture mlflow_run, by MLflow's own monitor; it needs psutil.",
        kind="switch",
    ),
    Option(
        "mlflow_timeout",
        "Stop waiting at the end of the session when nothing more arrived in MLflow for so long "
        "(default 30), and in any case after ten times as long; what is missing then stays on "
        "disk, for 'pytest-mlflow sync'.",
        "SECONDS",
        default="30",
    ),
    Option(
        "mlflow_wait",
        "Whether the end of the session waits until MLflow has everything: yes, no (the rest is "
        "sent in the background), or auto, the default (no at a terminal, yes in CI, which is "
        "where CI is set, and wherever the output is not a terminal).",
        "auto|yes|no",
        default="auto",
    ),
    Option(
        "mlflow_baseline",
        "What to compare the session with: auto (the default: a pinned baseline, else the last "
        "complete passing sessions on the base branch, else on this branch, else, outside of CI, "
        "the latest), latest, branch:NAME, session:ID, run:ID, tag:KEY=VALUE, model:NAME@ALIAS, "
        "file:PATH or none.",
        "SPEC",
        default="auto",
    ),
    Option(
        "mlflow_history",
        "How many sessions of the baseline to compare with (default 20).",
        "N",
        default="20",
    ),
    Option(
        "mlflow_tolerance",
        "How much worse a metric may get, instead of statistics: 'accuracy: -0.02', 'rmse: 2%%', "
        "'latency*: 10%%' (repeatable).",
        "METRIC:AMOUNT",
        ini_help=", one METRIC: AMOUNT a line",
        kind="list",
    ),
    Option(
        "mlflow_min_effect",
        "How much worse a metric has to get in order to count, instead of 1 %, one METRIC: AMOUNT "
        "a line: '2%', or '100' in the metric's unit.",
        place="ini",
        kind="list",
    ),
    Option(
        "mlflow_direction",
        "Which values of a metric are better, one METRIC: max|min|none a line.",
        place="ini",
        kind="list",
    ),
    Option(
        "mlflow_seed_params",
        "Params that only repeat a case: their runs are averaged before they are compared "
        "(default: seed random_state repeat).",
        default="seed random_state repeat",
        kind="words",
        place="ini",
    ),
    Option(
        "mlflow_redact",
        "Names or patterns (*_pin) of params and tags whose values are secrets, besides password, "
        "token, api_key and the like; !name is none.",
        kind="words",
        place="ini",
    ),
    Option(
        "mlflow_rerun",
        "Run a case whose metrics look worse up to N more times, at once, until they are clear; "
        "only the fresh values then decide (default 0, with --mlflow-gate 5).",
        "N",
    ),
    Option(
        "mlflow_rerun_time",
        "How long the fresh runs of --mlflow-rerun may take in all (default: as long again as the "
        "session has taken so far, at least 60). What they leave open is judged without them.",
        "SECONDS",
    ),
    Option(
        "mlflow_gate",
        "Fail the session where a metric regressed, is missing or NaN, and where that could not be "
        "found out; with =drift also where a metric gets worse slowly.",
        ini_help=" (true, false or drift)",
        kind="switch",
        other="drift",
    ),
    Option(
        "mlflow_require_baseline",
        "With --mlflow-gate: fail also where there is no baseline yet.",
        kind="switch",
    ),
    Option(
        "mlflow_strict_guards",
        "With --mlflow-gate: fail also where a check allows more than in the baseline, such as "
        "by another limit or tolerance, and no accepted change says why.",
        kind="switch",
    ),
    Option(
        "mlflow_report",
        "Write the comparison to PATH, as .html, .md, .json or .xml (JUnit) (repeatable).",
        "PATH",
        ini_help=", one a line",
        kind="list",
    ),
)
OPTIONS: Final[Mapping[str, Option]] = {option.name: option for option in _ROWS}


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and ini values, in the order in which the help shows them."""
    group = parser.getgroup("mlflow", "MLflow experiments")
    for option in OPTIONS.values():
        if option.place != "ini":
            with_value = [f"{option.flag}={option.other}"] if option.other is not None else []
            flags = [option.flag, *with_value]
            # Without a destination, pytest would look through all options that there are for one.
            arguments = {"dest": option.name, **_arguments(option)}
            group.addoption(*flags, help=option.help, **arguments)
        if option.place != "option":
            same = f"Same as {option.flag}{option.ini_help}."
            text = option.help if option.place == "ini" else same
            parser.addini(option.name, text, **_ini_arguments(option))


class _Switch(Action):
    """A switch that can have a value, after "=" only: the next argument may well be a path.

    So the option with its value is another name of the option for argparse.
    """

    def __call__(self, parser: object, namespace: object, values: object, name: Any = None) -> None:
        """Note the value."""
        setattr(namespace, self.dest, name.partition("=")[2] or "true")


def _arguments(option: Option) -> dict[str, Any]:
    """Return argparse's arguments for an option, without name and help."""
    if option.other is not None:
        return {"action": _Switch, "nargs": 0}
    if option.name in ("mlflow", "no_mlflow"):
        # The last one counts; with neither, the ini file does.
        on = option.name == "mlflow"
        action = "store_true" if on else "store_false"
        return {"action": action, "dest": "mlflow", "default": None}
    if option.kind == "switch":
        return {"action": "store_true", "default": False}
    if option.kind == "list":
        return {"action": "append", "default": [], "metavar": option.metavar}
    optional = {"nargs": "?", "const": option.const} if option.const is not None else {}
    return {"metavar": option.metavar, **optional}


def _ini_arguments(option: Option) -> dict[str, Any]:
    """Return pytest's arguments for an ini value, without name and help."""
    if option.kind == "switch" and option.other is None:
        return {"type": "bool", "default": False}
    if option.kind == "list":
        return {"type": "linelist"}
    return {"type": "args", "default": option.default.split()} if option.kind == "words" else {}


def is_enabled(config: pytest.Config, namespace: object | None = None) -> bool:
    """Return whether ``--mlflow`` is given, or ``mlflow = true`` set without ``--no-mlflow``.

    ``namespace`` replaces the config's options while pytest is still starting.
    """
    options = config.option if namespace is None else namespace
    given: bool | None = getattr(options, "mlflow", None)
    return bool(ini(config, "mlflow")) if given is None else given


def ini(config: pytest.Config, name: str) -> Any:
    """Return an ini value: a list, whether a switch is on, or a text.

    In native TOML (``[tool.pytest]``) a number, true or false may stand for its text.

    Raises:
        pytest.UsageError: pytest refuses the value.
    """
    try:
        return config.getini(name)
    except (TypeError, pytest.UsageError) as error:
        native = getattr(getattr(config, "_inicfg", {}).get(name), "value", None)
        is_text = OPTIONS[name].kind == "text" or OPTIONS[name].other is not None
        if not is_text or not isinstance(native, int | float):
            raise pytest.UsageError(str(error)) from None
        return str(native)


def has_other_options(config: pytest.Config) -> bool:
    """Return whether any of our options but ``--mlflow`` is given on the command line."""
    options = vars(config.option).items()
    return any(value for name, value in options if name.startswith(("mlflow_", "no_mlflow_")))
