"""Where the step goes: every second of a stage's compute lane in one category.

Compute, recomputation, optimizer and other time is what the lane does. What it does not do, it
waits for: the wait before a task is followed back from the task through the communication that it
waited for. Time while that communication ran is **exposed**; time before it, while another stage
still computed, is **bubble**. The categories of a stage add up to the step time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from simulator.program.tasks import NONE, Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    _follow(trace, _waits(trace), spent)
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


class _Waits(NamedTuple):
    """Waits of compute lanes in columns, shape ``(waits,)``."""

    rank_class: NDArray[np.int64]
    awaited: NDArray[np.int64]
    """The task whose end ended the wait."""
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_]) -> _Waits:
        """Return the chosen waits."""
        return _Waits(
            self.rank_class[chosen], self.awaited[chosen], self.start[chosen], self.end[chosen]
        )


def _waits(trace: Trace) -> _Waits:
    """Return the waits of all compute lanes: before their tasks, and after the last."""
    program = trace.program
    on_lane = np.flatnonzero(program.lane == Lane.COMPUTE)
    tasks = on_lane[np.argsort(program.rank_class[on_lane], kind="stable")]
    owner = program.rank_class[tasks].astype(np.int64)
    begins = np.diff(owner, prepend=NONE) != 0
    free = np.where(begins, 0.0, np.concatenate([[0.0], trace.end[tasks[:-1]]]))
    late = np.flatnonzero(trace.start[tasks] > free)
    within = _Waits(owner[late], trace.binding[tasks[late]], free[late], trace.start[tasks[late]])
    after = _after_the_last(trace, tasks)
    return _Waits(
        np.concatenate([within.rank_class, after.rank_class]),
        np.concatenate([within.awaited, after.awaited]),
        np.concatenate([within.start, after.start]),
        np.concatenate([within.end, after.end]),
    )


def _after_the_last(trace: Trace, computed: NDArray[np.int64]) -> _Waits:
    """Return the wait of each class from its last compute task to the end of the step."""
    program = trace.program
    end = np.zeros(program.rank_classes)
    np.maximum.at(end, program.rank_class[computed], trace.end[computed])
    own = np.flatnonzero(program.rank_class != NONE)
    # The first of those that end last: sorted by class and end, ties from the last task back.
    order = own[np.lexsort((-own, trace.end[own], program.rank_class[own]))]
    ends_class = np.diff(program.rank_class[order], append=program.rank_classes) != 0
    last = order[ends_class]
    owner = program.rank_class[last].astype(np.int64)
    waits = _Waits(owner, last, end[owner], np.full(len(last), trace.step_time))
    return waits.where(waits.start < waits.end)


def _follow(trace: Trace, waits: _Waits, spent: NDArray[np.float64]) -> None:
    """Divide waits between the communication awaited and the bubble, all of them a link at a time.

    Each wait is followed from its end back through what was waited for: time while communication
    ran is exposed, time after it or before it is bubble.
    """
    program = trace.program
    column_of = np.array([COLUMN[kind] for kind in SpanKind])
    communicates = np.array([kind.is_communication for kind in SpanKind])
    bubble = COLUMN[SpanKind.GATE]
    cells = spent.reshape(-1)
    while len(waits.awaited):
        known = waits.awaited != NONE
        kind = np.where(known, program.kind[waits.awaited], SpanKind.GATE)
        talks = known & communicates[kind]
        # After a class's last task nothing runs that it could wait for: bubble.
        over = np.where(talks, np.minimum(waits.end, trace.end[waits.awaited]), waits.end)
        over = np.maximum(waits.start, over)
        began = np.where(talks, np.minimum(over, trace.start[waits.awaited]), waits.end)
        began = np.maximum(waits.start, began)
        row = waits.rank_class * len(NAMES)
        np.add.at(cells, row + bubble, np.where(talks, waits.end - over, 0.0))
        np.add.at(cells, row + column_of[kind], np.where(talks, over - began, 0.0))
        further = known & (talks | (program.lane[waits.awaited] == Lane.GATE))
        further &= began > waits.start
        np.add.at(cells, row + bubble, np.where(further, 0.0, began - waits.start))
        waits = waits._replace(awaited=trace.binding[waits.awaited], end=began).where(further)
