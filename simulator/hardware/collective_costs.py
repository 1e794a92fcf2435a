"""Seconds of a collective or a transfer, from where its ranks sit and how many bytes they move.

    GroupSpan ── one node ──> scale-up time
              └─ more nodes ─> network time, bounded by the wire and by the node's inside

Sizes follow nccl-tests (`simulator.operators.Communication`). Every time is that of the group
alone, apart from ``span.contention``; ranks are taken to arrive together.

References
----------
NVIDIA/nccl-tests, doc/PERFORMANCE.md: bus bandwidth. NVIDIA/nccl, src/graph/tuning.cc: protocols,
hops, algorithms.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from math import exp, log, log2
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.hardware.collectives import Algorithm
from simulator.hardware.node import Node, ScaleUp
from simulator.hardware.protocols import Protocols, Regime
from simulator.hardware.scale_up import scale_up_bandwidth, scale_up_hops
from simulator.operators import Collective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.hardware.collectives import CollectiveLine, GroupSpan, Interconnect

PAIR: Final = 2
"""Ranks of a pair; nodes between which a tree is an exchange."""


@dataclass(frozen=True, slots=True)
class CollectiveCost:
    """Time of a collective and why."""

    time: float
    """Seconds."""
    moving: float
    """Seconds that the bytes alone take at the bus bandwidth."""
    regime: Regime
    algorithm: str
    """How it crosses the network, or how the node that it stays in is wired."""
    wire_bytes: float = 0.0
    """Bytes that one rank sends, and receives, over its share of the interfaces."""
    port_bytes: float = 0.0
    """Bytes that one rank sends, and receives, inside its node (in-switch reduction aside)."""

    @property
    def latency(self) -> float:
        """Seconds before the bytes move: the time that other traffic cannot stretch."""
        return max(0.0, self.time - self.moving)

    def repeated(self, count: int) -> CollectiveCost:
        """Return the cost of ``count`` of these one after another."""
        return replace(
            self,
            time=count * self.time,
            moving=count * self.moving,
            wire_bytes=count * self.wire_bytes,
            port_bytes=count * self.port_bytes,
        )


def elapsed(seconds: float) -> CollectiveCost:
    """Return the cost of a wait [s] in which nothing moves."""
    return CollectiveCost(seconds, 0.0, Regime.NOTHING, "none")


_NOTHING: Final = elapsed(0.0)


def collective_time(
    kind: Collective, n_bytes: float, span: GroupSpan, cluster: Interconnect
) -> float:
    """Return the time [s] of one collective of ``n_bytes`` over the group at ``span``.

    As `collective_cost`, which says why.
    """
    return collective_cost(kind, n_bytes, span, cluster).time


def collective_cost(
    kind: Collective, n_bytes: float, span: GroupSpan, cluster: Interconnect
) -> CollectiveCost:
    """Return the cost of one collective of ``n_bytes`` over the group at ``span``.

    A group that leaves its node is never faster than the same group inside one, and a group of
    one rank costs nothing.

    Parameters
    ----------
    kind
        The collective; a send_recv is `send_recv_time`.
    n_bytes
        Message size [B] as nccl-tests counts it: the buffer of one rank for all_reduce, broadcast
        and send_recv; the full (gathered or scattered) buffer for the others.
    span
        Where the ranks sit.
    cluster
        Node and fabric whose links and fitted latencies apply.

    Raises
    ------
    SimulatorError
        If the node or the fabric has no usable parameters for ``kind``.

    Notes
    -----
    Neglected: late arrival of ranks, kernels that compute meanwhile, start-up of communicators,
    and other jobs. Uneven groups are priced as if each node held the fewest members.
    """
    if span.ranks <= 1:
        return _NOTHING
    if kind is Collective.SEND_RECV:
        return _send_recv_cost(n_bytes, span, cluster)
    if span.nodes == 1:
        return _scale_up_cost(kind, n_bytes, span.ranks, cluster.node)
    across = _network_cost(kind, n_bytes, span, cluster)
    if span.ranks > cluster.node.accelerators or across.regime is Regime.MEASURED:
        return across
    inside = _scale_up_cost(kind, n_bytes, span.ranks, cluster.node)
    return replace(across, time=max(across.time, inside.time))


def send_recv_time(n_bytes: float, span: GroupSpan, cluster: Interconnect) -> float:
    """Return the time [s] for one rank to send ``n_bytes`` to another of the group at ``span``.

    Between nodes the sender has one accelerator's share of its node's interfaces, even where a
    lone sender could borrow more.
    """
    if span.ranks <= 1:
        return 0.0
    return _send_recv_cost(n_bytes, span, cluster).time


def _send_recv_cost(n_bytes: float, span: GroupSpan, cluster: Interconnect) -> CollectiveCost:
    moving = n_bytes / _pair_bandwidth(span.ranks, cluster.node)
    inside = cluster.node.pair_latency + moving
    if span.nodes == 1:
        wiring = cluster.node.scale_up
        return CollectiveCost(inside, moving, Regime.TRANSFER, wiring, port_bytes=n_bytes)
    moving = n_bytes / wire_bandwidth(span, cluster)
    across = cluster.fabric.pair_latency + span.latency + moving
    time = max(across, inside)
    return CollectiveCost(time, moving, Regime.TRANSFER, "pair", wire_bytes=n_bytes)


def _pair_bandwidth(ranks: int, node: Node) -> float:
    """Return what a rank sends to the next one [B/s] if all ranks of a group do so in a ring.

    More than two send and receive at once, as in an all_gather, and get no more than there.
    """
    if ranks <= PAIR or Collective.ALL_GATHER not in node.collectives.lines:
        return node.pair_bandwidth
    return min(node.pair_bandwidth, scale_up_bandwidth(Collective.ALL_GATHER, ranks, node))


def bus_factor(kind: Collective, ranks: int) -> float:
    """Return bytes that each rank puts on its link over message bytes, for the best ring.

    2(n-1)/n for all_reduce; (n-1)/n for all_gather, reduce_scatter and all_to_all; 1 otherwise.
    """
    if ranks <= 1:
        return 0.0
    if kind in (Collective.BROADCAST, Collective.SEND_RECV):
        return 1.0
    return passes(kind) * (ranks - 1) / ranks


def passes(kind: Collective) -> int:
    """Return how often a part of the message goes round: an all_reduce scatters, then gathers."""
    return 2 if kind is Collective.ALL_REDUCE else 1


def bus_bandwidth(
    kind: Collective, n_bytes: float, span: GroupSpan, cluster: Interconnect
) -> float:
    """Return the bus bandwidth [B/s] that nccl-tests would print for this collective.

    In-switch reduction and a tree between two nodes can take it above the line rate.

    Raises
    ------
    SimulatorError
        If the group has one rank, or as `collective_time`.
    """
    if span.ranks <= 1:
        raise SimulatorError("a group of one rank moves no bytes: it has no bus bandwidth")
    return bus_factor(kind, span.ranks) * n_bytes / collective_time(kind, n_bytes, span, cluster)


# Inside a node


def _scale_up_cost(kind: Collective, n_bytes: float, ranks: int, node: Node) -> CollectiveCost:
    line = node.collectives.line(kind, node.name)
    volume = bus_factor(kind, ranks) * n_bytes
    moving = volume / scale_up_bandwidth(kind, ranks, node)
    known = _measured(line, ranks, n_bytes)
    if known is not None:
        return CollectiveCost(known, moving, Regime.MEASURED, node.scale_up, port_bytes=volume)
    protocols = Protocols.inside(kind, node, scale_up_hops(kind, ranks, node))
    time, regime = protocols.time(n_bytes, moving)
    return CollectiveCost(time, moving, regime, node.scale_up, port_bytes=volume)


# Between nodes


def _network_cost(
    kind: Collective, n_bytes: float, span: GroupSpan, cluster: Interconnect
) -> CollectiveCost:
    line = cluster.fabric.collectives.line(kind, cluster.fabric.name)
    algorithm = _algorithm(kind, line, cluster)
    wire = _wire_volume(kind, n_bytes, span, algorithm)
    port = _port_volume(kind, n_bytes, span, cluster.node, algorithm)
    moving = wire / wire_bandwidth(span, cluster)
    if port > 0.0:
        moving = max(moving, port / scale_up_bandwidth(kind, span.ranks_per_node, cluster.node))
    whole = span.ranks_per_node == cluster.node.accelerators
    alone = span.contention == 1 and span.wire_share == 1
    known = _measured(line, span.nodes, n_bytes) if whole and alone else None
    if known is not None:
        return CollectiveCost(known, moving, Regime.MEASURED, algorithm, wire, port)
    hops, inner_hops = _network_hops(kind, span, cluster.node, algorithm)
    time, regime = Protocols.between(kind, cluster, hops, inner_hops).time(n_bytes, moving)
    time += passes(kind) * span.latency
    return CollectiveCost(time, moving, regime, algorithm, wire, port)


def _algorithm(kind: Collective, line: CollectiveLine, cluster: Interconnect) -> Algorithm:
    where = f"{cluster.fabric.name}: {kind}"
    line.refuse_bandwidth(where, "interfaces and tiers bound it")
    possible = _ALGORITHMS.get(kind, _GATHERING)
    if line.algorithm not in possible:
        raise SimulatorError(f"{where}: algorithm must be one of: {', '.join(possible)}")
    return line.algorithm


_GATHERING: Final = (Algorithm.RING, Algorithm.TREE_OR_RING)
_ALGORITHMS: Final[Mapping[Collective, tuple[Algorithm, ...]]] = {
    Collective.ALL_REDUCE: (Algorithm.TREE, Algorithm.TREE_OR_RING, Algorithm.RING),
    Collective.ALL_TO_ALL: (Algorithm.PAIRWISE,),
}


def _network_hops(
    kind: Collective, span: GroupSpan, node: Node, algorithm: Algorithm
) -> tuple[float, float]:
    """Return the hops over the network and the hops inside the nodes."""
    if algorithm is Algorithm.RING and node.scale_up is ScaleUp.TORUS:
        return span.nodes - 1, scale_up_hops(kind, span.ranks_per_node, node)
    if algorithm is Algorithm.RING:
        return span.nodes - 1, span.ranks - span.nodes
    # The fitted constant of these already holds the part inside a node.
    if algorithm is Algorithm.PAIRWISE:
        return span.nodes - 1, 0
    return log2(span.nodes), 0


def wire_bandwidth(span: GroupSpan, cluster: Interconnect) -> float:
    """Return the network bandwidth [B/s] of one rank of the group, one direction."""
    reached = cluster.nic_bandwidth * cluster.fabric.efficiency
    return reached * span.wire_share / span.contention


def _wire_volume(kind: Collective, n_bytes: float, span: GroupSpan, algorithm: Algorithm) -> float:
    """Return the bytes that one rank's share of the interfaces sends.

    A ring (and a tree over many nodes) passes its bus volume through each node boundary once,
    shared by the members there. A tree over two nodes exchanges each buffer once instead, which
    is why its bus bandwidth can be nearly twice the line rate.
    """
    if kind is Collective.ALL_TO_ALL:
        return n_bytes * (span.ranks - span.ranks_per_node) / span.ranks
    if _exchanges(span, algorithm):
        return n_bytes / span.ranks_per_node
    return bus_factor(kind, span.ranks) * n_bytes / span.ranks_per_node


def _exchanges(span: GroupSpan, algorithm: Algorithm) -> bool:
    """Return whether a tree has degenerated to two nodes that swap their buffers."""
    return algorithm is Algorithm.TREE and span.nodes == PAIR


def _port_volume(
    kind: Collective, n_bytes: float, span: GroupSpan, node: Node, algorithm: Algorithm
) -> float:
    """Return the bytes that one rank moves inside its node, overlapped with the wire."""
    members = span.ranks_per_node
    if members == 1:
        return 0.0
    if kind is Collective.ALL_TO_ALL:
        return n_bytes * (members - 1) / span.ranks
    if _exchanges(span, algorithm):
        return bus_factor(kind, members) * n_bytes
    # Where each ring has links of its own, one that leaves by an interface frees one of them.
    share = (members - 1) / members if node.scale_up is ScaleUp.MESH else 1.0
    return share * bus_factor(kind, span.ranks) * n_bytes


def _measured(line: CollectiveLine, group: int, n_bytes: float) -> float | None:
    """Return the time [s] on the measured curve of a group, None if there is none."""
    curve = (line.measured or {}).get(group)
    if not curve:
        return None
    sizes = sorted(curve)
    if n_bytes <= sizes[0]:
        return curve[sizes[0]]
    if n_bytes >= sizes[-1]:
        return curve[sizes[-1]] * n_bytes / sizes[-1]
    place = bisect_right(sizes, n_bytes)
    lower, upper = sizes[place - 1], sizes[place]
    share = log(n_bytes / lower) / log(upper / lower)
    return exp((1 - share) * log(curve[lower]) + share * log(curve[upper]))
