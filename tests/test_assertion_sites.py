from __future__ import annotations

import ast

import pytest

from pytest_mlflow_experiments.capture.assertions.sites import (
    CallNode,
    ComparisonNode,
    Where,
    asserting_call,
    comparisons,
)


def found(source: str, *, every_comparison: bool = False) -> list[ComparisonNode | CallNode]:
    statement = ast.parse(source).body[0]
    if isinstance(statement, ast.AsyncFunctionDef):
        statement = statement.body[0]
    assert isinstance(statement, ast.Assert)
    functions = {"close": "isclose"}
    where = Where("file.py", every_comparison=every_comparison, functions=functions)
    return list(comparisons(statement, where))


def limit_of(comparison: ComparisonNode | CallNode) -> str:
    if isinstance(comparison, CallNode):
        return ast.unparse(comparison.node.args[0 if comparison.left_is_limit else 1])
    operands = [comparison.node.left, *comparison.node.comparators]
    side = comparison.position if comparison.left_is_limit else comparison.position + 1
    return ast.unparse(operands[side])


# Expression, metric, operator, limit.
COUNTED = [
    # The constant.
    ("acc > 0.9", "acc", ">", "0.9"),
    ("acc >= 0.9", "acc", ">=", "0.9"),
    ("acc < 0.9", "acc", "<", "0.9"),
    ("acc <= 0.9", "acc", "<=", "0.9"),
    ("0.9 < acc", "acc", ">", "0.9"),
    ("0.9 <= acc", "acc", ">=", "0.9"),
    ("0.9 > acc", "acc", "<", "0.9"),
    ("0.9 >= acc", "acc", "<=", "0.9"),
    ("-0.5 < r", "r", ">", "-0.5"),
    ("+0.5 < r", "r", ">", "+0.5"),
    ("2 * 1e-3 > loss", "loss", "<", "2 * 1e-3"),
    ("10 ** -6 > loss", "loss", "<", "10 ** -6"),
    ("math.inf > loss", "loss", "<", "math.inf"),
    ("np.inf > loss", "loss", "<", "np.inf"),
    ("float('inf') > loss", "loss", "<", "float('inf')"),
    ("Decimal('0.1') > loss", "loss", "<", "Decimal('0.1')"),
    ("0.9 < baseline", "baseline", ">", "0.9"),
    ("0.9 < THRESHOLD", "THRESHOLD", ">", "0.9"),
    # The name that says so.
    ("acc > baseline", "acc", ">", "baseline"),
    ("baseline < acc", "acc", ">", "baseline"),
    ("baseline_acc < acc", "acc", ">", "baseline_acc"),
    ("acc_threshold <= acc", "acc", ">=", "acc_threshold"),
    ("baseline['acc'] < acc", "acc", ">", "baseline['acc']"),
    ("limits.acc < acc", "acc", ">", "limits.acc"),
    ("old_model.score(X) < new_model.score(X)", "new_model.score", ">", "old_model.score(X)"),
    ("baseline - 0.02 < acc", "acc", ">", "baseline - 0.02"),
    ("0.95 * baseline < acc", "acc", ">", "0.95 * baseline"),
    ("abs(baseline) < acc", "acc", ">", "abs(baseline)"),
    ("float(baseline) < acc", "acc", ">", "float(baseline)"),
    ("get_threshold() < acc", "acc", ">", "get_threshold()"),
    ("initial_loss > loss", "loss", "<", "initial_loss"),
    ("expectedLoss > loss", "loss", "<", "expectedLoss"),
    ("MAE < baseline_mae", "MAE", "<", "baseline_mae"),
    ("baseline_mae > MAE", "MAE", "<", "baseline_mae"),
    ("previous > current", "current", "<", "previous"),
    # The UPPER_CASE name.
    ("acc > FLOOR_ACC", "acc", ">", "FLOOR_ACC"),
    ("MINIMUM < acc", "acc", ">", "MINIMUM"),
    ("MIN_ACC < acc", "acc", ">", "MIN_ACC"),
    ("config.MIN_ACC < acc", "acc", ">", "config.MIN_ACC"),
    ("ACCEPTED['acc'] < acc", "acc", ">", "ACCEPTED['acc']"),
    ("EPS > max_error", "max_error", "<", "EPS"),
    ("2 * NOISE > error", "error", "<", "2 * NOISE"),
    # The name that starts with min or max.
    ("min_acc < acc", "acc", ">", "min_acc"),
    ("config.min_accuracy <= acc", "acc", ">=", "config.min_accuracy"),
    ("config['max_loss'] > loss", "loss", "<", "config['max_loss']"),
    ("max_error < tolerance", "max_error", "<", "tolerance"),
    ("acc - min_acc > x", "acc_minus_min_acc", ">", "x"),
    # Else the right one.
    ("a > b", "a", ">", "b"),
    ("a < b", "a", "<", "b"),
    ("baseline < threshold", "baseline", "<", "threshold"),
    ("acc - baseline > DELTA", "acc_minus_baseline", ">", "DELTA"),
    ("X > y", "X", ">", "y"),
    ("max(errors) < b", "errors.max", "<", "b"),
    ("abs(a - b) < tol", "a_minus_b.abs", "<", "tol"),
    ("tol > abs(a - b)", "a_minus_b.abs", "<", "tol"),
    # approx
    ("acc == approx(0.9)", "acc", "==", "approx(0.9)"),
    ("acc == pytest.approx(0.9, abs=0.1)", "acc", "==", "pytest.approx(0.9, abs=0.1)"),
    ("pytest.approx(0.9) == acc", "acc", "==", "pytest.approx(0.9)"),
    ("acc == approx(other)", "acc", "==", "approx(other)"),
    ("approx(other) == acc", "acc", "==", "approx(other)"),
    ("0.9 == approx(acc)", "acc", "==", "0.9"),
    ("approx(acc) == 0.9", "acc", "==", "0.9"),
    ("EXPECTED == approx(acc)", "acc", "==", "EXPECTED"),
    ("acc == expected", "acc", "==", "expected"),
    ("expected == acc", "acc", "==", "expected"),
    ("f(x) == y", "f", "==", "y"),
    # What stands around it.
    ("(acc := f()) > 0.9", "acc", ">", "0.9"),
    ("0.9 < (acc := f())", "acc", ">", "0.9"),
    ("not acc > 0.9", "acc", "<=", "0.9"),
    ("not 0.9 >= acc", "acc", ">", "0.9"),
    ("not not acc > 0.9", "acc", ">", "0.9"),
    ("len(x) / 2 > 0.9", "x.len_over_2", ">", "0.9"),
    ("(acc > 0.9)", "acc", ">", "0.9"),
    # Comprehensions.
    ("all(score > 0.9 for score in scores)", "scores", ">", "0.9"),
    ("all([0.9 < s for s in scores])", "scores", ">", "0.9"),
    ("any(s > 0.9 for s in self.scores)", "scores", ">", "0.9"),
    ("not any(s < 0.9 for s in scores if s)", "scores", ">=", "0.9"),
    ("flag and np.all([s > 0.9 for s in scores])", "scores", ">", "0.9"),
    ("all(v > 0.9 for v in recall.values())", "recall", ">", "0.9"),
    ("all(v > 0.9 for k, v in sorted(recall.items()))", "recall", ">", "0.9"),
    ("all(recall[k] > 0.9 for k in recall)", "recall", ">", "0.9"),
    ("all(s > 0.9 for i, s in enumerate(scores))", "scores", ">", "0.9"),
    ("all(a > b for a, b in zip(new, baseline))", "new", ">", "b"),
    ("all(b < a for a, b in zip(new, baseline))", "new", ">", "b"),
    ("all(r.score > 0.9 for r in results)", "results.score", ">", "0.9"),
    ("all(abs(e) < 0.9 for e in errors)", "errors.abs", "<", "0.9"),
    ("all(model.score(X) > 0.9 for X in folds)", "model.score", ">", "0.9"),
    ("all(s > 0.9 for s in cross_val_score(m, X, y))", "cross_val_score", ">", "0.9"),
    ("all(score > 0.9 for score in cross_val_score(m, X))", "cross_val_score", ">", "0.9"),
    ("all(accuracy > 0.9 for name, accuracy in results)", "accuracy", ">", "0.9"),
    ("all(accuracy > 0.9 for accuracy in values)", "accuracy", ">", "0.9"),
    ("all(x > 0.9 for x in [a, b])", "x", ">", "0.9"),
    ("all(f(i) > 0.9 for i in range(3))", "f", ">", "0.9"),
    ("all(any(s > 0.9 for s in row) for row in scores)", "scores", ">", "0.9"),
    ("all(s > 0.9 for row in scores for s in row)", "scores", ">", "0.9"),
    ("all(s == approx(0.9) for s in scores)", "scores", "==", "approx(0.9)"),
    ("all(math.isclose(s, 0.9) for s in scores)", "scores", "==", "0.9"),
    # Calls.
    ("math.isclose(acc, 0.9)", "acc", "==", "0.9"),
    ("math.isclose(0.9, acc, rel_tol=0.1)", "acc", "==", "0.9"),
    ("close(acc, other)", "acc", "==", "other"),
    ("np.isclose(expected, acc)", "acc", "==", "expected"),
    ("a and torch.allclose(loss, target)", "loss", "==", "target"),
]


