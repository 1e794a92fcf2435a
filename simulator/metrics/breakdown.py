"""Where the step goes: every second of a stage's compute lane in one category.

Compute, recomputation, optimizer and other time is what the lane does. What it does not do, it
waits for: the wait before a task is followed back from the task through the communication that it
waited for. Time while that communication ran is **exposed**; time before it, while another stage
still computed, is **bubble**. The categories of a stage add up to the step time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.program.tasks import NONE, Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from simulator.engine.trace import Trace

CATEGORIES: Final[Mapping[SpanKind, str]] = {
    SpanKind.FORWARD: "compute",
    SpanKind.BACKWARD: "compute",
    SpanKind.INPUT_GRADIENT: "compute",
    SpanKind.WEIGHT_GRADIENT: "compute",
    SpanKind.RECOMPUTE: "recompute",
    SpanKind.TENSOR: "exposed_tensor",
    SpanKind.CONTEXT: "exposed_context",
    SpanKind.EXPERT: "exposed_expert",
    SpanKind.PIPELINE: "exposed_pipeline",
    SpanKind.DATA: "exposed_data",
    SpanKind.OFFLOAD: "exposed_offload",
    SpanKind.GATE: "bubble",
    SpanKind.OPTIMIZER: "optimizer",
    SpanKind.OTHER: "other",
}
"""Category of the breakdown by what a span is; ``other`` is host work and launch waits."""

BUBBLE: Final = CATEGORIES[SpanKind.GATE]
NAMES: Final = (*dict.fromkeys(CATEGORIES.values()),)
COLUMN: Final = {kind: NAMES.index(name) for kind, name in CATEGORIES.items()}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Seconds by category for each rank class, and the mean over all ranks."""

    by_class: tuple[Mapping[str, float], ...]
    mean: Mapping[str, float]

    @property
    def bubble(self) -> float:
        """Mean bubble of a rank [s]."""
        return self.mean[BUBBLE]


def break_down(trace: Trace) -> Breakdown:
    """Return where the step time of every rank class goes [s].

    Each class's categories add up to the step time (to rounding); so does their mean over ranks.
    """
    spent = _busy(trace)
    for rank_class, awaited, start, end in _waits(trace):
        _follow(trace, awaited, start, end, spent[rank_class])
    weights = trace.program.weight / trace.program.weight.sum()
    return Breakdown(
        by_class=tuple(dict(zip(NAMES, row, strict=True)) for row in spent.tolist()),
        mean=dict(zip(NAMES, (weights @ spent).tolist(), strict=True)),
    )


def _busy(trace: Trace) -> NDArray[np.float64]:
    """Return the time of compute-lane tasks by class and category, as their patterns divide it."""
    program = trace.program
    shares = np.zeros((len(program.patterns) + len(SpanKind), len(NAMES)))
    for number, pattern in enumerate(program.patterns):
        for kind, seconds in pattern.lane_time().items():
            shares[number, COLUMN[kind]] += seconds / pattern.duration
    for kind in SpanKind:
        shares[len(program.patterns) + kind, COLUMN[kind]] = 1.0
    on_lane = np.flatnonzero(program.lane == Lane.COMPUTE)
    number_of = program.pattern[on_lane].astype(np.int64)
    plain = len(program.patterns) + program.kind[on_lane].astype(np.int64)
    row = np.where(number_of == NONE, plain, number_of)
    cell = program.rank_class[on_lane].astype(np.int64) * len(shares) + row
    size = program.rank_classes * len(shares)
    duration = trace.end[on_lane] - trace.start[on_lane]
    by_row = np.bincount(cell, weights=duration, minlength=size)
    spent: NDArray[np.float64] = by_row.reshape(program.rank_classes, len(shares)) @ shares
    return spent


def _waits(trace: Trace) -> Iterator[tuple[int, int, float, float]]:
    """Yield each wait of a compute lane: its class, the task awaited, its start and end."""
    program = trace.program
    on_lane = np.flatnonzero(program.lane == Lane.COMPUTE)
    tasks = on_lane[np.argsort(program.rank_class[on_lane], kind="stable")]
    owner = program.rank_class[tasks]
    begins = np.concatenate([[True], owner[1:] != owner[:-1]])
    free = np.where(begins, 0.0, np.concatenate([[0.0], trace.end[tasks[:-1]]]))
    for at in np.flatnonzero(trace.start[tasks] > free):
        task = tasks[at]
        yield int(owner[at]), int(trace.binding[task]), float(free[at]), float(trace.start[task])
    for rank_class in range(program.rank_classes):
        own = np.flatnonzero(program.rank_class == rank_class)
        last = int(own[np.argmax(trace.end[own])])
        computed = own[program.lane[own] == Lane.COMPUTE]
        end = float(trace.end[computed].max(initial=0.0))
        if end < trace.step_time:
            yield rank_class, last, end, trace.step_time


def _follow(
    trace: Trace, awaited: int, start: float, end: float, spent: NDArray[np.float64]
) -> None:
    """Divide the wait from start to end between the communication awaited and the bubble."""
    program = trace.program
    clock = end
    while clock > start and awaited != NONE:
        kind = SpanKind(int(program.kind[awaited]))
        if kind.is_communication:
            # After a class's last task nothing runs that it could wait for: bubble.
            over = max(start, min(clock, float(trace.end[awaited])))
            began = max(start, min(over, float(trace.start[awaited])))
            spent[COLUMN[SpanKind.GATE]] += clock - over
            spent[COLUMN[kind]] += over - began
            clock = began
        elif program.lane[awaited] != Lane.GATE:
            break
        awaited = int(trace.binding[awaited])
    spent[COLUMN[SpanKind.GATE]] += clock - start
