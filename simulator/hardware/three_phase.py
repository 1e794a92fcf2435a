"""A three-phase all-reduce: sum inside each node, all-reduce between nodes, broadcast inside.

What frameworks did that reduced each gradient on its own over Ethernet (Caffe2 with NCCL inside the
node and Gloo between, Goyal et al. 2017, arXiv 1706.02677, section 4).

References
----------
Thakur, Rabenseifner and Gropp 2005, Optimization of Collective Communication Operations in MPICH,
sections 4.4 and 4.5: recursive halving and doubling, ring; Rabenseifner and Träff 2004, More
Efficient Reduction Algorithms for Non-Power-of-Two Number of Processors: binary blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.hardware.collective_costs import (
    CollectiveCost,
    bus_factor,
    collective_cost,
    elapsed,
    wire_bandwidth,
)
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.patterns import Pattern, halving_steps
from simulator.hardware.protocols import Regime
from simulator.operators import Collective
from simulator.units import KIB

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster

SMALLEST_NCCL_BUFFER: Final = 256 * KIB
"""Buffers from which on the node reduces by NCCL (Goyal et al. 2017, section 4.1)."""


@dataclass(frozen=True, slots=True)
class Phases:
    """Costs of the three phases of one buffer."""

    reduce: CollectiveCost
    exchange: CollectiveCost
    broadcast: CollectiveCost


def three_phases(n_bytes: float, pattern: Pattern, span: GroupSpan, cluster: Cluster) -> Phases:
    """Return the costs of the three phases of a buffer of ``n_bytes`` over the group at ``span``.

    Inside a node buffers from `SMALLEST_NCCL_BUFFER` on take a broadcast's time in each direction;
    smaller ones are copied to the host, whose link all copies share, and back.

    Notes
    -----
    Neglected: the sums' arithmetic, on the device and on the host, and copies of large buffers
    between device and interface.
    """
    inside = GroupSpan(
        ranks=span.ranks_per_node, ranks_per_node=span.ranks_per_node, nodes=1, tier=0
    )
    if n_bytes >= SMALLEST_NCCL_BUFFER:
        one_way = collective_cost(Collective.BROADCAST, n_bytes, inside, cluster)
    else:
        copies = span.ranks_per_node * n_bytes / cluster.accelerator.host_bandwidth
        time = cluster.node.pair_latency + copies
        one_way = CollectiveCost(time, copies, Regime.TRANSFER, "host copy")
    return Phases(one_way, exchange(n_bytes, pattern, span, cluster), one_way)


def exchange(n_bytes: float, pattern: Pattern, span: GroupSpan, cluster: Cluster) -> CollectiveCost:
    """Return the cost of summing a buffer of ``n_bytes`` over the nodes, one buffer in each.

    By a ring (Goyal et al.: the bucket algorithm) or by halving and doubling, every node sends
    2 (p - 1)/p of the buffer, over the interfaces of the group's members in it: all, where the
    group fills its nodes.
    """
    nodes = span.nodes
    if nodes == 1:
        return elapsed(0.0)
    wire = bus_factor(Collective.ALL_REDUCE, nodes) * n_bytes / span.ranks_per_node
    moving = wire / wire_bandwidth(span, cluster)
    latency = steps(pattern, nodes) * (cluster.fabric.pair_latency + span.latency)
    return CollectiveCost(latency + moving, moving, Regime.TRANSFER, pattern, wire_bytes=wire)


def steps(pattern: Pattern, nodes: int) -> int:
    """Return the messages that follow one another when ``nodes`` sum a buffer.

    Examples
    --------
    >>> steps(Pattern.RING, 32), steps(Pattern.HALVING_DOUBLING, 32)
    (62, 10)
    >>> steps(Pattern.HALVING_DOUBLING, 44)  # blocks of 32, 8 and 4
    14
    """
    return 2 * (nodes - 1 if pattern is Pattern.RING else halving_steps(nodes))
