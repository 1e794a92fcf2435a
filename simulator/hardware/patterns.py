"""Who sends how much to whom in a collective that accelerators carry out among themselves.

Everything is per byte of the message, as nccl-tests counts it (`simulator.operators`), and all
transfers that go on at the same time are one `Sends`. Pipelined algorithms are one set of them;
those that go step by step are several.

References
----------
NVIDIA/nccl, src/graph/trees.cc: the double binary tree. Goyal et al., arXiv:1706.02677, section 4,
and facebookincubator/gloo, gloo/allreduce_halving_doubling.h: halving, doubling and binary blocks.
Austin et al., How to Scale Your Model, "Sharding": rings along the axes of a torus.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from simulator.operators import Collective

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.hardware.members import Members
    from simulator.hardware.routes import Floats, Integers
    from simulator.hardware.wiring import TorusWiring


class Pattern(StrEnum):
    """How a collective goes about it: who sends to whom, and where it is reduced."""

    RING = "ring"
    """Rings through all ranks, as many as a node has members; each keeps to its rail."""
    TREE = "tree"
    """Chains inside the nodes, a double binary tree between them; pipelined."""
    HALVING_DOUBLING = "halving_doubling"
    """Recursive halving, then doubling; powers of two, others by binary blocks."""
    NVLS = "nvls"
    """Reduction and multicast in the switches of one NVLink domain."""
    SHARP = "sharp"
    """Reduction in the network's switches; each interface sends its share once."""
    HIERARCHICAL = "hierarchical"
    """Inside the nodes, then between them on each rail, then inside again: one after another."""
    TORUS = "torus"
    """Rings along all axes of a torus at once, each with its share, both ways where closed.

    Between tori, rings on each rail in between. A broadcast loads the links as an all_gather does.
    """
    PAIRWISE = "pairwise"
    """Every rank to every other one, each by its own interface."""
    PXN = "pxn"
    """The same, but handed over inside the node so that every message keeps to one rail."""


PATTERNS: Final[Mapping[Collective, tuple[Pattern, ...]]] = {
    Collective.ALL_REDUCE: (
        *(Pattern.RING, Pattern.TREE, Pattern.HALVING_DOUBLING, Pattern.NVLS, Pattern.SHARP),
        *(Pattern.HIERARCHICAL, Pattern.TORUS),
    ),
    Collective.ALL_GATHER: (
        *(Pattern.RING, Pattern.HALVING_DOUBLING, Pattern.NVLS),
        *(Pattern.HIERARCHICAL, Pattern.TORUS),
    ),
    Collective.REDUCE_SCATTER: (
        *(Pattern.RING, Pattern.HALVING_DOUBLING, Pattern.NVLS),
        *(Pattern.HIERARCHICAL, Pattern.TORUS),
    ),
    Collective.ALL_TO_ALL: (Pattern.PAIRWISE, Pattern.PXN),
    Collective.BROADCAST: (Pattern.RING, Pattern.TORUS),
    Collective.SEND_RECV: (Pattern.PAIRWISE,),
}
"""Patterns that can carry out each collective."""


class Sends(NamedTuple):
    """Transfers between pairs of slots, per byte of the message."""

    sender: Integers
    """Shape ``(pairs,)``."""
    receiver: Integers
    n_bytes: Floats
    """Bytes that each pair moves, shape ``(pairs,)``."""


def together(*parts: Sends) -> Sends:
    """Return the transfers of all ``parts``, going on at the same time."""
    sender, receiver, n_bytes = zip(*parts, strict=True)
    return Sends(np.concatenate(sender), np.concatenate(receiver), np.concatenate(n_bytes))


def transfers(sender: Integers, receiver: Integers, n_bytes: float) -> Sends:
    """Return transfers of ``n_bytes`` from each sender to its receiver, of any one shape."""
    return Sends(sender.ravel(), receiver.ravel(), np.full(sender.size, n_bytes))


NOTHING: Final = transfers(np.empty(0, np.int64), np.empty(0, np.int64), 0.0)


def inside(slots: Integers, volume: float, *, meshed: bool, ways: tuple[int, ...] = (1,)) -> Sends:
    """Return transfers of ``volume`` by each member to neighbours in its node.

    Over a mesh a library lays as many rings as there are links, so that all carry the same (for
    four and six members, nearly).

    Parameters
    ----------
    slots
        Members by node, shape ``(nodes, ranks per node)``.
    volume
        Bytes that each member sends in each of the ``ways``.
    meshed
        Whether each pair has a link of its own.
    ways
        To the next member (1), the one before (-1), or both.
    """
    each = slots.shape[1]
    if each == 1:
        return NOTHING
    if not meshed:
        return together(*(transfers(slots, np.roll(slots, -way, axis=1), volume) for way in ways))
    share = len(ways) * volume / (each - 1)
    shifts = range(1, each)
    return together(*(transfers(slots, np.roll(slots, -by, axis=1), share) for by in shifts))


def ring(members: Members, volume: float, *, meshed: bool) -> Sends:
    """Return the transfers of rings through all members, in which each sends ``volume``.

    A node of m members has m rings, each with its share: inside the node a ring takes m - 1 of
    the m edges, and it leaves and enters the nodes on one rail, as NCCL's do (NCCL_CROSS_NIC).
    """
    slots, each = members.slots, members.each
    if members.nodes == 1:
        return inside(slots, volume, meshed=meshed)
    between = transfers(slots, np.roll(slots, -1, axis=0), volume / each)
    return together(inside(slots, volume * (each - 1) / each, meshed=meshed), between)


