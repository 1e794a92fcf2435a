"""The compiled engine without a compiler: a program level by level, in numpy.

The level of a task is the length of the longest chain of tasks before it. Tasks of one level do
not wait for one another, so numpy plays them in one go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.program.tasks import NONE
from simulator.ranges import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.program.tasks import Program

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Waits:
    """What every task waits for, its lane included, as edges in the order of the tasks."""

    offsets: Indices
    """Edges of task i are ``offsets[i]:offsets[i + 1]``; shape ``(tasks + 1,)``."""
    awaited: Indices
    """Task awaited by each edge."""

    @classmethod
    def of(cls, program: Program) -> Waits:
        """Return predecessors and lane order together."""
        before = program.lane_predecessor()
        held = before != NONE
        lane = np.flatnonzero(held)
        counts = np.diff(program.predecessor_offsets)
        merged = np.concatenate([[0], np.cumsum(counts + held)])
        awaited = np.empty(merged[-1], dtype=np.int64)
        # The lane's own edge comes first, so the others move up by the lanes counted so far.
        awaited[merged[lane]] = before[lane]
        shift = np.repeat(np.cumsum(held), counts)
        awaited[np.arange(len(program.predecessors)) + shift] = program.predecessors
        return cls(merged, awaited)


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Tasks sorted by level, and the edges that lead to each."""

    tasks: Indices
    """Tasks that can be played, level by level."""
    first: Indices
    """Where each level begins among ``tasks``, and at the end their number."""
    edges: Indices
    """Tasks awaited, in the order of ``tasks``."""
    edge_offsets: Indices
    """Edges of ``tasks[k]`` are ``edge_offsets[k]:edge_offsets[k + 1]``."""

    @classmethod
    def of(cls, waits: Waits) -> Levels:
        """Return the levels; tasks of a deadlock, and what waits for them, are left out."""
        count = len(waits.offsets) - 1
        left = np.diff(waits.offsets)
        waiter = np.repeat(np.arange(count), left)
        by_awaited = np.argsort(waits.awaited, kind="stable")
        releases = waiter[by_awaited]
        released = np.concatenate([[0], np.cumsum(np.bincount(waits.awaited, minlength=count))])
        left = left.copy()
        level = np.flatnonzero(left == 0)
        parts = []
        while len(level):
            parts.append(level)
            counts = released[level + 1] - released[level]
            waiters = releases[spread(released[level], counts)]
            np.subtract.at(left, waiters, 1)
            level = np.unique(waiters[left[waiters] == 0])
        tasks = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        counts = np.diff(waits.offsets)[tasks]
        return cls(
            tasks=tasks,
            first=np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)]),
            edges=waits.awaited[spread(waits.offsets[tasks], counts)],
            edge_offsets=np.concatenate([[0], np.cumsum(counts)]),
        )

    def play(
        self, duration: Floats, joint: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, Floats]:
        """Return start and end of every task [s], shaped like ``duration``.

        Parameters
        ----------
        duration
            Time of each task [s], shape ``(tasks,)``, or ``(tasks, copies)`` for many copies of
            the program side by side.
        joint
            Tasks that start when every copy has reached them, shape ``(tasks,)``.
        """
        start, end = np.zeros_like(duration), np.zeros_like(duration)
        for level, (first, last) in enumerate(zip(self.first[:-1], self.first[1:], strict=True)):
            tasks = self.tasks[first:last]
            if level:  # the first waits for nothing; every later task has an edge
                edges = slice(self.edge_offsets[first], self.edge_offsets[last])
                offsets = self.edge_offsets[first:last] - self.edge_offsets[first]
                start[tasks] = np.maximum.reduceat(end[self.edges[edges]], offsets)
            if joint is not None and joint[tasks].any():
                met = tasks[joint[tasks]]
                start[met] = start[met].max(axis=1, keepdims=True)
            end[tasks] = start[tasks] + duration[tasks]
        return start, end
