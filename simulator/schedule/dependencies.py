"""Which action waits for which other stage's, and the replay that follows those waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.schedule.actions import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.schedule.actions import Schedule

    Indices = NDArray[np.int64]

NEVER: Final = -1.0
"""End of an action that has not run."""
NOTHING: Final = -1
"""Producer of an action that needs none from elsewhere."""
NOBODY: Final = -1
"""Waiter of an action that no stage stands still for."""


@dataclass(frozen=True, slots=True, eq=False)
class FlatColumns:
    """The actions of all stages in one numbering: stage by stage, each in its own order."""

    first: Indices
    """Number of each stage's first action, and at the end the number of actions; (stages + 1,)."""
    stage: Indices
    kind: NDArray[np.int8]
    visit: Indices
    """Micro-batch · virtual stages + virtual stage: what the action works on."""


def flatten(schedule: Schedule) -> FlatColumns:
    """Return the actions of all stages in one numbering.

    Micro-batches and chunks must be within range (`validation` sees to it).
    """
    lengths = [len(actions) for actions in schedule.actions]
    virtual_stages = schedule.virtual_stages
    visits = [
        actions.micro_batches.astype(np.int64) * virtual_stages + np.array(virtual)[actions.chunks]
        for actions, virtual in zip(schedule.actions, schedule.placement, strict=True)
    ]
    return FlatColumns(
        first=np.concatenate(([0], np.cumsum(lengths))),
        stage=np.repeat(np.arange(len(lengths)), lengths),
        kind=np.concatenate([actions.kinds for actions in schedule.actions]),
        visit=np.concatenate(visits),
    )


def locate(columns: FlatColumns, kinds: tuple[Kind, ...], visits: int) -> Indices:
    """Return, for each of ``visits`` visits, the number of its action of one of ``kinds``."""
    wanted = np.zeros(len(Kind), dtype=bool)
    wanted[list(kinds)] = True
    numbers = np.flatnonzero(wanted[columns.kind])
    located = np.full(visits, -1)
    located[columns.visit[numbers]] = numbers
    return located


def producers(schedule: Schedule) -> tuple[Indices, ...]:
    """Return, for each stage and position, the action whose output this action needs.

    F of virtual stage k needs F of k - 1; B and I need the input gradient (B or I) of k + 1, on
    the last virtual stage their own F. Actions are numbered through, stage by stage. -1 stands
    for no producer: F of virtual stage 0, and every W, which follows its I on the same stage.

    Parameters
    ----------
    schedule
        A valid schedule.

    Returns
    -------
    tuple of arrays
        One per stage, shape ``(actions of the stage,)``.
    """
    columns = flatten(schedule)
    needed = producers_of(columns, schedule.micro_batches, schedule.virtual_stages)
    return tuple(np.split(needed, columns.first[1:-1]))


def producers_of(columns: FlatColumns, micro_batches: int, virtual_stages: int) -> Indices:
    """Return `producers` in flat columns."""
    visits = micro_batches * virtual_stages
    forwards = locate(columns, (Kind.FORWARD,), visits)
    gradients = locate(columns, (Kind.BACKWARD, Kind.INPUT_GRADIENT), visits)
    last = np.arange(visits) % virtual_stages == virtual_stages - 1
    forward_needs = np.roll(forwards, 1)
    forward_needs[::virtual_stages] = NOTHING
    gradient_needs = np.where(last, forwards, np.roll(gradients, -1))
    return np.select(
        [columns.kind == Kind.FORWARD, columns.kind == Kind.WEIGHT_GRADIENT],
        [forward_needs[columns.visit], NOTHING],
        gradient_needs[columns.visit],
    )


def consumers_of(needed: Indices) -> Indices:
    """Return the action that needs each action's output, -1 for none, from `producers_of`."""
    consumer = np.full(len(needed), NOTHING)
    needing = np.flatnonzero(needed != NOTHING)
    consumer[needed[needing]] = needing
    return consumer


def receivers_of(columns: FlatColumns, consumer: Indices) -> Indices:
    """Return the stage to which each action's output is sent, -1 where it stays or ends."""
    stage = columns.stage[consumer]
    return np.where((consumer == NOTHING) | (stage == columns.stage), NOTHING, stage)


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What happened when every stage ran its actions in order, waiting for producers."""

    ends: NDArray[np.float64]
    """End of each action in flat numbering; negative if it never ran."""
    waiting: dict[int, int]
    """Stage -> number of the action at which it stands for ever; empty without a deadlock."""


def replay(columns: FlatColumns, needed: Indices, durations: NDArray[np.float64]) -> Replay:
    """Run each stage's actions in order, each as soon as its producer and predecessor are done.

    A stage is put aside with the action it waits for and taken up again when that action
    ends, so the work is proportional to the number of actions.
    """
    # Plain lists: one element at a time, they are several times faster than arrays.
    producer, duration = needed.tolist(), durations.tolist()
    heads, stops = columns.first[:-1].tolist(), columns.first[1:].tolist()
    clocks = [0.0] * len(heads)
    ends = [NEVER] * len(producer)
    waiter = [NOBODY] * len(producer)  # the only stage, as each output has one consumer
    ready = list(range(len(heads)))
    while ready:
        stage = ready.pop()
        clock, number, stop = clocks[stage], heads[stage], stops[stage]
        while number < stop:
            source = producer[number]
            if source != NOTHING:
                available = ends[source]
                if available == NEVER:
                    waiter[source] = stage
                    break
                if available > clock:  # noqa: PLR1730 - max() would double the time of the loop
                    clock = available
            clock += duration[number]
            ends[number] = clock
            if waiter[number] != NOBODY:
                ready.append(waiter[number])
            number += 1
        clocks[stage], heads[stage] = clock, number
    waiting = {stage: head for stage, head in enumerate(heads) if head < stops[stage]}
    return Replay(np.array(ends), waiting)
