"""A small project of which every number is known, and sessions of it that are recorded offline."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from project import Project, Result

ENVIRONMENT = {
    "API_TOKEN": "t0p-s3cret-t0ken",
    "COLUMNS": "100",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_AUTHOR_EMAIL": "somebody@example.org",
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_EMAIL": "somebody@example.org",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LOGNAME": "somebody",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "TZ": "UTC",
}

# The clocks stand still unless a test turns them, so that durations are the same everywhere.
FROZEN = """
    import os, resource, time
    from types import SimpleNamespace

    NOW = 1_767_225_600 + 3_600 * int(os.environ.get("HOUR", "0"))
    passed = 0.0

    def tick(seconds):
        global passed
        passed += seconds

    def getrusage(who):
        used = passed / 2 if who == resource.RUSAGE_SELF else 0.0
        return SimpleNamespace(ru_utime=used, ru_stime=0.0, ru_maxrss=200_000)

    def fake_open(path, *arguments, _open=os.open, **keywords):
        return _open("statm.txt" if path == "/proc/self/statm" else path, *arguments, **keywords)

    time.time = lambda: NOW + passed
    time.perf_counter = lambda: 1_000 + passed
    time.process_time = lambda: passed / 2
    resource.getrusage, resource.getpagesize, os.open = getrusage, lambda: 4096, fake_open
"""

INI = """
    [pytest]
    mlflow_tracking_uri = sqlite:////nowhere/mlflow.db
    mlflow_experiment = golden
    mlflow_tags = team=vision
    mlflow_direction = drift_gap: min
    mlflow_tolerance = latency*: 10%
    mlflow_redact = *_pin
"""

# What hooks are given is public: which fields it has is written beside the sessions.
CONFTEST = """
    import dataclasses, pathlib, re
    import pytest
    import frozen

    SHAPES = {}

    def learn(value):
        if dataclasses.is_dataclass(value):
            kind = type(value)
            own = re.compile("_.*|(to|from)_.*|read|write")  # how it is kept is our affair
            SHAPES[kind.__name__] = [name for name in dir(kind) if not own.fullmatch(name)]
            value = [getattr(value, field.name) for field in dataclasses.fields(value)]
        elif isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, (list, tuple)):
            for one in value:
                learn(one)

    def pytest_mlflow_rule(series):
        learn(series)

    def pytest_mlflow_baseline(config, request):
        learn(request)

    def pytest_mlflow_compared(config, comparison):
        learn(comparison)

    def pytest_mlflow_render(config, comparison, suffix):
        if suffix == ".csv":
            return "".join(f"{one.metric},{one.status}\\n" for one in comparison.metrics)

    def pytest_unconfigure():
        lines = [f"{name}: {', '.join(fields)}\\n" for name, fields in sorted(SHAPES.items())]
        pathlib.Path(__file__).with_name("shapes.txt").write_text("".join(lines))
