"""The inner loops of the compiled engine: plain functions, compiled by numba when they are needed.

Importing this module costs nothing. `compiled` imports numba (a third of a second) and returns the
kernels as machine code, which numba keeps on disk: beside this file or, where that cannot be
written, in the user's cache directory (``NUMBA_CACHE_DIR`` overrides both). Only the first process
after an installation compiles.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.engine.machine_code import machine_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]


class Kernels(NamedTuple):
    """The kernels as machine code; they release the interpreter's lock."""

    play: Callable[..., int]
    """`play_lanes`."""
    play_copies: Callable[..., None]
    """`play_copies`."""
    critical_path: Callable[..., int]
    """`critical_path`."""
    interpolate: Callable[..., None]
    """`interpolate`."""


def available() -> bool:
    """Return whether numba is installed; it is not imported."""
    return find_spec("numba") is not None


@cache
def compiled() -> Kernels | None:
    """Return the kernels as machine code, None where numba cannot be had."""
    code = machine_code(play_lanes, play_copies, critical_path, interpolate)
    return None if code is None else Kernels(*code)


def play_lanes(  # noqa: PLR0917 - numba calls by position
    offsets: Indices,
    predecessors: Indices,
    before: Indices,
    duration: Floats,
    start: Floats,
    end: Floats,
    order: Indices,
) -> int:
    """Play a program once: fill start and end of every task, and an order in which they can end.

    A lane is followed until a task of it waits for one that has not ended; it is put aside with
    that task and taken up again when that ends. So the work is proportional to tasks and edges.

    Parameters
    ----------
    offsets, predecessors
        Predecessors of task i are ``predecessors[offsets[i]:offsets[i + 1]]``.
    before
        Task before each task on its lane, -1 for the first.
    duration
        Time of each task [s].
    start, end
        Filled [s]; shape ``(tasks,)`` like ``duration``.
    order
        Filled with tasks, each after all that it waits for.

    Returns
    -------
    int
        Tasks played: all of them, or fewer in a deadlock. Those are the first of ``order``.
    """
    count = len(duration)
    after = np.full(count, -1, np.int64)
    next_edge = offsets[:-1].copy()
    waiting = np.full(count, -1, np.int64)  # first task that waits for this one
    also_waiting = np.full(count, -1, np.int64)  # the next that waits for the same
    ready = np.empty(count + 1, np.int64)
    top = 0
    for task in range(count):
        start[task] = 0.0
        if before[task] < 0:
            ready[top] = task
            top += 1
        else:
            after[before[task]] = task
    played = 0
    ended = np.zeros(count, np.bool_)
    while top > 0:
        top -= 1
        task = ready[top]
        while task >= 0:
            clock = start[task]
            edge = next_edge[task]
            stop = offsets[task + 1]
            while edge < stop and ended[predecessors[edge]]:
                clock = max(clock, end[predecessors[edge]])
                edge += 1
            start[task] = clock
            if edge < stop:
                next_edge[task] = edge
                awaited = predecessors[edge]
                also_waiting[task] = waiting[awaited]
                waiting[awaited] = task
                break
            clock += duration[task]
            end[task] = clock
            ended[task] = True
            order[played] = task
            played += 1
            released = waiting[task]
            while released >= 0:
                ready[top] = released
                top += 1
                released = also_waiting[released]
            task = after[task]
            if task >= 0:
                start[task] = clock
    return played


def play_copies(  # noqa: PLR0917 - as above
    order: Indices,
    offsets: Indices,
    predecessors: Indices,
    before: Indices,
    joint: NDArray[np.bool_],
    fixed: Floats,
    scaled: Floats,
    draw: Indices,
    factors: Floats,
    end: Floats,
) -> None:
    """Play copies of a program side by side, each task of each copy for its own time.

    Task t of copy c takes ``fixed[t, c] + scaled[t] * factors[draw[t], c]``.

    Parameters
    ----------
    order
        Tasks, each after all that it waits for.
    offsets, predecessors, before
        As in `play_lanes`.
    joint
        Tasks that start when every copy has reached them.
    fixed
        Part of each task that has no factor [s], shape ``(tasks, copies)``, or ``(tasks, 1)`` where
        it is the same for all.
    scaled
        Part that is multiplied [s], shape ``(tasks,)``.
    draw
        Row of ``factors`` that multiplies each task, -1 for none.
    factors
        Shape ``(draws, copies)``.
    end
        Filled [s], shape ``(tasks, copies)``.
    """
    copies = end.shape[1]
    alike = fixed.shape[1] == 1
    for task in order:
        row = end[task]
        edge = offsets[task]
        if before[task] >= 0:
            row[:] = end[before[task]]
        elif edge < offsets[task + 1]:
            row[:] = end[predecessors[edge]]
            edge += 1
        else:
            row[:] = 0.0
        while edge < offsets[task + 1]:
            other = end[predecessors[edge]]
            for copy in range(copies):
                row[copy] = max(row[copy], other[copy])
            edge += 1
        if joint[task]:
            row[:] = row.max()
        if alike:
            row += fixed[task, 0]
        else:
            row += fixed[task]
        if draw[task] >= 0:
            own = factors[draw[task]]
            share = scaled[task]
            for copy in range(copies):
                row[copy] += share * own[copy]


def critical_path(  # noqa: PLR0917 - as above
    offsets: Indices,
    predecessors: Indices,
    before: Indices,
    joint: NDArray[np.bool_],
    end: Floats,
    last: int,
    copy: int,
    path_task: Indices,
    path_copy: Indices,
) -> int:
    """Fill the chain of tasks that a task waited for, from itself back; return its length.

    Parameters
    ----------
    offsets, predecessors, before, joint
        As in `play_copies`.
    end
        End of each task of each copy [s], shape ``(tasks, copies)``.
    last, copy
        The task, and in which copy.
    path_task, path_copy
        Filled; shape ``(tasks,)``: a chain passes each task at most once.
    """
    copies = end.shape[1]
    length = 0
    while last >= 0:
        path_task[length] = last
        path_copy[length] = copy
        length += 1
        first_copy, stop_copy = (0, copies) if joint[last] else (copy, copy + 1)
        awaited = -1
        awaited_copy = copy
        latest = -1.0
        for edge in range(offsets[last] - 1, offsets[last + 1]):
            candidate = before[last] if edge < offsets[last] else predecessors[edge]
            if candidate >= 0:
                for other in range(first_copy, stop_copy):
                    if end[candidate, other] > latest:
                        latest = end[candidate, other]
                        awaited = candidate
                        awaited_copy = other
        last = awaited
        copy = awaited_copy
    return length


def interpolate(values: Floats, first: float, step: float, table: Floats, out: Floats) -> None:
    """Fill ``out`` with a table's values between its points, its ends beyond them.

    Parameters
    ----------
    values
        Where to read the table, any number.
    first, step
        ``table[k]`` is the value at ``first + k * step``.
    table
        At least two points.
    out
        Filled; as many as ``values``.
    """
    last = len(table) - 1
    per_step = 1.0 / step
    for index in range(len(values)):
        place = (values[index] - first) * per_step
        place = min(max(place, 0.0), float(last))
        cell = min(int(place), last - 1)
        out[index] = table[cell] + (place - cell) * (table[cell + 1] - table[cell])
