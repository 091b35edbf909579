from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TypeAlias

import pytest

from pytest_mlflow_experiments.capture.marker import CaseOptions
from pytest_mlflow_experiments.session.comparison_settings import ComparisonSettings
from pytest_mlflow_experiments.session.options import OPTIONS as TABLE
from pytest_mlflow_experiments.session.options import Option, is_enabled
from pytest_mlflow_experiments.session.settings import Settings, assertions_setting

OPTIONS = [
    "--mlflow",
    "--no-mlflow",
    "--mlflow-tracking-uri",
    "--mlflow-experiment",
    "--mlflow-run-name",
    "--mlflow-session",
    "--mlflow-resume",
    "--mlflow-tag",
    "--mlflow-track",
    "--no-mlflow-assertions",
    "--mlflow-offline",
    "--mlflow-system-metrics",
    "--mlflow-timeout",
    "--mlflow-wait",
    "--mlflow-baseline",
    "--mlflow-history",
    "--mlflow-tolerance",
    "--mlflow-rerun",
    "--mlflow-rerun-time",
    "--mlflow-gate",
    "--mlflow-require-baseline",
    "--mlflow-strict-guards",
    "--mlflow-report",
]
INI_VALUES = [
    "mlflow",
    "mlflow_tracking_uri",
    "mlflow_experiment",
    "mlflow_run_name",
    "mlflow_session",
    "mlflow_tags",
    "mlflow_track",
    "mlflow_assertions",
    "mlflow_offline",
    "mlflow_system_metrics",
    "mlflow_timeout",
    "mlflow_wait",
    "mlflow_baseline",
    "mlflow_history",
    "mlflow_tolerance",
    "mlflow_min_effect",
    "mlflow_direction",
    "mlflow_seed_params",
    "mlflow_redact",
    "mlflow_rerun",
    "mlflow_rerun_time",
    "mlflow_gate",
    "mlflow_require_baseline",
    "mlflow_strict_guards",
    "mlflow_report",
]

Configure: TypeAlias = Callable[..., pytest.Config]


@pytest.fixture
def tester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a tester with our plugin alone, and nothing of MLflow in the environment."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv(
        # The second collects garbage at the end of each test, which takes long.
        "PYTEST_ADDOPTS",
        "-p pytest_mlflow_experiments.plugin -p no:unraisableexception",
    )
    return pytester


@pytest.fixture
def configure(tester: pytest.Pytester) -> Configure:
    """Return a function that makes a config of arguments and lines of an ini file."""

    def make(*arguments: str, ini: str = "") -> pytest.Config:
        if ini:
            tester.makeini(f"[pytest]\n{ini}")
        return tester.parseconfig(*arguments)

    return make


def test_defaults(configure: Configure, tester: pytest.Pytester) -> None:
    config = configure()
    root = tester.path
    assert not is_enabled(config)
    assert Settings.from_config(config) == Settings(
        rootdir=root,
        tracking_uri=f"sqlite:///{root.as_posix()}/mlflow.db",
        experiment_name=root.name,
        experiment_id=None,
        run_name=None,
        shard_of=None,
        tags={},
        track="auto",
        assertions="yes",
        offline=False,
        system_metrics=False,
        timeout=30.0,
        wait="auto",
    )


def test_all_options(configure: Configure) -> None:
    config = configure(
        "--mlflow",
        "--mlflow-tracking-uri=http://localhost:5000",
        "--mlflow-experiment=digits",
        "--mlflow-run-name=nightly",
        "--mlflow-tag=team=vision",
        "--mlflow-tag= formula = a=b ",
        "--mlflow-track=all",
        "--no-mlflow-assertions",
        "--mlflow-offline",
        "--mlflow-system-metrics",
        "--mlflow-timeout=2.5",
    )
    settings = Settings.from_config(config)
    assert is_enabled(config)
    assert settings.tracking_uri == "http://localhost:5000"
    assert (settings.experiment_name, settings.experiment_id) == ("digits", None)
    assert settings.run_name == "nightly"
    assert settings.tags == {"team": "vision", "formula": "a=b"}
    assert (settings.track, settings.assertions) == ("all", "no")
    assert (settings.offline, settings.timeout) == (True, 2.5)
    assert settings.system_metrics


