"""The reference engine: a program played by SimPy processes, one for each lane."""

from __future__ import annotations

from functools import partial
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import simpy

from simulator.engine.deadlock import deadlock_message
from simulator.engine.flows import ActiveFlows, FlowTable
from simulator.engine.trace import Trace
from simulator.errors import DeadlockError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from simulator.program.tasks import Program


def play_events(program: Program) -> Trace:
    """Return the trace of ``program``.

    A task starts when its lane has played the task before it and all its predecessors have
    ended. Flows that meet on a link divide it max-min fairly (`simulator.engine.flows`). Events at
    the same time are handled in the order in which they were scheduled; no start or end depends on
    that order.

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
        self._wire = _Wire(self.environment, program)
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
            if task in self._wire.latency:
                yield self._wire.transfer(task)
            elif self._durations[task] > 0:
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


class _Wire:
    """The links in time: lets flows begin and end, and divides links anew as they do."""

    def __init__(self, environment: simpy.Environment, program: Program) -> None:
        table = FlowTable.of(program)
        latency = program.latency.tolist()
        self.latency = {flow: latency[flow] for flow in table.uses}
        """The flows that can meet others, and their time [s] before bytes move."""
        self._environment = environment
        self._active = ActiveFlows(table)
        self._done: dict[int, simpy.Event] = {}
        self._ends: list[tuple[float, int]] = []
        """Ends and their flows by time; some have moved since, `ActiveFlows.end_time` knows."""
        self._alarm: simpy.Event | None = None
        self._alarm_time = inf
        self._settling = False

    def transfer(self, flow: int) -> simpy.Event:
        """Return the event of the end of a flow that starts now."""
        done = self._done[flow] = self._environment.event()
        self._call(self.latency[flow], partial(self._begin, flow))
        return done

    def _begin(self, flow: int, _: simpy.Event) -> None:
        if self._active.start(flow, self._environment.now):
            self._expect((flow,))
        else:
            self._settle_later()

    def _settle_later(self) -> None:
        """Divide links once for all flows that start or end at this time."""
        if not self._settling:
            self._settling = True
            self._call(0.0, self._settle)

    def _settle(self, _: simpy.Event) -> None:
        self._settling = False
        self._expect(self._active.settle(self._environment.now))

    def _expect(self, flows: Iterable[int]) -> None:
        """Note the new ends of flows."""
        for flow in flows:
            heappush(self._ends, (self._active.end_time[flow], flow))
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Wake up at the next end."""
        ends, known = self._ends, self._active.end_time
        while ends and known.get(ends[0][1]) != ends[0][0]:
            heappop(ends)
        if ends and ends[0][0] < self._alarm_time:
            self._alarm_time = ends[0][0]
            rest = max(0.0, self._alarm_time - self._environment.now)
            self._alarm = self._call(rest, self._ring)

    def _ring(self, alarm: simpy.Event) -> None:
        """End the flows whose time has come."""
        if alarm is not self._alarm:
            return
        self._alarm_time = inf
        ends, known = self._ends, self._active.end_time
        while ends and ends[0][0] <= self._environment.now:
            time, flow = heappop(ends)
            if known.get(flow) == time:
                if not self._active.end(flow):
                    self._settle_later()
                self._done.pop(flow).succeed()
        self._set_alarm()

    def _call(self, delay: float, call: Callable[[simpy.Event], None]) -> simpy.Event:
        timer = self._environment.timeout(delay)
        timer.callbacks.append(call)
        return timer
