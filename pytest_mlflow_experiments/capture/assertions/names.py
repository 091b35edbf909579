"""The name of a metric: the source text of the measured expression, read as a dotted path.

=======================================  ===========================
``accuracy``, ``self.accuracy``          ``accuracy``
``report.rmse``                          ``report.rmse``
``scores["f1"]``, ``scores.get("f1")``   ``scores.f1``
``losses[0]``, ``losses[-1]``            ``losses.0``, ``losses.last``
``scores[name]``, ``losses[2:]``         ``scores``, ``losses``
``table.loc["svm", "f1"]``               ``table.svm.f1``
``accuracy_score(y, p)``                 ``accuracy_score``
``model.score(X)``                       ``model.score``
``evaluate(X)["f1"]``                    ``evaluate.f1``
``(acc := f())``, ``await f()``          ``acc``, ``f``
``float(x)``, ``round(x, 3)``            ``x``
``x.item()``, ``np.float64(x)``          ``x``
``max(errors)``, ``np.mean(errors)``     ``errors.max``, ``errors.mean``
``np.percentile(latency, 99)``           ``latency.percentile.99``
``acc - old``, ``abs(a - b)``            ``acc_minus_old``, ``a_minus_b.abs``
``s`` of ``for s in scores``             ``scores``
=======================================  ===========================

Functions of several values avoid collisions: in one test, ``np.mean(errors)`` and
``np.mean(latencies)`` are two metrics. Other expressions are named by their source text. MLflow's
rules for characters in names are not applied here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Final

MAX_LENGTH: Final = 100

# Modules of functions on numbers and arrays, under the names that they are imported by.
LIBRARIES: Final = frozenset(
    {"cp", "jax", "jnp", "math", "np", "numpy", "scipy", "statistics", "tf", "torch"}
)

# Functions and methods that hand on the number that they get.
_CONVERSIONS: Final = frozenset(
    {"Decimal", "Fraction", "array", "asarray", "float", "float16", "float32", "float64", "int"}
    | {"round", "tensor"}
)
# Their values are good at neither end of what they are applied to.
_DISTANCES: Final = frozenset({"abs", "absolute", "fabs"})
_CONVERTING_METHODS: Final = frozenset({"cpu", "detach", "double", "float", "item", "numpy"})

# Functions whose name says nothing without what they are applied to.
REDUCTIONS: Final = frozenset(
    {"abs", "absolute", "amax", "amin", "average", "exp", "fabs", "fmean", "fsum", "len", "log"}
    | {"log10", "log2", "max", "mean", "median", "min", "nanmax", "nanmean", "nanmedian", "nanmin"}
    | {"nanpercentile", "nanquantile", "nanstd", "nansum", "nanvar", "norm", "percentile", "prod"}
    | {"pstdev", "quantile", "sqrt", "std", "stdev", "sum", "var", "variance"}
)
# Functions that are another metric for each value of their argument.
_QUANTILES: Final = frozenset({"nanpercentile", "nanquantile", "percentile", "quantile"})

_INDEXERS: Final = frozenset({"at", "iat", "iloc", "loc"})

_WORDS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "plus",
    ast.Div: "over",
    ast.FloorDiv: "over",
    ast.MatMult: "at",
    ast.Mod: "mod",
    ast.Mult: "times",
    ast.Pow: "pow",
    ast.Sub: "minus",
}


def metric_name(node: ast.expr) -> str:
    """Return the name of the metric whose value is the expression ``node``."""
    return (dotted_path(node) or ast.unparse(node))[:MAX_LENGTH]


def dotted_path(node: ast.expr) -> str | None:
    """Return the dotted path of an expression, or None if it has none."""
    match node:
        case ast.Name(id=name) | ast.NamedExpr(target=ast.Name(id=name)):
            return name
        case ast.Await(value=value) | ast.UnaryOp(op=ast.UAdd(), operand=value):
            return dotted_path(value)
        case ast.Attribute(value=value, attr=attribute):
            return _join(dotted_path(value), attribute)
        case ast.Subscript(value=value, slice=index):
            if isinstance(value, ast.Attribute) and value.attr in _INDEXERS:
                value = value.value
            return _item(value, index)
        case ast.Call():
            return _call(node)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            path = dotted_path(operand)
            return f"minus_{path}" if path else None
        case ast.BinOp(left=left, op=operator, right=right):
            parts = (_operand(left), _WORDS.get(type(operator)), _operand(right))
            return "_".join(part for part in parts if part) if all(parts) else None
        case _:
            return None


def with_sources(
    node: ast.expr, comprehensions: Sequence[ast.GeneratorExp | ast.ListComp]
) -> ast.expr:
    """Replace the loop variables of comprehensions by what they run through, for its name."""
    loops = [loop for comprehension in comprehensions for loop in comprehension.generators]
    # What an inner loop runs through may be the variable of an outer one.
    for loop in reversed(loops):
        if sources := dict(_sources(loop.target, loop.iter)):
            node = _Replacer(sources).visit(deepcopy(node))
    return node


class _Replacer(ast.NodeTransformer):
    def __init__(self, sources: dict[str, ast.expr]) -> None:
        self._sources = sources

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return deepcopy(self._sources.get(node.id, node))


def _sources(target: ast.expr, iterable: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names of a loop's target that say less than what the loop runs through."""
    match target, iterable:
        case _, ast.Call(func=ast.Name(id=name), args=[inner, *_]) if name in _REORDERING:
            yield from _sources(target, inner)
        case ast.Name(), ast.Call(func=ast.Attribute(value=inner, attr=name), args=[]) if (
            name in _VIEWS
        ):
            yield from _sources(target, inner)
        case (
            ast.Tuple(elts=[_, value]),
            ast.Call(func=ast.Attribute(value=inner, attr="items"))
            | ast.Call(func=ast.Name(id="enumerate"), args=[inner, *_]),
        ):
            yield from _sources(value, inner)
        case ast.Tuple(elts=targets), ast.Call(func=ast.Name(id="zip"), args=iterables):
            for one, inner in zip(targets, iterables, strict=False):
                yield from _sources(one, inner)
        case ast.Name(id=name), _:
            path = dotted_path(iterable)
            if path not in (None, "range") and (
                len(name) < 3 or name in _SAYING_NOTHING or name in str(path)
            ):
                yield name, iterable


