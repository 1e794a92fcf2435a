"""The reference engine: a program played by SimPy processes, one for each lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simpy

from simulator.engine.deadlock import deadlock_message
from simulator.engine.trace import Trace
from simulator.errors import DeadlockError

if TYPE_CHECKING:
    from collections.abc import Generator

    from simulator.program.tasks import Program


def play_events(program: Program) -> Trace:
    """Return the trace of ``program``.

    A task starts when its lane has played the task before it and all its predecessors have
    ended. Events at the same time are handled in the order in which they were scheduled; no
    start or end depends on that order.

    Raises
    ------
    DeadlockError
        If tasks wait for one another; the message names the tasks at which lanes stand and what
        they wait for.
    """
    player = _Player(program)
    player.environment.run()
    if player.unplayed:
        raise DeadlockError(deadlock_message(program, np.array(player.ended)))
    return Trace(program, np.array(player.start), np.array(player.end))


class _Player:
    """The clock, and what has ended so far."""

    def __init__(self, program: Program) -> None:
        self.environment = simpy.Environment()
        count = len(program)
        self.start = [0.0] * count
        self.end = [0.0] * count
        self.ended = [False] * count
        self.unplayed = count
        self._waiting: dict[int, simpy.Event] = {}
        self._offsets = program.predecessor_offsets.tolist()
        self._predecessors = program.predecessors.tolist()
        self._durations = program.duration.tolist()
        keys = program.lane_key()
        order = np.argsort(keys, kind="stable")
        boundaries = np.flatnonzero(np.diff(keys[order])) + 1
        for tasks in np.split(order, boundaries):
            if len(tasks):
                self.environment.process(self._lane(tasks.tolist()))

    def _lane(self, tasks: list[int]) -> Generator[simpy.Event, None, None]:
        """Play the tasks of one lane in order."""
        environment = self.environment
        for task in tasks:
            for before in self._predecessors[self._offsets[task] : self._offsets[task + 1]]:
                if not self.ended[before]:
                    yield self._end_of(before)
            self.start[task] = environment.now
            if self._durations[task] > 0:
                yield environment.timeout(self._durations[task])
            self._finish(task)

    def _end_of(self, task: int) -> simpy.Event:
        """Return the event of a task's end; made only where somebody waits for it."""
        if task not in self._waiting:
            self._waiting[task] = self.environment.event()
        return self._waiting[task]

    def _finish(self, task: int) -> None:
        self.end[task] = self.environment.now
        self.ended[task] = True
        self.unplayed -= 1
        if task in self._waiting:
            self._waiting.pop(task).succeed()
