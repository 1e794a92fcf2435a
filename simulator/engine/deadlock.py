"""What is said when tasks wait for one another: the same words from every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.program.tasks import NONE, Lane

if TYPE_CHECKING:
    import networkx as nx
    from numpy.typing import NDArray

    from simulator.program.tasks import Program

NAMED_WAITS = 8
"""Waiting tasks that the message lists."""


def deadlock_message(program: Program, ended: NDArray[np.bool_]) -> str:
    """Return who waits for whom: the circle, or else every task at which a lane stands.

    Parameters
    ----------
    program
        What was played.
    ended
        Which of its tasks ended, shape ``(tasks,)``.
    """
    from networkx import DiGraph, NetworkXNoCycle, find_cycle  # noqa: PLC0415 - slow, and rare

    waits: nx.DiGraph[int] = DiGraph()
    before = program.lane_predecessor()
    left = np.flatnonzero(~ended)
    for task in left.tolist():
        waits.add_edges_from(
            (task, int(other))
            for other in (*program.predecessors_of(task), before[task])
            if other != NONE and not ended[other]
        )
    heads = _heads(program, left, before)
    try:
        circle = [edge[0] for edge in find_cycle(waits, heads)]
    except NetworkXNoCycle:
        circle = heads
    named = [program.label(task) for task in circle[:NAMED_WAITS]]
    more = len(circle) - len(named)
    listed = " <- ".join(named) + (f" <- … ({more} more)" if more > 0 else "")
    return (
        f"deadlock: {len(left)} of {len(program)} tasks never start; waiting in a circle: {listed}"
    )


def _heads(program: Program, left: NDArray[np.intp], before: NDArray[np.int64]) -> list[int]:
    """Return the tasks at which lanes stand, those on a lane of a rank class first."""
    unplayed = np.zeros(len(program) + 1, dtype=np.bool_)  # one more: an index of NONE reads False
    unplayed[left] = True
    heads = left[~unplayed[before[left]]]
    gates = program.lane[heads] == Lane.GATE
    return [*heads[~gates].tolist(), *heads[gates].tolist()]
