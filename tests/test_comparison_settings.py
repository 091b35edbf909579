"""How sessions are to be compared, from the command line and the ini file."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from pytest_mlflow_experiments.baseline.specs import HISTORY
from pytest_mlflow_experiments.regression.comparer import CompareOptions
from pytest_mlflow_experiments.regression.tolerance import Tolerance
from pytest_mlflow_experiments.session.comparison_settings import ComparisonSettings


@pytest.fixture
def settings(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ComparisonSettings]:
    """Return a function that makes settings of arguments and of the lines of an ini file."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p pytest_mlflow_experiments.plugin")

    def make(*arguments: str, ini: str = "") -> ComparisonSettings:
        pytester.makeini(f"[pytest]\n{dedent(ini)}")
        return ComparisonSettings.from_config(pytester.parseconfig(*arguments))

    return make


def test_defaults(settings: Callable[..., ComparisonSettings]) -> None:
    found = settings()
    assert found == ComparisonSettings(
        baseline="auto",
        options=CompareOptions(
            window=HISTORY,
            ini_tolerances=(),
            tolerances=(),
            directions=(),
            seed_params=frozenset({"seed", "random_state", "repeat"}),
            accepted=(),
            rule=found.options.rule,
        ),
        rerun=0,
        rerun_time=None,
        gate=False,
        require_baseline=False,
        reports=(),
    )


def test_both_places(
    settings: Callable[..., ComparisonSettings], pytester: pytest.Pytester
) -> None:
    found = settings(
        "--mlflow-tolerance=f1: 1%",
        "--mlflow-report=one.md",
        ini="""
            mlflow_baseline = file:baseline.jsonl
            mlflow_history = 7
            mlflow_tolerance =
                accuracy: -0.02
                rmse: 2%
            mlflow_min_effect =
                loglik: 100
                rmse: 2%
            mlflow_direction = gap: min
            mlflow_seed_params = fold
            mlflow_rerun = 2
            mlflow_rerun_time = 90
            mlflow_gate = true
            mlflow_require_baseline = true
            mlflow_report = two.html
        """,
    )
    assert found.baseline == f"file:{pytester.path / 'baseline.jsonl'}"
    assert (found.options.window, found.rerun, found.rerun_time) == (7, 2, 90.0)
    assert [(name, tolerance.relative) for name, tolerance in found.options.ini_tolerances] == [
        ("accuracy", False),
        ("rmse", True),
    ]
    assert [name for name, _ in found.options.tolerances] == ["f1"]
    assert found.options.min_effects == (
        ("loglik", Tolerance(100.0, relative=False)),
        ("rmse", Tolerance(0.02, relative=True)),
    )
    assert found.options.directions == (("gap", "min"),)
    assert found.options.seed_params == {"fold"}
    assert (found.gate, found.require_baseline) == (True, True)
    assert found.reports == (pytester.path / "two.html", pytester.path / "one.md")


@pytest.mark.parametrize(
    ("arguments", "ini", "times"),
    [
        (("--mlflow-gate",), "", 5),
        ((), "mlflow_gate = true", 5),
        (("--mlflow-gate", "--mlflow-rerun=0"), "", 0),
        (("--mlflow-gate",), "mlflow_rerun = 0", 0),
        (("--mlflow-gate", "--mlflow-rerun=2"), "mlflow_rerun = 3", 2),
    ],
)
def test_the_gate_has_fresh_runs(
    settings: Callable[..., ComparisonSettings], arguments: tuple[str, ...], ini: str, times: int
) -> None:
    assert settings(*arguments, ini=ini).rerun == times


@pytest.mark.parametrize(
    ("arguments", "ini", "gate", "drift"),
    [
        (("--mlflow-gate", "tests/"), "", True, False),
        (("--mlflow-gate=drift", "tests/"), "", True, True),
        ((), "mlflow_gate = drift", True, True),
        ((), "mlflow_gate = on", True, False),
        ((), "mlflow_gate = false", False, False),
        (("--mlflow-gate",), "mlflow_gate = drift", True, False),
    ],
)
def test_what_the_gate_is_for(
    settings: Callable[..., ComparisonSettings],
    pytester: pytest.Pytester,
    arguments: tuple[str, ...],
    ini: str,
    gate: bool,
    drift: bool,
) -> None:
    pytester.mkdir("tests")
    found = settings(*arguments, ini=ini)
    assert (found.gate, found.options.gate_drift) == (gate, drift)
    shard = found.for_shard("whole", pytester.path)
    assert (shard.gate, shard.gate_drift) == (gate, drift)


def test_gate_has_no_other_value(settings: Callable[..., ComparisonSettings]) -> None:
    expected = "--mlflow-gate/--mlflow-gate=drift: ignored explicit argument 'tests/'"
    with pytest.raises(pytest.UsageError, match=expected):
        settings("--mlflow-gate=tests/")


def test_command_line_wins(settings: Callable[..., ComparisonSettings]) -> None:
    ini = "mlflow_baseline = latest\nmlflow_history = 7"
    found = settings("--mlflow-baseline=branch:main", "--mlflow-history=3", ini=ini)
    assert (found.baseline, found.options.window) == ("branch:main", 3)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--mlflow-baseline=main", r"--mlflow-baseline.*'main' is not a baseline; expected auto"),
        ("--mlflow-history=0", "--mlflow-history.*whole number, 1 or more, got '0'"),
        ("--mlflow-history=x", "--mlflow-history.*whole number, 1 or more, got 'x'"),
        ("--mlflow-rerun=-1", "--mlflow-rerun.*whole number, 0 or more, got '-1'"),
        ("--mlflow-rerun-time=long", "--mlflow-rerun-time.*seconds, 0 or more, got 'long'"),
        ("--mlflow-tolerance=accuracy", "--mlflow-tolerance: .*accuracy"),
        ("--mlflow-tolerance=accuracy: high", "--mlflow-tolerance: .*high"),
        ("--mlflow-report=report.doc", r"--mlflow-report.*\.html.*got 'report\.doc'"),
    ],
)
def test_bad_option(
    settings: Callable[..., ComparisonSettings], option: str, expected: str
) -> None:
    with pytest.raises(pytest.UsageError, match=expected):
        settings(option)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mlflow_tolerance = accuracy", "ini value mlflow_tolerance: .*accuracy"),
        ("mlflow_min_effect = loss: much", "ini value mlflow_min_effect: the amount 'much' is"),
        ("mlflow_gate = often", "mlflow_gate: expected true, false or drift, got 'often'"),
        ("mlflow_direction = loss: down", "ini value mlflow_direction: .*down"),
        ("mlflow_baseline = tag:x", "ini value mlflow_baseline: 'tag:x' is not"),
        ("mlflow_history = many", "ini value mlflow_history: .*'many'"),
        ("mlflow_gate = true\nmlflow_baseline = none", "mlflow_gate.*leave out one"),
    ],
)
def test_bad_ini_value(
    settings: Callable[..., ComparisonSettings], line: str, expected: str
) -> None:
    with pytest.raises(pytest.UsageError, match=expected):
        settings(ini=line)


def test_damaged_file_of_accepted_steps(
    settings: Callable[..., ComparisonSettings], pytester: pytest.Pytester
) -> None:
    pytester.path.joinpath("mlflow-accepted.jsonl").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with pytest.raises(pytest.UsageError, match=r"mlflow-accepted\.jsonl, line 1"):
        settings()
