"""A sweep as markdown: its summary, the first configurations, the effects of params."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from ..regression.sweeps.model import Configuration, Effect, SliceTable, Sweep
from ..regression.sweeps.ranking import Mark, marks
from . import numbers
from .sweep_text import choice, distance, facts, score, size, varying, verdict, why_no_best
from .text import MarkdownPage, code, inline_text, table_row

_SHOWN = 5
_TOP = 5
_LONG_TOP = 10
_LEVELS = 8
_LIMIT = 6_000
_HEAD = ("", "params", "n", "worse by", "", "failed")


def add_sweeps(page: MarkdownPage, sweeps: Sequence[Sweep]) -> None:
    """Add a short section for each of the first sweeps with several configurations."""
    found = [
        sweep for sweep in sweeps if sweep.objective is not None and len(sweep.configurations) > 1
    ]
    for sweep in found[:_SHOWN]:
        page.add(f"#### Sweep {code(sweep.name)}: {size(sweep)}")
        _introduce(page, sweep)
        _rank(page, sweep, _TOP, share=0.2)
    if len(found) > _SHOWN:
        page.add(f"… and {numbers.count(len(found) - _SHOWN, 'more sweep')}")


def add_slices(page: MarkdownPage, tables: Sequence[SliceTable]) -> None:
    """Add a table for each of the first tests over parts of the data, the worst part first."""
    head = table_row(["slice", "now", "baseline", "change", "n", ""])
    for table in tables[:_SHOWN]:
        page.add(f"#### Slices of {code(table.name)}: {code(table.metric, 80)}")
        page.add_items(
            table.slices[:_LONG_TOP],
            lambda part: table_row(
                [
                    code(choice(part.params), 120),
                    numbers.value(part.current),
                    numbers.value(part.baseline),
                    numbers.signed(part.change),
                    str(len(part.history)),
                    f"**{part.status}**" if part.gates else part.status,
                ]
            ),
            before=f"{head}\n{table_row(['---', *['---:'] * 4, '---'])}",
            mark="\n",
            share=0.2,
            total=len(table.slices),
        )
    if len(tables) > _SHOWN:
        page.add(f"… and {numbers.count(len(tables) - _SHOWN, 'more table')} of slices")


def render_sweep(sweep: Sweep) -> str:
    """Return the description of a sweep's run in MLflow, at most 6,000 bytes."""
    page = MarkdownPage(_LIMIT)
    page.add(f"**{size(sweep)}** of {code(sweep.test)}")
    if sweep.objective is None:
        page.add(inline_text(" ".join((why_no_best(sweep), *(f"{note}." for note in sweep.notes)))))
        return page.text()
    _introduce(page, sweep)
    _rank(page, sweep, _LONG_TOP, share=0.6)
    effects = [effect for effect in sweep.effects if numbers.finite(effect.share) is not None]
    page.add_items(
        effects,
        _marginal_means,
        before=f"Means of {code(sweep.objective)} by param, and its share of the variance:\n",
        mark="- ",
    )
    return page.text()


def _introduce(page: MarkdownPage, sweep: Sweep) -> None:
    best, objective = sweep.best, code(sweep.objective or "", 80)
    if best is None:
        page.add(inline_text(why_no_best(sweep)))
    else:
        of = f" with {code(choice(varying(sweep, best)))}" if best.params else ""
        page.add(f"{objective} ({sweep.mode}) is best{of}: **{score(best)}**")
    told = [*facts(sweep), *(f"{note}." for note in sweep.notes)]
    if told:
        page.add(inline_text(" ".join(told), 1_000))


def _rank(page: MarkdownPage, sweep: Sweep, top: int, *, share: float) -> None:
    head = [*_HEAD[:2], code(sweep.objective or "", 80), *_HEAD[2:]]
    rule = ["---:", "---", *["---:"] * 3, "---", "---:"]
    # The last column tells what failed.
    failed = any(found.failed for found in sweep.configurations[:top])
    columns = slice(None if failed else -1)
    page.add_items(
        list(zip(count(1), sweep.configurations[:top], marks(sweep), strict=False)),
        lambda row: table_row(_cells(sweep, *row)[columns]),
        before=f"{table_row(head[columns])}\n{table_row(rule[columns])}",
        mark="\n",
        share=share,
        total=len(sweep.configurations),
    )


def _cells(sweep: Sweep, rank: int, found: Configuration, mark: Mark) -> list[str]:
    params = choice(varying(sweep, found))
    return [
        str(rank) if sweep.mode is not None else "",
        code(params, 120) if params else "",
        numbers.plus_minus(found.mean, found.std),
        str(found.n),
        distance(found, mark),
        verdict(sweep, found, mark),
        f"{found.failed:,} of {found.cases:,}" if found.failed else "",
    ]


def _marginal_means(effect: Effect) -> str:
    shown = [f"{code(level.value, 40)} {numbers.value(level.mean)}" for level in effect.levels]
    if len(shown) > _LEVELS:
        shown = [*shown[:_LEVELS], f"… and {len(effect.levels) - _LEVELS:,} more"]
    share = numbers.finite(effect.share) or 0.0
    return f"- {code(effect.param, 80)} ({numbers.percent(share)}): {', '.join(shown)}"
