"""The curves of metrics with several steps: now, and in the newest past session with any."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from .comparison import Curve
from .values import MAX_CURVES, Lines, SessionValues, identity, lines_of


def curves(
    current: SessionValues, past: Sequence[SessionValues], seed_params: AbstractSet[str]
) -> tuple[Curve, ...]:
    """Return a session's curves with those of the past, in the order in which its cases ran.

    Failed cases are included; of the ``past``, the oldest first, only passed ones.
    """
    now = Lines()
    for key, lines in current.lines.items():
        now.extend(key, lines)
    for record in current.failed:
        case, _ = identity(record, seed_params)
        for metric, line in lines_of(record).items():
            now.extend((case, metric), (line,))
    order = {case: number for number, case in enumerate(current.cases)}
    found = []
    for case, metric in sorted(now, key=lambda key: order[key[0]]):
        values = current.cases[case]
        before = next((old for old in reversed(past) if (case, metric) in old.lines), None)
        found.append(
            Curve(
                case=case,
                name=values.name,
                nodeid=values.nodeid,
                metric=metric,
                current=tuple(now[case, metric]),
                baseline=() if before is None else tuple(before.lines[case, metric]),
                baseline_session=None if before is None else before.header.session_id,
            )
        )
    return tuple(found)


def curve_notes(found: Sequence[Curve]) -> list[str]:
    """Return a note if a session has more curves than are kept."""
    note = f"Of the metrics with several steps, the curves of {MAX_CURVES:,} at most are kept"
    return [note] if len(found) >= MAX_CURVES else []
