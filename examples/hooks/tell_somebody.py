"""Tell somebody of the finished comparison: here a file, in your project perhaps a chat.

Put it into your conftest.py.
"""


def pytest_mlflow_compared(config, comparison):
    worse = [f"{metric.name}: {metric.metric} {metric.status}" for metric in comparison.gating()]
    if worse:
        path = config.rootpath / "worse.txt"
        path.write_text("\n".join([comparison.session.name, *worse, ""]), encoding="utf-8")
