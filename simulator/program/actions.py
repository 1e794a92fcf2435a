"""The schedule's actions as tasks: passes, their parts, and the transfers between stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.program.tasks import NONE, Lane, SpanKind
from simulator.schedule.actions import Kind
from simulator.schedule.dependencies import consumers_of, receivers_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from simulator.hardware.collective_costs import CollectiveCost
    from simulator.program.builder import ProgramBuilder
    from simulator.program.gradients import GradientCosts
    from simulator.program.passes import StagePasses
    from simulator.program.patterns import Pattern
    from simulator.program.transfers import StageTransfer
    from simulator.program.wires import Wires
    from simulator.schedule.actions import Actions, Schedule
    from simulator.schedule.dependencies import FlatColumns

    Indices = NDArray[np.int64]

SPAN_KINDS = {
    Kind.FORWARD: SpanKind.FORWARD,
    Kind.BACKWARD: SpanKind.BACKWARD,
    Kind.INPUT_GRADIENT: SpanKind.INPUT_GRADIENT,
    Kind.WEIGHT_GRADIENT: SpanKind.WEIGHT_GRADIENT,
}


@dataclass(frozen=True, slots=True)
class StageTasks:
    """The tasks of one stage's actions, in the order of the schedule."""

    first: Indices
    """First task of each action, shape ``(actions,)``."""
    last: Indices
    """Last compute task of each action."""
    output: Indices
    """The task after which the action's consumer may start: its transfer, or ``last``."""
    first_forward: dict[int, list[int]]
    """Virtual stage -> its first forward, a task for each block in model order."""
    last_backward: dict[int, list[int]]
    """Virtual stage -> its last backward, a task for each block from the last to the first."""


@dataclass(slots=True)
class ActionTable:
    """How actions become tasks: the pattern and duration of each kind on each virtual stage."""

    tasks: ProgramBuilder
    passes: Sequence[StagePasses]
    transfer: StageTransfer
    blocking: bool
    """Transfers hold the sender's compute lane."""
    split_first: bool
    """The first forward of each chunk is split, to wait for its blocks' parameters."""
    split_last: bool
    """The last backward of each chunk is split, to release its blocks' gradients."""
    by_block: bool
    """Both are split in any case, for what waits for single blocks from outside."""
    stolen_share: float
    costs: GradientCosts
    wires: Wires | None
    """Links that transfers share; none if each has its links to itself."""
    _wholes: dict[int, tuple[int, float]] = field(default_factory=dict)
    _numbers: dict[int, int] = field(default_factory=dict)
    """By identity: stages that are alike share their patterns, and patterns are slow to compare."""

    def whole(self, kind: Kind, virtual: int) -> tuple[int, float]:
        """Return pattern number and duration of an unsplit action."""
        blocks = id(self.passes[virtual].blocks[kind])
        if blocks not in self._wholes:
            pattern = self.passes[virtual].whole(kind)
            self._wholes[blocks] = (self.tasks.pattern(pattern), pattern.duration)
        return self._wholes[blocks]

    def parts(self, kind: Kind, virtual: int) -> list[tuple[int, float]]:
        """Return pattern number and duration of each block of a split action.

        A block that runs beside data-parallel communication is slowed by the multiprocessors
        that this takes. Communication of other chunks that may still be under way is neglected.
        """
        passes = self.passes[virtual]
        blocks = passes.blocks[kind]
        durations = [block.duration for block in blocks]
        if not (self.split_first if kind is Kind.FORWARD else self.split_last):
            beside = [0.0] * len(blocks)
        elif kind is Kind.FORWARD:
            incoming = [self.costs.gather(count).duration for count in passes.parameters]
            beside = [*incoming[1:], 0.0]
        else:
            counts = reversed(passes.parameters)
            leaving = [self.costs.device_time(count) for count in counts]
            beside = backlog(durations, leaving)
        numbers = map(self._number, blocks)
        return list(zip(numbers, slowed(durations, beside, self.stolen_share), strict=True))

    def _number(self, pattern: Pattern) -> int:
        if id(pattern) not in self._numbers:
            self._numbers[id(pattern)] = self.tasks.pattern(pattern)
        return self._numbers[id(pattern)]


def slowed(durations: Sequence[float], beside: Sequence[float], stolen_share: float) -> list[float]:
    """Return how long parts take that run beside so much communication each [s].

    It takes ``stolen_share`` of the multiprocessors.
    """
    return [
        duration + stolen_share * min(duration, together)
        for duration, together in zip(durations, beside, strict=True)
    ]


def backlog(durations: Sequence[float], leaving: Sequence[float]) -> list[float]:
    """Return how much communication is still to be done when each part starts [s].

    Part i hands ``leaving[i]`` seconds of communication to a serial lane when it ends.

    Examples
    --------
    >>> backlog([2.0, 2.0, 2.0], [3.0, 1.0, 1.0])
    [0.0, 3.0, 2.0]
    """
    waiting: list[float] = []
    left = 0.0
    for duration, communication in zip(durations, leaving, strict=True):
        waiting.append(left)
        left = max(0.0, left - duration) + communication
    return waiting


def add_actions(
    table: ActionTable, schedule: Schedule, flat: FlatColumns, needed: Indices
) -> list[StageTasks]:
    """Add the tasks of all stages and return them by stage.

    Parameters
    ----------
    table
        How actions become tasks.
    schedule
        The schedule.
    flat
        Its actions in one numbering.
    needed
        The action whose output each action needs, -1 for none.
    """
    receiver = receivers_of(flat, consumers_of(needed))
    return [
        _add_stage(
            table,
            stage,
            actions,
            np.array(schedule.placement[stage])[actions.chunks],
            receiver[flat.first[stage] : flat.first[stage + 1]],
        )
        for stage, actions in enumerate(schedule.actions)
    ]


