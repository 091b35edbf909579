"""Name a metric by where its value comes from, if the name that a test gave it tells nothing.

Of ``ret = log_loss(y, p); assert ret < 0.5`` the metric is ``log_loss``: what was assigned last,
above the assertion and in the same function. Where it may have been one of several, as after an
``if``, the test's own name stays; so it does if a word in it says what is measured. The variable of
a loop is what the loop runs through: in ``all(s > 0.9 for s in scores)`` that is ``scores``.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, cast, final

from .names import (
    LIBRARIES,
    MAX_LENGTH,
    REDUCTIONS,
    agreement,
    converted,
    dotted_path,
    is_expression,
    metric_name,
)

WORDS: Final = Path(__file__).parents[2] / "regression" / "direction.py"
"""The file with the words that say what is measured, on which the names depend, too."""

_RESULTS: Final = """
    ans answer actual calculated computed data elem element got item measured metric metrics num
    number obj object observed out output outputs res result results ret returned retval rv stat
    stats temp tmp val value values var
    """
_FUNCTIONS: Final = """
    apply build calc calculate call check compute create do eval evaluate execute fit fn foo func
    function get getattr helper iter load loads main make measure model next predict process read
    run test train wrapper
    """
_NO_RESULT: Final = frozenset(_RESULTS.split())
_NO_FUNCTION: Final = _NO_RESULT.union(_FUNCTIONS.split())
_NO_ELEMENT: Final = _NO_RESULT | {"entry", "fold", "one", "row", "run"}
# Functions and methods whose elements are those of what they are applied to.
_SAME_ELEMENTS: Final = frozenset({"iter", "list", "reversed", "set", "sorted", "tqdm", "tuple"})
_VIEWS: Final = frozenset({"flatten", "ravel", "tolist", "values"})


class Origin(NamedTuple):
    """The path of an expression, and whether that calculates with what it names."""

    name: str
    expression: bool = False


_UNSET: Final = Origin("")
"""What a constant says, as in ``best = 0``: the assignment after it counts."""

_Origins: TypeAlias = dict[str, Origin | None]
"""The origins of variables, attributes and items by their text; None where nobody knows."""


def telling_names(
    tree: ast.Module, values: Mapping[ast.stmt, Sequence[ast.expr]]
) -> dict[ast.expr, Origin]:
    """Return a name for each of the asserted ``values``, its own one where that tells something.

    What several variables of one function, or of it and a helper of the module, get from the same
    place stays apart: ``ret.log_loss``.
    """
    names: dict[ast.expr, Origin] = {}
    tests: list[dict[ast.expr, Origin]] = []
    helpers: dict[ast.expr, Origin] = {}
    lines = sorted(assertion.lineno for assertion in values)
    for function in _functions(tree) if values else ():
        if not bisect_left(lines, function.lineno) < bisect_right(lines, function.end_lineno or 0):
            continue
        scope = _Scope(values)
        scope.enter(function)
        if function.name.startswith("test"):
            tests.append(scope.origins)
        else:
            helpers |= scope.origins
    plain = {
        value: origin
        for origins in tests
        for value, origin in origins.items()
        if _own_name(value) == origin.name
    }
    for group, others in [(helpers, plain), *[(origins, helpers) for origins in tests]]:
        sharing: dict[str, set[str]] = {}
        for value, origin in (group | others).items():
            sharing.setdefault(origin.name, set()).add(_own_name(value))
        for value, (name, expression) in group.items():
            own = _own_name(value)
            apart = f"{own}.{name}" if name != own and len(sharing[name]) > 1 else name
            names[value] = Origin(apart[:MAX_LENGTH], expression)
    return names


def _own_name(value: ast.expr) -> str:
    share = agreement(value)
    return metric_name(value if share is None else share[1])


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions in a node, without those that are nested in others."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from _functions(child)


@final
class _Scope:
    """The assertions of a function and those within it; ``origins`` tells what each value is."""

    def __init__(self, values: Mapping[ast.stmt, Sequence[ast.expr]]) -> None:
        self._values = values
        self._rehearsals = 0
        self.origins: dict[ast.expr, Origin] = {}

    def enter(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Follow the statements of a function, of whose arguments nothing is known."""
        arguments = [node for node in ast.walk(function.args) if isinstance(node, ast.arg)]
        self._block(function.body, dict.fromkeys(argument.arg for argument in arguments))

    def _block(self, body: Sequence[ast.stmt], known: _Origins) -> bool:
        """Follow statements and update what is ``known``; return whether they end by a jump."""
        ends = [self._statement(statement, known) for statement in body]
        return any(ends)

    def _statement(self, statement: ast.stmt, known: _Origins) -> bool:
        for node in ast.iter_child_nodes(statement):
            if isinstance(node, ast.expr | ast.withitem):
                _bind_within(node, known)
        match statement:
            case ast.Assert() | ast.Expr():
                self._name(statement, known)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    _bind(target, value, known)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                _bind(target, value, known)
            case ast.AugAssign(target=target, op=operator, value=value):
                _augment(target, operator, value, known)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                known[statement.name] = None
                self.enter(statement)
            case ast.ClassDef():
                known[statement.name] = None
                for function in _functions(statement):
                    self.enter(function)
            case ast.For() | ast.AsyncFor() | ast.While():
                self._loop(statement, known)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    if item.optional_vars is not None:
                        _bind(item.optional_vars, item.context_expr, known)
                return self._block(body, known)
            case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
                return True
            case _:
                return self._branches(statement, known)
        return False

    def _branches(self, statement: ast.stmt, known: _Origins) -> bool:
        """Follow the branches of ``if``, ``try`` and ``match``, of which one runs."""
        before = dict(known)
        ways: list[tuple[_Origins, bool]] = []
        match statement:
            case ast.If(body=body, orelse=orelse):
                ways = [self._way(branch, known) for branch in (body, orelse)]
            case ast.Match(cases=cases):
                for case in cases:
                    names = [getattr(node, "name", None) for node in ast.walk(case.pattern)]
                    unknown: _Origins = dict.fromkeys(filter(None, names))
                    ways.append(self._way(case.body, {**known, **unknown}))
                ways.append((before, False))
            case _ if hasattr(statement, "handlers"):
                attempt = cast(ast.Try, statement)
                tried, ended = self._way(attempt.body, known)
                if not ended:
                    ended = self._block(attempt.orelse, tried)
                ways = [(tried, ended)]
                for handler in attempt.handlers:
                    ways.append(self._way(handler.body, _either(before, tried)))
        if not ways:
            return False
        ends = [ended for _, ended in ways]
        known.clear()
        known.update(_either(*[way for way, ended in ways if not ended or all(ends)]))
        return self._block(getattr(statement, "finalbody", ()), known) or all(ends)

    def _way(self, body: Sequence[ast.stmt], known: _Origins) -> tuple[_Origins, bool]:
        own = dict(known)
        ended = self._block(body, own)
        return own, ended

    def _loop(self, loop: ast.For | ast.AsyncFor | ast.While, known: _Origins) -> None:
        """Follow a loop twice: a later round starts with what an earlier one has bound."""
        around = dict(known)
        for rehearsal in (True, False):
            if not isinstance(loop, ast.While):
                _bind_elements(loop.target, loop.iter, around)
            self._rehearsals += rehearsal
            self._block(loop.body, around)
            self._rehearsals -= rehearsal
            around = _either(known, around)
        known.update(around)
        self._block(loop.orelse, known)

    def _name(self, assertion: ast.stmt, known: _Origins) -> None:
        values = self._values.get(assertion)
        if self._rehearsals or not values:
            return
        known = dict(known)
        for node in ast.walk(assertion):
            if isinstance(node, ast.comprehension):
                _bind_elements(node.target, node.iter, known)
        for value in values:
            expression = is_expression(value)
            found = None if expression else _telling(value, known)
            self.origins[value] = found or Origin(metric_name(value), expression)


