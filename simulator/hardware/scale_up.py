"""Hops and bandwidths of collectives inside a node, by how its accelerators are wired.

References
----------
Austin et al., How to Scale Your Model, "Sharding": collectives on a torus.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, log, log2
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.hardware.node import Node, ScaleUp
from simulator.operators import Collective

if TYPE_CHECKING:
    from collections.abc import Mapping

MEASURED_RANKS: Final = 8
"""Latencies inside a node were fitted on groups up to this size."""

WRAPPED_EXTENT: Final = 4
"""Fewest chips along a torus axis that are closed to a ring (the edge of a TPU v5p cube)."""


def port_bandwidth(node: Node) -> float:
    """Return the most [B/s] that one accelerator is known to send inside its node.

    The larger of what a pair reaches and the bus bandwidth of an all_gather over the whole node,
    which sends every byte itself; an all_reduce may seem faster where switches add.

    Raises
    ------
    SimulatorError
        If the node has no usable parameters for an all_gather.
    """
    whole = scale_up_bandwidth(Collective.ALL_GATHER, node.accelerators, node)
    return max(node.pair_bandwidth, whole)


def scale_up_hops(kind: Collective, ranks: int, node: Node) -> float:
    """Return the hops inside a node: to the far side of a torus, else around a ring."""
    if node.scale_up is ScaleUp.TORUS:
        axes, extent = _torus_shape(ranks, node)
        return axes * (extent / 2 if node.wrapped else extent - 1)
    if kind is Collective.ALL_REDUCE and ranks > MEASURED_RANKS:
        # Larger NVLink domains reduce in trees over trays: one hop more for each doubling.
        return MEASURED_RANKS - 1 + log2(ranks / MEASURED_RANKS)
    return ranks - 1


def scale_up_bandwidth(kind: Collective, ranks: int, node: Node) -> float:
    """Return the asymptotic bus bandwidth [B/s] of a group of ``ranks`` inside a node."""
    line = node.collectives.line(kind, node.name)
    if node.scale_up is ScaleUp.TORUS:
        line.refuse_bandwidth(f"{node.name}: {kind}", "the links of a torus bound it")
        return _torus_bandwidth(kind, ranks, node)
    table = line.bus_bandwidth
    if not table:
        raise SimulatorError(f"{node.name}: {kind} needs bus_bandwidth by group size")
    narrowest = min(table)
    if node.scale_up is ScaleUp.MESH and ranks < narrowest:
        return table[narrowest] * (ranks - 1) / (narrowest - 1)
    return _interpolated(table, ranks)


def _interpolated(table: Mapping[int, float], ranks: int) -> float:
    """Return the bandwidth at ``ranks``: 1/B linear in log2 of the size, clamped at the ends."""
    sizes = sorted(table)
    for lower, upper in pairwise(sizes):
        if lower <= ranks <= upper:
            share = log2(ranks / lower) / log2(upper / lower)
            return 1 / ((1 - share) / table[lower] + share / table[upper])
    return table[sizes[0] if ranks < sizes[0] else sizes[-1]]


def _torus_shape(ranks: int, node: Node) -> tuple[int, float]:
    """Return the axes that a group of ``ranks`` chips fills, the fewest, and its extent in each.

    Unequal extents are taken as their geometric mean.
    """
    axes = len(node.torus or ())
    side = node.accelerators ** (1 / axes)
    filled = min(axes, max(1, ceil(log(ranks) / log(side) - 1e-9))) if side > 1 else 1
    return filled, ranks ** (1 / filled)


def _torus_bandwidth(kind: Collective, ranks: int, node: Node) -> float:
    """Return the bus bandwidth [B/s] of neighbour rings along the axes that the group fills.

    Rings run both ways where the axis is closed; on a grid none is. All-to-all is bound by the
    bisection: an average chunk crosses a quarter of the extent, so that S bytes take
    ``extent S / 8`` over a link's rate.
    """
    axes, extent = _torus_shape(ranks, node)
    ways = 2 if node.wrapped and extent >= WRAPPED_EXTENT else 1
    injection = axes * ways * node.pair_bandwidth
    if kind is not Collective.ALL_TO_ALL:
        return injection
    return min(injection, 4 * ways / extent * node.pair_bandwidth * (ranks - 1) / ranks)
