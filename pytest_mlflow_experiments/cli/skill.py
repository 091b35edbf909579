"""``pytest-mlflow skill``: how to work with this plugin, for coding agents."""

from __future__ import annotations

import argparse
from importlib.resources import files

from .arguments import command, say


@command("skill", {})
def run(options: argparse.Namespace) -> int:
    """Print how to use this plugin, for coding agents.

    Print, for coding agents and people in a hurry, how to run tests, read report.json, find the
    cause of a regression, run it again and accept it. The text has the form of a skill: redirect it
    to the SKILL.md of a folder where your agent looks for skills.
    """
    say(files(__package__).joinpath("skill.md").read_text(encoding="utf-8").rstrip("\n"))
    return 0