@pytest.mark.parametrize(
    ("source", "name", "operator", "limit"), COUNTED, ids=[case[0] for case in COUNTED]
)
def test_counted(source: str, name: str, operator: str, limit: str) -> None:
    [comparison] = found(f"assert {source}")
    assert (comparison.site.name, comparison.site.operator) == (name, operator)
    assert limit_of(comparison) == ast.unparse(ast.parse(limit))


def test_await() -> None:
    [comparison] = found("async def f():\n    assert await score() > 0.9")
    assert comparison.site.name == "score"
    assert limit_of(comparison) == "0.9"


NOT_COUNTED = [
    "acc",
    "not acc",
    "acc == 0.9",
    "acc != 0.9",
    "acc != approx(0.9)",
    "not acc == approx(0.9)",
    "acc is other",
    "acc in scores",
    "acc not in scores",
    "f() == 'text'",
    "names == ['a', 'b']",
    "f() == g()",
    "1 < 2",
    "0.5 < math.pi",
    "version > '1.2'",
    "x > None",
    "x > True",
    "x > f'{y}'",
    "x < (1, 2)",
    "x < [1, 2]",
    "(a > b) > c",
    "(not a) > b",
    "len(x) > 3",
    "3 < len(x)",
    "(n := len(x)) > 3",
    "all(xs)",
    "all(x for x in xs if x > 0.5)",
    "all({x > 0.5 for x in xs})",
    "all(len(x) > 3 for x in xs)",
    "sum(x > 0.5 for x in xs)",
    "scores.all(x > 0.5 for x in xs)",
    "not math.isclose(a, 0.5)",
    "math.isclose(0.5, 0.6)",
    "math.isclose(*pair)",
    "np.isclose(a, [0.5, 0.6])",
    "np.isclose(a, 0.5, **options)",
    "shape.isclose(a, 0.5)",
    "isclose(a, 0.5)",
    "np.isclose(a, 0.5).all()",
    "[x for x in xs if x > 0.5]",
    "f(x > 0.5)",
    "(lambda: x > 0.5)()",
    "(x > 0.5).all()",
    "(x > 0.5 if y else x > 0.6)",
    "(ok := x > 0.5)",
    "(x > 0.5, y > 0.5)",
    "{x > 0.5}",
]