def _either(*ways: _Origins) -> _Origins:
    """Merge what is known after each of several branches, one of which ran."""
    merged: _Origins = {}
    for name in {name: None for way in ways for name in way}:
        said = {way.get(name, _UNSET) for way in ways} - {_UNSET}
        merged[name] = said.pop() if len(said) == 1 else None if said else _UNSET
    return merged


def _bind_within(node: ast.AST, known: _Origins) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.NamedExpr):
            _bind(inner.target, inner.value, known)


def _bind(target: ast.expr, value: ast.expr | None, known: _Origins) -> None:
    """Note an assignment; in ``a, b = f()`` the origin of both is unknown."""
    match target, value:
        case ((ast.Tuple() | ast.List()), (ast.Tuple() | ast.List())) if len(target.elts) == len(
            value.elts
        ) and not any(isinstance(one, ast.Starred) for one in (*target.elts, *value.elts)):
            pairs = [
                (one, _origin(of, known)) for one, of in zip(target.elts, value.elts, strict=True)
            ]
        case ((ast.Tuple() | ast.List()), _):
            for one in target.elts:
                _bind(one, None, known)
            return
        case ast.Starred(value=inner), _:
            pairs = [(inner, None)]
        case _:
            pairs = [(target, _origin(value, known))]
    for one, origin in pairs:
        _set(one, origin, known)


