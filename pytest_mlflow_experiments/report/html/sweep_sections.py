"""The sweeps of the page as HTML: the answer of each in a line; inside it ranking and plots."""

from __future__ import annotations

from collections.abc import Callable

from ...regression.sweeps.model import Level
from .. import numbers, sweep_text
from ..text import cut
from .markup import Room, escape, region
from .ranking import ConfigurationRow, Marginal
from .svg import draw_level
from .sweeps import SweepsView, SweepView

_MARGINALS = 6
"""The number of params that are open."""


def sweep_sections(sweeps: SweepsView, room: Room) -> str:
    """Return all sweeps as one section of the page."""
    if not sweeps.shown:
        return ""

    def details(view: SweepView) -> str:
        return (
            f'<details class="sweep" id="sweep-{view.number}"><summary>{_line(view)}</summary>\n'
            f"{_body(view, room)}\n</details>\n"
        )

    shown, unshown = room.items(sweeps.shown, details, room.minor(0.5))
    more = ""
    if left_out := sweeps.left_out + len(unshown):
        counted = numbers.count(left_out, "more sweep")
        more = f"<p>… and {counted}, all of them in <code>report.json</code></p>\n"
    return (
        '<section class="sweeps" aria-labelledby="sweeps">\n<h2 id="sweeps">'
        f"{'Sweeps' if len(sweeps.shown) > 1 else 'Sweep'}</h2>\n{shown}{more}</section>\n"
    )


def _line(view: SweepView) -> str:
    sweep = view.sweep
    name = f"<code>{escape(cut(sweep.name, 150))}</code>"
    if sweep.best is None:
        return f'{name} <span class="open">{escape(sweep_text.why_no_best(sweep))}</span>'
    best = escape(cut(sweep_text.choice(dict(view.best[:4])), 150))
    more = ", …" if len(view.best) > 4 else ""
    score = f"{escape(cut(sweep.objective or '', 80))} {sweep_text.score(sweep.best)}"
    told = ""
    if standing := sweep_text.standing(sweep):
        style = "sure" if standing == "clear winner" else "open"
        told = f' <span class="{style}">{escape(standing)}</span>'
    return f"{name} <span>{best}{more}</span> <b>{score}</b>{told}"


def _body(view: SweepView, room: Room) -> str:
    sweep = view.sweep
    by = ""
    if sweep.objective is not None:
        by = f" by <code>{escape(cut(sweep.objective, 80))}</code>"
    if sweep.mode:
        by += f" ({'greater' if sweep.mode == 'max' else 'smaller'} is better)"
    facts = escape(" ".join(view.facts))
    parts = [f"<p>{escape(sweep_text.size(sweep))}{by}. {facts}</p>\n"]
    if view.constants:
        parts.append(f'<p class="soft">The same in every point: {escape(view.constants)}</p>\n')
    told, _ = room.items(sweep.notes, lambda note: f'<p class="soft">{escape(note)}</p>\n')
    parts += (told, _ranking(view, room))
    if view.data is not None and room.fits(view.data):
        parts.append(
            f'<div class="plots" data-plots="sweep-data-{view.number}"><p class="soft">The plots '
            "are drawn by the script of this page, which does not run here. The tables have the "
            'same numbers.</p></div>\n<script type="application/json" '
            f'id="sweep-data-{view.number}">{view.data}</script>\n'
        )
    if view.marginals:
        first, _ = room.items(view.marginals[:_MARGINALS], _marginal)
        parts.append(
            '<h3>What each param does</h3>\n<p class="soft">The mean of '
            f"{escape(cut(sweep.objective or '', 80))} over all points with a value, on one scale "
            "for all params; the line is a standard deviation to either side. Where an F-test "
            "says that it is no chance, the percentage is the part of the variance that the "
            f'param alone explains.</p>\n<div class="marginals">\n{first}</div>\n'
        )
        if later := view.marginals[_MARGINALS:]:
            others, _ = room.items(later, _marginal)
            parts.append(
                f"<details><summary>{numbers.count(len(later), 'more param')}</summary>\n"
                f'<div class="marginals">\n{others}</div></details>\n'
            )
    return "".join(parts)


def _ranking(view: SweepView, room: Room) -> str:
    sweep, table = view.sweep, view.ranking
    rows, unshown = room.items(table.rows, _row_renderer(view))
    told = []
    if left_out := table.left_out + len(unshown):
        verb = "is" if left_out == 1 else "are"
        more = numbers.count(left_out, "more point")
        told.append(f" {more} {verb} not in this page; <code>report.json</code> has all.")
    if table.metrics_left_out:
        verb = "has" if table.metrics_left_out == 1 else "have"
        told.append(f" {numbers.count(table.metrics_left_out, 'more metric')} {verb} no column.")
    if sweep.second is not None:
        names = (escape(cut(name or "", 60)) for name in (sweep.objective, sweep.second))
        told.append(f" ◆ is on the Pareto front of {' and '.join(names)}.")
    if view.repeated:
        told.append(" Lines and ± are a standard deviation over the n repeats.")
    if view.compared:
        told.append(
            " Within noise: t-tests can't tell it from the best (p above 0.05, adjusted by Holm's "
            "method for the number of points)."
        )
    return (
        f"{region(f'Points of {escape(cut(sweep.name, 100))}', style='scroll tall')}\n"
        f'<table class="ranking" data-sweep="{view.number}">\n<thead><tr>{_head(view)}\n</thead>\n'
        f'<tbody>\n{rows}</tbody></table>\n</div>\n<p class="soft"><span class="counted" '
        'role="status"></span> <button type="button" class="more" hidden>Show more</button>'
        f"{''.join(told)}</p>\n"
    )