@pytest.mark.parametrize("source", NOT_COUNTED)
def test_not_counted(source: str) -> None:
    assert found(f"assert {source}") == []


def test_a_message_does_not_count() -> None:
    assert [c.site.name for c in found("assert a > 0.9, b > 0.5")] == ["a"]


@pytest.mark.parametrize("source", ["len(x) > 3", "3 < len(x)", "(n := len(x)) > 3"])
def test_every_comparison(source: str) -> None:
    [comparison] = found(f"assert {source}", every_comparison=True)
    assert limit_of(comparison) == "3"
    assert comparison.site.count_integers
    assert not found("assert x > 3")[0].site.count_integers


CHAINS = [
    ("0.5 < acc < 1", [("acc", ">", "0.5"), ("acc", "<", "1")]),
    ("low <= acc <= high", [("acc", ">=", "low"), ("acc", "<=", "high")]),
    ("high >= acc > low", [("acc", "<=", "high"), ("acc", ">", "low")]),
    ("a < 0.5 < b", [("a", "<", "0.5"), ("b", ">", "0.5")]),
    ("a < b > c", [("a", "<", "b"), ("b", ">", "c")]),
    ("a < b < c < d", [("a", "<", "b"), ("b", "<", "c"), ("c", "<", "d")]),
    ("0 < x == approx(y)", [("x", ">", "0"), ("x", "==", "approx(y)")]),
    ("0 <= len(x) < n", []),
]


