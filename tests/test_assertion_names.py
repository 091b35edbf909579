from __future__ import annotations

import ast

import pytest

from pytest_mlflow_experiments.capture.assertions.names import MAX_LENGTH, metric_name

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
