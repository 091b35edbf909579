from __future__ import annotations

import ast
import textwrap

import pytest

from pytest_mlflow_experiments.capture.assertions.names import (
    MAX_LENGTH,
    is_expression,
    metric_name,
)
from pytest_mlflow_experiments.capture.assertions.origins import telling_names
from pytest_mlflow_experiments.capture.assertions.sites import Where, comparisons

NAMES = [
    ("accuracy", "accuracy"),
    ("self.accuracy", "accuracy"),
    ("report.rmse", "report.rmse"),
    ("report.test.rmse", "report.test.rmse"),
    ("scores['f1']", "scores.f1"),
    ("scores['macro avg']['f1-score']", "scores.macro avg.f1-score"),
    ("self.scores['f1']", "scores.f1"),
    ("scores.get('f1')", "scores.f1"),
    ("scores.get('f1', 0.0)", "scores.f1"),
    ("losses[0]", "losses.0"),
    ("losses[-1]", "losses.last"),
    ("losses[-2]", "losses.-2"),
    ("losses[2:]", "losses"),
    ("losses[epoch]", "losses"),
    ("scores[name]['f1']", "scores.f1"),
    ("matrix[0, 1]", "matrix.0.1"),
    ("table.loc['svm', 'f1']", "table.svm.f1"),
    ("table.iloc[0]['f1']", "table.0.f1"),
    ("accuracy_score(y, p)", "accuracy_score"),
    ("metrics.accuracy_score(y, p)", "metrics.accuracy_score"),
    ("model.score(X)", "model.score"),
    ("self.model.score(X)", "model.score"),
    ("load().score(X)", "load.score"),
    ("evaluate(X)['f1']", "evaluate.f1"),
    ("evaluate(X).f1", "evaluate.f1"),
    ("(acc := f())", "acc"),
    ("await f()", "f"),
    ("await client.latency()", "client.latency"),
    ("float(x)", "x"),
    ("float(model.score(X))", "model.score"),
    ("round(x, 3)", "x"),
    ("x.item()", "x"),
    ("loss.detach().cpu().item()", "loss"),
    ("np.float64(x)", "x"),
    ("torch.tensor(x)", "x"),
    ("Decimal(x)", "x"),
    ("max(errors)", "errors.max"),
    ("np.mean(errors)", "errors.mean"),
    ("errors.mean()", "errors.mean"),
    ("statistics.mean(errors)", "errors.mean"),
    ("np.linalg.norm(weights)", "weights.norm"),
    ("np.percentile(latency, 99)", "latency.percentile.99"),
    ("latency.quantile(0.5)", "latency.quantile.0.5"),
    ("np.abs(a - b).max()", "a_minus_b.abs.max"),
    ("abs(a - b)", "a_minus_b.abs"),
    ("abs(y[0] - z.mean())", "y.0_minus_z.mean.abs"),
    ("acc - baseline", "acc_minus_baseline"),
    ("correct / total", "correct_over_total"),
    ("1 - acc", "1_minus_acc"),
    ("mse ** 0.5", "mse_pow_0.5"),
    ("-loss", "minus_loss"),
    ("+loss", "loss"),
    ("sum(x for x in xs)", "sum"),
    ("[1, 2][i]", "[1, 2][i]"),
    ("(a if b else c)", "a if b else c"),
    ("torch.nn.functional.mse_loss(p, y)", "torch.nn.functional.mse_loss"),
    ("F.mse_loss(p, y)", "F.mse_loss"),
    ("time.perf_counter() - start", "time.perf_counter_minus_start"),
]


@pytest.mark.parametrize(("source", "name"), NAMES, ids=[source for source, _ in NAMES])
def test_name(source: str, name: str) -> None:
    assert metric_name(ast.parse(source, mode="eval").body) == name


