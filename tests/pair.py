"""The same project twice, run by a real pytest without and with ``--mlflow``, and compared."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest
from project import Project, Session

OFFLINE: Final = ("--mlflow", "--mlflow-offline")
_JUNIT: Final = "junit.xml"

# What differs between any two runs: times, addresses, and which worker was faster.
_TIME: Final = re.compile(r"\b\d+\.\d+( ?s\b| seconds\b)( \([\d:]+\))?")
_MOMENT: Final = re.compile(r"\b\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d\b")
_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]{6,}\b")
_WORKER: Final = re.compile(r"\bgw\d\b")
_PROGRESS: Final = re.compile(r"\[ *\d+%\]")


@dataclass(frozen=True)
class Seen:
    """All that a person, or a CI server, sees of a run."""

    status: int
    stdout: str
    stderr: str
    junit: list[str]
    files: list[str]

    def lines(self) -> list[str]:
        """Return everything as lines."""
        return [
            f"exit status {self.status}",
            *self.stdout.splitlines(),
            *self.stderr.splitlines(),
            *"\n".join(self.junit).splitlines(),
            *self.files,
        ]


class Pair:
    """Two directories with the same files; ``plain`` is run without us, ``tracked`` with."""

    def __init__(self, root: Path) -> None:
        # Names of one length, for pytest cuts long lines.
        paths = [root / number / "project" for number in "12"]
        for path in paths:
            path.mkdir(parents=True)
            path.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        self.plain, self.tracked = map(Project, paths)

    def write(self, source: str, name: str = "test_it.py") -> None:
        """Write a file into both."""
        for project in (self.plain, self.tracked):
            project.write(source, name)

    def check(
        self,
        *options: str,
        status: int | None = 0,
        flags: tuple[str, ...] = OFFLINE,
        env: Mapping[str, str] | None = None,
        ordered: bool = True,
    ) -> str:
        """Run pytest in both; nothing may differ. Return what it printed.

        Args:
            options: pytest's options and arguments, for both.
            status: the exit status that both have; None for any.
            flags: what turns us on.
            env: variables to add to the environment of both.
            ordered: whether pytest prints in the same order each time.
        """
        plain = _look(self.plain, options, env, ordered)
        tracked = _look(self.tracked, (*flags, *options), env, ordered)
        assert status in (None, plain.status), f"{plain.stdout}\n{plain.stderr}"
        if tracked != plain:
            lines = difflib.unified_diff(
                plain.lines(), tracked.lines(), "plain", "tracked", lineterm=""
            )
            pytest.fail("\n".join(islice(lines, 100)), pytrace=False)
        return plain.stdout

    def session(self) -> Session:
        """Return the one session of the tracked run."""
        return self.tracked.session()

    def metrics(self) -> dict[str, list[str]]:
        """Return the names of the metrics that the tracked run has kept, by the cases' names."""
        cases = self.session().cases
        return {record.name: [metric.key for metric in record.metrics] for record in cases}


def _look(
    project: Project, options: tuple[str, ...], env: Mapping[str, str] | None, ordered: bool
) -> Seen:
    junit = project.path / _JUNIT
    env = {"PYTHONHASHSEED": "0", **(env or {})}
    result = project.pytest(f"--junitxml={junit}", *options, env=env, status=None)
    stdout = _normal(result.without_section(), project)
    if not ordered:
        stdout = "\n".join(sorted(_PROGRESS.sub("", stdout).splitlines()))
    return Seen(
        status=result.status,
        stdout=stdout,
        stderr=_normal(result.stderr, project),
        junit=_cases(junit, project) if junit.exists() else [],
        files=_files(project),
    )


def _normal(text: str, project: Project) -> str:
    text = text.replace(str(project.path), "<project>")
    for pattern, usual in (
        (_TIME, r"0.00\1"),
        (_MOMENT, "<moment>"),
        (_ADDRESS, "0x..."),
        (_WORKER, "gw0"),
    ):
        text = pattern.sub(usual, text)
    return text


def _cases(junit: Path, project: Project) -> list[str]:
    """Return what the report says of each test, and its totals, without times."""
    root = ElementTree.parse(junit).getroot()
    for element in root.iter():
        for moment in ("time", "timestamp", "hostname"):
            element.attrib.pop(moment, None)
    texts = [
        _normal(ElementTree.tostring(case, "unicode"), project) for case in root.iter("testcase")
    ]
    totals = [str(suite.attrib) for suite in root.iter("testsuite")]
    return totals + sorted(texts)


def _files(project: Project) -> list[str]:
    """Return the files that a run leaves behind, but for caches and what is ours."""
    hidden = {
        "__pycache__",
        ".pytest_mlflow",
        ".pytest_cache",
        ".hypothesis",
        "mlflow.db",
        "mlflow.db-journal",  # for moments, as long as something is written
        "mlruns",
    }
    paths = (path.relative_to(project.path) for path in project.path.rglob("*"))
    return sorted(str(path) for path in paths if hidden.isdisjoint(path.parts))
