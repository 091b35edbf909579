"""The formats of reports, by the suffix of their files."""

from __future__ import annotations

from ..regression.comparison import Comparison

ALWAYS = (".html", ".md", ".json")
"""The formats of the reports that every session gets."""

SUFFIXES = (*ALWAYS, ".xml")
"""All formats there are."""


def render(comparison: Comparison, suffix: str) -> str | None:
    """Return the comparison in the format of a suffix, or None where there is no such format."""
    if suffix == ".html":
        from .html.page import render_html

        return render_html(comparison)
    if suffix == ".md":
        from .markdown import render_markdown

        return render_markdown(comparison)
    if suffix == ".json":
        from .json import render_json

        return render_json(comparison)
    if suffix == ".xml":
        from .junit import render_junit

        return render_junit(comparison)
    return None
