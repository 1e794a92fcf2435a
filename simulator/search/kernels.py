"""The inner loops of a search: plain functions, compiled by numba (`compiled`).

Many layouts play the same order of actions, each with its own times. So the order is worked out
once, and one pass over it plays them side by side: the last axis of every table of times is the
layout.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.engine.machine_code import machine_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Narrow = NDArray[np.int32]

FIRST, LAST = 1, 2
"""Marks of actions that may be split at their blocks: first forward, last weight gradient."""


class Kernels(NamedTuple):
    """The kernels as machine code; they release the interpreter's lock."""

    order_actions: Callable[..., tuple[int, int]]
    play_layouts: Callable[..., None]
    most_in_flight: Callable[..., int]
    peaks: Callable[..., None]


@cache
def compiled() -> Kernels | None:
    """Return the kernels as machine code, None where numba cannot be had."""
    code = machine_code(order_actions, play_layouts, most_in_flight, peaks)
    return None if code is None else Kernels(*code)


def order_actions(  # noqa: PLR0917 - numba calls by position
    first: Indices,
    needed: Indices,
    consumer: Indices,
    order: Indices,
    source: Narrow,
    output: Narrow,
) -> tuple[int, int]:
    """Fill an order in which actions can end, and the places where their outputs wait meanwhile.

    A stage is followed until an action of it needs one that has not ended. A place is free again
    once its output has been taken, so that few of them stay warm.

    Parameters
    ----------
    first
        Number of each stage's first action, and at the end the number of actions.
    needed, consumer
        The action whose output each action needs, and that needs its output; -1 for none.
    order
        Filled with actions.
    source, output
        Filled in that order: the place that an action takes its input from and the place that it
        leaves its output in, -1 for none.

    Returns
    -------
    tuple
        Actions in the order (fewer than all in a deadlock), and places.
    """
    stages = len(first) - 1
    head = first[:-1].copy()
    place = np.full(len(needed), -1, np.int32)
    ended = np.zeros(len(needed), np.bool_)
    waiter = np.full(len(needed), -1, np.int64)
    free = np.empty(len(needed), np.int32)
    ready = np.empty(2 * stages, np.int64)
    top = stages
    for stage in range(stages):
        ready[stage] = stages - 1 - stage
    played = places = spare = 0
    while top > 0:
        top -= 1
        stage = ready[top]
        action = head[stage]
        while action < first[stage + 1]:
            awaited = needed[action]
            if awaited >= 0 and not ended[awaited]:
                waiter[awaited] = stage
                break
            order[played] = action
            source[played] = -1
            if awaited >= 0:
                source[played] = place[awaited]
                free[spare] = place[awaited]
                spare += 1
            output[played] = -1
            if consumer[action] >= 0:
                if spare > 0:
                    spare -= 1
                    place[action] = free[spare]
                else:
                    place[action] = places
                    places += 1
                output[played] = place[action]
            ended[action] = True
            played += 1
            if waiter[action] >= 0:
                ready[top] = waiter[action]
                top += 1
            action += 1
        head[stage] = action
    return played, places


def play_layouts(  # noqa: PLR0912, PLR0917, C901 - one loop, and numba calls by position
    stage: Narrow,
    row: Narrow,
    source: Narrow,
    output: Narrow,
    link: Narrow,
    mark: NDArray[np.int8],
    virtual: Narrow,
    blocks: Indices,
    split_first: bool,  # noqa: FBT001 - as above
    split_last: bool,  # noqa: FBT001 - as above
    blocking: bool,  # noqa: FBT001 - as above
    duration: Floats,
    transfer: Floats,
    gathered: Floats,
    gather: Floats,
    forward_part: Floats,
    backward_part: Floats,
    reduction: Floats,
    waiting: Floats,
    compute: Floats,
    send: Floats,
    data: Floats,
    ended: Floats,
) -> None:
    """Play the actions of a schedule for several layouts at once.

    Parameters
    ----------
    stage, row, source, output, link, mark, virtual
        Of each action in an order in which they can end: its stage, its row of ``duration``, the
        places of its input and output, its row of ``transfer`` (-1: no other stage needs it),
        `FIRST`, `LAST` or 0, and the virtual stage.
    blocks
        Blocks of virtual stage k are ``blocks[k]:blocks[k + 1]`` of the tables of blocks.
    split_first, split_last
        Whether the marked actions are split at their blocks: to wait for the parameters of each,
        to hand over the gradients of each.
    blocking
        Whether a transfer holds the compute lane.
    duration
        Times of whole actions [s], ``(rows, layouts)`` as all that follow.
    transfer
        Times of transfers by link [s].
    gathered
        When the gathers of each virtual stage begin [s], ``(virtual stages, layouts)``.
    gather, forward_part, backward_part, reduction
        Times of each block [s] in the order of play: its gather, its split passes, the reduction
        of its gradients.
    waiting
        Room for the ends of outputs that wait, ``(places, layouts)``.
    compute, send, data
        When each lane of each stage is free [s]; updated. ``(stages, layouts)``
    ended
        Filled with the end of the last action of each stage, its transfer left out [s].
    """
    layouts = compute.shape[1]
    clock = np.empty(layouts)
    arrival = np.empty(layouts)
    for at in range(len(stage)):
        here = stage[at]
        lane = compute[here]
        if source[at] >= 0:
            awaited = waiting[source[at]]
            for i in range(layouts):
                clock[i] = max(awaited[i], lane[i])
        else:
            for i in range(layouts):
                clock[i] = lane[i]
        if split_first and mark[at] == FIRST:
            chunk = virtual[at]
            for i in range(layouts):
                arrival[i] = gathered[chunk, i]
            for block in range(blocks[chunk], blocks[chunk + 1]):
                for i in range(layouts):
                    arrival[i] += gather[block, i]
                    begin = max(arrival[i], clock[i])
                    clock[i] = begin + forward_part[block, i]
        elif split_last and mark[at] == LAST:
            chunk = virtual[at]
            for block in range(blocks[chunk], blocks[chunk + 1]):
                for i in range(layouts):
                    clock[i] += backward_part[block, i]
                    free = data[here, i]
                    data[here, i] = (max(free, clock[i])) + reduction[block, i]
        else:
            took = duration[row[at]]
            for i in range(layouts):
                clock[i] += took[i]
        for i in range(layouts):
            ended[here, i] = clock[i]
        if link[at] >= 0:
            moving = transfer[link[at]]
            if blocking:
                for i in range(layouts):
                    clock[i] += moving[i]
                    lane[i] = clock[i]
            else:
                port = send[here]
                for i in range(layouts):
                    lane[i] = clock[i]
                    begin = max(port[i], clock[i])
                    clock[i] = begin + moving[i]
                    port[i] = clock[i]
        else:
            for i in range(layouts):
                lane[i] = clock[i]
        if output[at] >= 0:
            left = waiting[output[at]]
            for i in range(layouts):
                left[i] = clock[i]


