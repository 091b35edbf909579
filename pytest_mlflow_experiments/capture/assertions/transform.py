"""Rewrite a module as pytest does, and insert calls of the recorder.

Pytest turns ``assert acc > 0.9`` into ``@1 = 0.9; @0 = acc > @1; if not @0: ...``: one statement
for each comparison, whose operands are names. Before that, each comparison to record gets an
operator node of its own; pytest keeps the node, which identifies the statement afterwards. So
pytest's own code stays as it is, nothing is evaluated twice, and pytest's names for operands don't
matter. Calls such as ``math.isclose(a, b)`` are found by the name of their function.

Comprehensions, which pytest leaves as they are, and calls that assert are changed in place:

- ``all(f(x) > 0.9 for x in xs)`` becomes ``all(record(result=@0 > 0.9, value=@0, limit=0.9) for x
  in xs for @0 in (f(x),))``; such a loop is a mere assignment. Where not all operands are always
  evaluated, as below ``or``, ``@.setdefault(0, f(x))`` keeps them, for @ in ``({},)``.
- ``self.assertLess(a, b)`` becomes ``self.assertLess((@0 := a), (@1 := begin(@0, b)).pop());
  @1[4] = True``: the record says that the call failed until it has returned.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from types import CodeType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from _pytest.assertion import rewrite

from . import recorder
from .origins import Origin, telling_names
from .places import Context, contexts_of_assertions
from .sites import (
    CallNode,
    ComparisonNode,
    Comprehension,
    Site,
    Where,
    arguments,
    asserting_call,
    comparisons,
    imported_functions,
)

if TYPE_CHECKING:
    import pytest

# No identifier can clash with these, and pytest hides such names in tracebacks.
_PREFIX: Final = "@mlflow_"
_KEPT: Final = f"{_PREFIX}kept"
_FIRST: Final = f"{_PREFIX}first"


class _Tags:
    """The comparisons of a module, by what identifies them after pytest has rewritten it."""

    def __init__(self) -> None:
        # The syntax parser shares one node among all uses of an operator, so a new one tells its
        # place. Pytest keeps the node of a bare function, and the text of an attribute.
        self.operators: dict[ast.cmpop, ComparisonNode] = {}
        self.names: dict[ast.expr, CallNode] = {}
        self.attributes: dict[int, tuple[str, CallNode]] = {}
        self.statements: dict[ast.stmt, CallNode] = {}
        self.inner: defaultdict[Comprehension, list[ComparisonNode | CallNode]] = defaultdict(list)

    def __len__(self) -> int:
        inner = sum(map(len, self.inner.values()))
        calls = len(self.names) + len(self.attributes) + len(self.statements)
        return len(self.operators) + calls + inner

    def add(self, statement: ast.stmt, found: ComparisonNode | CallNode) -> None:
        if isinstance(statement, ast.Expr) and isinstance(found, CallNode):
            self.statements[statement] = found
        elif found.comprehension is not None:
            self.inner[found.comprehension].append(found)
        elif isinstance(found, ComparisonNode):
            operators = found.node.ops
            operator = type(operators[found.position])()
            operators[found.position] = operator
            self.operators[operator] = found
        elif not _rebinds(found.node):
            function = found.node.func
            if isinstance(function, ast.Attribute):
                function.attr = "".join(list(function.attr))
                self.attributes[id(function.attr)] = (function.attr, found)
            else:
                self.names[function] = found


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
    position = _position_of_import(tree)
    if position is None:
        return Transformed(compile(tree, file, "exec", dont_inherit=True), 0, 0)
    injected = 0
    for body, _ in _bodies(tree):
        injected += _inject(body, tags)
    for comprehension, inner in tags.inner.items():
        _Recording(comprehension, inner).change()
        injected += len(inner)
    if injected:
        _import_recorder(tree, position)
    code = compile(tree, file, "exec", dont_inherit=True)
    return Transformed(code, len(tags), injected)


def _tag(tree: ast.Module, file: str, every_comparison: bool) -> _Tags:
    """Tag all comparisons, named by what their values come from where that tells more."""
    found = [*_found(tree, file, every_comparison)]
    values: dict[ast.stmt, list[ast.expr]] = {}
    for statement, each in found:
        told = [each.value] if each.twin is None else [each.value, each.twin]
        values.setdefault(statement, []).extend(told)
    names = telling_names(tree, values)
    tags = _Tags()
    for statement, each in found:
        tags.add(statement, replace(each, site=_named(each, names)))
    return tags


def _named(found: ComparisonNode | CallNode, names: Mapping[ast.expr, Origin]) -> Site:
    site = found.site
    if (told := names.get(found.value)) is not None:
        site = site._replace(name=told.name, expression=told.expression)
        if found.twin is not None:
            site = site._replace(same_as=names[found.twin].name)
    return site


def has_comparisons(source: bytes, every_comparison: bool) -> bool:
    """Whether a module has assertions that would be recorded.

    Raises:
        SyntaxError: it is no module.
    """
    return next(_found(ast.parse(source), "", every_comparison), None) is not None


def _found(
    tree: ast.Module, file: str, every_comparison: bool
) -> Iterator[tuple[ast.stmt, ComparisonNode | CallNode]]:
    """Yield the comparisons of all assertions with their statements."""
    functions = imported_functions(tree)
    contexts = contexts_of_assertions(tree)
    for body, is_class in _bodies(tree):
        for statement in body:
            context = contexts.get(statement, Context())
            where = Where(file, context, every_comparison, functions)
            if isinstance(statement, ast.Assert):
                for each in comparisons(statement, where):
                    yield statement, each
            elif isinstance(statement, ast.Expr) and not is_class:
                call = asserting_call(statement, where)
                if call is not None and _is_simple(call.node):
                    yield statement, call


def _inject(body: list[ast.stmt], tags: _Tags) -> int:
    """Insert a call of the recorder after each tagged comparison; return their number."""
    calls: list[tuple[int, list[ast.stmt]]] = []
    functions: dict[str, CallNode] = {}
    for index, statement in enumerate(body):
        match statement:
            case ast.Expr() if (found := tags.statements.get(statement)) is not None:
                calls.append((index + 1, _recorded_call(found, statement)))
                continue
            case ast.Assign(
                targets=[ast.Name(id=result)],
                value=ast.Compare(left=left, ops=[operator], comparators=[right]),
            ) if operator in tags.operators:
                call = _record_comparison(tags.operators[operator], left, right, result)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr=attribute)) if (
                id(attribute) in tags.attributes
            ):
                functions[name] = tags.attributes[id(attribute)][1]
                continue
            case ast.Assign(
                targets=[ast.Name(id=result)], value=ast.Call(func=ast.Name() as function) as value
            ):
                found = tags.names.get(function) or functions.pop(function.id, None)
                call = _record_close(found, value, result) if found is not None else None
            case _:
                continue
        if call is not None:
            # The place of the statement before it: no line is entered that would not be anyway.
            calls.append((index + 1, [_placed(ast.Expr(call), statement)]))
    for index, statements in reversed(calls):
        body[index:index] = statements
    return len(calls)


def _record_comparison(
    found: ComparisonNode, left: ast.expr, right: ast.expr, result: str
) -> ast.Call | None:
    first, second = _name(left), _name(right)
    if first is None or second is None:
        return None
    if found.left_is_limit:
        first, second = second, first
    return _call(_recorder_of(found), found, *map(_load, (first, second, result)))


def _recorder_of(found: ComparisonNode) -> str:
    return "record_approx" if found.site.operator == "==" else "record"


def _record_close(found: CallNode, call: ast.Call, result: str) -> ast.Call | None:
    values: list[ast.expr] = []
    for value in arguments(call):
        name = _name(value)
        if name is None and not isinstance(value, ast.Constant):
            return None
        values.append(value if name is None else _load(name))
    return _call_of(found, _load(result), *values)


def _call_of(found: CallNode, result: ast.expr, *values: ast.expr) -> ast.Call:
    """Return the call of the recorder for a call that compares."""
    first, second, *others = values
    if found.left_is_limit:
        first, second = second, first
    how, is_known = _closeness(found)
    if is_known:
        return _call("record_close", found, how, first, second, result)
    return _call("record_close_by", found, how, first, second, result, *others)


def _closeness(found: CallNode) -> tuple[ast.expr, bool]:
    """Return how a call compares, and whether that is known before it runs."""
    others = arguments(found.node)[2:]
    constants = tuple(other.value for other in others if isinstance(other, ast.Constant))
    how = (found.left_is_limit, found.rule, found.names, constants)
    return _constant(None if found.rule is None else how), len(constants) == len(others)


def _call(function: str, found: ComparisonNode | CallNode, *values: ast.expr) -> ast.Call:
    keys = ast.Tuple([copy(key) for key in found.keys], ast.Load())
    keywords = [ast.keyword("keys", keys)] if found.keys else []
    site = _constant(tuple(found.site))
    return ast.Call(_load(f"{_PREFIX}{function}"), [site, *values], keywords)


def _constant(value: tuple[object, ...] | None) -> ast.Constant:
    # The compiler takes no subclass of tuple for a constant.
    return ast.Constant(value)  # type: ignore[arg-type]


def _rebinds(call: ast.Call) -> bool:
    """Whether a walrus operator in a call may change a name that the call reads, too."""
    targets = [node.target.id for node in ast.walk(call) if isinstance(node, ast.NamedExpr)]
    names = [node.id for node in ast.walk(call) if isinstance(node, ast.Name)]
    return any(names.count(target) > 1 for target in targets)


class _Recording(ast.NodeTransformer):
    """Makes the comparisons of one comprehension's element record their operands."""

    def __init__(
        self, comprehension: Comprehension, inner: list[ComparisonNode | CallNode]
    ) -> None:
        self._comprehension = comprehension
        self._found = defaultdict[ast.AST, list[ComparisonNode | CallNode]](list)
        for found in inner:
            self._found[found.node].append(found)
        self._variables = {
            node.id
            for loop in comprehension.generators
            for node in ast.walk(loop.target)
            if isinstance(node, ast.Name)
        }
        self._kept = 0
        self._loops: list[ast.comprehension] = []

    def change(self) -> None:
        element = self._comprehension.elt
        self._comprehension.elt = self.visit(element)
        if self._kept:
            self._assign(_KEPT, ast.Dict([], []), element)
        self._comprehension.generators += self._loops

    def _assign(self, name: str, value: ast.expr, place: ast.expr) -> None:
        target = ast.Name(name, ast.Store())
        loop = ast.comprehension(target, ast.Tuple([value], ast.Load()), [], 0)
        self._loops.append(_placed(loop, place))

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        found = self._found.get(node)
        if found is None:
            return node
        # Where they are evaluated first and always, variables of their own are quickest.
        is_whole = node is self._comprehension.elt and len(node.ops) == 1
        operands, again = self._kept_operands([node.left, *node.comparators], is_whole)
        recorded = {each.position: each for each in found if isinstance(each, ComparisonNode)}
        clauses: list[ast.expr] = []
        for index, operator in enumerate(node.ops):
            # Only the first of a chain evaluates its left operand.
            left = operands[0] if index == 0 else again[index]
            clause: ast.expr = ast.Compare(left, [operator], [operands[index + 1]])
            if (each := recorded.get(index)) is not None:
                first, second = again[index], again[index + 1]
                if each.left_is_limit:
                    first, second = second, first
                call = _call(_recorder_of(each), each)
                named = {"result": clause, "value": first, "limit": second}
                call.keywords[:0] = [ast.keyword(*argument) for argument in named.items()]
                clause = call
            clauses.append(clause)
        changed = ast.BoolOp(ast.And(), clauses) if len(clauses) > 1 else clauses[0]
        return _placed(changed, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        found = self._found.get(node)
        if found is None:
            return node
        [each] = found
        assert isinstance(each, CallNode)
        values, again = self._kept_operands(arguments(node), False)
        _set_arguments(node, values)
        return _placed(_call_of(each, node, *again), node)

    def _kept_operands(
        self, operands: list[ast.expr], are_first: bool
    ) -> tuple[list[ast.expr], list[ast.expr]]:
        """Return operands that store their values if needed, and expressions to read them again."""
        are_simple = all(isinstance(operand, ast.Name | ast.Constant) for operand in operands)
        values: list[ast.expr] = []
        again: list[ast.expr] = []
        for operand in operands:
            match operand:
                case (
                    ast.Constant(value=constant)
                    | ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=constant))
                ):
                    values.append(operand)
                    again.append(
                        ast.UnaryOp(operand.op, ast.Constant(constant))
                        if isinstance(operand, ast.UnaryOp)
                        else ast.Constant(constant)
                    )
                case ast.Name(id=name) if are_simple or name in self._variables:
                    values.append(operand)
                    again.append(_load(name))
                case _ if are_first:
                    name = f"{_KEPT}{len(self._loops)}"
                    self._assign(name, operand, operand)
                    values.append(_load(name))
                    again.append(_load(name))
                case _:
                    key = ast.Constant(self._kept)
                    self._kept += 1
                    keep = ast.Attribute(_load(_KEPT), "setdefault", ast.Load())
                    values.append(_placed(ast.Call(keep, [key, operand], []), operand))
                    again.append(ast.Subscript(_load(_KEPT), key, ast.Load()))
        return values, again