@pytest.mark.parametrize(("source", "expected"), CHAINS, ids=[case[0] for case in CHAINS])
def test_chain(source: str, expected: list[tuple[str, str, str]]) -> None:
    chain = found(f"assert {source}")
    assert [(c.site.name, c.site.operator, limit_of(c)) for c in chain] == expected
    assert len({c.site.place for c in chain}) == len(chain)


@pytest.mark.parametrize(
    ("source", "name", "operator", "limit"),
    [
        ("self.assertGreater(acc, 0.9)", "acc", ">", "0.9"),
        ("self.assertGreaterEqual(0.9, acc, msg='low')", "acc", "<=", "0.9"),
        ("self.assertLess(self.loss, 0.9)", "loss", "<", "0.9"),
        ("case.assertLessEqual(a, limit)", "a", "<=", "limit"),
        ("self.assertAlmostEqual(0.9, acc, places=3)", "acc", "==", "0.9"),
        ("np.testing.assert_allclose(acc, 0.9, rtol=0.1)", "acc", "==", "0.9"),
        ("assert_allclose(acc, desired=0.9)", "acc", "==", None),
        ("npt.assert_array_less(a, b)", "a", "<", "b"),
        ("np.testing.assert_approx_equal(a, b)", "a", "==", "b"),
        ("np.testing.assert_almost_equal(a, b, 3)", "a", "==", "b"),
        ("self.assertGreater(len(x), 3)", None, "", ""),
        ("self.assertGreater(x)", None, "", ""),
        ("self.assertGreater(*pair)", None, "", ""),
        ("self.assertEqual(acc, 0.9)", None, "", ""),
        ("assertGreater(acc, 0.9)", None, "", ""),
        ("x = self.assertGreater(acc, 0.9)", None, "", ""),
        ("np.testing.assert_allclose([acc], [0.9])", None, "", ""),
        ("self.assertAlmostEqual(acc, other=0.9, **options)", None, "", ""),
    ],
)
def test_asserting_call(source: str, name: str | None, operator: str, limit: str | None) -> None:
    call = asserting_call(ast.parse(source).body[0], Where("file.py"))
    assert (call.site.name if call is not None else None) == name
    if call is not None:
        assert call.site.operator == operator
        assert limit is None or limit_of(call) == limit


ALTERNATIVES = [
    ("a > 0.5", [False]),
    ("a > 0.5 and b > 0.5", [False, False]),
    ("a > 0.5 or b > 0.5", [True, True]),
    ("a > 0.5 and (b > 0.5 or c > 0.5)", [False, True, True]),
    ("not (a > 0.5 and b > 0.5)", [True, True]),
    ("not (a > 0.5 or b > 0.5)", [False, False]),
    ("not 0.5 < a < 0.6", [True, True]),
    ("flag or a > 0.5", [True]),
    ("all(x > 0.5 and y > 0.5 for x, y in z)", [False, False]),
    ("any(x > 0.5 for x in xs)", [True]),
    ("not any(x > 0.5 for x in xs)", [False]),
    ("not all(x > 0.5 for x in xs)", [True]),
    ("flag or all(x > 0.5 for x in xs)", [True]),
]


@pytest.mark.parametrize(("source", "expected"), ALTERNATIVES, ids=[a[0] for a in ALTERNATIVES])
def test_alternative(source: str, expected: list[bool]) -> None:
    assert [c.site.alternative for c in found(f"assert {source}")] == expected


def test_place() -> None:
    first, second = found("assert (a >\n        0.5 and\n  b > 0.5)")
    assert (first.site.line, first.site.place) == (1, ("file.py", 2, 8))
    assert (second.site.line, second.site.place) == (3, ("file.py", 3, 6))


@pytest.mark.parametrize(
    ("text", "is_expression"),
    [
        ("a - b < 0.1", True),
        ("0.1 > a - b", True),
        ("abs(a) < 0.1", True),
        ("-a < 0.1", True),
        ("(a if b else c) < 0.1", True),
        ("a < 0.1", False),
        ("round(float(a), 2) < 0.1", False),
        ("(await a()).b['c'] < 0.1", False),
        ("a(b - c) < 0.1", False),
        ("a < b - 0.1", False),
    ],
)
def test_expression(text: str, is_expression: bool) -> None:
    module = ast.parse(f"async def test():\n    assert {text}")
    (assertion,) = (node for node in ast.walk(module) if isinstance(node, ast.Assert))
    (found,) = comparisons(assertion, Where("test_it.py"))
    assert found.site.expression is is_expression