def _head(view: SweepView) -> str:
    sweep, table = view.sweep, view.ranking
    parts = ['<th scope="col" class="n" data-sort="0" aria-sort="ascending">#']
    if sweep.objective is not None:
        parts.append(
            f'<th scope="col" class="n" data-sort="1">{escape(cut(sweep.objective, 60))}'
            f'<th scope="col" class="drawn"><span>{table.scale.low:.4g}</span> '
            f"<span>{table.scale.high:.4g}</span>"
        )
    for name, sort in table.params.items():
        style = ' class="n"' if sort != "text" else ""
        parts.append(f'<th scope="col"{style} data-sort="{sort}">{escape(cut(name, 60))}')
    if sweep.objective is not None:
        if view.compared:
            parts.append('<th scope="col" data-sort="4">against the best')
        parts.append('<th scope="col" class="n" data-sort="3">worse by')
        if view.repeated:
            parts.append('<th scope="col" class="n" data-sort="2">n')
    for name, sort in table.metrics.items():
        parts.append(f'<th scope="col" class="n" data-sort="{sort}">{escape(cut(name, 60))}')
    if table.has_others:
        parts.append('<th scope="col">other params')
    return "".join(parts)


def _row_renderer(view: SweepView) -> Callable[[ConfigurationRow], str]:
    sweep, table = view.sweep, view.ranking
    scale, middle = table.scale, sweep.best.mean if sweep.best else None
    styles = {name: "param" if sort == "text" else "param n" for name, sort in table.params.items()}

    def render(row: ConfigurationRow) -> str:
        found = row.configuration
        parts = [f'<tr data-k="{row.keys}"']
        if row.mark or found.on_front:
            style = f"is-{row.mark}" if row.mark else ""
            parts.append(f' class="{style}{" on-front" if found.on_front else ""}"')
        parts.append('><td class="n"')
        if found.nodeids:
            more = f" and {len(found.nodeids) - 1:,} more" if len(found.nodeids) > 1 else ""
            parts.append(f' title="{escape(cut(found.nodeids[0], 200))}{more}"')
        parts.append(f">{row.rank}")
        if sweep.objective is not None:
            failed = ""
            if found.failed:
                counted = f"{found.failed:,} of {found.cases:,} failed"
                failed = f'<small class="worse">{counted}</small>'
            parts.append(
                f'<td class="n score">{numbers.plus_minus(found.mean, found.std)}{failed}'
                f'<td class="drawn">{draw_level(found, scale, middle)}'
            )
        for name, style in styles.items():
            text = found.params.get(name, "")
            brief = sweep_text.short(text)
            title = f' title="{escape(cut(text, 200))}"' if text and brief != text else ""
            parts.append(f'<td class="{style}"{title}>{escape(brief)}')
        if sweep.objective is not None:
            if view.compared:
                parts.append(
                    f'<td class="against">{escape(sweep_text.verdict(sweep, found, row.mark))}'
                )
            parts.append(f'<td class="n">{sweep_text.distance(found, row.mark)}')
            if view.repeated:
                parts.append(f'<td class="n">{found.n}')
        for name in table.metrics:
            parts += ('<td class="n">', numbers.value(found.metrics.get(name)))
        if table.has_others:
            others = escape(cut(sweep_text.choice(row.others), 400))
            parts.append(f'<td class="others" title="{others}">{others}')
        parts.append("\n")
        return "".join(parts)

    return render


def _marginal(marginal: Marginal) -> str:
    explained = ""
    if (share := marginal.share) is not None:
        width = f"{60 * max(0, min(share, 1)):.1f}"
        explained = (
            ' <span class="explains"><svg class="share" viewBox="0 0 60 8" aria-hidden="true">'
            '<rect class="whole" width="60" height="8" rx="2"/>'
            f'<rect width="{width}" height="8" rx="2"/></svg> {escape(numbers.percent(share))}'
            "</span>"
        )

    def line(level: Level) -> str:
        style = ' class="top-level"' if level is marginal.best else ""
        return (
            f'<tr{style}><th scope="row" title="{escape(cut(level.value, 200))}">'
            f"{escape(sweep_text.short(level.value))}"
            f"<td>{draw_level(level, marginal.scale, marginal.middle)}"
            f'<td class="n">{numbers.plus_minus(level.mean, level.std)}\n'
        )

    more = ""
    if marginal.left_out:
        counted = numbers.count(marginal.left_out, "more value")
        more = f'<tr><td colspan="3" class="soft">… and {counted}\n'
    return (
        f'<table class="marginal"><caption><b>{escape(cut(marginal.param, 80))}</b>{explained}'
        f"</caption>\n<tbody>\n{''.join(map(line, marginal.levels))}{more}</tbody></table>\n\n"
    )
