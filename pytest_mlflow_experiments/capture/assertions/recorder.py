"""What rewritten assertions call: keep the operands of one comparison as plain floats.

The current test case is found in one module-level slot, so that assertions in threads, callbacks
and coroutines find it too. Nothing here may disturb the assertion: no exception leaves, no operand
is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, final

from .operands import as_approx, as_number
from .unseen import unseen

if TYPE_CHECKING:
    from ...records import Operator
    from .sites import Site

MAX_OBSERVATIONS: Final = 10_000
"""How many observations of one case are kept, and as many failing ones again."""

# Site, value, limit, tolerance, whether it passed, reading of the clock.
_Raw: TypeAlias = "tuple[Site, float, float, float | None, bool, float]"


class Observation(NamedTuple):
    """One comparison as it was made, turned so that it reads ``value operator limit``.

    ``tolerance`` is the absolute distance that :func:`pytest.approx` allows, for ``==``. ``site``
    is the place of the comparison: file, line and column. ``clock`` is a reading of
    :func:`time.perf_counter`. ``alternative`` tells that the assertion could hold although this
    comparison did not, as in ``a < b or c``.
    """

    name: str
    operator: Operator
    value: float
    limit: float
    tolerance: float | None
    passed: bool
    line: int
    site: tuple[str, int, int]
    clock: float
    alternative: bool = False


@final
class Observations:
    """The observations of one case, in the order of their time.

    They are kept as plain tuples, which are made in half the time, until someone looks at them.
    """

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw: list[_Raw] = []

    def __len__(self) -> int:
        return len(self.raw)

    def __iter__(self) -> Iterator[Observation]:
        for site, value, limit, tolerance, passed, clock in self.raw:
            name, operator, line, place, _, alternative, _ = site
            yield Observation(
                name, operator, value, limit, tolerance, passed, line, place, clock, alternative
            )


class ObservationSink(Protocol):
    """Where the observations of one test case go."""

    observations: Observations
    dropped: int


current: ObservationSink | None = None
"""The sink of the case that runs now. Whoever sets it puts back what was there before."""


@unseen
def record(
    site: Site,
    value: object,
    limit: object,
    result: object,
    # A default, for tools that freeze time replace the functions of the time module wherever a
    # module holds them.
    _clock: Callable[[], float] = perf_counter,
) -> None:
    """Keep one ordering of two numbers; anything else is ignored."""
    sink = current
    if sink is None:
        return
    # Two floats are by far the commonest, and nothing here can fail for them. There is no "try"
    # around it, so that what a signal handler raises meanwhile (a timeout) reaches the test.
    # Constants of the bytecode are plain tuples: a site's items have no names here.
    if type(value) is float and type(limit) is float:
        passed = result is not site[4]
        raw = sink.observations.raw
        if len(raw) < MAX_OBSERVATIONS or _has_room(sink, passed):
            raw.append((site, value, limit, None, passed, _clock()))
        return
    try:
        number = value if type(value) is float else as_number(value)
        bound = limit if type(limit) is float else as_number(limit)
        if number is not None and bound is not None and _counts(site, number, bound):
            _keep(sink, site, float(number), float(bound), None, bool(result), _clock())
    except Exception:  # noqa: BLE001 - operands are anything, and the assertion must not notice
        return


@unseen
def record_approx(
    site: Site,
    value: object,
    limit: object,
    result: object,
    _clock: Callable[[], float] = perf_counter,
) -> None:
    """Keep one ``==`` of a number and a :func:`pytest.approx` of one; anything else is ignored."""
    sink = current
    if sink is None:
        return
    try:
        approx = as_approx(limit) or as_approx(value)
        if approx is None:
            return
        number = approx.expected if approx.source is value else as_number(value)
        bound = approx.expected if approx.source is limit else as_number(limit)
        if number is not None and bound is not None and _counts(site, number, bound):
            tolerance = approx.tolerance
            _keep(sink, site, float(number), float(bound), tolerance, bool(result), _clock())
    except Exception:  # noqa: BLE001 - as above
        return


del perf_counter


@unseen
def _counts(site: Site, value: float, limit: float) -> bool:
    """Tell whether two numbers count: two integers only where that is asked for."""
    return type(value) is not int or type(limit) is not int or site[6]


@unseen
def _keep(
    sink: ObservationSink,
    site: Site,
    value: float,
    limit: float,
    tolerance: float | None,
    result: bool,
    clock: float,
) -> None:
    passed = result is not site[4]
    raw = sink.observations.raw
    if len(raw) < MAX_OBSERVATIONS or _has_room(sink, passed):
        raw.append((site, value, limit, tolerance, passed, clock))


@unseen
def _has_room(sink: ObservationSink, passed: bool) -> bool:
    """Tell whether a full sink takes one more, and count what it does not take."""
    if not passed and len(sink.observations.raw) < 2 * MAX_OBSERVATIONS:
        return True
    sink.dropped += 1
    return False
