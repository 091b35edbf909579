"""The sentences about a sweep: the best point, its certainty, the effects of params."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import fsum, isfinite, nan, prod

from ..regression.statistics import variance_ratio_p
from ..regression.sweeps.effects import usual_range
from ..regression.sweeps.model import Configuration, Effect, SliceTable, Sweep
from ..regression.sweeps.ranking import ALPHA, Mark, marks
from . import numbers
from .text import TerminalLine, cut, one_line, shorten

_VALUE_LENGTH = 60
_MATTERED = 3
_LEAST_SHARE = 0.05
_WHY_NO_MODE = "nobody knows which values are better"
# The modules of a class; without them its name tells it from others.
_MODULES = re.compile(
    r"(?<![\w./:@-])((?:[a-z_]\w*\.)+(?=[A-Z]\w*[a-z])|(?:[a-z_]\w*\.){2,}(?=[A-Z]))"
)


def choice(params: Mapping[str, str]) -> str:
    """Format params: ``C = 0.1, kernel = rbf``."""
    return ", ".join(f"{name} = {short(text)}" for name, text in params.items())


def short(text: str) -> str:
    """Shorten a param's value to at most 60 characters: a class to its name, as in pytest's ids."""
    return cut(one_line(_MODULES.sub("", text)), _VALUE_LENGTH) or "''"


def score(configuration: Configuration) -> str:
    """Format a score: ``0.9623 ± 0.0041 (n = 5)``; a single value has no n."""
    text = numbers.plus_minus(configuration.mean, configuration.std)
    return f"{text} (n = {configuration.n})" if configuration.n > 1 else text


def distance(configuration: Configuration, mark: Mark) -> str:
    """Format how much worse a point is than the best one: ``0.00467 (0.51 %)``."""
    number, relative = configuration.distance, numbers.finite(configuration.relative)
    if number is None or mark == "best":
        return ""
    text = numbers.signed(number).lstrip("+")
    return text if relative is None else f"{text} ({numbers.relative(relative).lstrip('+')})"


def verdict(sweep: Sweep, configuration: Configuration, mark: Mark) -> str:
    """Say how a point compares with the best one, with the p-value that decides it."""
    best = sweep.best
    if best is not None and configuration.n < best.n and configuration.distance == 0:
        # Its mean is better, or the same.
        return f"not ranked: {configuration.n} of {best.n} values"
    if mark not in ("near", "worse"):
        return mark
    word = mark.replace("near", "within noise")
    return f"{word}, {numbers.p_value(configuration.p_value)}"


def why_no_best(sweep: Sweep) -> str:
    """Say why no configuration is called the best; empty if one is."""
    if sweep.best is not None:
        return ""
    if sweep.objective is None:
        return "No case measured anything to compare by."
    if not any(found.mean is not None for found in sweep.configurations):
        return f"No case has a value of {sweep.objective}."
    if sweep.mode is None:
        return f"There is no best one, for {_WHY_NO_MODE} of {sweep.objective}."
    return (
        "No point is called the best, for none passed in all of its cases with a value of "
        f"{sweep.objective}."
    )


def standing(sweep: Sweep) -> str:
    """Say whether the best point is a clear winner; empty if there is no choice."""
    best, told = sweep.best, Counter(marks(sweep))
    others = sum(one is not best and one.mean is not None for one in sweep.configurations)
    if best is None or not others:
        return ""
    near, worse = told["near"], told["worse"]
    if near:
        of = numbers.count(others, "other point")
        return f"no clear winner: {near:,} of {of} can't be told from the best"
    if not worse:
        few = "repeats that don't scatter" if best.std == 0 else "so few values"
        few = "one value a point" if best.n < 2 else few
        return f"no clear winner: {few} can't tell a lead from noise"
    if rest := others - worse:
        has = "has" if rest == 1 else "have"
        of = numbers.count(others, "other point")
        return f"better than {worse:,} of {of}, of which {rest:,} {has} too few values to tell"
    return "clear winner"


def certainty(sweep: Sweep) -> str:
    """Say in a sentence whether the best point is a clear winner, and what those in front share."""
    text, found = standing(sweep), marks(sweep)
    if not text:
        return ""
    if text == "clear winner":
        others = found.count("worse")
        which = "the other point" if others == 1 else f"each of the other {others:,} points"
        text = f"{text}: {which} is worse by more than noise"
    elif "near" in found:
        first = [
            one.params
            for one, mark in zip(sweep.configurations, found, strict=True)
            if mark in ("best", "near")
        ]
        common = {
            name: value
            for name, value in varying(sweep, sweep.configurations[0]).items()
            if all(params.get(name) == value for params in first)
        }
        if common and len(first) < len(sweep.configurations):
            text = f"{text}, all with {choice(dict(list(common.items())[:_MATTERED]))}"
    elif "worse" not in found:
        text = f"{text}; repeat the cases over seeds"
    return f"{text[0].upper()}{text[1:]}."


def proven(sweep: Sweep) -> list[Effect]:
    """Return the effects of params that are no chance, by F-tests and Bonferroni's bound.

    In a full grid the effects add up, and what none explains is chance; elsewhere what the param
    itself does not explain. There is none where no point can be told from the best.
    """
    effects = [effect for effect in sweep.effects if effect.share is not None]
    if "near" in (found := marks(sweep)) and "worse" not in found:
        return []
    sizes = {effect.param: len(effect.levels) for effect in sweep.effects}
    points = max((sum(level.n for level in effect.levels) for effect in effects), default=0)
    is_grid = points == prod(sizes.values()) and all(
        level.n * sizes[effect.param] == points for effect in effects for level in effect.levels
    )

    def is_chance(effect: Effect) -> bool:
        told = effects if is_grid else [effect]
        rest = 1 - fsum(one.share or 0.0 for one in told)
        freedom = points - 1 - sum(sizes[one.param] - 1 for one in told)
        p = variance_ratio_p(effect.share or 0.0, sizes[effect.param], rest, freedom)
        return p * len(effects) > ALPHA

    return [effect for effect in effects if not is_chance(effect)]


def mattered(sweep: Sweep) -> str:
    """Say which params explain the differences, unless the best points can't be told apart."""
    effects = [effect for effect in sweep.effects if len(effect.levels) > 1]
    if not effects or "near" in marks(sweep):
        return ""
    if len(effects) == 1:
        if standing(sweep) != "clear winner":
            return ""
        means = [level.mean for level in effects[0].levels if isfinite(level.mean)] or [nan]
        text = f"{numbers.value(min(means))} and {numbers.value(max(means))}"
        return f"{shorten(effects[0].param, 60)} moves the mean between {text}."
    named = ", ".join(
        f"{shorten(effect.param, 60)} {numbers.percent(share)}"
        for effect in proven(sweep)[:_MATTERED]
        if (share := effect.share) is not None and share >= _LEAST_SHARE
    )
    return f"What mattered: {named} of the variance." if named else ""


