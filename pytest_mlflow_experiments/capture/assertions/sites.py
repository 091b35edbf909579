"""Find the comparisons in assertions that are recorded: in ``assert``, and calls that assert."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeGuard, final

from .names import (
    LIBRARIES,
    REDUCTIONS,
    converted,
    dotted_path,
    is_expression,
    is_library_function,
    metric_name,
)
from .origins import with_sources
from .places import Context, Keys, keys_for

if TYPE_CHECKING:
    from ...records import Operator

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


def is_approx(node: ast.expr) -> TypeGuard[ast.Call]:
    """Whether ``node`` is a call of :func:`pytest.approx`."""
    match node:
        case ast.Call(func=ast.Name(id="approx") | ast.Attribute(attr="approx"), args=[_, *_]):
            return True
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
_MIRRORED: Final[dict[Operator, Operator]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
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
    calculated from what the name names; ``same_as`` is another name that the number may have, of
    the metric that the test logs it as or of the limit that it must equal. ``place`` is the file,
    line and column of the right operand: both halves of a chain share the left one.
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


Comprehension: TypeAlias = ast.GeneratorExp | ast.ListComp


@dataclass(frozen=True, slots=True, eq=False)
class _Asserted:
    """A site in the syntax tree, and what is asserted there.

    ``twin`` is the limit where that may be another name of the same number, ``keys`` are the
    expressions whose values tell the place in a loop. ``comprehension`` is the innermost one around
    the site, as in ``all(a > b for a in c)``; its variables in ``value`` and ``twin`` are replaced
    by what they run through.
    """

    site: Site
    left_is_limit: bool
    value: ast.expr
    twin: ast.expr | None
    keys: Keys
    comprehension: Comprehension | None


@final
@dataclass(frozen=True, slots=True, eq=False)
class ComparisonNode(_Asserted):
    """The comparison ``node.ops[position]``."""

    node: ast.Compare
    position: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class CallNode(_Asserted):
    """A call that compares its first two arguments.

    ``rule`` is the function that tells what approximately equal means, None for orderings;
    ``names`` are those of the other arguments, None for positional ones.
    """

    node: ast.Call
    rule: str | None
    names: tuple[str | None, ...]


def imported_functions(tree: ast.Module) -> dict[str, str]:
    """Return the functions like ``isclose`` that a module imports by their own names.

    The value is that of :data:`CallNode.rule`.
    """
    return {
        alias.asname or alias.name: _rule(str(node.module), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in LIBRARIES
        for alias in node.names
        if alias.name in _CLOSE
    }


def _rule(module: str, name: str) -> str:
    return "math.isclose" if module == "math" else name


class Where(NamedTuple):
    """Where an assertion stands, and what counts there.

    With ``every_comparison`` those with ``len(...)`` and those of two integers count as well;
    ``functions`` are the :func:`imported_functions` of the module.
    """

    file: str
    context: Context = Context()
    every_comparison: bool = False
    functions: Mapping[str, str] = MappingProxyType({})


def comparisons(assertion: ast.Assert, where: Where) -> Iterator[ComparisonNode | CallNode]:
    """Yield the comparisons of one assertion that are recorded."""
    for clause in _clauses(assertion.test, False, False):
        node = clause.node
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name):
                    rule = where.functions.get(name)
                case function:
                    module, _, name = (dotted_path(function) or "").rpartition(".")
                    rule = _rule(module, name)
            if rule is not None and not clause.negated:
                yield from _call(clause, "==", rule, where)
            continue
        operands = [node.left, *node.comparators]
        told = [with_sources(operand, clause.comprehensions) for operand in operands]
        for index, (left, right) in enumerate(pairwise(told)):
            operator = _OPERATORS.get(type(node.ops[index]))
            if operator is None or not _counts(left, right, where.every_comparison):
                continue
            swapped = _is_outer_left(node, index) or _is_swapped(left, right)
            value, limit = (right, left) if swapped else (left, right)
            if operator == "==" and (clause.negated or not _may_be_approx(value, limit)):
                continue
            sides = operands[index], operands[index + 1]
            asserted = _asserted(clause, sides, (left, right), swapped, operator, where)
            yield ComparisonNode(*asserted, node, index)


def asserting_call(statement: ast.stmt, where: Where) -> CallNode | None:
    """Return the call of unittest's or NumPy's assertions that the statement is, if it counts."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id=name)) as call) if "_" in name:
            pass
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name)) as call):
            pass
        case _:
            return None
    operator = _ASSERTING.get(name)
    if operator is None:
        return None
    rule = name if operator == "==" else None
    return next(_call(_Clause(call, False, False), operator, rule, where), None)


def arguments(call: ast.Call) -> list[ast.expr]:
    """Return the arguments of a call in the order in which they are evaluated."""
    return [*call.args, *(keyword.value for keyword in call.keywords)]


