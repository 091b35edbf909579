"""Rewrite a module as pytest does, and insert calls of the recorder.

Pytest turns ``assert acc > 0.9`` into ``@1 = 0.9; @0 = acc > @1; if not @0: ...``: one statement
for each comparison, whose operands are names. Before that, each comparison to record gets an
operator node of its own; pytest keeps the node, which identifies the statement afterwards. So
pytest's own code stays as it is, nothing is evaluated twice, and pytest's names for operands don't
matter.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import copy
from types import CodeType
from typing import TYPE_CHECKING, Final, NamedTuple

from _pytest.assertion import rewrite

from . import recorder
from .origins import telling_names
from .places import Context, contexts_of_assertions
from .sites import ComparisonNode, comparisons

if TYPE_CHECKING:
    import pytest

# No identifier can clash with these, and pytest hides such names in tracebacks.
_RECORD: Final = "@mlflow_record"
_RECORD_APPROX: Final = "@mlflow_record_approx"

# The syntax parser shares one node among all uses of an operator, so a new one tells its place.
_Tags = dict[ast.cmpop, ComparisonNode]


class Transformed(NamedTuple):
    """A rewritten module, with the numbers of comparisons tagged and of calls inserted."""

    code: CodeType
    tagged: int
    injected: int


def transform(
    source: bytes, file: str, config: pytest.Config, *, every_comparison: bool
) -> Transformed:
    """Return the rewritten code of a module.

    Raises:
        Exception: what the parser, pytest or the compiler raises.
    """
    tree = ast.parse(source, filename=file)
    tags = _tag(tree, file, every_comparison)
    # By its module, where other plugins may have replaced it.
    rewrite.rewrite_asserts(tree, source, file, config)
    injected = _inject(tree, tags)
    return Transformed(compile(tree, file, "exec", dont_inherit=True), len(tags), injected)


def _tag(tree: ast.Module, file: str, every_comparison: bool) -> _Tags:
    tags: _Tags = {}
    contexts = contexts_of_assertions(tree)
    found: dict[ast.Assert, list[ast.expr]] = {}
    for body in _bodies(tree):
        for statement in body:
            if isinstance(statement, ast.Assert):
                for comparison in comparisons(
                    statement,
                    file,
                    contexts.get(statement, Context()),
                    every_comparison=every_comparison,
                ):
                    operators = comparison.node.ops
                    operator = type(operators[comparison.position])()
                    operators[comparison.position] = operator
                    tags[operator] = comparison
                    twin = [comparison.twin] if comparison.twin else []
                    found.setdefault(statement, []).extend((comparison.value, *twin))
    names = telling_names(tree, found)
    for operator, comparison in tags.items():
        if (told := names.get(comparison.value)) is not None:
            site = comparison.site._replace(name=told.name, expression=told.expression)
            if comparison.twin is not None:
                site = site._replace(same_as=names[comparison.twin].name)
            tags[operator] = comparison._replace(site=site)
    return tags


def _inject(tree: ast.Module, tags: _Tags) -> int:
    """Insert a call of the recorder after each tagged comparison; return their number."""
    if not tags:
        return 0
    injected = 0
    for body in _bodies(tree):
        calls = [
            (index, call)
            for index, statement in enumerate(body)
            if (call := _call_after(statement, tags)) is not None
        ]
        for index, call in reversed(calls):
            body.insert(index + 1, call)
        injected += len(calls)
    if injected:
        _import_recorder(tree)
    return injected


def _call_after(statement: ast.stmt, tags: _Tags) -> ast.stmt | None:
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=result)],
            value=ast.Compare(left=left, ops=[operator], comparators=[right]),
        ):
            comparison = tags.get(operator)
        case _:
            return None
    first, second = _name(left), _name(right)
    if comparison is None or first is None or second is None:
        return None
    if comparison.left_is_limit:
        first, second = second, first
    site = comparison.site
    function = _RECORD_APPROX if site.operator == "==" else _RECORD
    # The compiler takes no subclass of tuple for a constant.
    arguments: list[ast.expr] = [ast.Constant(tuple(site))]  # type: ignore[arg-type]
    arguments += [ast.Name(name, ast.Load()) for name in (first, second, result)]
    if comparison.keys:
        arguments.append(ast.Tuple([copy(key) for key in comparison.keys], ast.Load()))
    call = ast.Expr(ast.Call(ast.Name(function, ast.Load()), arguments, []))
    # The place of the statement before it: no line is entered that would not be entered anyway.
    for node in ast.walk(call):
        ast.copy_location(node, statement)
    return call


def _name(operand: ast.expr) -> str | None:
    """Return the name that holds an operand after the comparison."""
    match operand:
        # Pytest 7 leaves a walrus operator in its place.
        case ast.Name(id=name) | ast.NamedExpr(target=ast.Name(id=name)):
            return name
        case _:
            return None


def _import_recorder(tree: ast.Module) -> None:
    """Import the recorder next to pytest's imports, after docstring and ``__future__``."""
    position = next(
        index
        for index, statement in enumerate(tree.body)
        if isinstance(statement, ast.Import) and statement.names[0].name == rewrite.__name__
    )
    names = [
        ast.alias(recorder.record.__name__, _RECORD),
        ast.alias(recorder.record_approx.__name__, _RECORD_APPROX),
    ]
    added = ast.ImportFrom(recorder.__name__, names, 0)
    for node in ast.walk(added):
        ast.copy_location(node, tree.body[position])
    tree.body.insert(position + 1, added)


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Yield each list of statements of a module; the list may be changed meanwhile."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                yield body
                nodes.extend(body)
        for field in ("handlers", "cases"):
            nodes.extend(getattr(node, field, ()))