"""

MODELS = """
    import decimal, enum, math, os, pathlib
    from dataclasses import dataclass
    import numpy
    import pytest
    from frozen import tick

    RUN = int(os.environ["RUN"])
    BAD = RUN == 4

    def now(*values):
        return values[min(RUN, len(values) - 1)]

    class Kernel(enum.Enum):
        RBF = 1

    @dataclass
    class Settings:
        depth: int
        password: str

    class Opaque:
        pass

    def test_quality(mlflow_case):
        tick(now(0.5, 0.52, 0.48, 0.51, 0.9))
        accuracy = now(0.943, 0.951, 0.946, 0.944, 0.888)
        f1 = now(0.8, 0.802, 0.798, 0.801, 0.93)
        rmse = now(0.61, 0.62, 0.605, 0.615, 0.612)
        assert accuracy >= 0.85
        assert 0.4 < rmse < 0.9
        assert f1 > 0.7 and rmse < 0.95, "a message"
        mlflow_case.log_metric("precision" if RUN >= 4 else "recall", 0.9)
        if RUN >= 3:
            mlflow_case.log_metrics({"auc": 0.9 + RUN / 1000, "unknown": RUN})

    def test_size():
        score, drift_gap = now(0.7, 0.7, 0.7, 0.7, 0.6), now(0.1, 0.1, 0.1, 0.1, 0.1)
        assert score > 0.5
        assert drift_gap < 1 or drift_gap < 0.05

    def test_folds():
        for fold in range(3):
            scores = {"test": 0.8 + fold / 100 + RUN / 1000}
            assert scores["test"] > 0.7

    def test_approx():
        r2, ratio = numpy.float64(0.8125), decimal.Decimal("0.5")
        assert r2 == pytest.approx(0.8, abs=0.05)
        assert ratio <= decimal.Decimal("0.75")
        assert not ratio > 2

    @pytest.mark.parametrize("api_key", ["sk-12345"], ids=["key"])
    @pytest.mark.parametrize("door_pin", [4711], ids=["pin"])
    @pytest.mark.parametrize("model", [Opaque(), Settings(3, "hunter2")])
    @pytest.mark.parametrize(("kernel", "rate"), [(Kernel.RBF, 0.1), (abs, None)])
    def test_params(model, kernel, rate, door_pin, api_key, mlflow_case):
        mlflow_case.log_params({"note": "own", "rate": "another"})

    def test_curve(mlflow_case):
        for step in range(12):
            tick(0.25)
            mlflow_case.log_metric("loss", now(1, 1.01, 1, 1.02, 1.5) * 0.75**step, step=step)
        for step, value in enumerate([0.5, math.nan, math.inf, -math.inf, 0.25]):
            mlflow_case.log_metric("odd", value, step=step)
        mlflow_case.log_metric("gain", math.nan if BAD else 0.5)

    def test_artifacts(mlflow_case):
        mlflow_case.log_text("hello", "notes/hello.txt")
        mlflow_case.log_dict({"b": 1, "a": [1.5, None]}, "a.json")
        mlflow_case.log_artifact(pathlib.Path(__file__).with_name("statm.txt"), "files")
        mlflow_case.log_table({"x": [1, 2], "y": ["a", "b"]}, "table.json")

    def test_inputs(mlflow_case):
        data = numpy.arange(6.0).reshape(3, 2) + (RUN == 4)
        mlflow_case.log_input((data, numpy.array([0, 1, 0])), "train", name="toy")
        mlflow_case.log_input(pathlib.Path(__file__).with_name("statm.txt"))
        accuracy = 0.9 - (RUN == 4) / 10
        assert accuracy > 0.5

    @pytest.mark.mlflow(
        case="a stable name", tags={"owner": "me", "a:b": "c"}, params={"depth": 3},
        tolerance={"score": "-0.02"}, direction={"gap": "min"},
    )
    def test_marked(mlflow_case):
        mlflow_case.set_tag("colour", "blue")
        latency, gap = now(1.0, 1.1, 1.0, 1.1, 1.3), now(0.2, 0.21, 0.2, 0.2, 0.3)
        assert latency < 2
        assert gap < 1
        mlflow_case.log_metric("score", 0.9 - (RUN == 4) / 50)

    @pytest.mark.mlflow(track=False)
    def test_untracked():
        accuracy = 0.5
        assert accuracy > 0.1

    def test_without_a_metric():
        assert 1 + 1 == 2

    class TestClass:
        @pytest.mark.parametrize("seed", [0, 1])
        def test_seeds(self, seed):
            accuracy = now(0.9, 0.9, 0.91, 0.9, 0.905) + seed / 100
            assert accuracy > 0.5

    @pytest.fixture
    def broken():
        if BAD:
            raise OSError("no data")

    @pytest.fixture
    def broken_teardown():
        yield
        assert not BAD, "left over"

    def test_fails(mlflow_case):
        recall = 0.25 if BAD else 0.75
        mlflow_case.log_metric("loss", 0.5)
        assert recall > 0.5, f"the token is {os.environ['API_TOKEN']}"

    def test_errors(broken, mlflow_case):
        mlflow_case.log_metric("loss", 0.5)

    def test_teardown(broken_teardown):
        loss = 0.25
        assert loss < 0.5

    @pytest.mark.skipif(BAD, reason="no GPU")
    def test_skips():
        loss = 0.25
        assert loss < 0.5

    @pytest.mark.xfail
    def test_xfails():
        loss = 0.75
        assert loss < 0.5

    @pytest.mark.xfail
    def test_xpasses():
        loss = 0.25
        assert loss < 0.5