def _is_simple(call: ast.Call) -> bool:
    """Whether the changed call enters the same lines as before, as coverage sees them."""
    values = arguments(call)
    others = [value for value in values[2:] if not isinstance(value, ast.Constant)]
    last = values[-1] if others else values[1]
    return (
        call.func.lineno == call.func.end_lineno
        and (last.lineno == last.end_lineno or isinstance(last, ast.BinOp | ast.JoinedStr))
        and not _rebinds(call)
    )


def _recorded_call(found: CallNode, statement: ast.stmt) -> list[ast.stmt]:
    """Make a call begin its record as its last argument is evaluated; return what ends the record.

    Later arguments that are constant don't matter.
    """
    call = found.node
    values = arguments(call)
    how, is_known = _closeness(found)
    at = 1 if is_known else len(values) - 1
    last = values[at]
    again: list[ast.expr] = []
    stored = []
    for index, value in enumerate(values[:at]):
        if isinstance(value, ast.Constant):
            again.append(value)
            continue
        stored.append(name := f"{_FIRST}{index}")
        again.append(_load(name))
        values[index] = _placed(ast.NamedExpr(ast.Name(name, ast.Store()), value), value)
    swapped = ast.Constant(found.left_is_limit)
    begin = _call("begin" if is_known else "begin_by", found, how, swapped, *again, last)
    entry = ast.NamedExpr(ast.Name(_KEPT, ast.Store()), begin)
    pop = ast.Call(ast.Attribute(entry, "pop", ast.Load()), [], [])
    values[at] = _placed(pop, last)
    _set_arguments(call, values)
    passed = ast.Subscript(_load(_KEPT), ast.Constant(recorder.PASSED), ast.Store())
    names = [ast.Name(name, ast.Del()) for name in (_KEPT, *stored)]
    ending = [ast.Assign([passed], ast.Constant(True)), ast.Delete([*names])]
    return [_placed(end, statement) for end in ending]