ALL_INI_VALUES = """
mlflow = true
mlflow_tracking_uri = http://ini:5000
mlflow_experiment = from ini
mlflow_run_name = from ini
mlflow_tags =
    team = vision
    stage=dev
mlflow_track = marked
mlflow_assertions = all
mlflow_offline = true
mlflow_system_metrics = true
mlflow_timeout = 0
mlflow_wait = no
"""


def test_all_ini_values(configure: Configure) -> None:
    config = configure(ini=ALL_INI_VALUES)
    settings = Settings.from_config(config)
    assert is_enabled(config)
    assert settings.tracking_uri == "http://ini:5000"
    assert (settings.experiment_name, settings.experiment_id) == ("from ini", None)
    assert settings.run_name == "from ini"
    assert settings.tags == {"team": "vision", "stage": "dev"}
    assert (settings.track, settings.assertions) == ("marked", "all")
    assert (settings.offline, settings.timeout, settings.wait) == (True, 0.0, "no")
    assert settings.system_metrics


def test_options_win_over_ini_values_and_environment(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from environment")
    settings = Settings.from_config(
        configure(
            "--mlflow-tracking-uri=http://option:5000",
            "--mlflow-experiment=option",
            "--mlflow-run-name=option",
            "--mlflow-tag=stage=option",
            "--mlflow-track=auto",
            "--no-mlflow-assertions",
            "--mlflow-timeout=1",
            "--mlflow-wait=yes",
            "--mlflow-session=nightly",
            ini=ALL_INI_VALUES,
        )
    )
    assert settings.tracking_uri == "http://option:5000"
    assert settings.experiment_name == settings.run_name == "option"
    assert settings.tags == {"team": "vision", "stage": "option"}
    assert (settings.track, settings.assertions, settings.timeout) == ("auto", "no", 1.0)
    assert (settings.wait, settings.shard_of) == ("yes", "nightly")


def test_ini_values_win_over_the_environment(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from environment")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    settings = Settings.from_config(configure(ini=ALL_INI_VALUES))
    assert settings.tracking_uri == "http://ini:5000"
    assert (settings.experiment_name, settings.experiment_id) == ("from ini", None)


@pytest.mark.parametrize(
    ("environment", "name", "experiment_id"),
    [
        ({"NAME": "digits"}, "digits", None),
        ({"ID": "7"}, None, "7"),
        ({"NAME": "digits", "ID": "7"}, "digits", None),
        ({"NAME": "", "ID": "7"}, None, "7"),
    ],
)
def test_experiment_of_the_environment(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    name: str | None,
    experiment_id: str | None,
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_EXPERIMENT_{key}", value)
    settings = Settings.from_config(configure())
    assert (settings.experiment_name, settings.experiment_id) == (name, experiment_id)


def test_tracking_uri_of_the_environment(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:5000")
    assert Settings.from_config(configure()).tracking_uri == "http://environment:5000"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///runs.db", "sqlite:///{base}/runs.db"),
        ("sqlite:///dir/runs.db?timeout=5", "sqlite:///{base}/dir/runs.db?timeout=5"),
        ("sqlite+pysqlite:///runs.db", "sqlite+pysqlite:///{base}/runs.db"),
        ("mlruns", "{base}/mlruns"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("sqlite:///C:/data/runs.db", "sqlite:///C:/data/runs.db"),
        ("file:///data/mlruns", "file:///data/mlruns"),
        ("http://localhost:5000/a", "http://localhost:5000/a"),
        ("postgresql://user:word@host/db", "postgresql://user:word@host/db"),
        ("databricks://profile", "databricks://profile"),
        ("databricks", "databricks"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the table has POSIX paths")
def test_relative_paths_are_made_absolute(
    configure: Configure, tester: pytest.Pytester, uri: str, expected: str
) -> None:
    settings = Settings.from_config(configure(f"--mlflow-tracking-uri={uri}"))
    assert settings.tracking_uri == expected.format(base=tester.path.as_posix())


@pytest.mark.parametrize("source", ["option", "environment", "ini"])
def test_ini_path_is_relative_to_its_file_and_others_to_where_pytest_was_called(
    configure: Configure, tester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    uri = "sqlite:///runs.db"
    tester.makeini("[pytest]\n" + (f"mlflow_tracking_uri = {uri}\n" if source == "ini" else ""))
    called_from = tester.mkdir("below")
    monkeypatch.chdir(called_from)
    if source == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    config = configure(*([f"--mlflow-tracking-uri={uri}"] if source == "option" else []))
    base = tester.path if source == "ini" else called_from
    assert config.rootpath == tester.path
    assert Settings.from_config(config).tracking_uri == f"sqlite:///{base.as_posix()}/runs.db"


def test_default_database_stands_in_the_rootdir(
    configure: Configure, tester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    tester.makeini("[pytest]\n")
    monkeypatch.chdir(tester.mkdir("below"))
    expected = f"sqlite:///{tester.path.as_posix()}/mlflow.db"
    assert Settings.from_config(configure()).tracking_uri == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", "yes"),
        ("YES", "yes"),
        ("on", "yes"),
        ("1", "yes"),
        ("", "yes"),
        ("false", "no"),
        ("No", "no"),
        ("off", "no"),
        ("0", "no"),
        ("all", "all"),
        (" ALL ", "all"),
    ],
)
def test_assertions(configure: Configure, value: str, expected: str) -> None:
    assert assertions_setting(configure(ini=f"mlflow_assertions = {value}")) == expected


def test_values_of_pyproject_may_be_toml(configure: Configure, tester: pytest.Pytester) -> None:
    tester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        mlflow = true
        mlflow_assertions = false
        mlflow_tags = ["team=vision", "stage=dev"]
        mlflow_timeout = 5
        """
    )
    config = configure()
    settings = Settings.from_config(config)
    assert is_enabled(config)
    assert (settings.assertions, settings.timeout) == ("no", 5.0)
    assert settings.tags == {"team": "vision", "stage": "dev"}


needs_native_toml = pytest.mark.skipif(
    int(pytest.__version__.partition(".")[0]) < 9, reason="pytest reads native TOML from 9.0 on"
)


@needs_native_toml
def test_native_toml(configure: Configure, tester: pytest.Pytester) -> None:
    tester.makepyprojecttoml(
        """
        [tool.pytest]
        mlflow = true
        mlflow_assertions = false
        mlflow_experiment = 2026
        mlflow_tags = ["team=vision", "stage=dev"]
        mlflow_timeout = 20
        mlflow_gate = true
        mlflow_require_baseline = true
        mlflow_rerun = 3
        mlflow_rerun_time = 12.5
        mlflow_history = 7
        mlflow_tolerance = ["accuracy: -0.02", "rmse: 2%"]
        mlflow_direction = ["loss: min"]
        mlflow_seed_params = ["seed", "fold"]
        mlflow_redact = ["*_pin"]
        mlflow_report = ["found.md"]
        """
    )
    config = configure()
    settings, comparing = Settings.from_config(config), ComparisonSettings.from_config(config)
    assert is_enabled(config)
    assert (settings.assertions, settings.timeout) == ("no", 20.0)
    assert settings.experiment_name == "2026"
    assert settings.tags == {"team": "vision", "stage": "dev"}
    assert (comparing.gate, comparing.require_baseline) == (True, True)
    assert (comparing.rerun, comparing.rerun_time) == (3, 12.5)
    assert comparing.options.window == 7
    assert [name for name, _ in comparing.options.ini_tolerances] == ["accuracy", "rmse"]
    assert comparing.options.directions == (("loss", "min"),)
    assert comparing.options.seed_params == {"seed", "fold"}
    assert comparing.reports == (tester.path / "found.md",)
    over = configure("-o", "mlflow_timeout=5", "-o", "mlflow_gate=false", "--mlflow-history=2")
    assert Settings.from_config(over).timeout == 5.0
    assert not ComparisonSettings.from_config(over).gate
    assert ComparisonSettings.from_config(over).options.window == 2


@needs_native_toml
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mlflow_timeout = -1", "ini value mlflow_timeout: expected seconds, 0 or more, got '-1'"),
        ("mlflow_rerun = true", "ini value mlflow_rerun: expected a whole number"),
        ('mlflow_tags = "a=b"', "config option 'mlflow_tags' expects a list"),
        ("mlflow_tolerance = [1]", "item at index 0 is int"),
        ("mlflow_offline = 0", "config option 'mlflow_offline' expects a bool"),
        ('mlflow_gate = ["drift"]', "config option 'mlflow_gate' expects a string"),
    ],
)
def test_native_toml_of_another_type(tester: pytest.Pytester, line: str, message: str) -> None:
    tester.makepyprojecttoml(f"[tool.pytest]\nmlflow = true\n{line}\n")
    result = tester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize(
    ("arguments", "enabled"),
    [
        ((), True),
        (("--no-mlflow",), False),
        (("--no-mlflow", "--mlflow"), True),
        (("--mlflow", "--mlflow-gate", "--no-mlflow"), False),
    ],
)
def test_what_the_ini_file_switches_on_can_be_switched_off(
    configure: Configure, tester: pytest.Pytester, arguments: tuple[str, ...], enabled: bool
) -> None:
    config = configure(*arguments, ini="mlflow = true\nmlflow_gate = true")
    assert is_enabled(config) is enabled


def test_no_mlflow_leaves_nothing_behind(tester: pytest.Pytester) -> None:
    tester.makeini("[pytest]\nmlflow = true\naddopts = --mlflow --mlflow-gate --mlflow-offline")
    tester.makepyfile("def test_it():\n    accuracy = 0.9\n    assert accuracy > 0.5")
    result = tester.runpytest_subprocess("--no-mlflow")
    assert result.ret == 0
    assert "mlflow:" not in result.stdout.str()
    assert "= mlflow =" not in result.stdout.str()
    assert not tester.path.joinpath(".pytest_mlflow").exists()


USAGE_ERRORS = [
    (
        "--mlflow-track=some",
        "",
        "--mlflow-track, or ini value mlflow_track: expected auto, marked or all, got 'some'",
    ),
    (
        "",
        "mlflow_track = some",
        "mlflow-track, or ini value mlflow_track: expected auto, marked or all, got 'some'",
    ),
    (
        "--mlflow-wait=maybe",
        "",
        "--mlflow-wait, or ini value mlflow_wait: expected auto, yes or no, got 'maybe'",
    ),
    (
        "--mlflow-session=a/b",
        "",
        "--mlflow-session, or ini value mlflow_session: expected up to 100 letters, digits",
    ),
    ("--mlflow-tag=team", "", "--mlflow-tag: expected KEY=VALUE, got 'team'"),
    ("--mlflow-tag==vision", "", "--mlflow-tag: expected KEY=VALUE, got '=vision'"),
    ("", "mlflow_tags = team", "ini value mlflow_tags: expected KEY=VALUE, got 'team'"),
    ("", "mlflow_assertions = some", "mlflow_assertions: expected true, false or all, got 'some'"),
    *(
        (
            f"--mlflow-timeout={text}",
            "",
            "--mlflow-timeout, or ini value mlflow_timeout: expected seconds, 0 or more, "
            f"got {text!r}",
        )
        for text in ("soon", "-1", "nan", "inf")
    ),
]


@pytest.mark.parametrize(("argument", "ini", "message"), USAGE_ERRORS)
def test_usage_error_names_the_option_and_what_is_right(
    configure: Configure, argument: str, ini: str, message: str
) -> None:
    config = configure(*filter(None, [argument]), ini=ini)
    with pytest.raises(pytest.UsageError, match=re.escape(message)):
        Settings.from_config(config)


def test_pytest_shows_a_usage_error_and_runs_nothing(tester: pytest.Pytester) -> None:
    tester.makepyfile("def test_it(): pass")
    result = tester.runpytest_inprocess("--mlflow", "--mlflow-track=some")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --mlflow-track, or ini value mlflow_track: expected auto, marked or all, "
            "got 'some'"
        ]
    )
    result.stdout.no_fnmatch_line("*passed*")


def test_bad_value_does_not_matter_without_the_flag(tester: pytest.Pytester) -> None:
    tester.makepyfile("def test_it(): pass")
    result = tester.runpytest_inprocess("--mlflow-track=some", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert {path.name for path in tester.path.iterdir()} <= {
        "__pycache__",
        "test_bad_value_does_not_matter_without_the_flag.py",
    }


def test_help_tells_of_every_option_and_ini_value(tester: pytest.Pytester) -> None:
    result = tester.runpytest_inprocess("--help")
    text = result.stdout.str()
    for option in OPTIONS:
        assert re.search(rf"^  {option}\b(?!-)", text, re.MULTILINE), option
    for name in INI_VALUES:
        assert re.search(rf"^  {name} \(\w+\):", text, re.MULTILINE), name
    # What there is beyond these lists has no test here.
    assert set(re.findall(r"^  (--(?:no-)?mlflow[\w-]*)", text, re.MULTILINE)) == set(OPTIONS)
    assert set(re.findall(r"^  (mlflow\w*) \(", text, re.MULTILINE)) == set(INI_VALUES)


@pytest.mark.parametrize(
    "option",
    [option for option in TABLE.values() if option.default],
    ids=lambda option: option.name,
)
def test_help_tells_of_the_default(option: Option) -> None:
    default = re.escape(option.default)
    assert re.search(rf"default:? {default}\b|\b{default},? \(?the default", option.help)


def test_markers_tell_of_every_keyword(tester: pytest.Pytester) -> None:
    text = tester.runpytest_inprocess("--markers").stdout.str()
    (line,) = (line for line in text.splitlines() if line.startswith("@pytest.mark.mlflow("))
    for keyword in (field.name for field in fields(CaseOptions) if field.name != "marked"):
        assert f"{keyword}=" in line


def test_marker_is_known_to_strict_markers(tester: pytest.Pytester) -> None:
    tester.makepyfile("import pytest\n@pytest.mark.mlflow\ndef test_it(): pass")
    tester.runpytest_inprocess("--strict-markers").assert_outcomes(passed=1)


def case_options(tester: pytest.Pytester, marks: str) -> CaseOptions:
    item = tester.getitem(f"import pytest\nmlflow = pytest.mark.mlflow\n{marks}")
    return CaseOptions.from_item(item)


def test_test_without_a_marker(tester: pytest.Pytester) -> None:
    assert case_options(tester, "def test_func(): pass") == CaseOptions()


def test_marker_without_keywords(tester: pytest.Pytester) -> None:
    options = case_options(tester, "@mlflow\ndef test_func(): pass")
    assert options == CaseOptions(marked=True)


def test_every_keyword_of_the_marker(tester: pytest.Pytester) -> None:
    options = case_options(
        tester,
        "@mlflow(case='digits', tags={'a': 1}, params={'b': 2}, tolerance={'accuracy': '-0.02', "
        "'rmse*': '2%', 'loss': 0.5}, direction={'loss': 'min', 'f?': 'max'}, track=False, "
        "min_effect={'loglik': 100}, log_system_metrics=True, objective='rmse', mode='min', "
        "sweep=True)\ndef test_func(): pass",
    )
    assert options == CaseOptions(
        case="digits",
        tags={"a": 1},
        params={"b": 2},
        tolerance={"accuracy": "-0.02", "rmse*": "2%", "loss": 0.5},
        min_effect={"loglik": 100},
        direction={"loss": "min", "f?": "max", "rmse": "min"},
        objective="rmse",
        mode="min",
        sweep=True,
        track=False,
        log_system_metrics=True,
        marked=True,
    )


def test_closest_marker_wins_and_dicts_are_joined(tester: pytest.Pytester) -> None:
    module = """
        import pytest

        pytestmark = pytest.mark.mlflow(
            track=False, tags={"from": "module", "module": 1}, log_system_metrics=True
        )

        @pytest.mark.mlflow(tags={"from": "class", "class": 1}, params={"C": 1})
        class TestIt:
            @pytest.mark.mlflow(case="it", track=True, tags={"from": "function"}, params=None)
            def test_it(self):
                pass
        """
    (item,) = tester.getitems(module)
    assert CaseOptions.from_item(item) == CaseOptions(
        case="it",
        tags={"from": "function", "class": 1, "module": 1},
        params={"C": 1},
        track=True,
        log_system_metrics=True,
        marked=True,
    )


def test_closest_pattern_for_a_metric_comes_last(tester: pytest.Pytester) -> None:
    options = case_options(
        tester,
        "pytestmark = mlflow(tolerance={'acc*': 1, '*': 2, 'loss': 3})\n"
        "@mlflow(tolerance={'acc*': 4, 'f1': 5})\ndef test_func(): pass",
    )
    assert list(options.tolerance.items()) == [("*", 2), ("loss", 3), ("acc*", 4), ("f1", 5)]


def test_the_objective_of_a_module_may_have_its_mode_from_a_test(tester: pytest.Pytester) -> None:
    options = case_options(
        tester,
        "pytestmark = mlflow(objective='figure', direction={'*': 'min'})\n"
        "@mlflow(mode='max')\ndef test_func(): pass",
    )
    assert options.objective == "figure"
    # The name of a metric says more than a pattern.
    assert options.direction == {"*": "min", "figure": "max"}


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ("@mlflow('digits')", "takes keywords only, got 'digits'"),
        (
            "@mlflow(name='digits')",
            "has no keyword 'name'; the legal ones are case, tags, params, track, "
            "log_system_metrics, tolerance, min_effect, direction, objective, mode, sweep",
        ),
        ("@mlflow(case=3)", "(case=...) takes a string, got 3"),
        ("@mlflow(tags=['a'])", "(tags=...) takes a dict, got ['a']"),
        ("@mlflow(params='a')", "(params=...) takes a dict, got 'a'"),
        ("@mlflow(tolerance='2%')", "(tolerance=...) takes a dict, got '2%'"),
        (
            "@mlflow(tolerance={'a': '2%', 'rmse': 'two'})",
            "(tolerance=...), 'rmse': the amount 'two' is not a number",
        ),
        ("@mlflow(tolerance={'a': True})", "(tolerance=...), 'a': the amount 'True' is not a"),
        ("@mlflow(tolerance={'a': None})", "(tolerance=...), 'a': the amount 'None' is not a"),
        ("@mlflow(min_effect=1)", "(min_effect=...) takes a dict, got 1"),
        (
            "@mlflow(min_effect={'loglik': 'much'})",
            "(min_effect=...), 'loglik': the amount 'much' is not a number; write 0.02 (in the ",
        ),
        ("@mlflow(tolerance={3: 1})", "(tolerance=...) takes names or patterns of metrics, got 3"),
        ("@mlflow(direction={' ': 'min'})", "(direction=...) takes names or patterns of metrics"),
        ("@mlflow(direction='min')", "(direction=...) takes a dict, got 'min'"),
        (
            "@mlflow(direction={'loss': 'down'})",
            "(direction=...), 'loss': expected 'min' or 'max', whichever is better, got 'down'",
        ),
        ("@mlflow(direction={'loss': -1})", "(direction=...), 'loss': expected 'min' or 'max'"),
        ("@mlflow(objective=3)", "(objective=...) takes the name of a metric, got 3"),
        ("@mlflow(objective=' ')", "(objective=...) takes the name of a metric, got ' '"),
        ("@mlflow(objective='a', mode='low')", "(mode=...) takes 'min' or 'max', got 'low'"),
        ("@mlflow(mode='min')", "(mode='min') needs objective=..., the name of the metric"),
        (
            "pytestmark = mlflow(direction={'rmse': 'max'})\n@mlflow(objective='rmse', mode='min')",
            ": mode='min' contradicts direction={'rmse': 'max'}; leave out one of them",
        ),
        ("@mlflow(track='no')", "(track=...) takes True or False, got 'no'"),
        ("@mlflow(log_system_metrics=1)", "(log_system_metrics=...) takes True or False, got 1"),
    ],
)
def test_bad_marker_names_the_test_and_what_is_right(
    tester: pytest.Pytester, marks: str, message: str
) -> None:
    with pytest.raises(
        pytest.UsageError, match=rf"::test_func: @pytest\.mark\.mlflow ?{re.escape(message)}"
    ):
        case_options(tester, f"{marks}\ndef test_func(): pass")


def test_settings_are_frozen(configure: Configure) -> None:
    settings = Settings.from_config(configure())
    with pytest.raises(AttributeError):
        settings.track = "all"  # type: ignore[misc]


def test_rootdir_decides_the_name_of_the_experiment(
    tester: pytest.Pytester, configure: Configure
) -> None:
    root: Path = tester.mkdir("my project")
    settings = Settings.from_config(configure(f"--rootdir={root}"))
    assert (settings.rootdir, settings.experiment_name) == (root, "my project")


def test_secret_tags_and_names_of_secrets(configure: Configure) -> None:
    config = configure(
        "--mlflow-tag=deploy_token=geheim",
        "--mlflow-tag=site=https://me:geheim@host",
        "--mlflow-tag=card_pin=1234",
        ini="mlflow_redact = *_pin !token",
    )
    settings = Settings.from_config(config)
    assert settings.tags == {"deploy_token": "***", "site": "https://***@host", "card_pin": "***"}
    assert settings.secret_names("door_pin")
    assert not settings.secret_names("token")


def test_an_empty_name_of_a_secret(configure: Configure) -> None:
    with pytest.raises(pytest.UsageError, match="ini value mlflow_redact: expected names"):
        Settings.from_config(configure(ini="mlflow_redact = !"))