def _add_stage(
    table: ActionTable, stage: int, actions: Actions, virtual: Indices, receiver: Indices
) -> StageTasks:
    """Add one stage: each action's parts, then its transfer if another stage waits for it."""
    split = _split_positions(table, actions, virtual)
    parts = {at: table.parts(Kind(int(actions.kinds[at])), int(virtual[at])) for at in split}
    pieces = np.ones(len(actions), dtype=np.int64)
    for at, blocks in parts.items():
        pieces[at] = len(blocks)
    sends = receiver != NONE
    rows = pieces + sends
    start = np.concatenate([[0], np.cumsum(rows)])[:-1]
    owner = np.repeat(np.arange(len(actions)), rows)
    columns = _action_columns(table, actions, virtual, owner)
    for at, blocks in parts.items():
        span = slice(start[at], start[at] + len(blocks))
        columns["pattern"][span] = [number for number, _ in blocks]
        columns["duration"][span] = [duration for _, duration in blocks]
    peers = receiver[sends]
    costs = {int(peer): table.transfer.cost(stage, int(peer)) for peer in np.unique(peers)}
    _send_columns(table, columns, start[sends] + pieces[sends], peers, costs)
    tasks = table.tasks.add(len(owner), rank_class=stage, **columns)
    first = tasks[start]
    last = first + pieces - 1
    transfers = last[sends] + 1
    table.tasks.after(transfers, last[sends])
    if table.wires:
        for peer, cost in costs.items():
            table.wires.send(transfers[peers == peer], stage, peer, cost)
    return StageTasks(
        first=first,
        last=last,
        output=last + sends,
        first_forward=_by_virtual(Kind.FORWARD, parts, actions, virtual, first),
        last_backward=_by_virtual(None, parts, actions, virtual, first),
    )


def _split_positions(table: ActionTable, actions: Actions, virtual: Indices) -> list[int]:
    """Return the actions to split: the first forward, the last weight gradient of each chunk."""
    kinds = actions.kinds
    split: set[int] = set()
    for chunk in np.unique(virtual):
        here = virtual == chunk
        if table.split_first or table.by_block:
            split.add(int(np.flatnonzero(here & (kinds == Kind.FORWARD))[0]))
        if table.split_last or table.by_block:
            weights = (kinds == Kind.BACKWARD) | (kinds == Kind.WEIGHT_GRADIENT)
            split.add(int(np.flatnonzero(here & weights)[-1]))
    return sorted(split)


def _action_columns(
    table: ActionTable, actions: Actions, virtual: Indices, owner: Indices
) -> dict[str, NDArray[Any]]:
    """Return the columns of all rows of a stage as if every row were its whole action."""
    code = virtual * len(Kind) + actions.kinds
    used = np.flatnonzero(np.bincount(code))
    virtuals = (used // len(Kind)).tolist()
    kinds = [Kind(number) for number in (used % len(Kind)).tolist()]
    wholes = [table.whole(kind, v) for kind, v in zip(kinds, virtuals, strict=True)]
    position = np.zeros(len(Kind) * (max(virtuals) + 1), dtype=np.int64)
    position[used] = np.arange(len(used))
    which = position[code][owner]
    names = [table.tasks.name(kind.name.lower()) for kind in kinds]
    layers = [table.passes[v].first_layer for v in virtuals]
    return {
        "lane": np.full(len(owner), Lane.COMPUTE, dtype=np.int8),
        "kind": np.array([SPAN_KINDS[kind] for kind in kinds], dtype=np.int8)[which],
        "duration": np.array([duration for _, duration in wholes])[which],
        "latency": np.zeros(len(owner)),
        "action": actions.kinds[owner].copy(),
        "micro_batch": actions.micro_batches[owner].copy(),
        "chunk": actions.chunks[owner].astype(np.int32),
        "peer": np.full(len(owner), NONE, dtype=np.int32),
        "n_bytes": np.zeros(len(owner)),
        "layer": np.array(layers, dtype=np.int32)[which],
        "pattern": np.array([number for number, _ in wholes], dtype=np.int32)[which],
        "name": np.array(names, dtype=np.int32)[which],
    }


def _send_columns(
    table: ActionTable,
    columns: dict[str, NDArray[Any]],
    rows: Indices,
    receiver: Indices,
    costs: Mapping[int, CollectiveCost],
) -> None:
    """Turn ``rows`` into transfers to ``receiver``."""
    peers = np.flatnonzero(np.bincount(receiver)).tolist()
    time, latency = np.zeros((2, len(table.passes) + 1))
    time[peers] = [costs[peer].time for peer in peers]
    latency[peers] = [costs[peer].latency for peer in peers]
    columns["lane"][rows] = Lane.COMPUTE if table.blocking else Lane.PIPELINE_SEND
    columns["kind"][rows] = SpanKind.PIPELINE
    columns["duration"][rows] = time[receiver]
    columns["latency"][rows] = latency[receiver]
    columns["peer"][rows] = receiver
    columns["n_bytes"][rows] = table.transfer.message
    columns["layer"][rows] = NONE
    columns["pattern"][rows] = NONE
    columns["name"][rows] = table.tasks.name("send")


def _by_virtual(
    kind: Kind | None,
    parts: dict[int, list[tuple[int, float]]],
    actions: Actions,
    virtual: Indices,
    first: Indices,
) -> dict[int, list[int]]:
    """Return the parts' tasks by virtual stage, of forwards or (kind None) of backwards."""
    return {
        int(virtual[at]): [int(first[at]) + piece for piece in range(len(blocks))]
        for at, blocks in parts.items()
        if (actions.kinds[at] == Kind.FORWARD) == (kind is Kind.FORWARD)
    }