def _set(target: ast.expr, origin: Origin | None, known: _Origins) -> None:
    key = ast.unparse(target)
    for inner in [name for name in known if name.startswith((f"{key}.", f"{key}["))]:
        del known[inner]
    known[key] = origin


def _augment(target: ast.expr, operator: ast.operator, value: ast.expr, known: _Origins) -> None:
    """Note ``total += loss``; ``total /= n`` changes nothing, as a mean of losses is a loss."""
    before = known.get(ast.unparse(target))
    if before is None or isinstance(operator, ast.Div):
        return
    after = _origin(value, known) if isinstance(operator, ast.Add) else None
    _set(target, after if before in (_UNSET, after) else None, known)


def _bind_elements(target: ast.expr, values: ast.expr, known: _Origins) -> None:
    """Note what the target of a loop over ``values`` is."""
    for one, source in _elements(target, values):
        _bind(one, source, known)


def _elements(target: ast.expr, iterable: ast.expr) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield the parts of a loop's target, and what each of them runs through, if that is known."""
    match target, _contents(iterable):
        case ast.Tuple(elts=[index, one]), ast.Call(
            func=ast.Name(id="enumerate"), args=[inner, *_]
        ):
            yield index, None
            yield from _elements(one, inner)
        case ast.Tuple(elts=targets), ast.Call(func=ast.Name(id="zip"), args=zipped) if len(
            targets
        ) == len(zipped):
            for one, inner in zip(targets, zipped, strict=True):
                yield from _elements(one, inner)
        case ast.Tuple(elts=[key, one]), ast.Call(func=ast.Attribute(value=inner, attr="items")):
            yield key, None
            yield one, inner
        case _, ast.Call(func=ast.Attribute(value=inner, attr=view), args=[]) if view in _VIEWS:
            yield from _elements(target, inner)
        case _, contents:
            yield target, contents


def _contents(values: ast.expr) -> ast.expr:
    """Return an expression with the same elements, where a function only hands them on."""
    if (inner := converted(values)) is not None:
        return _contents(inner)
    match values:
        case ast.Call(func=ast.Name(id=function), args=[inner, *_]) if function in _SAME_ELEMENTS:
            return _contents(inner)
        case ast.Call(func=ast.Name(id="filter"), args=[_, inner]):
            return _contents(inner)
        case ast.Call(func=ast.Name(id="map"), args=[function, *arguments]):
            return _contents(ast.Call(function, arguments, []))
        case _:
            return values