# Calls that compare two numbers, as statements.
_ASSERTING: Final[dict[str, Operator]] = {
    "assertAlmostEqual": "==",
    "assertGreater": ">",
    "assertGreaterEqual": ">=",
    "assertLess": "<",
    "assertLessEqual": "<=",
    "assert_allclose": "==",
    "assert_almost_equal": "==",
    "assert_approx_equal": "==",
    "assert_array_almost_equal": "==",
    "assert_array_less": "<",
}
_CLOSE: Final = frozenset({"allclose", "isclose"})
_QUANTIFIERS: Final = frozenset({"all", "any"})
# What the first two arguments are called, in the order in which they stand.
_FIRST: Final = frozenset({"a", "actual", "first", "input", "x"})
_SECOND: Final = frozenset({"b", "desired", "other", "second", "y"})


class _Clause(NamedTuple):
    node: ast.Compare | ast.Call
    negated: bool
    alternative: bool
    comprehensions: tuple[Comprehension, ...] = ()


_Pair: TypeAlias = tuple[ast.expr, ast.expr]
_Fields: TypeAlias = tuple[Site, bool, ast.expr, ast.expr | None, Keys, Comprehension | None]


def _asserted(
    clause: _Clause, sides: _Pair, told: _Pair, swapped: bool, operator: Operator, where: Where
) -> _Fields:
    """Return the fields of :class:`_Asserted`, of the two ``sides`` and what they are called."""
    node, negated, alternative, comprehensions = clause
    (left, right), (value, limit) = sides, reversed(told) if swapped else told
    if swapped:
        operator = _MIRRORED.get(operator, operator)
    value = _expected(value)
    is_chain = isinstance(node, ast.Compare) and len(node.ops) > 1
    context = where.context.within(comprehensions)
    site = Site(
        name=metric_name(value),
        operator=_NEGATED[operator] if negated else operator,
        line=left.lineno,
        place=(where.file, right.lineno, right.col_offset),
        negated=negated,
        alternative=alternative or (negated and is_chain),
        count_integers=where.every_comparison,
        expression=is_expression(value),
        same_as=_other_name(value, limit, operator, context.logged),
    )
    twin = None if site.same_as in ("", *context.logged.values()) else _expected(limit)
    inner = comprehensions[-1] if comprehensions else None
    keys = keys_for(context, *((_expected(right), left) if swapped else (_expected(left), right)))
    return site, swapped, value, twin, keys, inner


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
    return limit.args[0] if is_approx(limit) else limit


def _call(
    clause: _Clause, operator: Operator, rule: str | None, where: Where
) -> Iterator[CallNode]:
    """Yield the call of a clause if its first two arguments are a number and a limit."""
    call = clause.node
    assert isinstance(call, ast.Call)
    values = arguments(call)
    names = [*(None for _ in call.args), *(keyword.arg for keyword in call.keywords)]
    if (
        len(values) < 2
        or any(isinstance(value, ast.Starred) for value in values)
        or None in names[len(call.args) :]
        or not {names[0]} <= {None, *_FIRST}
        or not {names[1]} <= {None, *_SECOND}
    ):
        return
    first, second, *_ = values
    left, right = (with_sources(side, clause.comprehensions) for side in (first, second))
    if _counts(left, right, where.every_comparison):
        swapped = _is_swapped(left, right)
        asserted = _asserted(clause, (first, second), (left, right), swapped, operator, where)
        yield CallNode(*asserted, call, rule, tuple(names[2:]))


def _is_swapped(left: ast.expr, right: ast.expr) -> bool:
    """Whether the left operand is the limit."""
    ranks = [(_rank(side), not is_approx(side)) for side in (left, right)]
    return ranks[0] < ranks[1]


def _clauses(
    node: ast.expr, negated: bool, alternative: bool, comprehensions: tuple[Comprehension, ...] = ()
) -> Iterator[_Clause]:
    match node:
        case ast.Call(
            func=function, args=[ast.GeneratorExp() | ast.ListComp() as inner], keywords=[]
        ) if is_library_function(function, _QUANTIFIERS):
            # By De Morgan, "not any" is "all" of the negated.
            is_any = ast.unparse(function).endswith("any") is not negated
            yield from _clauses(inner.elt, negated, alternative or is_any, (*comprehensions, inner))
        case ast.Compare() | ast.Call(func=ast.Name()):
            yield _Clause(node, negated, alternative, comprehensions)
        case ast.Call(func=function) if is_library_function(function, _CLOSE):
            yield _Clause(node, negated, alternative, comprehensions)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _clauses(operand, not negated, alternative, comprehensions)
        case ast.BoolOp(op=operator, values=values):
            # By De Morgan, a negated "and" is an "or" of the negated clauses.
            is_or = isinstance(operator, ast.Or) is not negated
            for value in values:
                yield from _clauses(value, negated, alternative or is_or, comprehensions)


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
    return not isinstance(node, _NO_NUMBERS)


def _is_len(node: ast.expr) -> bool:
    match node:
        case ast.NamedExpr(value=value):
            return _is_len(value)
        case ast.Call(func=ast.Name(id="len")):
            return True
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
