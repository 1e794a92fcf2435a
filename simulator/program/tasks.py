"""The program: one step as tasks on lanes, in columns.

A **task** takes a fixed time on a **lane** of a rank class, after other tasks. A lane is a serial
resource (compute, a communication stream); it plays its tasks in ascending order of their index.
A **gate** is a task of no duration on no lane: it only joins.

A task with `links` is a **flow**: after its ``latency`` it moves bytes over links that it may have
to share. Its ``duration`` is its time with the links to itself; while others use them it moves at
its fair share of their capacity. That is all an engine needs to know.

What happens inside a task is a **pattern** of segments (an attention kernel, a tensor-parallel
all-gather, …). Nothing outside waits for those moments, so the engine need not see them: the
trace unfolds them afterwards. Where something does wait for a moment inside an action (a gradient
bucket that is ready), the builder splits the action there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.program.links import Links
    from simulator.program.patterns import Pattern


class Lane(IntEnum):
    """A serial resource of one rank class."""

    GATE = -1
    """No lane: the task occupies nothing."""
    COMPUTE = 0
    TENSOR = 1
    CONTEXT = 2
    EXPERT = 3
    PIPELINE_SEND = 4
    PIPELINE_RECEIVE = 5
    DATA = 6
    HOST_TO_DEVICE = 7
    DEVICE_TO_HOST = 8
    STORAGE = 9
    HOST = 10
    ISLANDS = 11
    """The link of an island to the others, which all its ranks share: kept by rank class 0."""
    DATA_REDUCE = 12
    """A three-phase all-reduce's sum inside the node; its exchange between nodes is on `DATA`."""
    DATA_BROADCAST = 13
    """Its broadcast inside the node."""


class SpanKind(IntEnum):
    """What time is spent on: the categories of the breakdown and the colours of the pictures."""

    GATE = 0
    FORWARD = 1
    BACKWARD = 2
    INPUT_GRADIENT = 3
    WEIGHT_GRADIENT = 4
    RECOMPUTE = 5
    OPTIMIZER = 6
    TENSOR = 7
    CONTEXT = 8
    EXPERT = 9
    PIPELINE = 10
    DATA = 11
    OFFLOAD = 12
    OTHER = 13

    @property
    def is_communication(self) -> bool:
        """Whether a lane that waits for this waits for communication."""
        return SpanKind.TENSOR <= self <= SpanKind.OFFLOAD


NONE: Final = -1
"""No pattern, peer, micro-batch, chunk, layer, action or predecessor."""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """One step of every simulated rank class; all columns have shape ``(tasks,)``."""

    rank_classes: int
    stage: NDArray[np.int32]
    """Pipeline stage of each rank class, shape ``(rank_classes,)``."""
    weight: NDArray[np.float64]
    """Ranks that each class stands for, shape ``(rank_classes,)``."""
    rank_class: NDArray[np.int32]
    lane: NDArray[np.int8]
    kind: NDArray[np.int8]
    duration: NDArray[np.float64]
    """Time of the task [s]; of a flow, with its links to itself."""
    latency: NDArray[np.float64]
    """The part of a transfer's duration before its bytes move [s]; 0 for other tasks."""
    action: NDArray[np.int8]
    """Ordinal of the schedule's action kind; `NONE` for tasks outside the schedule."""
    micro_batch: NDArray[np.int32]
    chunk: NDArray[np.int32]
    peer: NDArray[np.int32]
    """Rank class that receives a transfer; `NONE` otherwise."""
    n_bytes: NDArray[np.float64]
    layer: NDArray[np.int32]
    """First layer of the task; the layers of its pattern count from it."""
    pattern: NDArray[np.int32]
    """Index into ``patterns``; `NONE` for plain tasks."""
    name: NDArray[np.int32]
    """Index into ``names``."""
    collective: NDArray[np.bool_]
    """Whether replicas of the class run the task together (unfolding joins them there)."""
    predecessor_offsets: NDArray[np.int64]
    """Predecessors of task i are ``predecessors[offsets[i]:offsets[i + 1]]``."""
    predecessors: NDArray[np.int64]
    links: Links
    """What flows share."""
    patterns: tuple[Pattern, ...] = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.duration)

    @property
    def clock_dependent(self) -> bool:
        """Whether any two flows could share a link: their times then depend on the clock."""
        return len(self.links) > 0 and bool(self.links.shared(self.lane_key()).any())

    def predecessors_of(self, task: int) -> NDArray[np.int64]:
        """Return the tasks that must end before ``task`` starts, lane order apart."""
        first, last = self.predecessor_offsets[task], self.predecessor_offsets[task + 1]
        return self.predecessors[first:last]

    def lane_key(self) -> NDArray[np.int64]:
        """Return an integer per task that is equal for tasks of one lane; gates get -1 - index."""
        lanes = len(Lane)
        key = self.rank_class.astype(np.int64) * lanes + self.lane
        return np.where(self.lane == Lane.GATE, -1 - np.arange(len(self)), key)

    def lane_predecessor(self) -> NDArray[np.int64]:
        """Return the task before each task on its lane, `NONE` for the first."""
        on_lane = np.flatnonzero(self.lane != Lane.GATE)
        key = self.rank_class[on_lane].astype(np.int64) * len(Lane) + self.lane[on_lane]
        if self.rank_classes * len(Lane) <= np.iinfo(np.uint16).max:
            key = key.astype(np.uint16)  # numpy sorts these by their digits: no comparisons
        sorted_by_lane = np.argsort(key, kind="stable")
        order = on_lane[sorted_by_lane]
        before = np.full(len(self), NONE, dtype=np.int64)
        same = np.diff(key[sorted_by_lane]) == 0
        before[order[1:][same]] = order[:-1][same]
        return before

    def label(self, task: int) -> str:
        """Return a short name of a task for messages, such as ``stage 3 compute F5.1``."""
        lane = Lane(int(self.lane[task])).name.lower()
        text = f"stage {self.stage[self.rank_class[task]]} {lane} {self.names[self.name[task]]}"
        if self.micro_batch[task] != NONE:
            text += f" (micro-batch {self.micro_batch[task]}, chunk {self.chunk[task]})"
        return text
