"""Seconds of a collective by a stated pattern: calibrated latencies and rates, real links.

The time of a phase is that of the bundle that takes longest, at the share of its line rate that
collectives reach. What a site's library takes by itself is `simulator.hardware.collective_costs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.hardware.collective_costs import bus_factor, passes, send_recv_time
from simulator.hardware.node import Node, ScaleUp
from simulator.hardware.patterns import Pattern
from simulator.hardware.protocols import Protocols
from simulator.hardware.scale_up import scale_up_bandwidth, scale_up_hops
from simulator.operators import Collective

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collective_stages import Stage
    from simulator.hardware.collective_traffic import Traffic
    from simulator.hardware.collectives import GroupSpan
    from simulator.hardware.routes import Floats


@dataclass(frozen=True, slots=True)
class PatternCost:
    """Time of a collective by one pattern."""

    time: float
    """Seconds."""
    moving: float
    """Seconds that the bytes alone take."""


def pattern_cost(
    kind: Collective, pattern: Pattern, traffic: Traffic, span: GroupSpan, cluster: Cluster
) -> PatternCost:
    """Return the time of a collective by a pattern.

    Parameters
    ----------
    kind, pattern
        What is done, and how.
    traffic
        Its bytes on the links (`simulator.hardware.collective_traffic.traffic`).
    span
        Where its ranks sit.
    cluster
        Node and fabric: the latency of a hop, and the share of line rates that messages reach.

    Raises
    ------
    SimulatorError
        If the node or the fabric has no line of the collective whose latencies are needed.

    Notes
    -----
    A hop's latency is that of the profile's all_gather, which is a ring; a level of a tree has
    that of its all_reduce between nodes. The group is alone on the links. Neglected: a library's
    limits on channels, and blocks of halving and doubling that need not wait for one another.
    """
    if kind is Collective.SEND_RECV:
        seconds = send_recv_time(traffic.n_bytes, span, cluster)
        return PatternCost(seconds, traffic.busiest.time)
    price = _Price(kind, pattern, traffic.n_bytes, span, cluster)
    rates = _rates(kind, pattern, traffic, span, cluster)
    time = moving = 0.0
    for stage in traffic.stages:
        bytes_alone = traffic.n_bytes * sum(float(np.max(phase / rates)) for phase in stage.phases)
        moving += bytes_alone
        time += price.of(stage, bytes_alone)
    return PatternCost(time, moving)


@dataclass(frozen=True, slots=True)
class _Price:
    """What stages of one collective take, from what their bytes alone do."""

    kind: Collective
    pattern: Pattern
    n_bytes: float
    span: GroupSpan
    cluster: Cluster

    def of(self, stage: Stage, moving: float) -> float:
        """Return the time [s] of a stage whose bytes take ``moving`` seconds."""
        if self.span.nodes == 1 or not stage.network_hops:
            return self._inside(stage, moving)
        hops, inner_hops = stage.network_hops, stage.inner_hops
        across = Protocols.between(stage.kind, self.cluster, hops, inner_hops)
        time, _ = across.time(self.n_bytes * stage.volume, moving)
        return time + passes(self.kind) * self.span.latency

    def _inside(self, stage: Stage, moving: float) -> float:
        node = self.cluster.node
        if self.pattern is Pattern.NVLS:
            hops = scale_up_hops(stage.kind, self.span.ranks, node)
            return Protocols.inside(stage.kind, node, hops).streaming(moving)
        protocols = Protocols.inside(stage.kind, node, stage.inner_hops)
        return protocols.time(self.n_bytes * stage.volume, moving)[0]


def _rates(
    kind: Collective, pattern: Pattern, traffic: Traffic, span: GroupSpan, cluster: Cluster
) -> Floats:
    """Return the rate [B/s] that messages reach on every bundle."""
    topology = traffic.topology
    members = span.ranks if span.nodes == 1 else span.ranks_per_node
    shares = np.full(len(topology.names), cluster.fabric.efficiency)
    shares[: len(topology.wiring.classes)] = _share_inside(kind, pattern, members, cluster.node)
    rates: Floats = topology.capacity * shares[topology.klass]
    return rates


def _share_inside(kind: Collective, pattern: Pattern, members: int, node: Node) -> float:
    """Return the share of the line rates inside a node that a collective of ``members`` reaches.

    By the tabulated bus bandwidth: of the all_reduce where switches reduce, of the all_to_all for
    itself, of the all_gather, a ring, for all others.
    """
    if members == 1:
        return 1.0
    if node.scale_up is ScaleUp.TORUS:
        return node.pair_bandwidth * 2 * len(node.torus or (1,)) / node.bandwidth
    if pattern is Pattern.NVLS:
        measured = scale_up_bandwidth(Collective.ALL_REDUCE, members, node)
        passed = (1 + 1 / members) / bus_factor(Collective.ALL_REDUCE, members)
        return passed * measured / node.bandwidth
    like = Collective.ALL_TO_ALL if kind is Collective.ALL_TO_ALL else Collective.ALL_GATHER
    return scale_up_bandwidth(like, members, node) / _ring_rate(members, node)


def _ring_rate(members: int, node: Node) -> float:
    """Return the line rate [B/s] at which each of ``members`` could send in a ring."""
    if node.scale_up is ScaleUp.MESH:
        return node.bandwidth * (members - 1) / (node.accelerators - 1)
    if node.scale_up is ScaleUp.PCIE and node.host_bridge:
        return min(node.bandwidth, node.host_bridge / members)
    return node.bandwidth
