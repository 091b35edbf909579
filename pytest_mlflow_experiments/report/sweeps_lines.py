"""Sweeps as lines for the terminal: the best configuration, how sure that is, what mattered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..sweeps.model import Configuration, Sweep
from ..sweeps.noise import within_noise
from . import numbers
from .line import Line
from .sweeps_text import choice, known_share, percent, score, short, why_no_best
from .text import cut

_SHOWN = 5
_LENGTH = 100
_TIMES = "\N{MULTIPLICATION SIGN}"


def sweep_lines(sweeps: Sequence[Sweep]) -> Iterator[Line]:
    """Yield two lines for each of the first sweeps that had something to choose between."""
    found = [sweep for sweep in sweeps if sweep.mode is not None and len(sweep.configurations) > 1]
    for number, sweep in enumerate(found[:_SHOWN]):
        title = "sweeps" if len(found) > 1 else "sweep"
        head = title if number == 0 else ""
        yield Line(f"  {head:<17}{'; '.join(_facts(sweep))}")
        yield Line(f"  {'':<17}  {_answer(sweep)}")
    if len(found) > _SHOWN:
        more = numbers.count(len(found) - _SHOWN, "more sweep")
        yield Line(f"  {'':<17}… and {more}: see the report")


def size(sweep: Sweep) -> str:
    """Return how many configurations there are, and how often each was repeated."""
    text = numbers.count(len(sweep.configurations), "configuration")
    repeats = {found.cases for found in sweep.configurations}
    if repeats == {1}:
        return text
    if len(repeats) > 1:
        return f"{text}, {numbers.count(sweep.cases, 'case')}"
    seeds = {"seed", "random_state"}.intersection(sweep.repeats)
    return f"{text} {_TIMES} {numbers.count(repeats.pop(), 'seed' if seeds else 'repeat')}"


def varying(sweep: Sweep, found: Configuration) -> dict[str, str]:
    """Return the params of a configuration, without those that are the same in all of them."""
    params = {
        name: text
        for name, text in found.params.items()
        if any(other.params.get(name) != text for other in sweep.configurations)
    }
    return params or dict(found.params)


def _facts(sweep: Sweep) -> Iterator[str]:
    yield f"{cut(short(sweep.name), _LENGTH)}: {size(sweep)}"
    if sweep.failed:
        yield f"{sweep.failed:,} of {numbers.count(sweep.cases, 'case')} did not pass"
    # A param that is different in every configuration explains everything, and nothing.
    measured = sum(found.mean is not None for found in sweep.configurations)
    for effect in sweep.effects:
        share = known_share(effect)
        if share and len(effect.levels) < measured:
            yield f"{short(effect.param)} mattered most ({percent(share)})"
            return


def _answer(sweep: Sweep) -> str:
    best = sweep.best
    if best is None:
        return why_no_best(sweep)
    text = f"best {cut(choice(varying(sweep, best)), _LENGTH)}: "
    text += f"{sweep.objective} {score(best)}"
    told = sum(found.p_value is not None for found in sweep.configurations)
    if told:
        near = len(within_noise(sweep))
        text += f", {near:,} of {numbers.count(told, 'other')} within noise"
    return text
