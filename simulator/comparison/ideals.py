"""Clusters as they cannot be bought: another line rate, a free network, free communication.

What is free takes no time: bandwidth is infinite and every latency nil. Ranks still wait for one
another, and hosts still launch the kernels.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import CollectiveModel, TwoLine
    from simulator.hardware.fabric import Fabric
    from simulator.hardware.node import Node


FREE: Final = 1e30
"""Bandwidth [B/s] inside a node, or factor on that of a link, which leaves no time.

Not infinite: group sizes are interpolated in 1/B, and a torus counts its links by a ratio.
"""


def with_line_rate(cluster: Cluster, rate: float) -> Cluster:
    """Return the cluster with ``rate`` [B/s] of network for each accelerator, one direction.

    Interfaces and, at their oversubscription, the tiers above them are scaled together; latencies
    and the share of the line rate that messages reach stay.
    """
    nic = rate * cluster.node.accelerators / cluster.node.nics
    return replace(cluster, fabric=replace(cluster.fabric, nic=nic))


def with_free_network(cluster: Cluster) -> Cluster:
    """Return the cluster with a network between nodes that costs nothing.

    What a collective over several nodes moves inside them still takes its time there.
    """
    return replace(cluster, fabric=_free_fabric(cluster.fabric))


def with_free_communication(cluster: Cluster) -> Cluster:
    """Return the cluster in which no communication takes time, inside a node or between nodes."""
    return replace(cluster, fabric=_free_fabric(cluster.fabric), node=_free_node(cluster.node))


def rate_is_free(fabric: Fabric) -> bool:
    """Return whether the line rate decides the fabric's times: no measured curve fixes them."""
    return all(line.measured is None for line in fabric.collectives.lines.values())


def _free_fabric(fabric: Fabric) -> Fabric:
    return replace(
        fabric,
        nic=inf,
        pair_latency=0.0,
        tiers=tuple(replace(tier, latency=0.0) for tier in fabric.tiers),
        collectives=_free(fabric.collectives),
    )


def _free_node(node: Node) -> Node:
    return replace(
        node,
        bandwidth=node.bandwidth * FREE,
        pair_bandwidth=node.pair_bandwidth * FREE,
        pair_latency=0.0,
        collectives=_free(node.collectives),
    )


def _free(model: CollectiveModel) -> CollectiveModel:
    lines = {kind: _free_line(line) for kind, line in model.lines.items()}
    return replace(model, lines=lines, launch=0.0)


def _free_line(line: TwoLine) -> TwoLine:
    rates = line.bus_bandwidth and dict.fromkeys(line.bus_bandwidth, FREE)
    return replace(line, a0=0.0, a1=0.0, b0=0.0, b1=0.0, bus_bandwidth=rates, measured=None)
