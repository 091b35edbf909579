"""The metrics of the page as HTML: cards of what got worse, and the table of each group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from ...regression.comparison import Comparison, MetricComparison
from .. import numbers
from .markup import Room, breakable, command, escape, region, status_mark
from .metrics import (
    CARDS,
    GROUPS,
    OPEN_CARDS,
    Data,
    commands,
    count_groups,
    is_plain,
    sure,
    tendency_of,
    when,
)


@final
@dataclass(frozen=True, slots=True)
class MetricRows:
    """Renders the metrics of a comparison into the room of a page; ``data`` is for its script."""

    comparison: Comparison
    data: Data
    room: Room

    def worse(self, metrics: Sequence[MetricComparison]) -> str:
        """Return what got worse: cards for the first ones, and a table of the others."""
        if not metrics:
            return ""
        cards, left_out = self.room.items(enumerate(metrics[:CARDS]), self._card, 0.5)
        later = [metric for _, metric in left_out] + [*metrics[CARDS:]]
        table = f"{self._table('worse', later, marked=True)}\n" if later else ""
        return (
            '<section class="group worse" aria-labelledby="worse">\n'
            f'<h2 id="worse">{GROUPS["worse"]} <small>{_counted(metrics)}</small></h2>\n'
            f"{cards}{table}</section>\n"
        )

    def open_group(self, group: str, metrics: Sequence[MetricComparison]) -> str:
        """Return the table of a group that is read at once."""
        head = f"{GROUPS[group]} <small>{_counted(metrics)}</small>"
        if not self._compared and group == "undecided":
            head = (
                f"{numbers.count(len(metrics), 'value')} recorded "
                "<small>the closest to its assertion first</small>"
            )
        return (
            f'<section class="group {group}" aria-labelledby="{group}">\n'
            f'<h2 id="{group}">{head}</h2>\n'
            f"{self._table(group, metrics, marked=self._compared)}\n</section>\n"
        )

    def folded_group(self, group: str, metrics: Sequence[MetricComparison]) -> str:
        """Return the table of a group that is folded."""
        head = f"{GROUPS[group]} <small>{len(metrics):,}"
        is_informational = group == "informational"
        if is_informational:
            head += ": costs, and metrics without a direction; they never fail a session"
        return (
            f'<details class="group {group}"><summary><h2 id="{group}">{head}</small></h2>'
            "</summary>\n"
            f"{self._table(group, metrics, marked=is_informational and self._compared)}\n"
            "</details>\n"
        )

    @property
    def _compared(self) -> bool:
        return self.comparison.baseline is not None

    def _card(self, numbered: tuple[int, MetricComparison]) -> str:
        number, metric = numbered
        parts = [
            f"<details class=\"card\" data-m='{self.data.row(metric)}'",
            f"{' open' if number < OPEN_CARDS else ''}>\n",
            f"<summary><h3>{status_mark(metric.status)} <b>{breakable(metric.metric)}</b> ",
            f'<span>{breakable(metric.name)}</span></h3>\n<p class="figures">{_figures(metric)}',
            f"</p></summary>\n<dl><dt>When<dd>{escape(when(metric, self.comparison))}\n",
        ]
        if certain := sure(metric):
            parts.append(f"<dt>Sure?<dd>{escape(certain)}\n")
        parts.append(f"<dt>Compared<dd>{escape(metric.reason)}\n")
        if metric.margin:
            limit = escape(numbers.assertion(metric.margin))
            parts.append(f"<dt>Assertion<dd>{limit}: {numbers.room(metric)}\n")
        parts.append('</dl>\n<div class="history"></div>\n')
        parts.extend(command(label, text) for label, text in commands(metric, self.comparison))
        parts.append("</details>\n")
        return "".join(parts)

    def _table(self, group: str, metrics: Sequence[MetricComparison], *, marked: bool) -> str:
        before = '<th scope="col" data-sort="number">'
        compared = f"{before}Before{before}Change" if self._compared else ""

        def row(metric: MetricComparison) -> str:
            return self._row(metric, marked=marked)

        rows, left_out = self.room.items(metrics, row, 1, last=is_plain)
        told = ""
        if left_out:
            told = (
                f" … and {len(left_out):,} more that this page has no room for: "
                f"{_counted(left_out)}; all of them are in <code>report.json</code>"
            )
        return (
            f'{region(GROUPS[group])}\n<table class="metrics">\n'
            '<thead><tr><th scope="col" data-sort="text">Metric and test'
            f'{before}Now{compared}<th scope="col">Assertion</thead>\n<tbody>\n{rows}'
            '</tbody></table></div>\n<p class="rest"><span class="counted" role="status"></span> '
            f'<button type="button" class="more" hidden>Show more</button>{told}</p>\n'
        )

    def _row(self, metric: MetricComparison, *, marked: bool) -> str:
        """Return one row of a table. What its chart needs is the script's."""
        mark = f" {status_mark(metric.status)}" if marked else ""
        compared = ""
        if self._compared:
            share, tendency = numbers.finite(metric.relative), tendency_of(metric)
            size = numbers.signed(metric.change) if share is None else numbers.relative(share)
            style = f' class="{tendency}"' if tendency else ""
            compared = f"<td>{numbers.value(metric.baseline)}<td{style}>{size}"
        limit = ""
        if metric.margin:
            style = ' class="worse"' if metric.margin_shrank else ""
            limit = (
                f"{escape(numbers.assertion(metric.margin))}<small{style}>{numbers.room(metric)}"
                "</small>"
            )
        return (
            f"<tr data-m='{self.data.row(metric)}'><th scope=\"row\">"
            f"<b>{breakable(metric.metric)}</b>{mark}<small>{breakable(metric.name)}</small>"
            f"<td>{numbers.value(metric.current)}{compared}<td>{limit}\n"
        )


def _figures(metric: MetricComparison) -> str:
    if metric.current is None:
        return f"was {numbers.value(metric.baseline)}"
    if metric.baseline is None:
        return numbers.value(metric.current)
    several = len(metric.values) > 1
    mean = f" <small>mean of {len(metric.values)} values</small>" if several else ""
    step, change = numbers.step(metric), numbers.change(metric)
    return f'{step} <span class="worse">{change}</span>{mean}'


def _counted(metrics: Iterable[MetricComparison]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in count_groups(metrics).items())