def with_sources(
    node: ast.expr, comprehensions: Sequence[ast.GeneratorExp | ast.ListComp]
) -> ast.expr:
    """Replace the loop variables in ``node`` by what they run through, to name the metric."""
    loops = [loop for comprehension in comprehensions for loop in comprehension.generators]
    # What an inner loop runs through may be the variable of an outer one.
    for loop in reversed(loops):
        sources = {
            target.id: source
            for target, source in _elements(loop.target, loop.iter)
            if isinstance(target, ast.Name) and source and _says_less(target.id, source)
        }
        if sources:
            node = _Replacer(sources).visit(deepcopy(node))
    return node


@final
class _Replacer(ast.NodeTransformer):
    def __init__(self, sources: Mapping[str, ast.expr]) -> None:
        self._sources = sources

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return deepcopy(self._sources.get(node.id, node))


def _says_less(name: str, source: ast.expr) -> bool:
    path = dotted_path(source)
    if path in (None, "enumerate", "range", "zip"):
        return False
    return len(name) < 3 or _is_among(name, _NO_ELEMENT) or name in str(path)


def _origin(value: ast.expr | None, known: _Origins) -> Origin | None:
    if value is not None:
        value = _contents(value)
    match value:
        case None:
            return None
        case ast.Constant():
            return _UNSET
        case ast.IfExp(body=body, orelse=orelse):
            first, second = _origin(body, known), _origin(orelse, known)
            return first if first == second else None
        case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
            return _origin(element, known)
        case ast.DictComp(value=element):
            return _origin(element, known)
    path = dotted_path(value)
    if path is None:
        return None
    expression = is_expression(value)
    return (None if expression else _telling(value, known)) or Origin(path, expression)


def _telling(value: ast.expr, known: _Origins) -> Origin | None:
    """Return a better name for a value than its own, where that tells nothing."""
    own = dotted_path(value)
    if own is None or _metric_words(own):
        return None
    root: ast.expr | None = value
    while root is not None and _key(root) not in known:
        root = _inner(root)
    origin = None if root is None else known[_key(root)]
    base = None if root is None else dotted_path(root)
    if not origin or not base or not own.startswith(base):
        return None
    rest, said = own[len(base) :], origin.name if origin.expression else _telling_part(origin.name)
    vague = origin.expression or not said or not _is_among(base, _NO_RESULT)
    if _telling_part(rest) or (vague and not _metric_words(said)):
        return None
    return origin._replace(name=origin.name + rest)


def _key(node: ast.expr) -> str:
    if isinstance(node, ast.NamedExpr):
        return node.target.id
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) else ""


def _inner(node: ast.expr) -> ast.expr | None:
    """Return the expression that the dotted path of ``node`` starts with."""
    if (inner := converted(node)) is not None:
        return inner
    match node:
        case ast.Call(func=function, args=arguments):
            # A function of a library, as np.mean(x), or a method, as x.mean().
            path, first = dotted_path(node) or "", arguments[0] if arguments else None
            if first is not None and path.startswith(dotted_path(first) or "?"):
                return first
            return function.value if isinstance(function, ast.Attribute) else None
        case (
            ast.Attribute(value=value)
            | ast.Subscript(value=value)
            | ast.Await(value=value)
            | ast.UnaryOp(op=ast.UAdd(), operand=value)
        ):
            return value
    return None


def _telling_part(path: str) -> str:
    """Return the last part of a path that may say what is measured; none is ``""``."""
    for part in reversed(path.split(".")):
        if part not in REDUCTIONS | LIBRARIES | {"last"} and (
            _metric_words(part) or not _is_among(part, _NO_FUNCTION)
        ):
            return part
    return ""


def _metric_words(name: str) -> list[str]:
    # Only here: modules that are cached need none of it.
    from ...regression.direction import metric_words

    return metric_words(name)


def _is_among(name: str, words: frozenset[str]) -> bool:
    found = re.findall("[a-z]+", name.lower())
    return all(len(word) == 1 or word in words for word in found)
