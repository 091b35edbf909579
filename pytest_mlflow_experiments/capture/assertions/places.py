"""Tell at which place of a loop an assertion ran: ``cat`` in ``for name in classes: assert …``.

The loops, comprehensions and subtests around an assertion name the variables that tell its places.
The values of these variables, at run time, are the key of the place; objects and arrays have none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from .names import REDUCTIONS, converted, is_library_function, metric_name

Keys: TypeAlias = tuple[ast.expr, ...]


class Context(NamedTuple):
    """What the code around an assertion tells of its metrics.

    ``loops`` holds for each loop or subtest its names and constants, and what tells the place
    without them. ``logged`` are the keys under which the function logs expressions as metrics.
    ``in_class`` tells that it stands in the body of a class, whose names no comprehension sees.
    """

    loops: tuple[tuple[Keys, Keys], ...] = ()
    logged: Mapping[str, str] = MappingProxyType({})
    in_class: bool = False

    def within(self, comprehensions: Sequence[ast.GeneratorExp | ast.ListComp]) -> Context:
        """Return the context of the element of nested comprehensions, which are loops, too."""
        if not comprehensions:
            return self
        loops = [_loop(one) for each in comprehensions for one in each.generators]
        return self._replace(loops=(*(() if self.in_class else self.loops), *loops))


_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SUBTESTS: Final = frozenset({"subTest", "test"})


def contexts_of_assertions(tree: ast.Module) -> dict[ast.stmt, Context]:
    """Return the context of each assertion that has one."""
    found: dict[ast.stmt, Context] = {}
    _visit(tree.body, Context(), found)
    return found


def keys_for(context: Context, value: ast.expr, limit: ast.expr) -> Keys:
    """Return the expressions whose values are the key of a comparison's place.

    What is compared itself is none of them: ``score`` in ``for score in scores: assert score > 0``.
    """
    if not context.loops:
        return ()
    compared = {*_operands(value), *_operands(limit)}
    keys: dict[str, ast.expr] = {}
    for names, index in context.loops:
        kept = [key for key in names if not (isinstance(key, ast.Name) and key.id in compared)]
        keys |= {ast.dump(key): key for key in kept or index}
    # The message of a subtest, the same for all, tells nothing beside the values of its variables.
    named = [key for key in keys.values() if isinstance(key, ast.Name)]
    return tuple(named or keys.values())


def _visit(body: Sequence[ast.stmt], context: Context, found: dict[ast.stmt, Context]) -> None:
    for statement in body:
        inner = context
        if isinstance(statement, _FUNCTIONS):
            is_class = isinstance(statement, ast.ClassDef)
            inner = Context(logged=_logged(statement), in_class=is_class)
        elif isinstance(statement, ast.For | ast.AsyncFor):
            inner = context._replace(loops=(*context.loops, _lasting(statement, *_loop(statement))))
            _visit(statement.orelse, context, found)
        elif isinstance(statement, ast.With | ast.AsyncWith):
            keys = _lasting(statement, _keys_of_subtests(statement), ())
            inner = context._replace(loops=(*context.loops, keys))
        elif isinstance(statement, ast.Assert | ast.Expr) and any(context):
            found[statement] = context
        for block in _blocks(statement):
            _visit(block, inner, found)


def _logged(function: ast.stmt) -> dict[str, str]:
    """Map the expressions that a function logs to their keys, if each has only one."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(function):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="log_metric"),
                args=[ast.Constant(value=str(key)), value, *_],
            ):
                found.setdefault(metric_name(value), set()).add(key)
            case ast.Call(func=ast.Attribute(attr="log_metrics"), args=[ast.Dict() as items, *_]):
                for name, value in zip(items.keys, items.values, strict=True):
                    if isinstance(name, ast.Constant) and isinstance(name.value, str):
                        found.setdefault(metric_name(value), set()).add(name.value)
    return {text: keys.pop() for text, keys in found.items() if len(keys) == 1}


def _lasting(block: ast.stmt, names: Keys, index: Keys) -> tuple[Keys, Keys]:
    """Leave out the keys that the block deletes: reading them would raise a NameError."""
    gone = {
        node.name if isinstance(node, ast.ExceptHandler) else node.id
        for node in ast.walk(block)
        if isinstance(node, ast.ExceptHandler)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del))
    }
    kept = [[key for key in keys if getattr(key, "id", "") not in gone] for keys in (names, index)]
    return tuple(kept[0]), tuple(kept[1])


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    yield getattr(statement, "body", [])
    if not isinstance(statement, ast.For | ast.AsyncFor):
        yield getattr(statement, "orelse", [])
    yield getattr(statement, "finalbody", [])
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body


def _loop(loop: ast.For | ast.AsyncFor | ast.comprehension) -> tuple[Keys, Keys]:
    """Return the loop's variables; the index of ``enumerate`` is one where there is no other."""
    match loop.iter, loop.target:
        case ast.Call(func=ast.Name(id="enumerate")), ast.Tuple(elts=[index, other]):
            return _names(other), _names(index)
        case _:
            return _names(loop.target), ()


def _keys_of_subtests(block: ast.With | ast.AsyncWith) -> Keys:
    """Return what ``subtests.test(…)`` and ``self.subTest(…)`` are called with."""
    found: list[ast.expr] = []
    for item in block.items:
        match item.context_expr:
            case ast.Call(func=ast.Attribute(attr=method), args=args, keywords=keywords) if (
                method in _SUBTESTS
            ):
                for argument in (*args, *[keyword.value for keyword in keywords]):
                    found += _parts(argument)
    return tuple(found)


def _parts(argument: ast.expr) -> Keys:
    match argument:
        case ast.Constant(value=str() | int() as value):
            return (ast.Constant(value),)
        case ast.Name():
            return _names(argument)
        case ast.JoinedStr(values=values):
            inner = [part.value for part in values if isinstance(part, ast.FormattedValue)]
            return tuple(name for value in inner for name in _parts(value))
    return ()


def _names(target: ast.expr) -> Keys:
    return tuple(
        ast.Name(node.id, ast.Load()) for node in ast.walk(target) if isinstance(node, ast.Name)
    )


def _operands(node: ast.expr) -> Iterator[str]:
    """Yield the names in an expression, without those of indexes and of arguments.

    The arguments of ``abs`` and the like are what is compared, too.
    """
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Call):
        yield from _operands(node.func)
        if converted(node) is not None or is_library_function(node.func, REDUCTIONS):
            for argument in node.args:
                yield from _operands(argument)
    elif isinstance(node, ast.Subscript):
        yield from _operands(node.value)
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _operands(child)
