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
``(p == y).mean()``, ``np.mean(p != y)`` ``accuracy``, ``error_rate``
=======================================  ===========================

The rows with suffixes avoid collisions: in one test, ``np.mean(errors)`` and ``np.mean(latencies)``
are two metrics. Other expressions are named by their source text. MLflow's rules for characters in
names are not applied here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
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

_MEANS: Final = frozenset({"average", "fmean", "mean", "nanmean"})
_SUMS: Final = frozenset({"count_nonzero", "nansum", "sum"})
_EQUALITIES: Final = {
    **dict.fromkeys(("eq", "equal"), "accuracy"),
    **dict.fromkeys(("ne", "not_equal"), "error_rate"),
}

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
    if (share := agreement(node)) is not None:
        return share[0]
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
    return None


def is_expression(node: ast.expr) -> bool:
    """Whether ``node`` calculates with what it names, as ``acc - old``, ``abs(bias)``."""
    if agreement(node) is not None:
        return False
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
    return True


def agreement(node: ast.expr) -> tuple[str, ast.expr] | None:
    """Return the name of a share of equal pairs, ``(p == y).mean()``, and ``p``; else None."""
    match node:
        case ast.BinOp(left=total, op=ast.Div()):
            compared = _reduced(total, _SUMS)
        case _:
            compared = _reduced(node, _MEANS)
    match compared:
        case ast.GeneratorExp(elt=ast.Constant(value=1), generators=[ast.comprehension(ifs=[one])]):
            compared = one
        case ast.GeneratorExp(elt=one) | ast.ListComp(elt=one):
            compared = one
    while compared is not None and (inner := converted(compared) or _cast(compared)) is not None:
        compared = inner
    match compared:
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() as operator], comparators=[right]):
            name = "accuracy" if isinstance(operator, ast.Eq) else "error_rate"
        case (
            ast.Call(func=ast.Attribute(value=left, attr=called), args=[right])
            | ast.Call(func=ast.Attribute(attr=called), args=[left, right])
        ) if called in _EQUALITIES:
            name = _EQUALITIES[called]
        case _:
            return None
    # The share of a single class is no accuracy.
    return None if any(isinstance(side, ast.Constant) for side in (left, right)) else (name, left)


def _cast(node: ast.expr) -> ast.expr | None:
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="astype" | "to")):
            return value
    return None


def _reduced(node: ast.expr, names: frozenset[str]) -> ast.expr | None:
    """Return what one of the functions or methods ``names`` reduces to a number."""
    while (inner := converted(node)) is not None:
        node = inner
    match node:
        case ast.Call(func=function, args=[value, *_]) if is_library_function(function, names):
            return value
        case ast.Call(func=ast.Attribute(value=value, attr=attribute)) if attribute in names:
            return value
    return None


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
    return None


def _operand(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return str(node.value)
    return dotted_path(node)


def _join(base: str | None, *parts: str) -> str | None:
    path = ".".join((base, *parts) if base and base not in ("self", "cls") else parts)
    return path or base
