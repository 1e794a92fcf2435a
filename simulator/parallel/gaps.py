"""Nodes that a job does without: the ranks after them have moved up, and links have changed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import SimulatorError
from simulator.parallel.placement import span_of, stage_pairs
from simulator.parallel.ranks import replica_grid
from simulator.parallel.routing import hand_overs, with_share
from simulator.parallel.slots import NodeChoice, slots_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import GroupSpan
    from simulator.parallel.layout import Layout
    from simulator.parallel.network import Network
    from simulator.parallel.slots import Allocation


def without_nodes(
    allocation: Allocation, lost_nodes: Iterable[int], ranks: int, cluster: Cluster
) -> Allocation:
    """Return ``allocation`` without some of its nodes: the ranks of those after them move up.

    Raises
    ------
    SimulatorError
        If nodes are drawn (another draw would say nothing of the loss), or one is not among those
        that the ranks would fill.
    LayoutError
        If the cluster has too few others.
    """
    if allocation.drawn:
        raise SimulatorError(
            f"lost nodes need placement.nodes: {NodeChoice.CONTIGUOUS}, not {allocation.nodes}"
        )
    for node in sorted(set(lost_nodes)):
        filled = np.unique(slots_of(allocation, ranks, cluster) // cluster.node.accelerators)
        if node not in filled:
            raise SimulatorError(
                f"lost node {node}: the job would fill nodes {filled[0]:,} to {filled[-1]:,}"
            )
        allocation = replace(allocation, lost_nodes=(*allocation.lost_nodes, node))
    slots_of(allocation, ranks, cluster)
    return allocation


def replica_links(
    layout: Layout, cluster: Cluster, slots: NDArray[np.int64], network: Network
) -> tuple[tuple[GroupSpan, ...], ...]:
    """Return for every replica the span of the transfer from each stage to the next.

    As `simulator.parallel.placement.place` and `simulator.parallel.routing.routed` price them for
    all replicas by the widest, but each by its own; contention and collisions are those of all
    replicas together.
    """
    rings = hand_overs(layout, slots)

    @cache
    def shared(span: GroupSpan) -> GroupSpan:
        return with_share(span, rings, cluster, network)

    replica_of = np.empty(layout.ranks, dtype=np.int64)
    grid = replica_grid(layout)
    replica_of[grid] = np.arange(layout.data)[:, np.newaxis, np.newaxis]
    links: list[list[GroupSpan]] = [[] for _ in range(layout.data)]
    for pairs in stage_pairs(layout):
        contention = span_of(slots[pairs], cluster)[0].contention
        for replica, row in enumerate(links):
            own = pairs[replica_of[pairs[:, 0]] == replica]
            row.append(shared(replace(span_of(slots[own], cluster)[0], contention=contention)))
    return tuple(tuple(row) for row in links)
