"""Write the reference of the documentation from the code itself.

``PYTEST_GOLDEN_UPDATE=1 pytest tests/test_docs.py`` writes docs/reference.md again.
"""

from __future__ import annotations

import argparse
import html
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from pytest_mlflow_experiments import MlflowCase, analysis, cli, plugin
from pytest_mlflow_experiments.regression import judge
from pytest_mlflow_experiments.session import hookspecs
from pytest_mlflow_experiments.session.options import MARKER, OPTIONS, Option

HEAD = """\
# Reference

This page is made from the code: the table of options, the parsers of the commands and the
docstrings. A test compares it with them.
"""
NAMES = {"Args": "Arguments"}
EXITS = """\
All commands exit with 0 on success, 1 where something failed (a gate, a refusal, MLflow can't be
reached), and 2 where the command line is wrong.
"""


def render() -> str:
    """Return the page."""
    parts = [HEAD, *options(), *marker(), *fixtures(), *commands(), *hooks(), *frames(), *rule()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def options() -> Iterator[str]:
    yield "## Options and ini values"
    yield (
        "An option on the command line wins over the ini value. In native TOML (`[tool.pytest]`, "
        "pytest 9) numbers, true and false, and lists are taken as they are.\n"
    )
    yield "\n".join(
        [
            "| option, and ini value | default | meaning |",
            "| --- | --- | --- |",
            *(row(names(one), default(one), one.help) for one in OPTIONS.values()),
        ]
    )


def names(one: Option) -> str:
    ini_value = f"`{one.name}`" if one.place != "option" else ""
    return "<br>".join(filter(None, (flag(one), ini_value)))


def flag(one: Option) -> str:
    if one.place == "ini":
        return ""
    value = f" {one.metavar}" if one.metavar else ""
    if one.const is not None:
        value = f" [{one.metavar}]"
    if one.other is not None:
        value = f"[={one.other}]"
    return f"`{one.flag}{value}`"


def default(one: Option) -> str:
    if one.kind == "switch":
        return "off"
    return f"`{one.default}`" if one.default else ""


def marker() -> Iterator[str]:
    signature, _, rest = MARKER.partition(": ")
    summary, _, keywords = rest.partition(". ")
    yield "## Marker"
    yield f"```python\n@pytest.mark.{wrapped(signature)}\ndef test_model(): ...\n```\n"
    yield f"{summary[:1].upper()}{summary[1:]}.\n"
    lines = ["| keyword | meaning |", "| --- | --- |"]
    for told in keywords.removesuffix(".").split("; "):
        names, _, text = told.partition(": ")
        named = ", ".join(f"`{name}`" for name in names.split(", "))
        lines.append(row(named, text))
    yield "\n".join(lines)


def wrapped(signature: str) -> str:
    name, _, arguments = signature.partition("(")
    lines = [f"    {one.strip()}," for one in arguments.removesuffix(")").split(",")]
    return "\n".join([f"{name}(", *lines, ")"])


def fixtures() -> Iterator[str]:
    yield "## Fixtures"
    for name in ("mlflow_case", "mlflow_run", "mlflow_seed"):
        fixture = getattr(plugin, name)
        yield f"### `{name}`\n"
        yield prose(inspect.getdoc(getattr(fixture, "__wrapped__", fixture)))
        if name == "mlflow_case":
            for method, function in vars(MlflowCase).items():
                if not method.startswith("_") and callable(function):
                    yield f"#### `mlflow_case.{call(function)}`\n"
                    yield prose(inspect.getdoc(function))


def call(function: Callable[..., Any]) -> str:
    """Return the name of a function with its arguments and their defaults, without types."""
    signature = inspect.signature(function)
    kept = [
        one.replace(annotation=one.empty, default=stable(one.default))
        for one in signature.parameters.values()
        if one.name != "self"
    ]
    shown = signature.replace(parameters=kept, return_annotation=inspect.Signature.empty)
    return f"{function.__name__}{shown}"


def heading(function: Callable[..., Any]) -> str:
    """Return a heading with a function's name, and its signature below."""
    return f"### `{function.__name__}`\n\n```python\ndef {call(function)}: ...\n```\n"


def stable(default: Any) -> Any:
    """Return a default whose text is always the same: a set's members are sorted."""
    return sorted(default) if isinstance(default, frozenset) else default


def commands() -> Iterator[str]:
    parser = cli._parser()
    yield "## Commands"
    yield EXITS
    yield "\n".join(["| command | |", "| --- | --- |", *sorted(briefs(parser))]) + "\n"
    yield f"```text\n{parser.epilog}\n```\n"
    for path, one in sorted(leaves(parser)):
        yield f"### `pytest-mlflow {path}`\n"
        yield f"{sentence(one.description)}\n"
        rows = [
            row(argument(action), help_of(action))
            for action in one._actions
            if action.dest != "help"
        ]
        if rows:
            yield "\n".join(["| argument | meaning |", "| --- | --- |", *rows]) + "\n"


def briefs(parser: argparse.ArgumentParser, path: str = "pytest-mlflow") -> Iterator[str]:
    """Yield a line for each command, with a link to its section."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for told in action._choices_actions:
                name = f"{path} {told.dest}"
                below = list(briefs(action.choices[told.dest], name))
                link = f"[`{name}`](#{name.replace(' ', '-')})"
                yield from below or [row(link, told.help or "")]


def leaves(
    parser: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands that do something, with the words to type."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                yield from leaves(one, f"{path} {name}".strip())
            return
    yield path, parser


def argument(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(action.choices) if action.choices else "")
    if not action.option_strings:
        shown = f"[{value}]" if action.nargs in ("?", "*") else str(value)
        return f"`{shown}`"
    if action.nargs == 0:
        value = ""
    elif action.nargs == "?":
        value = f"[{value or action.dest.upper()}]"
    return f"`{' '.join(filter(None, (', '.join(action.option_strings), str(value))))}`"


def help_of(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def hooks() -> Iterator[str]:
    yield "## Hooks"
    for name, function in vars(hookspecs).items():
        if name.startswith("pytest_mlflow_"):
            yield heading(function)
            yield prose(inspect.getdoc(function))


def frames() -> Iterator[str]:
    yield "## DataFrames"
    yield "All four are imported from `pytest_mlflow_experiments`.\n"
    for name in analysis.__all__:
        function = getattr(analysis, name)
        yield heading(function)
        yield prose(inspect.getdoc(function))


def rule() -> Iterator[str]:
    yield "## The rule"
    yield "`from pytest_mlflow_experiments.regression import judge`\n"
    yield heading(judge)
    yield prose(inspect.getdoc(judge))


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: the sections of arguments are lists."""
    lines = (docstring or "").replace("``", "`").splitlines()
    text: list[str] = []
    section = False
    for line in lines:
        line = re.sub(r":\w+:`~?\.?([\w.]+)`", r"`\1`", line)
        if re.fullmatch(r"(Args|Raises|Returns|Yields|Columns|Attributes):", line):
            text += [f"**{NAMES.get(line[:-1], line[:-1])}**", ""]
            section = True
        elif section and (found := re.match(r"    (\S[^:]*)(: .*|$)", line)):
            text.append(f"- `{found[1].strip('`')}`{found[2]}")
        elif section and line.startswith("        "):
            text.append(f"  {line.strip()}")
        else:
            section = section and (not line or line.startswith("    "))
            text.append(line)
    return "\n".join(text) + "\n"


def sentence(text: str | None) -> str:
    text = (text or "").strip()
    text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith(".") else f"{text}."


def row(*cells: str) -> str:
    """Return a line of a table; bars are written as all readers of Markdown show them."""
    return f"| {' | '.join(map(cell, cells))} |"


def cell(text: str) -> str:
    text = " ".join(text.replace("%%", "%").split())
    text = re.sub(r"`([^`]*\|[^`]*)`", lambda code: f"<code>{html.escape(code[1])}</code>", text)
    return text.replace("|", "&#124;")