# Functions and methods whose elements are those of what they are applied to.
_REORDERING: Final = frozenset({"iter", "list", "reversed", "set", "sorted", "tuple"})
_VIEWS: Final = frozenset({"flatten", "ravel", "tolist", "values"})
_SAYING_NOTHING: Final = frozenset(
    {"element", "elem", "entry", "fold", "item", "metric", "num", "number", "one", "res"}
    | {"result", "row", "run", "val", "value"}
)


def is_expression(node: ast.expr) -> bool:
    """Whether ``node`` calculates with what it names, as ``acc - old``, ``abs(bias)``."""
    if (inner := converted(node)) is not None:
        return is_expression(inner)
    match node:
        case ast.Name() | ast.NamedExpr():
            return False
        case (
            ast.Await(value=value)
            | ast.UnaryOp(op=ast.UAdd(), operand=value)
            | ast.Attribute(value=value)
            | ast.Subscript(value=value)
        ):
            return is_expression(value)
        case ast.Call(func=function, args=[value, *_]) if is_library_function(function, REDUCTIONS):
            return _is_distance(function) or is_expression(value)
        case ast.Call(func=function):
            return _is_distance(function) or is_expression(function)
        case _:
            return True


def _is_distance(function: ast.expr) -> bool:
    return (dotted_path(function) or "").rpartition(".")[2] in _DISTANCES


def is_library_function(function: ast.expr, names: frozenset[str]) -> bool:
    """Whether ``function`` is one of ``names``, on its own or from one of :data:`LIBRARIES`."""
    if isinstance(function, ast.Name):
        return function.id in names
    if not isinstance(function, ast.Attribute) or function.attr not in names:
        return False
    root = function.value
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and root.id in LIBRARIES


def converted(node: ast.expr) -> ast.expr | None:
    """Return the expression whose number ``node`` only converts, as ``x`` of ``float(x)``."""
    match node:
        case ast.Call(func=function, args=[value, *_]) if is_library_function(
            function, _CONVERSIONS
        ):
            return value
        case ast.Call(func=ast.Attribute(value=value, attr=method), args=[]) if (
            method in _CONVERTING_METHODS
        ):
            return value
        case _:
            return None


def _call(node: ast.Call) -> str | None:
    if (inner := converted(node)) is not None:
        return dotted_path(inner)
    match node:
        case ast.Call(
            func=ast.Attribute(value=value, attr="get"), args=[ast.Constant() as key, *_]
        ):
            return _item(value, key)
        case ast.Call(func=function, args=[value, *others]) if is_library_function(
            function, REDUCTIONS
        ):
            path = dotted_path(value)
            if path is not None:
                name = ast.unparse(function).rpartition(".")[2]
                return _join(path, name, *_quantile(name, others))
        case ast.Call(func=ast.Attribute(attr=name) as function, args=arguments):
            return _join(dotted_path(function), *_quantile(name, arguments))
    return dotted_path(node.func)


def _quantile(name: str, arguments: list[ast.expr]) -> list[str]:
    if name not in _QUANTILES:
        return []
    return [str(argument.value) for argument in arguments if isinstance(argument, ast.Constant)]


def _item(value: ast.expr, index: ast.expr) -> str | None:
    indices: Iterable[ast.expr] = index.elts if isinstance(index, ast.Tuple) else [index]
    return _join(dotted_path(value), *(key for key in map(_key, indices) if key))


def _key(index: ast.expr) -> str | None:
    """Return a constant index as text; None for a variable one, whose values become steps."""
    match index:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as position)):
            return "last" if position == 1 else f"-{position}"
        case ast.Constant(value=str() | int() | float() as key):
            return str(key)
        case _:
            return None


def _operand(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return str(node.value)
    return dotted_path(node)


def _join(base: str | None, *parts: str) -> str | None:
    path = ".".join((base, *parts) if base and base not in ("self", "cls") else parts)
    return path or base
