"""The rank grid: which rank has which coordinates, and which ranks form a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.operators import Axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulator.parallel.layout import Layout


def rank_grid(layout: Layout) -> NDArray[np.int64]:
    """Return ranks by coordinate, shape ``(degree of each axis, innermost last)``.

    Neighbouring ranks differ in the innermost axis of ``layout.order``.
    """
    shape = tuple(reversed(layout.degrees.values()))
    return np.arange(layout.ranks, dtype=np.int64).reshape(shape)


def groups(layout: Layout, axes: Sequence[Axis]) -> NDArray[np.int64]:
    """Return the process groups along ``axes`` together, shape ``(groups, ranks per group)``.

    Members stand in ascending rank order; every rank is in exactly one group.
    """
    grid = rank_grid(layout)
    outermost_first = list(reversed(layout.order))
    positions = [outermost_first.index(axis) for axis in axes]
    kept = [position for position in range(grid.ndim) if position not in positions]
    size = int(np.prod([grid.shape[position] for position in positions]))
    members = np.transpose(grid, [*kept, *sorted(positions)]).reshape(-1, size)
    return np.sort(members, axis=1)


def replica_grid(layout: Layout) -> NDArray[np.int64]:
    """Return ranks by data-parallel replica, pipeline stage and place among those who share both.

    Shape ``(data, pipeline, context * tensor)``: ranks along the last axis form the groups that
    meet inside every action.
    """
    outermost_first = list(reversed(layout.order))
    axes = (Axis.DATA, Axis.PIPELINE, Axis.CONTEXT, Axis.TENSOR)
    grid = np.transpose(rank_grid(layout), [outermost_first.index(axis) for axis in axes])
    return grid.reshape(layout.data, layout.pipeline, -1)