def chain(members: Members, *, meshed: bool) -> Sends:
    """Return the transfers of a pipelined broadcast from the first member: rings cut before it."""
    sends = ring(members, 1.0, meshed=meshed)
    kept = sends.receiver != members.slots[0, 0]
    return Sends(*(column[kept] for column in sends))


def tree(members: Members, *, meshed: bool) -> Sends:
    """Return the transfers of an all_reduce by chains inside nodes and double binary trees.

    Each of the m channels has the share 1/m of the message and a rail of its own; each of its two
    trees has half of that, up and down again.
    """
    slots, each = members.slots, members.each
    parts = [inside(slots, (each - 1) / each, meshed=meshed, ways=(1, -1))]
    if members.nodes > 1:
        for parent in double_tree(members.nodes):
            child = np.flatnonzero(parent >= 0)
            below, above = slots[child], slots[parent[child]]
            share = 1 / (2 * each)
            parts += [transfers(below, above, share), transfers(above, below, share)]
    return together(*parts)


def double_tree(nodes: int) -> tuple[Integers, Integers]:
    """Return the parent of every node in both trees, -1 at the root; shape ``(nodes,)`` each.

    In the first, a node's parent is found by moving its lowest set bit up (NCCL's
    ``ncclGetBtree``); the second is its mirror image, or shifted by one if the nodes are odd: who
    has children in one is a leaf of the other.
    """
    node = np.arange(nodes)
    bit = node & -node
    parent = (node ^ bit) | (bit << 1)
    parent = np.where(parent >= nodes, node ^ bit, parent)
    parent[0] = -1
    if nodes % 2 == 0:
        mirrored = parent[::-1]
        return parent, np.where(mirrored >= 0, nodes - 1 - mirrored, -1)
    shifted = np.roll(parent, 1)
    return parent, np.where(shifted >= 0, (shifted + 1) % nodes, -1)


def halving(ranks: int) -> list[Sends]:
    """Return the steps of a reduce_scatter by recursive halving, between indices of the group.

    First neighbours exchange half of the message, then ranks two apart a quarter, and so on. Ranks
    that are no power of two form blocks that are, the largest first; each block then hands its
    parts on to the next larger one, the smallest first.
    """
    sizes = [1 << bit for bit in reversed(range(ranks.bit_length())) if ranks >> bit & 1]
    blocks = list(zip(np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True))
    steps = []
    for depth in range(ranks.bit_length() - 1):
        share = 0.5 ** (depth + 1)
        parts = []
        for start, size in blocks:
            if size >> depth > 1:
                index = np.arange(size)
                parts.append(transfers(start + index, start + (index ^ (1 << depth)), share))
        steps.append(together(*parts))
    for (larger, count), (smaller, few) in reversed(list(pairwise(blocks))):
        index = np.arange(count)
        steps.append(transfers(smaller + index % few, larger + index, 1 / count))
    return steps


def halving_steps(ranks: int) -> int:
    """Return how many steps `halving` takes: those of the largest block, one for each other."""
    return ranks.bit_length() - 1 + ranks.bit_count() - 1


def box_of(members: Members, shape: Sequence[int]) -> list[int]:
    """Return how many places the members of the first node use along each axis of a torus."""
    places = np.unravel_index(members.slots[0] % members.node, shape, order="F")
    return [len(np.unique(place)) for place in places]


def fills_a_box(members: Members, shape: Sequence[int]) -> bool:
    """Return whether the members fill a box of a torus, the same one in every node."""
    return members.aligned and int(np.prod(box_of(members, shape))) == members.each


def along_axes(members: Members, torus: TorusWiring) -> list[Sends]:
    """Return the phases of a reduce_scatter by rings along the axes of a torus.

    Of k axes that the members fill, each has 1/k of the message; in the first phase that goes
    round this axis, in the next what is left of it round the next one. A closed ring runs both
    ways; an open one returns over its own links.
    """
    box = box_of(members, torus.shape)
    grid = np.sort(members.slots, axis=1).reshape(members.nodes, *reversed(box))
    axes = [axis for axis, extent in enumerate(box) if extent > 1]
    phases = []
    for turn in range(len(axes)):
        parts = []
        for share in range(len(axes)):
            order = [axes[(share + step) % len(axes)] for step in range(turn + 1)]
            left = 1 / len(axes) / np.prod([box[axis] for axis in order[:-1]])
            closed = torus.closed(order[-1]) and box[order[-1]] == torus.shape[order[-1]]
            parts.append(_around(grid, order[-1], left, both_ways=closed))
        phases.append(together(*parts))
    return phases


def _around(grid: Integers, axis: int, n_bytes: float, *, both_ways: bool) -> Sends:
    """Return the transfers of a reduce_scatter of ``n_bytes`` round one axis."""
    dim = grid.ndim - 1 - axis
    extent = grid.shape[dim]
    ways = (1, -1) if both_ways else (1,)
    volume = n_bytes * (extent - 1) / extent / len(ways)
    return together(*(transfers(grid, np.roll(grid, -way, axis=dim), volume) for way in ways))
