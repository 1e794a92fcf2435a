"""Which slots a job is given: the nodes that a scheduler hands out, and the rank in each slot.

Ranks fill the nodes of the allocation one after another, so that rank r sits in place
``r % node size`` of the ``r // node size``-th node.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import LayoutError
from simulator.fields import CountOrZero, record

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.routes import Integers


class NodeChoice(StrEnum):
    """Which nodes of the cluster a job gets, and in which order its ranks fill them."""

    CONTIGUOUS = "contiguous"
    """The first that are whole."""
    SCATTERED = "scattered"
    """Any, drawn at random, in the order of their numbers (a busy cluster; sorted host file)."""
    SHUFFLED = "shuffled"
    """Any, drawn at random, in random order (a host file that knows nothing of the network)."""


@record
class Allocation:
    """The nodes of a job (``placement:`` in a scenario)."""

    nodes: NodeChoice = NodeChoice.CONTIGUOUS
    seed: CountOrZero | None = None
    """Of the draw; each number is another."""
    lost_nodes: tuple[CountOrZero, ...] = ()
    """Nodes of the cluster that nobody gets, counted from 0: repaired, drained, another job's."""

    @property
    def drawn(self) -> bool:
        """Whether the nodes are drawn at random."""
        return self.nodes is not NodeChoice.CONTIGUOUS


CONTIGUOUS: Final = Allocation()


def slots_of(allocation: Allocation, ranks: int, cluster: Cluster) -> Integers:
    """Return the slot of every rank, shape ``(ranks,)``.

    Raises
    ------
    LayoutError
        If the cluster has fewer whole nodes left than the ranks need.
    """
    size = cluster.node.accelerators
    needed = -(-ranks // size)
    nodes = nodes_left(allocation, cluster)
    if len(nodes) < needed:
        raise LayoutError(
            f"{ranks:,} ranks need {needed:,} nodes, but {cluster.name} has {len(nodes):,} left"
        )
    if allocation.drawn:
        nodes = np.random.default_rng(allocation.seed).permutation(nodes)[:needed]
    if allocation.nodes is NodeChoice.SCATTERED:
        nodes = np.sort(nodes)
    numbers = np.arange(ranks)
    slots: Integers = nodes[numbers // size] * size + numbers % size
    return slots


def nodes_left(allocation: Allocation, cluster: Cluster) -> Integers:
    """Return the numbers of the nodes that are not lost, ascending."""
    nodes = np.arange(-(-cluster.largest // cluster.node.accelerators), dtype=np.int64)
    return nodes[~np.isin(nodes, allocation.lost_nodes)] if allocation.lost_nodes else nodes
