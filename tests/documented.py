"""The pages of the documentation as things that can be run.

A page is Markdown. Its fences are

- ``python title="test_it.py"``: a file, written where the page is played;
- ``console``: commands after ``$``, each with what it prints;
- anything else: parsed by the tests.

Comments before a fence say more: ``<!-- run -->`` runs Python, ``<!-- only REGEX -->`` shows only
such lines of an output, and ``<!-- setup`` … ``-->`` runs commands that a reader does not see.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from project import Project, plugins_for

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
# With outputs that were recorded, by the name of the directory that they are recorded in.
PLAYED = {"tutorial.md": "digits", "gate-failed.md": "models"}

_PART = re.compile(
    r"<!-- setup\n(?P<setup>.*?)-->"
    r"|(?:<!-- (?P<only>only [^\n]*?|run) -->\n)?"
    r'```(?P<language>\w+)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)```',
    re.DOTALL,
)


@dataclass(frozen=True)
class Part:
    """A fence, or commands that a reader does not see (``setup``)."""

    kind: Literal["setup", "fence"]
    language: str
    text: str
    title: str | None
    note: str
    span: tuple[int, int]

    @property
    def only(self) -> re.Pattern[str] | None:
        """What a line of the output must have in order to be shown."""
        return re.compile(self.note.removeprefix("only ")) if self.note[:5] == "only " else None


def parts(text: str) -> Iterator[Part]:
    """Yield what a page has to run or to parse."""
    for found in _PART.finditer(text):
        if found["setup"] is not None:
            yield Part("setup", "shell", found["setup"], None, "", found.span("setup"))
        else:
            note = found["only"] or ""
            span = found.span("text")
            yield Part("fence", found["language"], found["text"], found["title"], note, span)


def fences(text: str, *languages: str) -> list[Part]:
    """Return the fences in some languages."""
    return [one for one in parts(text) if one.kind == "fence" and one.language in languages]


def commands(part: Part) -> list[str]:
    """Return the commands of a fence, without what they print and comments."""
    if part.language == "console":
        return re.findall(r"(?m)^\$ (.*)$", part.text)
    joined = part.text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def play(text: str, project: Project) -> str:
    """Run a page from its top to its end; return it with the outputs of now."""
    pieces, end = [], 0
    for part in parts(text):
        if part.kind == "setup":
            run(project, part.text)
        elif part.title is not None:
            project.write(part.text, part.title)
        elif part.language == "console":
            pieces += [text[end : part.span[0]], recorded(project, part)]
            end = part.span[1]
    return "".join([*pieces, text[end:]])


def recorded(project: Project, part: Part) -> str:
    """Run the commands of a fence; return its text."""
    lines = []
    for command in commands(part):
        lines.append(f"$ {command}")
        output = cleaned(run(project, command), project.path).splitlines()
        lines += shown(output, part.only) if part.only else output
    return "\n".join(lines) + "\n"


def shown(lines: list[str], only: re.Pattern[str]) -> Iterator[str]:
    """Yield the lines that fit, and a mark for those between them that don't."""
    kept = [number for number, line in enumerate(lines) if only.search(line)]
    for before, number in zip([None, *kept], kept, strict=False):
        if before is not None and number > before + 1:
            yield "…"
        yield lines[number]


def run(project: Project, command: str) -> str:
    """Run a command in a shell, as somebody who has the project's environment active."""
    home = project.path.parent / "home"
    home.mkdir(exist_ok=True)
    who = {
        f"GIT_{role}_{key}": text
        for role in ("AUTHOR", "COMMITTER")
        for key, text in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
    }
    environment = {
        **plugins_for(),
        **who,
        "COLUMNS": "88",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = project.run("sh", "-c", command, env=environment, status=None)
    return done.stdout + done.stderr


def cleaned(output: str, path: Path) -> str:
    """Return an output without pytest's header, lines of progress and the directory's name."""
    output = output.replace(str(path.parent), "/home/ada")
    output = re.sub(r"(?ms)^=+ test session starts =+\n.*?^collected[^\n]*\n\n", "", output)
    output = re.sub(r"(?m)^mlflow: .* …\n", "", output)
    return "\n".join(line.rstrip() for line in output.strip("\n").splitlines())


def comparable(text: str) -> str:
    """Return a text without what differs from run to run: numbers, ids, times, spaces."""
    text = re.sub(r"\d{8}-\d{6}-[0-9a-f]{8}|\b[0-9a-f]{7,40}\b", "#", text)
    # Pytest cuts lines to the width of the terminal.
    text = re.sub(r"(?m)[-+ (%\d.,]*\.\.\.$", "...", text)
    text = re.sub(r"[-+]?\d[\d.,:%]*(e-\d+)?", "#", text)
    # The examples train without a seed.
    text = re.sub(r"\b(better|worse) than what was accepted", "beside what was accepted", text)
    # Costs are those of the machine, and so is their order.
    text = re.sub(r"(?m)^.*\b(cpu_seconds|duration_seconds|peak_memory_mb)\b.*\n", "", text)
    text = re.sub(r"p [<=] #", "p", text)
    text = re.sub(r"\b(second|minute|run|fresh run|file|session|case|value)s\b", r"\1", text)
    text = re.sub(r"=+", "=", text)
    return re.sub(r"[ \t]+", " ", text)
