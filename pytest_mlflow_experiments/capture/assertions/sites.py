"""Find the comparisons in an ``assert`` statement that are recorded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from .names import (
    LIBRARIES,
    REDUCTIONS,
    converted,
    dotted_path,
    is_expression,
    is_library_function,
    metric_name,
)
from .places import Context, Keys, keys_for

if TYPE_CHECKING:
    from ...records import Operator

_NO_CONTEXT: Final = Context()

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


def is_approx(node: ast.expr) -> bool:
    """Whether ``node`` is a call of :func:`pytest.approx`."""
    match node:
        case ast.Call(func=ast.Name(id="approx") | ast.Attribute(attr="approx"), args=[_, *_]):
            return True
        case _:
            return False


def _rank(node: ast.expr) -> int:
    """Return how surely ``node`` is a limit: the lower, the surer."""
    if (inner := converted(node)) is not None:
        return _rank(inner)
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
            # It is a limit as far as all that is not constant in it is.
            return max(_rank(left), _rank(right))
        case ast.Call(args=[expected, *_]) if is_approx(node):
            return _rank(expected)
        case ast.Call(func=function, args=arguments) if arguments and is_library_function(
            function, REDUCTIONS
        ):
            return max(map(_rank, arguments))
        case _:
            return _rank_of_name(node)


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


_OPERATORS: Final[dict[type[ast.cmpop], Operator]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
}
_MIRRORED: Final[dict[Operator, Operator]] = {
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
    "==": "==",
}
_NEGATED: Final[dict[Operator, Operator]] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}

# What is never a number, whatever it is compared with.
_NO_NUMBERS: Final = (
    *(ast.BoolOp, ast.Compare, ast.GeneratorExp, ast.JoinedStr, ast.Lambda),
    *(ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Tuple),
)


class Site(NamedTuple):
    """One comparison in a source file; made of builtins, so that bytecode can hold it.

    ``operator`` is mirrored to read ``value operator limit``, and negated below a ``not``;
    ``negated`` tells that the comparison as it stands yields the opposite. ``alternative`` tells
    that the assertion can hold although this comparison does not, as in ``a < b or c``.
    ``count_integers`` tells whether two integers count, ``expression`` whether the value is
    calculated from what the name names; ``same_as`` is another name that the number may have.
    ``place`` is the file, line and column of the right operand: both halves of a chain share the
    left one.
    """

    name: str
    operator: Operator
    line: int
    place: tuple[str, int, int]
    negated: bool
    alternative: bool
    count_integers: bool
    expression: bool = False
    same_as: str = ""


class ComparisonNode(NamedTuple):
    """The position of a site in the syntax tree, ``node.ops[position]``, and the value there.

    ``twin`` is the limit where that may be another name of the same number, ``keys`` are the
    expressions whose values tell the place in a loop.
    """

    node: ast.Compare
    position: int
    site: Site
    left_is_limit: bool
    value: ast.expr
    twin: ast.expr | None = None
    keys: Keys = ()


def comparisons(
    assertion: ast.Assert,
    file: str,
    context: Context = _NO_CONTEXT,
    *,
    every_comparison: bool = False,
) -> Iterator[ComparisonNode]:
    """Yield the comparisons of one assertion that are recorded.

    With ``every_comparison`` those with ``len(...)`` and those of two integers count as well.
    """
    for node, negated, alternative in _clauses(assertion.test, False, False):
        operands = [node.left, *node.comparators]
        for index, (left, right) in enumerate(pairwise(operands)):
            operator = _OPERATORS.get(type(node.ops[index]))
            if operator is None or not _counts(left, right, every_comparison):
                continue
            ranks = [(_rank(side), not is_approx(side)) for side in (left, right)]
            swapped = _is_outer_left(node, index) or ranks[0] < ranks[1]
            value, limit = (right, left) if swapped else (left, right)
            if operator == "==" and (negated or not _may_be_approx(value, limit)):
                continue
            if swapped:
                operator = _MIRRORED[operator]
            if isinstance(value, ast.Call) and is_approx(value):
                value = value.args[0]
            site = Site(
                name=metric_name(value),
                operator=_NEGATED[operator] if negated else operator,
                line=left.lineno,
                place=(file, right.lineno, right.col_offset),
                negated=negated,
                alternative=alternative or (negated and len(node.ops) > 1),
                count_integers=every_comparison,
                expression=is_expression(value),
                same_as=_other_name(value, limit, operator, context.logged),
            )
            twin = None if site.same_as in ("", *context.logged.values()) else _expected(limit)
            keys = keys_for(context, value, limit)
            yield ComparisonNode(node, index, site, swapped, value, twin, keys)


def _other_name(
    value: ast.expr, limit: ast.expr, operator: Operator, logged: Mapping[str, str]
) -> str:
    """Return another name that the number of a comparison may have, or nothing."""
    if (key := logged.get(metric_name(value))) is not None:
        return key
    if operator != "==" or _rank(limit) == _CONSTANT:
        return ""
    return metric_name(_expected(limit))


def _expected(limit: ast.expr) -> ast.expr:
    return limit.args[0] if isinstance(limit, ast.Call) and is_approx(limit) else limit


def _clauses(
    node: ast.expr, negated: bool, alternative: bool
) -> Iterator[tuple[ast.Compare, bool, bool]]:
    match node:
        case ast.Compare():
            yield node, negated, alternative
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _clauses(operand, not negated, alternative)
        case ast.BoolOp(op=operator, values=values):
            # By De Morgan, a negated "and" is an "or" of the negated clauses.
            is_or = isinstance(operator, ast.Or) is not negated
            for value in values:
                yield from _clauses(value, negated, alternative or is_or)


def _counts(left: ast.expr, right: ast.expr, every_comparison: bool) -> bool:
    if not (_may_be_number(left) and _may_be_number(right)):
        return False
    if not every_comparison and (_is_len(left) or _is_len(right)):
        return False
    return not _rank(left) == _rank(right) == _CONSTANT


def _may_be_number(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.UnaryOp(op=ast.Not()):
            return False
        case ast.NamedExpr(value=value):
            return _may_be_number(value)
        case _:
            return not isinstance(node, _NO_NUMBERS)


def _is_len(node: ast.expr) -> bool:
    match node:
        case ast.NamedExpr(value=value):
            return _is_len(value)
        case ast.Call(func=ast.Name(id="len")):
            return True
        case _:
            return False


def _may_be_approx(value: ast.expr, limit: ast.expr) -> bool:
    """Whether an operand of ``==`` may be an approx: a call of it, or a name."""
    if is_approx(value) or is_approx(limit):
        return True
    return isinstance(limit, ast.Name | ast.Attribute | ast.Subscript)


def _is_outer_left(node: ast.Compare, index: int) -> bool:
    """Whether this is the first half of ``low <= value <= high``, whatever the two are called."""
    if index or len(node.ops) != 2 or _rank(node.comparators[0]) == _CONSTANT:
        return False
    first, second = (_OPERATORS.get(type(operator), "==")[0] for operator in node.ops)
    return first == second != "="
