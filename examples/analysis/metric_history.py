"""Draw how a metric went from commit to commit: ``metric_history.py accuracy -o accuracy.png``.

A point is a case (a seed, a param's value), a cross one that failed, the line the mean of those
that passed, a colour a branch; dashes are the limits that assertions set.
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pytest_mlflow_experiments import load_metrics, load_sessions

# Okabe and Ito's: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
OUTSIDE = "outside of git"
LABELS = 40
PANELS = 6
LIMITS = ("lower", "upper")


def main(arguments: list[str] | None = None) -> str | None:
    """Draw the picture; return what is wrong where that can't be done."""
    options = parser().parse_args(arguments)
    source = options.source or None
    where = {
        "tracking_uri": options.tracking_uri,
        "experiment": options.experiment,
        "branch": options.branch,
        "last": options.last,
    }
    values = load_metrics(source, metric=options.metric, **where)
    values = values[[fnmatchcase(case, options.case) for case in values["case"]]]
    if values.empty:
        return f"no case {options.case!r} of these sessions has the metric {options.metric!r}"
    sessions = load_sessions(source, **where)
    sessions = sessions[sessions["session_id"].isin(values["session_id"])]
    draw(values, sessions, options.metric).savefig(options.output, dpi=150)
    told = f"{options.output}: {len(sessions)} sessions, {values['case'].nunique()} cases"
    print(told)  # noqa: T201
    return None


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description="Draw the history of a metric.")
    parser.add_argument("metric", help="its name, such as accuracy")
    parser.add_argument("source", nargs="*", help="rootdirs, sessions or files; default: here")
    parser.add_argument("-o", "--output", type=Path, default=Path("history.png"))
    parser.add_argument(
        "--case", default="*", metavar="PATTERN", help="only such cases, by node id"
    )
    parser.add_argument("--branch", help="only sessions of this branch")
    parser.add_argument("--last", type=int, metavar="N", help="only the newest N sessions")
    parser.add_argument("--tracking-uri", metavar="URI", help="read the sessions from this MLflow")
    parser.add_argument("--experiment", metavar="NAME")
    return parser


def draw(values: pd.DataFrame, sessions: pd.DataFrame, metric: str) -> Figure:
    """Return the picture: a panel for each test, the sessions from left to right."""
    places = {session_id: place for place, session_id in enumerate(sessions["session_id"])}
    last = values.sort_values("step").groupby("record_id", sort=False).tail(1)
    last = last.assign(
        place=last["session_id"].map(places), branch=last["branch"].fillna(OUTSIDE).astype(str)
    )
    branches = list(dict.fromkeys(sessions["branch"].fillna(OUTSIDE)))
    colours = {branch: COLOURS[n % len(COLOURS)] for n, branch in enumerate(branches)}
    tests = last["test"].value_counts().index[:PANELS]
    figure = Figure(
        figsize=(min(16, max(6, 2.5 + 0.42 * len(sessions))), 0.9 + 2.7 * len(tests)),
        layout="constrained",
    )
    panels = figure.subplots(len(tests), 1, sharex=True, squeeze=False)[:, 0]
    for panel, test in zip(panels, tests, strict=True):
        draw_test(panel, last[last["test"] == test], colours)
        panel.set_title(test, loc="left", fontsize=10)
        panel.set_ylabel(metric)
    every = -(-len(sessions) // LABELS)
    panels[-1].set_xticks(
        range(0, len(sessions), every),
        [commit_label(one) for one in sessions.iloc[::every].itertuples()],
        **{"rotation": 45, "ha": "right", "fontsize": 8, "family": "monospace"},
    )
    handles = [Line2D([], [], color=colours[name], marker="o", label=name) for name in branches]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    return figure


def draw_test(panel: Axes, values: pd.DataFrame, colours: dict[str, str]) -> None:
    """Draw the cases of one test, and their mean in each session."""
    limits = pd.concat(
        [values[["place", name]].set_axis(["place", "y"], axis=1) for name in LIMITS]
    )
    limits = limits.dropna().drop_duplicates()
    panel.hlines(
        limits["y"], limits["place"] - 0.4, limits["place"] + 0.4, color="0.45", ls="--", lw=1
    )
    for branch, points in values.groupby("branch", sort=False):
        good = points["outcome"].isin(["passed", "xpassed"])
        colour = colours[branch]
        for chosen, marker in ((good, "o"), (~good, "x")):
            some = points[chosen]
            panel.scatter(
                some["place"], some["value"], color=colour, marker=marker, s=16, alpha=0.4
            )
        means = points[good].groupby("place")["value"].mean()
        panel.plot(means.index, means, color=colour, marker="o", ms=5, lw=1.5)
    panel.grid(axis="y", color="0.9")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def commit_label(session: pd.Series) -> str:
    """Return the commit, with a star where files had been changed; else when it was."""
    if pd.isna(session.commit):
        return f"{session.start_time:%m-%d %H:%M}"
    changed = not pd.isna(session.dirty) and session.dirty
    return f"{session.commit[:7]}{'*' if changed else ''}"


if __name__ == "__main__":
    sys.exit(main())
