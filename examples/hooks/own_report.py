"""A report of your own: ``--mlflow-report comparison.csv``.

Put it into your conftest.py.
"""

import csv
import io


def pytest_mlflow_render(comparison, suffix):
    if suffix != ".csv":
        return None  # left to the built-in reports
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["status", "case", "metric", "baseline", "now"])
    for metric in comparison.ranked():
        row = [metric.status, metric.case, metric.metric, metric.baseline, metric.current]
        writer.writerow(row)
    return file.getvalue()
