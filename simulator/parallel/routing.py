"""What routing and other jobs leave of the network to each group: `GroupSpan.wire_share`.

Only what leaves a leaf switch has a choice of ways; a rail-aligned group under one leaf has none.

References
----------
Gangidi et al. 2024, RDMA over Ethernet for Distributed AI Training at Meta Scale (SIGCOMM): few,
large flows collide under ECMP; more queue pairs per connection spread them.
Mitzenmacher and Upfal 2017, Probability and Computing, 2nd ed., section 5.2: balls into bins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.hardware.interfaces import interfaces_of
from simulator.hardware.levels import levels_of
from simulator.parallel.network import RESIDUAL_LOSS, Network, Routing
from simulator.parallel.placement import network_edges, stage_pairs
from simulator.parallel.ranks import groups
from simulator.parallel.slots import slots_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import GroupSpan
    from simulator.parallel.layout import Layout
    from simulator.parallel.placement import AxisPlacement, Placement
    from simulator.parallel.slots import Allocation

    Indices = NDArray[np.int64]

LEAF: Final = 1
"""The tier under whose units there is one way only."""


@dataclass(frozen=True, slots=True)
class Rings:
    """All groups of one axis, talking at once."""

    members: Indices
    """Accelerator slots, shape ``(groups, ranks)``, in the order of the ring."""
    stream: int
    """Number of the axis: its share of the seed."""


def routed(
    placement: Placement,
    layout: Layout,
    cluster: Cluster,
    allocation: Allocation,
    network: Network,
) -> Placement:
    """Return ``placement`` with the share of the network that ``network`` leaves to every span."""
    if network.routing is Routing.EVEN and not network.background:
        return placement

    slots = slots_of(allocation, layout.ranks, cluster)

    def axis(stream: int, placed: AxisPlacement) -> AxisPlacement:
        rings = Rings(slots[groups(layout, placed.axes)], stream)
        return replace(placed, span=with_share(placed.span, rings, cluster, network))

    pipeline = hand_overs(layout, slots)
    return replace(
        placement,
        tensor=axis(0, placement.tensor),
        context=axis(1, placement.context),
        gradient=axis(2, placement.gradient),
        model=axis(3, placement.model),
        stage_links=tuple(
            with_share(span, pipeline, cluster, network) for span in placement.stage_links
        ),
    )


def hand_overs(layout: Layout, slots: Indices) -> Rings:
    """Return the transfers between stages: all hand over at once and collide with one another."""
    return Rings(slots[np.concatenate(stage_pairs(layout))], stream=4)


def with_share(span: GroupSpan, rings: Rings, cluster: Cluster, network: Network) -> GroupSpan:
    """Return ``span`` with its share of the network."""
    return replace(span, wire_share=wire_share(span, rings, cluster, network))


def wire_share(span: GroupSpan, rings: Rings, cluster: Cluster, network: Network) -> float:
    """Return the share of the network bandwidth that the slowest group of an axis has left.

    Parameters
    ----------
    span
        Where the groups sit; its contention is what even loads would cost.
    rings
        All groups of the axis.
    cluster
        Their cluster.
    network
        Other jobs' share, and the routing.
    """
    if span.nodes == 1:
        return 1.0
    left = 1.0 - network.background
    if span.tier <= LEAF or network.routing is Routing.EVEN:
        return left
    if network.routing is Routing.ADAPTIVE:
        return left * (1.0 - RESIDUAL_LOSS)
    return left * span.contention / max(span.contention, fullest(span, rings, cluster, network))


def fullest(span: GroupSpan, rings: Rings, cluster: Cluster, network: Network) -> float:
    """Return how many times its capacity the fullest uplink of any switch is asked for.

    Each edge of a ring that leaves a switch asks for one accelerator's network rate, over
    ``flows_per_pair`` connections; each of these is hashed onto one of the switch's uplinks, whose
    line rate is an interface's, and onto one of the downlinks of the switch that it enters. All
    of an edge's connections carry alike, so that it moves at the rate of the slowest.

    Notes
    -----
    A unit of the leaf tier of a rail-optimised fabric is one switch per rail; a unit of any other
    tier is taken to be one switch. Other axes' traffic on the same uplinks is neglected. Draws of
    one seed, axis and tier are always the same.
    """
    node, interfaces = cluster.node, interfaces_of(cluster)
    per_edge = network.connections * max(1, node.nics // node.accelerators)
    sender, receiver = network_edges(rings.members, node.accelerators)
    worst = 0.0
    for depth, level in enumerate(levels_of(cluster)[: span.tier - 1]):
        uplinks = level.links(interfaces.rails_at(depth))
        rate = cluster.nic_bandwidth / level.link / per_edge
        leaves = sender // level.accelerators != receiver // level.accelerators
        random = np.random.default_rng([network.hash_seed, rings.stream, depth + LEAF])
        for slots in (sender[leaves], receiver[leaves]):
            switch = interfaces.switch(slots, level, depth)
            worst = max(worst, rate * _most_connections(switch, uplinks, per_edge, random))
    return worst


def _most_connections(
    switch: Indices, uplinks: int, per_edge: int, random: np.random.Generator
) -> int:
    """Return the connections on the fullest uplink, one draw for each of an edge's connections.

    ``switch`` is the number of the switch that each edge leaves or enters.
    """
    known = np.unique(switch, return_inverse=True)[1]
    load = np.zeros(uplinks * (1 + int(known.max(initial=0))), dtype=np.int64)
    for _ in range(per_edge):
        hashed = known * uplinks + random.integers(uplinks, size=len(known))
        load += np.bincount(hashed, minlength=len(load))
    return int(load.max())
