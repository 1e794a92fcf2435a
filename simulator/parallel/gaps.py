"""Nodes that a job does without: the ranks after them have moved up, and links have changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import SimulatorError
from simulator.parallel.placement import span_of, stage_pairs
from simulator.parallel.ranks import replica_grid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import GroupSpan
    from simulator.parallel.layout import Layout


def slots_around(lost_nodes: Iterable[int], ranks: int, cluster: Cluster) -> NDArray[np.int64]:
    """Return the slot of each rank when ranks fill the cluster but for some nodes; ``(ranks,)``.

    Raises
    ------
    SimulatorError
        If a node is not among those that the ranks would fill, or the cluster has too few others.
    """
    size = cluster.node.accelerators
    slots = np.arange(ranks, dtype=np.int64)
    for node in sorted(set(lost_nodes)):
        filled = int(slots[-1]) // size
        if not 0 <= node <= filled:
            raise SimulatorError(f"lost node {node}: the job would fill nodes 0 to {filled:,}")
        slots[slots >= node * size] += size
    if slots[-1] >= cluster.largest:
        raise SimulatorError(
            f"without the lost nodes the job needs {int(slots[-1]) + 1:,} slots, but the cluster "
            f"has {cluster.largest:,}"
        )
    return slots


def replica_links(
    layout: Layout, cluster: Cluster, slots: NDArray[np.int64]
) -> tuple[tuple[GroupSpan, ...], ...]:
    """Return for every replica the span of the transfer from each stage to the next.

    As `simulator.parallel.placement.place` prices them for all replicas by the widest, but each by
    its own; the contention is that of all replicas together.
    """
    replica_of = np.empty(layout.ranks, dtype=np.int64)
    grid = replica_grid(layout)
    replica_of[grid] = np.arange(layout.data)[:, np.newaxis, np.newaxis]
    links: list[list[GroupSpan]] = [[] for _ in range(layout.data)]
    for pairs in stage_pairs(layout):
        contention = span_of(slots[pairs], cluster)[0].contention
        for replica, row in enumerate(links):
            own = pairs[replica_of[pairs[:, 0]] == replica]
            row.append(replace(span_of(slots[own], cluster)[0], contention=contention))
    return tuple(tuple(row) for row in links)
