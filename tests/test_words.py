"""What people read, in one table: ``words.txt`` has every text of the package, room by room.

``PYTEST_GOLDEN_UPDATE=1 pytest tests/test_words.py`` writes it again; read the diff as a user.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_imports import PACKAGE

TABLE = Path(__file__).with_name("words.txt")
START = Path(__file__).parents[1] / "docs" / "index.md"

# The only words of this package's own.
GLOSSARY = ("session", "case", "metric", "check", "baseline", "gate", "sweep", "slice")

# How this package is made, in words that its users have no use for.
PRIVATE = re.compile(
    r"(?<!=)\b(projections?|provenances?|catalogs?|trackers?|journals?(?!\.jsonl)|advisory"
    r"|guards?|guarded|tracking stores?|the store|accepted steps?|the whole(?! traceback)|codecs?"
    r"|slim|(a|an|the|this|that|each|its|of|no|all|case|more|\d+) records?)\b",
    re.IGNORECASE,
)
# Lists of words in names of metrics and variables.
LISTS = ("regression/direction.py", "capture/assertions/origins.py")
TEXT = re.compile(r"(?<![\w{}.])[A-Za-z]['\w-]*[,:;.]? +(?:[a-z]['\w-]*|{})(?!\w*[(=\\])")
CODE = re.compile(
    r"SELECT |PRAGMA|<svg|<path|<text|<circle|\(\?|import sys|\\[bsw]|[\w`] = ['{]|tuple\["
)
# An element's start or end, which may go on in the next text.
TAG = re.compile(r"</?[a-z!][^<>]*(>|$)")


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the texts of a module for people, and what of each is not filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(map(is_command, node.decorator_list)):
            continue  # its docstring is its help
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            hidden.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            hidden |= {id(part) for part in ast.walk(node)} - {id(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(map(is_command, node.decorator_list)):
            hidden.discard(id(getattr(node.body[0], "value", None)))
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            shown = bare = node.value
        elif isinstance(node, ast.JoinedStr):
            shown = "".join(map(filled, node.values))
            bare = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        else:
            continue
        if path.parent.name == "html":
            shown, bare = TAG.sub(" ", shown), TAG.sub(" ", bare)
        if TEXT.search(bare) and not CODE.search(bare):
            yield " ".join(shown.split()), bare


def is_command(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "command"


def filled(part: ast.expr) -> str:
    """Return a part of an f-string, of an expression its last name alone."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    names = re.findall(r"[A-Za-z_]\w*", ast.unparse(value))
    return f"{{{names[0].strip('_').lower() if len(names) == 1 else '…'}}}"


def table() -> str:
    """Return all texts, sorted within their modules."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        found = sorted(
            {shown for shown, _ in texts(path)}, key=lambda text: (text.casefold(), text)
        )
        if found and name not in LISTS:
            lines += ["", f"## {name}", "", *(f"- {text}" for text in found)]
    text = "\n".join(lines[1:])
    return (
        text.encode("ascii", "backslashreplace").decode() + "\n"
        if "\ud800" in text
        else f"{text}\n"
    )


def test_all_texts_stand_in_the_table() -> None:
    now = table()
    if os.environ.get("PYTEST_GOLDEN_UPDATE"):
        TABLE.write_text(now, encoding="utf-8")
    known = TABLE.read_text(encoding="utf-8")
    diff = difflib.unified_diff(known.splitlines(), now.splitlines(), "words.txt", "now", n=0)
    assert not list(diff), "PYTEST_GOLDEN_UPDATE=1 writes it again"


def test_no_text_has_a_private_word() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}: {found[0]!r} in {shown}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for shown, bare in texts(path)
        if (found := PRIVATE.search(bare))
    ]
    assert wrong == []


def test_the_first_page_explains_the_words_of_the_package() -> None:
    _, _, section = START.read_text(encoding="utf-8").partition("\n## Words\n")
    rows = re.findall(r"(?m)^\| \*\*(\w+)\*\* \| (.+) \|$", section.partition("\n## ")[0])
    assert tuple(word for word, _ in rows) == GLOSSARY
    assert len(GLOSSARY) <= 8


@pytest.mark.parametrize(
    "text",
    [
        "no projection of the record",
        "the tracking store was not ready",
        "2 guards changed",
        "the journal is damaged",
    ],
)
def test_private_words_are_found(text: str) -> None:
    assert PRIVATE.search(text)


@pytest.mark.parametrize(
    "text",
    ["16 tests recorded", "it has no journal.jsonl", "--mlflow-strict-guards", "guard_texts"],
)
def test_words_that_everybody_uses_are_not_private(text: str) -> None:
    assert not PRIVATE.search(text) or text.startswith("--")
