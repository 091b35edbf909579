"""A small project of which every number is known, and sessions of it that are recorded offline."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from project import Project, Result

# The files of the project, each with ".txt" behind its name: they are no tests of ours.
SOURCES = Path(__file__).with_name("data") / "golden"
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

GATE = (
    *("--mlflow-gate", "--mlflow-rerun=0"),
    *("--mlflow-report=out/comparison.xml", "--mlflow-report=out/comparison.csv"),
)


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
        for source in SOURCES.iterdir():
            shutil.copyfile(source, self.path / source.stem)
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