def trade_off(sweep: Sweep) -> str:
    """Say which points are on the Pareto front of two objectives, if it is more than one."""
    front = [f"{rank:,}" for rank, one in enumerate(sweep.configurations, 1) if one.on_front]
    if len(front) < 2:
        return ""
    rest = len(front) - _SHOWN
    named = ", ".join(front[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
    both = f"{sweep.objective} and {shorten(sweep.second or '', 80)}"
    return f"On the Pareto front of {both}: points {named}."


def failures(sweep: Sweep) -> str:
    """Say how many cases did not pass; empty if all did."""
    if not sweep.failed:
        return ""
    where = sum(bool(found.failed) for found in sweep.configurations)
    cases = numbers.count(sweep.cases, "case")
    return f"{sweep.failed:,} of {cases} did not pass, in {numbers.count(where, 'point')}."


def far_off(sweep: Sweep) -> str:
    """Say how many points are left out of the means of params; empty if none is."""
    low, high = usual_range(sweep.configurations, sweep.mode)
    known = (numbers.finite(found.mean) for found in sweep.configurations)
    worst = [mean for mean in known if mean is not None and not low <= mean <= high]
    if not worst:
        return ""
    are = "is" if len(worst) == 1 else "are"
    points, farthest = numbers.count(len(worst), "point"), numbers.value(max(worst, key=abs))
    return f"{points} {are} far off ({farthest}) and left out of the means of params."


def facts(sweep: Sweep) -> list[str]:
    """Return all sentences about a sweep that apply."""
    found = (certainty(sweep), mattered(sweep), trade_off(sweep), far_off(sweep), failures(sweep))
    return [text for text in found if text]


_SHOWN = 5
_LENGTH = 100
_TIMES = "\N{MULTIPLICATION SIGN}"


def sweep_lines(sweeps: Sequence[Sweep]) -> Iterator[TerminalLine]:
    """Yield two lines for each of the first sweeps with a direction and several configurations."""
    found = [sweep for sweep in sweeps if sweep.mode is not None and len(sweep.configurations) > 1]
    for number, sweep in enumerate(found[:_SHOWN]):
        title = "sweeps" if len(found) > 1 else "sweep"
        head = title if number == 0 else ""
        yield TerminalLine(f"  {head:<17}{'; '.join(_facts(sweep))}")
        yield TerminalLine(f"  {'':<17}  {_answer(sweep)}")
    if len(found) > _SHOWN:
        more = numbers.count(len(found) - _SHOWN, "more sweep")
        yield TerminalLine(f"  {'':<17}… and {more}: see the report")


def slice_lines(tables: Sequence[SliceTable]) -> Iterator[TerminalLine]:
    """Yield a line with the worst part of the data, if any became worse."""
    worse = [part for table in tables for part in table.slices if part.is_worse]
    if worse:
        table, part = tables[0], tables[0].slices[0]
        others = f" (and {len(worse) - 1:,} more)" if len(worse) > 1 else ""
        change = f"{numbers.value(part.baseline)} to {numbers.value(part.current)}"
        change = "is missing" if part.status == "missing" else f"went from {change}"
        text = f"{short(table.name)}: {table.metric} of {cut(choice(part.params), _LENGTH)} "
        yield TerminalLine(f"  {'worst slice':<17}{text}{change}{others}", {"red": part.gates})


def size(sweep: Sweep) -> str:
    """Say how many points a sweep has, and how often each was repeated."""
    text = numbers.count(len(sweep.configurations), "point")
    repeats = {found.cases for found in sweep.configurations}
    if repeats == {1}:
        return text
    if len(repeats) > 1:
        return f"{text}, {numbers.count(sweep.cases, 'case')}"
    seeds = {"seed", "random_state"}.intersection(sweep.repeats)
    return f"{text} {_TIMES} {numbers.count(repeats.pop(), 'seed' if seeds else 'repeat')}"


def varying(sweep: Sweep, found: Configuration) -> dict[str, str]:
    """Return the params of a configuration that vary within the sweep, or all if none does."""
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
    if "near" not in marks(sweep) and (effects := proven(sweep)):
        yield f"{short(effects[0].param)} mattered most ({numbers.percent(effects[0].share or 0)})"


def _answer(sweep: Sweep) -> str:
    best = sweep.best
    if best is None:
        return why_no_best(sweep)
    text = f"best {cut(choice(varying(sweep, best)), _LENGTH)}: "
    text += f"{sweep.objective} {score(best)}"
    return ", ".join(filter(None, (text, standing(sweep))))