"""

SWEEP = """
    import os
    import pytest
    from frozen import tick

    RUN = int(os.environ["RUN"])

    @pytest.mark.mlflow(objective="accuracy", mode="max")
    @pytest.mark.parametrize("seed", [0, 1, 2])
    @pytest.mark.parametrize("depth", [2, 8])
    @pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
    def test_grid(rate, depth, seed, mlflow_case):
        tick(depth / 16)
        accuracy = 0.9 - (rate - 0.1) ** 2 / 10 + depth / 1000 + (seed * depth % 5) / 500
        for step in range(3):
            mlflow_case.log_metric("loss", (1 - accuracy) * 2 / (step + 1), step=step)
        assert accuracy > (0.84 if RUN == 4 and seed == 2 else 0.5)

    @pytest.mark.parametrize("kind", ["a|b", "<c>"])
    def test_texts(kind):
        rmse = 0.5 + len(kind) / 100
        assert rmse < 1
"""

GATE = ("--mlflow-gate", "--mlflow-report=out/comparison.xml", "--mlflow-report=out/comparison.csv")


class GoldenProject(Project):
    """The project; ``printed`` is what its sessions printed, by their names."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.printed: dict[str, Result] = {}

    def record(self) -> GoldenProject:
        """Record the sessions, oldest first."""
        self._begin()
        self._session("0-first", 0, "-q")
        for run in (1, 2, 3):
            self._session(f"{run}-main", run, "--mlflow-baseline=none")
        self.run("git", "checkout", "-q", "-b", "feature", env=ENVIRONMENT)
        summary = str(self.path / "out" / "summary.md")
        github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": summary}
        self.path.joinpath("out").mkdir()
        self._session("4-gate-fails", 4, *GATE, "--junitxml=out/junit.xml", env=github, status=1)
        self._session("5-rerun", 4, "--mlflow-rerun=2", "--mlflow-baseline=branch:main", status=1)
        self._session("6-resumed", 4, "--mlflow-resume", "--mlflow-gate", "-q", status=1)
        return self

    def record_accepted(self) -> GoldenProject:
        """Record what follows the acceptance of what the last session failed for."""
        self._commit("accept")
        self._session("7-gate-passes", 5, "--mlflow-gate")
        for shard in ("models", "sweep"):
            self._session(
                f"8-{shard}", 5, "--mlflow-session=whole", "--mlflow-gate", f"test_{shard}.py"
            )
        return self

    def help(self, *options: str) -> str:
        """Return what pytest prints, as wide as no text is: its wrapping depends on versions."""
        return self._python(*options, env={"COLUMNS": "1000"}).stdout

    def names(self) -> Iterator[tuple[str, Path]]:
        """Yield the sessions' names and directories."""
        yield from zip(self.printed, self.directories(), strict=False)

    def directories(self) -> list[Path]:
        """Return the directories of the sessions that pytest recorded, oldest first."""
        return sorted(self.path.glob(".pytest_mlflow/2*/"))

    def _begin(self) -> None:
        for name, text in {
            "pytest.ini": INI,
            "conftest.py": CONFTEST,
            "frozen.py": FROZEN,
            "test_models.py": MODELS,
            "test_sweep.py": SWEEP,
            "statm.txt": "50000 25000 5000 1 0 1 0\n",
            ".gitignore": "__pycache__/\nshapes.txt\nout/\n",
        }.items():
            self.write(text, name)
        self.run("git", "init", "-q", "-b", "main", env=ENVIRONMENT)
        self._commit("begin")

    def _commit(self, message: str) -> None:
        self.run("git", "add", "-A", env=ENVIRONMENT)
        self.run("git", "commit", "-q", "-m", message, env=ENVIRONMENT)

    def _session(
        self, name: str, run: int, *options: str, env: dict[str, str] | None = None, status: int = 0
    ) -> None:
        numbers = {"RUN": str(run), "HOUR": str(len(self.printed))}
        self.printed[name] = self._python(
            "--mlflow", "--mlflow-offline", *options, env={**numbers, **(env or {})}, status=status
        )

    def _python(self, *options: str, env: dict[str, str], status: int = 0) -> Result:
        code = "import frozen, pytest; raise SystemExit(pytest.main())"
        command = (sys.executable, "-c", code, "-p", "mlflow-experiments", *options)
        return self.run(*command, env={**ENVIRONMENT, **env}, status=status)

    def copy(self, path: Path) -> Project:
        """Return a copy with the same sessions."""
        shutil.copytree(self.path, path)
        return Project(path)