def most_in_flight(  # noqa: PLR0917, C901 - as above
    kinds: NDArray[np.int8],
    chunks: NDArray[np.int16],
    starts: NDArray[np.bool_],
    works: NDArray[np.bool_],
    frees: NDArray[np.bool_],
    counts: Narrow,
    working: Narrow,
) -> int:
    """Fill the moments of one stage at which memory may peak; return how many.

    A moment is the micro-batches in flight of each chunk, and the chunk whose backward pass works.
    One with fewer in flight of every chunk than another with the same work is left out.

    Parameters
    ----------
    kinds, chunks
        Of the stage's actions in order.
    starts, works, frees
        By kind: whether it begins to keep activations, works in the backward pass, frees them.
    counts
        Filled, shape ``(moments, chunks)``; as many rows as there may be.
    working
        Filled: the chunk whose backward pass runs, -1 for none.

    Returns
    -------
    int
        Moments; -1 if there is no room for them.
    """
    held = np.zeros(counts.shape[1], np.int32)
    moments = 0
    for at in range(len(kinds)):
        kind = kinds[at]
        if starts[kind]:
            held[chunks[at]] += 1
        work = chunks[at] if works[kind] else -1
        covered = False
        for back in range(moments):  # the latest first: in the steady state they come again
            covered = working[moments - 1 - back] == work
            for chunk in range(len(held)):
                covered = covered and counts[moments - 1 - back, chunk] >= held[chunk]
            if covered:
                break
        if not covered:
            kept = 0
            for moment in range(moments):
                below = working[moment] == work
                for chunk in range(len(held)):
                    below = below and counts[moment, chunk] <= held[chunk]
                if not below:
                    counts[kept] = counts[moment]
                    working[kept] = working[moment]
                    kept += 1
            if kept >= len(counts):
                return -1
            counts[kept] = held
            working[kept] = work
            moments = kept + 1
        if frees[kind]:
            held[chunks[at]] -= 1
    return moments


def peaks(  # noqa: PLR0917 - as above
    stage: Narrow,
    counts: Narrow,
    working: Narrow,
    virtual: Narrow,
    kept: Floats,
    transient: Floats,
    peak: Floats,
) -> None:
    """Fill the most dynamic memory of every stage for several layouts [B].

    Parameters
    ----------
    stage, counts, working
        Of each moment: its stage, micro-batches in flight by chunk, the chunk that works.
    virtual
        Virtual stage of each chunk of each stage, shape ``(stages, chunks)``.
    kept, transient
        What each virtual stage keeps per micro-batch and needs in its backward pass [B], shape
        ``(virtual stages, layouts)``.
    peak
        Filled, shape ``(stages, layouts)``; zero before.
    """
    layouts = peak.shape[1]
    level = np.empty(layouts)
    for moment in range(len(stage)):
        here = stage[moment]
        if working[moment] >= 0:
            works = transient[virtual[here, working[moment]]]
            for i in range(layouts):
                level[i] = works[i]
        else:
            for i in range(layouts):
                level[i] = 0.0
        for chunk in range(counts.shape[1]):
            flying = counts[moment, chunk]
            if flying > 0:
                holds = kept[virtual[here, chunk]]
                for i in range(layouts):
                    level[i] += flying * holds[i]
        for i in range(layouts):
            peak[here, i] = max(peak[here, i], level[i])