def test_a_long_source_text_is_cut() -> None:
    source = "[" + "x, " * 200 + "][i]"
    assert len(metric_name(ast.parse(source, mode="eval").body)) == MAX_LENGTH


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("(pred == y).mean()", "accuracy"),
        ("np.mean(pred == y)", "accuracy"),
        ("np.mean(pred != y)", "error_rate"),
        ("float((pred == y).float().mean().item())", "accuracy"),
        ("(pred == y).astype(float).mean()", "accuracy"),
        ("(pred == y).sum() / len(y)", "accuracy"),
        ("sum(p == t for p, t in pairs) / len(pairs)", "accuracy"),
        ("sum(1 for p, t in pairs if p != t) / n", "error_rate"),
        ("np.mean([p == t for p, t in pairs])", "accuracy"),
        ("pred.eq(y.view_as(pred)).sum().item() / len(y)", "accuracy"),
        ("torch.eq(pred, y).float().mean()", "accuracy"),
        ("(pred == 1).mean()", "mean"),
        ("(pred > y).mean()", "mean"),
    ],
)
def test_share_of_equal_pairs(source: str, name: str) -> None:
    node = ast.parse(source, mode="eval").body
    assert metric_name(node) == name
    assert is_expression(node) is (name == "mean")


def told(source: str) -> list[str]:
    """Return the names of the assertions of a module, in the order of its lines."""
    tree = ast.parse(textwrap.dedent(source))
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    values: dict[ast.stmt, list[ast.expr]] = {
        node: [found.value for found in comparisons(node, Where("it.py"))] for node in asserts
    }
    names = telling_names(tree, values)
    in_order = sorted(names, key=lambda value: (value.lineno, value.col_offset))
    return [names[value].name for value in in_order]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        # Where the name tells nothing: what it was assigned from last.
        ("ret = log_loss(y, p)\nassert ret < 1.0", "log_loss"),
        ("foo: float = log_loss(y, p)\nassert foo < 1.0", "log_loss"),
        ("assert (ret := log_loss(y, p)) < 1.0", "log_loss"),
        ("if (ret := log_loss(y, p)) > 0.5:\n    assert ret < 1.0", "log_loss"),
        ("ret = float(log_loss(y, p))\nassert ret.item() < 1.0", "log_loss"),
        ("ret = await client.latency()\nassert ret < 1.0", "client.latency"),
        ("ret = report['macro']['f1']\nassert ret > 0.5", "report.macro.f1"),
        ("ret = model.best_score_\nassert ret > 0.5", "model.best_score_"),
        ("ret, n = log_loss(y, p), 3\nassert ret < 1.0", "log_loss"),
        ("x = log_loss(y, p)\nval = x\nassert val < 1.0", "log_loss"),
        ("x = (pred == y).mean()\nassert x > 0.5", "accuracy"),
        ("x = train_acc - test_acc\nassert x < 0.5", "train_acc_minus_test_acc"),
        ("m = Accuracy()\nval = m.compute()\nassert val > 0.5", "Accuracy.compute"),
        ("x = json.loads(text)['f1']\nassert x > 0.5", "json.loads.f1"),
        ("s = trustworthiness(X, e)\nassert s > 0.5", "trustworthiness"),
        ("res = history['loss']\nassert res[-1] < 1.0", "history.loss.last"),
        ("res = [log_loss(*one) for one in folds]\nassert np.mean(res) < 1.0", "log_loss.mean"),
        ("self.ret = log_loss(y, p)\nassert self.ret < 1.0", "log_loss"),
        ("x = f1(a)\nassert x > 0.5\nx = auc(a)\nassert x > 0.5", "f1 auc"),
        ("for s in cross_val_score(m):\n    assert s > 0.5", "cross_val_score"),
        ("for s in map(f1, xs):\n    assert s > 0.5", "f1"),
        ("for s in map(float, filter(None, losses)):\n    assert s > 0.5", "losses"),
        ("for k, v in recall.items():\n    assert v > 0.5", "recall"),
        (
            "for i, (a, b) in enumerate(zip(mae, mse)):\n    assert a < 1\n    assert b < 1",
            "mae mse",
        ),
        ("with measured_latency() as m:\n    pass\nassert m.value < 1.0", "measured_latency.value"),
        ("x = 0\nfor y in ys:\n    x += log_loss(y)\nx /= 3\nassert x < 1.0", "log_loss"),
        ("best = None\nfor x in xs:\n    best = f1(x)\nassert best > 0.5", "f1"),
        ("try:\n    x = f1(a)\nexcept OSError:\n    raise\nassert x > 0.5", "f1"),
        ("if a:\n    x = f1(a)\nelse:\n    return\nassert x > 0.5", "f1"),
        ("if a:\n    x = f1(a)\nelse:\n    x = f1(b)\nassert x > 0.5", "f1"),
        # Where it tells something, where nobody knows, or where the origin tells no more.
        ("accuracy = score(y, p)\nassert accuracy > 0.5", "accuracy"),
        ("loss, acc = model.evaluate(X)\nassert loss < 1.0\nassert acc > 0.5", "loss acc"),
        ("r, p = pearsonr(x, y)\nassert r > 0.5\nassert p < 0.05", "r p"),
        ("res = log_loss(y, p)\nassert res['auc'] > 0.5", "res.auc"),
        ("ret = evaluate(X)\nassert ret > 0.5", "ret"),
        ("alpha = trustworthiness(X)\nassert alpha > 0.5", "alpha"),
        ("if a:\n    x = f1(a)\nelse:\n    x = auc(b)\nassert x > 0.5", "x"),
        ("x = getattr(a, b)\nassert x > 0.5", "x"),
        ("x = np.sum(a for a in b)\nassert x > 0.5", "x"),
        ("clf = with_loss(a)\nassert clf.intercept > 0.5", "clf.intercept"),
        ("weights = loss.weights\nassert weights > 0.5", "weights"),
        ("for y in ys:\n    assert x > 0.5\n    x = f1(y)", "f1"),
        ("x = auc(a)\nfor y in ys:\n    assert x > 0.5\n    x = f1(y)", "x"),
        (
            "match a:\n    case 1:\n        x = f1(a)\n    case x:\n        pass\nassert x > 0.5",
            "x",
        ),
        ("x = f1(a)\nx *= -1\nassert x > 0.5", "x"),
        ("def inner(x):\n    assert x > 0.5\nx = f1(a)\ninner(x)", "x"),
        ("x = f1(a)\nassert abs(x - 0.5) < 0.1", "x_minus_0.5.abs"),
        # Two metrics stay two.
        ("a = f1(x)\nb = f1(y)\nassert a > 0.5\nassert b > 0.5", "a.f1 b.f1"),
        ("a = f1(x)\nassert a > 0.5\nassert f1(y) > 0.5", "a.f1 f1"),
        ("assert accuracy > 0.5\nassert (p == y).mean() > 0.5", "accuracy p.accuracy"),
        ("assert (a == y).mean() > 0.5\nassert (b == y).mean() > 0.5", "a.accuracy b.accuracy"),
    ],
)
def test_name_by_origin(body: str, names: str) -> None:
    assert told(f"async def test():\n{textwrap.indent(body, '    ')}") == names.split()


def test_an_argument_is_not_known() -> None:
    assert told("def test(ret):\n    if a:\n        ret = f1(a)\n    assert ret > 0.5") == ["ret"]


def test_a_helper_of_the_module_keeps_its_metrics_apart() -> None:
    source = """
    def helper():
        s = f1(a)
        assert s > 0.5

    def test_one():
        x = f1(b)
        helper()
        assert x > 0.5

    def test_two():
        assert f1(c) > 0.5

    def test_three():
        x = auc(b)
        assert x > 0.5
    """
    assert told(source) == ["s.f1", "x.f1", "f1", "auc"]
