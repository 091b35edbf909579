"""Put the files beside docs/ that its pages link to on the site: the examples, the changelog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "tests/benchmarks/README.md")


def on_files(files: Files, config: Any) -> Files:
    """Add the files, below the same paths as in the repository."""
    found = [ROOT / name for name in BESIDE]
    found += [
        path
        for path in sorted(ROOT.joinpath("examples").rglob("*"))
        if path.is_file() and not re.search(r"__pycache__|/\.(?!env\.example)", path.as_posix())
    ]
    for path in found:
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links to files beside docs/ lead to where they are on the site."""
    if page.file.src_uri.startswith(("examples/", *BESIDE)):
        return markdown.replace("](docs/", "](").replace("](../../docs/", "](../../")
    if page.file.src_uri != "index.md":
        # A page is a directory on the site; what Markdown does not know is left as it is.
        markdown = re.sub(r'((?:src|srcset)=")pictures/', r"\1../pictures/", markdown)
    return re.sub(r"\]\(\.\./(?!\.\.)", "](", markdown)
