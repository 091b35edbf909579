"""Which side of a comparison is the limit; the other side is the metric.

The first of these that holds for one side and not for the other decides; otherwise the right side
is the limit.

1. It is a constant: ``0.9``, ``-0.5``, ``2 * 1e-3``, ``math.inf``.
2. Its name says so: ``baseline``, ``acc_threshold``, ``old_model.score(X)``, ``limits["acc"]``.
3. It is an UPPER_CASE name: ``MIN_ACC``, ``config.FLOOR``.
4. Its name starts with ``min_`` or ``max_``. This comes late, for a measured ``max_error`` is as
   common as an allowed one.
5. It stands in :func:`pytest.approx`.

``pytest.approx(x)``, ``float(x)``, ``abs(x)`` and ``x * 0.95`` are what ``x`` is.
"""

from __future__ import annotations

import ast
import re
from typing import Final

from .names import LIBRARIES, REDUCTIONS, converted, dotted_path, is_library_function

_CONSTANT, _SAYS_SO, _UPPER_CASE, _EXTREME, _ANYTHING = range(5)

_LIMIT_WORDS: Final = frozenset(
    {"allowed", "atol", "baseline", "before", "bound", "budget", "ceiling", "cutoff", "eps"}
    | {"epsilon", "expected", "floor", "goal", "initial", "limit", "old", "prev", "previous"}
    | {"quota", "ref", "reference", "required", "rtol", "target", "thresh", "threshold", "tol"}
    | {"tolerance"}
)
_LIMIT_WORDS_AND_PLURALS: Final = _LIMIT_WORDS | {f"{word}s" for word in _LIMIT_WORDS}
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_UPPER: Final = re.compile(r"[A-Z][A-Z0-9_]+")
_EXTREMES: Final = re.compile(r"(?:min|max|minimum|maximum)_\w", re.IGNORECASE)
_NUMBERS: Final = frozenset({"e", "inf", "nan", "pi", "tau"})


def left_is_limit(left: ast.expr, right: ast.expr) -> bool:
    """Whether the left side of a comparison is its limit."""
    return (_rank(left), not is_approx(left)) < (_rank(right), not is_approx(right))


def is_constant(node: ast.expr) -> bool:
    """Whether ``node`` is a number that the source spells out."""
    return _rank(node) == _CONSTANT


def is_approx(node: ast.expr) -> bool:
    """Whether ``node`` is a call of :func:`pytest.approx`."""
    match node:
        case ast.Call(func=ast.Name(id="approx") | ast.Attribute(attr="approx"), args=[_, *_]):
            return True
        case _:
            return False


def _rank(node: ast.expr) -> int:
    """Tell how surely ``node`` is a limit: the lower, the surer."""
    inner = converted(node)
    if inner is not None:
        return _CONSTANT if _is_text(inner) else _rank(inner)
    match node:
        case ast.Constant():
            return _CONSTANT
        case ast.Attribute(value=ast.Name(id=module), attr=name) if (
            module in LIBRARIES and name in _NUMBERS
        ):
            return _CONSTANT
        case ast.UnaryOp(operand=operand):
            return _rank(operand)
        case ast.BinOp(left=left, right=right):
            return _weakest(left, right)
        case ast.Call(args=[expected, *_]) if is_approx(node):
            return _rank(expected)
        case ast.Call(func=function, args=arguments) if arguments and is_library_function(
            function, REDUCTIONS
        ):
            return _weakest(*arguments)
        case _:
            return _rank_of_name(node)


def _is_text(node: ast.expr) -> bool:
    """Whether ``node`` is the text of ``float("inf")`` or ``Decimal("0.1")``."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _weakest(*nodes: ast.expr) -> int:
    """Rank a computation: it is a limit as far as all that is not constant in it is."""
    return max(map(_rank, nodes))


def _rank_of_name(node: ast.expr) -> int:
    parts = (dotted_path(node) or "").split(".")
    words = {word.lower() for part in parts for word in _WORD.findall(part)}
    if not words.isdisjoint(_LIMIT_WORDS_AND_PLURALS):
        return _SAYS_SO
    if any(map(_UPPER.fullmatch, parts)):
        return _UPPER_CASE
    if _EXTREMES.match(parts[-1]):
        return _EXTREME
    return _ANYTHING
