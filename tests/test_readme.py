"""The README tells the truth: its example is the example, its commands are those that are run."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_mlflow_experiments.options import add_options

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_first_example_is_the_first_of_the_examples() -> None:
    example = (ROOT / "examples" / "test_quickstart.py").read_text(encoding="utf-8")
    code = re.sub(r"  # noqa[^\n]*", "", example)
    first = blocks("python")[0]
    assert first in code
    assert len(first.splitlines()) <= 10


def test_the_example_of_the_rule_holds() -> None:
    (source,) = (block for block in blocks("python") if "judge(" in block)
    exec(source, {})


def test_ci_runs_the_test_command() -> None:
    _, tests = blocks("shell")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in tests.strip().split(" && "):
        assert command.replace("install ", "install --quiet --upgrade ") in script or (
            command in script
        )


def test_every_option_is_told() -> None:
    options: list[str] = []

    class Group:
        def addoption(self, name: str, **_: object) -> None:
            options.append(name)

    class Parser:
        def getgroup(self, *_: object) -> Group:
            return Group()

        def addini(self, name: str, *_: object, **__: object) -> None:
            options.append(name)

    add_options(Parser())  # type: ignore[arg-type]
    assert len(options) == 34
    assert [option for option in options if f"`{option}" not in README] == []
