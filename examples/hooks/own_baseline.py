"""Baselines of your own: ``--mlflow-baseline release:1.2`` is the file of that release.

Put it into your conftest.py. The files are made with ``pytest-mlflow baseline export``.
"""


def pytest_mlflow_baseline(config, request):
    kind, _, version = request.spec.partition(":")
    if kind != "release":
        return None  # left to the built-in baselines
    return config.rootpath / "baselines" / f"{version}.jsonl"