def _set_arguments(call: ast.Call, values: list[ast.expr]) -> None:
    """Replace the :func:`.sites.arguments` of a call."""
    call.args = values[: len(call.args)]
    for keyword, value in zip(call.keywords, values[len(call.args) :], strict=True):
        keyword.value = value


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


_Node = TypeVar("_Node", bound=ast.AST)


def _placed(new: _Node, place: ast.AST) -> _Node:
    """Give the nodes of ``new`` that have no position yet that of another node."""
    for node in ast.walk(new):
        if "lineno" in node._attributes and not hasattr(node, "lineno"):
            ast.copy_location(node, place)
            if isinstance(node, ast.Attribute):
                # A method's line is the last one of its expression.
                node.end_lineno, node.end_col_offset = node.lineno, node.col_offset
    return new


def _name(operand: ast.expr) -> str | None:
    """Return the name that holds an operand after the comparison."""
    match operand:
        # Pytest 7 leaves a walrus operator in its place.
        case ast.Name(id=name) | ast.NamedExpr(target=ast.Name(id=name)):
            return name
    return None


def _position_of_import(tree: ast.Module) -> int | None:
    """Return where pytest's import is, after docstring and ``__future__``.

    Pytest leaves out modules that say so.
    """
    for index, statement in enumerate(tree.body):
        if isinstance(statement, ast.Import) and statement.names[0].name == rewrite.__name__:
            return index
    return None


def _import_recorder(tree: ast.Module, position: int) -> None:
    """Import the recorder next to pytest's imports."""
    functions = ("record", "record_approx", "record_close", "record_close_by", "begin", "begin_by")
    names = [ast.alias(name, f"{_PREFIX}{name}") for name in functions]
    added = ast.ImportFrom(recorder.__name__, names, 0)
    tree.body.insert(position + 1, _placed(added, tree.body[position]))


def _bodies(tree: ast.Module) -> Iterator[tuple[list[ast.stmt], bool]]:
    """Yield each list of statements of a module, and whether it is at the level of a class.

    The list may be changed meanwhile.
    """
    nodes: list[tuple[ast.AST, bool]] = [(tree, False)]
    while nodes:
        node, is_class = nodes.pop()
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                yield body, is_class
                nodes += [(child, _is_class_level(child, is_class)) for child in body]
        for field in ("handlers", "cases"):
            nodes += [(child, is_class) for child in getattr(node, field, ())]


def _is_class_level(node: ast.AST, is_class: bool) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return is_class or isinstance(node, ast.ClassDef)
